//! Splits one compound RTCP packet into one per m-line.

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1, RFC 3611 §2).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

/// Feedback message types (RFC 4585 §6.2, §6.3, RFC 5104 §4.3).
const NACK: u8 = 1;
const FULL_INTRA_REQUEST: u8 = 4;
const APPLICATION: u8 = 15;

/// Block types of extended reports (RFC 3611 §4.4).
const RECEIVER_REFERENCE_TIME: u8 = 4;

const HEADER: usize = 4;
const SENDER_INFO: usize = 20;
const REPORT: usize = 24;

/// Maximum number of report blocks, chunks or SSRCs in a packet.
const MAX_COUNT: usize = 31;

/// An SSRC, and the side that sends its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A stream that we send.
    Local(u32),
    /// A stream of the remote peer.
    Remote(u32),
}

/// The m-line of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Distinguishes it from others.
    pub key: u64,
    /// The SSRC that sends reports on its streams.
    pub sender: u32,
}

/// Splits a compound packet, so that everything about an m-line is sent in a packet of its own, under that m-line's
/// SSRC, as libwebrtc does (one RTCP session per stream). Receivers that identify streams by the SSRC of the whole
/// packet, such as Janus, would attribute the reports of all streams to that one. A sender report has no report blocks;
/// they follow in a receiver report.
///
/// `line` finds the m-line of an SSRC; unknown SSRCs stay together under the SSRC they came from. NACKs of streams for
/// which `is_ours` returns `true` are left out. From the first malformed packet on, everything stays as it is.
pub(super) fn split(
    plain: &[u8],
    mut line: impl FnMut(Source) -> Option<Line>,
    is_ours: impl Fn(u32) -> bool,
) -> Vec<Vec<u8>> {
    let mut split = Split::default();
    for packet in packets(plain) {
        split.take(packet, &mut line, &is_ours);
    }
    split.groups.into_iter().filter_map(Group::write).collect()
}

/// Builds a NACK that requests lost packets of a stream (RFC 4585 §6.2.1). The numbers must be in order.
pub(super) fn nack(sender: u32, media: u32, missing: &[u16]) -> Vec<u8> {
    let mut entries: Vec<(u16, u16)> = Vec::new();
    for number in missing {
        match entries.last_mut() {
            Some((first, mask)) if matches!(number.wrapping_sub(*first), 1..=16) => {
                *mask |= 1 << (number.wrapping_sub(*first) - 1);
            }
            _ => entries.push((*number, 0)),
        }
    }
    let mut out = Vec::with_capacity(12 + 4 * entries.len());
    out.extend([0x80 | NACK, TRANSPORT_FEEDBACK, 0, 0]);
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
    for (first, mask) in entries {
        out.extend(first.to_be_bytes());
        out.extend(mask.to_be_bytes());
    }
    set_length(&mut out);
    out
}

/// Iterates over the packets that the NACKs of a compound packet request, with their streams.
pub(super) fn asked_for(plain: &[u8]) -> impl Iterator<Item = (u32, u16)> + '_ {
    let is_nack = |p: &&[u8]| matches!(p, [first, TRANSPORT_FEEDBACK, ..] if first & 31 == NACK);
    packets(plain).filter(is_nack).flat_map(|packet| {
        let media = ssrc_at(packet, HEADER + 4).unwrap_or_default();
        let entries = packet.get(12..).unwrap_or_default().chunks_exact(4);
        entries.flat_map(move |entry| {
            let first = u16::from_be_bytes([entry[0], entry[1]]);
            let mask = u16::from_be_bytes([entry[2], entry[3]]);
            let others = (0..16).filter(move |bit| mask & (1 << bit) != 0);
            let others = others.map(move |bit| first.wrapping_add(bit + 1));
            std::iter::once(first)
                .chain(others)
                .map(move |n| (media, n))
        })
    })
}

/// The packets of a compound (RFC 3550 §6.1). The last one may be longer or shorter than it says.
fn packets(compound: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = compound;
    std::iter::from_fn(move || {
        let length = rest.get(2..4).map_or(rest.len(), |l| {
            HEADER + 4 * usize::from(u16::from_be_bytes([l[0], l[1]]))
        });
        let (packet, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!packet.is_empty()).then_some(packet)
    })
}

#[derive(Default)]
struct Split {
    groups: Vec<Group>,
}

/// The RTCP of one m-line.
struct Group {
    line: Line,
    /// Sender reports, without report blocks.
    senders: Vec<Vec<u8>>,
    reports: Vec<Vec<u8>>,
    /// Chunks of source descriptions.
    names: Vec<Vec<u8>>,
    /// Blocks of extended reports.
    extended: Vec<Vec<u8>>,
    goodbyes: Vec<u32>,
    /// Whole packets.
    others: Vec<Vec<u8>>,
}

