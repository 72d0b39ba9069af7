//! Messages of the call relay.

use serde_json::{Value, json};

use crate::server::names;

/// A message from a page, as far as the relay reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromPage {
    /// Signs in with this user id, or resumes with a key.
    SignIn {
        user: String,
        resume: Option<String>,
    },
    /// Signs out.
    SignOut,
    /// A message for another user.
    Relay {
        kind: String,
        from: String,
        to: String,
    },
}

/// Message types that only the server may send.
const OURS: [&str; 3] = ["signedin", "unavailable", "error"];

/// Parses a message from a page.
///
/// # Errors
///
/// Returns a description of the problem, for the page and the log.
pub(super) fn parse(text: &str) -> Result<FromPage, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    let Value::Object(message) = value else {
        return Err("expected a JSON object".into());
    };
    let member = |name: &str| -> Result<String, String> {
        let value = message.get(name).and_then(Value::as_str);
        let value = value.ok_or_else(|| format!("the member {name:?} is missing"))?;
        Ok(value.to_owned())
    };
    let user = |name: &str| -> Result<String, String> {
        let id = member(name)?;
        names::check(&id).map_err(|why| format!("{name:?}: {why}"))?;
        Ok(id)
    };
    let kind = member("type")?;
    if kind == "signin" {
        let (user, resume) = (user("userId")?, member("resume").ok());
        return Ok(FromPage::SignIn { user, resume });
    }
    if kind == "signout" {
        return Ok(FromPage::SignOut);
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !(1..=32).contains(&kind.len()) || !kind.bytes().all(fits) {
        return Err("\"type\" has 1 to 32 letters, digits, - and _".into());
    }
    if OURS.contains(&kind.as_str()) {
        return Err(format!("{kind:?} is for the server to say"));
    }
    let (from, to) = (user("userId")?, user("targetUid")?);
    Ok(FromPage::Relay { kind, from, to })
}

pub(super) fn signed_in(user: &str, resume: &str, ice_servers: &Value) -> String {
    json!({ "type": "signedin", "userId": user, "resume": resume, "iceServers": ice_servers })
        .to_string()
}

/// Builds the message that the addressee of a message is not signed in.
pub(super) fn unavailable(kind: &str, target: &str) -> String {
    json!({ "type": "unavailable", "targetUid": target, "of": kind }).to_string()
}

/// Builds the message that the other user of a call is gone.
pub(super) fn gone(user: &str, target: &str) -> String {
    json!({ "type": "bye", "userId": user, "targetUid": target, "reason": "gone" }).to_string()
}

pub(super) fn error(why: &str) -> String {
    json!({ "type": "error", "message": why }).to_string()
}
