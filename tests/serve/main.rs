//! `looprtc serve` in a real Chromium: its pages, as a person uses them.
//!
//! Without Chromium, Node or playwright-core (`tests/setup` installs them) nothing is tested. That is said loudly,
//! and fails when the environment variable `CI` is set.
#![cfg(all(feature = "cli", any(feature = "aws-lc", feature = "rust-crypto")))]

mod http;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What the script says when it cannot run.
const UNAVAILABLE: i32 = 77;

/// Pictures need the processor: one scenario at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Has a scenario of `tests/interop/pages/serve.mjs` done.
fn in_chromium(scenario: &str) {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/examples.mjs");
    let run = Command::new("node")
        .arg(script)
        .arg(scenario)
        .arg(env!("CARGO_BIN_EXE_looprtc"))
        .output();
    let why = match run {
        Ok(run) if run.status.success() => {
            // Figures, for who runs it by hand with --nocapture.
            print!("{}", String::from_utf8_lossy(&run.stdout));
            return;
        }
        Ok(run) if run.status.code() == Some(UNAVAILABLE) => {
            String::from_utf8_lossy(&run.stderr).into_owned()
        }
        Ok(run) => panic!(
            "{scenario}: {}\n{}{}",
            run.status,
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr)
        ),
        Err(error) => format!("node: {error}"),
    };
    let is_ci = std::env::var_os("CI").is_some();
    assert!(!is_ci, "NOT TESTED: {scenario}: {why}");
    // Not by `eprintln!`, which the test harness swallows when a test passes.
    let said = format!("\n##### NOT TESTED: {scenario}: {} #####\n\n", why.trim());
    let _ = std::io::stderr().write_all(said.as_bytes());
}

#[test]
fn the_card() {
    in_chromium("serve_card");
}

#[test]
fn a_camera_published_and_watched() {
    in_chromium("serve_publish");
}

#[test]
fn killed_and_started_again() {
    in_chromium("serve_restart");
}

#[test]
fn a_token() {
    in_chromium("serve_token");
}

#[test]
fn the_turn_server_inside() {
    in_chromium("serve_turn");
}
