//! The reader: bytes in pieces of any size become messages and frames.

use std::fmt;

use super::{CANONICAL, Fields, MAX_FIELDS, Message, Start};
use crate::proto::rtsp::config::RtspLimits;
use crate::proto::rtsp::quirk::Quirk;

/// Beginnings of messages. Everything else between two messages is garbage.
const BEGINNINGS: [&[u8]; 12] = [
    b"RTSP/",
    b"OPTIONS ",
    b"GET_PARAMETER ",
    b"SET_PARAMETER ",
    b"ANNOUNCE ",
    b"REDIRECT ",
    b"TEARDOWN ",
    b"DESCRIBE ",
    b"SETUP ",
    b"PLAY ",
    b"PAUSE ",
    b"RECORD ",
];

/// Maximum length of a first line, in bytes.
const MAX_FIRST_LINE: usize = 4096;

/// Something read from the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Message(Message),
    /// An interleaved frame.
    Frame(u8, Vec<u8>),
    /// A tolerance was needed.
    Quirk(Quirk),
}

/// Reason why the stream cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReaderError {
    HeadTooLong,
    BodyTooLong,
    /// No message within the allowed number of bytes.
    Garbage,
}

impl fmt::Display for ReaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeadTooLong => "a message with headers beyond the limit",
            Self::BodyTooLong => "a message with a body beyond the limit",
            Self::Garbage => "no message within the bytes that are searched; is this an RTSP port?",
        })
    }
}

/// Reads messages and frames from a stream of bytes. The result does not depend on how the stream is split. Takes linear
/// time; keeps at most one incomplete message besides the input.
#[derive(Debug)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// Where the unread part of the buffer begins.
    at: usize,
    /// How far the unread part was searched for the end of a head.
    searched: usize,
    /// A head that was read, whose body is incomplete, and the length of the body.
    head: Option<(Message, usize)>,
    /// Number of garbage bytes since the last message; 0 if in sync.
    skipped: usize,
    /// White space has followed the last message.
    is_after_blank: bool,
    /// Channels that are set up: only these are believed after garbage.
    channels: [bool; 256],
    limits: RtspLimits,
    /// Tolerances of the message that is returned next.
    noted: Vec<Quirk>,
}

/// Outcome of reading a head.
enum Head {
    /// More bytes are needed.
    Wait,
    /// It is none after all.
    Garbage,
    Read,
}

/// Decision about the next bytes.
enum Next {
    /// More bytes are needed.
    Wait,
    Garbage,
    Frame,
    Message,
}

