//! Framing of messages on a stream (RFC 4571), as used by ICE-TCP (RFC 6544 §3): a 16-bit length before each message.

/// Maximum size of a message, in bytes. Peers send over TCP the same packets as over UDP.
pub const MAX_FRAME: usize = 9_000;

/// A frame header announced more than [`MAX_FRAME`] bytes: the rest of the stream cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLarge(pub usize);

impl std::fmt::Display for FrameTooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.0;
        write!(
            f,
            "a frame of {size} bytes is over the limit of {MAX_FRAME}"
        )
    }
}

impl std::error::Error for FrameTooLarge {}

/// Returns the message with its length in front; `None` if it is longer than [`MAX_FRAME`].
///
/// ```
/// use looprtc::proto::ice::framing::frame;
/// assert_eq!(frame(b"abc").unwrap(), b"\0\x03abc");
/// ```
pub fn frame(contents: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(contents.len()).ok()?;
    if contents.len() > MAX_FRAME {
        return None;
    }
    let mut framed = Vec::with_capacity(2 + contents.len());
    framed.extend(length.to_be_bytes());
    framed.extend(contents);
    Some(framed)
}

/// Splits a stream into messages. It buffers the piece passed last, and at most one incomplete message before it.
///
/// ```
/// use looprtc::proto::ice::framing::Deframer;
/// let mut deframer = Deframer::default();
/// deframer.push(b"\0\x03ab");
/// assert_eq!(deframer.next_message(), Ok(None));
/// deframer.push(b"c\0\x01d");
/// assert_eq!(deframer.next_message(), Ok(Some(b"abc".to_vec())));
/// assert_eq!(deframer.next_message(), Ok(Some(b"d".to_vec())));
/// ```
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: Vec<u8>,
    /// Number of bytes consumed at the front of the buffer.
    taken: usize,
}

impl Deframer {
    /// Appends a piece of the stream. Take the messages in it before passing the next piece.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete message; `None` if there is none yet. Empty messages are skipped.
    ///
    /// # Errors
    ///
    /// Returns [`FrameTooLarge`], from then on in every call.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, FrameTooLarge> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            let [a, b, rest @ ..] = rest else {
                return Ok(None);
            };
            let length = usize::from(u16::from_be_bytes([*a, *b]));
            if length > MAX_FRAME {
                return Err(FrameTooLarge(length));
            }
            let Some(message) = rest.get(..length) else {
                return Ok(None);
            };
            self.taken += 2 + length;
            if !message.is_empty() {
                return Ok(Some(message.to_vec()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_cut() {
        let messages: Vec<Vec<u8>> = [1, 2, 1200, 300, MAX_FRAME]
            .iter()
            .map(|n| (0..*n).map(|i| i as u8).collect())
            .collect();
        let mut stream = vec![0, 0];
        for message in &messages {
            stream.extend(frame(message).unwrap());
        }
        for piece in [1, 2, 3, 7, 1000, stream.len()] {
            let mut deframer = Deframer::default();
            let mut got = Vec::new();
            for bytes in stream.chunks(piece) {
                deframer.push(bytes);
                while let Some(message) = deframer.next_message().unwrap() {
                    got.push(message);
                }
                assert!(deframer.buffer.len() <= MAX_FRAME + 2 + piece);
            }
            assert_eq!(got, messages, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert_eq!(frame(&vec![0; MAX_FRAME + 1]), None);
        let mut deframer = Deframer::default();
        deframer.push(&[0xFF, 0xFF, 0]);
        let error = Err(FrameTooLarge(65_535));
        assert_eq!(deframer.next_message(), error);
        assert_eq!(deframer.next_message(), error);
    }
}
