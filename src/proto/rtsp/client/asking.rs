//! OPTIONS and DESCRIBE; redirects.

use std::net::SocketAddr;
use std::time::Instant;

use super::session::{Announced, Path, Session, Stream};
use super::wire::{Purpose, Request};
use super::{After, RtspClient, State};
use crate::proto::peer::MediaKind;
use crate::proto::rtsp::auth::Authenticator;
use crate::proto::rtsp::contract::{Output, RtspEvent};
use crate::proto::rtsp::control::Base;
use crate::proto::rtsp::described::{Described, DescribedStream, StreamDirection};
use crate::proto::rtsp::error::RtspError;
use crate::proto::rtsp::message::{Message, has_method};
use crate::proto::rtsp::quirk::Quirk;
use crate::proto::rtsp::url::RtspUrl;

/// Feature tag of ONVIF two-way audio; belongs to DESCRIBE, SETUP and PLAY.
const BACKCHANNEL: &str = "www.onvif.org/ver20/backchannel";

impl RtspClient {
    pub(super) fn on_connected(&mut self, local: SocketAddr, remote: SocketAddr, now: Instant) {
        if !matches!(self.state, State::Connecting) || !self.wire.is_open {
            return;
        }
        self.wire.addresses = Some((local, remote));
        self.state = State::Asking;
        let request = Request {
            purpose: Purpose::Options,
            method: "OPTIONS",
            uri: self.url.request_uri(),
            fields: Vec::new(),
        };
        self.ask(request, self.config.timing.answer, now);
    }

    /// Whatever the answer to OPTIONS: DESCRIBE decides.
    pub(super) fn on_options(&mut self, message: &Message, now: Instant) {
        if !matches!(self.state, State::Asking) {
            return;
        }
        let mut lists = message
            .fields
            .all("Public")
            .chain(message.fields.all("Allow"));
        if lists.any(|list| has_method(list, "GET_PARAMETER")) {
            self.wire.keepalive = "GET_PARAMETER";
        }
        self.describe(now);
    }

    fn describe(&mut self, now: Instant) {
        let mut fields = vec![("Accept", "application/sdp".to_owned())];
        fields.extend(self.require());
        let request = Request {
            purpose: Purpose::Describe,
            method: "DESCRIBE",
            uri: self.url.request_uri(),
            fields,
        };
        self.ask(request, self.config.timing.answer, now);
    }

    /// Returns the header that asks for two-way audio, if it is wanted.
    pub(super) fn require(&self) -> Option<(&'static str, String)> {
        let is_wanted = self.config.backchannel;
        is_wanted.then(|| ("Require", BACKCHANNEL.to_owned()))
    }

    pub(super) fn on_describe(&mut self, code: u16, message: &Message, now: Instant) {
        if !matches!(self.state, State::Asking) {
            return;
        }
        if code >= 300 {
            let error = self.refusal(Purpose::Describe, code, message);
            if error == RtspError::NoBackchannel && self.give_up_backchannel() {
                return self.describe(now);
            }
            return self.fail(error, now);
        }
        let described = match Described::parse(&message.body) {
            Ok(described) => described,
            Err(error) => return self.fail(RtspError::Description(error), now),
        };
        if message.fields.get("Content-Type").is_none() {
            self.note(Quirk::BrokenSdp);
        }
        for (quirk, _) in described.quirks.met() {
            self.note(quirk);
        }
        let said = message.fields.get("Content-Base");
        let said = said.or_else(|| message.fields.get("Content-Location"));
        let mut quirks = Vec::new();
        let base = Base::new(&self.url, said, &mut quirks);
        let uri = base.join(described.control.as_deref(), &mut quirks);
        let streams = self.choose(&described, &base, &mut quirks);
        self.note_all(quirks);
        let event = RtspEvent::Described(Box::new(described.clone()));
        self.out.push(Output::Event(event));
        if self.config.backchannel && !streams.iter().any(|s| s.is_backchannel) {
            self.note(Quirk::Backchannel);
            if !self.give_up_backchannel() {
                return self.fail(RtspError::NoBackchannel, now);
            }
        }
        if streams.is_empty() {
            return self.fail(RtspError::NoMedia(offered(&described)), now);
        }
        let session = Session::new(described, uri, self.transport(), streams, now);
        self.state = State::Preparing(Box::new(session));
        self.prepare(0, now);
    }

    /// Goes on without two-way audio, if media is wanted as well. Returns `false` if it is not.
    fn give_up_backchannel(&mut self) -> bool {
        let has_media = self.config.video || self.config.audio;
        if has_media {
            self.config.backchannel = false;
        }
        has_media
    }

    /// Returns the streams to set up: the first of each wanted kind, and the first backchannel.
    fn choose(&self, described: &Described, base: &Base, quirks: &mut Vec<Quirk>) -> Vec<Stream> {
        let mut is_wanted = [
            self.config.video,
            self.config.audio,
            self.config.backchannel,
        ];
        let mut streams = Vec::new();
        for (index, stream) in described.streams.iter().enumerate() {
            let is_backchannel = stream.direction == StreamDirection::Backchannel;
            let kind = match stream.kind {
                _ if is_backchannel => 2,
                MediaKind::Video => 0,
                MediaKind::Audio => 1,
            };
            if !std::mem::take(&mut is_wanted[kind]) {
                continue;
            }
            if stream.control.trim().is_empty() {
                quirks.push(Quirk::ControlUrl);
            }
            streams.push(Stream {
                index,
                uri: base.join(Some(&stream.control), quirks),
                is_backchannel,
                is_audio: kind == 1,
                clock_rate: stream.clock_rate,
                path: Path::None,
                announced: Announced::default(),
            });
        }
        streams
    }

    /// Follows a redirect on a new connection. A session that has begun is ended first.
    pub(super) fn redirect(&mut self, location: &str, now: Instant) {
        if matches!(self.state, State::Ending(..) | State::Ended) {
            return;
        }
        self.note(Quirk::Redirect);
        self.redirects = self.redirects.saturating_add(1);
        let limit = self.config.limits.max_redirects;
        if self.redirects > limit {
            return self.fail(RtspError::TooManyRedirects(limit), now);
        }
        match self.url.redirected(location) {
            Ok(url) => {
                let shown = url.to_string();
                self.out.push(Output::Event(RtspEvent::Redirected(shown)));
                self.finish(After::Redirect(Box::new(url)), now);
            }
            Err(error) => self.fail(RtspError::BadRedirect(error), now),
        }
    }

    /// Connects to the target of a redirect.
    pub(super) fn connect_to(&mut self, url: RtspUrl) {
        self.auth = Authenticator::new(url.credentials().cloned(), self.config.seed);
        self.url = url;
        self.connect();
    }
}

/// Names what a camera offers instead of wanted media.
fn offered(described: &Described) -> String {
    let kind = |stream: &DescribedStream| match (stream.direction, stream.kind) {
        (StreamDirection::Backchannel, _) => "two-way audio".to_owned(),
        (_, MediaKind::Video) => "video".to_owned(),
        (_, MediaKind::Audio) => "audio".to_owned(),
    };
    let names = described.streams.iter().map(kind);
    let names: Vec<String> = names.chain(described.left_out.iter().cloned()).collect();
    match names.is_empty() {
        true => "it has no streams".to_owned(),
        false => format!("it has only {}", names.join("; ")),
    }
}
