//! Behavior with an RSA certificate on the remote side: OpenSSL's own programs against our DTLS, over loopback.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real sockets on purpose"
)]

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use str0m::RtcError;
use str0m::crypto::DtlsError;
use str0m::crypto::dtls::{DtlsInstance, DtlsOutput};

use super::*;

fn rsa_certificate(name: &str) -> std::path::PathBuf {
    let dir = scratch_dir(name);
    openssl_cli(
        &dir,
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
            "cert.pem", "-subj", "/CN=rsa", "-days", "2",
        ],
    );
    dir
}

/// A program that is killed when the test ends.
pub(super) struct Program(pub Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(dir: &Path, args: &[&str]) -> Program {
    let child = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test needs the program `openssl` (Debian: apt-get install openssl)");
    Program(child)
}

fn instance(backend: CryptoBackend, active: bool) -> Box<dyn DtlsInstance> {
    instance_with(backend, &Certificate::generate(backend).unwrap(), active)
}

pub(super) fn instance_with(
    backend: CryptoBackend,
    certificate: &Certificate,
    active: bool,
) -> Box<dyn DtlsInstance> {
    let certificate = certificate.as_dtls_cert();
    let version = DtlsVersion::V1_2.into();
    let mut dtls = provider(backend, None)
        .unwrap()
        .dtls_provider
        .new_dtls(&certificate, Instant::now(), version, None)
        .unwrap();
    dtls.set_active(active);
    dtls.handle_timeout(Instant::now()).unwrap();
    if active {
        // The way str0m starts a handshake.
        let _ = dtls.handle_packet(&[]);
    }
    dtls
}

/// Runs until it connects (`Ok`) or fails.
fn drive(dtls: &mut dyn DtlsInstance, socket: &UdpSocket) -> Result<(), RtcError> {
    // The form in which str0m passes it on.
    let failed = |error| {
        let text = format!("DTLS error: {error}");
        RtcError::Dtls(DtlsError::CryptoError(str0m::crypto::CryptoError::Other(
            text,
        )))
    };
    let begin = Instant::now();
    let mut peer = socket.peer_addr().ok();
    let mut buf = [0; 4096];
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    while begin.elapsed() < Duration::from_secs(10) {
        dtls.handle_timeout(Instant::now()).map_err(failed)?;
        loop {
            match dtls.poll_output(&mut buf) {
                DtlsOutput::Packet(packet) => {
                    // Refused while the program is still starting; retransmitted by the timer.
                    let _ = socket.send_to(packet, peer.unwrap());
                }
                DtlsOutput::Connected => return Ok(()),
                DtlsOutput::Timeout(_) => break,
                _ => {}
            }
        }
        if let Ok((len, from)) = socket.recv_from(&mut buf) {
            peer = Some(from);
            dtls.handle_packet(&buf[..len]).map_err(failed)?;
        }
    }
    panic!("neither connected nor failed in 10 s");
}

pub(super) fn against_server(backend: CryptoBackend, dir: &Path) -> Result<(), RtcError> {
    let free = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let _server = start(
        dir,
        &[
            "s_server",
            "-dtls1_2",
            "-accept",
            &free.to_string(),
            "-cert",
            "cert.pem",
            "-key",
            "key.pem",
            "-use_srtp",
            "SRTP_AES128_CM_SHA1_80",
            "-Verify",
            "1",
            "-quiet",
        ],
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = format!("127.0.0.1:{free}");
    // Until it listens.
    std::thread::sleep(Duration::from_millis(300));
    socket.connect(&server).unwrap();
    drive(&mut *instance(backend, true), &socket)
}

fn against_client(backend: CryptoBackend, dir: &Path) -> Result<(), RtcError> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap().to_string();
    let _client = start(
        dir,
        &[
            "s_client",
            "-dtls1_2",
            "-connect",
            &addr,
            "-cert",
            "cert.pem",
            "-key",
            "key.pem",
            "-use_srtp",
            "SRTP_AES128_CM_SHA1_80",
            "-quiet",
        ],
    );
    drive(&mut *instance(backend, false), &socket)
}

/// Every backend without RSA fails as client and as server, with an error that names RSA.
#[test]
fn rsa_is_explained_where_it_cannot_be_used() {
    let dir = rsa_certificate("rsa-explained");
    for backend in CryptoBackend::available() {
        if backend == CryptoBackend::OpenSsl {
            continue;
        }
        for result in [against_server(backend, &dir), against_client(backend, &dir)] {
            let error = result.expect_err("dimpl knows no RSA");
            let text = explain_dtls_error(&error, backend)
                .unwrap_or_else(|| panic!("{backend}: nothing said about {error}"));
            assert!(text.contains("RSA") && text.contains("ECDSA"), "{text}");
        }
    }
}

#[cfg(feature = "openssl")]
#[test]
fn openssl_connects_to_rsa() {
    let dir = rsa_certificate("rsa-openssl");
    against_server(CryptoBackend::OpenSsl, &dir).unwrap();
    against_client(CryptoBackend::OpenSsl, &dir).unwrap();
}

/// Connects to the same programs with an ECDSA certificate: RSA is the cause in the first test.
#[test]
fn ecdsa_connects_with_every_backend() {
    let dir = scratch_dir("ecdsa");
    openssl_cli(
        &dir,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-subj",
            "/CN=ec",
            "-days",
            "2",
        ],
    );
    for backend in CryptoBackend::available() {
        against_server(backend, &dir).unwrap();
        against_client(backend, &dir).unwrap();
    }
}

