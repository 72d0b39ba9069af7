//! `looprtc publish` and `looprtc play`.
