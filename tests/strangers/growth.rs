//! Datagrams from unauthenticated sources cost time linear in their bytes, however they are split; never cause more
//! bytes in response, and are not logged.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::server::{Server, attribute, udp_address};

/// Number of bytes of each kind that are sent; then four times as many.
const BYTES: usize = 1 << 20;

/// Budget of the TURN server for an address that has proved nothing (docs/limits.md).
const COURTESY: usize = 16 * 1024 + 4096;

/// A kind of datagram, of any size.
struct Kind {
    name: &'static str,
    to: SocketAddr,
    make: Box<dyn Fn(usize) -> Vec<u8>>,
}

/// Returns a STUN message of this type that starts with this attribute, followed by as many others as fit.
fn stun(kind: u16, first: (u16, &[u8]), other: (u16, &[u8]), size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut add = |(kind, value): (u16, &[u8])| {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
        body.len()
    };
    add(first);
    while add(other) + 64 < size {}
    let mut message = kind.to_be_bytes().to_vec();
    message.extend((body.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xA4, 0x42]);
    message.extend([7; 12]);
    message.extend(body);
    message
}

/// Sends bytes in datagrams of this size. Returns the server's processor time in milliseconds, and the bytes received.
fn cost(server: &Server, kind: &Kind, size: usize, bytes: usize) -> (u64, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_nonblocking(true).expect("not waiting");
    let datagram = (kind.make)(size);
    let (mut sent, mut back, mut buffer) = (0, 0, vec![0; 65_536]);
    let before = server.cpu_ms();
    let mut read = || {
        let mut length = 0;
        while let Ok(n) = socket.recv(&mut buffer) {
            length += n;
        }
        length
    };
    while sent < bytes {
        // No more at once than the server's socket holds.
        for _ in 0..(32_768 / datagram.len()).max(1) {
            if socket.send_to(&datagram, kind.to).is_ok() {
                sent += datagram.len();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
        back += read();
    }
    std::thread::sleep(Duration::from_millis(100));
    back += read();
    (server.cpu_ms().saturating_sub(before), back)
}

fn check(server: &Server, kind: &Kind, courtesy: usize) {
    let name = kind.name;
    // Processor time has a resolution of 10 ms, and other tests run at the same time.
    let (small, back) = cost(server, kind, 300, BYTES);
    println!("{name}, 300 bytes each: {small} ms, {back} bytes back");
    assert!(back <= BYTES + courtesy, "{name}: {back} back");
    let (more, back) = cost(server, kind, 300, 4 * BYTES);
    println!("{name}, four times as many: {more} ms, {back} bytes back");
    assert!(more < 8 * small + 200, "{name}: {small} ms, then {more} ms");
    assert!(back <= 4 * BYTES + courtesy, "{name}: {back} back");
    let (large, back) = cost(server, kind, 48_000, 4 * BYTES);
    println!("{name}, 48,000 bytes each: {large} ms, {back} bytes back");
    assert!(
        large < 2 * more + 200,
        "{name}: {more} ms, in large ones {large} ms"
    );
    assert!(back <= 4 * BYTES + courtesy, "{name}: {back} back");
}

#[test]
fn datagrams_to_the_port_of_the_peers() {
    let server = Server::start(&[], None, true);
    let (offer, answer) = server.watch("");
    let to = udp_address(&answer);
    let name = format!(
        "{}:{}",
        attribute(&answer, "ice-ufrag"),
        attribute(&offer, "ice-ufrag")
    );
    let mut kinds: Vec<Kind> = Vec::new();
    let mut add = |name, make: Box<dyn Fn(usize) -> Vec<u8>>| kinds.push(Kind { name, to, make });
    for (text, attribute) in [
        ("checks of attributes that dependencies warn of", 0x8023),
        ("checks of unknown attributes", 0x7777),
        ("checks of many names", 0x0006),
    ] {
        let name = name.clone();
        add(
            text,
            Box::new(move |size| stun(1, (6, name.as_bytes()), (attribute, &[]), size)),
        );
    }
    add(
        "answers",
        Box::new(|size| stun(0x0101, (8, &[1; 20]), (0x20, &[0; 8]), size)),
    );
    add(
        "a ClientHello",
        Box::new(|size| [&[22, 254, 253][..], &vec![0; size]].concat()),
    );
    add(
        "RTP",
        Box::new(|size| [&[0x80, 96][..], &vec![9; size]].concat()),
    );
    add("zeros", Box::new(|size| vec![0; size]));
    for kind in &kinds {
        check(&server, kind, 0);
    }
    let log = server.end();
    assert!(log.is_empty(), "{} bytes of log:\n{log:.2000}", log.len());
}

#[test]
fn requests_to_the_turn_server() {
    // The system chooses a free port.
    let free = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = free.local_addr().expect("bound");
    drop(free);
    let server = Server::start(&["--turn", "--turn-listen", &to.to_string()], None, true);
    let mut kinds: Vec<Kind> = Vec::new();
    let mut add = |name, make: Box<dyn Fn(usize) -> Vec<u8>>| kinds.push(Kind { name, to, make });
    add(
        "Binding",
        Box::new(|size| stun(1, (0x8022, b"test"), (0x8023, &[]), size)),
    );
    add(
        "Allocate",
        Box::new(|size| stun(3, (0x0019, &[17, 0, 0, 0]), (0x8023, &[]), size)),
    );
    add(
        "unknown attributes",
        Box::new(|size| stun(3, (0x7777, &[]), (0x7778, &[]), size)),
    );
    add(
        "signed by nobody",
        Box::new(|size| stun(3, (0x0006, b"nobody"), (0x0008, &[1; 20]), size)),
    );
    add(
        "lists of algorithms",
        Box::new(|size| {
            stun(
                3,
                (0x8002, &[0, 1, 0, 0]),
                (0x8002, &[0, 1, 0, 0, 0, 2, 0, 0]),
                size,
            )
        }),
    );
    add(
        "data of a channel",
        Box::new(|size| {
            let length = (size as u16).to_be_bytes();
            [&[0x40, 0][..], &length, &vec![7; size]].concat()
        }),
    );
    for kind in &kinds {
        check(&server, kind, COURTESY);
    }
    let log = server.end();
    assert!(log.is_empty(), "{} bytes of log:\n{log:.2000}", log.len());
}
