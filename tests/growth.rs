//! Input from unauthenticated sources costs time and log lines that are linear in its size.
//!
//! Each case is one of the fuzz bodies (`src/testing/fuzz/`) with an input that can be extended. It is run with a size
//! and with four times that size; the processor time of this thread, the minimum of several runs, is compared, and so
//! is the number of bytes that the program would log at its default level. Quadratic time would be sixteen times as
//! much.
#![cfg(all(
    feature = "testing",
    feature = "server",
    feature = "turn-server",
    any(feature = "aws-lc", feature = "rust-crypto")
))]

#[path = "../benches/support/cpu.rs"]
mod cpu;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use cpu::thread_time;
use looprtc::testing::fuzz;

/// Factor of the size, and maximum factor of the time: linear time takes that factor, times two and a half for the
/// effects of a busy machine.
const GROWTH: usize = 4;
const MOST: u32 = 9;

/// Time that any run may take.
const FLOOR: Duration = Duration::from_millis(3);

const TRIES: usize = 4;

/// Counts the bytes of warnings and errors.
struct Counting;

static LOGGED: AtomicU64 = AtomicU64::new(0);

impl log::Log for Counting {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn && metadata.target().starts_with("looprtc")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.fetch_add(record.args().to_string().len() as u64, Relaxed);
        }
    }

    fn flush(&self) {}
}