impl Reader {
    pub fn new(limits: RtspLimits) -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            searched: 0,
            head: None,
            skipped: 0,
            is_after_blank: false,
            channels: [false; 256],
            limits,
            noted: Vec::new(),
        }
    }

    /// Declares a channel as set up.
    pub fn expect_channel(&mut self, channel: u8) {
        self.channels[usize::from(channel)] = true;
    }

    /// Appends bytes from the connection. Call [`next`](Self::next) until it returns `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        } else if self.at > self.buffer.len() / 2 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Returns the next item; `None` if more bytes are needed.
    ///
    /// # Errors
    ///
    /// Returns an error at a limit. The stream cannot be read further then.
    pub fn next(&mut self) -> Result<Option<Item>, ReaderError> {
        loop {
            self.skip_blanks();
            if let Some(quirk) = self.noted.pop() {
                return Ok(Some(Item::Quirk(quirk)));
            }
            if self.head.is_some() {
                return Ok(self.body());
            }
            match self.decide() {
                Next::Wait => return Ok(None),
                Next::Frame => return Ok(self.frame()),
                Next::Message => match self.read_head()? {
                    Head::Wait => return Ok(None),
                    Head::Read => {}
                    Head::Garbage => self.skip_one()?,
                },
                Next::Garbage => self.skip_one()?,
            }
        }
    }

    /// Skips white space between messages; cameras that send it send line ends.
    fn skip_blanks(&mut self) {
        if self.head.is_some() {
            return;
        }
        let is_blank = |c: &&u8| matches!(c, b'\r' | b'\n' | b' ' | b'\t');
        let blanks = self.rest().iter().take_while(is_blank).count();
        self.at += blanks;
        // Once for all white space between two messages, however it arrives.
        if blanks > 0 && self.skipped == 0 && !self.is_after_blank {
            self.is_after_blank = true;
            self.note(Quirk::HeaderJunk);
        }
    }

    fn note(&mut self, quirk: Quirk) {
        if !self.noted.contains(&quirk) {
            self.noted.push(quirk);
        }
    }

    /// Skips a byte of garbage.
    fn skip_one(&mut self) -> Result<(), ReaderError> {
        self.at += 1;
        self.searched = 0;
        self.skipped += 1;
        if self.skipped == 1 {
            self.note(Quirk::LostSync);
        }
        match self.skipped > self.limits.max_skipped {
            true => Err(ReaderError::Garbage),
            false => Ok(()),
        }
    }

    /// A message or frame was read: the stream is in sync.
    fn advance(&mut self, length: usize) {
        self.at += length;
        self.searched = 0;
        self.skipped = 0;
        self.is_after_blank = false;
    }

    fn decide(&self) -> Next {
        let rest = self.rest();
        match rest {
            [] => Next::Wait,
            [b'$', ..] if self.skipped == 0 => Next::Frame,
            // After garbage: a channel that is set up, and RTP or RTCP of version 2 in it.
            [b'$', channel, high, low, first, ..] => {
                let length = u16::from_be_bytes([*high, *low]);
                let is_known = self.channels[usize::from(*channel)];
                match is_known && length >= 8 && first >> 6 == 2 {
                    true => Next::Frame,
                    false => Next::Garbage,
                }
            }
            [b'$', ..] => Next::Wait,
            _ if BEGINNINGS.iter().any(|b| rest.starts_with(b)) => Next::Message,
            _ if BEGINNINGS.iter().any(|b| b.starts_with(rest)) => Next::Wait,
            _ => Next::Garbage,
        }
    }

    fn frame(&mut self) -> Option<Item> {
        let [_, channel, high, low, contents @ ..] = self.rest() else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (channel, contents) = (*channel, contents.get(..length)?.to_vec());
        self.advance(4 + length);
        Some(Item::Frame(channel, contents))
    }

    fn read_head(&mut self) -> Result<Head, ReaderError> {
        let rest = self.rest();
        let window = rest.get(..MAX_FIRST_LINE).unwrap_or(rest);
        let Some(first_end) = window.iter().position(|c| *c == b'\n') else {
            return Ok(match rest.len() < MAX_FIRST_LINE {
                true => Head::Wait,
                false => Head::Garbage,
            });
        };
        let Some(start) = start(&rest[..first_end]) else {
            return Ok(Head::Garbage);
        };
        let Some(length) = head_length(rest, self.searched.max(first_end)) else {
            if rest.len() > self.limits.max_head {
                return Err(ReaderError::HeadTooLong);
            }
            self.searched = rest.len();
            return Ok(Head::Wait);
        };
        if length > self.limits.max_head {
            return Err(ReaderError::HeadTooLong);
        }
        let head = String::from_utf8_lossy(&rest[first_end + 1..length]).into_owned();
        let fields = self.fields(&head);
        let body = match fields.get("Content-Length") {
            None => 0,
            Some(value) => value.parse().unwrap_or_else(|_| {
                self.note(Quirk::HeaderJunk);
                0
            }),
        };
        if body > self.limits.max_body {
            return Err(ReaderError::BodyTooLong);
        }
        self.advance(length);
        let message = Message {
            start,
            fields,
            body: Vec::new(),
        };
        self.head = Some((message, body));
        Ok(Head::Read)
    }

    fn body(&mut self) -> Option<Item> {
        let length = self.head.as_ref()?.1;
        let body = self.rest().get(..length)?.to_vec();
        self.at += length;
        let (message, _) = self.head.take()?;
        Some(Item::Message(Message { body, ..message }))
    }

    fn fields(&mut self, head: &str) -> Fields {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in head.lines().filter(|line| !line.trim().is_empty()) {
            if line.starts_with([' ', '\t'])
                && let Some((_, value)) = fields.last_mut()
            {
                // A folded line (RFC 2616 §2.2).
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let Some((name, value)) = line.split_once(':') else {
                self.note(Quirk::HeaderJunk);
                continue;
            };
            let trimmed = value.trim();
            if value.len() - trimmed.len() > 1 || name.trim() != name || value.ends_with(' ') {
                self.note(Quirk::HeaderJunk);
            }
            let name = name.trim();
            let is_odd =
                |canonical: &str| canonical.eq_ignore_ascii_case(name) && canonical != name;
            if CANONICAL.into_iter().any(is_odd) {
                self.note(Quirk::HeaderCase);
            }
            if fields.len() < MAX_FIELDS {
                fields.push((name.to_owned(), trimmed.to_owned()));
            }
        }
        Fields(fields)
    }
}

/// Parses a first line without its line end; `None` if it is neither a status line nor a request line.
fn start(line: &[u8]) -> Option<Start> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if first.starts_with("RTSP/") {
        let code = words.next().filter(|code| code.len() == 3)?;
        let code: u16 = code.parse().ok().filter(|code| *code >= 100)?;
        let reason: Vec<&str> = words.collect();
        return Some(Start::Response(code, reason.join(" ")));
    }
    let _uri = words.next()?;
    words
        .next()
        .filter(|version| version.starts_with("RTSP/"))?;
    Some(Start::Request(first.to_owned()))
}

/// Returns the length of a head with its blank line. `from` is where the search begins; nothing before it is the end.
fn head_length(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(2);
    let mut ends = bytes.get(from..)?.iter().enumerate();
    loop {
        let (index, _) = ends.find(|(_, c)| **c == b'\n')?;
        let end = from + index + 1;
        match bytes.get(end..) {
            Some([b'\n', ..]) => return Some(end + 1),
            Some([b'\r', b'\n', ..]) => return Some(end + 2),
            _ => {}
        }
    }
}
