//! Certificates that dimpl cannot use: another curve (FFmpeg 8 with GnuTLS creates P-224), Ed25519, RSA. The
//! application gets an explanation, and the remote peer an alert.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use str0m::RtcError;
use str0m::crypto::DtlsError;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput};

use super::*;

/// Creates a self-signed certificate and its key with the `openssl` program: `cert.pem` and `key.pem`.
fn certificate(algorithm: &[&str]) -> PathBuf {
    // A separate directory for each test.
    static MADE: AtomicU32 = AtomicU32::new(0);
    let dir = scratch_dir(&format!(
        "unusable-{}",
        MADE.fetch_add(1, Ordering::Relaxed)
    ));
    let mut args = vec!["req", "-x509", "-newkey"];
    args.extend(algorithm);
    args.extend(["-nodes", "-keyout", "key.pem", "-out", "cert.pem"]);
    args.extend(["-subj", "/CN=unusable", "-days", "2"]);
    openssl_cli(&dir, &args);
    dir
}

fn curve(name: &str) -> PathBuf {
    certificate(&["ec", "-pkeyopt", &format!("ec_paramgen_curve:{name}")])
}

/// Returns the explanation given to the application.
fn sentence(error: &DtlsImplError, backend: CryptoBackend) -> String {
    // The form in which str0m passes it on.
    let text = format!("DTLS error: {error}");
    let error = RtcError::Dtls(DtlsError::CryptoError(str0m::crypto::CryptoError::Other(
        text,
    )));
    explain_dtls_error(&error, backend)
        .unwrap_or_else(|| panic!("{backend}: nothing said about {error}"))
}

/// Returns the datagrams queued for sending.
fn packets(dtls: &mut dyn DtlsInstance) -> Vec<Vec<u8>> {
    let (mut out, mut buf) = (vec![], [0; 4096]);
    for _ in 0..100 {
        match dtls.poll_output(&mut buf) {
            DtlsOutput::Packet(packet) => out.push(packet.to_vec()),
            DtlsOutput::Timeout(_) => break,
            _ => {}
        }
    }
    out
}

/// Parses a fatal alert: epoch, number and description.
fn alert(packet: &[u8]) -> Option<(u16, u64, u8)> {
    let [21, 0xfe, 0xfd, e0, e1, n @ .., 0, 2, 2, description] = packet else {
        return None;
    };
    let number = n.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
    (packet.len() == 15).then_some((u16::from_be_bytes([*e0, *e1]), number, *description))
}

fn dimpl_backends() -> impl Iterator<Item = CryptoBackend> {
    let all = CryptoBackend::available().into_iter();
    all.filter(|backend| *backend != CryptoBackend::OpenSsl)
}

/// Against OpenSSL's own DTLS, in one process.
#[cfg(feature = "openssl")]
mod openssl {
    use std::time::Instant;

    use super::super::rsa::instance_with;
    use super::*;

    fn load(dir: &Path) -> Certificate {
        let read = |args: &[&str]| {
            openssl_cli(dir, args);
            std::fs::read(dir.join("out.der")).unwrap()
        };
        let cert = read(&[
            "x509", "-in", "cert.pem", "-outform", "DER", "-out", "out.der",
        ]);
        let key = read(&[
            "pkey", "-in", "key.pem", "-outform", "DER", "-out", "out.der",
        ]);
        Certificate::from_der(CryptoBackend::OpenSsl, &cert, &key).unwrap()
    }

    /// Result of a handshake.
    struct End {
        ours: DtlsImplError,
        /// The alerts that we sent.
        alerts: Vec<(u16, u64, u8)>,
        /// The numbers of the unprotected records sent before.
        numbers: Vec<u64>,
        theirs_failed: bool,
        dtls: Box<dyn DtlsInstance>,
        /// The last flight of the remote side.
        flight: Vec<Vec<u8>>,
    }

    fn handshake(backend: CryptoBackend, other: &Certificate, is_client: bool) -> End {
        let own = Certificate::generate(backend).unwrap();
        let mut ours = instance_with(backend, &own, is_client);
        let mut theirs = instance_with(CryptoBackend::OpenSsl, other, !is_client);
        let (mut error, mut alerts, mut numbers) = (None, vec![], vec![]);
        let (mut theirs_failed, mut flight) = (false, vec![]);
        for _ in 0..20 {
            for packet in packets(&mut *ours) {
                match alert(&packet) {
                    Some(alert) => alerts.push(alert),
                    None => numbers.extend(
                        dtls::records(&packet)
                            .filter(|r| r[3..5] == [0, 0])
                            .map(|r| r[5..11].iter().fold(0, |n, b| n << 8 | u64::from(*b))),
                    ),
                }
                theirs_failed |= theirs.handle_packet(&packet).is_err();
            }
            let came = packets(&mut *theirs);
            if !came.is_empty() {
                flight = came;
                for packet in &flight {
                    if let Err(e) = ours.handle_packet(packet) {
                        error.get_or_insert(e);
                    }
                }
            }
            ours.handle_timeout(Instant::now()).unwrap();
        }
        End {
            ours: error.expect("our side has failed"),
            alerts,
            numbers,
            theirs_failed,
            dtls: ours,
            flight,
        }
    }

