//! The DTLS of peers on its own: two ends, and a path that loses, duplicates, corrupts and forges datagrams.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::crypto::dtls::{DtlsInstance, DtlsOutput, DtlsVersion};

use super::{Bytes, damage};
use crate::proto::peer::CryptoBackend;
use crate::proto::peer::crypto;
use crate::testing::shared_certificate;

/// Maximum number of outputs per poll; the peer's own drain has its own limit.
const MAX_OUTPUTS: usize = 400;

/// Delivers genuine and forged records: each end accepts only data that the other end has sent, nothing after an
/// unexpected certificate, and comes to rest.
pub fn dtls(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let version = |n: u8| match n & 3 {
        0 => DtlsVersion::Dtls12,
        1 => DtlsVersion::Dtls13,
        _ => DtlsVersion::Auto,
    };
    let Some(certificate) = shared_certificate() else {
        return;
    };
    let certificate = certificate.as_dtls_cert();
    let backend = CryptoBackend::default_backend().expect("a backend");
    let provider = crypto::provider(backend, Some(u64::from(options))).expect("a provider");
    let now = Instant::now() + Duration::from_secs(24 * 3600);
    let end = |version| {
        let made = provider
            .dtls_provider
            .new_dtls(&certificate, now, version, Some(1200));
        End {
            dtls: made.expect("an instance"),
            timeout: None,
            sent: Vec::new(),
            is_connected: false,
            shown: false,
            is_over: false,
        }
    };
    let mut path = Path {
        ends: [end(version(options)), end(version(options >> 2))],
        under_way: [VecDeque::new(), VecDeque::new()],
        seen: Vec::new(),
        certificate: certificate.certificate.clone(),
        now,
    };
    path.ends[0].dtls.set_active(true);
    path.ends[1].dtls.set_active(false);
    path.wait(Duration::ZERO);
    // Progress of the handshake before the first forged record.
    for _ in 0..options >> 4 {
        path.deliver(0);
        path.deliver(1);
    }
    while !bytes.is_empty() {
        path.step(&mut bytes);
    }
}

struct End {
    dtls: Box<dyn DtlsInstance>,
    timeout: Option<Instant>,
    /// Data sent at this end.
    sent: Vec<Vec<u8>>,
    is_connected: bool,
    /// Set if the last certificate presented was the other end's.
    shown: bool,
    /// Set once it has reported an error; a peer is closed then.
    is_over: bool,
}

struct Path {
    ends: [End; 2],
    /// Datagrams in flight to each end.
    under_way: [VecDeque<Vec<u8>>; 2],
    seen: Vec<Vec<u8>>,
    certificate: Vec<u8>,
    now: Instant,
}

impl Path {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let control = bytes.byte();
        let to = usize::from(control >> 7);
        match control & 15 {
            0..4 => self.deliver(to),
            4 => {
                self.under_way[to].pop_front();
            }
            5 => self.under_way[to].rotate_left(1.min(self.under_way[to].len())),
            6 | 7 => {
                let contents = damage(&self.seen, bytes);
                self.give(to, &contents);
            }
            8 => {
                let length = usize::from(bytes.word() & 0x7FF);
                self.give(to, bytes.take(length));
            }
            // A record whose type, version, epoch and number are chosen by the fuzzer.
            9 | 10 => {
                let kind = [20, 21, 22, 23, 24, 25, 26, 0x2C][usize::from(control >> 4 & 7)];
                let mut record = vec![kind, 254, 253, 0, bytes.byte() & 3, 0, 0, 0, 0, 0];
                record.push(bytes.byte());
                let length = bytes.byte();
                record.extend([0, length]);
                record.extend(bytes.take(usize::from(length)));
                self.give(to, &record);
            }
            11 => {
                let contents = vec![control; 1 + usize::from(bytes.byte())];
                let end = &mut self.ends[to];
                if !end.is_over && end.dtls.send_application_data(&contents).is_ok() {
                    end.sent.push(contents);
                }
                self.drain(to);
            }
            12 | 13 => self.wait(Duration::from_millis(u64::from(bytes.byte()) * 10)),
            14 if control & 0x70 == 0x70 => {
                let _ = self.ends[to].dtls.close();
                self.drain(to);
            }
            _ => {}
        }
    }

    fn deliver(&mut self, to: usize) {
        if let Some(datagram) = self.under_way[to].pop_front() {
            self.give(to, &datagram);
        }
    }

    fn give(&mut self, to: usize, datagram: &[u8]) {
        let end = &mut self.ends[to];
        // As in a peer: only datagrams of this kind get here (RFC 7983 §7), and 31 is our own mark.
        if end.is_over || !matches!(datagram.first(), Some(20..=30 | 32..=63)) {
            return;
        }
        let _ = end.dtls.handle_packet(datagram);
        self.drain(to);
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..1000 {
            for end in &mut self.ends {
                if !end.is_over && end.timeout.is_none_or(|at| at <= self.now) {
                    end.is_over |= end.dtls.handle_timeout(self.now).is_err();
                }
            }
            self.drain(0);
            self.drain(1);
            let next = self.ends.iter().filter(|e| !e.is_over);
            let next = next.filter_map(|e| e.timeout).min();
            match next.filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("it wants to be woken without end");
    }

    fn drain(&mut self, who: usize) {
        let mut buffer = vec![0; 4096];
        for _ in 0..MAX_OUTPUTS {
            match self.ends[who].dtls.poll_output(&mut buffer) {
                DtlsOutput::Timeout(at) => {
                    self.ends[who].timeout = Some(at);
                    return;
                }
                DtlsOutput::Packet(packet) => {
                    let packet = packet.to_vec();
                    assert!(packet.len() <= 1300, "{} bytes", packet.len());
                    if self.seen.len() < 100 {
                        self.seen.push(packet.clone());
                    }
                    let queue = &mut self.under_way[1 - who];
                    queue.push_back(packet);
                    queue.truncate(100);
                }
                // Anybody can send this before there are keys; only the owner of the keys can prove the right
                // certificate.
                DtlsOutput::PeerCert(der) => self.ends[who].shown = der == self.certificate,
                DtlsOutput::ApplicationData(data) => {
                    assert!(self.ends[who].shown, "data of another");
                    let sent = &self.ends[1 - who].sent;
                    assert!(sent.iter().any(|s| s == data), "nobody sent this");
                }
                DtlsOutput::Connected => {
                    assert!(!self.ends[who].is_connected, "connected twice");
                    self.ends[who].is_connected = true;
                }
                DtlsOutput::BufferTooSmall { .. } => buffer.resize(buffer.len() * 2, 0),
                _ => {}
            }
        }
        panic!("{MAX_OUTPUTS} outputs, and it is not drained");
    }
}
