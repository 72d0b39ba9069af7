//! The figures in docs/crypto.md:
//!
//! ```text
//! cargo test --release --all-features --lib measure -- --ignored --nocapture --test-threads=1
//! ```
#![allow(clippy::disallowed_methods, reason = "measures time")]

use std::time::Instant;

use super::connect::{Pair, Setup, wall_clock};
use super::*;

/// CPU time of this process: other work on the machine does not count.
fn cpu_ms() -> f64 {
    // /proc/self/schedstat: nanoseconds on a CPU of the one thread (Linux).
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns: f64 = text.split(' ').next().unwrap().parse().unwrap();
    ns / 1e6
}

fn resident_kb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// CPU milliseconds of one call.
fn cost(times: u32, mut call: impl FnMut()) -> f64 {
    call();
    let begin = cpu_ms();
    for _ in 0..times {
        call();
    }
    (cpu_ms() - begin) / f64::from(times)
}

/// A provider that shares nothing, as the stock ones do not: what it cost before.
fn unshared(backend: CryptoBackend) -> Arc<CryptoProvider> {
    Arc::new(make_provider(backend, None).unwrap())
}

fn report(backend: CryptoBackend) {
    let now: Instant = wall_clock();
    let setup = Setup::same(backend, None, DtlsVersion::V1_2);
    let before = || {
        let mut setup = Setup::same(backend, None, DtlsVersion::V1_2);
        setup.certificates = [0, 1].map(|i| setup.certificates[i].clone());
        setup
    };
    let mut fresh = before();
    println!("{backend}");
    let generate = cost(200, || drop(Certificate::generate(backend).unwrap()));
    println!("  generate a certificate        {generate:8.3} ms");
    let build_before = cost(50, || {
        fresh.providers = [unshared(backend), unshared(backend)];
        drop(fresh.build(0, now));
    });
    println!("  build one Rtc, nothing shared {build_before:8.3} ms");
    let build = cost(1000, || drop(setup.build(0, now)));
    println!("  build one Rtc, shared         {build:8.3} ms");
    let pair_before = cost(50, || {
        fresh.providers = [unshared(backend), unshared(backend)];
        Pair::new(&fresh, now).connect();
    });
    println!("  connect a pair, nothing shared{pair_before:8.3} ms");
    for version in [DtlsVersion::V1_2, DtlsVersion::V1_3] {
        if !backend.supports(version) {
            continue;
        }
        let setup = Setup {
            version,
            ..Setup::same(backend, None, version)
        };
        let pair = cost(200, || {
            Pair::new(&setup, now).connect();
        });
        println!("  connect a pair, {version}      {pair:8.3} ms");
    }
    srtp(&setup.providers[0]);
    let count = 300;
    let empty = resident_kb();
    let pairs: Vec<_> = (0..count)
        .map(|_| {
            let mut pair = Pair::new(&setup, now);
            pair.connect();
            for _ in 0..30 {
                pair.step();
            }
            pair
        })
        .collect();
    let each = (resident_kb() - empty) / f64::from(2 * count);
    println!("  a connected idle Rtc          {each:8.1} KB resident");
    drop(pairs);
}

/// The ciphers alone, without the headers and the HMAC that str0m adds.
fn srtp(provider: &CryptoProvider) {
    let (iv, aad, text) = ([1; 12], [2; 12], [3; 1200]);
    let (mut sealed, mut opened) = ([0; 1216], [0; 1200]);
    let gcm = provider.srtp_provider.aead_aes_128_gcm();
    let (mut seal, mut open) = (
        gcm.create_cipher([9; 16], true),
        gcm.create_cipher([9; 16], false),
    );
    let encrypt = cost(100_000, || {
        seal.encrypt(&iv, &aad, &text, &mut sealed).unwrap();
    });
    let decrypt = cost(100_000, || {
        open.decrypt(&iv, &[&aad], &sealed, &mut opened).unwrap();
    });
    assert_eq!(opened, text);
    let (encrypt, decrypt) = (encrypt * 1e3, decrypt * 1e3);
    println!("  AES-128-GCM, 1200 B           {encrypt:5.2} / {decrypt:.2} us");
}

#[test]
#[ignore = "measures; see above"]
fn measure() {
    for backend in CryptoBackend::available() {
        report(backend);
    }
}

/// Memory comes out right in a process of its own only, so each backend can be had alone.
#[test]
#[ignore = "measures; see above"]
fn measure_one_backend() {
    let name = std::env::var("CRYPTO_BACKEND").unwrap_or_default();
    report(name.parse().unwrap());
}
