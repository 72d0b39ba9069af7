//! Signaling messages: descriptions, candidates, end of candidates, bye.
//!
//! This module parses and writes messages; `signaling` transports them. Two forms of each message are in use:
//!
//! | message | on `/sdp`, `/candidate` in pion's pion-to-pion | in the W3C API |
//! |---|---|---|
//! | description | `{"type":"offer","sdp":"v=0…"}` | the same (`RTCSessionDescriptionInit`) |
//! | candidate | the bare line `candidate:1 1 udp 2130706431 192.0.2.2 41400 typ host` | `{"candidate":"candidate:1 …","sdpMid":"0",…}` (`RTCIceCandidateInit`) |
//! | end of candidates | not sent | `{"candidate":""}`, or `null` |
//!
//! [`SignalMessage::parse`] accepts any of them; [`SignalMessage::parse_description`] and
//! [`SignalMessage::parse_candidate`] accept the messages of one endpoint. No input makes them panic, and every error
//! says what is wrong and where.

use std::fmt;

use serde_json::{Map, Value};

/// Maximum length of a message, in bytes. An offer with a dozen tracks is about 20 KiB.
pub const MAX_BODY: usize = 64 * 1024;

/// Maximum length of a candidate line, in bytes. Real ones are below 300; RFC 8839 §5.1 sets no limit on extensions.
pub const MAX_CANDIDATE: usize = 1024;

/// Maximum length of `sdpMid` and `usernameFragment`, in bytes (a ufrag has at most 256 characters, RFC 8839 §5.4).
pub const MAX_TOKEN: usize = 256;

/// Maximum number of characters of an invalid value that an error quotes.
const MAX_QUOTE: usize = 40;

/// A signaling message between two peers, before media flows and during renegotiation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalMessage {
    /// An offer, an answer, a provisional answer or a rollback.
    Description(SessionDescription),
    /// An ICE candidate of the sender.
    Candidate(IceCandidateInit),
    /// The sender has no further candidates in this ICE generation.
    EndOfCandidates,
    /// The sender ends the session.
    Bye,
}

impl SignalMessage {
    /// Parses any message, distinguished by its shape. For channels that carry all kinds, such as a WebSocket.
    ///
    /// # Errors
    /// Returns an error if `body` is longer than [`MAX_BODY`] or has none of the forms in the [module's](self) table.
    pub fn parse(body: &[u8]) -> Result<Self, SignalError> {
        let text = text(body)?;
        if !looks_like_json(text) {
            return candidate_from_line(text);
        }
        match json(text)? {
            Value::Object(object) if object.contains_key("candidate") => {
                candidate_from_object(&object)
            }
            Value::Object(object) if object.get("type").is_some_and(|kind| kind == "bye") => {
                Ok(Self::Bye)
            }
            Value::Object(object) => description_from_object(&object).map(Self::Description),
            Value::String(line) => candidate_from_line(&line),
            Value::Null => Ok(Self::EndOfCandidates),
            other => Err(SignalError::NotAnObject {
                found: shape(&other),
            }),
        }
    }

    /// Parses a session description, the body of a request to `/sdp`.
    ///
    /// # Errors
    /// Returns an error if `body` is longer than [`MAX_BODY`], is not a JSON object, or has no usable `type` and `sdp`.
    pub fn parse_description(body: &[u8]) -> Result<SessionDescription, SignalError> {
        match json(text(body)?)? {
            Value::Object(object) => description_from_object(&object),
            other => Err(SignalError::NotAnObject {
                found: shape(&other),
            }),
        }
    }

    /// Parses the body of a request to `/candidate`. Returns [`Candidate`](Self::Candidate) for a bare line (with or
    /// without leading `a=`), for that line as a JSON string, and for an `RTCIceCandidateInit`; returns
    /// [`EndOfCandidates`](Self::EndOfCandidates) for an empty candidate, `null` or `end-of-candidates`.
    ///
    /// # Errors
    /// Returns an error if `body` is longer than [`MAX_BODY`] or contains no valid candidate line (RFC 8839 §5.1).
    pub fn parse_candidate(body: &[u8]) -> Result<Self, SignalError> {
        let text = text(body)?;
        if !looks_like_json(text) {
            return candidate_from_line(text);
        }
        match json(text)? {
            Value::Object(object) => candidate_from_object(&object),
            Value::String(line) => candidate_from_line(&line),
            Value::Null => Ok(Self::EndOfCandidates),
            other => Err(SignalError::NotAnObject {
                found: shape(&other),
            }),
        }
    }

