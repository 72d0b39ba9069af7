//! Requests to STUN servers (RFC 8489), and the address they respond from (RFC 5780).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Number of transmissions of a request, and time to wait after each.
pub const TRIES: u32 = 3;
pub const WAIT: Duration = Duration::from_millis(500);

/// Flags of CHANGE-REQUEST (RFC 5780 §7.2): the address that the server has to respond from.
pub const SAME: u8 = 0;
pub const OTHER_PORT: u8 = 2;
pub const OTHER_ADDRESS_AND_PORT: u8 = 6;

const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const OTHER_ADDRESS: u16 = 0x802C;

pub struct Answer {
    pub from: SocketAddr,
    pub mapped: SocketAddr,
    /// Set if it has a second address to respond from.
    pub has_other_address: bool,
}

/// Sends a binding request (RFC 8489 §5) until it is answered.
pub fn ask(socket: &UdpSocket, server: SocketAddr, change: u8) -> Option<Answer> {
    // The cookie, then a unique id: this socket's port, the flags, the server's port.
    let mut key = [
        0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, change, 0, 0, 0,
    ];
    key[4..6].copy_from_slice(&socket.local_addr().ok()?.port().to_be_bytes());
    key[6..8].copy_from_slice(&server.port().to_be_bytes());
    key[8..12].copy_from_slice(&std::process::id().to_be_bytes());
    let mut request = [&[0, 1, 0, 8][..], &key[..], &[0, 3, 0, 4, 0, 0, 0, change]].concat();
    if change == SAME {
        request.truncate(20);
        request[3] = 0;
    }
    let mut buffer = [0; 1500];
    for _ in 0..TRIES {
        socket.send_to(&request, server).ok()?;
        let end = Instant::now() + WAIT;
        while let Some(left) = end
            .checked_duration_since(Instant::now())
            .filter(|d| !d.is_zero())
        {
            socket.set_read_timeout(Some(left)).ok()?;
            let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                break;
            };
            let message = &buffer[..length];
            if message.len() >= 20 && message[..2] == [1, 1] && message[4..20] == key {
                let mapped = address(attribute(message, XOR_MAPPED_ADDRESS)?, &key)?;
                let has_other_address = attribute(message, OTHER_ADDRESS).is_some();
                return Some(Answer {
                    from,
                    mapped,
                    has_other_address,
                });
            }
        }
    }
    None
}

/// Returns the value of an attribute (RFC 8489 §14).
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(20..)?;
    loop {
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        if rest[..2] == wanted.to_be_bytes() {
            return rest.get(4..4 + length);
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
}

/// XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
fn address(value: &[u8], key: &[u8; 16]) -> Option<SocketAddr> {
    let plain: Vec<u8> = value
        .get(4..)?
        .iter()
        .zip(key)
        .map(|(v, k)| v ^ k)
        .collect();
    let ip = match plain.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
    };
    Some(SocketAddr::new(
        ip,
        u16::from_be_bytes([value[2] ^ key[0], value[3] ^ key[1]]),
    ))
}
