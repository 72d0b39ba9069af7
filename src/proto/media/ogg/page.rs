//! Ogg pages (RFC 3533 §6).
//!
//! ```text
//! "OggS"  u8 version=0  u8 flags  i64 granule position  u32 serial  u32 sequence number  u32 CRC
//! u8 segments  then the length of each segment, then the segments        (little-endian)
//! ```
//! A packet consists of segments of 255 bytes, ended by a shorter one, possibly of 0 bytes.

use crc::{Algorithm, Crc, Table};

use super::super::input::{Input, le32, le64};

pub const SIGNATURE: &[u8; 4] = b"OggS";
pub const HEADER: usize = 27;

/// Flag: the first packet started on an earlier page.
pub const CONTINUED: u8 = 1;
/// Flag: first page of its stream.
pub const BEGIN: u8 = 2;
/// Flag: last page of its stream.
pub const END: u8 = 4;

/// Granule position of a page on which no packet ends.
pub const NO_GRANULE: u64 = u64::MAX;

/// RFC 3533 §6, field 7: polynomial 0x04c11db7, neither reflected nor inverted.
const OGG: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x04C1_1DB7,
    init: 0,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0x89A1_897F,
    residue: 0,
};
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&OGG);

#[derive(Debug)]
pub struct Page {
    pub offset: u64,
    pub flags: u8,
    pub granule: u64,
    pub serial: u32,
    pub sequence: u32,
    pub lacing: Vec<u8>,
    pub body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageError {
    /// More input is needed: this many bytes in all.
    Incomplete(usize),
    NotOgg,
    Version(u8),
    Checksum,
}

impl Page {
    /// Reads the page at the beginning of the input. Bytes of a failed checksum are deducted from `checks`; when that
    /// is used up, every checksum fails.
    pub fn take(input: &mut Input, checks: &mut u64) -> Result<Self, PageError> {
        let start = input.unread();
        if !SIGNATURE.starts_with(start.get(..start.len().min(4)).unwrap_or_default()) {
            return Err(PageError::NotOgg);
        }
        let head = input.peek(HEADER).ok_or(PageError::Incomplete(HEADER))?;
        if head[4] != 0 {
            return Err(PageError::Version(head[4]));
        }
        let body_at = HEADER + usize::from(head[26]);
        let with_lacing = input.peek(body_at).ok_or(PageError::Incomplete(body_at))?;
        let lacing = &with_lacing[HEADER..];
        let size = body_at + lacing.iter().map(|n| usize::from(*n)).sum::<usize>();
        let whole = input.peek(size).ok_or(PageError::Incomplete(size))?;
        let Some(left) = checks.checked_sub(size as u64) else {
            return Err(PageError::Checksum);
        };
        if checksum(whole) != le32(whole, 22) {
            *checks = left;
            return Err(PageError::Checksum);
        }
        let page = Self {
            offset: input.offset(),
            flags: whole[5],
            granule: le64(whole, 6),
            serial: le32(whole, 14),
            sequence: le32(whole, 18),
            lacing: whole[HEADER..body_at].to_vec(),
            body: whole[body_at..].to_vec(),
        };
        input.consume(size);
        Ok(page)
    }

    /// Appends this page with its checksum.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(&[0, self.flags]);
        out.extend_from_slice(&self.granule.to_le_bytes());
        out.extend_from_slice(&self.serial.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        // A page has at most 255 segments: ensured by the writer.
        out.push(u8::try_from(self.lacing.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&self.lacing);
        out.extend_from_slice(&self.body);
        let sum = checksum(&out[start..]).to_le_bytes();
        out[start + 22..start + 26].copy_from_slice(&sum);
    }

    /// Returns the pieces of packets on this page, and whether each ends its packet.
    pub fn pieces(&self) -> Vec<(&[u8], bool)> {
        let mut pieces = Vec::new();
        let (mut start, mut end) = (0, 0);
        for &length in &self.lacing {
            end += usize::from(length);
            if length < 255 {
                pieces.push((&self.body[start..end], true));
                start = end;
            }
        }
        if self.lacing.last() == Some(&255) {
            pieces.push((&self.body[start..end], false));
        }
        pieces
    }
}

/// Computes the checksum of a page, with its checksum field taken as zero.
pub fn checksum(page: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(page.get(..22).unwrap_or_default());
    digest.update(&[0; 4]);
    digest.update(page.get(26..).unwrap_or_default());
    digest.finalize()
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksum_parameters() {
        let sum = crc::Crc::<u32>::new(&super::OGG).checksum(b"123456789");
        assert_eq!(sum, super::OGG.check);
    }
}
