//! A client over TCP or TLS (RFC 8656 §3.1, framing §12.6).
#![allow(clippy::disallowed_types)]

use std::io::{ErrorKind, Read};
use std::time::Instant;

use mio::net::TcpStream;

use super::Client;
use crate::driver::tcp::give;
use crate::proto::ice::turn::frame::Deframer;
use crate::server::tls::Tls;

/// Maximum number of queued bytes. Further messages are dropped, as on a congested path.
const MAX_QUEUE: usize = 256 * 1024;

/// Maximum number of bytes read per turn.
const READ_BUDGET: usize = 64 * 1024;

pub(super) struct Stream {
    pub tcp: TcpStream,
    pub client: Client,
    /// Time of the last valid message.
    pub heard: Instant,
    /// Set while it is in the list of ready streams.
    pub listed: bool,
    tls: Option<Tls>,
    deframer: Deframer,
    queue: Vec<u8>,
}

impl Stream {
    pub fn new(tcp: TcpStream, client: Client, tls: Option<Tls>, now: Instant) -> Self {
        Self {
            tcp,
            client,
            heard: now,
            listed: false,
            tls,
            deframer: Deframer::default(),
            queue: Vec::new(),
        }
    }

    /// Reads incoming data and calls `each` with each message. Returns `true` if there may be more, and an error if the
    /// stream has ended.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        now: Instant,
        mut each: impl FnMut(Client, &[u8]),
    ) -> Result<bool, String> {
        let mut left = READ_BUDGET;
        while left > 0 {
            let count = match self.tcp.read(buffer) {
                Ok(0) => return Err("closed by the client".into()),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(format!("receiving: {e}")),
            };
            match &mut self.tls {
                Some(tls) => self.deframer.push(&tls.receive(&buffer[..count])?),
                None => self.deframer.push(&buffer[..count]),
            }
            while let Some(message) = self.deframer.next()? {
                self.heard = now;
                each(self.client, &message);
            }
            left = left.saturating_sub(count);
        }
        Ok(true)
    }

    /// Queues a message. Returns `false` if there is no room; messages are never queued in part.
    pub fn send(&mut self, contents: &[u8]) -> Result<bool, String> {
        if self.queue.len() + contents.len() > MAX_QUEUE {
            return Ok(false);
        }
        match &mut self.tls {
            Some(tls) => {
                tls.send(contents)?;
                tls.take_output(&mut self.queue)?;
            }
            None => self.queue.extend_from_slice(contents),
        }
        Ok(true)
    }

    /// Writes as much as the system accepts.
    pub fn flush(&mut self) -> Result<(), String> {
        if let Some(tls) = &mut self.tls {
            tls.take_output(&mut self.queue)?;
        }
        give(&mut self.tcp, &mut self.queue).map_err(|e| format!("sending: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::turn::Link;

    #[test]
    fn what_the_system_does_not_take_waits_up_to_a_limit() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tcp = TcpStream::from_std(std::net::TcpStream::connect(address).unwrap());
        let client = Client {
            link: Link::Stream(0),
            local: address,
            remote: address,
        };
        let mut stream = Stream::new(tcp, client, None, Instant::now());
        let mut taken = 0;
        while stream.send(&[0; 1_000]).unwrap() {
            taken += 1_000;
            assert!(taken <= MAX_QUEUE);
        }
        assert_eq!(taken, MAX_QUEUE / 1_000 * 1_000);
        // A message is queued whole or not at all, and a smaller one still fits.
        assert_eq!(stream.queue.len(), taken);
        assert!(stream.send(&[0; 100]).unwrap());
    }
}
