//! EBML (RFC 8794): nested elements with id, length and content.

use std::io::{Read, Seek, SeekFrom};

/// Maximum size of an id and of a length, in bytes.
const MAX_ID: usize = 4;
const MAX_LENGTH: usize = 8;

/// Header of an element: its id and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub id: u32,
    /// `None` if the length is unknown: the element ends before the first one that cannot be inside it, or with the
    /// file.
    pub length: Option<u64>,
}

/// Reads elements from a file, one after another.
#[derive(Debug)]
pub(super) struct Elements<R> {
    input: R,
    /// The position in the file.
    at: u64,
    size: u64,
    buffer: Vec<u8>,
    /// The buffer is consumed up to this index.
    used: usize,
}

/// Size of a read, in bytes.
const CHUNK: usize = 16 * 1024;

impl<R: Read + Seek> Elements<R> {
    pub fn new(mut input: R) -> std::io::Result<Self> {
        let size = input.seek(SeekFrom::End(0))?;
        input.seek(SeekFrom::Start(0))?;
        Ok(Self {
            input,
            at: 0,
            size,
            buffer: Vec::new(),
            used: 0,
        })
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn left(&self) -> u64 {
        self.size.saturating_sub(self.at)
    }

    fn byte(&mut self) -> std::io::Result<Option<u8>> {
        if self.used == self.buffer.len() {
            self.buffer.resize(CHUNK, 0);
            self.used = 0;
            let n = self.input.read(&mut self.buffer)?;
            self.buffer.truncate(n);
        }
        let byte = self.buffer.get(self.used).copied();
        self.used += usize::from(byte.is_some());
        self.at += u64::from(byte.is_some());
        Ok(byte)
    }

    /// Reads the header of the next element; `None` at the end of the file, or if there is no valid header.
    pub fn header(&mut self) -> std::io::Result<Option<Header>> {
        let Some((id, _)) = self.number(MAX_ID, true)? else {
            return Ok(None);
        };
        let Some((length, is_unknown)) = self.number(MAX_LENGTH, false)? else {
            return Ok(None);
        };
        Ok(Some(Header {
            // At most four bytes.
            id: u32::try_from(id).unwrap_or(0),
            length: (!is_unknown).then_some(length),
        }))
    }

    /// Reads a variable-length number, and whether all its bits are ones. Ids keep the length marker.
    fn number(&mut self, most: usize, keep_mark: bool) -> std::io::Result<Option<(u64, bool)>> {
        let Some(first) = self.byte()? else {
            return Ok(None);
        };
        let more = first.leading_zeros() as usize;
        if more >= most {
            return Ok(None);
        }
        let mark = 0x80 >> more;
        let mut value = u64::from(if keep_mark { first } else { first & (mark - 1) });
        let mut is_full = first & (mark - 1) == mark - 1;
        for _ in 0..more {
            let Some(byte) = self.byte()? else {
                return Ok(None);
            };
            value = value << 8 | u64::from(byte);
            is_full &= byte == 0xFF;
        }
        Ok(Some((value, is_full)))
    }

    /// Reads the content of an element; fewer bytes if the file ends.
    pub fn bytes(&mut self, length: u64) -> std::io::Result<Vec<u8>> {
        let length = usize::try_from(length.min(self.left())).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length);
        let buffered = self.buffer.get(self.used..).unwrap_or_default();
        let buffered = buffered.get(..length).unwrap_or(buffered);
        bytes.extend_from_slice(buffered);
        self.used += buffered.len();
        let rest = (length - bytes.len()) as u64;
        self.input.by_ref().take(rest).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    /// Skips `length` bytes.
    pub fn skip(&mut self, length: u64) -> std::io::Result<()> {
        let buffered = (self.buffer.len() - self.used) as u64;
        let length = length.min(self.left());
        match length.checked_sub(buffered) {
            None => self.used += usize::try_from(length).unwrap_or(0),
            Some(rest) => {
                self.used = self.buffer.len();
                if rest > 0 {
                    self.input.seek(SeekFrom::Start(self.at + length))?;
                }
            }
        }
        self.at += length;
        Ok(())
    }
}

/// Iterates over the elements inside another one; a truncated one at the end is left out.
pub(super) fn children(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (id, behind) = vint(rest, MAX_ID, true)?;
        let (length, behind) = vint(behind, MAX_LENGTH, false)?;
        let (content, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        rest = behind;
        Some((u32::try_from(id).ok()?, content))
    })
}

/// Reads a variable-length number, and returns the bytes after it.
pub(super) fn vint(bytes: &[u8], most: usize, keep_mark: bool) -> Option<(u64, &[u8])> {
    let (&first, _) = bytes.split_first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > most {
        return None;
    }
    let (number, rest) = bytes.split_at_checked(length)?;
    let mark = 0x80u64 << (8 * (length - 1)) >> (length - 1);
    let value = uint(number);
    Some((if keep_mark { value } else { value & !mark }, rest))
}

/// Reads an unsigned integer of up to eight bytes.
pub(super) fn uint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(vint(&[0x81], 8, false), Some((1, &[][..])));
        assert_eq!(vint(&[0x40, 2, 9], 8, false), Some((2, &[9][..])));
        assert_eq!(
            vint(&[1, 0, 0, 0, 0, 0, 0, 7], 8, false),
            Some((7, &[][..]))
        );
        assert_eq!(
            vint(&[0x1A, 0x45, 0xDF, 0xA3], 4, true),
            Some((0x1A45_DFA3, &[][..]))
        );
        assert_eq!(vint(&[0, 1], 8, false), None);
        assert_eq!(vint(&[0x08, 1, 1, 1, 1], 4, true), None);
        assert_eq!((uint(&[]), uint(&[1, 2])), (0, 258));
    }

    #[test]
    fn elements_and_what_is_cut_off() {
        let file = [
            0xEC, 0x82, 1, 2, 0x1F, 0x43, 0xB6, 0x75, 0x01, 255, 255, 255, 255, 255, 255, 255,
            0xA3, 0x85, 1,
        ];
        let mut elements = Elements::new(Cursor::new(file)).unwrap();
        let void = elements.header().unwrap().unwrap();
        assert_eq!((void.id, void.length), (0xEC, Some(2)));
        elements.skip(2).unwrap();
        let cluster = elements.header().unwrap().unwrap();
        assert_eq!((cluster.id, cluster.length), (0x1F43_B675, None));
        let block = elements.header().unwrap().unwrap();
        assert_eq!(
            (block.id, block.length, elements.left()),
            (0xA3, Some(5), 1)
        );
        assert_eq!(elements.bytes(5).unwrap(), [1]);
        assert_eq!(elements.header().unwrap(), None);
        assert_eq!(elements.at(), file.len() as u64);
    }
}
