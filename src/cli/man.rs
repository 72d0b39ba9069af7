//! `looprtc man`.

use std::io;

use clap::{ArgMatches, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::page::{EXIT, Page};
use super::{COMMANDS, Entry, Outcome, PAGE, value};

pub const ENTRY: Entry = Entry {
    name: "man",
    options,
    page: &Page {
        about: "Prints the manual in the format that man(1) reads.",
        notes: &[],
        examples: &[
            ("looprtc man | man -l -", "read it"),
            (
                "looprtc man turn > /usr/local/share/man/man1/looprtc-turn.1",
                "install it",
            ),
        ],
        exit: EXIT,
    },
    run,
};

fn options(command: Command) -> Command {
    let names: Vec<_> = COMMANDS.iter().map(|entry| entry.name).collect();
    let which = super::positional(
        "command",
        "COMMAND",
        "The command to describe [default: an overview of all]",
    );
    command
        .about("Print the manual for man(1)")
        .arg(which.value_parser(names).required(false))
}

fn run(options: &ArgMatches) -> Outcome {
    let mut text = Vec::new();
    render(value::<String>(options, "command").as_deref(), &mut text)?;
    super::write_out(ascii(&String::from_utf8(text)?).as_bytes());
    Ok(())
}

/// Replaces non-ASCII characters by groff escapes, which work in every encoding.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii() {
            true => out.push(c),
            false => out += &format!("\\[u{:04X}]", u32::from(c)),
        }
    }
    out
}

/// Renders the man page of a command, or of the program.
fn render(name: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
    let mut program = super::bare_program();
    program.build();
    let entry = COMMANDS.iter().find(|entry| Some(entry.name) == name);
    let (command, page) = match (entry, name.and_then(|name| program.find_subcommand(name))) {
        (Some(entry), Some(command)) => (command.clone(), entry.page),
        _ => (program, &PAGE),
    };
    let title = command.get_display_name().unwrap_or("looprtc").to_owned();
    let has_commands = command.has_subcommands();
    let man = Man::new(command)
        .title(title.to_uppercase())
        .source(concat!("looprtc ", env!("CARGO_PKG_VERSION")))
        .manual("looprtc");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if has_commands {
        man.render_subcommands_section(out)?;
    }
    sections(page).to_writer(out)?;
    if name.is_some() {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("looprtc"), roman("(1)")]);
        roff.to_writer(out)?;
    }
    Ok(())
}

fn sections(page: &Page) -> Roff {
    let mut roff = Roff::new();
    if !page.notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        for note in page.notes {
            roff.control("PP", []);
            roff.text([roman(*note)]);
        }
    }
    roff.control("SH", ["EXAMPLES"]);
    for (command, what) in page.examples {
        roff.control("TP", []);
        roff.text([bold(*command)]);
        roff.text([roman(*what)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (status, when) in page.exit {
        roff.control("TP", []);
        roff.text([bold(*status)]);
        roff.text([roman(*when)]);
    }
    roff
}
