//! Cost of a request to the door: `cargo bench --bench door [-- REQUESTS]`.
//!
//! A program behind a door answers on a thread of its own; clients on other threads ask on connections that they keep, one
//! request at a time each, over the loopback interface. Processor time is that of the whole process less the clients'.

#[path = "support/cpu.rs"]
mod cpu;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use cpu::{cpu_time, thread_time};
use looprtc::server::door::{Door, DoorConfig, DoorEvent};
use looprtc::server::http::Response;

const GET: &[u8] = b"GET /api/streams HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// Clients at a time, and the length of the response's body in bytes.
const CASES: [(usize, usize); 4] = [(1, 1_000), (8, 1_000), (1, 100_000), (1, 1_000_000)];

fn main() -> Result<(), Box<dyn Error>> {
    let number = std::env::args().find_map(|word| word.parse().ok());
    let requests = number.unwrap_or(4_000usize);
    println!(
        "| clients | response | median | p99 | requests a second | processor time a request |\n|---|---|---|---|---|---|"
    );
    for (clients, length) in CASES {
        let threads = threads();
        let stop = AtomicBool::new(false);
        let mut door = Door::listen(([127, 0, 0, 1], 0).into(), DoorConfig::default())?;
        let address = door.local_addr();
        let own = threads_since(threads);
        thread::scope(|scope| {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    answer(&mut door, length);
                }
            });
            // What is slow only once is not of interest.
            measure(address, clients, 100);
            let count = if length > 10_000 {
                requests / 8
            } else {
                requests
            };
            let figures = measure(address, clients, count / clients);
            stop.store(true, Relaxed);
            println!(
                "| {clients} | {length} B | {:.3} ms | {:.3} ms | {:.0} | {:.3} ms |",
                ms(figures.median),
                ms(figures.p99),
                figures.rate,
                ms(figures.processor),
            );
        });
        if (clients, length) == CASES[0] {
            eprintln!("the door has {own} threads of its own");
        }
    }
    Ok(())
}

fn answer(door: &mut Door, length: usize) {
    door.wait(Some(Duration::from_millis(20)));
    while let Some(event) = door.poll_event() {
        if let DoorEvent::Request(id, _) = event {
            let body = vec![b'x'; length];
            door.respond(
                id,
                Response::new(200).body("application/octet-stream", body),
            );
        }
    }
}

struct Figures {
    median: Duration,
    p99: Duration,
    rate: f64,
    processor: Duration,
}

/// Has each of these clients ask this often.
fn measure(to: SocketAddr, clients: usize, requests: usize) -> Figures {
    let (start, processor) = (Instant::now(), cpu_time());
    let all = thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|_| scope.spawn(move || client(to, requests).expect("the door answers")))
            .collect();
        let all = clients
            .into_iter()
            .map(|client| client.join().expect("no client panics"));
        all.collect::<Vec<_>>()
    });
    let (took, processor) = (start.elapsed(), cpu_time() - processor);
    let theirs: Duration = all.iter().map(|(_, used)| *used).sum();
    let mut times: Vec<_> = all.into_iter().flat_map(|(times, _)| times).collect();
    times.sort();
    Figures {
        median: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        rate: times.len() as f64 / took.as_secs_f64(),
        processor: processor.saturating_sub(theirs) / times.len() as u32,
    }
}

/// One client: how long each response took, and its own processor time.
fn client(to: SocketAddr, requests: usize) -> std::io::Result<(Vec<Duration>, Duration)> {
    let before = thread_time();
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    let mut chunk = vec![0; 64 * 1024];
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let start = Instant::now();
        stream.write_all(GET)?;
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            let count = stream.read(&mut chunk)?;
            assert!(count > 0, "the door has hung up");
            answer.extend_from_slice(&chunk[..count]);
        }
        times.push(start.elapsed());
    }
    Ok((times, thread_time() - before))
}

/// Returns `true` if these bytes are a whole response.
fn is_whole(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
    bytes.len() >= end + 4 + length.unwrap_or(0)
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn threads_since(before: usize) -> usize {
    threads().saturating_sub(before)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
