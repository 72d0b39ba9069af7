use std::collections::HashMap;

use std::time::Duration;

use super::*;
use crate::driver::LoopConfig;
use crate::proto::ice::IceServer;
use crate::proto::net::PortPolicy;
use crate::proto::peer::{
    Codec, EncodedFrame, MediaKind, MediaMode, PeerConfig, SessionDescription, TransceiverConfig,
    TransceiverId,
};
use crate::server::token::Token;
use crate::signaling::whip::sdpfrag::SdpFragment;

/// Streams that forward packets, for one video track.
#[derive(Default)]
struct Relay {
    /// The publisher of each stream.
    publishers: HashMap<String, PeerId>,
    /// The viewers, with their stream and track.
    viewers: HashMap<PeerId, (String, TransceiverId)>,
    closed: usize,
}

impl StreamHost for Relay {
    fn admit(&mut self, kind: Kind, name: &str) -> Result<MediaMode, Refusal> {
        let retry_after = Duration::from_millis(2500);
        match (kind, name, self.publishers.contains_key(name)) {
            (_, "nothing", _) => Err(Refusal::Unknown),
            (Kind::Publish, "file", _) => Err(Refusal::NotPublishable),
            (Kind::View, _, false) => Err(Refusal::NotLive { retry_after }),
            _ => Ok(MediaMode::Packets),
        }
    }

    fn join(
        &mut self,
        net: &mut EventLoop,
        kind: Kind,
        name: &str,
        peer: PeerId,
    ) -> Result<(), Refusal> {
        if kind == Kind::Publish {
            if self.publishers.contains_key(name) {
                return Err(Refusal::Busy);
            }
            self.publishers.insert(name.to_owned(), peer);
            return Ok(());
        }
        let config = TransceiverConfig::default().codecs([Codec::Vp8]);
        let track = net.peer(peer).unwrap().add_track(MediaKind::Video, config);
        self.viewers.insert(peer, (name.to_owned(), track.unwrap()));
        Ok(())
    }

    fn handle_peer_event(&mut self, net: &mut EventLoop, peer: PeerId, event: &PeerEvent) {
        match event {
            PeerEvent::Packet(packet) => {
                for (viewer, (name, track)) in &self.viewers {
                    if self.publishers.get(name) == Some(&peer) {
                        let mut viewer = net.peer(*viewer).unwrap();
                        let _ = viewer.write_rtp(*track, &packet.to_packet());
                    }
                }
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Closed) => {
                self.closed += 1;
                self.publishers.retain(|_, publisher| *publisher != peer);
                self.viewers.remove(&peer);
            }
            _ => {}
        }
    }
}

/// Server and clients on one loop.
struct World {
    net: EventLoop,
    whip: WhipServer,
    host: Relay,
    requests: u64,
    /// Events of the clients' peers.
    events: Vec<(PeerId, PeerEvent)>,
}

const LIMIT: Duration = Duration::from_secs(20);

impl World {
    fn new(config: WhipConfig) -> Self {
        let peer = config.peer.clone().include_loopback(true);
        Self {
            net: EventLoop::new(LoopConfig::default()).unwrap(),
            whip: WhipServer::new(config.peer(peer)),
            host: Relay::default(),
            requests: 0,
            events: Vec::new(),
        }
    }

    /// Runs one step of the loop.
    fn step(&mut self) {
        let wait = Some(Duration::from_millis(20));
        if let Some((peer, event)) = self.net.next_event(wait).unwrap() {
            if self.whip.owns(peer) {
                self.whip
                    .handle_peer_event(&mut self.net, &mut self.host, peer, &event);
            } else {
                self.events.push((peer, event));
            }
        }
        let now = Instant::now();
        self.whip.handle_timeout(&mut self.net, now);
    }

