//! The pages of `looprtc serve` in a real Chromium, used as by a person.
//!
//! Without Chromium, Node or playwright-core (`tests/setup` installs them) nothing is tested. That is reported, and
//! fails if the environment variable `CI` is set.
#![cfg(all(feature = "cli", any(feature = "aws-lc", feature = "rust-crypto")))]

mod api;
mod cameras;
#[path = "../support/chromium.rs"]
mod chromium;
mod compat;
mod discover;
mod http;

use std::sync::{Mutex, PoisonError};

/// Video needs the processor: one scenario at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a scenario of `tests/interop/pages/serve.mjs`.
fn in_chromium(scenario: &str) {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    chromium::in_chromium(scenario, env!("CARGO_BIN_EXE_looprtc"));
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
fn a_room_when_the_server_is_killed_and_started_again() {
    in_chromium("serve_room_restart");
}

#[test]
fn a_player_says_what_is_missing() {
    in_chromium("serve_nothing_to_see");
}

/// A viewer who comes late is as little behind the camera as one who was there.
#[test]
fn a_live_pipe_by_a_clock_in_its_pictures() {
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    chromium::in_real_time("pipe_clock", env!("CARGO_BIN_EXE_looprtc"));
}

/// Watching, publishing, a room and a call with Chromium.
mod firefox {
    use super::*;

    fn in_firefox(scenario: &str) {
        let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        chromium::in_firefox(scenario, env!("CARGO_BIN_EXE_looprtc"));
    }

    #[test]
    fn the_card() {
        in_firefox("serve_card");
    }

    #[test]
    fn a_camera_published_and_watched() {
        in_firefox("serve_publish");
    }

    #[test]
    fn a_room_and_a_call_with_chromium() {
        in_firefox("serve_meets_chromium");
    }
}

#[test]
fn a_token() {
    in_chromium("serve_token");
}

#[test]
fn one_token_to_watch_and_another_to_publish() {
    in_chromium("serve_two_tokens");
}

#[test]
fn a_token_to_publish_alone() {
    in_chromium("serve_publish_token_alone");
}

/// axe-core's rules: no violation in any state of any page, on phone and desktop, light and dark.
#[test]
fn pages_are_accessible() {
    in_chromium("serve_accessible");
}

/// Cameras added, edited and removed by keyboard.
#[test]
fn the_page_of_cameras() {
    in_chromium("serve_admin");
}

#[test]
fn cameras_are_searched_for() {
    in_chromium("serve_admin_search");
}

#[test]
fn h265_in_a_browser_that_cannot_play_it() {
    in_chromium("serve_h265");
}

#[test]
fn the_page_of_cameras_asks_for_its_token() {
    in_chromium("serve_admin_token");
}

#[test]
fn pages_keep_the_focus() {
    in_chromium("serve_keyboard");
}

#[test]
fn a_call_rings() {
    in_chromium("serve_ringing");
}

#[test]
fn a_missing_camera_or_microphone() {
    in_chromium("serve_devices");
}

#[test]
fn publishing_starts_with_a_large_picture() {
    in_chromium("serve_start_bitrate");
}

#[test]
fn behind_nginx() {
    in_chromium("behind_nginx");
}

#[test]
fn behind_caddy() {
    in_chromium("behind_caddy");
}

#[test]
fn a_page_of_another_origin() {
    in_chromium("other_origin");
}

/// The pages of docs/embed, served by another origin.
#[test]
fn a_player_in_pages_of_other_origins() {
    in_chromium("embedded");
}

#[test]
fn a_player_in_pages_of_allowed_origins_needs_no_token_where_the_server_needs_none() {
    in_chromium("embedded_without_a_token");
}

#[test]
fn the_turn_server_inside() {
    in_chromium("serve_turn");
}
