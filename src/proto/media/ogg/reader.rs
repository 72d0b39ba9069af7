use std::collections::VecDeque;

use super::super::input::{Input, le16, le32};
use super::super::{Frame, Limits, MediaError, MediaErrorKind, opus};
use super::page::{BEGIN, CONTINUED, END, Page, PageError, SIGNATURE};
use super::{HEAD_SIGNATURE, MAX_TAGS, OpusHead, OpusTags, TAGS_SIGNATURE};

/// Maximum granule position. They are signed: negative ones have no meaning, and -1 says that no packet ends on the
/// page.
const MAX_GRANULE: u64 = i64::MAX as u64;

/// Reads Ogg Opus.
///
/// - Packets may be spread over pages in any way that RFC 3533 allows.
/// - Other streams in the same file are ignored; the first Opus stream is read.
/// - Times start at 0 with the first packet, whatever the granule position (for example in an excerpt of a broadcast),
///   and include the pre-skip. A jump of the granule position is a jump in time.
/// - Times continue across chained files, where one stream follows another, as internet radio sends them.
/// - Bytes between pages, pages with a wrong checksum, missing pages and invalid Opus packets are skipped (RFC 3533
///   §6): time continues by the granule positions. [`damage`](Self::damage) describes them.
/// - A page that is truncated by the end of the file is an error, after everything before it was returned.
#[derive(Debug)]
pub struct OggOpusReader {
    input: Input,
    max_frame: usize,
    error: Option<MediaError>,
    frames: VecDeque<Frame>,
    head: Option<OpusHead>,
    tags: Option<OpusTags>,
    stream: Option<Stream>,
    /// Time of the next packet, in samples.
    position: u64,
    saw_page: bool,
    damage: Damage,
    /// Number of bytes that failed checksums may still cover; earned by input.
    checks: u64,
}

/// Number of bytes that failed checksums may cover: an initial amount, and a factor for each byte skipped. Endless page
/// headers must not cost more than linear time.
const CHECKS: (u64, u64) = (1 << 20, 64);

/// Data skipped as damaged.
#[derive(Debug, Default)]
struct Damage {
    places: u64,
    first: Option<(u64, String)>,
    /// End of the last skipped bytes: those that follow directly belong to the same damage.
    skipped_to: Option<u64>,
}

impl Damage {
    fn note(&mut self, offset: u64, what: String) {
        self.places += 1;
        self.first.get_or_insert((offset, what));
    }

    /// Records bytes that are not a page.
    fn skip(&mut self, from: u64, to: u64, what: &str) {
        if self.skipped_to.replace(to) != Some(from) {
            self.note(from, what.to_owned());
        }
    }
}

/// The Opus stream being read.
#[derive(Debug)]
struct Stream {
    serial: u32,
    next_page: u32,
    expect: Expect,
    /// A packet that started on an earlier page, and its position.
    partial: Option<(Vec<u8>, u64)>,
    /// The rest of an oversized packet is skipped.
    skipping: bool,
    /// The granule position after the last packet, once known.
    granule: Option<u64>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Tags,
    Audio,
}

/// A packet and the page it started on.
struct Packet {
    data: Vec<u8>,
    offset: u64,
    samples: u32,
}

impl OggOpusReader {
    /// Creates a reader for a file or stream from its beginning.
    pub fn new(limits: Limits) -> Self {
        Self {
            input: Input::new(&limits),
            max_frame: limits.max_frame,
            error: None,
            frames: VecDeque::new(),
            head: None,
            tags: None,
            stream: None,
            position: 0,
            saw_page: false,
            damage: Damage::default(),
            checks: CHECKS.0,
        }
    }

    /// Creates a reader for data that follows `offset` other bytes, such as a tag.
    pub(in super::super) fn behind(limits: Limits, offset: u64) -> Self {
        let mut reader = Self::new(limits);
        reader.input.restart(offset);
        reader
    }

    /// Describes the damaged or missing data skipped so far; `None` if there is none.
    pub fn damage(&self) -> Option<String> {
        let (offset, what) = self.damage.first.as_ref()?;
        Some(match self.damage.places {
            1 => format!("at byte {offset}: {what}; it was passed over"),
            n => format!(
                "at byte {offset}: {what}; it and {} more like it were passed over",
                n - 1
            ),
        })
    }

