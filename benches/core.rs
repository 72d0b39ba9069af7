//! Cost of the core alone (`str0m`, and `sctp-proto` below it): two `Rtc` in one process without sockets; the processor
//! time of both together. The sizes in `src/proto/peer` were chosen with this: the MTU, how much the core is given to
//! hold, how much is fed and received at once. Figures: docs/benchmarks.md.
//!
//! ```text
//! cargo bench --bench core -- --sizes 64,1200,16384,65536 --mtu 1200,1300 --hold 16384,65536
//! ```

#[path = "support/cpu.rs"]
mod cpu;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpu::cpu_time;
use str0m::change::SdpAnswer;
use str0m::channel::ChannelId;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{DtlsCert, DtlsVersion};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

struct End {
    rtc: Rtc,
    addr: SocketAddr,
    timeout: Instant,
    open: Option<ChannelId>,
    received: usize,
    messages: usize,
    datagrams: usize,
    low: bool,
    out: VecDeque<Vec<u8>>,
    drains: usize,
}

impl End {
    fn new(index: u8, setup: &Setup, now: Instant) -> Self {
        let addr = SocketAddr::from(([10, 0, 0, 1 + index], 5000));
        let mut rtc = Rtc::builder()
            .set_crypto_provider(setup.provider.clone())
            .set_dtls_cert(setup.cert.clone())
            .set_dtls_version(DtlsVersion::Dtls12)
            .set_sctp_max_buffered_amount(4 << 20)
            .set_mtu(setup.mtu..=usize::MAX)
            .build(now);
        rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
        Self {
            rtc,
            addr,
            timeout: now,
            open: None,
            received: 0,
            messages: 0,
            datagrams: 0,
            low: false,
            out: VecDeque::new(),
            drains: 0,
        }
    }

    fn drain(&mut self) {
        self.drains += 1;
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(t) => {
                    self.datagrams += 1;
                    self.out.push_back(t.contents.to_vec());
                }
                Output::Event(Event::ChannelOpen(id, _)) => self.open = Some(id),
                Output::Event(Event::ChannelData(d)) => {
                    self.received += d.data.len();
                    self.messages += 1;
                }
                Output::Event(Event::ChannelBufferedAmountLow(_)) => self.low = true,
                Output::Event(_) => {}
            }
        }
    }

    /// Receives up to `batch` datagrams of `from`, as one input if all are DTLS.
    fn receive(&mut self, from: &mut End, batch: usize, joined: bool, now: Instant) -> bool {
        if from.out.is_empty() {
            return false;
        }
        let is_dtls = |d: &[u8]| (20..64).contains(&d[0]);
        let mut inputs: Vec<Vec<u8>> = vec![];
        let mut count = 0;
        while count < batch {
            let Some(next) = from.out.pop_front() else {
                break;
            };
            count += 1;
            match inputs.last_mut() {
                Some(last) if joined && is_dtls(last) && is_dtls(&next) => {
                    let last: &mut Vec<u8> = last;
                    last.extend_from_slice(&next);
                }
                _ => inputs.push(next),
            }
        }
        for data in &inputs {
            let input = Receive {
                proto: Protocol::Udp,
                source: from.addr,
                destination: self.addr,
                contents: data.as_slice().try_into().unwrap(),
            };
            self.rtc.handle_input(Input::Receive(now, input)).unwrap();
        }
        self.drain();
        true
    }
}

struct Setup {
    provider: Arc<CryptoProvider>,
    cert: DtlsCert,
    mtu: usize,
}

struct Pair {
    ends: [End; 2],
    now: Instant,
    base: Instant,
    virtual_time: Duration,
}

impl Pair {
    fn connect(setup: &Setup) -> Self {
        let now = Instant::now();
        let [mut a, mut b] = [End::new(0, setup, now), End::new(1, setup, now)];
        let mut change = a.rtc.sdp_api();
        change.add_channel("data".into());
        let (offer, pending) = change.apply().unwrap();
        let answer: SdpAnswer = b.rtc.sdp_api().accept_offer(offer).unwrap();
        a.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        a.drain();
        b.drain();
        let mut pair = Self {
            ends: [a, b],
            now,
            base: now,
            virtual_time: Duration::ZERO,
        };
        for _ in 0..10_000 {
            if pair.ends.iter().all(|e| e.open.is_some()) {
                return pair;
            }
            pair.exchange(1, false);
            pair.sleep();
        }
        panic!("not connected");
    }

    fn exchange(&mut self, batch: usize, joined: bool) {
        let now = self.now;
        loop {
            let [a, b] = &mut self.ends;
            let moved = b.receive(a, batch, joined, now) | a.receive(b, batch, joined, now);
            if !moved {
                return;
            }
        }
    }

