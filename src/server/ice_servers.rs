//! ICE servers in the form that pages get.

use serde_json::{Value, json};

use crate::proto::ice::IceServer;

/// Formats ICE servers as W3C `RTCIceServer` objects.
pub(super) fn for_pages(servers: &[IceServer]) -> Value {
    let server = |s: &IceServer| match s.username.is_empty() {
        true => json!({ "urls": s.urls }),
        false => json!({ "urls": s.urls, "username": s.username, "credential": s.credential }),
    };
    servers.iter().map(server).collect::<Vec<_>>().into()
}