    #[test]
    fn a_client_on_another_curve_is_named_and_told() {
        for name in ["secp224r1", "secp521r1", "secp256k1"] {
            let other = load(&curve(name));
            for backend in dimpl_backends() {
                let mut end = handshake(backend, &other, false);
                let text = sentence(&end.ours, backend);
                assert!(
                    text.contains("not on a curve") && text.contains("P-256"),
                    "{text}"
                );
                // Sent once, unprotected, with a number of its own; and OpenSSL accepts it.
                let [(0, number, 43)] = end.alerts[..] else {
                    panic!("{name}, {backend}: {:?}", end.alerts);
                };
                assert!(end.numbers.iter().all(|n| *n < number), "{:?}", end.numbers);
                assert!(end.theirs_failed, "{name}, {backend}");
                // If it is lost, the flight is retransmitted, and the alert is sent again with another number.
                for packet in &end.flight {
                    assert_eq!(end.dtls.handle_packet(packet), Ok(()));
                }
                let again = packets(&mut *end.dtls);
                assert_eq!(alert(&again[0]), Some((0, number + 1, 43)));
                assert_eq!(again.len(), 1);
                // Nothing else is sent, and no timeout is requested.
                end.dtls.handle_timeout(Instant::now()).unwrap();
                assert!(packets(&mut *end.dtls).is_empty());
                assert_eq!(end.dtls.close(), Ok(()));
                packets(&mut *end.dtls);
                assert!(end.dtls.is_closed());
            }
        }
    }

    /// Two complete peers: the application gets the explanation at once, and the remote peer does not wait either.
    #[cfg(feature = "testing")]
    #[test]
    fn a_peer_says_so_and_its_alert_arrives() {
        use crate::proto::peer::{
            ChannelConfig, ConnectionState, PeerConfig, PeerError, PeerEvent,
        };
        use crate::testing::{Link, Simulation};

        let other = load(&curve("secp224r1"));
        for backend in dimpl_backends() {
            let mut sim = Simulation::new(3, Link::default().delay(20, 0));
            sim.without_seeds();
            let openssl = PeerConfig::default()
                .crypto(Some(CryptoBackend::OpenSsl))
                .dtls(DtlsVersion::V1_2)
                .certificate(Some(other.clone()));
            let ours = PeerConfig::default()
                .crypto(Some(backend))
                .dtls(DtlsVersion::V1_2);
            let (theirs, ours) = sim.pair_with(openssl, ours);
            // The offerer is the DTLS client here: our ClientHello would tell OpenSSL not to use that certificate.
            sim.with(theirs, |peer, now| {
                peer.create_data_channel(ChannelConfig::new("data"), now)
            })
            .unwrap();
            let failed = |sim: &Simulation, node| {
                sim.peer(node).connection_state() == ConnectionState::Failed
            };
            assert!(
                sim.run_until(2_000, |sim| failed(sim, ours)),
                "{backend}: {:?}",
                sim.peer(ours)
            );
            let mut said = vec![];
            while let Some(event) = sim.next_event(ours) {
                if let PeerEvent::Error(PeerError::Handshake(why)) = event {
                    said.push(why);
                }
            }
            assert!(
                matches!(&said[..], [why] if why.contains("not on a curve")),
                "{said:?}"
            );
            let over = |sim: &Simulation| {
                let state = sim.peer(theirs).connection_state();
                matches!(state, ConnectionState::Failed | ConnectionState::Closed)
            };
            assert!(sim.run_until(3_000, over), "{backend}: it was not told");
        }
    }

