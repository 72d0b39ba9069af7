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

mod cli;

/// What is logged unless RUST_LOG says otherwise. Not what `stun_types` has to say about messages that anybody on
/// the network can send.
const LOG: &str = "warn,stun_types=error,turn_types=error";

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
    env_logger::init_from_env(env_logger::Env::default().default_filter_or(LOG));
    cli::main(std::env::args_os().skip(1))
}
