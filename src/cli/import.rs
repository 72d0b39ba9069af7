//! `looprtc import`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use clap::{ArgMatches, Command};

use super::page::{EXIT, Page};
use super::serve::{convert, load};
use super::{Entry, Outcome, flag, option, positional, tell, value, write_out};
use crate::Usage;

/// The file that is written if none is named.
const OUTPUT: &str = "looprtc.toml";

pub const ENTRY: Entry = Entry {
    name: "import",
    options,
    page: &Page {
        about: "Converts the config.json of RTSPtoWebRTC or RTSPtoWeb to a configuration of looprtc serve.",
        notes: &[
            "The new file has the passwords of the cameras, and can be read by its owner only. What has no counterpart \
             is named.",
            "looprtc serve --config config.json serves such a file as it is, too.",
        ],
        examples: &[
            (
                "looprtc import config.json",
                "write looprtc.toml, for: looprtc serve --config looprtc.toml",
            ),
            (
                "looprtc import config.json --print",
                "show it, without passwords",
            ),
        ],
        exit: EXIT,
    },
    run,
};

fn options(command: Command) -> Command {
    command
        .about("Convert the config.json of RTSPtoWebRTC or RTSPtoWeb")
        .arg(positional("file", "FILE", "The config.json"))
        .arg(option(
            "output",
            "FILE",
            "File to write; it must not exist [default: looprtc.toml]",
        ))
        .arg(flag("print", "Print it instead, without passwords"))
        .arg(flag("passwords", "Print it with passwords"))
}

fn run(options: &ArgMatches) -> Outcome {
    let path = value::<String>(options, "file").unwrap_or_default();
    let (prints, shows) = (options.get_flag("print"), options.get_flag("passwords"));
    let output = value::<String>(options, "output");
    if (prints || shows) && output.is_some() {
        return Err(
            Usage("--output writes a file, --print prints: give one of them".into()).into(),
        );
    }
    let text = load(&path).map_err(|error| format!("{path}: {error}"))?;
    let prints = prints || shows;
    let converted = convert(&text, prints && !shows).map_err(|why| format!("{path}: {why}"))?;
    for note in &converted.notes {
        tell(&format!("looprtc: note: {note}"));
    }
    if prints {
        write_out(converted.toml.as_bytes());
        return Ok(());
    }
    let output = output.as_deref().unwrap_or(OUTPUT);
    write_new(output, &converted.toml).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{output} is there already: name another file with --output")
        }
        _ => format!("{output}: {error}"),
    })?;
    announce!("{output}: written. Try it with: looprtc serve --config {output}");
    Ok(())
}

/// Writes a file that only its owner can read, and that was not there before.
fn write_new(path: &str, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