    fn until<T>(&mut self, what: &str, mut is: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(found) = is(self) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain for {what}");
            self.step();
        }
    }

    fn begin(&mut self, request: Request) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        let now = Instant::now();
        self.whip
            .handle_request(&mut self.net, &mut self.host, id, request, now);
        id
    }

    fn ask(&mut self, request: Request) -> Response {
        let id = self.begin(request);
        let (of, response) = self.until("a response", |world| world.whip.poll_response());
        assert_eq!(of, id);
        // Browsers reject duplicates.
        let mut names: Vec<_> = response
            .headers
            .iter()
            .map(|(name, _)| name.to_lowercase())
            .collect();
        names.retain(|name| name != "link");
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "twice in {response:?}");
        response
    }

    fn client(&mut self) -> PeerId {
        let config = PeerConfig::default()
            .include_loopback(true)
            .port(PortPolicy::Own);
        self.net.add_peer(config).unwrap()
    }

    /// Creates a client that sends or receives video; returns its offer.
    fn offerer(&mut self, kind: Kind) -> (PeerId, TransceiverId, String) {
        let client = self.client();
        let mut peer = self.net.peer(client).unwrap();
        let config = TransceiverConfig::default().codecs([Codec::Vp8]);
        let track = match kind {
            Kind::Publish => {
                let config = config.direction(crate::proto::peer::Direction::SendOnly);
                peer.add_track(MediaKind::Video, config)
            }
            Kind::View => {
                let config = config.direction(crate::proto::peer::Direction::RecvOnly);
                peer.add_transceiver(MediaKind::Video, config)
            }
        };
        let offer = peer.negotiate().unwrap();
        (client, track.unwrap(), offer.sdp)
    }

    fn wait_for_state(&mut self, client: PeerId, wanted: ConnectionState) {
        self.until("a state of the connection", |world| {
            let peer = world.net.peer(client).ok()?;
            (peer.connection_state() == wanted).then_some(())
        });
    }

    /// Creates a client with a session; returns its peer, its track, and the session's path.
    fn connect(&mut self, kind: Kind, path: &str) -> (PeerId, TransceiverId, String) {
        let (client, track, offer) = self.offerer(kind);
        let created = self.ask(post(path, &offer));
        assert_eq!(created.status, 201, "{}", text(&created));
        let answer = SessionDescription::answer(text(&created));
        self.net.peer(client).unwrap().receive(answer).unwrap();
        self.wait_for_state(client, ConnectionState::Connected);
        (client, track, header(&created, "Location").to_owned())
    }
}

fn request(method: &str, path: &str) -> Request {
    Request::new(method, path, ([192, 0, 2, 9], 4000).into())
}

fn with(mut request: Request, name: &str, value: &str) -> Request {
    request.headers.push((name.to_owned(), value.to_owned()));
    request
}

fn post(path: &str, offer: &str) -> Request {
    let mut post = with(request("POST", path), "content-type", "application/sdp");
    post.body = offer.as_bytes().to_vec();
    post
}

fn patch(path: &str, tag: &str, fragment: &str) -> Request {
    let patch = with(request("PATCH", path), "if-match", tag);
    let mut patch = with(patch, "content-type", sdpfrag::MEDIA_TYPE);
    patch.body = fragment.as_bytes().to_vec();
    patch
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.clone()).unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let mut headers = response.headers.iter();
    let found = headers.find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map_or("", |(_, value)| value)
}

fn problem(response: &Response) -> String {
    assert_eq!(header(response, "content-type"), "application/problem+json");
    let value: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(value["status"], response.status);
    value["detail"].as_str().unwrap().to_owned()
}

#[test]
fn published_media_is_watched() {
    let mut world = World::new(WhipConfig::default());
    let (publisher, track, session) = world.connect(Kind::Publish, "/whip/cam");
    assert!(session.starts_with("/whip/cam/") && session.len() == "/whip/cam/".len() + 32);
    let (viewer, _, _) = world.connect(Kind::View, "/whep/cam");
    let (stats, names) = (world.whip.stats(), world.whip.sessions().map(|s| s.name));
    assert_eq!((stats.publishers, stats.viewers, stats.created), (1, 1, 2));
    assert!(names.into_iter().all(|name| name == "cam"));
    let begin = Instant::now();
    world.until("a frame", |world| {
        let keyframe: &[u8] = &[0x50, 1, 0, 0x9D, 1, 0x2A, 64, 0, 48, 0, 7, 7, 7];
        let frame = EncodedFrame::new(keyframe.to_vec(), begin.elapsed());
        world
            .net
            .peer(publisher)
            .unwrap()
            .write_frame(track, &frame)
            .unwrap();
        let got = |(id, e): &(PeerId, PeerEvent)| {
            *id == viewer && matches!(e, PeerEvent::Frame(f) if f.data[..] == *keyframe)
        };
        world.events.iter().any(got).then_some(())
    });
    // A second publisher is refused while the first one is there.
    let (_, _, offer) = world.offerer(Kind::Publish);
    let busy = world.ask(post("/whip/cam", &offer));
    assert_eq!(busy.status, 409);
    assert!(problem(&busy).contains("somebody else is publishing"));
    // A trailing slash is ignored.
    let with_slash = format!("{session}/");
    let ended = world.ask(request("DELETE", &with_slash));
    assert_eq!(ended.status, 200);
    assert_eq!(world.ask(request("DELETE", &with_slash)).status, 404);
    assert_eq!(world.ask(request("DELETE", &session)).status, 404);
    world.until("the stream to be free", |world| {
        world.host.publishers.is_empty().then_some(())
    });
    let (_, _, offer) = world.offerer(Kind::Publish);
    assert_eq!(world.ask(post("/whip/cam", &offer)).status, 201);
}

