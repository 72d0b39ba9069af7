//! Cameras by the API: who may change them, and how requests and answers look.

use std::time::Instant;

use serde_json::{Value, json};

use super::access::Right;
use super::routes::readable;
use super::{Gateway, report};
use crate::server::cameras::{Answer, Change, ChangeError, Changed, Fields, Invalid};
use crate::server::compat::JobId;
use crate::server::http::{Request, RequestId, Response};

/// Origin of a change.
#[derive(Debug)]
pub(super) enum Asker {
    /// A client of the API.
    Api(Asked),
    /// One of the interfaces of other programs.
    Compat(JobId),
}

/// Data of a request that the answer to its change needs.
#[derive(Debug)]
pub(super) struct Asked {
    id: RequestId,
    /// Pages of other origins may read the answer.
    is_readable: bool,
    /// Path of the list of streams, as the client knows it.
    streams: String,
}

impl Gateway {
    /// Answers with everything about a stream; its camera's settings need [`Right::Admin`].
    pub(super) fn stream(&mut self, request: &Request, now: Instant) -> Response {
        if let Err(refused) = self.access.check(Right::View, request, now) {
            return refused;
        }
        let rights = self.access.rights(request);
        let name = name_of(request).unwrap_or_default();
        match self.described(name, rights.details, rights.admin) {
            Some(stream) => Response::json(200, &stream).header("Cache-Control", "no-store"),
            None => refusal(&ChangeError::NoSuch(name.to_owned())),
        }
    }

    fn described(&self, name: &str, details: bool, admin: bool) -> Option<Value> {
        let info = self.streams.info(name)?;
        let camera = self.cameras.get(name);
        let shown = camera.filter(|_| admin).map(|camera| camera.shown());
        Some(report::one(&info, details, camera.is_some(), shown))
    }

    /// Adds, edits or removes a camera: `POST /api/streams`, `PUT` and `DELETE /api/streams/NAME`. Returns a response if the
    /// request is refused at once; otherwise it follows by [`answer_change`](Self::answer_change).
    pub(super) fn change_camera(
        &mut self,
        id: RequestId,
        request: &Request,
        is_readable: bool,
        now: Instant,
    ) -> Option<Response> {
        if let Err(refused) = self.access.check(Right::Admin, request, now) {
            return Some(refused);
        }
        let change = match change(request) {
            Ok(change) => change,
            Err(refused) => return Some(refused),
        };
        let asked = Asked {
            id,
            is_readable,
            streams: format!("{}/api/streams", request.prefix),
        };
        let client = request.client.ip();
        self.cameras.submit(change, Asker::Api(asked), client, now);
        None
    }

    /// Sends the answer to a change.
    pub(super) fn answer_change(&mut self, answer: Answer<Asker>) {
        let Answer {
            asked,
            name,
            result,
        } = answer;
        let asked = match asked {
            Asker::Api(asked) => asked,
            Asker::Compat(job) => return self.answer_compat_change(job, result),
        };
        let response = match result {
            Err(error) => refusal(&error),
            Ok(Changed::Removed) => Response::new(204),
            Ok(changed) => {
                let stream = json!(self.described(&name, true, true));
                match changed {
                    Changed::Added => Response::json(201, &stream)
                        .header("Location", format!("{}/{name}", asked.streams)),
                    _ => Response::json(200, &stream),
                }
                .header("Cache-Control", "no-store")
            }
        };
        self.door
            .respond(asked.id, readable(response, asked.is_readable));
    }
}

/// Returns the name of the stream in `/api/streams/NAME`.
fn name_of(request: &Request) -> Option<&str> {
    request.path.strip_prefix("/api/streams/")
}

/// Reads a change. Forms of pages of other origins, which browsers send without asking first, are no JSON.
fn change(request: &Request) -> Result<Change, Response> {
    let name = name_of(request).map(str::to_owned);
    if request.method == "DELETE" {
        let name = name.unwrap_or_default();
        return Ok(Change::Remove { name });
    }
    if request.content_type().as_deref() != Some("application/json") {
        let detail = "send the camera as JSON, with Content-Type: application/json";
        return Err(Response::problem(415, "Unsupported media type", detail));
    }
    let invalid = |wrong| refusal(&ChangeError::Invalid(wrong));
    let mut fields = Fields::read(&request.body).map_err(invalid)?;
    let given = fields.name.take();
    match (name, given) {
        (None, given) => Ok(Change::Add {
            name: given.unwrap_or_default(),
            fields,
        }),
        (Some(name), Some(given)) if given != name => {
            let why = "a stream keeps its name: add another one, and remove this";
            Err(invalid(vec![Invalid {
                field: "name",
                why: why.to_owned(),
            }]))
        }
        (Some(name), _) => Ok(Change::Edit { name, fields }),
    }
}

/// Returns the response to a change that was refused; `errors` has each field that is invalid.
fn refusal(error: &ChangeError) -> Response {
    let detail = error.to_string();
    match error {
        ChangeError::Invalid(fields) => {
            let errors: Vec<Value> = fields
                .iter()
                .map(|wrong| json!({ "field": wrong.field, "detail": wrong.why }))
                .collect();
            let problem = Response::problem(422, "Invalid camera", detail);
            problem.with_members(&json!({ "errors": errors }))
        }
        ChangeError::Taken(_) => Response::problem(409, "Name taken", detail),
        ChangeError::NoSuch(_) => Response::problem(404, "No such stream", detail),
        ChangeError::Configured(_) => Response::problem(409, "Not editable", detail),
        ChangeError::Full => Response::problem(409, "Too many streams", detail),
        ChangeError::TooMany(wait) => Response::problem(429, "Too many changes", detail)
            .header("Retry-After", (wait.as_secs() + 1).to_string()),
        ChangeError::Busy => Response::problem(503, "Busy", detail).header("Retry-After", "1"),
        ChangeError::Unwritten(_) => Response::problem(500, "Not written", detail),
    }
}
