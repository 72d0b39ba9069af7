//! The signaling state, with the data of each state.

use super::super::values::SignalingState;
use super::description::Description;
use crate::proto::ice::IceCredentials;
use crate::proto::signal::SessionDescription;

/// The signaling state. `O` is the core's part of an offer.
pub(in super::super) enum Signaling<O> {
    Stable,
    /// Our offer awaits an answer.
    LocalOffer(Offer<O>),
    /// Our offer was passed to the core with its answer.
    Accepting,
    /// Our offer was rolled back, and the next state has not been entered.
    TakenBack,
    /// A remote offer awaits our answer. It can still be rolled back.
    RemoteOffer {
        description: SessionDescription,
        offer: Box<Description>,
    },
    /// An answer was created, with which the offer took effect; it has to be set.
    Answered {
        description: SessionDescription,
        answer: String,
    },
    Closed,
}

/// An offer of ours.
pub(in super::super) struct Offer<O> {
    pub sdp: String,
    pub core: O,
    /// Set if it adds an m-line, which must not get lost in a rollback.
    pub adds: bool,
    /// Its credentials: the current ones, or new ones for a restart.
    pub creds: IceCredentials,
}

impl<O> Signaling<O> {
    /// Returns the state as W3C names it.
    pub fn state(&self) -> SignalingState {
        match self {
            Self::Stable => SignalingState::Stable,
            Self::LocalOffer(_) | Self::Accepting | Self::TakenBack => {
                SignalingState::HaveLocalOffer
            }
            Self::RemoteOffer { .. } | Self::Answered { .. } => SignalingState::HaveRemoteOffer,
            Self::Closed => SignalingState::Closed,
        }
    }

    /// Returns the remote offer, until its answer is set.
    pub fn remote_offer(&self) -> Option<&SessionDescription> {
        match self {
            Self::RemoteOffer { description, .. } | Self::Answered { description, .. } => {
                Some(description)
            }
            _ => None,
        }
    }
}
