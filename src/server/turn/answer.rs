//! Parsing of requests, and construction of responses.

use std::net::SocketAddr;
use std::time::Duration;

use turn_types::AddressFamily;
use turn_types::attribute::{
    AdditionalAddressFamily, AddressErrorCode, ChannelNumber, DontFragment, EvenPort, Lifetime,
    RequestedAddressFamily, RequestedTransport, ReservationToken, XorPeerAddress,
    XorRelayedAddress,
};
use turn_types::message::ALLOCATE;
use turn_types::stun::attribute::{
    AttributeType, ErrorCode, Fingerprint, MessageIntegrity, MessageIntegritySha256, Nonce,
    PasswordAlgorithm, RawAttribute, Realm, UnknownAttributes, Username, XorMappedAddress,
};
use turn_types::stun::message::{
    Message, MessageClass, MessageType, MessageWriteVec, Method, StunWriteError, TransactionId,
};
use turn_types::stun::prelude::{
    Attribute, AttributeFromRaw, AttributeStaticType, MessageWriteExt,
};

use super::allocation::{Allocation, Relay};

/// An error response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub unknown: Vec<AttributeType>,
}

pub(super) fn refuse(code: u16, reason: &'static str) -> Refusal {
    Refusal {
        code,
        reason,
        unknown: Vec::new(),
    }
}

fn malformed(reason: &'static str) -> Refusal {
    refuse(ErrorCode::BAD_REQUEST, reason)
}

/// Iterates over the attributes covered by the message's signature.
pub(super) fn attributes<'m>(
    message: &'m Message<'_>,
) -> impl Iterator<Item = RawAttribute<'m>> + 'm {
    let ends = [MessageIntegrity::TYPE, MessageIntegritySha256::TYPE];
    message
        .iter_attributes()
        .map(|(_, attribute)| attribute)
        .take_while(move |a| !ends.contains(&a.get_type()))
}

/// Refuses unknown comprehension-required attributes (RFC 8489 §6.3.1).
pub(super) fn check_known(message: &Message<'_>) -> Result<(), Refusal> {
    let known = [
        Username::TYPE,
        Realm::TYPE,
        Nonce::TYPE,
        PasswordAlgorithm::TYPE,
        Fingerprint::TYPE,
        RequestedTransport::TYPE,
        RequestedAddressFamily::TYPE,
        Lifetime::TYPE,
        EvenPort::TYPE,
        // The relay sockets send no fragments anyway.
        DontFragment::TYPE,
        ReservationToken::TYPE,
        XorPeerAddress::TYPE,
        ChannelNumber::TYPE,
    ];
    let unknown: Vec<_> = attributes(message)
        .map(|a| a.get_type())
        .filter(|t| t.comprehension_required() && !known.contains(t))
        .take(8)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        unknown,
        ..refuse(ErrorCode::UNKNOWN_ATTRIBUTE, "unknown attributes")
    })
}

/// Returns an attribute, if present; refuses the request if it is malformed.
fn optional<A>(message: &Message<'_>, reason: &'static str) -> Result<Option<A>, Refusal>
where
    A: AttributeStaticType + for<'a> AttributeFromRaw<'a>,
{
    let raw = attributes(message).find(|a| a.get_type() == A::TYPE);
    raw.map(|raw| A::from_raw_ref(&raw).map_err(|_| malformed(reason)))
        .transpose()
}

/// The requested relays (RFC 8656 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub v4: bool,
    pub v6: bool,
    pub port: WantedPort,
    pub lifetime: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedPort {
    Any,
    Even,
    EvenAndNext,
    Reserved(u64),
}

pub(super) fn wanted(message: &Message<'_>) -> Result<Wanted, Refusal> {
    let transport = optional::<RequestedTransport>(message, "REQUESTED-TRANSPORT is malformed")?;
    let Some(transport) = transport else {
        return Err(malformed("REQUESTED-TRANSPORT is missing"));
    };
    if transport.protocol() != RequestedTransport::UDP {
        let code = ErrorCode::UNSUPPORTED_TRANSPORT_PROTOCOL;
        return Err(refuse(code, "only UDP is relayed"));
    }
    let family = family::<RequestedAddressFamily>(message, |a| a.family())?;
    let additional = family_of_additional(message)?;
    let even = optional::<EvenPort>(message, "EVEN-PORT is malformed")?;
    let token = optional::<ReservationToken>(message, "RESERVATION-TOKEN is malformed")?;
    if additional && (family.is_some() || even.is_some() || token.is_some())
        || token.is_some() && (family.is_some() || even.is_some())
    {
        return Err(malformed("these attributes exclude each other"));
    }
    let v6 = family == Some(AddressFamily::IPV6);
    let port = match (token, even) {
        (Some(token), _) => WantedPort::Reserved(token.token()),
        (None, Some(even)) if even.requested() => WantedPort::EvenAndNext,
        (None, Some(_)) => WantedPort::Even,
        (None, None) => WantedPort::Any,
    };
    Ok(Wanted {
        v4: !v6,
        v6: v6 || additional,
        port,
        lifetime: lifetime(message)?,
    })
}

