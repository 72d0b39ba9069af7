"""Many clients of a door that do not behave, from many addresses of 127.0.0.0/8.

    crowd.py PORT COUNT PER_ADDRESS KIND

KIND: `silent` says nothing; `known` has one request answered and then says nothing; `head` and `body` send their
request byte by byte; `unread` asks for much and reads nothing. Says `ready N` when all have connected (the N that were
let in) and ends when its input ends, then saying how many are still there.
"""
import resource
import select
import socket
import sys

port, count, per_address = map(int, sys.argv[1:4])
kind = sys.argv[4]
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

head = b"GET /slow HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 10000
body = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10000
sockets = []
for number in range(count):
    # Not 127.0.0.0 and 127.0.0.1.
    address = number // per_address + 2
    one = socket.socket()
    try:
        # Before the address is known, so that a port is not looked for in one list for all addresses.
        one.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        one.bind((f"127.0.{address // 250}.{address % 250}", 0))
        one.settimeout(20)
        one.connect(("127.0.0.1", port))
        if kind == "known":
            one.sendall(b"GET /known HTTP/1.1\r\nHost: a\r\n\r\n")
            one.recv(1000)
        if kind == "unread":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(b"GET /large?3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    except OSError as error:
        print(f"number {number}: {error}", file=sys.stderr)
        one.close()
        continue
    one.setblocking(False)
    sockets.append(one)
print("ready", len(sockets), flush=True)

at = 0
while True:
    if select.select([sys.stdin], [], [], 0.05 if kind in ("head", "body") else None)[0]:
        break
    request = head if kind == "head" else body
    for one in list(sockets):
        try:
            one.send(request[at:at + 1])
        except OSError:
            pass
    at += 1

there = 0
for one in sockets:
    try:
        # Whoever has been told something is on its way out, but for those that were answered before.
        there += one.recv(1 << 16) != b""
    except BlockingIOError:
        there += 1
    except OSError:
        pass
print("there", there, flush=True)
