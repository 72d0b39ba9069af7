//! Candidates, how they are found, and the little of STUN that demultiplexing needs.
//!
//! str0m owns the ICE agent (RFC 8445); what it leaves out stands here. Server-reflexive, relayed
//! and mDNS candidates will join [`gatherer`] as further sources.

pub mod candidate;
pub mod gatherer;
pub mod stun;

pub use candidate::{CandidateError, CandidateType, IceCandidate};
pub use gatherer::{AddressFilter, GatherConfig, GatherOutput, Gatherer};
