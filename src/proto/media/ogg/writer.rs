use std::time::Duration;

use super::super::{MediaError, MediaErrorKind, opus, ticks};
use super::page::{BEGIN, CONTINUED, END, NO_GRANULE, Page};
use super::{HEAD_SIGNATURE, OpusTags, TAGS_SIGNATURE};

/// Maximum number of segments in a page.
const MAX_SEGMENTS: usize = 255;

/// Maximum gap that is written as lost packets, in samples.
const MAX_GAP: u64 = 3600 * opus::SAMPLE_RATE as u64;

/// Configuration of an [`OggOpusWriter`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WriterConfig {
    /// Number of channels, 1 or 2 (RFC 7845 §5.1). A WebRTC sender may change between them at any time; 2 fits both.
    /// Default: 2.
    pub channels: u8,
    /// Number of samples at 48 kHz that players discard at the beginning. Default: 312, as libopus needs; with 0, an
    /// excerpt of a running stream would start with a click.
    pub pre_skip: u16,
    /// Sample rate of the original recording, in Hz; informative. Default: 48000.
    pub input_sample_rate: u32,
    /// Serial number that identifies the stream within a file (RFC 3533 §6). Default: 1.
    pub serial: u32,
    /// Maximum duration of a page, and so of the audio lost in a crash. Default: 1 s (RFC 7845 §3 recommends no more).
    pub page_duration: Duration,
    /// Tags of the file. Default: the vendor is this crate, no comments.
    pub tags: OpusTags,
}

impl Default for WriterConfig {
    fn default() -> Self {
        let tags = OpusTags {
            vendor: concat!("looprtc ", env!("CARGO_PKG_VERSION")).into(),
            comments: Vec::new(),
        };
        Self {
            channels: 2,
            pre_skip: 312,
            input_sample_rate: opus::SAMPLE_RATE,
            serial: 1,
            page_duration: Duration::from_secs(1),
            tags,
        }
    }
}

impl WriterConfig {
    /// Sets [`channels`](Self::channels).
    pub fn channels(mut self, channels: u8) -> Self {
        self.channels = channels;
        self
    }

    /// Sets [`pre_skip`](Self::pre_skip).
    pub fn pre_skip(mut self, samples: u16) -> Self {
        self.pre_skip = samples;
        self
    }

    /// Sets [`serial`](Self::serial).
    pub fn serial(mut self, serial: u32) -> Self {
        self.serial = serial;
        self
    }

    /// Sets [`page_duration`](Self::page_duration).
    pub fn page_duration(mut self, duration: Duration) -> Self {
        self.page_duration = duration;
        self
    }

    /// Sets [`tags`](Self::tags).
    pub fn tags(mut self, tags: OpusTags) -> Self {
        self.tags = tags;
        self
    }
}

/// Writes Ogg Opus.
///
/// Missing packets are written as packets without frame data, which make the decoder conceal the loss: positions must
/// not jump (RFC 7845 §4.1).
#[derive(Debug)]
pub struct OggOpusWriter {
    serial: u32,
    page_samples: u64,
    sequence: u32,
    /// Number of samples in all packets so far.
    position: u64,
    /// Time of the first packet, in samples.
    start: Option<u64>,
    last_toc: u8,
    page: Pending,
    written: u64,
}

/// The page being filled.
#[derive(Debug, Default)]
struct Pending {
    lacing: Vec<u8>,
    body: Vec<u8>,
    samples: u64,
    ends_packet: bool,
    continued: bool,
}

