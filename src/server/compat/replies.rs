//! Answers in the forms of the interfaces.

use serde_json::{Value, json};

use super::codecs;
use super::steps::{Step, Told};
use crate::proto::media::Codec;
use crate::proto::rtp::base64;
use crate::server::http::Response;

/// Statuses that say something about limits and rights rather than about a stream; they are the same in all forms.
const OF_THE_SERVER: [u16; 6] = [401, 403, 413, 429, 501, 503];

/// Outcome of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    Now(Response),
    /// These changes are made, and then told.
    Change {
        steps: Vec<Step>,
        told: Told,
    },
    /// The codecs of this stream are the answer, when they are known.
    List {
        stream: String,
        form: Form,
    },
    /// The offer is answered, when the codecs are known.
    Watch {
        stream: String,
        sdp: String,
        form: Form,
    },
}

/// Reason for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request is not what it should be.
    Bad,
    /// There is no such stream.
    NoStream,
    /// The codecs of a stream are not known.
    NoCodecs,
    /// The stream does not play.
    Source,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RTSPtoWebRTC's `codec` and `receiver`: text, and 200 with an empty body for errors, whose reason is in a header.
    Text,
    /// RTSPtoWebRTC's `POST /stream`: `{"tracks", "sdp64"}` or `{"error"}`.
    Stream,
    /// RTSPtoWeb: `{"status", "payload"}`, but for answers, which are bare base64.
    Web,
    /// go2rtc: `{"type": "answer", "sdp"}`; errors are text.
    Go2rtcJson,
    /// go2rtc: the answer's SDP alone, as WHEP; errors are text.
    Go2rtcText,
    /// go2rtc: the answer in base64.
    Go2rtc64,
    /// go2rtc's WebSocket: errors are messages.
    Socket,
}

impl Form {
    /// Returns the answer to an offer. `tracks` are the kinds of media that the stream has.
    pub fn answer(self, sdp: &str, tracks: &[&str]) -> Response {
        let sdp64 = || base64::encode(sdp.as_bytes());
        match self {
            Self::Text | Self::Web | Self::Go2rtc64 => text(200, &sdp64()),
            Self::Stream => {
                let tracks = match tracks {
                    [] => Value::Null,
                    tracks => json!(tracks),
                };
                Response::json(200, &json!({ "tracks": tracks, "sdp64": sdp64() }))
            }
            Self::Go2rtcJson | Self::Socket => {
                Response::json(200, &json!({ "type": "answer", "sdp": sdp }))
            }
            Self::Go2rtcText => Response::new(201).body("application/sdp", sdp),
        }
    }

    /// Returns the codecs of a stream. `keyframe`: the latest one of a codec, which has the parameter sets.
    pub fn codecs(self, codecs: &[Codec], keyframe: impl Fn(Codec) -> Option<Vec<u8>>) -> Response {
        match self {
            // As it is written there, compact and without a newline.
            Self::Text => text(200, &codecs::types(codecs).to_string()),
            _ => payload(200, 1, &codecs::objects(codecs, keyframe)),
        }
    }

    /// Returns the failure of a request; `why` is a sentence.
    pub fn failed(self, failure: Failure, why: &str) -> Response {
        match self {
            Self::Text => text(200, "").header("X-Error", why),
            Self::Stream => Response::json(500, &json!({ "error": why })),
            Self::Web => match failure {
                Failure::Bad => payload(400, 0, &json!(why)),
                Failure::NoStream => payload(500, 0, &json!("stream not found")),
                Failure::NoCodecs => {
                    let text = "stream channel codec not ready, possible stream offline";
                    payload(500, 0, &json!(format!("{text}: {why}")))
                }
                Failure::Source => payload(500, 0, &json!(why)),
            },
            Self::Go2rtcJson | Self::Go2rtcText | Self::Go2rtc64 => match failure {
                Failure::Bad => text(400, why),
                Failure::NoStream => text(404, "stream not found"),
                Failure::NoCodecs | Failure::Source => text(500, why),
            },
            Self::Socket => {
                let why = format!("webrtc/offer: {why}");
                Response::json(500, &json!({ "type": "error", "value": why }))
            }
        }
    }

    /// Returns a refusal, which has problem details (RFC 9457), in this form. Headers stay.
    pub fn refused(self, refused: Response) -> Response {
        let status = refused.status;
        let problem: Value = serde_json::from_slice(&refused.body).unwrap_or_default();
        let word = |key: &str| problem.get(key).and_then(Value::as_str);
        let why = match (word("title"), word("detail")) {
            (Some(title), Some(detail)) => format!("{title}: {detail}"),
            (Some(one), None) | (None, Some(one)) => one.to_owned(),
            (None, None) => format!("status {status}"),
        };
        let failure = match status {
            404 => Failure::NoStream,
            400 | 422 => Failure::Bad,
            _ => Failure::Source,
        };
        let mut response = self.failed(failure, &why);
        if OF_THE_SERVER.contains(&status) {
            response.status = status;
            if self == Self::Text {
                // Not an answer of that program: people should read it.
                response.body = why.into_bytes();
            }
        }
        let kept = |(name, _): &(String, String)| {
            !name.eq_ignore_ascii_case("content-type") && !name.eq_ignore_ascii_case("x-error")
        };
        response
            .headers
            .extend(refused.headers.into_iter().filter(kept));
        response
    }
}

/// Returns an answer of RTSPtoWeb.
pub(super) fn payload(status: u16, of: u8, payload: &Value) -> Response {
    let body = json!({ "status": of, "payload": payload });
    // Serializing a value cannot fail.
    let body = serde_json::to_string_pretty(&body).unwrap_or_default();
    Response::new(status).body("application/json; charset=utf-8", body)
}

pub(super) fn text(status: u16, text: &str) -> Response {
    Response::new(status).body("text/plain; charset=utf-8", text)
}
