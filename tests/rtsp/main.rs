//! Cameras: the scripted one with every known quirk, and servers that other people wrote.
#![cfg(feature = "server")]

mod scripted_camera;
