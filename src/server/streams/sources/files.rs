//! Files that loop or play once: video and audio of one stream.

use std::path::{Path, PathBuf};

use super::url::{Flags, bounded};
use crate::proto::media::Codec;
use crate::proto::peer::MediaMode;
use crate::server::streams::kind::{Contents, Context, Kind, Source, SourceConfig};
use crate::server::streams::play::{self, AtEnd, Input, Part, Player};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    paths: Vec<PathBuf>,
    /// Repeat the files, rather than play them once each time that a first viewer joins.
    repeat: bool,
    /// For bare G.711 and G.722.
    codec: Option<Codec>,
}

/// Accepts any text: whatever no other kind accepts is a file name.
pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    let text = url.strip_prefix("file:").unwrap_or(url);
    Some(Files::of(text).map(SourceConfig::new))
}

impl Files {
    fn of(text: &str) -> Result<Self, String> {
        let (paths, mut flags) = Flags::split(text);
        let repeat = !flags.has("once")?;
        let codec = flags.bare_codec()?;
        flags.finish("?once and ?codec=")?;
        if paths.split(',').any(str::is_empty) {
            return Err("the name of a file is missing".into());
        }
        Ok(Self {
            paths: bounded(paths.split(',').map(PathBuf::from).collect())?,
            repeat,
            codec,
        })
    }

    fn input(&self) -> Input {
        let (paths, codec) = (self.paths.clone(), self.codec);
        let open = move || {
            let parts = paths.iter().map(|path| Part::open_file(path, codec));
            parts.collect()
        };
        Input {
            open: Box::new(open),
            // The file may have been replaced since the stream was added.
            is_checked: true,
            at_end: match self.repeat {
                true => AtEnd::Repeat,
                false => AtEnd::Stop,
            },
            is_live: false,
            is_kept: false,
        }
    }
}

impl Kind for Files {
    fn describe(&self) -> String {
        let names = self.paths.iter().map(|p| p.display().to_string());
        names.collect::<Vec<_>>().join(", ")
    }

    fn paths(&self) -> Vec<&Path> {
        self.paths.iter().map(PathBuf::as_path).collect()
    }

    fn media_mode(&self) -> MediaMode {
        MediaMode::Frames
    }

    fn probe(&self) -> Option<Result<Contents, String>> {
        Some(play::probe(&self.input()))
    }

    fn start(&self, ctx: &mut Context<'_>, _: u32) -> Result<Box<dyn Source>, String> {
        Player::start(self.input(), ctx)
    }

    fn repeat(&self, repeat: bool) -> Option<SourceConfig> {
        Some(SourceConfig::new(Self {
            repeat,
            ..self.clone()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read() {
        let files = |paths: &[&str], repeat, codec| Files {
            paths: paths.iter().map(PathBuf::from).collect(),
            repeat,
            codec,
        };
        let of = |text| Files::of(text).unwrap();
        assert_eq!(of("b.webm"), files(&["b.webm"], true, None));
        let pair = files(&["x=1.ivf", "y.ogg"], false, None);
        assert_eq!(of("x=1.ivf,y.ogg?once"), pair);
        let bare = files(&["-x"], true, Some(Codec::Pcma));
        assert_eq!(of("-x?codec=PCMA"), bare);
        let parsed = parse("file:-x").unwrap().unwrap();
        assert_eq!(parsed.to_string(), "-x");
        assert!(format!("{:?}", parsed.repeat(false)).contains("repeat: false"));
    }

    #[test]
    fn files_that_cannot_be_played_say_why() {
        let dir = std::env::temp_dir().join(format!("looprtc-reader-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let empty = dir.join("empty.ivf");
        std::fs::write(&empty, b"").unwrap();
        let card = dir.join("card.ivf");
        std::fs::write(&card, include_bytes!("../assets/testcard.ivf")).unwrap();
        let probe = |paths: &[&Path]| {
            let files = Files {
                paths: paths.iter().map(|p| p.to_path_buf()).collect(),
                repeat: true,
                codec: None,
            };
            files.probe().unwrap()
        };
        let missing = dir.join("missing.ivf");
        for (paths, word) in [
            (&[missing.as_path()][..], "No such file"),
            (&[dir.as_path()], "a directory"),
            (&[empty.as_path()], "empty"),
            (&[card.as_path(), card.as_path()], "another codec"),
        ] {
            let why = probe(paths).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        let codecs = probe(&[card.as_path()]).unwrap().codecs;
        assert_eq!(codecs, [Codec::Vp8]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
