//! Several qualities of one source: as a rule a camera's main stream and a smaller second one.
//!
//! The second stream is a stream of its own, with its own source, state and viewers. Its name is that of the main one
//! with `/sub` behind it, which nobody can configure; lists and figures show it with the main one.

use super::Streams;
use super::info::StreamState;
use crate::proto::media::Codec;
use crate::proto::peer::MediaKind;

/// End of the name of a second stream.
const SUB: &str = "/sub";

/// Largest width of a player that the second stream is enough for, in pixels of the device. Second streams of cameras
/// have 640 × 360 or thereabouts.
const SMALL: u32 = 640;

/// Quality that a viewer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Quality {
    /// Chosen by the width of the player and the codecs that it decodes.
    #[default]
    Auto,
    /// The main stream.
    Main,
    /// The second stream.
    Sub,
}

/// Preferences of a viewer of a stream with several qualities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Wish {
    /// The quality.
    pub quality: Quality,
    /// Width of the player, in pixels of the device; `None` if it is unknown.
    pub width: Option<u32>,
    /// Codecs that the viewer decodes; empty if they are unknown.
    pub codecs: Vec<Codec>,
}

impl Wish {
    crate::setters::setters! {
        quality: Quality,
        width: Option<u32>,
        codecs: Vec<Codec>,
    }
}

/// Returns the name of the second stream of this one.
pub(super) fn sub_of(name: &str) -> String {
    format!("{name}{SUB}")
}

/// Returns the name that people know: that of the main stream. Ids in descriptions are made of it, where no `/` may stand.
pub(super) fn main_of(name: &str) -> &str {
    name.strip_suffix(SUB).unwrap_or(name)
}

/// Returns `true` for the name of a second stream.
pub(super) fn is_sub(name: &str) -> bool {
    name.ends_with(SUB)
}

impl Streams {
    /// Returns the name of the stream for a viewer of `name` with this wish: `name`, or that of its second stream. Any
    /// other method takes either.
    ///
    /// With [`Quality::Auto`] it is the second stream for players of at most 640 pixels, and for those that do not decode
    /// the main one. Codecs are known once a stream has been watched.
    pub fn choose(&self, name: &str, wish: &Wish) -> String {
        let sub = sub_of(name);
        let Some(second) = self.info(&sub) else {
            return name.to_owned();
        };
        let decodes = |codecs: &[Codec]| {
            let mut video = codecs
                .iter()
                .filter(|c| MediaKind::of(**c) == MediaKind::Video);
            let known = video.clone().next().is_some() && !wish.codecs.is_empty();
            !known || video.any(|codec| wish.codecs.contains(codec))
        };
        let takes_sub = match wish.quality {
            Quality::Main => false,
            Quality::Sub => true,
            Quality::Auto => {
                let main = self.info(name).map(|info| info.codecs).unwrap_or_default();
                let is_small = wish.width.is_some_and(|width| width <= SMALL);
                let is_well = !matches!(second.state, StreamState::Failed { .. });
                match (decodes(&main), decodes(&second.codecs)) {
                    (false, better) => better,
                    (true, also) => is_small && also && is_well,
                }
            }
        };
        if takes_sub { sub } else { name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SourceConfig, StreamsConfig};
    use super::*;
    use crate::driver::{EventLoop, LoopConfig};
    use crate::proto::peer::PeerConfig;

    fn streams() -> Streams {
        let mut streams = Streams::new(StreamsConfig::default());
        let (name, source) = SourceConfig::parse("cam=rtsp://192.0.2.1/1#sub=/2").unwrap();
        streams.add(&name, source).unwrap();
        streams.add("one", SourceConfig::whip()).unwrap();
        streams
    }

    #[test]
    fn second_streams_have_viewers_whatever_their_name() {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let mut streams = Streams::new(StreamsConfig::default());
        let source: SourceConfig = "rtsp://127.0.0.1:1/1#sub=/2".parse().unwrap();
        let longest = "n".repeat(64);
        for name in ["cam", &longest] {
            streams.add(name, source.clone()).unwrap();
            for name in [name.to_owned(), sub_of(name)] {
                let mode = streams.media_mode(&name).unwrap();
                let config = PeerConfig::default().media_mode(mode);
                let peer = net.add_peer(config).unwrap();
                streams.add_viewer(&mut net, &name, peer).unwrap();
            }
        }
    }

    fn know(streams: &mut Streams, name: &str, codec: Codec) {
        let key = streams.names[name];
        streams.streams[key].tracks[0].set_codecs(&[codec]);
    }

    #[test]
    fn a_second_stream_is_chosen_by_size_and_codec() {
        let mut streams = streams();
        let wish = Wish::default();
        let small = wish.clone().width(Some(320));
        let large = wish.clone().width(Some(1920));
        assert_eq!(streams.choose("one", &small), "one");
        assert_eq!(streams.choose("nobody", &small), "nobody");
        assert_eq!(streams.choose("cam", &wish), "cam");
        assert_eq!(streams.choose("cam", &small), "cam/sub");
        assert_eq!(streams.choose("cam", &large), "cam");
        assert_eq!(streams.choose("cam", &small.quality(Quality::Main)), "cam");
        assert_eq!(
            streams.choose("cam", &large.clone().quality(Quality::Sub)),
            "cam/sub"
        );
        // Without H.265 the second stream is better than none.
        let firefox = large.codecs(vec![Codec::Vp8, Codec::H264]);
        assert_eq!(
            streams.choose("cam", &firefox),
            "cam",
            "nothing is known yet"
        );
        know(&mut streams, "cam", Codec::H265);
        assert_eq!(streams.choose("cam", &firefox), "cam/sub");
        know(&mut streams, "cam/sub", Codec::H264);
        assert_eq!(streams.choose("cam", &firefox), "cam/sub");
        // It decodes neither: the main stream says so.
        know(&mut streams, "cam/sub", Codec::H265);
        assert_eq!(streams.choose("cam", &firefox), "cam");
    }

    #[test]
    fn second_streams_are_listed_with_their_main_one() {
        let mut streams = streams();
        let listed: Vec<_> = streams.list().collect();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].name, "cam");
        assert_eq!(
            listed[0].sub.as_ref().unwrap().source,
            "camera, rtsp://192.0.2.1/2"
        );
        assert!(listed[1].sub.is_none());
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        streams.remove(&mut net, "cam").unwrap();
        assert!(streams.info("cam/sub").is_none());
        assert_eq!(streams.list().count(), 1);
    }
}
