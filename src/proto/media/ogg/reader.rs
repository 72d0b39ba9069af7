use std::collections::VecDeque;

use super::super::input::{Input, le16, le32};
use super::super::{Frame, Limits, MediaError, MediaErrorKind, opus};
use super::page::{BEGIN, CONTINUED, END, NO_GRANULE, Page, PageError};
use super::{HEAD_SIGNATURE, MAX_TAGS, OpusHead, OpusTags, TAGS_SIGNATURE};

/// Granule positions are signed; those below 0 say nothing, -1 that no packet ends on the page.
const MAX_GRANULE: u64 = i64::MAX as u64;

/// Reads Ogg Opus.
///
/// - Packets may be laid out over pages in any way that RFC 3533 allows.
/// - Other streams in the same file are passed over; the first Opus stream counts.
/// - Times begin at 0 with the first packet, whatever the granule position (a cut from a broadcast), and
///   include the pre-skip. Where the granule positions jump ahead, time does.
/// - Chained files, one stream behind the other as internet radio sends them, go on in time.
/// - Ends with an error at the first page whose checksum is wrong, that is missing, or cut off; of such
///   a page nothing is given, as nothing of it can be trusted.
#[derive(Debug)]
pub struct OggOpusReader {
    input: Input,
    max_frame: usize,
    error: Option<MediaError>,
    frames: VecDeque<Frame>,
    head: Option<OpusHead>,
    tags: Option<OpusTags>,
    stream: Option<Stream>,
    /// The time of the next packet, in samples.
    position: u64,
    saw_page: bool,
}

/// The Opus stream being read.
#[derive(Debug)]
struct Stream {
    serial: u32,
    next_page: u32,
    expect: Expect,
    /// A packet that began on an earlier page, and where.
    partial: Option<(Vec<u8>, u64)>,
    /// The granule position behind the last packet, once known.
    granule: Option<u64>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Tags,
    Audio,
}

/// A packet and the page on which it began.
struct Packet {
    data: Vec<u8>,
    offset: u64,
    samples: u32,
}

