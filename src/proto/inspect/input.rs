//! Detection of the input's form: SDP, JSON, base64, candidate line or URL.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::MAX_INPUT;
use crate::proto::rtp::base64;
use crate::proto::signal::SdpType;

/// Reason why an input cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InspectError {
    /// The input is empty or only white space.
    Empty,
    /// The input is longer than [`MAX_INPUT`]; its length in bytes.
    TooLong(usize),
    /// The input has more lines than [`MAX_LINES`](super::MAX_LINES); their number.
    TooManyLines(usize),
    /// The input is not UTF-8; the offset of the first invalid byte.
    NotText(usize),
    /// The input is JSON, but contains no description or candidate.
    Json(String),
    /// The input is neither a description, a candidate nor the URL of an ICE server; its first characters.
    Unknown(String),
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is nothing to explain: the input is empty"),
            Self::TooLong(bytes) => {
                write!(f, "the input has {bytes} bytes, the limit is {MAX_INPUT}")
            }
            Self::TooManyLines(lines) => write!(
                f,
                "the input has {lines} lines, the limit is {}",
                super::MAX_LINES
            ),
            Self::NotText(offset) => write!(f, "the input is not text: byte {offset} is not UTF-8"),
            Self::Json(why) => write!(
                f,
                "the JSON holds neither a description nor a candidate: {why}"
            ),
            Self::Unknown(begin) => write!(
                f,
                "{begin:?} is neither a session description (begins with v=0), nor a candidate (candidate:…), nor the \
                 URL of an ICE server (stun:…, turn:…)"
            ),
        }
    }
}

impl std::error::Error for InspectError {}

/// An input extracted from its wrapping.
#[derive(Debug, PartialEq)]
pub(super) enum Input<'a> {
    Description(Option<SdpType>, Cow<'a, str>),
    Candidate(Cow<'a, str>),
    EndOfCandidates,
    IceServer(&'a str),
}

pub(super) fn read(input: &[u8]) -> Result<Input<'_>, InspectError> {
    if input.len() > MAX_INPUT {
        return Err(InspectError::TooLong(input.len()));
    }
    let text = std::str::from_utf8(input).map_err(|e| InspectError::NotText(e.valid_up_to()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    let input = match unwrapped(text) {
        Some(input) => input?,
        // pion's examples print descriptions as base64-encoded JSON for copy and paste.
        None => base64_json(text)?.ok_or_else(|| unknown(text))?,
    };
    if let Input::Description(_, sdp) = &input {
        let lines = sdp.lines().count();
        if lines > super::MAX_LINES {
            return Err(InspectError::TooManyLines(lines));
        }
    }
    Ok(input)
}

fn unknown(text: &str) -> InspectError {
    match text.chars().take(40).collect::<String>() {
        begin if begin.is_empty() => InspectError::Empty,
        begin => InspectError::Unknown(begin),
    }
}

/// Recognizes the plain text and JSON forms; `None` for anything else.
fn unwrapped(text: &str) -> Option<Result<Input<'_>, InspectError>> {
    let plain = plain(text);
    if plain.is_some() || !text.starts_with(['{', '"', '[']) {
        return plain.map(Ok);
    }
    Some(json(text))
}

fn plain(text: &str) -> Option<Input<'_>> {
    let scheme = text
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match scheme.as_str() {
        _ if text.contains(['\n', '\r']) => {}
        "candidate" | "a=candidate" => return Some(Input::Candidate(text.into())),
        "a=end-of-candidates" | "end-of-candidates" => return Some(Input::EndOfCandidates),
        "stun" | "stuns" | "turn" | "turns" => return Some(Input::IceServer(text)),
        _ => {}
    }
    if is_sdp(text) {
        return Some(Input::Description(None, unescaped(text)));
    }
    None
}

/// Returns `true` for a description starting with `v=0`, or a part of one: lines of a letter and `=`.
fn is_sdp(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 2 && bytes[0].is_ascii_lowercase() && bytes[1] == b'='
}

/// Replaces line ends that logs and JSON show as `\n`.
fn unescaped(text: &str) -> Cow<'_, str> {
    if text.contains('\n') || !text.contains("\\n") {
        return text.into();
    }
    text.replace("\\r\\n", "\r\n").replace("\\n", "\n").into()
}

fn json(text: &str) -> Result<Input<'static>, InspectError> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| InspectError::Json(error.to_string()))?;
    from_value(value)
}

fn from_value(value: Value) -> Result<Input<'static>, InspectError> {
    let missing = |what: &str| InspectError::Json(what.to_owned());
    let mut object = match value {
        Value::Object(object) => object,
        Value::String(text) => return owned(&text).ok_or_else(|| unknown(&text)),
        _ => return Err(missing("expected an object or a string")),
    };
    if let Some(Value::String(sdp)) = object.remove("sdp") {
        let kind = match object.get("type").and_then(Value::as_str) {
            Some("offer") => Some(SdpType::Offer),
            Some("answer") => Some(SdpType::Answer),
            Some("pranswer") => Some(SdpType::PrAnswer),
            _ => None,
        };
        return Ok(Input::Description(kind, sdp.into()));
    }
    match object.remove("candidate") {
        Some(Value::String(line)) if line.trim().is_empty() => Ok(Input::EndOfCandidates),
        Some(Value::Null) => Ok(Input::EndOfCandidates),
        Some(Value::String(line)) => Ok(Input::Candidate(line.into())),
        // Some implementations nest the whole RTCIceCandidate once more.
        Some(Value::Object(inner)) if inner.get("candidate").is_some_and(Value::is_string) => {
            from_value(Value::Object(inner))
        }
        _ => Err(missing(
            "there is no text \"sdp\" and no text \"candidate\" in it",
        )),
    }
}

fn owned(text: &str) -> Option<Input<'static>> {
    Some(match plain(text.trim())? {
        Input::Description(kind, sdp) => Input::Description(kind, sdp.into_owned().into()),
        Input::Candidate(line) => Input::Candidate(line.into_owned().into()),
        Input::EndOfCandidates => Input::EndOfCandidates,
        Input::IceServer(_) => return None,
    })
}

/// Decodes base64-encoded JSON; `None` if it is not base64 of text.
fn base64_json(text: &str) -> Result<Option<Input<'static>>, InspectError> {
    let dense: String = text.split_ascii_whitespace().collect();
    if dense.len() < 8 {
        return Ok(None);
    }
    let Some(bytes) = base64::decode(&dense) else {
        return Ok(None);
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(None);
    };
    let text = text.trim();
    match text.starts_with('{') {
        true => json(text).map(Some),
        false => Ok(owned(text)),
    }
}
