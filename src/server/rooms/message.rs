//! Messages of a room, in the format of pion's sfu-ws example: `{"event":…,"data":"<JSON as text>"}`.
//!
//! | event | from | data |
//! |---|---|---|
//! | `offer` | server | `{"type":"offer","sdp":…}`; only the server sends offers |
//! | `answer` | page | `{"type":"answer","sdp":…}` |
//! | `candidate` | both | `RTCIceCandidateInit` |
//!
//! These are sufficient. A page may ignore the following extensions:
//!
//! | event | from | data |
//! |---|---|---|
//! | `welcome` | server | `{"id":…,"room":…,"resume":…,"resumed":…,"iceServers":[…]}`: the participant's id, its key for returning (`?resume=…`), and whether it resumes an earlier visit |
//! | `members` | server | `[{"id":…,"name":…,"microphone":…,"camera":…,"screen":…,"away":…},…]`; the stream id of a track is the id of its member |
//! | `error` | server | `{"message":…}`: the problem with a message of the page |
//! | `state` | page | `{"microphone":…,"camera":…,"screen":…}`: enabled devices, shown to the others |
//! | `renegotiate` | page | requests an offer: the page has new tracks to send |
//! | `restart` | page | requests an offer with an ICE restart |
//! | `leave` | page | leaves at once, without the grace period of a lost socket |

use serde_json::{Map, Value, json};

use crate::proto::ice::IceServer;
use crate::proto::peer::{IceCandidateInit, SdpType, SessionDescription};
use crate::proto::signal::SignalMessage;
use crate::server::ice_servers;

/// A message from a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FromPage {
    Answer(SessionDescription),
    /// `None`: end of candidates.
    Candidate(Option<IceCandidateInit>),
    State(MemberState),
    Renegotiate,
    Restart,
    Leave,
    /// An event of a later version, or of another service.
    Unknown(String),
}

/// Devices that a member has enabled, as stated by its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberState {
    pub microphone: bool,
    pub camera: bool,
    pub screen: bool,
}

impl Default for MemberState {
    /// State of a page that does not send it.
    fn default() -> Self {
        Self {
            microphone: true,
            camera: true,
            screen: false,
        }
    }
}

/// A member as sent to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub id: String,
    pub name: &'a str,
    pub state: MemberState,
    pub away: bool,
}

/// Parses a message from a page.
///
/// # Errors
///
/// Returns a description of the problem, for the page and the log.
pub(super) fn parse(text: &str) -> Result<FromPage, String> {
    let message: Value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    let event = message.get("event").and_then(Value::as_str);
    let event = event.ok_or("the member \"event\" is missing")?;
    // sfu-ws sends JSON as text; a JSON object is accepted as well.
    let data = match message.get("data") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let wrong = |why: String| format!("the data of {event:?}: {why}");
    Ok(match event {
        "answer" => {
            let description = SignalMessage::parse_description(data.as_bytes());
            let description = description.map_err(|e| wrong(e.to_string()))?;
            if description.kind != SdpType::Answer {
                return Err(wrong(format!("it is of type {}", description.kind)));
            }
            FromPage::Answer(description)
        }
        "candidate" => match SignalMessage::parse_candidate(data.as_bytes()) {
            Ok(SignalMessage::Candidate(candidate)) => FromPage::Candidate(Some(candidate)),
            Ok(_) => FromPage::Candidate(None),
            Err(e) => return Err(wrong(e.to_string())),
        },
        "offer" => {
            return Err("only the server makes offers; ask for one with \"renegotiate\"".into());
        }
        "state" => FromPage::State(state(&data).map_err(wrong)?),
        "renegotiate" => FromPage::Renegotiate,
        "restart" => FromPage::Restart,
        "leave" => FromPage::Leave,
        other => FromPage::Unknown(other.chars().take(40).collect()),
    })
}

