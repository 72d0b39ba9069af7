//! Driving the core: passing datagrams, draining it, and interpreting its silence and errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::ProtocolVersion;
use str0m::{Event, IceConnectionState as CoreState, IceCreds, Rtc, RtcError};

use super::channels::CORE_BUFFER;
use super::config::{PeerConfig, Timing};
use super::core_access::CoreAccess;
use super::crypto::{self, Certificate, CryptoBackend, CryptoError, DtlsVersion, ExportedKeys};
use super::error::{PeerError, panic_text};
use super::negotiation::bad_sdp;
use super::state::{self, ConnectionState, IceConnectionState, PeerEvent};
use super::tracks::{MediaMode, extensions};
use super::{Dtls, MIN_TIMEOUT_STEP, Output, Peer};
use crate::proto::ice::Gatherer;
use crate::proto::ice::tcp::TcpPaths;

/// Maximum number of consecutive immediate timeouts that the core may request.
const MAX_IMMEDIATE_TIMEOUTS: usize = 8;

/// Maximum number of times that channels may feed the core in one settling.
const MAX_FEEDS: usize = 64;

/// Maximum error of the core's clock when it is given data to send.
const MAX_CORE_LAG: Duration = Duration::from_millis(1);

/// Time for which a frame waits for a missing packet. By then it has been requested five times, over a path of half a
/// second and more; a packet still missing is lost, and a keyframe is requested at once. Figures: docs/media.md.
const LOST_FRAME: Duration = Duration::from_secs(1);

/// Deadlines further away than this are ignored.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// The core and its companions, as [`Peer::new`] needs them.
pub(super) struct Core {
    pub rtc: CoreAccess,
    pub provider: Arc<CryptoProvider>,
    pub backend: CryptoBackend,
    pub creds: IceCreds,
    pub keys: Option<ExportedKeys>,
}

/// Creates the core from the configuration.
pub(super) fn build(config: &PeerConfig, now: Instant) -> Result<Core, PeerError> {
    if !(1100..=1500).contains(&config.mtu) {
        return Err(PeerError::Config(format!(
            "mtu of {} bytes is not between 1100 and 1500",
            config.mtu
        )));
    }
    let backend = config
        .crypto
        .or_else(CryptoBackend::default_backend)
        .ok_or(PeerError::Crypto(CryptoError::NotCompiledIn(
            CryptoBackend::AwsLc,
        )))?;
    let provider = crypto::provider(backend, config.seed)?;
    let dtls = match config.dtls {
        // A backend with a single version has nothing to negotiate.
        DtlsVersion::Auto if !backend.supports(DtlsVersion::Auto) => DtlsVersion::V1_2,
        version => version,
    };
    backend.check_version(dtls)?;
    let certificate = match &config.certificate {
        Some(certificate) => certificate.clone(),
        None => Certificate::generate(backend)?,
    };
    let core = str0m::RtcConfig::new()
        .set_crypto_provider(provider.clone())
        // The core supports one hash function and one fingerprint; see `check_identity`.
        .set_fingerprint_verification(false)
        .set_dtls_cert(certificate.as_dtls_cert())
        .set_dtls_version(dtls.into())
        .set_ice_lite(config.ice_lite)
        .set_sctp_max_buffered_amount(CORE_BUFFER)
        .set_mtu(core_mtu(config.mtu)..=config.mtu + 100)
        // Receivers synchronize audio and video after two reports of each.
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_rtp_mode(config.media_mode == MediaMode::Packets)
        .set_reordering_timeout_video(Some(LOST_FRAME))
        .enable_raw_packets(config.rtcp_events)
        .set_stats_interval(config.stats_interval)
        .enable_bwe(config.bandwidth_estimation.map(Bitrate::bps));
    let core = config.codecs.configure(core);
    let mut core = extensions::configure(core, &config.header_extensions)?;
    core.set_max_stun_rto(config.timing.keepalive);
    core.set_max_stun_retransmits(stun_retransmits(&config.timing));
    // Discards the keys of an earlier connection.
    let _ = ExportedKeys::latest();
    let (rtc, creds) = CoreAccess::build(config.seed, core, now);
    Ok(Core {
        rtc,
        keys: ExportedKeys::latest(),
        provider,
        backend,
        creds,
    })
}

/// The core fills an RTCP packet up to the MTU less the 20 bytes that SRTCP adds, in words of four bytes, and panics if
/// that leaves no remainder (docs/upstream.md).
fn core_mtu(mtu: usize) -> usize {
    mtu - usize::from(mtu.is_multiple_of(4))
}

