//! What really happens when the other side's certificate is RSA: OpenSSL's own programs against our
//! DTLS, over loopback.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real sockets on purpose")]

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

/// Killed when the test ends, however it ends.
struct Program(Child);

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
    let certificate = Certificate::generate(backend).unwrap().as_dtls_cert();
    let version = DtlsVersion::V1_2.into();
    let mut dtls = provider(backend, None)
        .unwrap()
        .dtls_provider
        .new_dtls(&certificate, Instant::now(), version, None)
        .unwrap();
    dtls.set_active(active);
    dtls
}

/// Runs until it connects (`Ok`) or fails.
fn drive(dtls: &mut dyn DtlsInstance, socket: &UdpSocket) -> Result<(), RtcError> {
    let failed = |error| RtcError::Dtls(DtlsError::CryptoError(
        str0m::crypto::CryptoError::DtlsImpl(error),
    ));
    let begin = Instant::now();
    let mut peer = socket.peer_addr().ok();
    let mut buf = [0; 4096];
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while begin.elapsed() < Duration::from_secs(10) {
        dtls.handle_timeout(Instant::now()).map_err(failed)?;
        loop {
            match dtls.poll_output(&mut buf) {
                DtlsOutput::Packet(packet) => {
                    // Refused while the program is still starting: sent again by the timer.
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

fn against_server(backend: CryptoBackend, dir: &Path) -> Result<(), RtcError> {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _server = start(
        dir,
        &[
            "s_server", "-dtls1_2", "-accept", &free.to_string(), "-cert", "cert.pem", "-key",
            "key.pem", "-use_srtp", "SRTP_AES128_CM_SHA1_80", "-Verify", "1", "-quiet",
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
            "s_client", "-dtls1_2", "-connect", &addr, "-cert", "cert.pem", "-key", "key.pem",
            "-use_srtp", "SRTP_AES128_CM_SHA1_80", "-quiet",
        ],
    );
    drive(&mut *instance(backend, false), &socket)
}

#[test]
fn explore() {
    let dir = rsa_certificate("rsa");
    for backend in CryptoBackend::available() {
        eprintln!("{backend} client: {:?}", against_server(backend, &dir));
        eprintln!("{backend} server: {:?}", against_client(backend, &dir));
    }
}
