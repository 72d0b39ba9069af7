//! The core, built from a peer's configuration.

use std::time::{Duration, Instant};

use str0m::RtcConfig;
use str0m::bwe::Bitrate;

use super::super::crypto::{
    self, Certificate, CryptoBackend, CryptoError, DtlsVersion, ExportedKeys,
};
use super::super::values::{MediaMode, PeerConfig, PeerError, Timing};
use super::access::CoreAccess;
use super::{Core, SEND_BUFFER, codecs, extensions};
use crate::proto::ice::IceCredentials;

/// Time for which a frame waits for a missing packet. By then it has been requested five times, over a path of half a
/// second and more; a packet still missing is lost, and a keyframe is requested at once. Figures: docs/media.md.
const LOST_FRAME: Duration = Duration::from_secs(1);

/// A new core, with the values it was created from.
pub(in super::super) struct Built {
    pub core: Core,
    pub creds: IceCredentials,
    /// Where DTLS stores the keys for SRTP.
    pub keys: Option<ExportedKeys>,
}

/// Builds the core from the configuration.
pub(in super::super) fn build(config: &PeerConfig, now: Instant) -> Result<Built, PeerError> {
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
        .set_sctp_max_buffered_amount(SEND_BUFFER)
        .set_mtu(core_mtu(config.mtu)..=config.mtu + 100)
        // Receivers synchronize audio and video after two reports of each.
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_reordering_timeout_video(Some(LOST_FRAME))
        .enable_raw_packets(config.rtcp_events)
        .set_stats_interval(config.stats_interval)
        .enable_bwe(config.bandwidth_estimation.map(Bitrate::bps));
    let mut core = with_media(core, config)?;
    core.set_max_stun_rto(config.timing.keepalive);
    core.set_max_stun_retransmits(stun_retransmits(&config.timing));
    // Discards the keys of an earlier connection.
    let _ = ExportedKeys::latest();
    let (rtc, creds) = CoreAccess::build(config.seed, core, now);
    Ok(Built {
        core: Core::new(rtc, provider, backend, config.limits.max_drain, now),
        creds,
        keys: ExportedKeys::latest(),
    })
}

/// Adds what the configuration says about media.
fn with_media(core: RtcConfig, config: &PeerConfig) -> Result<RtcConfig, PeerError> {
    let core = core.set_rtp_mode(config.media_mode == MediaMode::Packets);
    let core = codecs::configure(&config.codecs, core);
    extensions::configure(core, &config.header_extensions)
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
