//! The core's output: drained to the end, one value at a time, with a limit.

use std::time::{Duration, Instant};

use str0m::crypto::dtls::ProtocolVersion;
use str0m::net::Protocol as CoreProtocol;
use str0m::{Event, IceConnectionState as CoreState, RtcError};

use super::super::crypto::{self, DtlsVersion};
use super::super::ends::Ends;
use super::super::values::{IceConnectionState, PeerEvent};
use super::Core;
use super::channels::{CoreChannelId, CoreMessage};
use super::media::{self, MediaEvent};
use crate::proto::net::Protocol;
use crate::proto::sdp::Fingerprint;

/// Maximum number of consecutive immediate timeouts that the core may request.
const MAX_IMMEDIATE_TIMEOUTS: usize = 8;

/// Minimum time between two timeouts, for a core that keeps requesting one at once.
const MIN_TIMEOUT_STEP: Duration = Duration::from_millis(1);

/// Deadlines further away than this are ignored.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// A datagram to be sent by the core.
pub(in super::super) struct Outgoing {
    pub ends: Ends,
    pub contents: Vec<u8>,
}

/// An output of the core.
#[allow(clippy::large_enum_variant)] // As below.
pub(in super::super) enum Step {
    Transmit(Outgoing),
    Event(CoreEvent),
    /// There is no more output until the next input or the deadline.
    Drained,
    /// The core has ended: closed by the remote peer, or by an error that was reported.
    Dead,
    /// The limit of outputs per drain was exceeded, which ends this peer.
    Endless(usize),
}

/// A report of the core.
#[allow(clippy::large_enum_variant)] // A box would be an allocation for each packet of media.
pub(in super::super) enum CoreEvent {
    Ice(IceConnectionState),
    /// The DTLS handshake is complete, with this version.
    Connected(Option<DtlsVersion>),
    ChannelOpen(CoreChannelId),
    ChannelMessage(CoreMessage),
    ChannelClosed(CoreChannelId),
    RoundTrip(Option<Duration>),
    Media(MediaEvent),
}

/// The budget of one drain.
pub(in super::super) struct Drain {
    left: usize,
    immediate: usize,
}

impl Core {
    /// Starts a drain, if anything has changed since the last one. Written data is sent with this time.
    pub fn drain(&mut self, now: Instant, events: &mut Vec<PeerEvent>) -> Option<Drain> {
        if !self.clock.is_dirty {
            return None;
        }
        if std::mem::take(&mut self.clock.unsent) > 0 {
            self.timeout(now, events);
        }
        self.clock.is_dirty = false;
        Some(Drain {
            left: self.max_drain,
            immediate: 0,
        })
    }

    /// Returns the next output. `fingerprints` are those of the remote description.
    pub fn step(
        &mut self,
        drain: &mut Drain,
        fingerprints: &[Fingerprint],
        now: Instant,
        events: &mut Vec<PeerEvent>,
    ) -> Step {
        loop {
            if drain.left == 0 {
                return Step::Endless(self.max_drain);
            }
            drain.left -= 1;
            let output = self.rtc.change().poll_output();
            if self.dtls.is_new()
                && let Err(why) = self.check_identity(&output, fingerprints)
            {
                self.fail_handshake(why, now, events);
                self.rtc.change().disconnect();
                return self.drained(drain);
            }
            match output {
                Ok(str0m::Output::Timeout(at)) => {
                    let is_over = at > now || drain.immediate >= MAX_IMMEDIATE_TIMEOUTS;
                    if is_over || !self.rtc.is_alive() {
                        let at = at.max(now + MIN_TIMEOUT_STEP);
                        self.clock.deadline = (at < now + FAR).then_some(at);
                        return self.drained(drain);
                    }
                    drain.immediate += 1;
                    self.timeout(now, events);
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    return Step::Transmit(Outgoing::from_core(transmit));
                }
                Ok(str0m::Output::Event(event)) => {
                    if let Some(event) = self.translate(event, now) {
                        return Step::Event(event);
                    }
                }
                Err(RtcError::Packet(mid, _, e)) => {
                    // A frame that the depacketizer could not parse; it was dropped.
                    self.counts.errors += 1;
                    log::debug!("mid {mid}: {e}");
                }
                Err(e) => {
                    self.on_end(&e, now, events);
                    return self.drained(drain);
                }
            }
        }
    }

