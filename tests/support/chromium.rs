//! Runs scenarios of `tests/interop/examples.mjs`, which are in `tests/interop/pages/`, in a real Chromium or Firefox.
//!
//! Without the browser, Node or the browser driver (`tests/setup` installs them) nothing is tested. That is reported,
//! and fails if the environment variable `CI` is set.
// Each test binary uses some of it.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use space::Space;

pub mod space;

/// The script's message if it cannot run.
const UNAVAILABLE: i32 = 77;

/// More browsers would need more processors.
pub const BUSY: f64 = 2.5;

enum Failure {
    Bad(String),
    Unavailable(String),
}

/// A browser, and where it runs.
#[derive(Clone, Copy)]
struct Place<'a> {
    browser: &'a str,
    space: Option<&'a str>,
    /// Prefix of the namespaces of a browser, a router and a server (`tests/network_change/lab.rs`).
    lab: Option<&'a str>,
    /// The environment variable `CAMERAS`.
    input: Option<&'a str>,
}

const CHROMIUM: Place<'_> = Place {
    browser: "chromium",
    space: None,
    lab: None,
    input: None,
};

const FIREFOX: Place<'_> = Place {
    browser: "firefox",
    ..CHROMIUM
};

/// Runs a scenario with a program, or with a server at a URL.
pub fn in_chromium(scenario: &str, with: impl AsRef<OsStr>) {
    conclude(scenario, attempt(scenario, with.as_ref(), CHROMIUM));
}

/// The same in a network namespace.
pub fn in_space(scenario: &str, with: impl AsRef<OsStr>, space: &str) {
    let place = Place {
        space: Some(space),
        ..CHROMIUM
    };
    conclude(scenario, attempt(scenario, with.as_ref(), place));
}

/// Runs a scenario that measures, with a server at a URL and further input in the environment variable `CAMERAS`. Returns
/// the lines that it prints; `None` if Chromium is not available, which is reported.
pub fn measured(
    scenario: &str,
    url: &str,
    input: &str,
    space: Option<&str>,
) -> Option<Vec<String>> {
    let place = Place {
        space,
        input: Some(input),
        ..CHROMIUM
    };
    match attempt_with_output(scenario, url.as_ref(), place) {
        Ok(output) => Some(output.lines().map(str::to_owned).collect()),
        Err(Failure::Bad(why)) => panic!("{scenario}: {why}"),
        Err(Failure::Unavailable(why)) => {
            not_tested(&format!("{scenario}: {why}"));
            None
        }
    }
}

/// Runs a scenario in Firefox, with a program. Without a default route Firefox finds no addresses of this machine; it
/// then gets a network namespace with one.
pub fn in_firefox(scenario: &str, with: impl AsRef<OsStr>) {
    if has_default_route() {
        return in_real_time_at(scenario, with.as_ref(), FIREFOX);
    }
    if let Some(space) = Space::new() {
        let place = Place {
            space: Some(space.name()),
            ..FIREFOX
        };
        in_real_time_at(scenario, with.as_ref(), place);
    }
}

/// Runs a scenario in a lab of networks, with a program.
pub fn in_lab(browser: &str, scenario: &str, with: impl AsRef<OsStr>, lab: &str) {
    let place = Place {
        browser,
        space: Some(&format!("{lab}-a")),
        lab: Some(lab),
        input: None,
    };
    in_real_time_at(scenario, with.as_ref(), place);
}

/// Like [`in_chromium`], for tests that measure frames in real time. On a busy machine a failure means little; it is
/// then repeated, at most twice, and that is reported.
pub fn in_real_time(scenario: &str, with: impl AsRef<OsStr>) {
    in_real_time_at(scenario, with.as_ref(), CHROMIUM);
}

fn in_real_time_at(scenario: &str, with: &OsStr, place: Place<'_>) {
    for _ in 0..2 {
        let load = load();
        match attempt(scenario, with, place) {
            Err(Failure::Bad(why)) if load > BUSY => {
                let why = why.lines().nth(1).unwrap_or_default();
                say(&format!(
                    "{scenario}, once more, at a load of {load}: {why}"
                ));
            }
            result => return conclude(scenario, result),
        }
    }
    conclude(scenario, attempt(scenario, with, place));
}

/// Returns `true` if this machine has a default route.
pub fn has_default_route() -> bool {
    let routes = Command::new("ip")
        .args(["route", "show", "default"])
        .output();
    routes.is_ok_and(|routes| !routes.stdout.is_empty())
}

/// Reports a missing requirement of a test.
pub fn not_tested(why: &str) {
    let is_ci = std::env::var_os("CI").is_some();
    assert!(!is_ci, "NOT TESTED: {why}");
    say(&format!("NOT TESTED: {}", why.trim()));
}

/// Not `eprintln!`, which the test harness captures for a test that passes.
pub fn say(what: &str) {
    let _ = std::io::stderr().write_all(format!("\n##### {what} #####\n\n").as_bytes());
}

fn conclude(scenario: &str, result: Result<(), Failure>) {
    match result {
        Ok(()) => {}
        Err(Failure::Bad(why)) => panic!("{scenario}: {why}"),
        Err(Failure::Unavailable(why)) => not_tested(&format!("{scenario}: {why}")),
    }
}

fn attempt(scenario: &str, with: &OsStr, place: Place<'_>) -> Result<(), Failure> {
    attempt_with_output(scenario, with, place).map(drop)
}

fn attempt_with_output(scenario: &str, with: &OsStr, place: Place<'_>) -> Result<String, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/examples.mjs");
    let mut command = match place.space {
        Some(space) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", space, "node"]);
            command
        }
        None => Command::new("node"),
    };
    if let Some(lab) = place.lab {
        command.env("LAB", lab);
        command.env("SERVER_SPACE", format!("{lab}-b"));
    }
    if let Some(input) = place.input {
        command.env("CAMERAS", input);
    }
    let run = command
        .arg(script)
        .arg(scenario)
        .arg(with)
        .arg(place.browser)
        .output();
    let run = run.map_err(|e| Failure::Unavailable(format!("node: {e}")))?;
    // Figures, for runs with --nocapture, and for investigating failures.
    let figures = String::from_utf8_lossy(&run.stdout).into_owned();
    print!("{figures}");
    let output = String::from_utf8_lossy(&run.stderr).into_owned();
    match run.status.code() {
        Some(0) => Ok(figures),
        Some(UNAVAILABLE) => Err(Failure::Unavailable(output)),
        _ => Err(Failure::Bad(format!("{}\n{output}", run.status))),
    }
}

/// The load of the last minute.
pub fn load() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = load.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or_default()
}
