use std::time::Duration;

use super::super::{MediaError, MediaErrorKind, opus, ticks};
use super::page::{BEGIN, CONTINUED, END, NO_GRANULE, Page};
use super::{HEAD_SIGNATURE, OpusTags, TAGS_SIGNATURE};

/// Segments a page has at most.
const MAX_SEGMENTS: usize = 255;

/// The longest silence that is written out as lost packets.
const MAX_GAP: u64 = 3600 * opus::SAMPLE_RATE as u64;

/// How an Ogg Opus file is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WriterConfig {
    /// 1 or 2 (RFC 7845 §5.1). What arrives over WebRTC may be either at any time; 2 is right for both.
    /// Default: 2.
    pub channels: u8,
    /// Samples at 48 kHz that players throw away at the beginning. Default: 312, which is what libopus
    /// needs; 0 for what was cut out of a running stream would play a click.
    pub pre_skip: u16,
    /// What it was recorded at, in Hz; a remark. Default: 48000.
    pub input_sample_rate: u32,
    /// Tells streams in one file apart (RFC 3533 §6). Default: 1.
    pub serial: u32,
    /// The time that one page holds at most, and so what a crash can lose. Default: 1 s (RFC 7845 §3
    /// recommends no more).
    pub page_duration: Duration,
    /// Remarks. Default: the vendor is this crate, no comments.
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
/// Packets that never came are written as packets of no frame data, for which a decoder conceals the
/// loss: positions may not jump (RFC 7845 §4.1).
#[derive(Debug)]
pub struct OggOpusWriter {
    serial: u32,
    page_samples: u64,
    sequence: u32,
    /// Samples of all packets so far.
    position: u64,
    /// The time of the first packet, in samples.
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
    /// Appends the two header pages to `out`. Fails when there are not one or two channels.
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

    /// Writes a packet that begins at `time`, which counts from anywhere: the first packet's is the
    /// beginning. Pages are appended to `out` as they fill up.
    ///
    /// Fails, writing nothing, when this is no Opus packet, when it begins before the last one ended by
    /// more than half its length, and for gaps of an hour and more.
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

    /// Writes what is pending, as the last page.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.page.ends_packet = true;
        self.flush(END, out);
    }

    /// Fills a gap with packets like the last one, but empty. Less than half of one is left open.
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
