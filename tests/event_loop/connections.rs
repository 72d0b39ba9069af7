//! TCP connections of the application on the loop, with and without TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, LoopError, TcpConfig, TcpError, TcpEventKind, TcpId};

fn net() -> EventLoop {
    EventLoop::new(LoopConfig::default()).unwrap()
}

/// Waits for the next event of a connection.
fn next(net: &mut EventLoop, id: TcpId) -> TcpEventKind {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if let Some(event) = net.poll_tcp() {
            assert_eq!(event.socket, id);
            return event.kind;
        }
        net.next_event(Some(Duration::from_millis(100))).unwrap();
    }
    panic!("no event came");
}

fn connected(net: &mut EventLoop, id: TcpId) {
    let event = next(net, id);
    assert!(matches!(event, TcpEventKind::Connected { .. }), "{event:?}");
}

fn closed(net: &mut EventLoop, id: TcpId) -> TcpError {
    match next(net, id) {
        TcpEventKind::Closed { reason } => reason,
        event => panic!("{event:?}"),
    }
}

fn received(net: &mut EventLoop, id: TcpId, size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < size {
        match next(net, id) {
            TcpEventKind::Received(bytes) => all.extend(bytes),
            event => panic!("{event:?} after {} bytes", all.len()),
        }
    }
    all
}

/// Runs a server for one connection in a thread; returns its port.
fn server<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || serve(listener.accept().unwrap().0));
    (port, thread)
}

/// Waits for a thread while the loop runs.
fn finish<T>(net: &mut EventLoop, thread: JoinHandle<T>) -> T {
    while !thread.is_finished() {
        net.run_once(Some(Duration::from_millis(10))).unwrap();
    }
    thread.join().unwrap()
}