/// Returns the number of checks after which the core gives up a silent path: enough to outlast our *failed* state.
fn stun_retransmits(timing: &Timing) -> usize {
    let patience = (timing.disconnected + timing.failed).as_millis();
    let step = timing.keepalive.as_millis().max(1);
    usize::try_from(patience / step)
        .unwrap_or(100)
        .clamp(9, 100)
        + 3
}

impl Peer {
    /// Passes the time to the core if its clock is behind, so that data sent now is not timestamped in the past: the
    /// core would consider it lost at the next timeout, and slow down for long (RFC 9260 §6.3.3, §7.2.3).
    pub(super) fn refresh_core_time(&mut self) {
        if self.now.saturating_duration_since(self.core_now) >= MAX_CORE_LAG {
            self.settle();
            self.core_timeout();
            self.settle();
        }
    }

    /// Passes the time to the core.
    pub(super) fn core_timeout(&mut self) {
        self.core_now = self.now;
        if let Err(e) = self.rtc.handle_input(str0m::Input::Timeout(self.now)) {
            self.on_core_fault(&e);
        }
        self.dirty = true;
    }

    /// Handles an error on input. An invalid datagram does not end the session, otherwise anyone who can forge a source
    /// address could end it (RFC 6347 §4.1.2.7). A handshake that cannot succeed does.
    pub(super) fn on_core_fault(&mut self, error: &str0m::RtcError) {
        self.stats.core_errors += 1;
        log::debug!("core: {error}");
        if self.dtls == Dtls::Connected {
            return;
        }
        match crypto::explain_dtls_error(error, self.backend) {
            Some(why) => self.fail_handshake(why),
            None => self.dtls_fault = Some(error.to_string()),
        }
    }

    pub(super) fn fail_handshake(&mut self, why: String) {
        if self.dtls == Dtls::New {
            self.dtls = Dtls::Failed;
            self.event(PeerEvent::Error(PeerError::Handshake(why)));
            self.handshake_failed = Some(self.now);
        }
    }

    /// Passes pending input to the core, drains it, lets channels feed it, evaluates the states, and queues the
    /// results. Cheap if nothing has changed.
    pub(super) fn settle(&mut self) {
        self.settle_core();
        if !self.joined.is_empty() {
            self.receive_joined();
            self.settle_core();
        }
        self.release_early();
    }

    fn settle_core(&mut self) {
        if !self.dirty || self.is_closed() {
            return;
        }
        self.flush_written();
        self.dirty = false;
        let mut budget = self.config.limits.max_drain;
        for _ in 0..MAX_FEEDS {
            if !self.drain(&mut budget) {
                return;
            }
            let events = &mut self.events;
            if !self.channels.settle(&mut self.rtc, events, self.now) {
                break;
            }
        }
        if self.channels.buffered() == 0 {
            self.resend.forget();
        }
        self.release_due();
        self.evaluate();
        self.flush_events();
    }

    /// Drains the core. Returns `false` if the peer was closed.
    fn drain(&mut self, budget: &mut usize) -> bool {
        let mut immediate = 0;
        loop {
            if *budget == 0 {
                self.die(format!(
                    "the core gave {} outputs without coming to an end",
                    self.config.limits.max_drain
                ));
                return false;
            }
            *budget -= 1;
            let output = self.rtc.poll_output();
            if self.dtls == Dtls::New
                && let Err(why) = self.check_identity(&output)
            {
                self.fail_handshake(why);
                self.rtc.disconnect();
                break;
            }
            match output {
                Ok(str0m::Output::Timeout(at)) => {
                    if at > self.now || immediate >= MAX_IMMEDIATE_TIMEOUTS || !self.rtc.is_alive()
                    {
                        let at = at.max(self.now + MIN_TIMEOUT_STEP);
                        self.core_deadline = (at < self.now + FAR).then_some(at);
                        break;
                    }
                    immediate += 1;
                    self.core_timeout();
                }
                Ok(str0m::Output::Transmit(transmit)) => self.on_transmit(transmit),
                Ok(str0m::Output::Event(event)) => self.on_core_event(event),
                Err(str0m::RtcError::Packet(mid, _, e)) => {
                    // A frame that the depacketizer could not parse; it was dropped.
                    self.stats.core_errors += 1;
                    log::debug!("mid {mid}: {e}");
                }
                Err(e) => {
                    self.on_core_end(&e);
                    break;
                }
            }
        }
        self.dirty = false;
        if !self.rtc.is_alive() {
            self.on_core_dead();
            return false;
        }
        true
    }

