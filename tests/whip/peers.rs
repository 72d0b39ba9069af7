//! Real peers as clients.
