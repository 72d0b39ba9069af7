//! `looprtc record`.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, ValueHint};

use super::page::{EXIT, Page};
use super::{Entry, Outcome, play, positional, session, value};
use crate::Usage;

pub const ENTRY: Entry = Entry {
    name: "record",
    options,
    page: &Page {
        about: "Writes a stream of a WHEP server to files as it arrives. Nothing is decoded or encoded.",
        notes: &[
            "FILE is the beginning of the names: video goes to FILE.ivf (VP8, VP9, AV1), FILE.h264 or FILE.h265, \
             audio to FILE.ogg; where a file exists, a number is added. They are playable at any \
             moment, also after Ctrl-C. looprtc play does the same and more.",
        ],
        examples: &[
            (
                "looprtc record http://localhost:8080/whep/testcard card",
                "to card.ivf and card.ogg, until Ctrl-C",
            ),
            (
                "looprtc record http://localhost:8080/whep/testcard /tmp/card --seconds 60",
                "a minute",
            ),
        ],
        exit: EXIT,
    },
    run,
};

fn options(command: Command) -> Command {
    command
        .about("Write a stream of a WHEP server to files")
        .arg(positional(
            "url",
            "URL",
            "WHEP endpoint, for example http://localhost:8080/whep/NAME",
        ))
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .help("Beginning of the file names")
                .required(true)
                .value_hint(ValueHint::FilePath),
        )
        .args(play::tracks())
        .args(session::options())
}

fn run(options: &ArgMatches) -> Outcome {
    let file: String = value(options, "file").unwrap_or_default();
    if let Some(end) = container(&file) {
        return Err(Usage(format!(
            "{file:?}: {end} is not written; video becomes IVF, H.264 or H.265, and audio Ogg, each a file of its own. Give a \
             name without an ending, and join them afterwards: ffmpeg -i NAME.ivf -i NAME.ogg -c copy OUTPUT.mkv"
        ))
        .into());
    }
    let (dir, name) = parts(Path::new(&file))
        .ok_or_else(|| Usage(format!("{file:?} is not the name of a file")))?;
    if !dir.is_dir() {
        return Err(format!("{}: there is no such directory", dir.display()).into());
    }
    play::record(options, dir, name)
}

/// Returns the container implied by the file name's extension, if it is not one that we write.
fn container(file: &str) -> Option<&'static str> {
    let end = Path::new(file).extension()?.to_str()?.to_ascii_lowercase();
    Some(match end.as_str() {
        "mp4" | "m4v" | "m4a" | "mov" => "MP4",
        "webm" => "WebM",
        "mkv" | "mka" => "Matroska",
        "ts" | "m2ts" => "an MPEG transport stream",
        "wav" => "WAV",
        "avi" => "AVI",
        "flv" => "Flash video",
        _ => return None,
    })
}

/// Splits into the directory, and the name without the extension that follows from the codec.
fn parts(file: &Path) -> Option<(PathBuf, String)> {
    let name = file.file_name()?.to_str()?;
    let known = [".ivf", ".ogg", ".h264", ".h265"];
    let name = known
        .iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name);
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    (!name.is_empty()).then(|| (dir.unwrap_or(Path::new(".")).to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        let parts = |file: &str| parts(Path::new(file)).map(|(d, n)| (d.display().to_string(), n));
        assert_eq!(parts("door"), Some((".".into(), "door".into())));
        assert_eq!(parts("/tmp/door.ivf"), Some(("/tmp".into(), "door".into())));
        assert_eq!(parts("a/b.c"), Some(("a".into(), "b.c".into())));
        assert_eq!(parts("/"), None);
        assert_eq!(parts(".ivf"), None);
        assert_eq!(container("out.MP4"), Some("MP4"));
        assert_eq!(container("/tmp/mp4"), None);
        assert_eq!(container("out.ivf"), None);
    }
}
