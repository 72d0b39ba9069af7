//! Cameras: the scripted one with every known quirk, and servers that other people wrote.
#![cfg(feature = "server")]

mod camera;
#[path = "../support/cameras.rs"]
mod cameras;
#[path = "../support/chromium.rs"]
mod chromium;
mod client;
#[cfg(feature = "cli")]
mod probe;
mod scripted_camera;
mod sequences;
#[cfg(feature = "cli")]
mod served;
mod servers;
