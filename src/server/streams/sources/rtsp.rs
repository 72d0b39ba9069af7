//! RTSP cameras: `rtsp://user:password@host/path#sub=…&audio=off`.
//!
//! One session serves all viewers, as access units. What a camera says and how it is understood is the business of
//! [`proto::rtsp`](crate::proto::rtsp); here it gets its sockets ([`wire`]) and its place among the streams
//! ([`session`]). A second stream of the same camera is a source of its own: see [`Kind::sub`].

mod machine;
mod session;
mod talking;
mod text;

use std::path::Path;
use std::sync::Arc;

use self::machine::Watched;
use self::session::Session;
use self::talking::Talking;
use self::text::{Origin, Origins};
use crate::driver::{PeerId, TlsMode};
use crate::proto::peer::MediaMode;
use crate::proto::rtsp::{CameraConfig, RtspClientConfig, RtspUrl, Transport};
use crate::server::streams::config::StreamsConfig;
use crate::server::streams::kind::{Context, Kind, Runs, Source, SourceConfig};

/// A camera as configured.
#[derive(Debug, Clone)]
struct Rtsp {
    url: RtspUrl,
    origins: Origins,
    /// In the order to try.
    transports: Vec<Transport>,
    video: bool,
    audio: bool,
    /// Set if it is watched whether or not there are viewers.
    always: bool,
    tls: TlsMode,
    /// A second stream of the camera, as a rule smaller.
    sub: Option<Arc<Rtsp>>,
}

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    let (scheme, _) = url.split_once(':')?;
    let is_ours = ["rtsp", "rtsps"]
        .iter()
        .any(|s| s.eq_ignore_ascii_case(scheme));
    is_ours.then(|| text::camera(url).map(SourceConfig::new))
}

/// Settings of a camera that are not read from a text.
#[derive(Debug, Clone)]
pub(crate) struct CameraSettings {
    /// With credentials, if there are any.
    pub url: RtspUrl,
    /// A second stream of the camera, with its own credentials.
    pub sub: Option<RtspUrl>,
    pub audio: bool,
    /// In the order to try.
    pub transports: Vec<Transport>,
    pub always: bool,
    /// Accept any certificate.
    pub any_certificate: bool,
}

impl SourceConfig {
    /// Creates the source of a camera.
    pub(crate) fn camera(settings: CameraSettings) -> Self {
        Self::new(Rtsp::from(settings))
    }
}

impl From<CameraSettings> for Rtsp {
    fn from(settings: CameraSettings) -> Self {
        let tls = match settings.any_certificate {
            true => TlsMode::Unverified,
            false => TlsMode::SystemRoots,
        };
        let of = |url: RtspUrl| Rtsp {
            transports: settings.transports.clone(),
            audio: settings.audio,
            tls,
            ..Rtsp::new(url)
        };
        Rtsp {
            always: settings.always,
            sub: settings.sub.map(|url| Arc::new(of(url))),
            ..of(settings.url)
        }
    }
}

impl Rtsp {
    fn new(url: RtspUrl) -> Self {
        Self {
            url,
            origins: Origins::default(),
            transports: vec![Transport::Tcp, Transport::Udp],
            video: true,
            audio: true,
            always: false,
            tls: TlsMode::SystemRoots,
            sub: None,
        }
    }

    /// Returns the settings of a session. Credentials in files are read.
    fn client(&self) -> Result<RtspClientConfig, String> {
        let url = self.origins.complete(&self.url)?;
        Ok(RtspClientConfig::new(url)
            .transports(self.transports.clone())
            .video(self.video)
            .audio(self.audio))
    }
}

impl Kind for Rtsp {
    fn describe(&self) -> String {
        format!("camera, {}", self.url.without_credentials())
    }

    fn paths(&self) -> Vec<&Path> {
        let all = [&self.origins.user, &self.origins.password];
        all.into_iter().flatten().filter_map(Origin::path).collect()
    }

    fn media_mode(&self) -> MediaMode {
        MediaMode::Frames
    }

    fn runs(&self) -> Runs {
        match self.always {
            true => Runs::Always,
            false => Runs::OnDemand,
        }
    }

    fn may_change_codecs(&self) -> bool {
        true
    }

    fn max_kept_bytes(&self, config: &StreamsConfig) -> usize {
        config.max_kept_camera_bytes
    }

    fn sub(&self) -> Option<SourceConfig> {
        let sub = Self::clone(self.sub.as_deref()?);
        Some(SourceConfig::new(sub))
    }

    fn start(&self, ctx: &mut Context<'_>, _: u32) -> Result<Box<dyn Source>, String> {
        let config = CameraConfig::new(self.client()?);
        let machine = Watched::new(config, self.sub.is_some(), ctx.now);
        Ok(Box::new(Session::begin(Box::new(machine), self.tls, ctx)))
    }

    fn is_talkable(&self) -> bool {
        true
    }

    fn talk(&self, ctx: &mut Context<'_>, peer: PeerId) -> Result<Box<dyn Source>, String> {
        let machine = Talking::new(self.client()?, ctx.now);
        let session = Session::begin(Box::new(machine), self.tls, ctx);
        Ok(Box::new(session.of_speaker(peer, ctx.now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_settings_are_taken_as_they_are() {
        let sub = "rtsp://h/2?x=1%26audio=off&password-file=/etc/passwd&user-env=HOME&always&sub=rtsp://o/3";
        let camera = Rtsp::from(CameraSettings {
            url: RtspUrl::parse("rtsp://h/1").unwrap(),
            sub: Some(RtspUrl::parse(sub).unwrap()),
            audio: true,
            transports: vec![Transport::Tcp],
            always: false,
            any_certificate: false,
        });
        let second = camera.sub.as_deref().unwrap();
        assert_eq!(second.url.request_uri(), sub);
        for one in [&camera, second] {
            assert_eq!(one.origins, Origins::default());
            assert!(one.audio && !one.always && one.tls == TlsMode::SystemRoots);
        }
        assert!(second.sub.is_none());
    }
}