    /// Adds input. Call [`poll`](Self::poll) until it returns `None` after each call; see [`Limits::max_unread`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        self.input.feed(bytes)
    }

    /// Marks the end of the input.
    pub fn finish(&mut self) {
        self.input.finish();
    }

    /// Returns the first packet's content, once it has been read.
    pub fn head(&self) -> Option<&OpusHead> {
        self.head.as_ref()
    }

    /// Returns the second packet's content, once it has been read.
    pub fn tags(&self) -> Option<&OpusTags> {
        self.tags.as_ref()
    }

    /// Returns the next packet. `None` means that more input is needed or, after [`finish`](Self::finish), the end.
    pub fn poll(&mut self) -> Result<Option<Frame>, MediaError> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if let Some(error) = &self.error {
                return Err(error.clone());
            }
            match self.next_page() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                // Packets of the page before its damage are returned first.
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Reads a page, or skips bytes that are not one; returns `false` if there is nothing left to read.
    fn next_page(&mut self) -> Result<bool, MediaError> {
        let offset = self.input.offset();
        let fail = |kind, reason: String| Err(MediaError::new(kind, offset, reason));
        match Page::take(&mut self.input, &mut self.checks) {
            Ok(page) => {
                self.saw_page = true;
                self.take_page(&page)?;
                Ok(true)
            }
            Err(PageError::Incomplete(_)) if !self.input.is_finished() => Ok(false),
            Err(PageError::Incomplete(needed)) => match self.input.unread().len() {
                0 => self.end(offset).map(|()| false),
                // Possibly a false page start, with a real one behind it.
                have if find(self.input.unread(), 1, true).is_none() => fail(
                    MediaErrorKind::Truncated,
                    format!("Ogg ends inside a page: {have} of at least {needed} bytes are there"),
                ),
                _ => Ok(self.pass_over("what begins like an Ogg page, and is none")),
            },
            Err(PageError::NotOgg) if self.saw_page => {
                Ok(self.pass_over("no Ogg page where the next should begin"))
            }
            Err(PageError::NotOgg) => fail(
                MediaErrorKind::WrongFormat,
                "not Ogg: it does not begin with \"OggS\"".into(),
            ),
            Err(PageError::Version(version)) if !self.saw_page => fail(
                MediaErrorKind::Unsupported,
                format!("an Ogg page of version {version}; only 0 is known"),
            ),
            Err(PageError::Version(_)) => Ok(self.pass_over("an Ogg page of an unknown version")),
            Err(PageError::Checksum) => {
                // Damaged, but Ogg: must not depend on the size of the pieces fed.
                self.saw_page = true;
                Ok(self.pass_over("an Ogg page with a wrong checksum"))
            }
        }
    }

    /// Continues at the next possible start of a page.
    fn pass_over(&mut self, what: &str) -> bool {
        let (from, is_finished) = (self.input.offset(), self.input.is_finished());
        let bytes = self.input.unread();
        // The beginning of an incomplete signature is kept.
        let next = find(bytes, 1, is_finished).unwrap_or(bytes.len());
        self.input.consume(next);
        self.damage.skip(from, self.input.offset(), what);
        self.checks = self.checks.saturating_add(CHECKS.1 * next as u64);
        true
    }

    /// Checks the state at the end of the input.
    fn end(&self, offset: u64) -> Result<(), MediaError> {
        let fail = |kind, reason: &str| Err(MediaError::new(kind, offset, reason));
        match &self.stream {
            None if self.saw_page => fail(
                MediaErrorKind::WrongFormat,
                "an Ogg file without an Opus stream",
            ),
            None => fail(MediaErrorKind::Truncated, "an empty file"),
            Some(stream) if stream.partial.is_some() => fail(
                MediaErrorKind::Truncated,
                "Ogg ends inside a packet that goes over several pages",
            ),
            Some(_) => Ok(()),
        }
    }

    fn take_page(&mut self, page: &Page) -> Result<(), MediaError> {
        if page.flags & BEGIN != 0 {
            return self.begin_stream(page);
        }
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        // A stream has no pages after its last one: such pages belong to another stream that is not Opus.
        if stream.serial != page.serial || stream.ended {
            return Ok(());
        }
        if page.sequence.wrapping_add(1) == stream.next_page && stream.expect == Expect::Audio {
            self.damage
                .note(page.offset, format!("Ogg page {} twice", page.sequence));
            return Ok(());
        }
        if page.sequence != stream.next_page {
            let (expected, found) = (stream.next_page, page.sequence);
            let what = format!("Ogg page {found} where page {expected} should be");
            self.damage.note(page.offset, what);
            (stream.partial, stream.skipping) = (None, false);
        }
        stream.next_page = page.sequence.wrapping_add(1);
        let continues = page.flags & CONTINUED != 0;
        if !continues && (stream.partial.take().is_some() | std::mem::take(&mut stream.skipping)) {
            let what = "an Ogg page that does not continue the packet begun before it";
            self.damage.note(page.offset, what.into());
        }
        if continues && stream.partial.is_none() && !stream.skipping {
            let what = "an Ogg page that continues a packet whose beginning is missing";
            self.damage.note(page.offset, what.into());
            stream.skipping = true;
        }
        let is_end = page.flags & END != 0;
        let packets = self.take_pieces(page);
        self.place(page.granule, packets);
        if let Some(stream) = &mut self.stream {
            stream.ended |= is_end;
        }
        Ok(())
    }

    /// Joins the pieces on a page into packets. Invalid Opus packets are left out.
    fn take_pieces(&mut self, page: &Page) -> Vec<Packet> {
        let mut packets = Vec::new();
        for (piece, ends) in page.pieces() {
            let Some(stream) = &mut self.stream else {
                break;
            };
            if stream.skipping {
                stream.skipping = !ends;
                continue;
            }
            let (mut data, offset) = stream.partial.take().unwrap_or((Vec::new(), page.offset));
            let room = match stream.expect {
                Expect::Tags => MAX_TAGS.saturating_sub(data.len()),
                Expect::Audio => self.max_frame.saturating_sub(data.len()),
            };
            if piece.len() > room && stream.expect == Expect::Audio {
                let what = format!("an Opus packet above {} bytes", self.max_frame);
                self.damage.note(page.offset, what);
                stream.skipping = !ends;
                continue;
            }
            data.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if !ends {
                stream.partial = Some((data, offset));
                continue;
            }
            if stream.expect == Expect::Tags {
                stream.expect = Expect::Audio;
                if let Some(tags) = parse_tags(&data) {
                    self.tags = Some(tags);
                    continue;
                }
                let what = "the second packet of an Opus stream is no OpusTags";
                self.damage.note(offset, what.into());
            }
            match opus::samples(&data) {
                Some(samples) => packets.push(Packet {
                    data,
                    offset,
                    samples,
                }),
                None => {
                    let what = format!("{} bytes that are no Opus packet", data.len());
                    self.damage.note(offset, what);
                }
            }
        }
        packets
    }

    /// Assigns times to the packets that end on a page. Its granule position is that after the last of them (RFC 7845
    /// §4).
    fn place(&mut self, granule: u64, packets: Vec<Packet>) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        if packets.is_empty() {
            return;
        }
        let total: u64 = packets.iter().map(|packet| u64::from(packet.samples)).sum();
        let known = granule <= MAX_GRANULE;
        if let Some(before) = stream.granule
            && known
        {
            // A gap. On the last page the position may be lower: it trims the end.
            let jump = granule.saturating_sub(total).saturating_sub(before);
            self.position = self.position.saturating_add(jump);
        }
        stream.granule = match stream.granule {
            _ if known => Some(granule),
            Some(before) => Some(before.saturating_add(total)),
            None => None,
        };
        for packet in packets {
            let duration = opus::time(u64::from(packet.samples));
            self.frames.push_back(Frame {
                time: opus::time(self.position),
                duration,
                keyframe: true,
                offset: packet.offset,
                data: packet.data,
            });
            self.position = self.position.saturating_add(u64::from(packet.samples));
        }
    }

    /// Handles the first page of a stream: it is read if it is Opus and no other one is being read.
    fn begin_stream(&mut self, page: &Page) -> Result<(), MediaError> {
        if self.stream.as_ref().is_some_and(|stream| {
            // Parallel streams start together with the first Opus stream; a chained one starts after it.
            !stream.ended && stream.expect == Expect::Tags
        }) {
            return Ok(());
        }
        if !page.body.starts_with(HEAD_SIGNATURE) {
            return Ok(());
        }
        let partial = self.stream.as_ref().and_then(|s| s.partial.as_ref());
        if let Some((_, offset)) = partial {
            let what = "a new stream begins inside a packet of the one before";
            self.damage.note(*offset, what.into());
        }
        let head = parse_head(&page.body)
            .map_err(|(kind, reason)| MediaError::new(kind, page.offset, reason))?;
        self.head.get_or_insert(head);
        self.stream = Some(Stream {
            serial: page.serial,
            next_page: page.sequence.wrapping_add(1),
            expect: Expect::Tags,
            partial: None,
            skipping: false,
            granule: None,
            ended: page.flags & END != 0,
        });
        Ok(())
    }
}