fn echo(mut stream: TcpStream) -> usize {
    let mut buffer = vec![0; 10_000];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return total,
            Ok(count) => {
                stream.write_all(&buffer[..count]).unwrap();
                total += count;
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn in_and_out_by_name() {
    let mut net = net();
    let (port, thread) = server(echo);
    // The name may have an IPv6 address that nobody listens at, too.
    let id = net.add_tcp(TcpConfig::new("localhost", port)).unwrap();
    // Nothing is taken before there is a connection.
    assert!(!net.send_tcp(id, b"early").unwrap());
    connected(&mut net, id);
    assert!(net.send_tcp(id, b"hel").unwrap());
    assert!(net.send_tcp(id, b"lo").unwrap());
    assert_eq!(received(&mut net, id, 5), b"hello");
    let big: Vec<u8> = (0..900_000u32).map(|n| n as u8).collect();
    assert!(net.send_tcp(id, &big).unwrap());
    assert!(received(&mut net, id, big.len()) == big);
    // What is queued is sent although the connection is closed.
    assert!(net.send_tcp(id, &[1; 100_000]).unwrap());
    net.close_tcp(id);
    assert!(matches!(
        net.send_tcp(id, b"x"),
        Err(LoopError::NoSuchSocket)
    ));
    assert_eq!(finish(&mut net, thread), 1_000_005);
    assert_eq!(net.poll_tcp(), None);
    net.close_tcp(id);
}

/// Neither side loses a byte when the other does not read, and neither queues without a limit.
#[test]
fn nobody_reads_and_nothing_is_lost() {
    const TOTAL: usize = 40_000_000;
    let mut net = net();
    let (port, thread) = server(|mut stream| {
        // Writes until the loop stops reading: the limits of the system's buffers and the loop's.
        let chunk = vec![3; 100_000];
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let mut sent = 0;
        while sent < TOTAL {
            match stream.write(&chunk) {
                Ok(count) => sent += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("{e}"),
            }
        }
        assert!(sent < TOTAL, "the loop reads without a limit");
        stream.shutdown(Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(300));
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        (sent, got)
    });
    let config = TcpConfig::new("127.0.0.1", port)
        .max_unread(100_000)
        .max_queue(200_000);
    let id = net.add_tcp(config.half_open(true)).unwrap();
    connected(&mut net, id);
    let (mut queued, mut n) = (Vec::new(), 0u8);
    // Sends until nothing is taken any more.
    let end = Instant::now() + Duration::from_secs(20);
    let mut refused = 0;
    while refused < 20 {
        assert!(Instant::now() < end, "the loop takes everything");
        let chunk = vec![n; 50_000];
        match net.send_tcp(id, &chunk).unwrap() {
            true => queued.extend(chunk),
            false => refused += 1,
        }
        n = n.wrapping_add(1);
        assert!(net.tcp_queued(id) <= 200_000);
        net.run_once(Some(Duration::from_millis(1))).unwrap();
    }
    let more = net.send_tcp(id, &[0; 200_001]);
    assert!(matches!(more, Err(LoopError::LimitReached { .. })));
    // Runs without taking anything, so that the other side has to stop.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        net.run_once(Some(Duration::from_millis(10))).unwrap();
    }
    let (mut got, mut writable) = (0, 0);
    loop {
        match next(&mut net, id) {
            TcpEventKind::Received(bytes) => {
                assert!(bytes.len() <= 100_000, "{}", bytes.len());
                got += bytes.len();
            }
            TcpEventKind::Writable => {
                writable += 1;
                assert!(net.send_tcp(id, &[9; 1000]).unwrap());
                queued.extend([9; 1000]);
            }
            TcpEventKind::Finished => break,
            event => panic!("{event:?}"),
        }
    }
    // The other side has ended its direction; ours is open until we end it.
    net.finish_tcp(id);
    while !thread.is_finished() {
        net.run_once(Some(Duration::from_millis(10))).unwrap();
        while let Some(event) = net.poll_tcp() {
            assert_eq!(event.kind, TcpEventKind::Writable);
            writable += 1;
        }
    }
    let (sent, theirs) = thread.join().unwrap();
    assert_eq!(got, sent);
    assert!(theirs == queued, "{} of {}", theirs.len(), queued.len());
    assert_eq!(writable, 1);
}

#[test]
fn what_does_not_answer_is_given_up() {
    let mut net = net();
    let (port, thread) = server(|stream| {
        thread::sleep(Duration::from_secs(2));
        drop(stream);
    });
    let limit = Duration::from_millis(300);
    // Idle, but not while received bytes wait.
    let config = TcpConfig::new("127.0.0.1", port).idle_timeout(Some(limit));
    let id = net.add_tcp(config).unwrap();
    connected(&mut net, id);
    let since = Instant::now();
    assert_eq!(closed(&mut net, id), TcpError::Idle(limit));
    assert!(since.elapsed() >= limit);
    finish(&mut net, thread);
    // A full backlog: connections are neither accepted nor refused.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let here: std::net::SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    listener.bind(&here.into()).unwrap();
    listener.listen(0).unwrap();
    let port = listener.local_addr().unwrap().as_socket().unwrap().port();
    let _first = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let id = net
        .add_tcp(TcpConfig::new("127.0.0.1", port).connect_timeout(limit))
        .unwrap();
    match closed(&mut net, id) {
        TcpError::ConnectTimeout(time, why) => {
            assert_eq!((time, why), (limit, "it does not answer"));
        }
        e => panic!("{e}"),
    }
    assert!(matches!(
        net.send_tcp(id, b""),
        Err(LoopError::NoSuchSocket)
    ));
}

#[test]
fn reasons_are_for_people() {
    let mut net = net();
    // Nobody listens there.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let id = net.add_tcp(TcpConfig::new("127.0.0.1", port)).unwrap();
    let why = closed(&mut net, id);
    assert!(
        matches!(
            why,
            TcpError::Connect {
                kind: ErrorKind::ConnectionRefused,
                ..
            }
        ),
        "{why}"
    );
    assert!(
        why.to_string().starts_with(&format!(
            "connecting to 127.0.0.1:{port}: Connection refused"
        )),
        "{why}"
    );
    // No such name. (`invalid` is reserved for that.)
    let id = net.add_tcp(TcpConfig::new("camera.invalid", 554)).unwrap();
    let why = closed(&mut net, id).to_string();
    assert!(
        why.starts_with("no address found for camera.invalid"),
        "{why}"
    );
    // The other side closes.
    let (port, thread) = server(|mut stream| stream.write_all(b"bye").unwrap());
    let id = net.add_tcp(TcpConfig::new("[127.0.0.1]", port)).unwrap();
    connected(&mut net, id);
    assert_eq!(received(&mut net, id, 3), b"bye");
    assert_eq!(closed(&mut net, id), TcpError::ClosedByRemote);
    finish(&mut net, thread);
}

#[test]
fn connections_have_a_limit() {
    let mut config = LoopConfig::default();
    config.max_tcp_sockets = 2;
    let mut net = EventLoop::new(config).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = TcpConfig::new("127.0.0.1", listener.local_addr().unwrap().port());
    let first = net.add_tcp(to.clone()).unwrap();
    let second = net.add_tcp(to.clone()).unwrap();
    let third = net.add_tcp(to.clone());
    assert!(matches!(
        third,
        Err(LoopError::LimitReached {
            limit: "max_tcp_sockets",
            value: 2
        })
    ));
    net.close_tcp(first);
    let third = net.add_tcp(to).unwrap();
    // Its slot is used again, its id is not.
    assert_ne!(first, third);
    net.close_tcp(first);
    for _ in 0..2 {
        while !net
            .poll_tcp()
            .is_some_and(|e| [second, third].contains(&e.socket))
        {
            net.next_event(Some(Duration::from_millis(100))).unwrap();
        }
    }
}

#[cfg(all(feature = "tls", feature = "self-signed", feature = "server"))]
mod tls {
    use std::sync::Arc;

    use looprtc::driver::TlsMode;
    use looprtc::server::door::SelfSigned;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use sha2::{Digest, Sha256};

    use super::*;

    type Served = StreamOwned<ServerConnection, TcpStream>;

    /// Runs a TLS server for one connection; returns its port, certificate and fingerprint.
    fn tls_server<T: Send + 'static>(
        serve: impl FnOnce(Served) -> T + Send + 'static,
    ) -> (u16, String, [u8; 32], JoinHandle<T>) {
        let made = SelfSigned::new(&["localhost".into()]).unwrap();
        let certificate = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
        let fingerprint: [u8; 32] = Sha256::digest(&certificate).into();
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (port, thread) = server(move |tcp| {
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            serve(StreamOwned::new(connection, tcp))
        });
        (port, made.certificate, fingerprint, thread)
    }

    /// Sends back what comes, until `close_notify`; then ends TLS, too.
    fn tls_echo(mut stream: Served) -> Result<usize, std::io::Error> {
        let mut buffer = vec![0; 50_000];
        let mut total = 0;
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                count => {
                    stream.write_all(&buffer[..count])?;
                    total += count;
                }
            }
        }
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(total)
    }

    #[test]
    fn a_certificate_is_verified_pinned_or_not_at_all() {
        for mode in 0..3 {
            let (port, pem, fingerprint, thread) = tls_server(tls_echo);
            let config = LoopConfig::default().tls_authorities(Some(pem.into_bytes()));
            let mut net = EventLoop::new(config).unwrap();
            let mode = [
                TlsMode::SystemRoots,
                TlsMode::Fingerprint(fingerprint),
                TlsMode::Unverified,
            ][mode];
            let host = if mode == TlsMode::SystemRoots {
                "localhost"
            } else {
                "127.0.0.1"
            };
            let id = net.add_tcp(TcpConfig::new(host, port).tls(mode)).unwrap();
            connected(&mut net, id);
            let big: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
            assert!(net.send_tcp(id, &big).unwrap());
            assert!(received(&mut net, id, big.len()) == big);
            // The server reads to the end, which is close_notify: otherwise rustls reports an error.
            net.close_tcp(id);
            assert_eq!(finish(&mut net, thread).unwrap(), big.len());
        }
    }

    #[test]
    fn another_certificate_is_refused_and_named() {
        let (port, _, fingerprint, thread) = tls_server(tls_echo);
        let mut net = net();
        let wanted = TlsMode::Fingerprint([7; 32]);
        let id = net
            .add_tcp(TcpConfig::new("127.0.0.1", port).tls(wanted))
            .unwrap();
        let why = closed(&mut net, id);
        assert!(matches!(why, TcpError::Certificate(_)), "{why}");
        let shown: Vec<String> = fingerprint.iter().map(|b| format!("{b:02X}")).collect();
        assert!(why.to_string().contains(&shown.join(":")), "{why}");
        // The server is told why, too.
        let theirs = finish(&mut net, thread).unwrap_err().to_string();
        assert!(theirs.contains("alert"), "{theirs}");
        // The system's authorities do not know it; the message has what could be pinned.
        let (port, pem, _, thread) = tls_server(tls_echo);
        let (_, other, ..) = tls_server(|_| ());
        assert_ne!(pem, other);
        let mut net =
            EventLoop::new(LoopConfig::default().tls_authorities(Some(other.into_bytes())))
                .unwrap();
        let to = TcpConfig::new("localhost", port).tls(TlsMode::SystemRoots);
        let id = net.add_tcp(to).unwrap();
        let why = closed(&mut net, id).to_string();
        assert!(why.contains("SHA-256 fingerprint is "), "{why}");
        assert!(finish(&mut net, thread).is_err());
    }

    #[test]
    fn an_end_without_close_notify_is_told_apart() {
        let (port, _, _, thread) = tls_server(|mut stream: Served| {
            stream.write_all(b"half of wh").unwrap();
            stream.flush().unwrap();
        });
        let mut net = net();
        let to = TcpConfig::new("127.0.0.1", port).tls(TlsMode::Unverified);
        let id = net.add_tcp(to).unwrap();
        connected(&mut net, id);
        assert_eq!(received(&mut net, id, 10), b"half of wh");
        assert_eq!(closed(&mut net, id), TcpError::Truncated);
        finish(&mut net, thread);
    }
}
