/* A bad link: takes packets from an NFQUEUE, and lets them go later, out of order, twice or never.
 *
 *     cc -O2 -o bad_link bad_link.c -lnetfilter_queue
 *     bad_link QUEUE LOSS_PERCENT DELAY_MS JITTER_MS REORDER_PERCENT SEED
 *
 * Each packet is held for the delay plus an even share of the jitter. The order is kept, as on a link whose
 * queue fills and drains, but for the share to be reordered, which is held for half the jitter longer than
 * its turn. For kernels without sch_netem. Says "ready" when it is, and its counts when it is ended.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { MAX_HELD = 65536, READ_AT_ONCE = 32 };

struct held {
    int64_t due; /* nanoseconds */
    uint64_t number;
    uint32_t id;
};

static struct held heap[MAX_HELD];
static size_t held;
static struct nfq_q_handle *queue;
static double loss, reorder;
static int64_t delay, jitter, last_due;
static uint64_t random_state, taken, dropped, reordered;
static volatile sig_atomic_t ended;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* SplitMix64, from 0 to below 1. */
static double chance(void) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

static int before(const struct held *a, const struct held *b) {
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void hold(struct held packet) {
    size_t at = held++;
    for (; at > 0 && before(&packet, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = packet;
}

static struct held next(void) {
    struct held first = heap[0], last = heap[--held];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= held)
            break;
        if (child + 1 < held && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

static int take(struct nfq_q_handle *q, struct nfgenmsg *message, struct nfq_data *data, void *unused) {
    (void)message, (void)unused;
    struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
    if (!header)
        return 0;
    uint32_t id = ntohl(header->packet_id);
    taken++;
    if (chance() < loss || held == MAX_HELD) {
        dropped++;
        return nfq_set_verdict(q, id, NF_DROP, 0, NULL);
    }
    int64_t due = now() + delay + (int64_t)(chance() * (double)jitter);
    if (chance() < reorder) {
        reordered++;
        due += jitter / 2 + 5000000;
    } else {
        if (due < last_due)
            due = last_due;
        last_due = due;
    }
    hold((struct held){due, taken, id});
    return 0;
}

static void end(int signal) {
    (void)signal;
    ended = 1;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "bad_link QUEUE LOSS_PERCENT DELAY_MS JITTER_MS REORDER_PERCENT SEED\n");
        return 2;
    }
    loss = atof(argv[2]) / 100;
    delay = (int64_t)(atof(argv[3]) * 1e6);
    jitter = (int64_t)(atof(argv[4]) * 1e6);
    reorder = atof(argv[5]) / 100;
    random_state = strtoull(argv[6], NULL, 10);
    signal(SIGTERM, end);
    signal(SIGINT, end);

    struct nfq_handle *handle = nfq_open();
    queue = handle ? nfq_create_queue(handle, (uint16_t)atoi(argv[1]), take, NULL) : NULL;
    if (!queue || nfq_set_mode(queue, NFQNL_COPY_META, 0) < 0) {
        perror("bad_link: NFQUEUE");
        return 1;
    }
    nfq_set_queue_maxlen(queue, MAX_HELD);
    int fd = nfq_fd(handle), room = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    fprintf(stderr, "ready\n");

    while (!ended) {
        struct timespec wait = {1, 0};
        if (held > 0) {
            int64_t left = heap[0].due - now();
            left = left > 0 ? left : 0;
            wait = (struct timespec){left / 1000000000, left % 1000000000};
        }
        struct pollfd readable = {fd, POLLIN, 0};
        char buffer[8192];
        if (ppoll(&readable, 1, &wait, NULL) > 0) {
            for (int n = 0; n < READ_AT_ONCE; n++) {
                ssize_t length = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
                if (length < 0)
                    break;
                nfq_handle_packet(handle, buffer, (int)length);
            }
        }
        while (held > 0 && heap[0].due <= now())
            nfq_set_verdict(queue, next().id, NF_ACCEPT, 0, NULL);
    }
    fprintf(stderr, "%llu packets, %llu dropped, %llu reordered\n", (unsigned long long)taken,
            (unsigned long long)dropped, (unsigned long long)reordered);
    return 0;
}