fn state(data: &str) -> Result<MemberState, String> {
    let state: Map<String, Value> = serde_json::from_str(data).map_err(|e| e.to_string())?;
    let default = MemberState::default();
    let flag = |name: &str, default| state.get(name).and_then(Value::as_bool).unwrap_or(default);
    Ok(MemberState {
        microphone: flag("microphone", default.microphone),
        camera: flag("camera", default.camera),
        screen: flag("screen", default.screen),
    })
}

fn write(event: &str, data: String) -> String {
    json!({ "event": event, "data": data }).to_string()
}

pub(super) fn offer(offer: &SessionDescription) -> String {
    write("offer", offer.to_json())
}

pub(super) fn candidate(candidate: &IceCandidateInit) -> String {
    write("candidate", candidate.to_json())
}

pub(super) fn welcome(
    id: &str,
    room: &str,
    (resume, resumed): (&str, bool),
    servers: &[IceServer],
) -> String {
    let data = json!({
        "id": id, "room": room, "resume": resume, "resumed": resumed, "iceServers": ice_servers::for_pages(servers),
    });
    write("welcome", data.to_string())
}

pub(super) fn members(members: &[Member<'_>]) -> String {
    let list: Vec<Value> = members
        .iter()
        .map(|m| {
            json!({
                "id": m.id, "name": m.name, "microphone": m.state.microphone,
                "camera": m.state.camera, "screen": m.state.screen, "away": m.away,
            })
        })
        .collect();
    write("members", Value::from(list).to_string())
}

pub(super) fn error(message: &str) -> String {
    write("error", json!({ "message": message }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_of_sfu_ws_says() {
        let answer = json!({ "event": "answer", "data": r#"{"type":"answer","sdp":"v=0\r\n"}"# });
        let Ok(FromPage::Answer(description)) = parse(&answer.to_string()) else {
            panic!("{answer}")
        };
        assert_eq!(description.sdp, "v=0\r\n");
        let line = "candidate:1 1 udp 2130706431 192.0.2.2 41400 typ host";
        let data = json!({ "candidate": line, "sdpMid": "0", "sdpMLineIndex": 0 }).to_string();
        let candidate = json!({ "event": "candidate", "data": data }).to_string();
        let Ok(FromPage::Candidate(Some(candidate))) = parse(&candidate) else {
            panic!("{candidate}")
        };
        assert_eq!(candidate.candidate, line);
        let null = r#"{"event":"candidate","data":"null"}"#;
        assert_eq!(parse(null), Ok(FromPage::Candidate(None)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let why = |text: &str| parse(text).unwrap_err();
        assert!(why("{").contains("no JSON"));
        assert!(why("[]").contains("\"event\" is missing"));
        assert!(why(r#"{"event":"answer","data":"{}"}"#).contains("the data of \"answer\""));
        let offer = r#"{"event":"answer","data":"{\"type\":\"offer\",\"sdp\":\"v=0\"}"}"#;
        assert!(why(offer).contains("of type offer"));
        assert!(why(r#"{"event":"offer","data":""}"#).contains("renegotiate"));
        let unknown = parse(r#"{"event":"wave"}"#);
        assert_eq!(unknown, Ok(FromPage::Unknown("wave".into())));
    }

    #[test]
    fn what_is_on() {
        let parsed = parse(r#"{"event":"state","data":"{\"camera\":false,\"more\":1}"}"#);
        let off = MemberState {
            camera: false,
            ..MemberState::default()
        };
        assert_eq!(parsed, Ok(FromPage::State(off)));
        assert!(parse(r#"{"event":"state","data":"7"}"#).is_err());
    }

    #[test]
    fn data_is_json_as_text() {
        let text = offer(&SessionDescription::offer("v=0\r\n"));
        let message: Value = serde_json::from_str(&text).unwrap();
        let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&message["event"], &data["sdp"]),
            (&json!("offer"), &json!("v=0\r\n"))
        );
    }
}