/// The certificate is not that of the offer.
#[test]
fn a_session_that_fails_is_remembered_with_its_reason() {
    let mut world = World::new(WhipConfig::default());
    let (client, _, offer) = world.offerer(Kind::Publish);
    let at = offer.find("a=fingerprint:sha-256 ").unwrap() + "a=fingerprint:sha-256 ".len();
    let mut forged = offer.clone();
    let digit = if &offer[at..=at] == "0" { "1" } else { "0" };
    forged.replace_range(at..=at, digit);
    let created = world.ask(post("/whip/cam", &forged));
    let answer = SessionDescription::answer(text(&created));
    world.net.peer(client).unwrap().receive(answer).unwrap();
    let failure = world.until("the failure", |world| world.whip.failures().next().cloned());
    assert_eq!(
        (failure.kind, failure.name.as_str()),
        (Kind::Publish, "cam")
    );
    assert_eq!(failure.client, request("GET", "/").client.ip());
    assert!(failure.why.contains("fingerprint"), "{}", failure.why);
    world.until("the session to end", |world| {
        world.whip.sessions().next().is_none().then_some(())
    });
    // The client hears it with its next request.
    let gone = world.ask(request("DELETE", header(&created, "location")));
    let detail = problem(&gone);
    assert!(
        detail.contains("it has failed: ") && detail.contains("fingerprint"),
        "{detail}"
    );
}

#[test]
fn restart_and_trickle() {
    let mut world = World::new(WhipConfig::default());
    let (client, _, offer) = world.offerer(Kind::Publish);
    let created = world.ask(post("/whip/cam", &offer));
    let (session, tag) = (header(&created, "location"), header(&created, "etag"));
    assert_eq!(header(&created, "accept-patch"), sdpfrag::MEDIA_TYPE);
    assert!(text(&created).contains("a=recvonly") && text(&created).contains("a=candidate:"));
    // Nothing is connected yet: candidates are sent by PATCH.
    let local = world.net.peer(client).unwrap().local_description().unwrap();
    let mut fragment = SdpFragment::of_description(&local.sdp).unwrap();
    fragment.end_of_candidates = true;
    let text_of = fragment.to_text();
    let missing = with(
        request("PATCH", session),
        "content-type",
        sdpfrag::MEDIA_TYPE,
    );
    let mut missing = missing;
    missing.body = text_of.clone().into_bytes();
    assert_eq!(world.ask(missing).status, 428);
    let stale = world.ask(patch(session, "\"ice-7\"", &text_of));
    assert_eq!(stale.status, 412);
    let taken = world.ask(patch(session, tag, &text_of));
    assert_eq!(
        (taken.status, taken.body.len()),
        (204, 0),
        "{}",
        text(&taken)
    );
    assert_eq!(header(&taken, "etag"), "");
    let answer = SessionDescription::answer(text(&created));
    let mut peer = world.net.peer(client).unwrap();
    peer.receive(answer).unwrap();
    world.wait_for_state(client, ConnectionState::Connected);

    // The client restarts ICE, and stays connected with new credentials.
    let mut peer = world.net.peer(client).unwrap();
    peer.restart_ice().unwrap();
    let again = peer.negotiate().unwrap();
    let ours = SdpFragment::of_description(&again.sdp).unwrap();
    let restarted = world.ask(patch(session, "\"*\"", &ours.to_text()));
    assert_eq!(restarted.status, 200, "{}", text(&restarted));
    assert_ne!(header(&restarted, "etag"), tag);
    let theirs = SdpFragment::parse(&restarted.body).unwrap();
    assert!(!theirs.candidates.is_empty() && theirs.ufrag.is_some());
    let answer = theirs.applied_to(&text(&created));
    let mut peer = world.net.peer(client).unwrap();
    peer.receive(SessionDescription::answer(answer)).unwrap();
    for candidate in &theirs.candidates {
        peer.add_ice_candidate(Some(&candidate.to_init())).unwrap();
    }
    world.wait_for_state(client, ConnectionState::Connected);
    world.until("the path of the new generation", |world| {
        let session = world.whip.sessions.values().next()?;
        (session.state == ConnectionState::Connected && session.generation == 2).then_some(())
    });
    assert_eq!(world.whip.stats().restarts, 1);
    // Candidates of the previous generation are useless; its credentials cannot return.
    assert_eq!(world.ask(patch(session, tag, &text_of)).status, 412);
    let old = world.ask(patch(session, "*", &text_of));
    assert_eq!(old.status, 409, "{}", text(&old));
}

