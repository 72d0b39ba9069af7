//! `looprtc inspect`.

use std::error::Error;
use std::io::{IsTerminal, Read};

use clap::{ArgMatches, Command};
use looprtc::proto::inspect::{Kind, Line, MAX_INPUT, Problem, Report, Severity, inspect};
use serde_json::{Value, json};

use super::page::Page;
use super::{Entry, Outcome, flag, positional, value};

pub const ENTRY: Entry = Entry {
    name: "inspect",
    options,
    page: &Page {
        about: "Explains an SDP, an ICE candidate or the URL of an ICE server line by line: its meaning, where it is \
                defined, and its errors.",
        notes: &[
            "A description may be SDP, the JSON {\"type\":…,\"sdp\":…}, or the base64 of that; from a file, from the \
             standard input (- or nothing), or as the argument itself.",
        ],
        examples: &[
            ("looprtc inspect offer.sdp", "an offer in a file"),
            (
                "wl-paste | looprtc inspect --problems",
                "problems of the description in the clipboard",
            ),
            (
                "looprtc inspect 'candidate:1 1 udp 2130706431 192.168.1.2 41400 typ host'",
                "a candidate",
            ),
            (
                "looprtc inspect 'turn:turn.example.org?transport=tcp'",
                "an ICE server",
            ),
        ],
        exit: &[
            ("0", "no error was found"),
            ("1", "an error was found, or the input cannot be explained"),
            ("2", "the options are wrong"),
        ],
    },
    run,
};

/// Maximum width of the output, in columns: longer lines are harder to read.
const WIDTH: usize = 100;

fn options(command: Command) -> Command {
    let what = positional(
        "what",
        "FILE|TEXT",
        "Input to explain [default: the standard input]",
    );
    command
        .about("Explain an SDP, a candidate or the URL of an ICE server line by line")
        .arg(what.required(false).allow_hyphen_values(true))
        .arg(flag("problems", "Print problems only"))
        .arg(flag("json", "Print JSON"))
}

fn run(options: &ArgMatches) -> Outcome {
    let input = input(value::<String>(options, "what"))?;
    let report = inspect(&input)?;
    match (options.get_flag("json"), options.get_flag("problems")) {
        (true, problems_only) => say!("{:#}", as_json(&report, problems_only)),
        (false, true) => print_problems(&report, Paint::new()),
        (false, false) => print(&report, Paint::new()),
    }
    let errors = report
        .problems()
        .filter(|(_, p)| p.severity == Severity::Error);
    match errors.count() {
        0 => Ok(()),
        1 => Err("1 error found".into()),
        errors => Err(format!("{errors} errors found").into()),
    }
}

/// Returns the input: the argument itself, the file it names, or the standard input.
fn input(what: Option<String>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    // One byte more than allowed, so that excess is detected.
    let limit = MAX_INPUT as u64 + 1;
    match what.as_deref() {
        None | Some("-") => {
            if std::io::stdin().is_terminal() {
                eprintln!("Paste it here, then press Ctrl-D on a line of its own.");
            }
            std::io::stdin().take(limit).read_to_end(&mut bytes)?;
        }
        Some(text) => match std::fs::File::open(text) {
            Ok(file) => {
                let read = file.take(limit).read_to_end(&mut bytes);
                read.map_err(|error| format!("{text}: {error}"))?;
            }
            Err(error) if looks_like_a_path(text) => return Err(format!("{text}: {error}").into()),
            Err(_) => bytes = text.as_bytes().to_vec(),
        },
    }
    Ok(bytes)
}

/// Returns `true` for a short text that cannot be explained.
fn looks_like_a_path(text: &str) -> bool {
    text.len() < 200 && inspect(text.as_bytes()).is_err()
}

fn print(report: &Report, paint: Paint) {
    say!("{}", paint.bold(&report.summary));
    for line in &report.lines {
        print_line(line, report.lines.len() > 1, paint);
    }
    if report.problems().next().is_some() {
        say!("");
        print_problems(report, paint);
    }
}