    fn drained(&mut self, drain: &mut Drain) -> Step {
        drain.immediate = 0;
        self.clock.is_dirty = false;
        match self.rtc.is_alive() {
            true => Step::Drained,
            false => Step::Dead,
        }
    }

    fn translate(&mut self, event: Event, now: Instant) -> Option<CoreEvent> {
        Some(match event {
            Event::IceConnectionStateChange(state) => {
                if matches!(state, CoreState::Connected | CoreState::Completed) {
                    self.dtls.path_found(now);
                }
                CoreEvent::Ice(ice_state(state))
            }
            Event::Connected => {
                self.dtls.finish();
                CoreEvent::Connected(self.negotiated_version())
            }
            Event::ChannelOpen(id, _label) => CoreEvent::ChannelOpen(CoreChannelId(id)),
            Event::ChannelData(data) => CoreEvent::ChannelMessage(CoreMessage {
                channel: CoreChannelId(data.id),
                is_binary: data.binary,
                data: data.data,
            }),
            Event::ChannelClose(id) => CoreEvent::ChannelClosed(CoreChannelId(id)),
            Event::PeerStats(stats) => CoreEvent::RoundTrip(stats.rtt),
            // The core now sends its own close messages and is then unusable; see `Step::Dead`.
            Event::Closed => {
                log::debug!("closed by the other side");
                return None;
            }
            other => CoreEvent::Media(media::translate(other)?),
        })
    }

    fn negotiated_version(&mut self) -> Option<DtlsVersion> {
        match self.rtc.change().direct_api().dtls_protocol_version()? {
            ProtocolVersion::DTLS1_2 => Some(DtlsVersion::V1_2),
            ProtocolVersion::DTLS1_3 => Some(DtlsVersion::V1_3),
            _ => None,
        }
    }

    /// Compares the remote DTLS certificate with the fingerprints of the description (RFC 8122 §5), before any data
    /// received with it is processed.
    fn check_identity(
        &mut self,
        output: &Result<str0m::Output, RtcError>,
        fingerprints: &[Fingerprint],
    ) -> Result<(), String> {
        let mut rtc = self.rtc.change();
        let api = rtc.direct_api();
        let Some(sha_256) = api.remote_dtls_fingerprint() else {
            return match output {
                Ok(str0m::Output::Event(Event::Connected)) => {
                    Err("the other side has sent no certificate".into())
                }
                _ => Ok(()),
            };
        };
        let identity = crypto::Identity::seen(&sha_256.bytes);
        match identity.is_some_and(|identity| identity.matches(fingerprints)) {
            true => Ok(()),
            false => Err(
                "the other side's certificate is not the one of its description (a=fingerprint): \
                 somebody stands between, or the description is another peer's"
                    .into(),
            ),
        }
    }
}

impl Outgoing {
    pub(super) fn from_core(transmit: str0m::net::Transmit) -> Self {
        Self {
            ends: Ends {
                protocol: match transmit.proto {
                    CoreProtocol::Udp => Protocol::Udp,
                    _ => Protocol::IceTcp,
                },
                local: transmit.source,
                remote: transmit.destination,
            },
            contents: transmit.contents.into(),
        }
    }
}

fn ice_state(state: CoreState) -> IceConnectionState {
    match state {
        CoreState::New => IceConnectionState::New,
        CoreState::Checking => IceConnectionState::Checking,
        CoreState::Connected => IceConnectionState::Connected,
        CoreState::Completed => IceConnectionState::Completed,
        CoreState::Disconnected => IceConnectionState::Disconnected,
    }
}