impl Split {
    fn group(&mut self, line: Line) -> &mut Group {
        let index = match self.groups.iter().position(|g| g.line.key == line.key) {
            Some(index) => index,
            None => {
                self.groups.push(Group {
                    line,
                    senders: Vec::new(),
                    reports: Vec::new(),
                    names: Vec::new(),
                    extended: Vec::new(),
                    goodbyes: Vec::new(),
                    others: Vec::new(),
                });
                self.groups.len() - 1
            }
        };
        &mut self.groups[index]
    }

    fn take(
        &mut self,
        packet: &[u8],
        line: &mut impl FnMut(Source) -> Option<Line>,
        is_ours: &impl Fn(u32) -> bool,
    ) {
        let sender = ssrc_at(packet, HEADER).unwrap_or_default();
        let nobody = Line {
            key: u64::MAX,
            sender,
        };
        let (kind, count) = (
            packet.get(1).copied().unwrap_or_default(),
            packet.first().copied().unwrap_or_default() & 31,
        );
        let mut place = |source| line(source).unwrap_or(nobody);
        match kind {
            SENDER_REPORT if packet.len() >= HEADER + 4 + SENDER_INFO => {
                let (info, reports) = packet.split_at(HEADER + 4 + SENDER_INFO);
                let group = self.group(place(Source::Local(sender)));
                group.senders.push(info.to_vec());
                self.take_reports(reports, place);
            }
            RECEIVER_REPORT if packet.len() >= HEADER + 4 => {
                self.take_reports(&packet[HEADER + 4..], place);
            }
            SOURCE_DESCRIPTION => {
                for chunk in chunks(packet.get(HEADER..).unwrap_or_default()) {
                    let ssrc = ssrc_at(chunk, 0).unwrap_or_default();
                    let group = self.group(place(Source::Local(ssrc)));
                    group.names.push(chunk.to_vec());
                }
            }
            GOODBYE => {
                for n in 0..usize::from(count) {
                    if let Some(ssrc) = ssrc_at(packet, HEADER + 4 * n) {
                        let group = self.group(place(Source::Local(ssrc)));
                        group.goodbyes.push(ssrc);
                    }
                }
            }
            TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => {
                let media = ssrc_at(packet, HEADER + 4).unwrap_or_default();
                if (kind, count) == (TRANSPORT_FEEDBACK, NACK) && is_ours(media) {
                    return;
                }
                if (kind, count) == (PAYLOAD_FEEDBACK, FULL_INTRA_REQUEST) {
                    return self.take_intra_requests(packet, place);
                }
                let about = match (kind, count) {
                    // REMB names its streams at the end.
                    (PAYLOAD_FEEDBACK, APPLICATION) if media == 0 => ssrc_at(packet, HEADER + 16),
                    _ => Some(media),
                };
                let line = place(Source::Remote(about.unwrap_or_default()));
                let mut packet = packet.to_vec();
                set_sender(&mut packet, line.sender);
                self.group(line).others.push(packet);
            }
            EXTENDED_REPORT => self.take_extended(packet, nobody),
            _ => self.group(nobody).others.push(packet.to_vec()),
        }
    }

    fn take_reports(&mut self, blocks: &[u8], mut place: impl FnMut(Source) -> Line) {
        for block in blocks.chunks_exact(REPORT) {
            let about = ssrc_at(block, 0).unwrap_or_default();
            let group = self.group(place(Source::Remote(about)));
            group.reports.push(block.to_vec());
        }
    }

    /// Each entry names a stream.
    fn take_intra_requests(&mut self, packet: &[u8], mut place: impl FnMut(Source) -> Line) {
        for entry in packet.get(12..).unwrap_or_default().chunks_exact(8) {
            let line = place(Source::Remote(ssrc_at(entry, 0).unwrap_or_default()));
            let mut request = packet[..12].to_vec();
            request.extend(entry);
            set_sender(&mut request, line.sender);
            set_length(&mut request);
            self.group(line).others.push(request);
        }
    }

