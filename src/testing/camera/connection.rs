//! One client's connection: its requests, and what it is sent.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::access::Gate;
use super::behaviour::{Base, Behaviour, Channels, Early, Ports, Reply, RtpInfo, SessionId, Talk};
use super::describe::{self, Stream};
use super::film::Film;
use super::media::{Lane, Packet, Way};
use super::pack::Payload;
use super::request::{self, Request, Response, Sent};
use super::{Log, Place};
use crate::testing::Rng;

/// State of the camera that a connection uses.
pub struct Context<'a> {
    pub behaviour: &'a Behaviour,
    pub film: &'a Film,
    pub log: &'a mut Log,
    pub rng: &'a mut Rng,
    pub now: Instant,
    /// Number of sessions that others have.
    pub others: usize,
    /// Set if another client talks.
    pub is_talking: bool,
    /// Redirections left.
    pub redirects: &'a mut u32,
}

/// Something to send.
#[derive(Debug)]
pub enum Out {
    Stream(Vec<u8>),
    Datagram {
        from: Place,
        to: SocketAddr,
        contents: Vec<u8>,
    },
    Close,
}

#[derive(Debug)]
pub struct Connection {
    client: IpAddr,
    inbox: Vec<u8>,
    gate: Gate,
    describes: u32,
    session: Option<Session>,
    /// A request of ours that waits for its response.
    asked: Option<Instant>,
    next_ask: Option<Instant>,
    /// Next packet of a session that ended before this one.
    next_stale: Option<Instant>,
    closed: bool,
    wants_talk: bool,
}

#[derive(Debug)]
struct Session {
    ids: Vec<String>,
    lanes: Vec<Lane>,
    expires: Instant,
    is_playing: bool,
}

const ASK: &[u8] = b"OPTIONS * RTSP/1.0\r\nCSeq: 7001\r\n\r\n";