    /// Formats the message as JSON, in the form of the W3C API. [`parse`](Self::parse) reads it back.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Description(description) => description.to_json(),
            Self::Candidate(candidate) => candidate.to_json(),
            Self::EndOfCandidates => r#"{"candidate":""}"#.to_owned(),
            Self::Bye => r#"{"type":"bye"}"#.to_owned(),
        }
    }
}

/// Type of a session description (W3C `RTCSdpType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SdpType {
    /// An offer.
    Offer,
    /// A provisional answer; another answer may replace it.
    PrAnswer,
    /// The final answer of the exchange.
    Answer,
    /// Withdraws the last offer; carries no SDP.
    Rollback,
}

impl SdpType {
    /// Returns the type's name on the wire, such as `offer`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::PrAnswer => "pranswer",
            Self::Answer => "answer",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for SdpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A session description and its type (W3C `RTCSessionDescription`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionDescription {
    /// The type of the description.
    pub kind: SdpType,
    /// The SDP, with lines ended by CRLF. Not validated here. Empty only in a rollback.
    pub sdp: String,
}

impl SessionDescription {
    /// Creates an offer.
    #[must_use]
    pub fn offer(sdp: impl Into<String>) -> Self {
        Self {
            kind: SdpType::Offer,
            sdp: sdp.into(),
        }
    }

    /// Creates an answer.
    #[must_use]
    pub fn answer(sdp: impl Into<String>) -> Self {
        Self {
            kind: SdpType::Answer,
            sdp: sdp.into(),
        }
    }

    /// Creates a rollback.
    #[must_use]
    pub fn rollback() -> Self {
        Self {
            kind: SdpType::Rollback,
            sdp: String::new(),
        }
    }

    /// Formats the description as `{"type":…,"sdp":…}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.sdp.len() + self.sdp.len() / 16 + 32);
        out.push_str(r#"{"type":""#);
        out.push_str(self.kind.as_str());
        out.push_str(r#"","sdp":"#);
        out.push_str(&quoted(&self.sdp));
        out.push('}');
        out
    }
}

/// A candidate and the media section it belongs to (W3C `RTCIceCandidateInit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCandidateInit {
    /// The candidate attribute (RFC 8839 §5.1), beginning with `candidate:`, without `a=` and line end. Empty means end
    /// of candidates.
    pub candidate: String,
    /// The `a=mid` of the media section. Optional with BUNDLE, where all candidates belong to one transport;
    /// pion-to-pion omits it.
    pub sdp_mid: Option<String>,
    /// The zero-based index of the media section.
    pub sdp_m_line_index: Option<u16>,
    /// The ufrag of the ICE generation.
    pub username_fragment: Option<String>,
}

impl IceCandidateInit {
    /// Creates a candidate from a line `candidate:…`, without media section and ufrag, as
    /// [`SignalMessage::parse_candidate`] returns it for a bare line. The line is not validated.
    #[must_use]
    pub fn new(candidate: impl Into<String>) -> Self {
        Self {
            candidate: candidate.into(),
            sdp_mid: None,
            sdp_m_line_index: None,
            username_fragment: None,
        }
    }

    /// Returns the ufrag of the ICE generation that the candidate names: its `usernameFragment`, or else the `ufrag`
    /// extension in the line, which libwebrtc writes.
    #[must_use]
    pub fn ufrag(&self) -> Option<&str> {
        if let Some(ufrag) = &self.username_fragment {
            return Some(ufrag);
        }
        // Six fixed fields, then pairs of name and value, beginning with `typ`.
        let mut extensions = self.candidate.split_ascii_whitespace().skip(6);
        while let (Some(name), Some(value)) = (extensions.next(), extensions.next()) {
            if name == "ufrag" {
                return Some(value);
            }
        }
        None
    }

    /// Formats the candidate in the W3C form; absent members are omitted.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = format!(r#"{{"candidate":{}"#, quoted(&self.candidate));
        if let Some(mid) = &self.sdp_mid {
            out.push_str(&format!(r#","sdpMid":{}"#, quoted(mid)));
        }
        if let Some(index) = self.sdp_m_line_index {
            out.push_str(&format!(r#","sdpMLineIndex":{index}"#));
        }
        if let Some(ufrag) = &self.username_fragment {
            out.push_str(&format!(r#","usernameFragment":{}"#, quoted(ufrag)));
        }
        out.push('}');
        out
    }
}

/// Reason why a signaling message was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalError {
    /// The message or a member is longer than its limit.
    TooLong {
        /// The message or member that is too long.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The message is not UTF-8.
    NotUtf8 {
        /// Offset of the first invalid byte, from 0.
        offset: usize,
    },
    /// The message is not valid JSON.
    NotJson {
        /// The line of the error, from 1.
        line: usize,
        /// Its column, from 1; 0 before the first character.
        column: usize,
        /// The parser's message.
        message: String,
    },
    /// The message is JSON, but not an object.
    NotAnObject {
        /// The JSON type found.
        found: &'static str,
    },
    /// A required member is missing.
    Missing {
        /// The member's name.
        member: &'static str,
    },
    /// A member has the wrong JSON type.
    WrongType {
        /// The member's name.
        member: &'static str,
        /// The expected type.
        expected: &'static str,
        /// The type found.
        found: &'static str,
    },
    /// The member `type` of a description is not a W3C type.
    UnknownSdpType {
        /// The value found, shortened.
        found: String,
    },
    /// The candidate line is invalid (RFC 8839 §5.1).
    BadCandidate {
        /// The invalid field.
        field: &'static str,
        /// The value found, shortened.
        found: String,
    },
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong {
                what,
                length,
                limit,
            } => {
                write!(f, "{what} is {length} bytes long, the limit is {limit}")
            }
            Self::NotUtf8 { offset } => write!(f, "not UTF-8: wrong byte at offset {offset}"),
            Self::NotJson {
                line,
                column,
                message,
            } => {
                write!(f, "not JSON: {message} (line {line}, column {column})")
            }
            Self::NotAnObject { found } => write!(f, "expected a JSON object, found {found}"),
            Self::Missing { member } => write!(f, "the member \"{member}\" is missing or empty"),
            Self::WrongType {
                member,
                expected,
                found,
            } => {
                write!(
                    f,
                    "the member \"{member}\" must be {expected}, but is {found}"
                )
            }
            Self::UnknownSdpType { found } => write!(
                f,
                "the type {found:?} is unknown: expected \"offer\", \"answer\", \"pranswer\" or \"rollback\""
            ),
            Self::BadCandidate { field, found } => write!(
                f,
                "not a candidate line: {field} is {found:?} (expected \"candidate:<foundation> \
                 <component> <transport> <priority> <address> <port> typ <type>\")"
            ),
        }
    }
}

impl std::error::Error for SignalError {}

fn description_from_object(object: &Map<String, Value>) -> Result<SessionDescription, SignalError> {
    let kind = match string(object, "type")?.ok_or(SignalError::Missing { member: "type" })? {
        "offer" => SdpType::Offer,
        "answer" => SdpType::Answer,
        "pranswer" => SdpType::PrAnswer,
        "rollback" => SdpType::Rollback,
        other => {
            return Err(SignalError::UnknownSdpType {
                found: shortened(other),
            });
        }
    };
    match string(object, "sdp")? {
        // W3C: the SDP of a rollback is ignored.
        _ if kind == SdpType::Rollback => Ok(SessionDescription::rollback()),
        None | Some("") => Err(SignalError::Missing { member: "sdp" }),
        Some(sdp) => Ok(SessionDescription {
            kind,
            sdp: sdp.to_owned(),
        }),
    }
}

fn candidate_from_object(object: &Map<String, Value>) -> Result<SignalMessage, SignalError> {
    let line = match object.get("candidate") {
        None => {
            return Err(SignalError::Missing {
                member: "candidate",
            });
        }
        // Not in the W3C dictionary, but some implementations send the null candidate this way.
        Some(Value::Null) => "",
        Some(_) => string(object, "candidate")?.unwrap_or_default(),
    };
    let mut message = candidate_from_line(line)?;
    if let SignalMessage::Candidate(candidate) = &mut message {
        candidate.sdp_mid = token(object, "sdpMid")?;
        candidate.username_fragment = token(object, "usernameFragment")?;
        candidate.sdp_m_line_index = match object.get("sdpMLineIndex") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let index = value.as_u64().and_then(|index| u16::try_from(index).ok());
                Some(index.ok_or(SignalError::WrongType {
                    member: "sdpMLineIndex",
                    expected: "an integer from 0 to 65535",
                    found: shape(value),
                })?)
            }
        };
    }
    Ok(message)
}

/// Validates the fixed part of the line (RFC 8839 §5.1). Addresses (which may be mDNS names) and transports are left to
/// ICE, which ignores unknown ones.
fn candidate_from_line(line: &str) -> Result<SignalMessage, SignalError> {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() || line == "end-of-candidates" {
        return Ok(SignalMessage::EndOfCandidates);
    }
    if line.len() > MAX_CANDIDATE {
        let length = line.len();
        return Err(SignalError::TooLong {
            what: "the candidate",
            length,
            limit: MAX_CANDIDATE,
        });
    }
    let bad = |field, found: &str| SignalError::BadCandidate {
        field,
        found: shortened(found),
    };
    // A line break would inject further SDP lines.
    if line.chars().any(char::is_control) {
        return Err(bad("the text with control characters", line));
    }
    let fields = line
        .strip_prefix("candidate:")
        .ok_or_else(|| bad("the beginning", line))?;
    let mut fields = fields.split(' ').filter(|field| !field.is_empty());
    let mut next = |name, valid: &dyn Fn(&str) -> bool| {
        let field = fields.next().unwrap_or_default();
        if valid(field) {
            Ok(())
        } else {
            Err(bad(name, field))
        }
    };
    let word = |field: &str| !field.is_empty();
    next("the foundation", &word)?;
    next("the component", &|field| {
        field.parse().is_ok_and(|id: u16| (1..=256).contains(&id))
    })?;
    next("the transport", &word)?;
    next("the priority", &|field| field.parse::<u32>().is_ok())?;
    next("the address", &word)?;
    next("the port", &|field| field.parse::<u16>().is_ok())?;
    next("the word before the type", &|field| field == "typ")?;
    next("the type", &word)?;
    Ok(SignalMessage::Candidate(IceCandidateInit::new(line)))
}

/// Returns a string member; `None` if it is absent or null.
fn string<'a>(
    object: &'a Map<String, Value>,
    member: &'static str,
) -> Result<Option<&'a str>, SignalError> {
    match object.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(SignalError::WrongType {
            member,
            expected: "a string",
            found: shape(other),
        }),
    }
}

