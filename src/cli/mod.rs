//! The command line. [`COMMANDS`] is the single source of help, completions and man pages.

mod completions;
mod discover;
mod import;
mod inspect;
pub mod logging;
mod man;
mod page;
mod pion_to_pion;
mod play;
mod probe;
mod publish;
mod record;
mod saved;
mod serve;
mod session;
mod stats;
mod turn;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::Usage;
use page::Page;

/// Result of a command. An error other than [`Usage`] ends the program with exit status 1.
type Outcome = Result<(), Box<dyn Error>>;

/// A command: its options, the page text below them, and its function.
struct Entry {
    name: &'static str,
    options: fn(Command) -> Command,
    page: &'static Page,
    run: fn(&ArgMatches) -> Outcome,
}

const COMMANDS: &[Entry] = &[
    serve::ENTRY,
    publish::ENTRY,
    play::ENTRY,
    record::ENTRY,
    stats::ENTRY,
    pion_to_pion::ENTRY,
    turn::ENTRY,
    discover::ENTRY,
    inspect::ENTRY,
    import::ENTRY,
    probe::ENTRY,
    completions::ENTRY,
    man::ENTRY,
];

const PAGE: Page = Page {
    about: "WebRTC without an async runtime: serves, publishes, records and explains streams.",
    notes: &[
        "looprtc COMMAND --help explains the options of a command. Long options may also be written with one dash.",
        "RUST_LOG=info (or debug, warn) shows the log.",
    ],
    examples: &[
        (
            "looprtc",
            "the test card, rooms and calls, at http://localhost:8080",
        ),
        (
            "looprtc film=film.mp4 door=whip:",
            "a film, and a stream for a publisher",
        ),
        ("looprtc inspect offer.sdp", "explain an offer line by line"),
        ("looprtc turn --user alice:wonderland", "a TURN server"),
        (
            "looprtc man turn | man -l -",
            "the manual page of a command",
        ),
    ],
    exit: &[
        ("0", "success"),
        ("1", "failure; the last line says what failed and why"),
        ("2", "the command line is wrong"),
    ],
};

pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let matches = match program().try_get_matches_from(arguments(args)) {
        Ok(matches) => matches,
        Err(error) => {
            let error = without_secrets(error);
            // An error cannot be reported anywhere.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Some((name, options)) = matches.subcommand() else {
        return ExitCode::from(2);
    };
    let entry = COMMANDS.iter().find(|entry| entry.name == name);
    let Err(error) = entry.map_or(Ok(()), |entry| (entry.run)(options)) else {
        return ExitCode::SUCCESS;
    };
    if error.is::<Usage>() {
        tell(&format!(
            "looprtc {name}: {error}\n\nlooprtc {name} --help explains the options."
        ));
        return ExitCode::from(2);
    }
    tell(&format!("looprtc: {error}"));
    ExitCode::FAILURE
}

/// Returns the error without the passwords in the argument that it repeats.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (argument, value) = (
        text(ContextKind::InvalidArg),
        text(ContextKind::InvalidValue),
    );
    let shown = match ["NAME=URL", "PASSWORD"]
        .iter()
        .any(|what| argument.contains(what))
    {
        true => public_part(&value),
        false => return error,
    };
    if !value.is_empty() {
        error.insert(ContextKind::InvalidValue, ContextValue::String(shown));
    }
    error
}

/// Returns the text up to the scheme of the URL in it, which tells people which argument is meant.
fn public_part(text: &str) -> String {
    let name = text.find('=').map_or(0, |at| at + 1);
    let (before, rest) = text.split_at(name);
    let is_secret = |c: char| ":@,#?".contains(c);
    if before.contains(is_secret) {
        return public_part(before.trim_end_matches('='));
    }
    match rest.find(is_secret) {
        Some(at) if rest[at..].starts_with(':') => format!("{before}{}:…", &rest[..at]),
        Some(at) => format!("{before}{}…", &rest[..at]),
        None => text.to_owned(),
    }
}

/// Writes a line to the standard error; errors are ignored.
fn tell(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Returns the complete command line definition, with everything that help shows.
fn program() -> Command {
    let with_page = |command: Command, page: &Page| {
        let help = Arg::new("help").short('h').long("help");
        command
            .help_template("{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
            .before_help(page.about)
            .after_help(page.help())
            .disable_help_flag(true)
            .arg(
                help.action(ArgAction::HelpShort)
                    .help("Print help")
                    .help_heading(None),
            )
    };
    let mut program = with_page(bare_program(), &PAGE);
    for entry in COMMANDS {
        program = program.mut_subcommand(entry.name, |c| with_page(c, entry.page));
    }
    program
}

/// Returns it without notes, examples and exit status, which are separate sections in a man page.
fn bare_program() -> Command {
    let mut program = Command::new("looprtc")
        .version(env!("CARGO_PKG_VERSION"))
        .about("WebRTC without an async runtime")
        .max_term_width(100)
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("Commands");
    for entry in COMMANDS {
        let command = Command::new(entry.name).args_override_self(true);
        let command = (entry.options)(command).long_about(entry.page.about);
        program = program.subcommand(command);
    }
    program
}

/// Returns the arguments. Go-style flags (`-offer-address`) are accepted as well, and `serve` is the default command.
fn arguments(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut options_end = false;
    let two_dashes = |arg: OsString| {
        options_end |= arg == "--";
        match arg.to_str() {
            Some(text) if !options_end && is_go_flag(text) => format!("-{text}").into(),
            _ => arg,
        }
    };
    let mut all: Vec<OsString> = args.map(two_dashes).collect();
    let first = all.first().map(|arg| arg.to_string_lossy());
    let is_for_serve = match first.as_deref() {
        None => true,
        Some("-h" | "--help" | "-V" | "--version") => false,
        // A mistyped command is not a source.
        Some(first) => first.starts_with('-') || first.contains('='),
    };
    if is_for_serve {
        all.insert(0, "serve".into());
    }
    all.insert(0, "looprtc".into());
    all
}

/// Returns `true` for `-name`, but not for `-n` and `-5`.
fn is_go_flag(text: &str) -> bool {
    let name = text.strip_prefix('-').unwrap_or_default();
    name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Defines an option with a value.
fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).value_name(value).help(help);
    match value {
        // For completions.
        "FILE" => arg.value_hint(ValueHint::FilePath),
        _ => arg,
    }
}

/// Defines an option with a value that can be given several times.
fn list(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    option(name, value, help).action(ArgAction::Append)
}

/// Defines an option without a value.
fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .action(ArgAction::SetTrue)
}

/// Returns the value of an option, if it was given or has a default.
fn value<T: Clone + Send + Sync + 'static>(options: &ArgMatches, name: &str) -> Option<T> {
    options.get_one::<T>(name).cloned()
}

/// Returns all values of an option, in order.
fn values<T: Clone + Send + Sync + 'static>(options: &ArgMatches, name: &str) -> Vec<T> {
    options
        .get_many::<T>(name)
        .unwrap_or_default()
        .cloned()
        .collect()
}

/// Defines a positional argument.
fn positional(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value).help(help).required(true)
}

/// Writes to the standard output; exits silently if nobody reads it.
fn write_out(bytes: &[u8]) {
    use std::io::Write;
    if std::io::stdout().write_all(bytes).is_err() {
        std::process::exit(0);
    }
}

/// Returns a flag that is set when the program is asked to end (SIGINT, SIGTERM); a second signal ends it at once.
fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}