fn print_line(line: &Line, numbered: bool, paint: Paint) {
    // A blank line between sections.
    if line.text.starts_with("m=") || !numbered {
        say!("");
    }
    match numbered {
        true => say!("{:>4}  {}", line.number, paint.bold(&line.text)),
        false => say!("      {}", paint.bold(&line.text)),
    }
    let reference = match line.reference {
        "" => String::new(),
        reference => format!(" [{reference}]"),
    };
    for text in wrap(&format!("{}{reference}", line.meaning), WIDTH - 8) {
        say!("        {text}");
    }
    for detail in &line.details {
        for (index, text) in wrap(detail, WIDTH - 10).iter().enumerate() {
            say!(
                "        {} {}",
                if index == 0 { "·" } else { " " },
                paint.dim(text)
            );
        }
    }
    for problem in &line.problems {
        for text in wrap(
            &format!("{}: {}", problem.severity, problem.text),
            WIDTH - 8,
        ) {
            say!("        {}", paint.severity(problem.severity, &text));
        }
    }
}

fn print_problems(report: &Report, paint: Paint) {
    let mut all: Vec<_> = report.problems().collect();
    all.sort_by_key(|(line, problem)| (std::cmp::Reverse(problem.severity), *line));
    if all.is_empty() {
        say!("no problems found");
    }
    for (lines, problem) in together(all) {
        let place = match lines[..] {
            _ if report.lines.len() < 2 => String::new(),
            [] => String::new(),
            [line] => format!("line {line}: "),
            _ => format!("lines {}: ", ranges(&lines)),
        };
        let kind = problem.severity.to_string();
        for (index, text) in wrap(&format!("{place}{}", problem.text), WIDTH - 9)
            .iter()
            .enumerate()
        {
            match index {
                0 => say!(
                    "{} {text}",
                    paint.severity(problem.severity, &format!("{kind:8}"))
                ),
                _ => say!("         {text}"),
            }
        }
    }
}

/// Merges equal problems of several lines.
fn together(all: Vec<(Option<usize>, &Problem)>) -> Vec<(Vec<usize>, &Problem)> {
    let mut merged: Vec<(Vec<usize>, &Problem)> = Vec::new();
    for (line, problem) in all {
        match merged.iter_mut().find(|(_, known)| *known == problem) {
            Some((lines, _)) => lines.extend(line),
            None => merged.push((line.into_iter().collect(), problem)),
        }
    }
    merged
}

/// Formats line numbers, such as `29–33, 41`.
fn ranges(lines: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let text = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    });
    text.collect::<Vec<_>>().join(", ")
}

fn as_json(report: &Report, problems_only: bool) -> Value {
    let problem = |p: &Problem| json!({"severity": p.severity.to_string(), "text": p.text});
    let line = |line: &Line| {
        json!({
            "line": line.number,
            "text": line.text,
            "meaning": line.meaning,
            "reference": line.reference,
            "details": line.details,
            "problems": line.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    };
    let (kind, of_type) = match report.kind {
        Kind::Description(of_type) => ("description", of_type.map(|t| t.to_string())),
        Kind::Candidate => ("candidate", None),
        Kind::IceServer => ("ice-server", None),
        _ => ("other", None),
    };
    let lines = report
        .lines
        .iter()
        .filter(|l| !problems_only || !l.problems.is_empty());
    json!({
        "kind": kind,
        "type": of_type,
        "summary": report.summary,
        "lines": lines.map(line).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(problem).collect::<Vec<_>>(),
    })
}

/// Wraps text to lines of at most `width` columns.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        // There is always one line.
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Colors, used on a terminal only, and not if NO_COLOR is set (no-color.org).
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !refused)
    }

    fn code(self, code: &str, text: &str) -> String {
        // Remote text must not control the terminal.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text,
        }
    }

    fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.code("2", text)
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        match severity {
            Severity::Error => self.code("1;31", text),
            Severity::Warning => self.code("33", text),
            Severity::Note => self.code("36", text),
        }
    }
}