    /// Verifies the certificate received by DTLS against the fingerprints of the remote description (RFC 8122 §5),
    /// before anything received with it is used.
    fn check_identity(&mut self, output: &Result<str0m::Output, RtcError>) -> Result<(), String> {
        let api = self.rtc.direct_api();
        let Some(sha_256) = api.remote_dtls_fingerprint() else {
            return match output {
                Ok(str0m::Output::Event(Event::Connected)) => {
                    Err("DTLS: the other side has sent no certificate".into())
                }
                _ => Ok(()),
            };
        };
        let identity = crypto::Identity::seen(&sha_256.bytes);
        let fingerprints = self.negotiation.fingerprints();
        match identity.is_some_and(|identity| identity.matches(fingerprints)) {
            true => Ok(()),
            false => Err(
                "DTLS: the other side's certificate is not the one of its description (a=fingerprint): \
                 somebody stands between, or the description is another peer's"
                    .into(),
            ),
        }
    }

    fn on_core_event(&mut self, event: Event) {
        match event {
            Event::IceConnectionStateChange(state) => {
                self.connectivity.core_state(state);
                if matches!(state, CoreState::Connected | CoreState::Completed) {
                    self.handshake_since.get_or_insert(self.now);
                }
            }
            Event::Connected => {
                self.dtls = Dtls::Connected;
                // Earlier unauthenticated alerts were not sent by the remote peer.
                self.handshake_failed = None;
                self.stats.dtls_version = negotiated_version(&mut self.rtc);
                self.update_bound();
            }
            Event::ChannelOpen(id, _label) => {
                let limits = &self.config.limits;
                self.channels
                    .on_open(&mut self.rtc, id, limits, &mut self.events);
            }
            Event::ChannelData(data) => {
                self.stats.messages_received += 1;
                self.channels
                    .on_data(data.id, data.binary, data.data, &mut self.events);
            }
            Event::MediaData(data) => self.on_media_data(data),
            Event::RtpPacket(packet) => self.on_rtp_packet(packet),
            Event::EgressBitrateEstimate(kind) => self.on_bandwidth(&kind),
            Event::MediaEgressStats(stats) => self.on_sent_stats(&stats),
            Event::MediaIngressStats(stats) => self.on_received_stats(&stats),
            Event::PeerStats(stats) => self.stats.round_trip_time = stats.rtt,
            Event::RawPacket(raw) => self.on_raw_packet(&raw),
            Event::KeyframeRequest(request) => self.on_keyframe_request(&request),
            Event::SenderFeedback(report) => self.on_sender_report(&report),
            Event::StreamPaused(p) => self.on_stream_paused(p.mid, p.rid, p.paused),
            Event::ChannelClose(id) => {
                self.channels.on_closed(&mut self.rtc, id, &mut self.events);
            }
            // The core now sends its own close message and then ends; see `on_core_dead`.
            Event::Closed => log::debug!("closed by the other side"),
            other => log::trace!("unused event of the core: {other:?}"),
        }
    }

    /// Handles an error in place of an output: the core has closed itself, or is unusable.
    fn on_core_end(&mut self, error: &str0m::RtcError) {
        log::debug!("core ended: {error}");
        if self.dtls == Dtls::New {
            let why = crypto::explain_dtls_error(error, self.backend)
                .unwrap_or_else(|| error.to_string());
            self.fail_handshake(why);
        } else if self.dtls == Dtls::Connected {
            self.event(PeerEvent::Error(PeerError::Core(error.to_string())));
        }
        self.rtc.disconnect();
    }

    /// Handles the end of the core: closed by the remote peer, or by an error that was reported.
    fn on_core_dead(&mut self) {
        if self.dtls == Dtls::Failed {
            // W3C §4.3.3: a failed handshake is "failed" before it is "closed".
            self.set_states(IceConnectionState::Failed, ConnectionState::Failed);
        }
        self.finish();
    }

    /// Lets the core apply a validated description. An unexpected error closes this peer only, because the core's state
    /// is unknown then.
    pub(super) fn apply<R>(
        &mut self,
        body: impl FnOnce(&mut Rtc) -> Result<R, RtcError>,
    ) -> Result<R, PeerError> {
        match catch_unwind(AssertUnwindSafe(|| body(&mut self.rtc))) {
            Ok(result) => result.map_err(bad_sdp),
            Err(panic) => {
                let why = format!(
                    "the description: {}",
                    panic_text(&*panic).unwrap_or_default()
                );
                self.die(why.clone());
                Err(PeerError::Core(why))
            }
        }
    }

    /// Handles a fault of the core: closes this peer; others are not affected.
    fn die(&mut self, why: String) {
        crate::seldom::seldom!(error, "peer closed: {why}");
        self.event(PeerEvent::Error(PeerError::Core(why)));
        self.rtc.disconnect();
        self.finish();
    }

