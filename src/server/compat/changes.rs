//! Changes of streams that clients ask for: steps that the cameras of the server carry out one after another, each written
//! before it takes effect, and one answer when all are done.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::replies::{Failure, Form, payload, text};
use super::steps::{NO_STREAM, Step, Told};
use super::{Asker, Compat, Context, Output};
use crate::server::cameras::{ChangeError, Changed};
use crate::server::http::Response;

/// Maximum number of requests for changes that are carried out at once; the door has a limit as well.
const MAX_JOBS: usize = 64;

/// Identifies a request for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct JobId(u64);

/// A request for changes.
#[derive(Debug)]
struct Job {
    asker: Asker,
    told: Told,
    client: IpAddr,
    steps: VecDeque<Step>,
    /// The step that is being carried out.
    current: Option<Step>,
    results: Vec<(String, Result<(), String>)>,
}

/// The requests for changes.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    last: u64,
}

impl Compat {
    /// Begins the steps of a request.
    pub(super) fn begin(
        &mut self,
        ctx: &Context<'_>,
        asker: Asker,
        (told, client): (Told, IpAddr),
        steps: Vec<Step>,
    ) {
        if self.jobs.jobs.len() >= MAX_JOBS {
            let refused = Response::problem(503, "Busy", "other changes are being made; try again");
            let form = match told {
                Told::Web | Told::Many => Form::Web,
                Told::Go2rtc => Form::Go2rtcText,
            };
            return self.respond(asker, form.refused(refused));
        }
        self.jobs.last += 1;
        let id = JobId(self.jobs.last);
        let job = Job {
            asker,
            told,
            client,
            steps: steps.into(),
            current: None,
            results: Vec::new(),
        };
        self.jobs.jobs.insert(id, job);
        self.go_on(ctx, id);
    }

    /// Handles what has become of a change.
    pub fn handle_change(
        &mut self,
        ctx: &mut Context<'_>,
        id: JobId,
        result: Result<Changed, ChangeError>,
    ) {
        let Some(job) = self.jobs.jobs.get_mut(&id) else {
            return;
        };
        let Some(step) = job.current.take() else {
            return;
        };
        let told = job.told;
        let result = result.map(|_| ()).map_err(|error| in_their_words(&error));
        job.results.push((step.id.clone(), result.clone()));
        if let Ok(change) = &step.change
            && result.is_ok()
        {
            self.sources.note(change.name(), step.meta);
            if told == Told::Go2rtc && self.go2rtc.is_preloaded(&step.id) {
                // Its source is another one now, or the first.
                let _ = ctx.streams.keep(ctx.net, change.name(), true);
            }
        }
        self.go_on(ctx, id);
    }

    /// Asks for the next change; answers if there is none.
    fn go_on(&mut self, _: &Context<'_>, id: JobId) {
        let Some(job) = self.jobs.jobs.get_mut(&id) else {
            return;
        };
        loop {
            let has_failed = job.results.iter().any(|(_, result)| result.is_err());
            if has_failed && job.told != Told::Many {
                break;
            }
            let Some(step) = job.steps.pop_front() else {
                break;
            };
            match &step.change {
                Ok(change) => {
                    let (change, client) = (change.clone(), job.client);
                    job.current = Some(step);
                    return self.outputs.push_back(Output::Change(id, change, client));
                }
                Err(why) if why.is_empty() => job.results.push((step.id, Ok(()))),
                Err(why) => job.results.push((step.id, Err(why.clone()))),
            }
        }
        if let Some(job) = self.jobs.jobs.remove(&id) {
            let response = response(job.told, job.results);
            self.respond(job.asker, response);
        }
    }
}

fn response(told: Told, results: Vec<(String, Result<(), String>)>) -> Response {
    let first = results.iter().find_map(|(_, result)| result.as_ref().err());
    match (told, first) {
        (Told::Many, first) => {
            let mut all = Map::new();
            for (id, result) in &results {
                let one = match result {
                    Ok(()) => json!({ "status": 1, "payload": "success" }),
                    Err(why) => json!({ "status": 0, "payload": why }),
                };
                // A stream has failed if one of its channels has.
                let has_failed = all.get(id).is_some_and(|one: &Value| one["status"] == 0);
                if !has_failed {
                    all.insert(id.clone(), one);
                }
            }
            payload(200, u8::from(first.is_none()), &Value::Object(all))
        }
        (Told::Web, None) => payload(200, 1, &json!("success")),
        (Told::Web, Some(why)) => Form::Web.failed(Failure::Source, why),
        (Told::Go2rtc, None) => Response::new(200),
        (Told::Go2rtc, Some(why)) if why == NO_STREAM => text(404, why),
        (Told::Go2rtc, Some(why)) => text(400, why),
    }
}

fn in_their_words(error: &ChangeError) -> String {
    match error {
        ChangeError::Taken(_) => "stream already exists".into(),
        ChangeError::NoSuch(_) => NO_STREAM.into(),
        other => other.to_string(),
    }
}