impl Connection {
    pub fn new(client: IpAddr, behaviour: &Behaviour, now: Instant) -> Self {
        Self {
            client,
            inbox: Vec::new(),
            gate: Gate::default(),
            describes: 0,
            session: None,
            asked: None,
            next_ask: None,
            next_stale: behaviour
                .faults
                .stale
                .then_some(now + Duration::from_millis(1)),
            closed: false,
            wants_talk: false,
        }
    }

    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    pub fn is_talking(&self) -> bool {
        let lanes = self.session.iter().flat_map(|session| &session.lanes);
        lanes.into_iter().any(|lane| lane.stream == Stream::Talk)
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn received(&mut self, cx: &mut Context<'_>, contents: &[u8], out: &mut Vec<Out>) {
        self.inbox.extend_from_slice(contents);
        while !self.closed
            && let Some(sent) = request::next(&mut self.inbox)
        {
            match sent {
                Ok(Sent::Request(request)) => self.request(cx, &request, out),
                Ok(Sent::Response(status, number)) => {
                    if status != 200 || number != "7001" {
                        cx.log.complain(format!("{status} to CSeq {number:?}"));
                    }
                    self.asked = None;
                }
                Ok(Sent::Frame(channel, frame)) => self.frame(cx, channel, &frame),
                Err(why) => {
                    cx.log.complain(why);
                    self.reply(cx, None, Response::new(400), out);
                }
            }
        }
    }

    fn frame(&mut self, cx: &mut Context<'_>, channel: u8, _frame: &[u8]) {
        let lanes = self.session.iter().flat_map(|session| &session.lanes);
        let mut lanes = lanes.into_iter();
        let found = lanes.find_map(|lane| match lane.way {
            Way::Tcp(first) if first == channel => Some((lane.stream, false)),
            Way::Tcp(first) if first + 1 == channel => Some((lane.stream, true)),
            _ => None,
        });
        match found {
            Some((_, true)) => cx.log.reports += 1,
            Some((Stream::Talk, false)) => cx.log.talk += 1,
            _ => cx.log.complain(format!("a frame on channel {channel}")),
        }
    }

    /// A datagram from this client to the stream with this index.
    pub fn datagram(&mut self, cx: &mut Context<'_>, index: usize, is_rtcp: bool) {
        let lanes = self.session.iter().flat_map(|session| &session.lanes);
        let mut lanes = lanes.into_iter();
        let talks = lanes.any(|lane| lane.index == index && lane.stream == Stream::Talk);
        match (is_rtcp, talks) {
            (true, _) => cx.log.reports += 1,
            (false, true) => cx.log.talk += 1,
            (false, false) => cx.log.punches += 1,
        }
    }

    pub fn deadline(&self, behaviour: &Behaviour) -> Option<Instant> {
        let mut all = vec![self.next_ask, self.asked, self.next_stale];
        if let Some(session) = &self.session {
            all.push(Some(session.expires));
            if session.is_playing {
                all.extend(session.lanes.iter().map(|lane| lane.due(behaviour)));
            }
        }
        all.into_iter().flatten().min()
    }

    pub fn timeout(&mut self, cx: &mut Context<'_>, out: &mut Vec<Out>) {
        let now = cx.now;
        if self.next_stale.is_some_and(|at| at <= now) {
            self.next_stale = Some(now + Duration::from_millis(20));
            out.push(Out::Stream(foreign(14, cx.rng)));
        }
        if self.asked.is_some_and(|at| at <= now) {
            cx.log.complain("a request was not answered".to_owned());
            return self.close(out);
        }
        if self.next_ask.is_some_and(|at| at <= now) {
            self.next_ask = None;
            self.asked = Some(now + Duration::from_secs(3));
            out.push(Out::Stream(ASK.to_vec()));
        }
        if self.session.as_ref().is_some_and(|s| s.expires <= now) {
            cx.log.expired += 1;
            return self.close(out);
        }
        self.play(cx, out);
    }

    fn play(&mut self, cx: &mut Context<'_>, out: &mut Vec<Out>) {
        let Some(session) = self.session.as_mut().filter(|s| s.is_playing) else {
            return;
        };
        let faults = cx.behaviour.faults;
        let mut closes = false;
        let shown = session.lanes.iter().map(|lane| match lane.stream {
            Stream::Video => lane.units,
            _ => 0,
        });
        let shown = shown.max().unwrap_or_default();
        if faults.silent_after.is_some_and(|most| shown >= most) {
            // The clocks go on.
            session
                .lanes
                .iter_mut()
                .for_each(|lane| lane.skip(cx.behaviour, cx.now));
            return;
        }
        for lane in &mut session.lanes {
            let pictures = lane.units;
            let is_video = lane.stream == Stream::Video;
            let packets = lane.take(cx.behaviour, cx.film, cx.now, &mut |picture| {
                cx.log.picture(picture);
            });
            let number = lane.units;
            let is_picture = is_video && number > pictures;
            if is_picture {
                if faults.garbage_each.is_some_and(|each| number % each == 0) {
                    let garbage = (0..37).map(|_| cx.rng.next_u64() as u8);
                    // No dollar sign: what a client has to find again is the next true one.
                    out.push(Out::Stream(garbage.map(|b| b & 0x5f | 0x40).collect()));
                }
                if faults.foreign {
                    out.push(Out::Stream(foreign(12, cx.rng)));
                }
                closes |= faults.closes_after.is_some_and(|most| number > most);
            }
            for packet in packets {
                send(lane, cx, packet, out);
            }
        }
        if closes {
            self.close(out);
        }
    }

    fn close(&mut self, out: &mut Vec<Out>) {
        self.session = None;
        self.closed = true;
        out.push(Out::Close);
    }

    fn request(&mut self, cx: &mut Context<'_>, request: &Request, out: &mut Vec<Out>) {
        cx.log.request(&request.method);
        if let Some(why) = self.objection(cx, request) {
            cx.log.complain(why);
        }
        let messages = &cx.behaviour.messages;
        if messages.odd_case && !request.is_written("CSeq") {
            return self.reply(cx, Some(request), Response::new(400), out);
        }
        if messages.needs_user_agent && request.header("User-Agent").is_none() {
            return self.reply(cx, Some(request), Response::new(401), out);
        }
        // Nobody has to prove anything to ask what there is.
        if request.method != "OPTIONS"
            && let Some(access) = cx.behaviour.access
            && !self.gate.admits(&access, request, &mut cx.log.complaints)
        {
            let challenges = self.gate.challenges(&access).into_iter();
            let response = challenges.fold(Response::new(401), |response, challenge| {
                response.with("WWW-Authenticate", challenge)
            });
            return self.reply(cx, Some(request), response, out);
        }
        let response = match request.method.as_str() {
            "OPTIONS" => self.options(cx),
            "DESCRIBE" => self.describe(cx, request),
            "SETUP" => self.setup(cx, request),
            "PLAY" => self.start(cx, request, out),
            "GET_PARAMETER" => self.keep_alive(cx.behaviour.sessions.get_parameter, true, cx),
            "TEARDOWN" => {
                self.session = None;
                cx.log.teardowns += 1;
                Some(cx.behaviour.sessions.teardown)
                    .filter(|reply| *reply != Reply::Silence)
                    .map(status)
            }
            _ => Some(Response::new(501)),
        };
        if let Some(response) = response {
            let plays = request.method == "PLAY" && response.status() == 200;
            self.reply(cx, Some(request), response, out);
            if plays && let Some(session) = &mut self.session {
                session.is_playing = true;
                session.lanes.iter_mut().for_each(|lane| lane.start(cx.now));
            }
        }
    }

    /// Returns what a strict server would say of this request.
    fn objection(&self, cx: &Context<'_>, request: &Request) -> Option<String> {
        let method = &request.method;
        let number = request.header("CSeq").and_then(|n| n.parse::<u32>().ok());
        if number.is_none() {
            return Some(format!("{method} without CSeq"));
        }
        if request.header("User-Agent").is_none() {
            return Some(format!("{method} without User-Agent"));
        }
        if request.url.contains('@') {
            return Some(format!("{method} with credentials in its URL"));
        }
        let session = self.session.as_ref()?;
        let told = match cx.behaviour.sessions.id {
            SessionId::WithPlay => session.is_playing,
            _ => true,
        };
        let given = request.header("Session");
        let knows = given.is_some_and(|id| session.ids.iter().any(|known| known == id));
        (told && !knows && method != "OPTIONS" && method != "DESCRIBE")
            .then(|| format!("{method} with the session {given:?}, not {:?}", session.ids))
    }

    fn options(&mut self, cx: &mut Context<'_>) -> Option<Response> {
        let sessions = cx.behaviour.sessions.clone();
        let public = Response::new(200).with("Public", sessions.public);
        if self.session.is_none() {
            return Some(public);
        }
        let response = self.keep_alive(sessions.options, sessions.options_count, cx)?;
        Some(match response.status() {
            200 => public,
            _ => response,
        })
    }

    fn keep_alive(&mut self, reply: Reply, counts: bool, cx: &mut Context<'_>) -> Option<Response> {
        let timeout = cx.behaviour.sessions.timeout;
        let done = matches!(reply, Reply::Ok | Reply::Silence);
        if let Some(session) = self.session.as_mut().filter(|_| done && counts) {
            session.expires = cx.now + timeout;
            cx.log.kept_alive += 1;
        }
        (reply != Reply::Silence).then(|| status(reply))
    }

    fn describe(&mut self, cx: &mut Context<'_>, request: &Request) -> Option<Response> {
        self.describes += 1;
        let behaviour = cx.behaviour;
        if behaviour.messages.one_describe && self.describes > 1 {
            return Some(Response::new(455));
        }
        if *cx.redirects > 0 {
            *cx.redirects -= 1;
            let to = format!("rtsp://{}{}", request.authority(), path(behaviour));
            return Some(Response::new(302).with("Location", to));
        }
        if request.path() != path(behaviour) {
            return Some(Response::new(404));
        }
        if self.session.is_none() && cx.others >= behaviour.sessions.most {
            return Some(Response::new(453));
        }
        let talks = request
            .header("Require")
            .is_some_and(|what| what.contains("backchannel"));
        if talks && behaviour.talk == Talk::Refused {
            return Some(Response::new(551).with("Unsupported", "www.onvif.org/ver20/backchannel"));
        }
        self.wants_talk = talks;
        let base = format!(
            "{}://{}{}",
            request.scheme(),
            request.authority(),
            path(behaviour)
        );
        let streams = describe::streams(behaviour, talks);
        let text = describe::write(behaviour, cx.film, &streams, &base);
        let mut response = Response::new(200);
        if !behaviour.description.no_type {
            response = response.with("Content-Type", "application/sdp");
        }
        response = match behaviour.description.base {
            Base::Proper => response.with("Content-Base", format!("{base}/")),
            Base::Missing => response,
            Base::Text(text) => response.with("Content-Base", text.replace("{base}", &base)),
        };
        Some(response.body(text.into_bytes()))
    }

    fn setup(&mut self, cx: &mut Context<'_>, request: &Request) -> Option<Response> {
        let behaviour = cx.behaviour;
        let streams = describe::streams(behaviour, self.wants_talk);
        let tracks: Vec<String> = match behaviour.description.tracks {
            Some(tracks) => tracks.iter().map(|track| (*track).to_owned()).collect(),
            None => (1..=streams.len())
                .map(|n| format!("{}/track{n}", path(behaviour)))
                .collect(),
        };
        let index = tracks.iter().position(|track| track == request.path());
        let Some((index, stream)) = index.and_then(|at| Some((at, *streams.get(at)?))) else {
            cx.log.complain(format!(
                "SETUP {:?} instead of one of {tracks:?}",
                request.url
            ));
            return Some(Response::new(404));
        };
        if stream == Stream::Talk && cx.is_talking {
            return Some(Response::new(453));
        }
        let asked = request.header("Transport").unwrap_or_default();
        let (way, transport) = match self.way(cx, asked, index) {
            Ok(way) => way,
            Err(refused) => return Some(Response::new(refused)),
        };
        let random = cx.rng.next_u64();
        let lane = Lane::new(stream, index, way, random);
        let transport = match behaviour.transport.blank_ssrc {
            true => format!("{transport};ssrc= {:08x} ", lane.ssrc),
            false => format!("{transport};ssrc={:08x}", lane.ssrc),
        };
        let expires = cx.now + behaviour.sessions.timeout;
        let session = self.session.get_or_insert_with(|| Session {
            ids: vec![format!("{:08}", cx.rng.below(100_000_000))],
            lanes: Vec::new(),
            expires,
            is_playing: false,
        });
        if behaviour.sessions.id == SessionId::Changes && !session.lanes.is_empty() {
            session
                .ids
                .push(format!("{:08}", cx.rng.below(100_000_000)));
        }
        session.lanes.push(lane);
        let mut response = Response::new(200).with("Transport", transport);
        if behaviour.sessions.id != SessionId::WithPlay {
            let id = session.ids.last().cloned().unwrap_or_default();
            let parameters = behaviour.sessions.parameters;
            response = response.with("Session", format!("{id}{parameters}"));
        }
        Some(response)
    }

    /// Returns where the packets of a stream will go, and what is said of that; or the status of the refusal.
    fn way(&self, cx: &Context<'_>, asked: &str, index: usize) -> Result<(Way, String), u16> {
        let transport = cx.behaviour.transport;
        if let Some(channels) = parameter(asked, "interleaved=") {
            if let Some(refused) = transport.refuses_tcp {
                return Err(refused);
            }
            let first = channels.split('-').next().and_then(|n| n.parse().ok());
            let mut first: u8 = first.ok_or(400u16)?;
            if transport.channels == Channels::Higher {
                first = first.saturating_add(4);
            }
            let text = match transport.channels {
                Channels::Lone => format!("RTP/AVP/TCP;unicast;interleaved={first}"),
                Channels::Missing => "RTP/AVP/TCP;unicast".to_owned(),
                Channels::PlainName => {
                    format!("RTP/AVP;unicast;interleaved={first}-{}", first + 1)
                }
                _ => format!(
                    "RTP/AVP/TCP;unicast;interleaved={first}-{}",
                    first.wrapping_add(1)
                ),
            };
            return Ok((Way::Tcp(first), text));
        }
        if let Some(refused) = transport.refuses_udp {
            return Err(refused);
        }
        let ports = parameter(asked, "client_port=").ok_or(461u16)?;
        let (rtp, rtcp) = ports.split_once('-').ok_or(400u16)?;
        let rtp: u16 = rtp.parse().map_err(|_| 400u16)?;
        let rtcp: u16 = rtcp.parse().map_err(|_| 400u16)?;
        let way = Way::Udp {
            rtp: SocketAddr::new(self.client, rtp),
            rtcp: SocketAddr::new(self.client, rtcp),
        };
        let server = cx.log.ports.get(index * 2).copied().unwrap_or_default();
        let told = match transport.ports {
            Ports::Missing => String::new(),
            Ports::Zero => ";server_port=0-0".to_owned(),
            _ => format!(";server_port={server}-{}", server.wrapping_add(1)),
        };
        Ok((way, format!("RTP/AVP;unicast;client_port={ports}{told}")))
    }

    fn start(
        &mut self,
        cx: &mut Context<'_>,
        request: &Request,
        out: &mut Vec<Out>,
    ) -> Option<Response> {
        let behaviour = cx.behaviour;
        let Some(session) = &mut self.session else {
            return Some(Response::new(454));
        };
        if behaviour.messages.asks {
            self.next_ask = Some(cx.now + Duration::from_millis(300));
        }
        for lane in &mut session.lanes {
            match behaviour.transport.early {
                Early::Nothing => {}
                Early::Reports => {
                    if let Some(report) = lane.report(behaviour, cx.now) {
                        send(lane, cx, report, out);
                    }
                }
                Early::Media => {
                    let payload = Payload {
                        // The end of a picture that began before.
                        content: vec![0x41, 0x9a, 1, 2, 3],
                        marker: true,
                    };
                    let kind = lane.stream.payload_type(behaviour);
                    let timestamp = lane.first_timestamp.wrapping_sub(3_600);
                    let contents = lane.packet(kind, timestamp, payload);
                    let is_rtcp = false;
                    send(lane, cx, Packet { is_rtcp, contents }, out);
                }
            }
        }
        let info = session.lanes.iter().map(|lane| {
            let url = format!(
                "{}/track{}",
                request.url.trim_end_matches('/'),
                lane.index + 1
            );
            match behaviour.transport.rtp_info {
                RtpInfo::Zero => format!("url={url};seq=0;rtptime=0"),
                _ => format!(
                    "url={url};seq={};rtptime={}",
                    lane.next_seq, lane.first_timestamp
                ),
            }
        });
        let info: Vec<_> = info.collect();
        let id = session.ids.first().cloned().unwrap_or_default();
        let response = Response::new(200)
            .with("Session", format!("{id}{}", behaviour.sessions.parameters))
            .with("Range", "npt=now-");
        Some(match behaviour.transport.rtp_info {
            RtpInfo::Missing => response,
            RtpInfo::Junk => response.with("RTP-Info", "url=;;seq=one;rtptime=0x12,,;url"),
            _ => response.with("RTP-Info", info.join(",")),
        })
    }

    fn reply(
        &mut self,
        cx: &mut Context<'_>,
        request: Option<&Request>,
        response: Response,
        out: &mut Vec<Out>,
    ) {
        let number = request.and_then(|request| request.header("CSeq"));
        let messages = &cx.behaviour.messages;
        let mut bytes = Vec::new();
        if messages.blank_lines {
            bytes.extend(b"\r\n\r\n");
        }
        bytes.extend(response.write(number.unwrap_or("0"), messages.odd_case, messages.junk));
        out.push(Out::Stream(bytes));
    }
}

fn path(behaviour: &Behaviour) -> &str {
    behaviour.description.path.unwrap_or("/cam")
}

fn status(reply: Reply) -> Response {
    match reply {
        Reply::Status(status) => Response::new(status),
        Reply::Ok | Reply::Silence => Response::new(200),
    }
}

fn parameter<'a>(transport: &'a str, name: &str) -> Option<&'a str> {
    transport
        .split(';')
        .find_map(|part| part.strip_prefix(name))
}

