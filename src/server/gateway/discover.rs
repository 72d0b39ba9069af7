//! Searches for cameras by the API: `POST /api/discover`.

use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Gateway;
use super::access::Right;
use super::routes::readable;
use crate::proto::onvif::Device;
use crate::proto::rtsp::Credentials;
use crate::server::http::{Request, RequestId, Response};
use crate::signaling::onvif::{SearchConfig, search, to_json};

/// Maximum number of addresses in a request.
const MAX_ADDRESSES: usize = 32;

/// Maximum length of a text in a request, in bytes.
const MAX_TEXT: usize = 256;

/// Pause after which a client that comes during a search may ask again.
const RETRY: &str = "5";

/// The search that goes on. One at a time: it runs on a thread of its own, and all searches find the same cameras.
#[derive(Debug, Default)]
pub(super) struct Searches(Option<Running>);

#[derive(Debug)]
struct Running {
    id: RequestId,
    /// Pages of other origins may read the answer.
    is_readable: bool,
    result: Receiver<io::Result<Vec<Device>>>,
}

impl Gateway {
    /// Starts a search, which needs [`Right::Admin`]: it sends to the whole network, and to the addresses in the request.
    /// Returns a response if it is refused; otherwise it follows by [`answer_search`](Self::answer_search).
    pub(super) fn discover(
        &mut self,
        id: RequestId,
        request: &Request,
        is_readable: bool,
        now: Instant,
    ) -> Option<Response> {
        if let Err(refused) = self.access.check(Right::Admin, request, now) {
            return Some(refused);
        }
        // Forms of other pages, which browsers send without asking first, are no JSON.
        if request.content_type().as_deref() != Some("application/json") {
            let detail =
                "send the search as JSON, with Content-Type: application/json; {} is enough";
            return Some(Response::problem(415, "Unsupported media type", detail));
        }
        let config = match read(&request.body) {
            Ok(config) => config,
            Err(why) => return Some(Response::problem(422, "Invalid search", why)),
        };
        if self.searches.0.is_some() {
            let detail = "a search is going on; its results will be the same";
            return Some(Response::problem(429, "Searching", detail).header("Retry-After", RETRY));
        }
        let (sender, result) = sync_channel(1);
        let wake = self.net.handle();
        let thread = std::thread::Builder::new().name("looprtc-discover".into());
        let started = thread.spawn(move || {
            let found = search(&config);
            // The receiver is gone with the gateway.
            let _ = sender.send(found);
            wake.wake();
        });
        if let Err(error) = started {
            return Some(Response::problem(
                503,
                "Busy",
                format!("no thread for the search: {error}"),
            ));
        }
        log::info!("{} searches the network for cameras", request.client);
        self.searches.0 = Some(Running {
            id,
            is_readable,
            result,
        });
        None
    }

    /// Sends the answer of a search that has ended.
    pub(super) fn answer_search(&mut self) {
        let Some(running) = &self.searches.0 else {
            return;
        };
        let response = match running.result.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(Ok(devices)) => {
                let devices: Vec<Value> = devices.iter().map(to_json).collect();
                Response::json(200, &json!({ "devices": devices }))
                    .header("Cache-Control", "no-store")
            }
            Ok(Err(error)) => Response::problem(422, "Invalid search", error.to_string()),
            Err(TryRecvError::Disconnected) => Response::problem(
                500,
                "Search failed",
                "it ended without a result; the log says why",
            ),
        };
        self.door
            .respond(running.id, readable(response, running.is_readable));
        self.searches.0 = None;
    }
}

/// Reads a search. The error names the field, and nothing of its content.
fn read(body: &[u8]) -> Result<SearchConfig, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
    let Value::Object(mut fields) = value else {
        return Err("expected a JSON object; {} is enough".into());
    };
    let seconds = match fields.remove("seconds") {
        None => 4.0,
        Some(value) => value
            .as_f64()
            .filter(|seconds| (0.0..=60.0).contains(seconds))
            .ok_or("`seconds`: expected a number from 0 to 60")?,
    };
    let interface = text(&mut fields, "interface")?;
    let credentials = match (text(&mut fields, "user")?, text(&mut fields, "password")?) {
        (Some(user), password) => Some(Credentials::new(user, password.unwrap_or_default())),
        (None, Some(_)) => return Err("`password` without `user`".into()),
        (None, None) => None,
    };
    let addresses = match fields.remove("addresses") {
        None => Vec::new(),
        Some(Value::Array(list)) if list.len() <= MAX_ADDRESSES => list,
        Some(_) => {
            return Err(format!(
                "`addresses`: expected a list of up to {MAX_ADDRESSES} addresses"
            ));
        }
    };
    let parsed = addresses.iter().map(|value| value.as_str()?.parse().ok());
    let devices: Option<Vec<_>> = parsed.collect();
    let devices =
        devices.ok_or("`addresses`: expected IP addresses, for example \"192.168.1.64:8000\"")?;
    if let Some(name) = fields.keys().next() {
        return Err(format!("there is no field `{name:.40}`"));
    }
    Ok(SearchConfig::default()
        .duration(Duration::from_secs_f64(seconds))
        .interface(interface)
        .only_given(!devices.is_empty())
        .devices(devices)
        .credentials(credentials))
}

fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(Some(text)),
        Some(_) => Err(format!(
            "`{name}`: expected a text of up to {MAX_TEXT} bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_and_no_password_is() {
        let empty = read(b"{}").unwrap();
        assert!(!empty.only_given && empty.credentials.is_none());
        let given = br#"{"seconds":1.5,"interface":"eth0","addresses":["10.0.0.1","[fe80::1]:8000"],"user":"a","password":"pa55word"}"#;
        let given = read(given).unwrap();
        assert!(given.only_given && given.devices.len() == 2);
        assert_eq!(given.devices[1].address.port(), 8000);
        assert!(!format!("{given:?}").contains("pa55word"));
        for (body, why) in [
            ("", "no JSON"),
            ("[]", "JSON object"),
            (r#"{"seconds":61}"#, "`seconds`"),
            (r#"{"seconds":"4"}"#, "`seconds`"),
            (r#"{"interface":1}"#, "`interface`"),
            (r#"{"addresses":["camera.local"]}"#, "`addresses`"),
            (r#"{"addresses":"10.0.0.1"}"#, "`addresses`"),
            (r#"{"password":"pa55word"}"#, "without `user`"),
            (r#"{"user":"a","password":["pa55word"]}"#, "`password`"),
            (r#"{"pasword":"pa55word"}"#, "no field `pasword`"),
        ] {
            let error = read(body.as_bytes()).unwrap_err();
            assert!(
                error.contains(why) && !error.contains("pa55word"),
                "{body}: {error}"
            );
        }
    }
}