impl OggOpusWriter {
    /// Appends the two header pages to `out`. Returns an error unless there are one or two channels.
    pub fn new(config: WriterConfig, out: &mut Vec<u8>) -> Result<Self, MediaError> {
        if !matches!(config.channels, 1 | 2) {
            let reason = format!(
                "Ogg Opus of {} channels; 1 and 2 can be written",
                config.channels
            );
            return Err(MediaError::new(MediaErrorKind::Unsupported, 0, reason));
        }
        let page_samples = ticks(config.page_duration, opus::SAMPLE_RATE).max(1);
        let mut writer = Self {
            serial: config.serial,
            page_samples,
            sequence: 0,
            position: 0,
            start: None,
            last_toc: 0,
            page: Pending::default(),
            written: 0,
        };
        let mut head = HEAD_SIGNATURE.to_vec();
        head.extend_from_slice(&[1, config.channels]);
        head.extend_from_slice(&config.pre_skip.to_le_bytes());
        head.extend_from_slice(&config.input_sample_rate.to_le_bytes());
        head.extend_from_slice(&[0; 3]); // output gain, mapping family
        writer.add(&head, 0, out);
        writer.flush(BEGIN, out);
        let mut tags = TAGS_SIGNATURE.to_vec();
        push_string(&mut tags, &config.tags.vendor);
        tags.extend_from_slice(&(config.tags.comments.len() as u32).to_le_bytes());
        for comment in &config.tags.comments {
            push_string(&mut tags, comment);
        }
        writer.add(&tags, 0, out);
        writer.flush(0, out);
        Ok(writer)
    }

    /// Writes a packet that begins at `time`, relative to an arbitrary origin: the first packet defines the beginning.
    /// Full pages are appended to `out`.
    ///
    /// Returns an error, and writes nothing, if this is not a valid Opus packet, if it begins before the end of the
    /// previous one by more than half its duration, or after a gap of an hour or more.
    pub fn write(
        &mut self,
        time: Duration,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), MediaError> {
        let fail = |kind, reason| Err(MediaError::new(kind, self.written, reason));
        let Some(samples) = opus::samples(packet) else {
            let reason = format!("{} bytes that are no Opus packet", packet.len());
            return fail(MediaErrorKind::Damaged, reason);
        };
        let time = ticks(time, opus::SAMPLE_RATE);
        let start = *self.start.get_or_insert(time);
        let expected = start.saturating_add(self.position);
        if time.saturating_add(u64::from(samples) / 2) < expected {
            let late = opus::time(expected - time);
            let reason = format!("an Opus packet that begins {late:?} before the last one ended");
            return fail(MediaErrorKind::Reordered, reason);
        }
        let gap = time.saturating_sub(expected);
        if gap >= MAX_GAP {
            return fail(
                MediaErrorKind::TooLarge,
                format!("a gap of {:?}", opus::time(gap)),
            );
        }
        self.conceal(gap, out);
        self.last_toc = packet.first().copied().unwrap_or_default();
        self.add(packet, u64::from(samples), out);
        Ok(())
    }

    /// Writes the pending packets as the last page.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.page.ends_packet = true;
        self.flush(END, out);
    }

    /// Fills a gap with empty packets like the last one. Less than half a packet is left open.
    fn conceal(&mut self, gap: u64, out: &mut Vec<u8>) {
        let toc = self.last_toc & !3;
        let each = u64::from(opus::frame_samples(toc));
        for _ in 0..(gap + each / 2) / each {
            self.add(&[toc], each, out);
        }
    }

    fn add(&mut self, packet: &[u8], samples: u64, out: &mut Vec<u8>) {
        let is_full = self.page.samples + samples > self.page_samples
            || self.page.lacing.len() + packet.len() / 255 + 1 > MAX_SEGMENTS;
        if is_full && !self.page.lacing.is_empty() {
            self.flush(0, out);
        }
        let mut rest = packet;
        loop {
            if self.page.lacing.len() == MAX_SEGMENTS {
                self.flush(0, out);
                self.page.continued = true;
            }
            let (segment, behind) = rest.split_at(rest.len().min(255));
            self.page.lacing.push(segment.len() as u8);
            self.page.body.extend_from_slice(segment);
            rest = behind;
            if segment.len() < 255 {
                break;
            }
        }
        self.page.ends_packet = true;
        self.page.samples += samples;
        self.position += samples;
    }

    fn flush(&mut self, flags: u8, out: &mut Vec<u8>) {
        let pending = std::mem::take(&mut self.page);
        let page = Page {
            offset: 0,
            flags: flags | if pending.continued { CONTINUED } else { 0 },
            granule: if pending.ends_packet {
                self.position
            } else {
                NO_GRANULE
            },
            serial: self.serial,
            sequence: self.sequence,
            lacing: pending.lacing,
            body: pending.body,
        };
        let before = out.len();
        page.write(out);
        self.written += (out.len() - before) as u64;
        self.sequence = self.sequence.wrapping_add(1);
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
