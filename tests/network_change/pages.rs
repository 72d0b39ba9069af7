//! The pages of `looprtc serve` in a browser whose network changes: players, publishers, rooms and calls go on within 3 s,
//! and within 2 s after an outage. The scenarios are `tests/interop/pages/network.mjs`.

use std::sync::{Mutex, PoisonError};

use crate::lab::Lab;

#[path = "../support/chromium.rs"]
mod chromium;

/// Video needs the processor: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn goes_on(browser: &str, scenario: &str) {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(lab) = Lab::new() else { return };
    let program = env!("CARGO_BIN_EXE_looprtc");
    chromium::in_lab(browser, &format!("network_{scenario}"), program, lab.name());
}

#[test]
fn a_player_in_firefox_gets_another_address() {
    goes_on("firefox", "watch_address");
}

#[test]
fn a_player_in_chromium_gets_another_network() {
    goes_on("chromium", "watch_interface");
}

#[test]
fn a_publisher_in_chromium_gets_another_address() {
    goes_on("chromium", "publish_address");
}

#[test]
fn a_room_in_chromium_gets_another_address() {
    goes_on("chromium", "room_address");
}

#[test]
fn a_call_in_firefox_gets_another_network() {
    goes_on("firefox", "call_interface");
}

#[test]
fn a_player_in_chromium_after_an_outage() {
    goes_on("chromium", "watch_outage");
}

/// Firefox sends nothing more on a connection that has failed, so the page must get another one.
#[test]
fn a_room_in_firefox_after_an_outage_that_ends_its_connection() {
    goes_on("firefox", "room_long_outage");
}
