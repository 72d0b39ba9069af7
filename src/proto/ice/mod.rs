//! ICE candidates and gathering, with the STUN (RFC 8489) and TURN (RFC 8656) clients it needs.
//!
//! str0m provides the ICE agent (RFC 8445); this module adds what it does not cover.

pub(crate) mod bindings;
pub(crate) mod candidate;
mod credentials;
mod error;
pub mod framing;
mod gather_config;
pub(crate) mod gatherer;
pub mod mdns;
pub(crate) mod rank;
mod relays;
pub(crate) mod server;
pub mod stun;
pub(crate) mod tcp;
mod transaction;
pub(crate) mod turn;

pub use bindings::{BindingOutput, BindingReply, BindingRequest, BindingTransport, Bindings};
pub use candidate::{CandidateError, CandidateType, IceCandidate};
pub(crate) use credentials::IceCredentials;
pub use error::IceCandidateError;
pub use gather_config::{AddressFilter, GatherConfig};
pub(crate) use gatherer::{GatherOutput, Gatherer, LocalCandidate, LocalKind};
pub use mdns::{Mdns, MdnsOutput};
pub(crate) use relays::Relayed;
pub use server::{IceServer, IceTransportPolicy, ServerHost, ServerKind};
pub use server::{ServerTransport, ServerUrl, ServerUrlError};
pub use tcp::{IceTcp, TcpType};
pub(crate) use transaction::TransactionIds;
