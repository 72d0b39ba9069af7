//! `looprtc completions`.

use clap::{ArgMatches, Command};
use clap_complete::Shell;

use super::page::{EXIT, Page};
use super::{Entry, Outcome, value};

pub const ENTRY: Entry = Entry {
    name: "completions",
    options,
    page: &Page {
        about: "Prints the completion script of a shell.",
        notes: &[
            "Write the script to the directory where the shell looks for completions, and start a new shell.",
        ],
        examples: &[
            (
                "looprtc completions bash > ~/.local/share/bash-completion/completions/looprtc",
                "",
            ),
            (
                "looprtc completions zsh > ~/.zfunc/_looprtc",
                "with fpath+=~/.zfunc before compinit",
            ),
            (
                "looprtc completions fish > ~/.config/fish/completions/looprtc.fish",
                "",
            ),
        ],
        exit: EXIT,
    },
    run,
};

fn options(command: Command) -> Command {
    command.about("The completion script of a shell").arg(
        super::positional("shell", "SHELL", "Which shell").value_parser(["bash", "zsh", "fish"]),
    )
}

fn run(options: &ArgMatches) -> Outcome {
    let name: String = value(options, "shell").unwrap_or_default();
    let shell = match name.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::bare_program(), "looprtc", &mut script);
    super::write_out(&script);
    Ok(())
}
