//! Several DTLS datagrams as one input of the core.
//!
//! The core must be drained after every input, and a drain is the dearest part of receiving: it looks at
//! all that is in flight, and may send an acknowledgement each time. Datagrams that arrive together are
//! therefore given to it together: joined under a mark of our own, and taken apart again on the other side
//! of the core, where its DTLS is ours (`crypto/dtls.rs`). Nothing else reads the joined form, and no
//! datagram from the network is let in that looks like it.

use std::net::SocketAddr;

use crate::proto::net::Received;

/// First byte of the joined form: a content type that DTLS does not have, in the range that is
/// demultiplexed to DTLS (RFC 7983 §7, RFC 9147 §4.1).
const MARK: u8 = 31;

/// Datagrams joined at most. The DTLS below queues 30 records.
const MAX_COUNT: usize = 16;

/// Bytes of a datagram's length.
const LENGTH: usize = 2;

/// Datagrams that wait for the next drain.
#[derive(Debug, Default)]
pub(super) struct Joined {
    bytes: Vec<u8>,
    count: usize,
    way: Option<(SocketAddr, SocketAddr)>,
}

impl Joined {
    /// Takes a datagram, unless it does not go with those that wait. Then they have to be
    /// [taken](Self::take) first.
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

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All that wait: source, destination, and the one datagram or the joined form of several.
    pub fn take(&mut self) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        let (source, destination) = self.way.take()?;
        let mut bytes = std::mem::take(&mut self.bytes);
        if std::mem::take(&mut self.count) == 1 {
            bytes.drain(..1 + LENGTH);
        }
        Some((source, destination, bytes))
    }
}

/// Whether this is the joined form, or would be taken for it.
pub(super) fn is_joined(contents: &[u8]) -> bool {
    contents.first() == Some(&MARK)
}

/// Gives each datagram of what the core has passed on, joined or not. The first error is told in the end: a bad
/// datagram takes nothing from those that came with it.
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

/// The datagrams of the joined form.
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
