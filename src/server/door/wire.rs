//! The bytes of a connection: the socket, with or without TLS.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::server::proxies::{Header, HeaderReader};
use crate::server::tls::{Tls, TlsIdentity};

/// Maximum number of encrypted bytes that wait for the system.
const MAX_WIRE: usize = 64 * 1024;

/// Number of bytes passed to TLS at once.
const PIECE: usize = 16 * 1024;

/// Maximum number of bytes written to the system at once, so that a fast reader does not delay others.
const WRITE_BUDGET: usize = 512 * 1024;

/// Result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// Number of bytes read from the socket; their content, if any, was appended.
    Bytes(usize),
    /// Nothing is available now.
    Nothing,
    /// The client has closed its side.
    End,
}

/// Result of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    All,
    /// The system accepts no more for now.
    Blocked,
    /// The system would accept more.
    More,
}

enum Security {
    None,
    /// TLS is expected; no byte has arrived yet, so nothing is allocated.
    Expected(TlsIdentity),
    Tls(Box<Tls>),
}

pub(super) struct Wire {
    pub tcp: TcpStream,
    /// Set while the PROXY header is expected.
    header: Option<HeaderReader>,
    /// The PROXY header received, until it is taken.
    pub proxied: Option<Header>,
    security: Security,
    /// Plain text arrived where TLS was expected.
    pub is_plain_by_mistake: bool,
    /// Data to send.
    plain: Queue,
    /// Encrypted data to send.
    encrypted: Queue,
}

/// A byte queue.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    gone: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.bytes.len() - self.gone
    }

    fn front(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    fn drop_front(&mut self, count: usize) {
        self.gone += count;
        if self.gone == self.bytes.len() {
            // An empty queue holds no memory.
            *self = Self::default();
        } else if self.gone > (256 * 1024).max(self.bytes.len() / 2) {
            // Fewer bytes are moved than were sent.
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

impl Wire {
    /// Wraps a connection. `proxy_protocol`: it starts with a PROXY header.
    pub fn new(tcp: TcpStream, tls: Option<&TlsIdentity>, proxy_protocol: bool) -> Self {
        Self {
            tcp,
            header: proxy_protocol.then(HeaderReader::default),
            proxied: None,
            security: tls.map_or(Security::None, |tls| Security::Expected(tls.clone())),
            is_plain_by_mistake: false,
            plain: Queue::default(),
            encrypted: Queue::default(),
        }
    }

    pub fn is_secure(&self) -> bool {
        !matches!(self.security, Security::None)
    }

    /// Returns `true` if nothing can be sent yet.
    pub fn is_handshaking(&self) -> bool {
        match &self.security {
            Security::None => false,
            Security::Expected(_) => true,
            Security::Tls(tls) => tls.is_handshaking(),
        }
    }

    /// Reads once, and appends the content to `into`.
    pub fn read(&mut self, chunk: &mut [u8], into: &mut Vec<u8>) -> Result<Got, String> {
        let count = loop {
            match self.tcp.read(chunk) {
                Ok(0) => return Ok(Got::End),
                Ok(count) => break count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Got::Nothing),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("receiving: {e}")),
            }
        };
        let after_header;
        let mut bytes = &chunk[..count];
        if let Some(header) = &mut self.header {
            let Some((proxied, rest)) = header.push(bytes)? else {
                return Ok(Got::Bytes(count));
            };
            (self.header, self.proxied) = (None, Some(proxied));
            after_header = rest;
            bytes = &after_header;
        }
        if bytes.is_empty() {
            return Ok(Got::Bytes(count));
        }
        if let Security::Expected(identity) = &self.security {
            // A handshake starts with a record of type 22 (RFC 8446, section 5.1).
            self.security = if bytes[0].is_ascii_alphabetic() {
                self.is_plain_by_mistake = true;
                Security::None
            } else {
                Security::Tls(Box::new(identity.accept()?))
            };
        }
        match &mut self.security {
            Security::Tls(tls) => {
                let received = tls.receive(bytes);
                // Handshake messages, or an alert.
                tls.take_output(&mut self.encrypted.bytes)?;
                into.extend_from_slice(&received?);
            }
            _ => into.extend_from_slice(bytes),
        }
        Ok(Got::Bytes(count))
    }

    /// Queues data.
    pub fn send(&mut self, bytes: &[u8]) {
        self.plain.bytes.extend_from_slice(bytes);
    }

    /// Queues large data without copying it.
    pub fn send_all(&mut self, bytes: Vec<u8>) {
        if self.plain.len() == 0 {
            self.plain = Queue { bytes, gone: 0 };
        } else {
            self.plain.bytes.extend_from_slice(&bytes);
        }
    }

    /// Returns the number of queued bytes.
    pub fn queued(&self) -> usize {
        self.plain.len() + self.encrypted.len()
    }

    /// Returns the memory in use, in bytes.
    pub fn held(&self) -> usize {
        self.plain.bytes.capacity() + self.encrypted.bytes.capacity()
    }

    /// Writes as much as the system accepts.
    pub fn flush(&mut self) -> Result<Flushed, String> {
        let mut budget = WRITE_BUDGET;
        loop {
            self.encrypt()?;
            let queue = match &self.security {
                Security::None => &mut self.plain,
                _ => &mut self.encrypted,
            };
            if queue.len() == 0 {
                return Ok(Flushed::All);
            }
            if budget == 0 {
                return Ok(Flushed::More);
            }
            let front = queue.front();
            let front = &front[..front.len().min(budget)];
            match self.tcp.write(front) {
                Ok(0) => return Err("sending: the system takes nothing".into()),
                Ok(count) => {
                    budget -= count;
                    queue.drop_front(count);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("sending: {e}")),
            }
        }
    }

    /// Closes the sending side, so that the client sees the end of the response; reading is still possible.
    pub fn finish(&mut self) -> io::Result<()> {
        if let Security::Tls(tls) = &mut self.security {
            tls.close(&mut self.encrypted.bytes);
            let _ = self.flush();
        }
        self.tcp.shutdown(std::net::Shutdown::Write)
    }

    fn encrypt(&mut self) -> Result<(), String> {
        let Security::Tls(tls) = &mut self.security else {
            return Ok(());
        };
        while !tls.is_handshaking() && self.plain.len() > 0 && self.encrypted.len() < MAX_WIRE {
            let front = self.plain.front();
            let count = front.len().min(PIECE);
            tls.send(&front[..count])?;
            self.plain.drop_front(count);
            tls.take_output(&mut self.encrypted.bytes)?;
        }
        Ok(())
    }
}
