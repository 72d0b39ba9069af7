//! Packets out of access units, well made or not.

use super::behaviour::{Fragments, Markers, Packing, Sets, StartCodes};
use super::film::{Unit, is_set, kind};

/// The payload of a packet, and its marker bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub content: Vec<u8>,
    pub marker: bool,
}

impl Payload {
    fn new(content: Vec<u8>) -> Self {
        Self {
            content,
            marker: false,
        }
    }
}

/// Packs the picture with this number.
pub fn picture(
    unit: &Unit,
    number: u64,
    is_h265: bool,
    padding: usize,
    how: Packing,
) -> Vec<Payload> {
    let keeps_sets = match how.sets {
        Sets::Each => true,
        Sets::Once => number == 0,
        Sets::Never => false,
    };
    let parts = unit.parts.iter().map(Vec::as_slice);
    let parts = parts.filter(|nal| keeps_sets || !is_set(nal, is_h265));
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    if padding > 0 {
        parts.insert(0, sei(padding, is_h265));
    }
    if how.start_codes == StartCodes::Inside && unit.is_key {
        parts = vec![parts.join([0, 0, 0, 1].as_slice())];
    }
    let mut payloads = Vec::new();
    if how.aggregate && !is_h265 {
        let sets = parts.iter().take_while(|nal| is_set(nal, false)).count();
        let sets: Vec<_> = parts.drain(..sets).collect();
        if !sets.is_empty() {
            payloads.push(Payload::new(aggregate(&sets)));
        }
    }
    for nal in &parts {
        let before = payloads.len();
        fragment(nal, is_h265, how, &mut payloads);
        let is_slice = !is_set(nal, is_h265) && !is_sei(nal, is_h265);
        if how.fragments == Fragments::NoStart && number % 10 == 9 && is_slice {
            // A picture that fits one packet has no start to lose, so it is lost.
            payloads.remove(before);
        }
        if how.markers == Markers::OnSets
            && !is_slice
            && let Some(last) = payloads.last_mut()
        {
            last.marker = true;
        }
    }
    if how.markers != Markers::Never
        && let Some(last) = payloads.last_mut()
    {
        last.marker = true;
    }
    payloads
}

fn is_sei(nal: &[u8], is_h265: bool) -> bool {
    match is_h265 {
        true => matches!(kind(nal, true), 39 | 40),
        false => kind(nal, false) == 6,
    }
}

/// A SEI message of unregistered user data.
fn sei(length: usize, is_h265: bool) -> Vec<u8> {
    let mut nal = match is_h265 {
        true => vec![39 << 1, 1, 5],
        false => vec![6, 5],
    };
    nal.extend(std::iter::repeat_n(0xff, length / 255));
    nal.push((length % 255) as u8);
    nal.extend(std::iter::repeat_n(0x55, length));
    nal.push(0x80);
    nal
}

/// A single-time aggregation packet (RFC 6184 §5.7.1).
fn aggregate(units: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![0x78];
    for unit in units {
        packet.extend((unit.len() as u16).to_be_bytes());
        packet.extend(unit);
    }
    packet
}

fn fragment(nal: &[u8], is_h265: bool, how: Packing, out: &mut Vec<Payload>) {
    let header = if is_h265 { 2 } else { 1 };
    let must = how.fragments == Fragments::StartAndEnd;
    if (nal.len() <= how.mtu && !must) || nal.len() <= header {
        return out.push(Payload::new(nal.to_vec()));
    }
    let (head, body) = nal.split_at(header);
    let mut pieces: Vec<&[u8]> = match must {
        true => vec![body],
        false => body
            .chunks(how.mtu.saturating_sub(header + 1).max(1))
            .collect(),
    };
    if how.fragments == Fragments::Empty {
        pieces.insert(1, &[]);
    }
    let last = pieces.len() - 1;
    for (at, piece) in pieces.into_iter().enumerate() {
        let mut kind = kind(nal, is_h265);
        if how.fragments == Fragments::TypeChanges && at > 0 {
            kind = 1;
        }
        let bits = u8::from(at == 0) << 7 | u8::from(at == last) << 6;
        let reserved = match how.fragments {
            // Of H.264 alone: the bit is part of the type in H.265.
            Fragments::Reserved if !is_h265 => 0x20,
            _ => 0,
        };
        let mut packet = match is_h265 {
            true => vec![head[0] & 0x81 | 49 << 1, head[1]],
            false => vec![head[0] & 0xe0 | 28],
        };
        packet.push(bits | reserved | kind);
        packet.extend(piece);
        out.push(Payload::new(packet));
    }
}
