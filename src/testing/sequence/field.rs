//! Values in steps, as text and as bytes.

use std::fmt::{self, Write};

use super::super::bytes::Bytes;

/// A value in a step.
pub(super) trait Field: Sized + fmt::Display {
    fn read(text: &str) -> Option<Self>;
    /// Returns the value used if an older program lacks this field.
    fn absent() -> Option<Self> {
        None
    }
    fn decode(bytes: &mut Bytes<'_>) -> Self;
    /// Encodes the value so that `decode` returns it, or the nearest one possible.
    fn encode(&self, out: &mut Vec<u8>);
    /// Returns simpler values, the simplest first. All are less complex than this one.
    fn simpler(&self) -> Vec<Self>;
}

fn smaller(n: u32) -> Vec<u32> {
    let mut list: Vec<u32> = [0, n / 16, n / 2, n - n.min(1)]
        .into_iter()
        .filter(|s| *s < n)
        .collect();
    list.dedup();
    list
}

macro_rules! numbers {
    ($($type:ident, $read:ident, $bytes:literal;)*) => {$(
        impl Field for $type {
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn decode(bytes: &mut Bytes<'_>) -> Self {
                bytes.$read()
            }

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend(self.to_be_bytes());
            }

            fn simpler(&self) -> Vec<Self> {
                // Only smaller values: they fit the type.
                smaller(u32::from(*self)).into_iter().map(|n| n as $type).collect()
            }
        }
    )*};
}

numbers! {
    u8, byte, 1;
    u16, word, 2;
}

/// Declares numbers encoded by one or two bytes on a scale of their own.
macro_rules! scaled {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

scaled! {
    /// Milliseconds: a byte up to 191 is that number; larger ones grow with the square, up to 16 s.
    Ms;
    /// Size of a message in bytes: small ones are more frequent; up to 256 KiB.
    Size;
}

impl Field for Ms {
    fn read(text: &str) -> Option<Self> {
        let ms: u32 = text.parse().ok()?;
        // A program may wait longer than the fuzzer can, up to an hour.
        (ms <= 3_600_000).then_some(Self(ms))
    }

    fn decode(bytes: &mut Bytes<'_>) -> Self {
        let byte = u32::from(bytes.byte());
        Self(match byte.checked_sub(192) {
            None => byte / 2,
            Some(n) => 100 + n * n * 4,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.0 {
            ms @ 0..96 => (ms * 2) as u8,
            ms => 192 + (0..63).find(|n| 100 + n * n * 4 >= ms).unwrap_or(63) as u8,
        });
    }

    fn simpler(&self) -> Vec<Self> {
        smaller(self.0).into_iter().map(Self).collect()
    }
}

impl Field for Size {
    fn read(text: &str) -> Option<Self> {
        let size: u32 = text.parse().ok()?;
        (size <= 1 << 20).then_some(Self(size))
    }

    fn decode(bytes: &mut Bytes<'_>) -> Self {
        let word = u32::from(bytes.word());
        Self(match word >> 14 {
            0 if word & 0x3000 == 0 => word & 0xff,
            0..3 => word & 0x7ff,
            _ => (word & 0x3fff) * 16,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let word = match self.0 {
            size @ 0..0x800 => 0x4000 | size,
            size => 0xc000 | (size / 16).min(0x3fff),
        };
        out.extend((word as u16).to_be_bytes());
    }

    fn simpler(&self) -> Vec<Self> {
        smaller(self.0).into_iter().map(Self).collect()
    }
}

/// Declares a choice of words. The first is the simplest; repeated ones are chosen that many times as often.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal * $weight:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $(#[doc = $text] $variant,)* }

        impl $name {
            const ALL: &[(Self, &str, u8)] = &[$((Self::$variant, $text, $weight),)*];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let found = Self::ALL.iter().find(|(v, ..)| v == self);
                f.write_str(found.map_or("", |(_, text, _)| text))
            }
        }

        impl $crate::testing::sequence::field::Field for $name {
            fn read(text: &str) -> Option<Self> {
                let found = Self::ALL.iter().find(|(_, t, _)| *t == text);
                found.map(|(v, ..)| *v)
            }

            fn absent() -> Option<Self> {
                Some(Self::ALL[0].0)
            }

            fn decode(bytes: &mut $crate::testing::bytes::Bytes<'_>) -> Self {
                let total: u8 = Self::ALL.iter().map(|(.., weight)| *weight).sum();
                let mut at = bytes.byte() % total;
                for (variant, _, weight) in Self::ALL {
                    match at.checked_sub(*weight) {
                        Some(rest) => at = rest,
                        None => return *variant,
                    }
                }
                Self::ALL[0].0
            }

            fn encode(&self, out: &mut Vec<u8>) {
                let before = Self::ALL.iter().take_while(|(v, ..)| v != self);
                out.push(before.map(|(.., weight)| *weight).sum());
            }

            fn simpler(&self) -> Vec<Self> {
                let before = Self::ALL.iter().take_while(|(v, ..)| v != self);
                before.map(|(v, ..)| *v).collect()
            }
        }
    )*};
}
pub(super) use choices;