#[test]
fn a_bad_request_is_told_what_is_wrong_and_ends_nothing() {
    let mut world = World::new(WhipConfig::default());
    let (client, _, session) = world.connect(Kind::Publish, "/whip/cam");
    let (_, _, offer) = world.offerer(Kind::Publish);
    let recvonly = offer.replace("a=sendonly", "a=recvonly");
    let cases = [
        (post("/whip/x", ""), 400, "v=0"),
        (post("/whip/x", "v=0\r\n"), 422, "neither"),
        (
            post("/whip/x", &offer.replace("a=ice-ufrag", "a=x")),
            400,
            "ice-ufrag",
        ),
        (
            post("/whip/x", &offer.replace("a=fingerprint", "a=x")),
            400,
            "fingerprint",
        ),
        (post("/whip/x", &recvonly), 422, "use WHEP"),
        (post("/whep/x", &offer), 422, "use WHIP"),
        (post("/whep/x", &recvonly), 409, "nothing to watch"),
        (post("/whip/file", &offer), 403, "source of its own"),
        (post("/whip/nothing", &offer), 404, "no such stream"),
        (
            post(&format!("/whip/{}", "x".repeat(129)), &offer),
            404,
            "no such stream",
        ),
        (
            post("/whip/x", &format!("{offer}{}", "a=x\r\n".repeat(20_000))),
            413,
            "limit",
        ),
        (post("/whip/", &offer), 404, "/whip/NAME"),
        (request("POST", "/whip/x"), 415, "application/sdp"),
        (request("GET", "/whip/x"), 405, "POST"),
        (request("GET", &session), 405, "PATCH"),
        (request("PATCH", &session), 415, "none"),
        (patch(&session, "*", "hello"), 400, "fragment"),
        (patch(&session, "*", "a=ice-ufrag:abcd\r\n"), 400, "missing"),
        (patch("/whip/cam/0", "*", ""), 404, "by POST"),
        (
            request("DELETE", &session.replace("/whip/", "/whep/")),
            404,
            "by POST",
        ),
    ];
    for (request, status, says) in cases {
        let what = format!("{} {}", request.method, request.path);
        let response = world.ask(request);
        assert_eq!(response.status, status, "{what}: {}", text(&response));
        let detail = problem(&response);
        assert!(detail.contains(says), "{what}: {detail}");
    }
    let not_live = world.ask(post("/whep/x", &recvonly));
    assert_eq!(header(&not_live, "retry-after"), "3");
    assert_eq!(
        header(&world.ask(request("GET", "/whip/x")), "allow"),
        "OPTIONS, POST"
    );
    assert_eq!(world.whip.stats().publishers, 1);
    let state = world.net.peer(client).unwrap().connection_state();
    assert_eq!(state, ConnectionState::Connected);
    // Peers of refused offers are removed.
    world.until("refused peers to be gone", |world| {
        (world.whip.peers.len() == 1).then_some(())
    });
}

#[test]
fn tokens() {
    let config = WhipConfig::default()
        .publish_token(Some(Token::new("in")))
        .view_token(Some(Token::new("out")));
    let mut world = World::new(config);
    let (_, _, offer) = world.offerer(Kind::Publish);
    let none = world.ask(post("/whip/cam", &offer));
    assert_eq!(
        (none.status, header(&none, "www-authenticate")),
        (401, "Bearer")
    );
    let wrong = with(post("/whip/cam", &offer), "authorization", "Bearer out");
    let wrong = world.ask(wrong);
    assert_eq!(wrong.status, 401);
    assert!(header(&wrong, "www-authenticate").contains("invalid_token"));
    let right = with(post("/whip/cam", &offer), "authorization", "Bearer in");
    let created = world.ask(right);
    assert_eq!(created.status, 201);
    let session = header(&created, "location");
    assert_eq!(world.ask(request("DELETE", session)).status, 401);
    let ended = with(request("DELETE", session), "authorization", "bearer in");
    assert_eq!(world.ask(ended).status, 200);
}