    /// The core writes a reference time for each stream that it reports on, all under one SSRC, and answers to those of
    /// the other side. The first go with all the reports, once each; the others stand by themselves.
    fn take_extended(&mut self, packet: &[u8], nobody: Line) {
        let mut rest = packet.get(HEADER + 4..).unwrap_or_default();
        while let Some(words) = rest.get(2..4) {
            let length = 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
            let (block, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            let is_time = block[0] == RECEIVER_REFERENCE_TIME;
            let mut is_placed = false;
            for group in self.groups.iter_mut().filter(|g| !g.reports.is_empty()) {
                if !is_time && is_placed {
                    break;
                }
                is_placed = true;
                let has_time = |b: &Vec<u8>| b.first() == Some(&RECEIVER_REFERENCE_TIME);
                if !(is_time && group.extended.iter().any(has_time)) {
                    group.extended.push(block.to_vec());
                }
            }
            if !is_placed {
                self.group(nobody).extended.push(block.to_vec());
            }
        }
    }
}

impl Group {
    /// A report first (RFC 3550 §6.1), unless there is nothing but feedback (RFC 5506). `None` where there is nothing.
    fn write(mut self) -> Option<Vec<u8>> {
        let sender = self.line.sender.to_be_bytes();
        let mut out = Vec::new();
        for mut packet in self.senders.drain(..) {
            packet[0] = 0x80;
            append(&mut out, packet);
        }
        // In receiver reports even if we send: Janus reads its round-trip time only there.
        for blocks in self.reports.chunks(MAX_COUNT) {
            let mut packet = vec![0x80 | blocks.len() as u8, RECEIVER_REPORT, 0, 0];
            packet.extend(sender);
            packet.extend(blocks.iter().flatten());
            append(&mut out, packet);
        }
        for names in self.names.chunks(MAX_COUNT) {
            let mut packet = vec![0x80 | names.len() as u8, SOURCE_DESCRIPTION, 0, 0];
            packet.extend(names.iter().flatten());
            append(&mut out, packet);
        }
        for packet in self.others.drain(..) {
            append(&mut out, packet);
        }
        if !self.extended.is_empty() {
            let mut packet = vec![0x80, EXTENDED_REPORT, 0, 0];
            packet.extend(sender);
            packet.extend(self.extended.iter().flatten());
            append(&mut out, packet);
        }
        for ssrcs in self.goodbyes.chunks(MAX_COUNT) {
            let mut packet = vec![0x80 | ssrcs.len() as u8, GOODBYE, 0, 0];
            packet.extend(ssrcs.iter().flat_map(|ssrc| ssrc.to_be_bytes()));
            append(&mut out, packet);
        }
        (!out.is_empty()).then_some(out)
    }
}

fn append(out: &mut Vec<u8>, mut packet: Vec<u8>) {
    set_length(&mut packet);
    out.extend(packet);
}

/// Sets the length field: 32-bit words, less one (RFC 3550 §6.4.1). Nothing here is longer than a datagram.
fn set_length(packet: &mut [u8]) {
    let words = (packet.len() / 4).saturating_sub(1) as u16;
    if let Some(length) = packet.get_mut(2..4) {
        length.copy_from_slice(&words.to_be_bytes());
    }
}

fn set_sender(packet: &mut [u8], sender: u32) {
    if let Some(field) = packet.get_mut(HEADER..HEADER + 4) {
        field.copy_from_slice(&sender.to_be_bytes());
    }
}

fn ssrc_at(bytes: &[u8], at: usize) -> Option<u32> {
    let ssrc = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*ssrc))
}

