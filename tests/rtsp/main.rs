//! Cameras: the scripted one with every known quirk, and servers that other people wrote.
#![cfg(feature = "server")]

#[cfg(feature = "cli")]
mod probe;
mod scripted_camera;
