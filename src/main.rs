//! The `looprtc` program.
fn main() {}
