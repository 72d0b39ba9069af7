//! Kernel notifications of changed links, addresses and routes (rtnetlink(7)).
//!
//! The changes are not read from the messages, which only trigger a query. Messages dropped by the kernel therefore do
//! no harm, and the comparison is the same on every system.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Maximum number of datagrams read at once; a router that learns its routes gets many. The rest may be skipped,
/// because the system is queried in any case.
const MAX_READS: usize = 64;

/// Larger than any kernel datagram of this kind.
const BUFFER: usize = 16 * 1024;

/// A netlink socket for notifications.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens the socket. Containers may forbid it.
    pub fn open(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
        })
    }

    /// Reads pending messages. Returns `true` if the networks have to be queried.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut is_relevant = false;
        for left in (0..MAX_READS).rev() {
            is_relevant |= left == 0;
            match recv(
                &self.socket,
                self.buffer.as_mut_slice(),
                RecvFlags::DONTWAIT,
            ) {
                Ok((0, _)) => break,
                Ok((len, _)) => {
                    is_relevant |= concerns_us(self.buffer.get(..len).unwrap_or_default());
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                // The kernel has dropped messages.
                Err(Errno::NOBUFS) => is_relevant = true,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(is_relevant)
    }
}

/// Size of a message header: length, type, flags, sequence number, port id.
const HEADER: usize = 16;

/// Returns `true` if one of these messages may affect our usable addresses: a link, an address, or a route to most of
/// the Internet.
pub(crate) fn concerns_us(mut messages: &[u8]) -> bool {
    while let Some((header, payload)) = messages.split_at_checked(HEADER) {
        let field = |at: usize| header.get(at..at + 2).and_then(|b| b.try_into().ok());
        let kind = field(4).map(u16::from_ne_bytes);
        let long = header.get(..4).and_then(|b| b.try_into().ok());
        let length = long.map(u32::from_ne_bytes).unwrap_or_default();
        let Some(rest) = usize::try_from(length)
            .ok()
            .and_then(|l| l.checked_sub(HEADER))
        else {
            // The kernel does not write such a message; a query does no harm.
            return true;
        };
        match kind {
            // RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR
            Some(16 | 17 | 20 | 21) => return true,
            // RTM_NEWROUTE, RTM_DELROUTE: prefix length of the destination. Some VPNs replace the default route by two
            // halves.
            Some(24 | 25) if payload.get(1).is_none_or(|bits| *bits <= 1) => return true,
            _ => {}
        }
        let next = rest.next_multiple_of(4);
        messages = payload.get(next..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut m = (16 + payload.len() as u32).to_ne_bytes().to_vec();
        m.extend(kind.to_ne_bytes());
        m.extend([0; 10]);
        m.extend(payload);
        m.resize(m.len().next_multiple_of(4), 0);
        m
    }

    fn route(kind: u16, bits: u8) -> Vec<u8> {
        message(kind, &[2, bits, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0])
    }

    #[test]
    fn links_addresses_and_default_routes_concern_us() {
        for kind in [16, 17, 20, 21] {
            assert!(concerns_us(&message(kind, &[0; 16])), "{kind}");
        }
        for kind in [24, 25] {
            assert!(concerns_us(&route(kind, 0)));
            assert!(concerns_us(&route(kind, 1)));
            assert!(!concerns_us(&route(kind, 24)));
        }
        // Neighbours (28, 29), rules (32), junk types, and nothing at all.
        for kind in [0, 2, 3, 28, 29, 32, 9999] {
            assert!(!concerns_us(&message(kind, &[0; 12])), "{kind}");
        }
        assert!(!concerns_us(&[]));
    }

    #[test]
    fn all_messages_of_a_datagram_are_looked_at() {
        let mut many = route(24, 32);
        many.extend(message(28, &[1, 2, 3, 4, 5]));
        assert!(!concerns_us(&many));
        many.extend(message(21, &[2, 24, 0, 0, 1, 0, 0, 0]));
        assert!(concerns_us(&many));
        // Truncated, or with an impossible length: no panic, no endless loop.
        for cut in 0..many.len() {
            concerns_us(&many[..cut]);
        }
        assert!(concerns_us(&[0; 64]));
        let mut huge = message(28, &[0; 4]);
        huge[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(!concerns_us(&huge));
    }

    #[test]
    fn the_kernel_can_be_listened_to() {
        let poll = mio::Poll::new().unwrap();
        let mut netlink = Netlink::open(poll.registry(), Token(1)).unwrap();
        // Other tests may change interfaces at the same time, so this only checks that reading works.
        netlink.read().unwrap();
    }
}
