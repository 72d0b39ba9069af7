//! Cost of a loop: peers over UDP on the loopback interface, both ends in one loop.

#[path = "support/pair.rs"]
mod pair;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use pair::{PeerOptions, Transfer, close, connect, connect_many, new_loop, round_trip};

fn connecting(c: &mut Criterion) {
    let options = PeerOptions::default();
    let mut net = new_loop().expect("a loop");
    c.bench_function("loop/connect and close, a pair", |b| {
        b.iter(|| {
            let pair = connect(&mut net, &options, false).expect("connects");
            close(&mut net, &pair).expect("closes");
        });
    });
}

/// A busy pair beside idle peers: the cost of a turn must not grow with their number.
fn idle_peers(c: &mut Criterion) {
    let options = PeerOptions::default();
    let mut group = c.benchmark_group("loop/round trip, 64 B, idle peers");
    for idle in [0, 100, 1_000] {
        let mut net = new_loop().expect("a loop");
        let others = connect_many(&mut net, &options, idle / 2).expect("connect");
        let pair = connect(&mut net, &options, false).expect("connects");
        group.bench_function(BenchmarkId::from_parameter(idle), |b| {
            b.iter(|| round_trip(&mut net, &pair, black_box(&[7u8; 64])).expect("an echo"));
        });
        drop(others);
    }
    group.finish();
}

/// A turn with nothing to do.
fn empty_turn(c: &mut Criterion) {
    let options = PeerOptions::default();
    let mut group = c.benchmark_group("loop/a turn without work, idle peers");
    for idle in [0, 100, 1_000] {
        let mut net = new_loop().expect("a loop");
        connect_many(&mut net, &options, idle / 2).expect("connect");
        group.bench_function(BenchmarkId::from_parameter(idle), |b| {
            b.iter(|| {
                net.run_once(Some(Duration::ZERO)).expect("a turn");
                while net.poll_event().is_some() {}
            });
        });
    }
    group.finish();
}

fn throughput(c: &mut Criterion) {
    let options = PeerOptions::default();
    let mut group = c.benchmark_group("loop/throughput");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(4));
    for size in [64, 1_200, 16 * 1024, 64 * 1024] {
        let total = if size < 1_000 {
            1024 * 1024
        } else {
            8 * 1024 * 1024
        };
        group.throughput(Throughput::Bytes(total));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            let mut net = new_loop().expect("a loop");
            let pair = connect(&mut net, &options, false).expect("connects");
            let marks = (256 * 1024, 128 * 1024);
            let mut transfer =
                Transfer::start(&mut net, marks, pair.offerer, pair.near, size).expect("starts");
            b.iter(|| {
                let goal = transfer.received + total;
                while transfer.received < goal {
                    transfer.step(&mut net).expect("goes on");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, connecting, idle_peers, empty_turn, throughput);
criterion_main!(benches);