    /// Sends close messages and frees everything.
    pub(super) fn shut_down(&mut self) {
        if self.rtc.close().is_ok() {
            let mut budget = self.config.limits.max_drain;
            while budget > 0 && self.rtc.is_alive() {
                budget -= 1;
                match self.rtc.poll_output() {
                    Ok(str0m::Output::Transmit(transmit)) => self.farewell(transmit),
                    Ok(str0m::Output::Event(_)) => {}
                    Ok(str0m::Output::Timeout(_)) | Err(_) => break,
                }
            }
        }
        self.rtc.disconnect();
        self.finish();
    }

    /// Enters the last state. Only queued output is left.
    fn finish(&mut self) {
        self.channels.close_all(&mut self.events);
        self.tracks.close(&mut self.events);
        self.negotiation.close(&mut self.events);
        self.pending.clear();
        self.early.clear();
        self.validated.clear();
        self.validated_tcp.clear();
        self.close_streams(TcpPaths::clear);
        self.gathered = Vec::new();
        self.names.clear();
        self.ufrags.clear();
        self.remote_creds = None;
        self.set_states(IceConnectionState::Closed, ConnectionState::Closed);
        self.flush_events();
        self.gatherer.release(self.now);
        self.on_gathered();
        self.out
            .push_back(Output::CloseSocket(Gatherer::HOST_SOCKET));
        self.core_deadline = None;
    }

    /// Evaluates the ICE state and the connection state, and reports changes.
    fn evaluate(&mut self) {
        let (ice, why) = self.connectivity.evaluate(self.now);
        if let Some(why) = why {
            self.event(PeerEvent::Error(PeerError::IceFailed(why)));
        }
        let late = self
            .handshake_since
            .is_some_and(|t| self.now >= t + self.config.timing.handshake);
        if late && self.dtls == Dtls::New {
            let fault = self
                .dtls_fault
                .take()
                .map(|f| format!(" (last error: {f})"));
            self.fail_handshake(format!(
                "not finished within {} s{}",
                self.config.timing.handshake.as_secs(),
                fault.unwrap_or_default()
            ));
        }
        let state = state::connection_state(ice, self.dtls);
        self.set_states(ice, state);
        self.recover_from_silence();
        let over = self
            .handshake_failed
            .is_some_and(|t| self.now >= t + self.config.timing.closed);
        if over || self.connectivity.is_expired(self.now) {
            self.shut_down();
        }
    }

    fn set_states(&mut self, ice: IceConnectionState, state: ConnectionState) {
        if self.ice_state != ice {
            self.ice_state = ice;
            if ice == IceConnectionState::Disconnected {
                self.resend.arm(self.path_in_use());
            }
            self.event(PeerEvent::IceConnectionStateChange(ice));
        }
        if self.state != state {
            self.state = state;
            self.event(PeerEvent::ConnectionStateChange(state));
        }
    }

    fn flush_events(&mut self) {
        self.out.extend(self.events.drain(..).map(Output::Event));
    }

    /// Returns the time at which this peer has to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // A deadline in the past was handled already; it must not cause a busy loop.
        let not_gone_by = |t: Instant| t.max(self.now + MIN_TIMEOUT_STEP);
        if self.is_closed() {
            return self.gatherer.deadline().map(not_gone_by);
        }
        let handshake = self
            .handshake_since
            .filter(|_| self.dtls == Dtls::New)
            .map(|t| t + self.config.timing.handshake);
        [
            self.core_deadline,
            self.tracks.due(),
            self.connectivity.deadline(self.now),
            self.recovery_deadline(),
            self.resend.deadline(),
            self.feedback.deadline(),
            self.early.deadline(),
            handshake,
            self.handshake_failed.map(|t| t + self.config.timing.closed),
            self.gatherer.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(not_gone_by)
    }
}

fn negotiated_version(rtc: &mut Rtc) -> Option<DtlsVersion> {
    match rtc.direct_api().dtls_protocol_version()? {
        ProtocolVersion::DTLS1_2 => Some(DtlsVersion::V1_2),
        ProtocolVersion::DTLS1_3 => Some(DtlsVersion::V1_3),
        _ => None,
    }
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests {
    use super::*;

    /// A panic of the core closes this peer with the reason; the core is not used again.
    #[test]
    fn a_panic_over_a_description_closes_the_peer() {
        let now = Instant::now();
        let mut peer = Peer::new(PeerConfig::default(), now).unwrap();
        let error = peer.apply::<()>(|_| panic!("at {}", 96)).unwrap_err();
        assert_eq!(error, PeerError::Core("the description: at 96".into()));
        assert_eq!(peer.create_offer(now).unwrap_err(), PeerError::Closed);
        let mut told = Vec::new();
        loop {
            match peer.poll_output() {
                Output::Event(event) => told.push(event),
                Output::Timeout(_) => break,
                _ => {}
            }
        }
        assert!(told.contains(&PeerEvent::Error(error)), "{told:?}");
        assert_eq!(peer.connection_state(), ConnectionState::Closed);
    }
}