    fn sleep(&mut self) {
        let next = self.ends.iter().map(|e| e.timeout).min().unwrap();
        self.now = next.max(self.now + Duration::from_millis(1));
        self.virtual_time = self.now - self.base;
        for e in &mut self.ends {
            e.rtc.handle_input(Input::Timeout(self.now)).unwrap();
            e.drain();
        }
    }
}

struct Case {
    size: usize,
    mtu: usize,
    /// Maximum number of bytes in the core.
    hold: usize,
    /// Number of datagrams per drain of the receiver.
    batch: usize,
    joined: bool,
    /// Drain after every message, rather than after a batch.
    drain_each: bool,
}

fn measure(setup: &Setup, case: &Case, seconds: f64) {
    let mut pair = Pair::connect(setup);
    let id = pair.ends[0].open.unwrap();
    let message = vec![7u8; case.size];
    let low = case.hold / 2;
    pair.ends[0]
        .rtc
        .channel(id)
        .unwrap()
        .set_buffered_amount_low_threshold(low);
    pair.ends[0].drain();
    let mut measured = None;
    let began = Instant::now();
    loop {
        // Feed up to the high mark.
        let mut held = pair.ends[0].rtc.channel(id).unwrap().buffered_amount();
        if held <= low {
            while held < case.hold {
                let ok = pair.ends[0]
                    .rtc
                    .channel(id)
                    .unwrap()
                    .write(true, &message)
                    .unwrap();
                assert!(ok);
                held += case.size;
                if case.drain_each {
                    pair.ends[0].drain();
                }
            }
            pair.ends[0].drain();
        }
        // One hop in each direction, then check for room again.
        let before = pair.ends[1].received;
        let [a, b] = &mut pair.ends;
        let now = pair.now;
        let mut moved = b.receive(a, case.batch, case.joined, now);
        moved |= a.receive(b, case.batch, case.joined, now);
        if !moved {
            // Both idle: only a timer (the delayed acknowledgement) is pending.
            pair.sleep();
        }
        pair.now += Duration::from_micros(20);
        let _ = before;
        let elapsed = began.elapsed().as_secs_f64();
        if elapsed > seconds * 0.3 && measured.is_none() {
            measured = Some((
                cpu_time(),
                pair.ends[1].received,
                pair.ends[1].messages,
                pair.ends[0].datagrams + pair.ends[1].datagrams,
                pair.ends[0].drains + pair.ends[1].drains,
            ));
        }
        if elapsed > seconds {
            break;
        }
    }
    let (cpu0, received0, messages0, datagrams0, drains0) = measured.unwrap();
    let used = (cpu_time() - cpu0).as_secs_f64();
    let bytes = (pair.ends[1].received - received0) as f64;
    let messages = (pair.ends[1].messages - messages0) as f64;
    let datagrams = (pair.ends[0].datagrams + pair.ends[1].datagrams - datagrams0) as f64;
    let drains = (pair.ends[0].drains + pair.ends[1].drains - drains0) as f64;
    println!(
        "{:>6} B mtu {:>4} hold {:>7} batch {:>2}{} {}: {:>6.1} MB/CPU-s  {:>7.2} us/message  {:>5.2} datagrams/message {:>5.2} drains/message",
        case.size,
        case.mtu,
        case.hold,
        case.batch,
        if case.joined { " joined" } else { "       " },
        if case.drain_each {
            "drain each"
        } else {
            "drain once"
        },
        bytes / used / 1e6,
        used * 1e6 / messages,
        datagrams / messages,
        drains / messages
    );
}

fn main() {
    let list = |name: &str, default: &str| -> Vec<usize> {
        let args: Vec<String> = std::env::args().collect();
        let text = args
            .iter()
            .position(|a| a == name)
            .and_then(|i| args.get(i + 1))
            .cloned();
        text.unwrap_or(default.into())
            .split(',')
            .map(|s| s.parse().unwrap())
            .collect()
    };
    let sizes = list("--sizes", "64,1200,16384,65536");
    let mtus = list("--mtu", "1200");
    let holds = list("--hold", "16384,65536,262144");
    let batches = list("--batch", "1");
    let joins = list("--joined", "0");
    let eaches = list("--each", "0");
    let seconds = list("--ms", "700")[0] as f64 / 1000.0;
    for &mtu in &mtus {
        let provider = Arc::new(str0m_aws_lc_rs::default_provider());
        let cert = provider.dtls_provider.generate_certificate().unwrap();
        let setup = Setup {
            provider,
            cert,
            mtu,
        };
        for &size in &sizes {
            for &hold in &holds {
                for &batch in &batches {
                    for &joined in &joins {
                        for &each in &eaches {
                            let case = Case {
                                size,
                                mtu,
                                hold,
                                batch,
                                joined: joined == 1,
                                drain_each: each == 1,
                            };
                            measure(&setup, &case, seconds);
                        }
                    }
                }
            }
        }
    }
}
