//! Requests of a TURN client in wire format.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use turn_types::AddressFamily;
use turn_types::attribute::{
    AdditionalAddressFamily, ChannelNumber, Lifetime, RequestedAddressFamily, RequestedTransport,
    XorPeerAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH};
use turn_types::stun::message::{
    BINDING, Message, MessageClass, MessageType, MessageWriteVec, StunWriteError, TransactionId,
};
use turn_types::stun::prelude::{MessageWrite, MessageWriteExt};

use super::TurnConfig;
use super::auth::Auth;
use crate::proto::ice::transaction::{Retransmit, request_type};

/// Purpose of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Create an allocation.
    Allocate,
    /// Refresh the allocation.
    Refresh,
    /// Delete the allocation (refresh with lifetime 0).
    Release,
    /// Create a permission for this address (any port).
    Permission(IpAddr),
    /// Bind this channel number to this address.
    Channel(u16, SocketAddr),
}

/// An unanswered request.
#[derive(Debug)]
pub(super) struct Request {
    pub id: TransactionId,
    pub what: What,
    pub contents: Vec<u8>,
    pub challenges: u32,
    pub retransmit: Retransmit,
}

impl Request {
    pub fn new(
        id: TransactionId,
        what: What,
        contents: Vec<u8>,
        challenges: u32,
        stream: bool,
        now: Instant,
    ) -> Self {
        Self {
            id,
            what,
            contents,
            challenges,
            retransmit: Retransmit::new(stream, now),
        }
    }
}

/// Builds a request, signed if the server has sent a challenge.
pub(super) fn build(
    what: &What,
    id: TransactionId,
    config: &TurnConfig,
    auth: &Auth,
) -> Result<Vec<u8>, StunWriteError> {
    let method = match what {
        What::Allocate => ALLOCATE,
        What::Refresh | What::Release => REFRESH,
        What::Permission(_) => CREATE_PERMISSION,
        What::Channel(..) => CHANNEL_BIND,
    };
    let mut m = Message::builder(request_type(method), id, MessageWriteVec::new());
    match what {
        What::Allocate => {
            m.add_attribute(&RequestedTransport::new(RequestedTransport::UDP))?;
            match (config.ipv4, config.ipv6) {
                // A server that does not support the attribute allocates IPv4 only (RFC 8656 §7.1).
                (true, true) => {
                    m.add_attribute(&AdditionalAddressFamily::new(AddressFamily::IPV6))?;
                }
                (false, true) => {
                    m.add_attribute(&RequestedAddressFamily::new(AddressFamily::IPV6))?;
                }
                (_, false) => {}
            }
        }
        What::Refresh => {}
        What::Release => m.add_attribute(&Lifetime::new(0))?,
        What::Permission(ip) => {
            m.add_attribute(&XorPeerAddress::new(SocketAddr::new(*ip, 0), id))?;
        }
        What::Channel(number, to) => {
            m.add_attribute(&ChannelNumber::new(*number))?;
            m.add_attribute(&XorPeerAddress::new(*to, id))?;
        }
    }
    auth.sign(&mut m)?;
    Ok(m.finish())
}

/// Builds a keepalive: a Binding indication (RFC 8656 §3.10).
pub(super) fn keepalive(id: TransactionId) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Indication, BINDING);
    Message::builder(kind, id, MessageWriteVec::new()).finish()
}
