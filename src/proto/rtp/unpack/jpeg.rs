//! Motion JPEG (RFC 2435): whole JPEG files from headers and fragments.

use std::time::Instant;

use super::jpeg_tables::{
    AC_CHROMA, AC_LUMA, CHROMA_QUANTIZER, DC_CHROMA, DC_LUMA, Huffman, LUMA_QUANTIZER,
};
use super::nal_codec::VideoInfo;
use super::{Arrival, Out};

/// Header extension with the header of a JPEG file (ONVIF Streaming Specification §5.1.3.4).
const ONVIF_EXTENSION: u16 = 0xFFD8;

const START_OF_IMAGE: [u8; 2] = [0xFF, 0xD8];
const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];

/// Depacketizer of motion JPEG.
#[derive(Debug)]
pub(super) struct JpegUnpacker {
    /// Size of pictures that RFC 2435 cannot express.
    dimensions: Option<(u16, u16)>,
    /// Tables of qualities 128 to 254, which need not be repeated: at most 128 × 256 bytes.
    tables: Vec<(u8, Vec<u8>)>,
    picture: Option<Picture>,
    /// The rest of a damaged picture is skipped.
    skipped: Option<u32>,
    latest: Option<(u16, u16)>,
}

/// A picture in progress.
#[derive(Debug)]
struct Picture {
    timestamp: u32,
    arrived: Instant,
    /// The file so far.
    file: Vec<u8>,
    /// Number of bytes before the first fragment.
    header: usize,
}

/// Main header of a packet (§3.1), and restart header (§3.1.7).
struct Header {
    offset: usize,
    kind: u8,
    quality: u8,
    width: u16,
    height: u16,
    restart_interval: Option<u16>,
}

impl JpegUnpacker {
    pub fn new(dimensions: Option<(u16, u16)>) -> Self {
        Self {
            dimensions,
            tables: Vec::new(),
            picture: None,
            skipped: None,
            latest: None,
        }
    }

    pub fn video(&self) -> Option<VideoInfo> {
        let (width, height) = self.latest?;
        Some(VideoInfo {
            width: width.into(),
            height: height.into(),
            profile: String::new(),
            codec_string: String::new(),
            frame_time: None,
            max_reordered: Some(0),
        })
    }

    pub fn lose(&mut self) {
        self.skipped = self.picture.take().map(|picture| picture.timestamp);
    }

    pub fn push(
        &mut self,
        payload: &[u8],
        extension: Option<(u16, &[u8])>,
        arrival: Arrival,
        out: &mut Out,
    ) {
        if let Some(picture) = self.picture.take_if(|p| p.timestamp != arrival.timestamp) {
            // It ended without a marker.
            out.stats.marker_lies += 1;
            self.give_out(picture, out);
        }
        let Some((header, rest)) = Header::parse(payload) else {
            return out.malformed();
        };
        if header.offset == 0 {
            // Without a marker, and with the same timestamp as the one before.
            if let Some(picture) = self.picture.take() {
                out.stats.equal_timestamps += 1;
                self.give_out(picture, out);
            }
            match self.begin(&header, rest, extension, arrival) {
                Some(picture) => self.picture = Some(picture),
                None => out.malformed(),
            }
        } else {
            self.go_on(&header, rest, arrival, out);
        }
        if arrival.marker
            && let Some(picture) = self.picture.take()
        {
            self.give_out(picture, out);
        }
    }

    fn begin(
        &mut self,
        header: &Header,
        rest: &[u8],
        extension: Option<(u16, &[u8])>,
        arrival: Arrival,
    ) -> Option<Picture> {
        let (tables, data) = self.tables_of(header, rest)?;
        let picture = |file: Vec<u8>, header| Picture {
            timestamp: arrival.timestamp,
            arrived: arrival.at,
            file,
            header,
        };
        // Some cameras send whole files.
        if data.starts_with(&START_OF_IMAGE) {
            return Some(picture(data.to_vec(), 0));
        }
        let stated = (header.width, header.height);
        let of_extension = extension
            .filter(|(profile, _)| *profile == ONVIF_EXTENSION)
            .and_then(|(_, header)| frame_size(header));
        let size = match stated {
            (0, _) | (_, 0) => of_extension.or(self.dimensions)?,
            stated => of_extension.unwrap_or(stated),
        };
        self.latest = Some(size);
        let mut file = Vec::with_capacity(1024 + data.len());
        write_header(header, size, &tables, &mut file);
        let length = file.len();
        file.extend(data);
        Some(picture(file, length))
    }

    fn go_on(&mut self, header: &Header, data: &[u8], arrival: Arrival, out: &mut Out) {
        let Some(picture) = &mut self.picture else {
            if self.skipped != Some(arrival.timestamp) {
                self.skipped = Some(arrival.timestamp);
                out.damage();
            }
            return;
        };
        let is_next = picture.file.len() - picture.header == header.offset;
        let fits = picture.file.len() + data.len() <= out.limits.max_unit;
        if is_next && fits {
            picture.file.extend(data);
            return;
        }
        self.picture = None;
        self.skipped = Some(arrival.timestamp);
        out.stats.oversized += u64::from(!fits);
        out.damage();
    }

    fn give_out(&mut self, mut picture: Picture, out: &mut Out) {
        if !picture.file.ends_with(&END_OF_IMAGE) {
            picture.file.extend(END_OF_IMAGE);
        }
        if picture.header == 0 {
            self.latest = frame_size(&picture.file).or(self.latest);
        }
        out.emit_data(picture.file, picture.timestamp, picture.arrived);
    }