/// A packet on a channel that nobody has set up.
fn foreign(channel: u8, rng: &mut Rng) -> Vec<u8> {
    let mut frame = vec![b'$', channel, 0, 40, 0x80, 96];
    frame.extend((0..38).map(|_| rng.next_u64() as u8));
    frame
}

fn send(lane: &Lane, cx: &Context<'_>, packet: Packet, out: &mut Vec<Out>) {
    match lane.way {
        Way::Tcp(channel) => {
            // Packets of 64 KiB and more do not fit; none of the scripts has them.
            let length = u16::try_from(packet.contents.len()).unwrap_or_default();
            let mut frame = match cx.behaviour.messages.blank_lines {
                true => b"\r\n".to_vec(),
                false => Vec::new(),
            };
            frame.extend([b'$', channel + u8::from(packet.is_rtcp)]);
            frame.extend(length.to_be_bytes());
            frame.extend(packet.contents);
            out.push(Out::Stream(frame));
        }
        Way::Udp { rtp, rtcp } => {
            let ports = cx.behaviour.transport.ports;
            if ports == Ports::Blocked {
                return;
            }
            let from = match (ports, packet.is_rtcp) {
                (Ports::Other, false) => Place::Other,
                (_, is_rtcp) => Place::Stream {
                    index: lane.index,
                    is_rtcp,
                },
            };
            let to = if packet.is_rtcp { rtcp } else { rtp };
            let contents = packet.contents;
            out.push(Out::Datagram { from, to, contents });
        }
    }
}