#[cfg(any(feature = "rust-crypto", feature = "aws-lc"))]
#[test]
fn other_failures_are_left_alone() {
    for backend in CryptoBackend::ALL {
        let error = RtcError::Dtls(DtlsError::CryptoError(str0m::crypto::CryptoError::Other(
            format!("DTLS error: {}", dimpl::Error::ReceiveQueueFull),
        )));
        assert_eq!(explain_dtls_error(&error, backend), None);
        assert_eq!(
            explain_dtls_error(&RtcError::NotReceivingDirection, backend),
            None
        );
    }
}

/// Lost flights and invalid datagrams with OpenSSL, in both roles.
#[cfg(feature = "openssl")]
mod fenced {
    use super::*;

    fn packets(dtls: &mut dyn DtlsInstance, connected: &mut bool) -> Vec<Vec<u8>> {
        let (mut out, mut buf) = (vec![], [0; 4096]);
        for _ in 0..100 {
            match dtls.poll_output(&mut buf) {
                DtlsOutput::Packet(packet) => out.push(packet.to_vec()),
                DtlsOutput::Connected => *connected = true,
                DtlsOutput::Timeout(at) if at > Instant::now() + Duration::from_secs(60) => break,
                _ => {}
            }
        }
        out
    }

    #[test]
    fn a_lost_first_flight_is_sent_again() {
        let mut client = instance(CryptoBackend::OpenSsl, true);
        let mut server = instance(CryptoBackend::OpenSsl, false);
        let (mut client_up, mut server_up) = (false, false);
        assert!(!packets(&mut *client, &mut client_up).is_empty()); // lost
        let begin = Instant::now();
        while !(client_up && server_up) {
            assert!(begin.elapsed() < Duration::from_secs(5), "never sent again");
            std::thread::sleep(Duration::from_millis(20));
            for packet in packets(&mut *client, &mut client_up) {
                server.handle_packet(&packet).unwrap();
            }
            for packet in packets(&mut *server, &mut server_up) {
                client.handle_packet(&packet).unwrap();
            }
            client.handle_timeout(Instant::now()).unwrap();
            server.handle_timeout(Instant::now()).unwrap();
        }
    }

    #[test]
    fn a_failed_connection_says_so_and_does_not_panic() {
        let mut client = instance(CryptoBackend::OpenSsl, true);
        packets(&mut *client, &mut false);
        // A fatal alert, handshake_failure, in epoch 0.
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];
        let error = client.handle_packet(&alert).unwrap_err();
        assert_eq!(client.handle_packet(&alert), Err(error.clone()));
        assert_eq!(client.handle_timeout(Instant::now()), Err(error.clone()));
        assert_eq!(client.send_application_data(b"late"), Err(error));
        assert!(packets(&mut *client, &mut false).is_empty());
        client.close().unwrap();
    }
}
