//! The VP8 payload descriptor (RFC 7741, section 4.2): fields that must stay continuous across layer switches.

use std::sync::Arc;

/// Fields of a packet's descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Set if the packet starts a keyframe.
    pub begins_keyframe: bool,
    /// Position and value of the picture id; `true` for 15 bits, else 7.
    picture_id: Option<(usize, u16, bool)>,
    /// Position and value of TL0PICIDX.
    tl0: Option<(usize, u8)>,
}

impl Descriptor {
    /// Parses a descriptor; `None` if it is truncated.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut at = 1;
        let (mut picture_id, mut tl0) = (None, None);
        if first & 0x80 != 0 {
            let extension = *payload.get(at)?;
            at += 1;
            if extension & 0x80 != 0 {
                let high = *payload.get(at)?;
                let is_long = high & 0x80 != 0;
                let id = match is_long {
                    true => u16::from_be_bytes([high & 0x7F, *payload.get(at + 1)?]),
                    false => high.into(),
                };
                picture_id = Some((at, id, is_long));
                at += 1 + usize::from(is_long);
            }
            if extension & 0x40 != 0 {
                tl0 = Some((at, *payload.get(at)?));
                at += 1;
            }
            // T and K share a byte.
            at += usize::from(extension & 0x30 != 0);
        }
        // S: the beginning of a partition; PID 0: the first. RFC 6386 §9.1: the lowest bit is 0 in keyframes.
        let is_beginning = first & 0x17 == 0x10;
        let begins_keyframe = is_beginning && payload.get(at)? & 1 == 0;
        Some(Self {
            begins_keyframe,
            picture_id,
            tl0,
        })
    }
}

/// Offsets that make the numbers of one layer continue those of another.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// Added to the picture id.
    picture_id: u16,
    tl0: u8,
    /// The last numbers sent.
    last: Option<(u16, u8)>,
}

impl Numbers {
    /// Prepares for the next packet, which belongs to another layer or source.
    pub fn switch(&mut self, descriptor: &Descriptor) {
        let Some((picture_id, tl0)) = self.last else {
            return;
        };
        if let Some((_, id, _)) = descriptor.picture_id {
            self.picture_id = picture_id.wrapping_add(1).wrapping_sub(id);
        }
        if let Some((_, number)) = descriptor.tl0 {
            self.tl0 = tl0.wrapping_add(1).wrapping_sub(number);
        }
    }

    /// Returns the payload to send; `None` if it is unchanged.
    pub fn rewrite(&mut self, descriptor: &Descriptor, payload: &[u8]) -> Option<Arc<[u8]>> {
        let id = descriptor.picture_id;
        let id = id.map(|(at, id, is_long)| (at, id.wrapping_add(self.picture_id), is_long));
        let tl0 = descriptor.tl0.map(|(at, n)| (at, n.wrapping_add(self.tl0)));
        let before = self.last.unwrap_or_default();
        let now = (id.map_or(0, |i| i.1), tl0.map_or(0, |t| t.1));
        // A late packet does not move the numbers back.
        if self.last.is_none() || now.0.wrapping_sub(before.0) & 0x7FFF < 0x4000 {
            self.last = Some(now);
        }
        if (self.picture_id, self.tl0) == (0, 0) {
            return None;
        }
        let mut changed = payload.to_vec();
        if let Some((at, id, is_long)) = id {
            match is_long {
                true => changed[at..at + 2].copy_from_slice(&(id | 0x8000).to_be_bytes()),
                false => changed[at] = (id & 0x7F) as u8,
            }
        }
        if let Some((at, number)) = tl0 {
            changed[at] = number;
        }
        Some(changed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a packet with a long picture id and a temporal layer, as Chromium sends them.
    fn packet(id: u16, tl0: u8, first: u8, frame: u8) -> Vec<u8> {
        let [high, low] = (id | 0x8000).to_be_bytes();
        vec![0x80 | first, 0xE0, high, low, tl0, 0x20, frame, 1, 2]
    }

    #[test]
    fn where_keyframes_begin() {
        let begins = |payload: &[u8]| Descriptor::parse(payload).map(|d| d.begins_keyframe);
        assert_eq!(begins(&packet(1, 1, 0x10, 0x10)), Some(true));
        assert_eq!(begins(&packet(1, 1, 0x10, 0x11)), Some(false));
        assert_eq!(begins(&packet(1, 1, 0x00, 0x10)), Some(false), "goes on");
        assert_eq!(
            begins(&packet(1, 1, 0x11, 0x10)),
            Some(false),
            "a later part"
        );
        assert_eq!(
            begins(&[0x10, 0x00]),
            Some(true),
            "nothing but the first byte"
        );
        assert_eq!(begins(&[0x90, 0x80, 0x05, 0x00]), Some(true), "a short id");
        for length in 0..7 {
            let short = &packet(1, 1, 0x10, 0x10)[..length];
            assert_eq!(begins(short), None, "{length}");
        }
    }

    #[test]
    fn numbers_go_on() {
        let mut numbers = Numbers::default();
        let old = packet(0x7FFF, 255, 0x10, 1);
        let d = Descriptor::parse(&old).unwrap();
        assert_eq!(
            numbers.rewrite(&d, &old),
            None,
            "the first layer is as it is"
        );
        let new = packet(500, 7, 0x10, 0);
        let d = Descriptor::parse(&new).unwrap();
        numbers.switch(&d);
        let sent = numbers.rewrite(&d, &new).unwrap();
        assert_eq!(&sent[..], &packet(0, 0, 0x10, 0)[..]);
        let next = packet(501, 8, 0x10, 1);
        let sent = numbers.rewrite(&Descriptor::parse(&next).unwrap(), &next);
        assert_eq!(&sent.unwrap()[..], &packet(1, 1, 0x10, 1)[..]);
        // A late packet of the previous frame.
        let sent = numbers.rewrite(&d, &new).unwrap();
        assert_eq!(&sent[..], &packet(0, 0, 0x10, 0)[..]);
        let other = packet(9, 9, 0x10, 0);
        let d = Descriptor::parse(&other).unwrap();
        numbers.switch(&d);
        let sent = numbers.rewrite(&d, &other).unwrap();
        assert_eq!(&sent[..], &packet(2, 2, 0x10, 0)[..]);
    }
}