/// Iterates over the chunks of a source description (RFC 3550 §6.5): an SSRC, items, and zeros up to a full word.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let mut at = 4;
        while let [kind, length, ..] = rest.get(at..).unwrap_or_default()
            && *kind != 0
        {
            at += 2 + usize::from(*length);
        }
        let end = (at + 1).next_multiple_of(4).min(rest.len());
        let (chunk, after) = rest.split_at(end);
        rest = after;
        (chunk.len() >= 8).then_some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUDIO: Line = Line { key: 0, sender: 10 };
    const VIDEO: Line = Line { key: 1, sender: 20 };

    /// Streams 10 and 11 are the local and the remote one of the first m-line, 20 and 21 of the second.
    fn line(source: Source) -> Option<Line> {
        match source {
            Source::Local(10) | Source::Remote(11) => Some(AUDIO),
            Source::Local(20) | Source::Remote(21) => Some(VIDEO),
            _ => None,
        }
    }

    fn packet(first: u8, kind: u8, words: &[u32]) -> Vec<u8> {
        let mut packet = vec![first, kind, 0, 0];
        packet.extend(words.iter().flat_map(|w| w.to_be_bytes()));
        set_length(&mut packet);
        packet
    }

    fn report(ssrc: u32) -> [u32; 6] {
        [ssrc, 1, 2, 3, 4, 5]
    }

    fn parts(plain: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
        let split = split(&plain.concat(), line, |ssrc| ssrc == 31);
        split
            .iter()
            .map(|p| packets(p).map(<[u8]>::to_vec).collect())
            .collect()
    }

    /// Two m-lines in both directions, as written by the core: one sender report has all blocks, in any order.
    #[test]
    fn reports_stand_under_the_ssrc_of_their_line() {
        let info = [7; 5];
        let both = [report(21), report(11)].concat();
        let name = u32::from_be_bytes([1, 1, b'x', 0]);
        let time = [0x0400_0002, 1, 2];
        let out = parts(&[
            packet(0x82, 200, &[&[10][..], &info, &both].concat()),
            packet(0x80, 200, &[&[20][..], &info].concat()),
            packet(0x82, 202, &[10, name, 20, name]),
            packet(0x81, 206, &[10, 21]),
            packet(0x80, 207, &[&[10][..], &time].concat()),
            packet(0x80, 207, &[&[10][..], &time].concat()),
        ]);
        let expected = [
            vec![
                packet(0x80, 200, &[&[10][..], &info].concat()),
                packet(0x81, 201, &[&[10][..], &report(11)].concat()),
                packet(0x81, 202, &[10, name]),
                packet(0x80, 207, &[&[10][..], &time].concat()),
            ],
            vec![
                packet(0x80, 200, &[&[20][..], &info].concat()),
                packet(0x81, 201, &[&[20][..], &report(21)].concat()),
                packet(0x81, 202, &[20, name]),
                packet(0x81, 206, &[20, 21]),
                packet(0x80, 207, &[&[20][..], &time].concat()),
            ],
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn who_only_receives_reports_by_line_too() {
        let both = [report(21), report(11)].concat();
        let out = parts(&[packet(0x82, 201, &[&[99][..], &both].concat())]);
        let expected = [
            vec![packet(0x81, 201, &[&[20][..], &report(21)].concat())],
            vec![packet(0x81, 201, &[&[10][..], &report(11)].concat())],
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn feedback_goes_with_its_stream() {
        let remb = packet(0x8f, 206, &[10, 0, 0x5245_4D42, 0x0100_0001, 21]);
        let out = parts(&[
            packet(0x81, 205, &[10, 21, 0x0005_0000]),
            packet(0x81, 205, &[10, 31, 0x0005_0000]),
            packet(0x84, 206, &[10, 0, 21, 0x0100_0000, 11, 0x0200_0000]),
            remb,
            packet(0x8f, 205, &[10, 77, 1, 2]),
            packet(0x82, 203, &[10, 20]),
        ]);
        let expected = [
            vec![
                packet(0x81, 205, &[20, 21, 0x0005_0000]),
                packet(0x84, 206, &[20, 0, 21, 0x0100_0000]),
                packet(0x8f, 206, &[20, 0, 0x5245_4D42, 0x0100_0001, 21]),
                packet(0x81, 203, &[20]),
            ],
            vec![
                packet(0x84, 206, &[10, 0, 11, 0x0200_0000]),
                packet(0x81, 203, &[10]),
            ],
            vec![packet(0x8f, 205, &[10, 77, 1, 2])],
        ];
        assert_eq!(out, expected);
        assert_eq!(parts(&[packet(0x81, 205, &[10, 31, 0])]), [[[0; 0]; 0]; 0]);
    }

    #[test]
    fn lost_packets_are_asked_for_seventeen_at_a_time() {
        let all: Vec<u16> = (65_530..=65_535).chain(0..=11).collect();
        let entries = [0xFFFA_FFFF, 0x000B_0000];
        let [first, second] = entries;
        assert_eq!(nack(1, 2, &all), packet(0x81, 205, &[1, 2, first, second]));
        let read: Vec<(u32, u16)> = asked_for(&nack(1, 2, &all)).collect();
        assert_eq!(read, all.iter().map(|n| (2, *n)).collect::<Vec<_>>());
        assert_eq!(
            nack(1, 2, &[5, 30]),
            packet(0x81, 205, &[1, 2, 0x0005_0000, 0x001E_0000])
        );
    }

    /// Whatever the input, nothing is read beyond its end, and the output is a compound packet.
    #[test]
    fn damage_does_no_harm() {
        let mut random = 7_u32;
        for _ in 0..50_000 {
            let mut next = || {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            };
            let length = usize::from(next()) % 80;
            let mut bytes: Vec<u8> = (0..length).map(|_| next() % 32).collect();
            let kind = 199 + next() % 10;
            if let [first, second, a, b, ..] = &mut bytes[..] {
                (*first, *second, *a) = (0x80 | *first, kind, 0);
                *b %= 20;
            }
            for part in split(&bytes, line, |_| false) {
                assert!(!part.is_empty());
            }
        }
    }
}