    /// These have no certificate of the requested kind and send none; dimpl has its own alert for that.
    #[test]
    fn a_client_without_a_certificate_for_us_is_named_and_told() {
        for algorithm in [["ed25519"], ["rsa:2048"]] {
            let other = load(&certificate(&algorithm));
            for backend in dimpl_backends() {
                let end = handshake(backend, &other, false);
                let text = sentence(&end.ours, backend);
                assert!(text.contains("RSA, Ed25519 or on another curve"), "{text}");
                let is_told = matches!(end.alerts[..], [(0, _, 40)]) && end.theirs_failed;
                assert!(is_told, "{algorithm:?}, {backend}: {:?}", end.alerts);
            }
        }
    }
}

/// OpenSSL's server checks what the client supports, and sends us an alert.
#[test]
fn an_openssl_server_that_knows_better_is_named() {
    for dir in [certificate(&["ed25519"]), curve("secp224r1")] {
        for backend in dimpl_backends() {
            let error = super::rsa::against_server(backend, &dir).expect_err("nothing in common");
            let text = explain_dtls_error(&error, backend)
                .unwrap_or_else(|| panic!("{backend}: nothing said about {error}"));
            assert!(text.contains("RSA, Ed25519 or on another curve"), "{text}");
        }
    }
}

/// GnuTLS sends a server's certificate regardless of the client's curves, as FFmpeg 8 does.
mod gnutls {
    #![allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "real sockets on purpose"
    )]

    use std::net::UdpSocket;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::super::rsa::{Program, instance_with};
    use super::*;

    /// Starts the server; `None`, with a loud message, if it is not installed.
    fn server(dir: &Path, port: u16) -> Option<Program> {
        let started = Command::new("gnutls-serv")
            .args(["--udp", "--require-client-cert", "--port"])
            .arg(port.to_string())
            .args(["--x509keyfile", "key.pem", "--x509certfile", "cert.pem"])
            .args([
                "--priority",
                "NORMAL:-VERS-ALL:+VERS-DTLS1.2:+GROUP-ALL:+SIGN-ALL:%VERIFY_ALLOW_BROKEN",
            ])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(dir.join("said")).unwrap())
            .stderr(std::fs::File::create(dir.join("complained")).unwrap())
            .spawn();
        match started {
            Ok(child) => Some(Program(child)),
            Err(why) => {
                let text =
                    format!("NOT TESTED: gnutls-serv: {why} (Debian: apt-get install gnutls-bin)");
                assert!(std::env::var_os("CI").is_none(), "{text}");
                eprintln!("{text}");
                None
            }
        }
    }

    fn heard(dir: &Path) -> String {
        ["said", "complained"]
            .map(|name| std::fs::read_to_string(dir.join(name)).unwrap_or_default())
            .concat()
    }

    /// Waits until the server has printed this text.
    fn wait_for(dir: &Path, text: &str) {
        let begin = Instant::now();
        while !heard(dir).contains(text) {
            let late = begin.elapsed() > Duration::from_secs(20);
            assert!(!late, "no {text:?}: {}", heard(dir));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns our error once the alert is sent.
    fn connect(dtls: &mut dyn DtlsInstance, port: u16) -> DtlsImplError {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        let wait = Duration::from_millis(20);
        socket.set_read_timeout(Some(wait)).unwrap();
        let (begin, mut buf) = (Instant::now(), [0; 4096]);
        let mut failed = None;
        while begin.elapsed() < Duration::from_secs(20) {
            dtls.handle_timeout(Instant::now()).unwrap();
            for packet in packets(dtls) {
                let is_told = alert(&packet).is_some_and(|(.., description)| description == 43);
                // Fails with an ICMP error for an earlier packet.
                let _ = socket.send(&packet);
                if let Some(error) = failed.take_if(|_| is_told) {
                    return error;
                }
            }
            if let Ok(length) = socket.recv(&mut buf)
                && let Err(error) = dtls.handle_packet(&buf[..length])
            {
                failed = Some(error);
            }
        }
        panic!("no failure with an alert in 20 s; failed: {failed:?}");
    }

    #[test]
    fn a_gnutls_server_on_another_curve_is_named_and_told() {
        for name in ["secp224r1", "secp521r1"] {
            for backend in dimpl_backends() {
                let dir = curve(name);
                let free = UdpSocket::bind("127.0.0.1:0").unwrap();
                let port = free.local_addr().unwrap().port();
                drop(free);
                let Some(_server) = server(&dir, port) else {
                    return;
                };
                wait_for(&dir, "listening");
                let own = Certificate::generate(backend).unwrap();
                let error = connect(&mut *instance_with(backend, &own, true), port);
                let text = sentence(&error, backend);
                assert!(
                    text.contains("not on a curve") && text.contains("P-256"),
                    "{text}"
                );
                wait_for(&dir, "fatal alert has been received");
            }
        }
    }
}