/// A peer, by its letter. In a setup with two peers, `c` and `d` are `a` and `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side(pub u8);

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char((b'a' + self.0 % 4).into())
    }
}

impl Field for Side {
    fn read(text: &str) -> Option<Self> {
        let found = ["a", "b", "c", "d"].iter().position(|t| *t == text)?;
        Some(Self(found as u8))
    }

    fn decode(bytes: &mut Bytes<'_>) -> Self {
        Self(bytes.byte() & 3)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }

    fn simpler(&self) -> Vec<Self> {
        // Another side is no simpler, but the other pair is then not needed.
        self.0.checked_sub(2).map(Self).into_iter().collect()
    }
}

/// Bytes that are sent unchanged, or changes to some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

/// Maximum number of bytes in a blob.
const MAX_BLOB: usize = 1_500;

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Field for Blob {
    fn read(text: &str) -> Option<Self> {
        if text == "-" {
            return Some(Self(Vec::new()));
        }
        if !text.is_ascii() || text.len() % 2 == 1 || text.len() / 2 > MAX_BLOB {
            return None;
        }
        let pairs = (0..text.len()).step_by(2);
        let bytes: Option<_> = pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect();
        bytes.map(Self)
    }

    fn decode(bytes: &mut Bytes<'_>) -> Self {
        let length = usize::from(bytes.byte());
        // Short blobs are more frequent.
        let length = if length < 0xc0 {
            length % 24
        } else {
            length - 0xa8
        };
        Self(bytes.take(length).to_vec())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let length = self.0.len().min(87);
        out.push(if length < 24 { length } else { length + 0xa8 } as u8);
        out.extend(&self.0[..length]);
    }

    fn simpler(&self) -> Vec<Self> {
        let cut = smaller(self.0.len() as u32).into_iter();
        cut.map(|n| Self(self.0[..n as usize].to_vec())).collect()
    }
}

/// A mask of the next 16 datagrams to drop, the first one in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(pub u16);

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..16).try_for_each(|n| f.write_char(if self.0 >> n & 1 == 1 { 'x' } else { '.' }))
    }
}

impl Field for Mask {
    fn read(text: &str) -> Option<Self> {
        let bit = |(n, c)| match c {
            'x' => Some(1u16 << n),
            '.' => Some(0),
            _ => None,
        };
        let bits = text.chars().enumerate().map(bit);
        (text.len() <= 16).then(|| bits.sum::<Option<u16>>().map(Self))?
    }

    fn decode(bytes: &mut Bytes<'_>) -> Self {
        Self(bytes.word())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.0.to_be_bytes());
    }

    fn simpler(&self) -> Vec<Self> {
        let set = (0..16).filter(|n| self.0 >> n & 1 == 1);
        set.map(|n| Self(self.0 & !(1 << n))).collect()
    }
}