#[test]
fn origins_and_preflights() {
    let origins = Origins::Listed(vec!["https://page.example".into()]);
    let mut world = World::new(WhipConfig::default().origins(origins));
    let preflight = with(
        request("OPTIONS", "/whip/cam"),
        "origin",
        "https://page.example",
    );
    let allowed = world.ask(preflight);
    assert_eq!(allowed.status, 200);
    let headers = [
        "access-control-allow-origin",
        "access-control-allow-headers",
    ];
    let [origin, allow] = headers.map(|name| header(&allowed, name));
    assert_eq!(origin, "https://page.example");
    assert!(allow.contains("Authorization") && allow.contains("If-Match"));
    assert_eq!(header(&allowed, "accept-post"), "application/sdp");
    let (_, _, offer) = world.offerer(Kind::Publish);
    let stranger = with(post("/whip/cam", &offer), "origin", "https://evil.example");
    let refused = world.ask(stranger);
    assert_eq!(refused.status, 403);
    assert!(problem(&refused).contains("evil.example"));
    let page = with(post("/whip/cam", &offer), "origin", "https://page.example");
    let created = world.ask(page);
    assert_eq!(created.status, 201);
    assert!(header(&created, "access-control-expose-headers").contains("Location"));
}

/// Pages of other origins can read every response, including refusals.
#[test]
fn every_answer_can_be_read_by_pages_of_other_origins() {
    let config = WhipConfig::default()
        .origins(Origins::Any)
        .publish_token(Some(Token::new("in")))
        .max_per_client(1);
    let mut world = World::new(config);
    let (_, _, offer) = world.offerer(Kind::Publish);
    let post = |path: &str| post(path, &offer);
    let publishes = || with(post("/whip/cam"), "authorization", "Bearer in");
    let as_page = |request| with(request, "origin", "https://page.example");
    for (request, status) in [
        (request("OPTIONS", "/whip/cam"), 200),
        (request("OPTIONS", "/whep/cam"), 200),
        (request("OPTIONS", "/whep/cam/0123"), 200),
        (post("/whip/cam"), 401),
        (post("/whep/a/0123"), 405),
        (post("/whep/"), 404),
        (post("/whip"), 404),
        (request("DELETE", "/whep/cam/0123"), 404),
        (request("PUT", "/whep/cam"), 405),
        (request("POST", "/whep/cam"), 415),
        (post("/whep/cam"), 422),
        (publishes(), 201),
        (publishes(), 429),
    ] {
        let what = format!("{} {}", request.method, request.path);
        let answer = world.ask(as_page(request));
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(header(&answer, "access-control-allow-origin"), "*");
        let exposed = header(&answer, "access-control-expose-headers");
        assert!(exposed.contains("Location") && exposed.contains("Retry-After"));
    }
    let refused = Response::problem(401, "Not authorized", "no");
    let id = RequestId(1 << 40);
    world.whip.refuse(id, &as_page(post("/whip/cam")), refused);
    let (of, refused) = world.whip.poll_response().unwrap();
    assert_eq!(
        (of, header(&refused, "access-control-allow-origin")),
        (id, "*")
    );
}

