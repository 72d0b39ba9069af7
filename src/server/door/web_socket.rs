//! A WebSocket (RFC 6455): `tungstenite` over buffers.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Instant;

use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, Utf8Bytes};

use super::frames::Meter;
use crate::server::http::WebSocketId;

/// Maximum length of a close reason, in bytes (RFC 6455, section 5.5: 125 with the code).
const MAX_REASON: usize = 123;

/// Size of `tungstenite`'s reads, in bytes.
const READ_BUFFER: usize = 2048;

/// Buffers larger than this are freed between two messages, in bytes.
const KEPT: usize = 4096;

/// Data from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    Text(String),
    /// The WebSocket has ended. Pending output contains the reason, if there is one to send.
    End {
        /// Set if the client violated the protocol.
        is_wrong: bool,
    },
}

pub(crate) struct Socket {
    pub id: WebSocketId,
    /// When the client was last heard from.
    pub heard: Instant,
    /// Set if a ping was sent since.
    pub is_pinged: bool,
    /// When we have closed it.
    pub closing: Option<Instant>,
    /// Time since which the client has not read queued data.
    pub stalled: Option<Instant>,
    inner: WebSocket<Pipe>,
    /// Memory of incomplete frames and messages inside `tungstenite`.
    meter: Meter,
    max_message: usize,
    is_over: bool,
}

impl Socket {
    /// Creates a WebSocket. `rest`: bytes received after the handshake.
    pub fn new(id: WebSocketId, rest: Vec<u8>, max_message: usize, now: Instant) -> Self {
        let mut meter = Meter::new(max_message);
        meter.advance(&rest);
        let pipe = Pipe {
            input: rest,
            ..Pipe::default()
        };
        Self {
            id,
            heard: now,
            is_pinged: false,
            closing: None,
            stalled: None,
            inner: open(pipe, max_message),
            meter,
            max_message,
            is_over: false,
        }
    }

    /// Returns the memory in use, in bytes: incomplete messages by capacity, and unsent output.
    pub fn held(&self) -> usize {
        let pipe = self.inner.get_ref();
        READ_BUFFER + self.meter.held() + pipe.input.capacity() + pipe.output.capacity()
    }

    /// Releases the memory of a large message, which `tungstenite` keeps for the next one.
    fn free(&mut self) {
        if self.closing.is_none() && self.meter.is_between_messages() && self.meter.held() > KEPT {
            // Between messages it has read everything and answered all pings, so nothing is lost.
            let pipe = std::mem::take(self.inner.get_mut());
            self.inner = open(pipe, self.max_message);
            self.meter = Meter::new(self.max_message);
        }
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8], now: Instant) {
        self.heard = now;
        self.is_pinged = false;
        self.meter.advance(bytes);
        self.inner.get_mut().input.extend_from_slice(bytes);
    }

    /// Returns the next message or event; call it until it returns `None`.
    pub fn next(&mut self) -> Option<Incoming> {
        while !self.is_over {
            let (code, reason) = match self.inner.read() {
                Ok(Message::Text(text)) if self.closing.is_none() => {
                    return Some(Incoming::Text(text.as_str().to_owned()));
                }
                Ok(Message::Binary(_)) if self.closing.is_none() => {
                    (CloseCode::Unsupported, "only text is understood here")
                }
                // `tungstenite` answers pings with its next read.
                Ok(_) => continue,
                Err(Error::Io(e)) if e.kind() == ErrorKind::WouldBlock => {
                    self.free();
                    return None;
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    self.is_over = true;
                    return Some(Incoming::End { is_wrong: false });
                }
                Err(Error::Capacity(_)) => (CloseCode::Size, "the message is too large"),
                Err(Error::Utf8(_)) => (CloseCode::Invalid, "the text is not UTF-8"),
                Err(_) => (CloseCode::Protocol, "not as RFC 6455 has it"),
            };
            self.close_with(code, reason);
            self.is_over = true;
            return Some(Incoming::End { is_wrong: true });
        }
        None
    }

    /// Queues a text message.
    pub fn send(&mut self, text: &str) {
        self.write(Message::Text(Utf8Bytes::from(text)));
    }

    /// Sends a ping.
    pub fn ping(&mut self) {
        self.is_pinged = true;
        self.write(Message::Ping(Bytes::new()));
    }

    /// Starts to close it.
    pub fn close(&mut self, code: u16, reason: &str, now: Instant) {
        if self.closing.is_none() {
            self.closing = Some(now);
            self.close_with(CloseCode::from(code), reason);
        }
    }

    /// Takes the pending output.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.inner.get_mut().output)
    }

    fn write(&mut self, message: Message) {
        // The buffer accepts everything; after a close nothing is sent.
        if let Err(e) = self.inner.send(message) {
            log::debug!("a WebSocket: {e}");
        }
    }

    fn close_with(&mut self, code: CloseCode, reason: &str) {
        let mut end = reason.len().min(MAX_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let frame = CloseFrame {
            code,
            reason: Utf8Bytes::from(&reason[..end]),
        };
        let _ = self.inner.close(Some(frame));
    }
}

fn open(pipe: Pipe, max_message: usize) -> WebSocket<Pipe> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Everything is written to the buffer at once.
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    WebSocket::from_raw_socket(pipe, Role::Server, Some(config))
}

/// The connection as `tungstenite` sees it.
#[derive(Debug, Default)]
struct Pipe {
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.taken..];
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.input.len() {
            self.input = Vec::new();
            self.taken = 0;
        }
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
