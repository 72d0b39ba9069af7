//! RTSP cameras: `rtsp://user:password@host/path#sub=…&audio=off`.
//!
//! One session serves all viewers, as access units. What a camera says and how it is understood is the business of
//! [`proto::rtsp`](crate::proto::rtsp); here it gets its sockets ([`wire`]) and its place among the streams
//! ([`session`]). A second stream of the same camera is a source of its own: see [`Kind::sub`].

mod machine;
mod session;
mod text;
mod wire;

use std::path::Path;
use std::sync::Arc;

use self::machine::Watched;
use self::session::Session;
use self::text::{Origin, Origins};
use crate::driver::TlsMode;
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
}
