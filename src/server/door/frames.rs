//! Memory used by unfinished WebSocket frames and messages (RFC 6455, section 5) inside `tungstenite`, which does not
//! report it.

/// Maximum length of a frame header with its mask, in bytes.
const MAX_HEADER: usize = 14;

/// An incomplete message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfinished {
    None,
    /// Total length of its fragments so far, in bytes.
    Open(usize),
    /// A fragmented message whose last fragment is being received.
    Last(usize),
}

impl Unfinished {
    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Open(length) | Self::Last(length) => length,
        }
    }
}

/// Tracks a client's frames, without their payloads.
#[derive(Debug)]
pub(super) struct Meter {
    /// Longer frames are refused by their header.
    max_frame: usize,
    /// The header being read, and the number of bytes received of it.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// Number of payload bytes still to come.
    left: usize,
    /// Maximum payload so far: its buffer is allocated when its header is complete.
    longest: usize,
    /// The unfinished message.
    message: Unfinished,
}

impl Meter {
    pub fn new(max_frame: usize) -> Self {
        Self {
            max_frame,
            header: [0; MAX_HEADER],
            header_len: 0,
            left: 0,
            longest: 0,
            message: Unfinished::None,
        }
    }

    /// Returns an upper bound of the memory in use, in bytes: buffers grow to at most twice what they need.
    pub fn held(&self) -> usize {
        2 * (self.longest + self.message.len())
    }

    /// Returns `true` if the next byte starts a message, or a control frame between messages.
    pub fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.left == 0 && self.message == Unfinished::None
    }

    /// Processes received bytes.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                self.left -= count;
                bytes = &bytes[count..];
                self.end_payload();
                continue;
            }
            // Never full: a header ends when it is complete.
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            if self.header_len == self.header_needs() {
                self.begin_payload();
            }
        }
    }

    /// Returns the length of the header, as far as it is known.
    fn header_needs(&self) -> usize {
        if self.header_len < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn begin_payload(&mut self) {
        self.header_len = 0;
        let header = &self.header;
        let length = match header[1] & 0x7f {
            126 => usize::from(u16::from_be_bytes([header[2], header[3]])),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&header[2..10]);
                usize::try_from(u64::from_be_bytes(length)).unwrap_or(usize::MAX)
            }
            short => usize::from(short),
        };
        self.left = length;
        // A frame beyond the limit ends the connection, and no buffer is allocated for it.
        let length = if length > self.max_frame { 0 } else { length };
        self.longest = self.longest.max(length);
        let message = self
            .message
            .len()
            .saturating_add(length)
            .min(self.max_frame);
        let is_final = header[0] & 0x80 != 0;
        match (header[0] & 0x0f, is_final) {
            (0..=2, false) => self.message = Unfinished::Open(message),
            (0, true) => self.message = Unfinished::Last(message),
            // A message in one frame, or a control frame.
            _ => {}
        }
        self.end_payload();
    }

    fn end_payload(&mut self) {
        if self.left == 0 && matches!(self.message, Unfinished::Last(_)) {
            self.message = Unfinished::None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..=125 => frame.push(0x80 | length as u8),
            126..=65535 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.resize(frame.len() + length, 0);
        frame
    }

    #[test]
    fn follows_frames_however_they_are_cut() {
        // A text, a message of three fragments with a ping in between, an empty one, a large one.
        let frames = [
            (0x81, 5),
            (0x01, 200),
            (0x89, 100),
            (0x00, 300),
            (0x80, 70_000),
            (0x81, 0),
            (0x82, 126),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(|(f, l)| frame(*f, *l)).collect();
        for size in [1, 2, 3, 7, 1000, bytes.len()] {
            let mut meter = Meter::new(100_000);
            let mut most = 0;
            for piece in bytes.chunks(size) {
                meter.advance(piece);
                most = most.max(meter.held());
            }
            assert!(meter.is_between_messages(), "in pieces of {size}");
            assert_eq!(meter.held(), 2 * 70_000);
            if size < 1000 {
                // The last fragment, and the message that it is appended to.
                assert_eq!(most, 2 * (70_000 + 70_500));
            }
        }
    }

    #[test]
    fn a_header_counts_as_what_it_asks_for() {
        let mut meter = Meter::new(100_000);
        meter.advance(&frame(0x81, 50_000)[..8]);
        assert_eq!(meter.held(), 100_000);
        assert!(!meter.is_between_messages());
        // A refused frame has no buffer.
        let mut meter = Meter::new(100_000);
        meter.advance(&frame(0x81, 100_001)[..14]);
        assert_eq!(meter.held(), 0);
    }
}
