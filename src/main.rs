//! The `looprtc` program.

use std::error::Error;
use std::fmt::Arguments;
use std::io::Write;
use std::process::ExitCode;

/// Prints a line. Like `println`, but where nobody reads any more (`looprtc … | head`) the program ends
/// quietly, as programs in a pipe do.
macro_rules! say {
    ($($arg:tt)*) => {
        crate::print_line(format_args!($($arg)*))
    };
}

mod cli {
    pub mod pion_to_pion;
    pub mod turn;
}

const HELP: &str = "\
looprtc: WebRTC on a loop of its own

usage: looprtc COMMAND [OPTIONS]

  pion-to-pion    two ends find each other by HTTP and talk over a data channel,
                  as pion's example of that name does, and with it
  turn            a STUN and TURN server

looprtc COMMAND --help explains the options of a command.
RUST_LOG=debug (or info, warn) shows what happens underneath.";

/// What the command line asks for that cannot be had.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

fn print_line(line: Arguments<'_>) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

fn main() -> ExitCode {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn"));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("looprtc: {error}");
            let usage = error.is::<Usage>() || error.is::<lexopt::Error>();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut args = with_two_dashes();
    match args.next()? {
        Some(Value(command)) if command == "pion-to-pion" => cli::pion_to_pion::run(args),
        Some(Value(command)) if command == "turn" => cli::turn::run(args),
        Some(Value(command)) => {
            let command = command.to_string_lossy();
            Err(Usage(format!("no command {command:?}; looprtc --help lists them")).into())
        }
        Some(Short('V') | Long("version")) => {
            say!("looprtc {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some(Short('h') | Long("help")) | None => {
            say!("{HELP}");
            Ok(())
        }
        Some(other) => Err(other.unexpected().into()),
    }
}

/// The arguments, with Go's way to write flags (`-offer-address`) accepted as well.
fn with_two_dashes() -> lexopt::Parser {
    lexopt::Parser::from_args(std::env::args_os().skip(1).map(|arg| match arg.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
            format!("-{text}").into()
        }
        _ => arg,
    }))
}
