//! Candidates and how they are found.