/// Returns the position of the next page signature at or after `from`; if more bytes may follow, also that of an
/// incomplete one.
fn find(bytes: &[u8], from: usize, is_whole: bool) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let whole = rest.windows(SIGNATURE.len()).position(|w| w == SIGNATURE);
    let cut = || {
        let most = rest.len().min(SIGNATURE.len() - 1);
        let ends = |n: &usize| rest.ends_with(SIGNATURE.get(..*n).unwrap_or_default());
        let length = (1..=most).rev().find(ends)?;
        Some(rest.len() - length)
    };
    whole
        .or_else(|| (!is_whole).then(cut).flatten())
        .map(|at| from + at)
}

fn parse_head(packet: &[u8]) -> Result<OpusHead, (MediaErrorKind, String)> {
    let Some(&[version, channels]) = packet.get(8..).and_then(|rest| rest.first_chunk()) else {
        return Err((
            MediaErrorKind::Damaged,
            "an OpusHead that is too short".into(),
        ));
    };
    // The upper four bits are the major version (RFC 7845 §5.1).
    if version >> 4 != 0 {
        return Err((
            MediaErrorKind::Unsupported,
            format!("OpusHead of version {version}"),
        ));
    }
    if packet.len() < 19 {
        return Err((
            MediaErrorKind::Damaged,
            "an OpusHead that is too short".into(),
        ));
    }
    let family = packet[18];
    let streams = if family == 0 {
        1
    } else {
        packet.get(19).copied().unwrap_or(0)
    };
    if !matches!(channels, 1 | 2) || streams != 1 {
        let reason = format!(
            "Opus with {channels} channels in {streams} streams; WebRTC knows mono and stereo. \
             Re-encode: ffmpeg -i INPUT -ac 2 -c:a libopus OUTPUT"
        );
        return Err((MediaErrorKind::Unsupported, reason));
    }
    Ok(OpusHead {
        channels,
        pre_skip: le16(packet, 10),
        input_sample_rate: le32(packet, 12),
        output_gain: le16(packet, 16) as i16,
    })
}

/// Parses OpusTags; `None` if it is not one. Truncated comments are left out.
fn parse_tags(packet: &[u8]) -> Option<OpusTags> {
    let mut rest = packet.strip_prefix(TAGS_SIGNATURE)?;
    let mut tags = OpusTags::default();
    let Some(vendor) = take_string(&mut rest) else {
        return Some(tags);
    };
    tags.vendor = vendor;
    let count = le32(rest, 0);
    rest = rest.get(4..).unwrap_or_default();
    for _ in 0..count {
        match take_string(&mut rest) {
            Some(comment) => tags.comments.push(comment),
            None => break,
        }
    }
    Some(tags)
}

fn take_string(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?;
    let (string, behind) = rest.get(4..)?.split_at_checked(length)?;
    *rest = behind;
    Some(String::from_utf8_lossy(string).into_owned())
}