    /// Returns the quantizers of a picture, and the data behind their header (§3.1.8). An inner vector has 64 or 128 bytes a table.
    fn tables_of<'a>(&mut self, header: &Header, rest: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
        let quality = header.quality;
        if quality == 0 {
            return None;
        }
        if quality < 128 {
            return Some((scaled(quality), rest));
        }
        let (&[_, precision, high, low], rest) = rest.split_first_chunk::<4>()?;
        let (tables, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        let known = self
            .tables
            .iter()
            .position(|(number, _)| *number == quality);
        if tables.is_empty() {
            let (_, tables) = self.tables.get(known?)?;
            return Some((tables.clone(), rest));
        }
        // Tables of 16 bits per value are for 12-bit pictures, which nobody sends.
        if precision != 0 || !matches!(tables.len(), 64 | 128) {
            return None;
        }
        let tables = tables.to_vec();
        match known {
            Some(at) => self.tables.get_mut(at)?.1.clone_from(&tables),
            None if quality < 255 => self.tables.push((quality, tables.clone())),
            None => {}
        }
        Some((tables, rest))
    }
}

impl Header {
    fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (&[_, o1, o2, o3, kind, quality, width, height], mut rest) =
            payload.split_first_chunk::<8>()?;
        let mut restart_interval = None;
        if matches!(kind, 64..=127) {
            let (&[high, low, _, _], after) = rest.split_first_chunk::<4>()?;
            restart_interval = Some(u16::from_be_bytes([high, low]));
            rest = after;
        }
        // Types 0 and 1; the others are not defined.
        if kind & 63 > 1 || kind >= 128 {
            return None;
        }
        let header = Self {
            offset: u32::from_be_bytes([0, o1, o2, o3]) as usize,
            kind: kind & 63,
            quality,
            width: u16::from(width) * 8,
            height: u16::from(height) * 8,
            restart_interval,
        };
        Some((header, rest))
    }
}

/// Returns both quantizers at a quality of 1 to 127 (§4.2).
fn scaled(quality: u8) -> Vec<u8> {
    let quality = u32::from(quality.min(99));
    let factor = match quality {
        0..50 => 5000 / quality.max(1),
        _ => 200 - 2 * quality,
    };
    let scale = |value: &u8| ((u32::from(*value) * factor + 50) / 100).clamp(1, 255) as u8;
    LUMA_QUANTIZER
        .iter()
        .chain(&CHROMA_QUANTIZER)
        .map(scale)
        .collect()
}

/// Writes everything before the data (appendix B).
fn write_header(header: &Header, (width, height): (u16, u16), tables: &[u8], file: &mut Vec<u8>) {
    file.extend(START_OF_IMAGE);
    for (number, table) in tables.chunks_exact(64).take(2).enumerate() {
        file.extend([0xFF, 0xDB, 0, 67, number as u8]);
        file.extend(table);
    }
    if let Some(interval) = header.restart_interval {
        file.extend([0xFF, 0xDD, 0, 4]);
        file.extend(interval.to_be_bytes());
    }
    // Luminance is sampled twice as densely in one direction (type 0) or in both (type 1).
    let sampling = if header.kind == 0 { 0x21 } else { 0x22 };
    let chroma = u8::from(tables.len() >= 128);
    file.extend([0xFF, 0xC0, 0, 17, 8]);
    file.extend(height.to_be_bytes());
    file.extend(width.to_be_bytes());
    file.extend([3, 1, sampling, 0, 2, 0x11, chroma, 3, 0x11, chroma]);
    for (class, table) in [
        (0x00, &DC_LUMA),
        (0x10, &AC_LUMA),
        (0x01, &DC_CHROMA),
        (0x11, &AC_CHROMA),
    ] {
        write_huffman(class, table, file);
    }
    file.extend([0xFF, 0xDA, 0, 12, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
}

fn write_huffman(class: u8, table: &Huffman, file: &mut Vec<u8>) {
    // At most 162 values.
    let length = 19 + table.values.len() as u16;
    file.extend([0xFF, 0xC4]);
    file.extend(length.to_be_bytes());
    file.push(class);
    file.extend(table.lengths);
    file.extend(table.values);
}

/// Returns width and height from the frame header (SOF0 to SOF2) of a JPEG file or of its beginning.
fn frame_size(file: &[u8]) -> Option<(u16, u16)> {
    let mut rest = file;
    loop {
        // Segments: a marker, maybe filled up with 0xFF, and a length.
        let at = rest.iter().position(|byte| *byte == 0xFF)?;
        let marker_at = at + rest.get(at..)?.iter().position(|byte| *byte != 0xFF)?;
        let marker = *rest.get(marker_at)?;
        let body = rest.get(marker_at + 1..)?;
        match marker {
            0xD8 | 0x01 | 0xD0..=0xD7 => rest = body,
            0xC0..=0xC2 => {
                let &[_, _, _, h1, h2, w1, w2] = body.first_chunk()?;
                let (width, height) = (u16::from_be_bytes([w1, w2]), u16::from_be_bytes([h1, h2]));
                return (width > 0 && height > 0).then_some((width, height));
            }
            0xDA | 0xD9 | 0 => return None,
            _ => {
                let (length, _) = body.split_first_chunk::<2>()?;
                let length = usize::from(u16::from_be_bytes(*length));
                rest = body.get(length.max(2)..)?;
            }
        }
    }
}
