//! Two `str0m` peers in one process, in virtual time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::channel::ChannelId;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::*;

pub(super) struct End {
    pub rtc: Rtc,
    pub addr: SocketAddr,
    timeout: Instant,
    pub open: Option<ChannelId>,
    pub received: Vec<Vec<u8>>,
    /// Time and length of each datagram sent.
    pub sent: Vec<(Duration, usize)>,
}

pub(super) struct Pair {
    pub ends: [End; 2],
    pub start: Instant,
    pub now: Instant,
}

pub(super) struct Setup {
    pub providers: [Arc<CryptoProvider>; 2],
    pub certificates: [Certificate; 2],
    pub version: DtlsVersion,
}

impl Setup {
    pub fn same(backend: CryptoBackend, seed: Option<u64>, version: DtlsVersion) -> Self {
        let provider = provider(backend, seed).unwrap();
        let certificate = Certificate::generate(backend).unwrap();
        Self {
            providers: [provider.clone(), provider],
            certificates: [certificate.clone(), certificate],
            version,
        }
    }

    pub fn build(&self, index: usize, now: Instant) -> Rtc {
        Rtc::builder()
            .set_crypto_provider(self.providers[index].clone())
            .set_dtls_cert(self.certificates[index].as_dtls_cert())
            .set_dtls_version(self.version.into())
            .build(now)
    }
}

impl Pair {
    /// Creates two peers with offer and answer exchanged and a data channel requested.
    pub fn new(setup: &Setup, now: Instant) -> Self {
        let mut ends = [0, 1].map(|index| {
            let addr = SocketAddr::from(([10, 0, 0, 1 + index as u8], 5000));
            let mut rtc = setup.build(index, now);
            rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
            End {
                rtc,
                addr,
                timeout: now,
                open: None,
                received: vec![],
                sent: vec![],
            }
        });
        let mut change = ends[0].rtc.sdp_api();
        change.add_channel("data".into());
        let (offer, pending) = change.apply().unwrap();
        let answer: SdpAnswer = ends[1].rtc.sdp_api().accept_offer(offer).unwrap();
        ends[0]
            .rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .unwrap();
        Self {
            ends,
            start: now,
            now,
        }
    }

    /// Handles everything that is possible now, then advances to the next timeout.
    pub fn step(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..2 {
                for (to, data) in self.drain(index) {
                    moved = true;
                    let from = self.ends[index].addr;
                    let peer = &mut self.ends[1 - index];
                    assert_eq!(to, peer.addr);
                    let input = Receive {
                        proto: Protocol::Udp,
                        source: from,
                        destination: to,
                        contents: (&data[..]).try_into().unwrap(),
                    };
                    peer.rtc
                        .handle_input(Input::Receive(self.now, input))
                        .unwrap();
                }
            }
            if !moved {
                break;
            }
        }
        let next = self.ends.iter().map(|end| end.timeout).min().unwrap();
        // At least a millisecond, at most a second: OpenSSL requests arbitrary times.
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(1));
        self.now = next.clamp(self.now + least, self.now + most);
        for end in &mut self.ends {
            end.rtc.handle_input(Input::Timeout(self.now)).unwrap();
        }
    }

    fn drain(&mut self, index: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let (start, now) = (self.start, self.now);
        let end = &mut self.ends[index];
        let mut out = vec![];
        for _ in 0..10_000 {
            match end.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    end.timeout = at;
                    return out;
                }
                Output::Transmit(transmit) => {
                    end.sent.push((now - start, transmit.contents.len()));
                    out.push((transmit.destination, transmit.contents.to_vec()));
                }
                Output::Event(Event::ChannelOpen(id, _)) => end.open = Some(id),
                Output::Event(Event::ChannelData(data)) => end.received.push(data.data),
                Output::Event(_) => {}
            }
        }
        panic!("the drain does not end");
    }

    /// Runs until the channel is open on both sides; returns the virtual time it took.
    pub fn connect(&mut self) -> Duration {
        while self.ends.iter().any(|end| end.open.is_none()) {
            assert!(
                self.now - self.start < Duration::from_secs(20),
                "not connected"
            );
            self.step();
        }
        self.now - self.start
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
pub(super) fn wall_clock() -> Instant {
    Instant::now()
}

fn exchange(setup: &Setup) {
    let mut pair = Pair::new(setup, wall_clock());
    pair.connect();
    for index in 0..2 {
        let id = pair.ends[index].open.unwrap();
        let text = format!("from {index}");
        let mut channel = pair.ends[index].rtc.channel(id).unwrap();
        assert!(channel.write(true, text.as_bytes()).unwrap());
        for _ in 0..20 {
            pair.step();
        }
        assert_eq!(pair.ends[1 - index].received, [text.into_bytes()]);
    }
}

#[test]
fn every_pair_of_backends_connects() {
    for one in CryptoBackend::available() {
        for two in CryptoBackend::available() {
            let mut setup = Setup::same(one, None, DtlsVersion::V1_2);
            setup.providers[1] = provider(two, None).unwrap();
            setup.certificates[1] = Certificate::generate(two).unwrap();
            exchange(&setup);
        }
    }
}

#[test]
fn every_version_connects() {
    for backend in CryptoBackend::available() {
        for version in [DtlsVersion::V1_2, DtlsVersion::V1_3, DtlsVersion::Auto] {
            if backend.supports(version) {
                exchange(&Setup::same(backend, None, version));
            }
        }
    }
}

/// dimpl's handshake timeout does not end an established connection.
#[test]
fn every_version_lives_for_minutes() {
    for backend in CryptoBackend::available() {
        for version in [DtlsVersion::V1_2, DtlsVersion::V1_3, DtlsVersion::Auto] {
            if !backend.supports(version) {
                continue;
            }
            let mut pair = Pair::new(&Setup::same(backend, None, version), wall_clock());
            pair.connect();
            while pair.now - pair.start < Duration::from_secs(180) {
                pair.step();
            }
            assert!(
                pair.ends.iter().all(|end| end.rtc.is_alive()),
                "{backend}, {version}"
            );
        }
    }
}

#[test]
fn a_seeded_handshake_takes_the_same_time_again() {
    for backend in CryptoBackend::available() {
        if backend == CryptoBackend::OpenSsl {
            continue;
        }
        let run = |seed| {
            let setup = Setup::same(backend, Some(seed), DtlsVersion::V1_2);
            Pair::new(&setup, wall_clock()).connect()
        };
        assert_eq!(run(3), run(3));
    }
}
