//! The signaling messages: offer, answer, candidate, bye.
