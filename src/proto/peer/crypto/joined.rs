//! Several DTLS datagrams as one input of the core.
//!
//! The core must be drained after every input, and a drain is the most expensive part of receiving: it examines
//! everything in flight, and may send an acknowledgement each time. Datagrams that arrive together are therefore passed
//! together: joined under a mark of our own, and split again on the other side of the core, where its DTLS is ours
//! (`crypto/dtls.rs`). Nothing else reads the joined form, and no datagram from the network that resembles it is let
//! in.

use std::net::SocketAddr;

use crate::proto::net::Received;

/// First byte of the joined form: a content type that DTLS does not have, in the range that is demultiplexed to DTLS
/// (RFC 7983 §7, RFC 9147 §4.1).
const MARK: u8 = 31;

/// Maximum number of datagrams joined. The DTLS below queues 30 records.
const MAX_COUNT: usize = 16;

/// Size of a datagram's length field, in bytes.
const LENGTH: usize = 2;

/// Datagrams that wait for the next drain.
#[derive(Debug, Default)]
pub(in super::super) struct Joined {
    bytes: Vec<u8>,
    count: usize,
    way: Option<(SocketAddr, SocketAddr)>,
}

impl Joined {
    /// Adds a datagram, unless it does not fit those that wait, which then have to be [taken](Self::take) first.
    pub fn push(&mut self, received: &Received<'_>) -> bool {
        let way = (received.source, received.destination);
        let Ok(length) = u16::try_from(received.contents.len()) else {
            return false;
        };
        if self.count >= MAX_COUNT || self.way.is_some_and(|w| w != way) {
            return false;
        }
        if self.bytes.is_empty() {
            self.bytes.push(MARK);
        }
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(received.contents);
        self.count += 1;
        self.way = Some(way);
        true
    }

    /// Takes all waiting datagrams: source, destination, and the datagram or the joined form of several.
    pub fn take(&mut self) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let (source, destination) = self.way.take()?;
        let mut bytes = std::mem::take(&mut self.bytes);
        if std::mem::take(&mut self.count) == 1 {
            bytes.drain(..1 + LENGTH);
        }
        Some((source, destination, bytes))
    }
}

/// Returns `true` for the joined form, and for datagrams that would be mistaken for it.
pub(in super::super) fn is_joined(contents: &[u8]) -> bool {
    contents.first() == Some(&MARK)
}

/// Calls `give` with each datagram of what the core has passed on, joined or not. Returns the first error at the end:
/// an invalid datagram does not affect those that came with it.
#[cfg(any(test, feature = "aws-lc", feature = "rust-crypto"))]
pub(super) fn each<E>(
    contents: &[u8],
    mut give: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if !is_joined(contents) {
        return give(contents);
    }
    split(contents).map(give).fold(Ok(()), Result::and)
}

/// Iterates over the datagrams in the joined form.
#[cfg(any(test, feature = "aws-lc", feature = "rust-crypto"))]
fn split(joined: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = joined.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<LENGTH>()?;
        let (datagram, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = after;
        Some(datagram)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::net::Protocol;

    fn received(port: u16, contents: &[u8]) -> Received<'_> {
        Received {
            protocol: Protocol::Udp,
            source: SocketAddr::from(([10, 0, 0, 1], port)),
            destination: SocketAddr::from(([10, 0, 0, 2], 5000)),
            contents,
        }
    }

    #[test]
    fn one_stays_as_it_is() {
        let mut joined = Joined::default();
        assert!(joined.push(&received(1, &[23, 1, 2])));
        let (source, _, bytes) = joined.take().unwrap();
        assert_eq!((source.port(), bytes), (1, vec![23, 1, 2]));
        assert!(joined.take().is_none());
    }

    #[test]
    fn several_come_apart_again() {
        let parts: [&[u8]; 3] = [&[23, 1], &[], &[31, 0, 9]];
        let mut joined = Joined::default();
        for part in parts {
            assert!(joined.push(&received(1, part)));
        }
        let (_, _, bytes) = joined.take().unwrap();
        assert!(is_joined(&bytes));
        assert_eq!(split(&bytes).collect::<Vec<_>>(), parts);
    }

    #[test]
    fn only_so_many_and_only_one_way() {
        let mut joined = Joined::default();
        assert!(joined.push(&received(1, &[23])));
        assert!(!joined.push(&received(2, &[23])));
        let more = (0..100).take_while(|_| joined.push(&received(1, &[23])));
        assert_eq!(more.count(), MAX_COUNT - 1);
    }

    #[test]
    fn a_cut_off_form_ends() {
        assert_eq!(split(&[MARK, 0, 3, 1, 2]).count(), 0);
        assert_eq!(split(&[MARK, 0]).count(), 0);
        assert_eq!(split(&[]).count(), 0);
    }
}
