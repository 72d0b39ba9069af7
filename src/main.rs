//! The `looprtc` program.

use std::error::Error;
use std::fmt::Arguments;
use std::io::Write;
use std::process::ExitCode;

/// Prints a line. Unlike `println`, ends the program quietly if the output was closed (`looprtc … | head`), as programs
/// in a pipeline do.
macro_rules! say {
    ($($arg:tt)*) => {
        crate::print_line(format_args!($($arg)*))
    };
}

/// Prints a line with the address of a server. If that is impossible, the server exits with an error, so that its
/// supervisor (systemd, a script) notices.
macro_rules! announce {
    ($($arg:tt)*) => {
        crate::announce_line(format_args!($($arg)*))
    };
}

mod cli;

/// A request on the command line that cannot be fulfilled.
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
        // The standard error may be closed as well.
        let _ = writeln!(std::io::stderr(), "looprtc: the standard output: {error}");
        std::process::exit(1);
    }
}

fn main() -> ExitCode {
    let _log = cli::logging::start();
    cli::main(std::env::args_os().skip(1))
}
