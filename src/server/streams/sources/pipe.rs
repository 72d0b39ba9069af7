//! The standard input or a named pipe, live or at its own pace.

use std::path::{Path, PathBuf};

use super::url::Flags;
use crate::proto::media::Codec;
use crate::proto::peer::MediaMode;
use crate::server::streams::kind::{Context, Kind, Runs, Source, SourceConfig};
use crate::server::streams::play::{AtEnd, Input, Part, Player, is_input_a_file};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pipe {
    /// The path; `None` for the standard input.
    path: Option<PathBuf>,
    /// For bare G.711 and G.722.
    codec: Option<Codec>,
    /// Read at the pace of its timestamps and only while there are viewers, like a file, rather than live.
    paced: bool,
}

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    let is_input = url == "-" || url.starts_with("-?");
    let text = match url.strip_prefix("pipe:") {
        None if !is_input => return None,
        text => text.unwrap_or(url),
    };
    Some(Pipe::of(text).map(SourceConfig::new))
}

impl Pipe {
    fn of(text: &str) -> Result<Self, String> {
        let (path, mut flags) = Flags::split(text);
        let codec = flags.bare_codec()?;
        let paced = flags.has("paced")? | flags.has("file")?;
        flags.finish("?paced and ?codec=")?;
        let path = match path {
            "" => return Err("the name of the pipe is missing; - is the standard input".into()),
            "-" => None,
            path => Some(PathBuf::from(path)),
        };
        Ok(Self { path, codec, paced })
    }

    /// Returns `true` if the pipe is read in real time: frames that the loop does not take in time are dropped, and the
    /// writer never waits.
    fn is_live(&self) -> bool {
        let is_file = self.path.is_none() && is_input_a_file();
        !self.paced && !is_file
    }
}

impl Kind for Pipe {
    fn describe(&self) -> String {
        match &self.path {
            None => "standard input".into(),
            Some(path) => format!("pipe {}", path.display()),
        }
    }

    fn paths(&self) -> Vec<&Path> {
        self.path.as_deref().into_iter().collect()
    }

    fn media_mode(&self) -> MediaMode {
        MediaMode::Frames
    }

    fn runs(&self) -> Runs {
        match self.is_live() {
            true => Runs::Always,
            false => Runs::OnDemand,
        }
    }

    fn is_standard_input(&self) -> bool {
        self.path.is_none()
    }

    fn start(&self, ctx: &mut Context<'_>, _: u32) -> Result<Box<dyn Source>, String> {
        let (pipe, is_live) = (self.clone(), self.is_live());
        let open = move || {
            let part = Part::open_pipe(pipe.path.as_deref(), is_live, pipe.codec)?;
            Ok(vec![part])
        };
        let input = Input {
            open: Box::new(open),
            is_checked: false,
            at_end: match self.path {
                None => AtEnd::Stop,
                Some(_) => AtEnd::NextWriter,
            },
            is_live,
            is_kept: true,
        };
        Player::start(input, ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read() {
        let pipe = |path: Option<&str>, paced| Pipe {
            path: path.map(Into::into),
            codec: None,
            paced,
        };
        let of = |text| Pipe::of(text).unwrap();
        assert_eq!(of("-"), pipe(None, false));
        assert_eq!(of("-?paced"), pipe(None, true));
        assert_eq!(of("/run/x"), pipe(Some("/run/x"), false));
        assert_eq!(of("/run/x?file"), pipe(Some("/run/x"), true));
        assert!(parse("-?paced").is_some() && parse("pipe:x").is_some());
        assert!(parse("-x").is_none() && parse("x").is_none());
    }
}
