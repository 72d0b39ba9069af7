//! Records that anyone who can forge an address can send, at every point of a handshake.

use std::time::{Duration, Instant};

use str0m::crypto::dtls::{DtlsCert, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion};

use super::dtls::SharedDtls;
use super::{Certificate, CryptoBackend, shared_dtls};

struct End {
    dtls: Box<dyn DtlsInstance>,
    wake: Option<Instant>,
    is_connected: bool,
    data: Vec<Vec<u8>>,
}

impl End {
    fn new(dtls: &SharedDtls, version: DtlsVersion, cert: &DtlsCert, active: bool) -> Self {
        let now = Instant::now();
        let dtls = dtls.new_dtls(cert, now, version, None);
        let mut dtls = dtls.unwrap();
        dtls.set_active(active);
        dtls.handle_timeout(now).unwrap();
        Self {
            dtls,
            wake: Some(now),
            is_connected: false,
            data: Vec::new(),
        }
    }

    fn poll(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if self.wake.is_some_and(|at| at <= now) {
            self.dtls.handle_timeout(now).unwrap();
        }
        let mut buffer = vec![0; 4096];
        let mut packets = Vec::new();
        loop {
            match self.dtls.poll_output(&mut buffer) {
                DtlsOutput::Timeout(at) => {
                    self.wake = Some(at);
                    return packets;
                }
                DtlsOutput::Packet(packet) => packets.push(packet.to_vec()),
                DtlsOutput::Connected => self.is_connected = true,
                DtlsOutput::ApplicationData(data) => self.data.push(data.to_vec()),
                _ => {}
            }
            assert!(packets.len() < 200, "no end of packets");
        }
    }
}

/// Runs a handshake in which `forged` is passed to both sides before each datagram, `count` times with different
/// numbers.
fn handshake(
    dtls: &SharedDtls,
    certificate: &DtlsCert,
    versions: [DtlsVersion; 2],
    forged: impl Fn(u8) -> Vec<u8>,
    count: u8,
) -> [End; 2] {
    let mut ends = [
        End::new(dtls, versions[0], certificate, true),
        End::new(dtls, versions[1], certificate, false),
    ];
    let mut now = Instant::now();
    for _ in 0..200 {
        let mut moved = false;
        for from in [0, 1] {
            for packet in ends[from].poll(now) {
                for record in super::dtls::records(&packet) {
                    for (end, number) in (0..count).flat_map(|n| [(0, n), (1, n)]) {
                        let _ = ends[end].dtls.handle_packet(&forged(number));
                    }
                    let given = ends[1 - from].dtls.handle_packet(record);
                    assert!(
                        given.is_ok(),
                        "{given:?}: {versions:?}, {:?} x {count}",
                        forged(0)
                    );
                }
                moved = true;
            }
        }
        if !moved {
            now += Duration::from_millis(100);
        }
        if ends.iter().all(|end| end.is_connected) {
            break;
        }
    }
    for _ in 0..10 {
        for from in [0, 1] {
            for packet in ends[from].poll(now) {
                let _ = ends[1 - from].dtls.handle_packet(&packet);
            }
        }
    }
    ends
}

const PAIRS: [[DtlsVersion; 2]; 5] = [
    [DtlsVersion::Dtls12, DtlsVersion::Dtls12],
    [DtlsVersion::Dtls13, DtlsVersion::Dtls13],
    [DtlsVersion::Auto, DtlsVersion::Auto],
    [DtlsVersion::Auto, DtlsVersion::Dtls12],
    [DtlsVersion::Dtls12, DtlsVersion::Auto],
];

fn plain(kind: u8, epoch: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u8;
    let mut record = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 1, 0, number, 0, length];
    record.extend(body);
    record
}

fn unified(epoch_bits: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![0x2C | epoch_bits, 1, number, 0, body.len() as u8];
    record.extend(body);
    record
}

/// Unprotected data is never returned, neither at once nor when there are keys.
#[test]
fn data_in_the_clear_is_never_data() {
    let dtls = shared_dtls();
    let backend = CryptoBackend::default_backend().unwrap();
    let certificate = Certificate::generate(backend).unwrap();
    let certificate = certificate.as_dtls_cert();
    for versions in PAIRS {
        for body in [&b"forged"[..], &[7; 40]] {
            for kind in 0..9 {
                let forged = |number| match kind {
                    0..4 => unified(kind, number, body),
                    4 => plain(23, 0, number, body),
                    5 => plain(23, 1, number, body),
                    6 => plain(25, 0, number, body),
                    7 => plain(26, 0, number, body),
                    // Without a length.
                    _ => [&[0x20, number][..], body].concat(),
                };
                for count in [1, 40] {
                    let ends = handshake(&dtls, &certificate, versions, forged, count);
                    for (who, end) in ends.iter().enumerate() {
                        let what = format!("{versions:?}, kind {kind} x {count}, end {who}");
                        assert!(end.data.is_empty(), "{what}: {:?}", end.data);
                        assert!(end.is_connected, "{what}: not connected");
                    }
                }
            }
        }
    }
}