type Case = (&'static str, fn(&[u8]), usize, fn(usize) -> Vec<u8>);

const CASES: &[Case] = &[
    ("empty lines", fuzz::http_head, 2000, |n| {
        [&[7], &b"\r\n".repeat(n)[..]].concat()
    }),
    ("a head that does not end", fuzz::http_head, 800, |n| {
        [b"\x03GET / HTTP/1.1\r\nX: ", &b"x".repeat(n)[..]].concat()
    }),
    ("requests ahead", fuzz::http_head, 60, |n| {
        let all = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(n);
        [&[200], &all[..]].concat()
    }),
    ("chunks of one byte", fuzz::http_head, 200, |n| {
        let head = b"\x05POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        [&head[..], &b"1\r\nx\r\n".repeat(n)].concat()
    }),
    ("empty fragments", fuzz::web_socket, 1000, |n| {
        let mut frames = vec![0x01, 0x80, 0, 0, 0, 0];
        frames.extend([0x00, 0x80, 0, 0, 0, 0].repeat(n));
        pieces(&frames)
    }),
    ("pings", fuzz::web_socket, 1000, |n| {
        pieces(&[0x89, 0x80, 0, 0, 0, 0].repeat(n))
    }),
    ("small texts", fuzz::web_socket, 1000, |n| {
        pieces(&[0x81, 0x81, 0, 0, 0, 0, b'x'].repeat(n))
    }),
    ("an offer of unknown attributes", fuzz::sdp, 800, |n| {
        offer(n, |i| format!("a=x{i}\r\n"))
    }),
    ("an offer of candidates", fuzz::sdp, 400, |n| {
        offer(n, |i| {
            let port = 1024 + i;
            format!("a=candidate:{i} 1 udp 1 127.0.0.1 {port} typ host\r\n")
        })
    }),
    ("an offer of formats", fuzz::sdp, 400, |n| {
        offer(n, |i| {
            let pt = i % 128;
            format!("a=rtpmap:{pt} x{pt}/90000\r\na=fmtp:{pt} a={i}\r\n")
        })
    }),
    ("an offer of sources", fuzz::sdp, 400, |n| {
        offer(n, |i| format!("a=ssrc:{i} cname:x\r\n"))
    }),
    ("an offer of m-lines", fuzz::sdp, 25, |n| {
        offer(n, |i| {
            format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:m{i}\r\na=sendrecv\r\n")
        })
    }),
    ("a fragment of candidates", fuzz::sdpfrag, 100, |n| {
        let line = "a=candidate:1 1 udp 1 127.0.0.1 5000 typ host\r\n";
        format!(
            "a=ice-ufrag:aaaa\r\na=ice-pwd:{}\r\n{}",
            "a".repeat(22),
            line.repeat(n)
        )
        .into_bytes()
    }),
    (
        "a fragment of unknown attributes",
        fuzz::sdpfrag,
        500,
        |n| b"a=x\r\n".repeat(n),
    ),
    ("a message that is long", fuzz::room_message, 8000, |n| {
        let data = "x".repeat(n);
        format!("\u{7f}{{\"event\":\"answer\",\"data\":\"{data}\"}}").into_bytes()
    }),
    ("a message of brackets", fuzz::room_message, 8000, |n| {
        [&b"\x7f"[..], &b"[".repeat(n)].concat()
    }),
    ("messages of calls", fuzz::room_message, 15, |n| {
        let say = "\u{7f}{\"type\":\"call\",\"to\":\"b\"}\n";
        format!("\u{0}name=a\n{}", say.repeat(n)).into_bytes()
    }),
    ("a candidate that is signaled", fuzz::signal, 4000, |n| {
        format!("{{\"candidate\":\"{}\"}}", "x ".repeat(n)).into_bytes()
    }),
    ("a Link header", fuzz::link_header, 500, |n| {
        b"<stun:a>; rel=\"ice-server\", ".repeat(n)
    }),
    ("TURN: anything", fuzz::turn_server, 4000, noise),
    ("TURN over TCP", fuzz::turn_stream, 4000, noise),
    ("ICE-TCP", fuzz::ice_framing, 4000, noise),
    ("UDP: what nobody asked for", fuzz::demux, 4000, noise),
    (
        "UDP: datagrams to a peer",
        fuzz::peer_datagrams,
        4000,
        noise,
    ),
    ("UDP: STUN of a peer", fuzz::stun_peer, 1000, noise),
];

/// Bytes as `web_socket` takes them: pieces, each after its length.
fn pieces(bytes: &[u8]) -> Vec<u8> {
    let each = bytes.chunks(240);
    each.flat_map(|piece| [&[piece.len() as u8], piece].concat())
        .collect()
}

fn offer(lines: usize, line: fn(usize) -> String) -> Vec<u8> {
    let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
        a=setup:actpass\r\na=ice-ufrag:aaaa\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\na=rtpmap:111 opus/48000/2\r\n";
    let fingerprint = format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"));
    let lines: String = (0..lines).map(line).collect();
    format!("{head}{fingerprint}{lines}").into_bytes()
}

/// The same bytes each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Returns the time that a run takes, and the bytes that it logs.
fn cost(body: fn(&[u8]), input: &[u8]) -> (Duration, u64) {
    let logged = LOGGED.load(Relaxed);
    let before = thread_time();
    body(input);
    let time = thread_time() - before;
    (time, LOGGED.load(Relaxed) - logged)
}

#[test]
fn what_strangers_send_costs_linear_time_and_few_log_lines() {
    log::set_logger(&Counting).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let mut wrong = Vec::new();
    for (name, body, size, input) in CASES {
        let (small, large) = (input(*size), input(GROWTH * size));
        let mut least = [Duration::MAX; 2];
        let mut is_linear = false;
        for _ in 0..TRIES {
            for (input, least) in [&small, &large].into_iter().zip(&mut least) {
                let (time, logged) = cost(*body, input);
                *least = time.min(*least);
                // A flood of any kind is logged a few times, and then ever more rarely.
                let most = 4096 + input.len() as u64 / 4;
                assert!(
                    logged <= most,
                    "{name}: {logged} bytes of log for {}",
                    input.len()
                );
            }
            is_linear = least[1] <= least[0] * MOST + FLOOR;
            if is_linear {
                break;
            }
        }
        println!(
            "{name}: {} bytes {:?}, {} bytes {:?}",
            small.len(),
            least[0],
            large.len(),
            least[1]
        );
        if !is_linear {
            wrong.push(format!("{name}: {:?} and {:?}", least[0], least[1]));
        }
    }
    assert!(wrong.is_empty(), "more than linear: {}", wrong.join("; "));
}

/// The measurement itself detects quadratic work.
#[test]
fn quadratic_work_is_told_from_linear() {
    fn quadratic(bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        while !bytes.is_empty() {
            bytes.drain(..2.min(bytes.len()));
        }
        std::hint::black_box(&bytes);
    }
    let least = |size: usize| {
        let input = vec![0; size];
        let times = (0..TRIES).map(|_| cost(quadratic, &input).0);
        times.min().unwrap()
    };
    let (small, large) = (least(100_000), least(GROWTH * 100_000));
    assert!(large > small * MOST + FLOOR, "{small:?} and {large:?}");
}
