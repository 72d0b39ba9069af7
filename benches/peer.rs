//! Cost of a peer without sockets: two peers whose datagrams are passed in memory; both together.

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use looprtc::proto::peer::{Certificate, CryptoBackend, Input, Peer, PeerConfig};

use support::{Wire, shared_config};

/// Returns the configuration of each compiled-in backend, with a certificate of its own.
fn backends() -> Vec<(CryptoBackend, PeerConfig)> {
    CryptoBackend::available()
        .into_iter()
        .map(|backend| {
            let certificate = Certificate::generate(backend).expect("a certificate");
            let config = shared_config()
                .crypto(Some(backend))
                .certificate(Some(certificate));
            (backend, config)
        })
        .collect()
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("peer/build");
    let now = Instant::now();
    for (backend, config) in backends() {
        group.bench_function(format!("{backend}, shared certificate"), |b| {
            b.iter(|| Peer::new(black_box(config.clone()), now).expect("a peer"));
        });
        let own = config.clone().certificate(None);
        group.bench_function(format!("{backend}, new certificate"), |b| {
            b.iter(|| Peer::new(black_box(own.clone()), now).expect("a peer"));
        });
    }
    group.finish();
}

fn connect(c: &mut Criterion) {
    let mut group = c.benchmark_group("peer/connect, a pair");
    for (backend, config) in backends() {
        group.bench_function(backend.name(), |b| {
            b.iter(|| black_box(Wire::connect(&config)));
        });
    }
    group.finish();
}

fn round_trip(c: &mut Criterion) {
    let mut wire = Wire::connect(&shared_config());
    let message = [7u8; 64];
    c.bench_function("peer/round trip, 64 B", |b| {
        b.iter(|| wire.round_trip(black_box(&message)));
    });
}

fn throughput(c: &mut Criterion) {
    let config = shared_config();
    let mut group = c.benchmark_group("peer/throughput");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(4));
    for size in [64, 1_200, 16 * 1024, 64 * 1024] {
        let total = if size < 1_000 {
            256 * 1024
        } else {
            4 * 1024 * 1024
        };
        let total = total / size * size;
        group.throughput(Throughput::Bytes(total as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &size, |b, &size| {
            let mut wire = Wire::connect(&config);
            let message = vec![7u8; size];
            wire.transfer(&message, total, 256 * 1024);
            b.iter(|| wire.transfer(&message, total, 256 * 1024));
        });
    }
    group.finish();
}

/// Cost of an idle peer's timeout, one per keepalive.
fn idle(c: &mut Criterion) {
    let mut wire = Wire::connect(&shared_config());
    wire.transfer(&[7u8; 1_200], 120_000, 64 * 1024);
    let mut group = c.benchmark_group("peer/idle");
    group.bench_function("a second of both ends", |b| {
        b.iter(|| {
            let end = wire.now + Duration::from_secs(1);
            while wire.now < end {
                wire.wait();
                wire.exchange();
            }
        });
    });
    group.bench_function("a timeout too early", |b| {
        b.iter(|| {
            let end = &mut wire.ends[0];
            end.peer
                .handle_input(Input::Timeout(wire.now))
                .expect("the peer is open");
            end.poll(wire.now);
        });
    });
    group.finish();
}

criterion_group!(benches, build, connect, round_trip, throughput, idle);
criterion_main!(benches);