impl OggOpusReader {
    /// A reader at the beginning of a file or stream.
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
        }
    }

    /// Takes the next bytes. Poll until `None` after each; see [`Limits::max_unread`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        self.input.feed(bytes)
    }

    /// Says that there is no more input.
    pub fn finish(&mut self) {
        self.input.finish();
    }

    /// What the first packet says, once it was read.
    pub fn head(&self) -> Option<&OpusHead> {
        self.head.as_ref()
    }

    /// What the second packet says, once it was read.
    pub fn tags(&self) -> Option<&OpusTags> {
        self.tags.as_ref()
    }

    /// The next packet; `None` when more input is needed, or, after [`finish`](Self::finish), at the end.
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
                // What the page gave before its damage comes first.
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// Takes one page; false when there is none.
    fn next_page(&mut self) -> Result<bool, MediaError> {
        let offset = self.input.offset();
        let fail = |kind, reason: String| Err(MediaError::new(kind, offset, reason));
        match Page::take(&mut self.input) {
            Ok(page) => {
                self.saw_page = true;
                self.take_page(&page)?;
                Ok(true)
            }
            Err(PageError::Incomplete(_)) if !self.input.is_finished() => Ok(false),
            Err(PageError::Incomplete(needed)) => match self.input.unread().len() {
                0 => self.end(offset).map(|()| false),
                have => fail(
                    MediaErrorKind::Truncated,
                    format!("Ogg ends inside a page: {have} of at least {needed} bytes are there"),
                ),
            },
            Err(PageError::NotOgg) if self.saw_page => fail(
                MediaErrorKind::Damaged,
                "no Ogg page where the next should begin".into(),
            ),
            Err(PageError::NotOgg) => fail(
                MediaErrorKind::WrongFormat,
                "not Ogg: it does not begin with \"OggS\"".into(),
            ),
            Err(PageError::Version(version)) => fail(
                MediaErrorKind::Unsupported,
                format!("an Ogg page of version {version}; only 0 is known"),
            ),
            Err(PageError::Checksum) => fail(
                MediaErrorKind::Damaged,
                "an Ogg page with a wrong checksum".into(),
            ),
        }
    }

    /// At the end of the input.
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
        // Behind its last page a stream has none: such pages are another's that was not Opus.
        if stream.serial != page.serial || stream.ended {
            return Ok(());
        }
        let damaged =
            |reason: String| MediaError::new(MediaErrorKind::Damaged, page.offset, reason);
        if page.sequence != stream.next_page {
            let (expected, found) = (stream.next_page, page.sequence);
            return Err(damaged(format!(
                "Ogg page {found} where page {expected} should be"
            )));
        }
        stream.next_page = stream.next_page.wrapping_add(1);
        if (page.flags & CONTINUED != 0) != stream.partial.is_some() {
            let reason = match stream.partial {
                Some(_) => "an Ogg page that does not continue the packet begun before it",
                None => "an Ogg page that continues a packet never begun",
            };
            return Err(damaged(reason.into()));
        }
        let mut packets = Vec::new();
        let result = self.take_pieces(page, &mut packets);
        // Where a packet is missing, the page's position says nothing about the others.
        let granule = if result.is_ok() {
            page.granule
        } else {
            NO_GRANULE
        };
        self.place(granule, packets);
        if page.flags & END != 0
            && let Some(stream) = &mut self.stream
        {
            stream.ended = true;
        }
        result
    }

    /// Joins the pieces on a page into packets.
    fn take_pieces(&mut self, page: &Page, packets: &mut Vec<Packet>) -> Result<(), MediaError> {
        for (piece, ends) in page.pieces() {
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            let (mut data, offset) = stream.partial.take().unwrap_or((Vec::new(), page.offset));
            let room = match stream.expect {
                Expect::Tags => MAX_TAGS.saturating_sub(data.len()),
                Expect::Audio => self.max_frame.saturating_sub(data.len()),
            };
            if piece.len() > room && stream.expect == Expect::Audio {
                let reason = format!("an Opus packet above {} bytes", self.max_frame);
                return Err(MediaError::new(
                    MediaErrorKind::TooLarge,
                    page.offset,
                    reason,
                ));
            }
            data.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if !ends {
                stream.partial = Some((data, offset));
                continue;
            }
            match stream.expect {
                Expect::Tags => {
                    stream.expect = Expect::Audio;
                    let tags = parse_tags(&data).ok_or_else(|| {
                        let reason = "the second packet of an Opus stream is no OpusTags";
                        MediaError::new(MediaErrorKind::Damaged, offset, reason)
                    })?;
                    self.tags = Some(tags);
                }
                Expect::Audio => {
                    let samples = opus::samples(&data).ok_or_else(|| {
                        let reason = format!("{} bytes that are no Opus packet", data.len());
                        MediaError::new(MediaErrorKind::Damaged, offset, reason)
                    })?;
                    packets.push(Packet {
                        data,
                        offset,
                        samples,
                    });
                }
            }
        }
        Ok(())
    }

    /// Gives the packets that end on a page their times. Its granule position is that behind the last of
    /// them (RFC 7845 §4).
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
            // A hole. On the last page the position may be behind: there it cuts off the end.
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

    /// The first page of a stream: ours, if it is Opus and none is being read.
    fn begin_stream(&mut self, page: &Page) -> Result<(), MediaError> {
        if self.stream.as_ref().is_some_and(|stream| {
            // Streams beside the first Opus stream begin together with it; a chained one behind it.
            !stream.ended && stream.expect == Expect::Tags
        }) {
            return Ok(());
        }
        if !page.body.starts_with(HEAD_SIGNATURE) {
            return Ok(());
        }
        if let Some((_, offset)) = self
            .stream
            .as_ref()
            .and_then(|stream| stream.partial.as_ref())
        {
            let reason = "a new stream begins inside a packet of the one before";
            return Err(MediaError::new(MediaErrorKind::Damaged, *offset, reason));
        }
        let head = parse_head(&page.body)
            .map_err(|(kind, reason)| MediaError::new(kind, page.offset, reason))?;
        self.head.get_or_insert(head);
        self.stream = Some(Stream {
            serial: page.serial,
            next_page: page.sequence.wrapping_add(1),
            expect: Expect::Tags,
            partial: None,
            granule: None,
            ended: page.flags & END != 0,
        });
        Ok(())
    }
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

/// `None` when this is no OpusTags. Comments that are cut off are left out.
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
