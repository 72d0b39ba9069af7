//! What tiny_http behind the door costs: printed, not judged.

use std::io::Write;
use std::time::{Duration, Instant};

use looprtc::server::door::DoorConfig;

use crate::app::{Answer, App};

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn measure(app: &App, clients: usize, requests: usize) -> (Duration, Duration, f64) {
    let start = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let mut stream = app.connect();
            std::thread::spawn(move || {
                let one = |_| {
                    let start = Instant::now();
                    stream
                        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        .unwrap();
                    assert_eq!(Answer::read(&mut stream, false).status, 200);
                    start.elapsed()
                };
                (0..requests).map(one).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut times: Vec<Duration> = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap())
        .collect();
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100], rate)
}

#[test]
fn with_tiny_http_and_without() {
    let before = threads();
    for lines in [0, 8] {
        let app = App::start(DoorConfig::default().lines(lines));
        measure(&app, 1, 50);
        for clients in [1, 8] {
            let (median, worst, rate) = measure(&app, clients, 1600 / clients);
            println!(
                "lines {lines}, {clients} clients: median {median:?}, 99 % {worst:?}, {rate:.0} requests/s, \
                 {} threads more",
                threads().saturating_sub(before),
            );
        }
    }
}