fn family_of_additional(message: &Message<'_>) -> Result<bool, Refusal> {
    let mut all = attributes(message);
    let raw = all.find(|a| a.get_type() == AdditionalAddressFamily::TYPE);
    if raw.is_some_and(|raw| raw.value.first() == Some(&1)) {
        return Err(malformed("IPv4 is not additional"));
    }
    let family = family::<AdditionalAddressFamily>(message, |a| a.family())?;
    Ok(family.is_some())
}

/// Returns REQUESTED-ADDRESS-FAMILY or a similar attribute.
fn family<A>(
    message: &Message<'_>,
    of: impl FnOnce(A) -> AddressFamily,
) -> Result<Option<AddressFamily>, Refusal>
where
    A: AttributeStaticType + for<'a> AttributeFromRaw<'a>,
{
    let raw = attributes(message).find(|a| a.get_type() == A::TYPE);
    let Some(raw) = raw else { return Ok(None) };
    let known = A::from_raw_ref(&raw).map(of);
    let unknown = |_| refuse(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED, "unknown family");
    known.map(Some).map_err(unknown)
}

/// Returns whether a Refresh concerns the IPv6 relay only (`true`), or the IPv4 one (`false`); `None` for both.
pub(super) fn only_family(message: &Message<'_>) -> Result<Option<bool>, Refusal> {
    let family = family::<RequestedAddressFamily>(message, |a| a.family())?;
    Ok(family.map(|f| f == AddressFamily::IPV6))
}

pub(super) fn lifetime(message: &Message<'_>) -> Result<Option<u32>, Refusal> {
    let lifetime = optional::<Lifetime>(message, "LIFETIME is malformed")?;
    Ok(lifetime.map(|l| l.seconds()))
}

/// Returns all peer addresses of a request.
pub(super) fn peers(message: &Message<'_>) -> Result<Vec<SocketAddr>, Refusal> {
    let raw = attributes(message).filter(|a| a.get_type() == XorPeerAddress::TYPE);
    let peers: Result<Vec<_>, _> = raw
        .map(|raw| {
            let peer = XorPeerAddress::from_raw_ref(&raw);
            peer.map(|p| p.addr(message.transaction_id()))
        })
        .collect();
    match peers {
        Ok(peers) if !peers.is_empty() => Ok(peers),
        Ok(_) => Err(malformed("XOR-PEER-ADDRESS is missing")),
        Err(_) => Err(malformed("XOR-PEER-ADDRESS is malformed")),
    }
}

/// Returns a valid channel number: the range of RFC 5766 §11, of which RFC 8656 §12 kept the first 4,096. Older
/// clients, including coturn's, use all of it.
pub(super) fn channel(message: &Message<'_>) -> Result<u16, Refusal> {
    let number = optional::<ChannelNumber>(message, "CHANNEL-NUMBER is malformed")?;
    match number.map(|n| n.channel()) {
        Some(number @ 0x4000..=0x7fff) => Ok(number),
        Some(_) => Err(malformed("channels are numbered from 0x4000 to 0x7FFF")),
        None => Err(malformed("CHANNEL-NUMBER is missing")),
    }
}

pub(super) fn begin(class: MessageClass, method: Method, id: TransactionId) -> MessageWriteVec {
    let kind = MessageType::from_class_method(class, method);
    Message::builder(kind, id, MessageWriteVec::with_capacity(128))
}

/// Builds an error response. It is kept short, because the request may be forged.
pub(super) fn error(
    method: Method,
    id: TransactionId,
    refusal: &Refusal,
) -> Result<MessageWriteVec, StunWriteError> {
    let mut answer = begin(MessageClass::Error, method, id);
    answer.add_attribute(&ErrorCode::new(refusal.code, refusal.reason)?)?;
    if !refusal.unknown.is_empty() {
        answer.add_attribute(&UnknownAttributes::new(&refusal.unknown))?;
    }
    Ok(answer)
}

/// Builds the response that tells a client its relayed addresses.
pub(super) fn allocated(a: &Allocation) -> Result<MessageWriteVec, StunWriteError> {
    let mut answer = begin(MessageClass::Success, ALLOCATE, a.transaction);
    for address in a.relays.addresses() {
        answer.add_attribute(&XorRelayedAddress::new(address, a.transaction))?;
    }
    answer.add_attribute(&Lifetime::new(a.lifetime))?;
    answer.add_attribute(&XorMappedAddress::new(a.client.remote, a.transaction))?;
    if let Some(token) = a.reservation {
        answer.add_attribute(&ReservationToken::new(token))?;
    }
    for (relay, family) in [
        (a.relays.v4, AddressFamily::IPV4),
        (a.relays.v6, AddressFamily::IPV6),
    ] {
        if relay == Relay::Failed {
            let code = ErrorCode::new(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED, "")?;
            answer.add_attribute(&AddressErrorCode::new(family, code))?;
        }
    }
    Ok(answer)
}

/// Returns the granted lifetime in seconds (RFC 8656 §7.2).
pub(super) fn grant(asked: Option<u32>, default: Duration, most: Duration) -> u32 {
    let seconds = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX).max(1);
    let most = seconds(most);
    asked.unwrap_or(0).max(seconds(default)).min(most)
}
