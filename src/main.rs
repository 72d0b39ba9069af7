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

/// Prints a line that tells where a server is to be found. A server that cannot say so ends, with an error: whoever
/// has started it (systemd, a script) is to know.
macro_rules! announce {
    ($($arg:tt)*) => {
        crate::announce_line(format_args!($($arg)*))
    };
}

mod cli;

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

fn announce_line(line: Arguments<'_>) {
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        // The standard error may be gone as well.
        let _ = writeln!(std::io::stderr(), "looprtc: the standard output: {error}");
        std::process::exit(1);
    }
}

fn main() -> ExitCode {
    let _log = cli::logging::start();
    cli::main(std::env::args_os().skip(1))
}
