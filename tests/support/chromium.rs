//! Has scenarios of `tests/interop/examples.mjs`, which stand in `tests/interop/pages/`, done in a real Chromium.
//!
//! Without Chromium, Node or playwright-core (`tests/setup` installs them) nothing is tested. That is said loudly,
//! and fails when the environment variable `CI` is set.
// Each binary of tests takes what it needs.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// What the script says when it cannot run.
const UNAVAILABLE: i32 = 77;

/// Others want more than the processors have.
const BUSY: f64 = 2.5;

enum Failure {
    Bad(String),
    Unavailable(String),
}

/// Has a scenario done with a program, or with a server at a URL.
pub fn in_chromium(scenario: &str, with: impl AsRef<OsStr>) {
    conclude(scenario, attempt(scenario, with.as_ref(), None));
}

/// The same in a network namespace.
pub fn in_space(scenario: &str, with: impl AsRef<OsStr>, space: &str) {
    conclude(scenario, attempt(scenario, with.as_ref(), Some(space)));
}

/// The same for what measures frames in real time. On a machine that has other work to do a failure says
/// little; then it is tried again, twice at most, and said.
pub fn in_real_time(scenario: &str, with: impl AsRef<OsStr>) {
    for _ in 0..2 {
        let load = load();
        match attempt(scenario, with.as_ref(), None) {
            Err(Failure::Bad(why)) if load > BUSY => {
                let why = why.lines().nth(1).unwrap_or_default();
                say(&format!(
                    "{scenario}, once more, at a load of {load}: {why}"
                ));
            }
            result => return conclude(scenario, result),
        }
    }
    in_chromium(scenario, with);
}

/// Something that a test needs is not there.
pub fn not_tested(why: &str) {
    let is_ci = std::env::var_os("CI").is_some();
    assert!(!is_ci, "NOT TESTED: {why}");
    say(&format!("NOT TESTED: {}", why.trim()));
}

/// Not by `eprintln!`, which the test harness swallows when a test passes.
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

fn attempt(scenario: &str, with: &OsStr, space: Option<&str>) -> Result<(), Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/examples.mjs");
    let mut command = match space {
        Some(space) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", space, "node"]);
            command
        }
        None => Command::new("node"),
    };
    let run = command.arg(script).arg(scenario).arg(with).output();
    let run = run.map_err(|e| Failure::Unavailable(format!("node: {e}")))?;
    // Figures, for who runs it by hand with --nocapture, and for who looks why it has failed.
    print!("{}", String::from_utf8_lossy(&run.stdout));
    let output = String::from_utf8_lossy(&run.stderr).into_owned();
    match run.status.code() {
        Some(0) => Ok(()),
        Some(UNAVAILABLE) => Err(Failure::Unavailable(output)),
        _ => Err(Failure::Bad(format!("{}\n{output}", run.status))),
    }
}

/// The load of the last minute.
fn load() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = load.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or_default()
}
