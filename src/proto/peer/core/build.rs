//! The core, built from a peer's configuration.

use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::{IceCreds, RtcConfig};

use super::super::config::{PeerConfig, Timing};
use super::super::crypto::{
    self, Certificate, CryptoBackend, CryptoError, DtlsVersion, ExportedKeys,
};
use super::super::error::PeerError;
use super::access::CoreAccess;
use super::{Core, SEND_BUFFER};

/// How long a picture waits for a packet that is missing. By then it has been asked for five times, over a path
/// of half a second and more; what is still not there is lost, and a keyframe is wanted at once. Figures:
/// docs/media.md.
const LOST_FRAME: Duration = Duration::from_secs(1);

/// A new core, and what it was made with.
pub(in super::super) struct Built {
    pub core: Core,
    pub creds: IceCreds,
    /// Where DTLS will leave the keys of SRTP.
    pub keys: Option<ExportedKeys>,
}

/// Builds the core from the configuration; `media` adds what concerns media.
pub(in super::super) fn build(
    config: &PeerConfig,
    media: impl FnOnce(RtcConfig) -> Result<RtcConfig, PeerError>,
    now: Instant,
) -> Result<Built, PeerError> {
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
        // A backend that knows only one version has nothing to choose from.
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
        // It knows one function and one fingerprint; see `check_identity`.
        .set_fingerprint_verification(false)
        .set_dtls_cert(certificate.as_dtls_cert())
        .set_dtls_version(dtls.into())
        .set_ice_lite(config.ice_lite)
        .set_sctp_max_buffered_amount(SEND_BUFFER)
        .set_mtu(core_mtu(config.mtu)..=config.mtu + 100)
        // Receivers put sound and pictures in step after two reports of each.
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_reordering_timeout_video(Some(LOST_FRAME))
        .enable_raw_packets(config.rtcp_events)
        .set_stats_interval(config.stats_interval)
        .enable_bwe(config.bandwidth_estimation.map(Bitrate::bps));
    let mut core = media(core)?;
    core.set_max_stun_rto(config.timing.keepalive);
    core.set_max_stun_retransmits(stun_retransmits(&config.timing));
    // Of no connection that was made before.
    let _ = ExportedKeys::latest();
    let (rtc, creds) = CoreAccess::build(config.seed, core, now);
    Ok(Built {
        core: Core::new(rtc, provider, backend, config.limits.max_drain, now),
        creds,
        keys: ExportedKeys::latest(),
    })
}

/// The core fills a packet of RTCP up to what is left of the MTU behind the 20 bytes that SRTCP adds, in words of four
/// bytes, and panics where nothing is left over then (docs/upstream.md).
fn core_mtu(mtu: usize) -> usize {
    mtu - usize::from(mtu.is_multiple_of(4))
}

/// As many checks as it takes for the core to keep a silent path until we call it failed.
fn stun_retransmits(timing: &Timing) -> usize {
    let patience = (timing.disconnected + timing.failed).as_millis();
    let step = timing.keepalive.as_millis().max(1);
    usize::try_from(patience / step)
        .unwrap_or(100)
        .clamp(9, 100)
        + 3
}