/// S7: what a client can make the server compute is limited in rate, and restarts count like offers.
#[test]
fn offers_and_restarts_have_a_rate_for_each_client() {
    let config = WhipConfig::default().offer_burst(3).offers_per_second(1);
    let mut world = World::new(config);
    let bad = |client: [u8; 4]| {
        let mut request = post("/whip/cam", "no offer");
        request.client = (client, 1).into();
        request
    };
    for _ in 0..3 {
        assert_eq!(world.ask(bad([192, 0, 2, 1])).status, 400);
    }
    let many = world.ask(bad([192, 0, 2, 1]));
    assert_eq!((many.status, header(&many, "retry-after")), (429, "1"));
    assert_eq!(world.ask(bad([192, 0, 2, 2])).status, 400);
    // An offer of 24 KiB counts as four.
    let long = "v=0\r\n".repeat(24 * 1024 / 5);
    let mut request = post("/whip/cam", &long);
    request.client = ([192, 0, 2, 3], 1).into();
    assert_eq!(world.ask(request).status, 400);
    assert_eq!(world.ask(bad([192, 0, 2, 3])).status, 429);
    let (_, _, session) = world.connect(Kind::Publish, "/whip/cam");
    let restart = |n: u32| {
        let fragment = format!("a=ice-ufrag:abcd{n}\r\na=ice-pwd:0123456789012345678901234\r\n");
        patch(&session, "*", &fragment)
    };
    assert_eq!(world.ask(restart(1)).status, 200);
    assert_eq!(world.ask(restart(2)).status, 200);
    assert_eq!(world.ask(restart(3)).status, 429);
}

/// Behind a proxy with a path prefix.
#[test]
fn the_location_is_under_the_prefix() {
    let mut world = World::new(WhipConfig::default());
    let (_, _, offer) = world.offerer(Kind::Publish);
    let mut request = post("/whip/cam", &offer);
    request.prefix = "/live".into();
    let created = world.ask(request);
    assert!(header(&created, "location").starts_with("/live/whip/cam/"));
}

#[test]
fn limits_and_deadlines() {
    let config = WhipConfig::default()
        .max_per_client(2)
        .max_sessions(3)
        .connect_deadline(Duration::from_millis(300));
    let mut world = World::new(config);
    let (_, _, offer) = world.offerer(Kind::Publish);
    for name in ["a", "b"] {
        assert_eq!(
            world.ask(post(&format!("/whip/{name}"), &offer)).status,
            201
        );
    }
    let many = world.ask(post("/whip/c", &offer));
    assert_eq!((many.status, header(&many, "retry-after")), (429, "5"));
    let mut other = post("/whip/c", &offer);
    other.client = ([192, 0, 2, 10], 1).into();
    assert_eq!(world.ask(other).status, 201);
    let mut third = post("/whip/d", &offer);
    third.client = ([192, 0, 2, 11], 1).into();
    assert_eq!(world.ask(third).status, 503);
    // None of them ever connects.
    world.until("all to be removed", |world| {
        (world.whip.stats().never_connected == 3).then_some(())
    });
    world.until("their peers to be gone", |world| {
        (world.host.closed == 3 && world.whip.peers.is_empty()).then_some(())
    });
    assert_eq!(world.whip.next_deadline(), None);
    assert!(world.whip.per_client.total() == 0);
}

#[test]
fn ice_servers_are_offered_and_an_answer_does_not_wait_for_them_long() {
    // Nobody answers at this address (RFC 5737).
    let silent = IceServer::turn("turn:192.0.2.1:3478", "user", "secret");
    let peer = PeerConfig::default().ice_servers(vec![silent]);
    let config = WhipConfig::default()
        .peer(peer)
        .gather_deadline(Duration::from_millis(200));
    let mut world = World::new(config);
    let (_, _, offer) = world.offerer(Kind::Publish);
    let begin = Instant::now();
    let created = world.ask(post("/whip/cam", &offer));
    assert_eq!(created.status, 201);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        text(&created).contains("a=candidate:"),
        "host candidates are there"
    );
    let link = header(&created, "link");
    assert!(
        link.contains("<turn:192.0.2.1:3478>") && link.contains("username=\"user\""),
        "{link}"
    );
    world.whip.close(&mut world.net);
    assert_eq!(world.whip.sessions().count(), 0);
}

/// Damaged input is refused, or creates a session that never connects, without other effects.
#[test]
fn damaged_offers_and_fragments_end_nothing() {
    let config = WhipConfig::default()
        .max_per_client(20)
        .connect_deadline(Duration::from_millis(200));
    let mut world = World::new(config);
    let (_, _, offer) = world.offerer(Kind::Publish);
    let created = world.ask(post("/whip/good", &offer));
    let session = header(&created, "location").to_owned();
    let fragment = SdpFragment::of_description(&offer).unwrap().to_text();
    let mut rng = crate::testing::Rng::new(5);
    let mut damage = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..1 + rng.next_u64() % 4 {
            let at = rng.next_u64() as usize % bytes.len();
            match rng.next_u64() % 3 {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => drop(bytes.drain(at..bytes.len().min(at + 9))),
                _ => bytes.truncate(at + 1),
            }
        }
        bytes
    };
    for round in 0..150 {
        let mut request = match round % 3 {
            0 => patch(&session, "*", ""),
            1 => post("/whep/good", ""),
            _ => post(&format!("/whip/other{round}"), ""),
        };
        request.body = damage(if round % 3 == 0 { &fragment } else { &offer });
        let response = world.ask(request);
        let status = response.status;
        assert!([200, 201, 204].contains(&status) || (400..=503).contains(&status));
        assert_ne!(status, 500, "{}", text(&response));
    }
    world.until("all to be gone", |world| {
        (world.whip.sessions.is_empty() && world.whip.peers.is_empty()).then_some(())
    });
    assert_eq!(world.net.stats().panics, 0);
}

