//! What is said before media flows.
