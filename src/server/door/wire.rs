//! The bytes of one connection: the socket, and TLS where there is any.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::server::proxies::{Header, HeaderReader};
use crate::server::tls::{Tls, TlsIdentity};

/// Encrypted bytes that are made before the system has taken those before them.
const MAX_WIRE: usize = 64 * 1024;

/// What is given to TLS at a time.
const PIECE: usize = 16 * 1024;

/// What is given to the system in one go, so that a fast reader does not keep the others waiting.
const WRITE_BUDGET: usize = 512 * 1024;

/// What reading has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes of the socket; what they carry, if anything, has been appended.
    Bytes(usize),
    /// Nothing, for now.
    Nothing,
    /// The client has ended its side.
    End,
}

/// How far writing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    All,
    /// The system takes no more for now.
    Blocked,
    /// The system would take more.
    More,
}

enum Security {
    None,
    /// TLS is expected; not a byte has come yet, so that there is nothing to hold.
    Expected(TlsIdentity),
    Tls(Box<Tls>),
}

pub(super) struct Wire {
    pub tcp: TcpStream,
    /// The header of the PROXY protocol is expected first.
    header: Option<HeaderReader>,
    /// The PROXY header received, until it is taken.
    pub proxied: Option<Header>,
    security: Security,
    /// TLS was expected, and plain text came.
    pub is_plain_by_mistake: bool,
    /// What is to be sent.
    plain: Queue,
    /// The same, encrypted.
    encrypted: Queue,
}

/// Bytes that leave from the front.
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
            // What has nothing to send holds nothing.
            *self = Self::default();
        } else if self.gone > (256 * 1024).max(self.bytes.len() / 2) {
            // What is moved to the front is less than what has gone.
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

impl Wire {
    /// `proxy_protocol`: what comes begins with its header.
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

    /// Whether nothing can be said yet.
    pub fn is_handshaking(&self) -> bool {
        match &self.security {
            Security::None => false,
            Security::Expected(_) => true,
            Security::Tls(tls) => tls.is_handshaking(),
        }
    }

    /// Reads once, appending what has come to `into`.
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
            // A handshake begins with a record of type 22 (RFC 8446, section 5.1).
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
                // Its answers, or what it has against it.
                tls.take_output(&mut self.encrypted.bytes)?;
                into.extend_from_slice(&received?);
            }
            _ => into.extend_from_slice(bytes),
        }
        Ok(Got::Bytes(count))
    }

    /// Queues what is to be sent.
    pub fn send(&mut self, bytes: &[u8]) {
        self.plain.bytes.extend_from_slice(bytes);
    }

    /// The same of what is large: it is not copied.
    pub fn send_all(&mut self, bytes: Vec<u8>) {
        if self.plain.len() == 0 {
            self.plain = Queue { bytes, gone: 0 };
        } else {
            self.plain.bytes.extend_from_slice(&bytes);
        }
    }

    /// Bytes that wait for the system to take them.
    pub fn queued(&self) -> usize {
        self.plain.len() + self.encrypted.len()
    }

    /// Returns the memory that these take, in bytes.
    pub fn held(&self) -> usize {
        self.plain.bytes.capacity() + self.encrypted.bytes.capacity()
    }

    /// Gives the system what it takes.
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

    /// Ends this side, so that the client sees where the response ends; what it sends can still be read.
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