/// The offers of `tests/data/cases`: refusals have the same text as those of a peer, and a session's answer fits its
/// offer. No text contains a memory address (S17).
#[test]
fn answers_fit_the_offers_of_all_makes() {
    use crate::proto::sdp::{Sdp, Strictness, check_answer};
    let config = WhipConfig::default().offer_burst(1000);
    let mut world = World::new(config);
    world.connect(Kind::Publish, "/whip/cam");
    let table = std::fs::read_to_string("tests/data/cases/expected.txt").unwrap();
    let rows = table.lines().filter(|l| !l.starts_with('#'));
    let (mut made, mut refused) = (0, 0);
    for (file, expected) in rows.filter_map(|row| row.split_once(' ')) {
        if !file.ends_with(".sdp") {
            continue;
        }
        let offer = std::fs::read_to_string(format!("tests/data/cases/{file}")).unwrap();
        let path = match file.contains("whep") {
            true => "/whep/cam".to_owned(),
            false => format!("/whip/{made}"),
        };
        let response = world.ask(post(&path, &offer));
        let body = text(&response);
        // The random names in an answer may have any letters.
        let is_clean = !body.contains("PointerOffset") && !body.contains("0x");
        assert!(response.status == 201 || is_clean, "{file}: {body}");
        if response.status == 201 {
            made += 1;
            let (offered, answered) = (Sdp::parse(&offer).unwrap(), Sdp::parse(&body).unwrap());
            check_answer(&offered, &answered, Strictness::Ours).unwrap();
            assert!(!expected.trim().starts_with("refused"), "{file}");
            let location = header(&response, "location").to_owned();
            assert_eq!(world.ask(request("DELETE", &location)).status, 200);
            continue;
        }
        refused += 1;
        assert!((400..500).contains(&response.status), "{file}: {body}");
        let detail = problem(&response);
        match expected.trim().strip_prefix("refused: ") {
            // The server's own check may come first, with the same line.
            Some(why) => {
                let line = why.split(": ").nth(1).unwrap();
                assert!(detail.contains(line), "{file}: {detail}, not {why}");
            }
            // It may be unusable for WHIP.
            None => assert!(!detail.is_empty(), "{file}"),
        }
    }
    assert!(made > 100 && refused > 8, "{made} made, {refused} refused");
}

/// S18: an offer may have more candidates than are used. Later candidates still belong to its generation.
#[test]
fn an_offer_with_many_candidates_can_be_trickled_to() {
    let mut world = World::new(WhipConfig::default());
    let (client, _, offer) = world.offerer(Kind::Publish);
    let more = |n: usize| {
        format!(
            "a=candidate:{n} 1 udp 1 127.0.0.1 {} typ host\r\n",
            1000 + n
        )
    };
    let offer = offer + &(0..70).map(more).collect::<String>();
    let created = world.ask(post("/whip/cam", &offer));
    assert_eq!(created.status, 201, "{}", text(&created));
    let (session, tag) = (header(&created, "location"), header(&created, "etag"));
    let local = world.net.peer(client).unwrap().local_description().unwrap();
    let fragment = SdpFragment::of_description(&local.sdp).unwrap().to_text();
    assert_eq!(world.ask(patch(session, tag, &fragment)).status, 204);
    // S5: a ufrag that the core cannot write is refused by PATCH as well.
    let long = format!(
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        "u".repeat(112),
        "p".repeat(22)
    );
    let refused = world.ask(patch(session, "*", &long));
    assert_eq!(refused.status, 400);
    assert!(
        problem(&refused).contains("4 to 111"),
        "{}",
        problem(&refused)
    );
}