/// Returns a short string member; `None` if it is absent, null or empty.
fn token(object: &Map<String, Value>, member: &'static str) -> Result<Option<String>, SignalError> {
    match string(object, member)? {
        None | Some("") => Ok(None),
        Some(text) if text.len() > MAX_TOKEN => Err(SignalError::TooLong {
            what: member,
            length: text.len(),
            limit: MAX_TOKEN,
        }),
        Some(text) => Ok(Some(text.to_owned())),
    }
}

fn text(body: &[u8]) -> Result<&str, SignalError> {
    if body.len() > MAX_BODY {
        let length = body.len();
        return Err(SignalError::TooLong {
            what: "the message",
            length,
            limit: MAX_BODY,
        });
    }
    std::str::from_utf8(body)
        .map(str::trim)
        .map_err(|error| SignalError::NotUtf8 {
            offset: error.valid_up_to(),
        })
}

/// Returns `true` if the text is JSON: a candidate line starts with none of these characters.
fn looks_like_json(text: &str) -> bool {
    text.starts_with(['{', '[', '"']) || text == "null"
}

fn json(text: &str) -> Result<Value, SignalError> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        // The parser's text ends with the position, which the error holds in fields of its own.
        let message = message
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        SignalError::NotJson {
            line,
            column,
            message,
        }
    })
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "candidate:2070692838 1 udp 2130706431 192.0.2.2 41400 typ host";

    fn line_of(message: SignalMessage) -> IceCandidateInit {
        match message {
            SignalMessage::Candidate(candidate) => candidate,
            other => panic!("expected a candidate, found {other:?}"),
        }
    }

    #[test]
    fn description_round_trip() {
        let offer = SessionDescription::offer("v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=\"-\"\r\n");
        let json = offer.to_json();
        assert!(
            json.starts_with(r#"{"type":"offer","sdp":"v=0\r\no=- 1"#),
            "{json}"
        );
        assert_eq!(
            SignalMessage::parse_description(json.as_bytes()),
            Ok(offer.clone())
        );
        assert_eq!(
            SignalMessage::parse(json.as_bytes()),
            Ok(SignalMessage::Description(offer))
        );
    }

    #[test]
    fn descriptions_of_every_type() {
        for (name, kind) in [
            ("offer", SdpType::Offer),
            ("answer", SdpType::Answer),
            ("pranswer", SdpType::PrAnswer),
        ] {
            let body = format!(r#" {{"sdp":"v=0","type":"{name}","more":[1]}} "#);
            let parsed = SignalMessage::parse_description(body.as_bytes()).unwrap();
            assert_eq!((parsed.kind, parsed.sdp.as_str()), (kind, "v=0"));
            assert_eq!(parsed.kind.to_string(), name);
        }
        for body in [r#"{"type":"rollback"}"#, r#"{"type":"rollback","sdp":""}"#] {
            let parsed = SignalMessage::parse_description(body.as_bytes());
            assert_eq!(parsed, Ok(SessionDescription::rollback()));
        }
    }

    #[test]
    fn wrong_descriptions_say_what_is_wrong() {
        let text = |body: &str| {
            SignalMessage::parse_description(body.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            text("{\"type\":\n oops}"),
            "not JSON: expected value (line 2, column 2)"
        );
        assert!(text("").starts_with("not JSON: EOF"), "{}", text(""));
        assert_eq!(text("[]"), "expected a JSON object, found an array");
        assert_eq!(
            text(r#"{"sdp":"v=0"}"#),
            r#"the member "type" is missing or empty"#
        );
        assert_eq!(
            text(r#"{"type":"offer"}"#),
            r#"the member "sdp" is missing or empty"#
        );
        assert_eq!(
            text(r#"{"type":"offer","sdp":7}"#),
            r#"the member "sdp" must be a string, but is a number"#
        );
        assert!(text(r#"{"type":"offre","sdp":"v=0"}"#).contains(r#"type "offre" is unknown"#));
        let long = format!(r#"{{"type":"{}","sdp":"v=0"}}"#, "ä".repeat(1000));
        assert!(text(&long).len() < 300);
        assert_eq!(
            SignalMessage::parse_description(b"{\"type\":\"\xff\"}"),
            Err(SignalError::NotUtf8 { offset: 9 })
        );
    }

    #[test]
    fn the_limits_hold() {
        let mut body = vec![b' '; MAX_BODY - LINE.len()];
        body.extend_from_slice(LINE.as_bytes());
        assert!(SignalMessage::parse_candidate(&body).is_ok());
        body.push(b' ');
        let error = SignalMessage::parse_candidate(&body).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the message is 65537 bytes long, the limit is 65536"
        );

        let line = format!("{LINE} x {}", "y".repeat(MAX_CANDIDATE));
        let error = SignalMessage::parse_candidate(line.as_bytes()).unwrap_err();
        assert!(
            matches!(
                error,
                SignalError::TooLong {
                    what: "the candidate",
                    ..
                }
            ),
            "{error}"
        );

        let body = format!(r#"{{"candidate":"{LINE}","sdpMid":"{}"}}"#, "m".repeat(257));
        let error = SignalMessage::parse_candidate(body.as_bytes()).unwrap_err();
        assert!(
            matches!(error, SignalError::TooLong { what: "sdpMid", .. }),
            "{error}"
        );
        // The parser limits nesting, so the stack cannot overflow.
        assert!(SignalMessage::parse("[".repeat(MAX_BODY).as_bytes()).is_err());
    }

    #[test]
    fn candidates_in_every_form() {
        for body in [
            LINE.to_owned(),
            format!("a={LINE}\r\n"),
            format!("\"{LINE}\""),
            format!(r#"{{"candidate":"{LINE}"}}"#),
            format!(r#"{{"candidate":"a={LINE}","sdpMid":null,"sdpMLineIndex":null}}"#),
        ] {
            let parsed = SignalMessage::parse_candidate(body.as_bytes()).unwrap();
            assert_eq!(line_of(parsed), IceCandidateInit::new(LINE), "{body}");
            let parsed = SignalMessage::parse(body.as_bytes()).unwrap();
            assert_eq!(line_of(parsed), IceCandidateInit::new(LINE), "{body}");
        }
    }

    #[test]
    fn candidate_init_round_trip() {
        let candidate = IceCandidateInit {
            candidate: LINE.to_owned(),
            sdp_mid: Some("au\"dio".to_owned()),
            sdp_m_line_index: Some(3),
            username_fragment: Some("Xy/+".to_owned()),
        };
        let json = candidate.to_json();
        assert_eq!(
            line_of(SignalMessage::parse(json.as_bytes()).unwrap()),
            candidate
        );
        let message = SignalMessage::Candidate(IceCandidateInit::new(LINE));
        assert_eq!(
            SignalMessage::parse(message.to_json().as_bytes()),
            Ok(message)
        );
    }

    #[test]
    fn the_ufrag_comes_from_either_place() {
        let mut candidate = IceCandidateInit::new(LINE);
        assert_eq!(candidate.ufrag(), None);
        candidate
            .candidate
            .push_str(" generation 0 ufrag 7Hdj network-cost 999");
        assert_eq!(candidate.ufrag(), Some("7Hdj"));
        candidate.username_fragment = Some("other".to_owned());
        assert_eq!(candidate.ufrag(), Some("other"));
    }

    #[test]
    fn the_end_in_every_form() {
        for body in [
            "",
            " \r\n",
            "null",
            "\"\"",
            r#"{"candidate":""}"#,
            r#"{"candidate":null,"sdpMid":"0"}"#,
            "end-of-candidates",
            "a=end-of-candidates\r\n",
        ] {
            let end = Ok(SignalMessage::EndOfCandidates);
            assert_eq!(
                SignalMessage::parse_candidate(body.as_bytes()),
                end,
                "{body:?}"
            );
            assert_eq!(SignalMessage::parse(body.as_bytes()), end, "{body:?}");
        }
        for message in [SignalMessage::EndOfCandidates, SignalMessage::Bye] {
            assert_eq!(
                SignalMessage::parse(message.to_json().as_bytes()),
                Ok(message)
            );
        }
    }

    #[test]
    fn unusual_but_valid_lines() {
        for line in [
            "candidate:1 1 tcp 1518280447 192.0.2.2 9 typ host tcptype active",
            "candidate:a+/ 256 UDP 0 2001:db8::1 1 typ srflx raddr :: rport 0",
            "candidate:1 1 udp 1 9b36eaac-bb2e-49bb-bb78-21c41c499900.local 50000 typ host",
            "candidate:1  1 udp 1 192.0.2.2 5 typ someday",
        ] {
            let parsed = SignalMessage::parse_candidate(line.as_bytes()).unwrap();
            assert_eq!(line_of(parsed).candidate, line);
        }
    }

    #[test]
    fn wrong_candidates_say_what_is_wrong() {
        let field = |body: &str| match SignalMessage::parse_candidate(body.as_bytes()) {
            Err(SignalError::BadCandidate { field, .. }) => field,
            other => panic!("{body:?}: {other:?}"),
        };
        assert_eq!(field("hello"), "the beginning");
        assert_eq!(field("nullify"), "the beginning");
        assert_eq!(field("candidate:"), "the foundation");
        assert_eq!(
            field("candidate:1 0 udp 1 192.0.2.2 5 typ host"),
            "the component"
        );
        assert_eq!(
            field("candidate:1 257 udp 1 192.0.2.2 5 typ host"),
            "the component"
        );
        assert_eq!(field("candidate:1 1"), "the transport");
        assert_eq!(
            field("candidate:1 1 udp -1 192.0.2.2 5 typ host"),
            "the priority"
        );
        assert_eq!(field("candidate:1 1 udp 1"), "the address");
        assert_eq!(
            field("candidate:1 1 udp 1 192.0.2.2 65536 typ host"),
            "the port"
        );
        assert_eq!(
            field("candidate:1 1 udp 1 192.0.2.2 5 host"),
            "the word before the type"
        );
        assert_eq!(field("candidate:1 1 udp 1 192.0.2.2 5 typ"), "the type");
        let smuggled = format!("{LINE}\r\na=setup:active");
        assert_eq!(field(&smuggled), "the text with control characters");

        let text = |body: &str| {
            SignalMessage::parse_candidate(body.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(text("{}"), r#"the member "candidate" is missing or empty"#);
        assert_eq!(text("[1]"), "expected a JSON object, found an array");
        assert_eq!(
            text(r#"{"candidate":["x"]}"#),
            r#"the member "candidate" must be a string, but is an array"#
        );
        for index in ["-1", "1.5", "65536", "\"0\""] {
            let body = format!(r#"{{"candidate":"{LINE}","sdpMLineIndex":{index}}}"#);
            assert!(text(&body).contains("integer from 0 to 65535"), "{body}");
        }
    }

    /// SplitMix64, so that failing inputs are reproducible.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, bound: usize) -> usize {
            (self.next() % bound as u64) as usize
        }
    }

    /// Random bytes and randomly damaged messages: nothing panics, and accepted messages survive a round trip.
    #[test]
    fn no_input_panics_and_accepted_input_round_trips() {
        let seeds: Vec<String> = vec![
            LINE.to_owned(),
            format!(
                r#"{{"candidate":"{LINE}","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"u"}}"#
            ),
            SessionDescription::offer("v=0\r\nm=audio 9 X 0\r\n").to_json(),
            SignalMessage::Bye.to_json(),
            "null".to_owned(),
            "\"ä\\ud800\"".to_owned(),
        ];
        let mut random = Random(7);
        let mut accepted = 0;
        for round in 0..40_000 {
            let mut body = if round % 4 == 0 {
                (0..random.below(64)).map(|_| random.next() as u8).collect()
            } else {
                seeds[random.below(seeds.len())].clone().into_bytes()
            };
            for _ in 0..random.below(4) {
                if body.is_empty() {
                    break;
                }
                let at = random.below(body.len());
                match random.below(4) {
                    0 => body[at] = random.next() as u8,
                    1 => drop(body.remove(at)),
                    2 => body.insert(at, b"{}[]\":, 0\\\r\n"[random.below(12)]),
                    _ => body.truncate(at),
                }
            }
            let _ = SignalMessage::parse_description(&body).map_err(|error| error.to_string());
            let _ = SignalMessage::parse_candidate(&body).map_err(|error| error.to_string());
            if let Ok(message) = SignalMessage::parse(&body) {
                accepted += 1;
                let json = message.to_json();
                assert_eq!(
                    SignalMessage::parse(json.as_bytes()),
                    Ok(message),
                    "round {round}"
                );
            }
        }
        assert!(
            accepted > 1_000,
            "only {accepted} inputs were accepted: the test tests little"
        );
    }
}
