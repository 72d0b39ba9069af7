//! Rooms and calls with real browsers, and with others who speak the protocol of pion's sfu-ws example.
//!
//! Without Chromium, Node or playwright-core (`tests/setup` installs them) this is not tested. That is said loudly, and
//! fails when the environment variable `CI` is set.
#![cfg(all(target_os = "linux", feature = "server"))]

mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use server::Server;

/// What the script says when it cannot run.
const UNAVAILABLE: i32 = 77;

/// Four pages with cameras are enough for one machine.
static MACHINE: Mutex<()> = Mutex::new(());

fn interop(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(path)
}

fn not_tested(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
    eprintln!("\n##### NOT TESTED: {why} #####\n");
}

/// Has a scenario of `tests/interop/pages/rooms.mjs` done with a server at this URL.
fn in_chromium(scenario: &str, url: &str, space: Option<&str>) {
    let mut words = vec!["node".to_owned()];
    if let Some(space) = space {
        words = ["ip", "netns", "exec", space, "node"]
            .map(str::to_owned)
            .to_vec();
    }
    let run = Command::new(&words[0])
        .args(&words[1..])
        .arg(interop("examples.mjs"))
        .args([scenario, url])
        .output();
    let run = match run {
        Ok(run) => run,
        Err(why) => return not_tested(&format!("node: {why}")),
    };
    let output = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    println!("{output}");
    match run.status.code() {
        Some(0) => {}
        Some(UNAVAILABLE) => not_tested(&output),
        _ => panic!("{scenario}: {}\n{output}", run.status),
    }
}

#[test]
fn four_pages_in_a_room() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("room", &server.url(), None);
    println!("{:?}", server.end());
}

#[test]
fn layers_by_the_path_of_the_receiver() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("room_layers", &server.url(), None);
    let stats = server.end();
    println!("{stats:?}");
    assert!(stats.layer_switches > 0, "{stats:?}");
}

#[test]
fn a_page_of_sfu_ws() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("room_sfu_ws", &server.url(), None);
}

#[test]
fn a_call() {
    let _alone = MACHINE.lock();
    let server = Server::start(None);
    in_chromium("call", &server.url(), None);
}
