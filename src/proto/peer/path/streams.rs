//! ICE over TCP (RFC 6544): maps the core's candidate pairs to streams.

use std::net::SocketAddr;
use std::time::Instant;

use super::super::contract::Output;
use super::super::ends::Ends;
use super::super::outbox::Outbox;
use crate::proto::ice::stun;
use crate::proto::ice::tcp::{ACTIVE_PORT, Sending, TcpPaths};
use crate::proto::net::{Protocol, SocketId, SocketReply, Transmit};

/// The streams of one peer.
#[derive(Debug, Default)]
pub(in super::super) struct Streams(TcpPaths);

impl Streams {
    /// Returns `true` if this is the socket of a stream.
    pub fn owns(id: SocketId) -> bool {
        TcpPaths::is_stream(id)
    }

    /// Registers a remote candidate. Returns `false` if there are too many.
    pub fn add_remote(&mut self, remote: SocketAddr) -> bool {
        self.0.add_remote(remote)
    }

    /// Returns our end of a stream as the core knows it: the address of the active candidate, if we opened it.
    pub fn base_of(&self, local: SocketAddr, remote: SocketAddr) -> SocketAddr {
        self.0.base_of(local, remote).unwrap_or(local)
    }

    /// Sends a message on the stream of this address pair, which is opened if necessary.
    pub fn send(&mut self, ends: Ends, contents: Vec<u8>, now: Instant, out: &mut Outbox) {
        let mut source = ends.local;
        if source.port() == ACTIVE_PORT {
            let is_check = stun::request_transaction(&contents).is_some();
            match self
                .0
                .send(ends.local, ends.remote, &contents, is_check, now)
            {
                Sending::From(local) => source = local,
                Sending::Open(request) => return out.push(Output::OpenSocket(request)),
                Sending::Kept => return,
            }
        }
        out.push(transmit(source, ends.remote, contents));
    }

    /// Handles the opening or closing of one of our streams. Returns the ends of a closed one.
    pub fn handle_socket(
        &mut self,
        id: SocketId,
        reply: &SocketReply,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Ends> {
        match reply {
            SocketReply::Opened(addresses) => {
                let local = addresses.first()?.address;
                if let Some((destination, contents)) = self.0.opened(id, local) {
                    out.push(transmit(local, destination, contents));
                }
                None
            }
            SocketReply::Failed(why) => {
                log::debug!("ICE-TCP: {why}");
                out.push(Output::CloseSocket(id));
                let (local, remote) = self.0.failed(id, now)?;
                Some(Ends::of_stream(local, remote))
            }
        }
    }

    /// Handles the validation of a stream: others to the same address are no longer needed.
    pub fn proved(&mut self, local: SocketAddr, remote: SocketAddr, out: &mut Outbox) {
        close(self.0.proved(local, remote), out);
    }

    /// Handles an ICE restart.
    pub fn restart(&mut self, out: &mut Outbox) {
        close(self.0.restart(), out);
    }

    /// Clears everything, because the connection is closed.
    pub fn clear(&mut self, out: &mut Outbox) {
        close(self.0.clear(), out);
    }
}

fn transmit(source: SocketAddr, destination: SocketAddr, contents: Vec<u8>) -> Output {
    Output::Transmit(Transmit {
        protocol: Protocol::IceTcp,
        source,
        destination,
        contents,
    })
}

/// Closes streams that are no longer needed.
fn close(streams: Vec<SocketId>, out: &mut Outbox) {
    for id in streams {
        out.push(Output::CloseSocket(id));
    }
}
