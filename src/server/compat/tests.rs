//! The interfaces with the test card as camera, and with peers of our own as viewers.

use serde_json::{Value, json};

use super::*;
use crate::driver::{LoopConfig, PeerId};
use crate::proto::net::PortPolicy;
use crate::proto::peer::{
    ChannelConfig, Direction, MediaKind, PeerConfig, PeerEvent, SessionDescription,
    TransceiverConfig,
};
use crate::proto::rtp::base64;
use crate::server::streams::StreamsConfig;
use crate::server::whip::WhipConfig;

struct World {
    net: EventLoop,
    streams: Streams,
    whip: WhipServer,
    compat: Compat,
    cameras: Cameras<JobId>,
    requests: u64,
    /// Messages to WebSockets.
    messages: Vec<Value>,
    responses: HashMap<RequestId, Response>,
    packets: usize,
}

const LIMIT: Duration = Duration::from_secs(20);

impl World {
    fn new() -> Self {
        let peer = PeerConfig::default().include_loopback(true);
        let net = EventLoop::new(LoopConfig::default()).unwrap();
        let mut world = Self {
            cameras: Cameras::open(None, net.handle()).unwrap(),
            net,
            streams: Streams::new(StreamsConfig::default()),
            whip: WhipServer::new(WhipConfig::default().peer(peer)),
            compat: Compat::new(true),
            requests: 0,
            messages: Vec::new(),
            responses: HashMap::new(),
            packets: 0,
        };
        let card = "testcard:".parse().unwrap();
        world.streams.add("card", card).unwrap();
        world
            .compat
            .configure(&[("card".into(), "testcard:".into())]);
        world
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Compat, &mut Context<'_>) -> T) -> T {
        let mut ctx = Context {
            net: &mut self.net,
            streams: &mut self.streams,
            whip: &mut self.whip,
            cameras: &self.cameras,
            now: Instant::now(),
        };
        act(&mut self.compat, &mut ctx)
    }

    fn turn(&mut self) {
        if let Some((peer, event)) = self
            .net
            .next_event(Some(Duration::from_millis(10)))
            .unwrap()
        {
            if self.whip.owns(peer) {
                self.whip
                    .handle_peer_event(&mut self.net, &mut self.streams, peer, &event);
            } else if matches!(event, PeerEvent::Frame(..)) {
                self.packets += 1;
            }
        }
        let now = Instant::now();
        self.streams.handle_timeout(&mut self.net, now);
        self.whip.handle_timeout(&mut self.net, now);
        self.act(Compat::turn);
        self.cameras.turn(&mut self.net, &mut self.streams);
        while let Some(answer) = self.cameras.poll_answer() {
            self.act(|compat, ctx| compat.handle_change(ctx, answer.asked, answer.result));
        }
        while let Some(output) = self.compat.poll_output() {
            match output {
                Output::Respond(_, id, response) => {
                    assert!(
                        self.responses.insert(id, response).is_none(),
                        "answered twice"
                    );
                }
                Output::Change(id, change, client) => {
                    self.cameras.submit(change, id, client, Instant::now());
                }
                Output::Socket(SocketOutput::Send(_, text)) => {
                    self.messages.push(serde_json::from_str(&text).unwrap());
                }
                Output::Socket(_) => {}
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !done(self) {
            assert!(Instant::now() < end, "waited in vain for {what}");
            self.turn();
        }
    }

    fn ask_at(&mut self, port: Port, method: &str, target: &str, body: (&str, &str)) -> Response {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Request::new(method, path, ([127, 0, 0, 1], 5).into());
        query.clone_into(&mut request.query);
        request.body = body.1.as_bytes().to_vec();
        request.headers = vec![("content-type".into(), body.0.into())];
        self.requests += 1;
        let id = RequestId(self.requests);
        self.act(|compat, ctx| compat.handle_request(ctx, port, id, &request));
        self.until(target, |world| world.responses.contains_key(&id));
        self.responses.remove(&id).unwrap()
    }

    fn get(&mut self, path: &str) -> Response {
        self.ask_at(Port::Main, "GET", path, ("", ""))
    }

    fn post(&mut self, path: &str, body: &Value) -> Response {
        let body = body.to_string();
        self.ask_at(Port::Main, "POST", path, ("application/json", &body))
    }

    fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let encode = |text: &str| {
            let byte = |b: u8| format!("%{b:02X}");
            text.bytes().map(byte).collect::<String>()
        };
        let pair = |(key, value): &(&str, &str)| format!("{key}={}", encode(value));
        let body: Vec<String> = fields.iter().map(pair).collect();
        let kind = "application/x-www-form-urlencoded; charset=UTF-8";
        self.ask_at(Port::Main, "POST", path, (kind, &body.join("&")))
    }

    /// Returns a viewer with an offer as those pages make it: `sendrecv`, and a data channel.
    fn viewer(&mut self) -> (PeerId, String) {
        let config = PeerConfig::default()
            .include_loopback(true)
            .port(PortPolicy::Own);
        let id = self.net.add_peer(config).unwrap();
        let mut peer = self.net.peer(id).unwrap();
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let both = TransceiverConfig::default().direction(Direction::SendRecv);
            peer.add_transceiver(kind, both).unwrap();
        }
        peer.create_data_channel(ChannelConfig::new("foo")).unwrap();
        peer.set_local_description(None).unwrap();
        let offer = peer.local_description().unwrap().sdp;
        assert!(
            offer.contains("a=sendrecv") && offer.contains("m=application"),
            "{offer}"
        );
        (id, offer)
    }

    /// The viewer gets media.
    fn plays(&mut self, viewer: PeerId, answer: &str) {
        assert!(
            answer.contains("a=candidate:") && !answer.contains("a=sendrecv"),
            "{answer}"
        );
        let answer = SessionDescription::answer(answer);
        self.net
            .peer(viewer)
            .unwrap()
            .set_remote_description(answer)
            .unwrap();
        let before = self.packets;
        self.until("frames", |world| world.packets > before + 5);
    }
}

fn body(response: &Response) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

fn of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn decoded(text: &str) -> String {
    String::from_utf8(base64::decode(text).unwrap()).unwrap()
}

#[test]
fn rtsp_to_webrtc_as_its_page_uses_it() {
    let mut world = World::new();
    assert_eq!(world.get("/static").status, 301);
    assert_eq!(world.get("/static/").status, 200);
    let codecs = world.get("/stream/codec/card");
    assert_eq!(body(&codecs), r#"[{"Type":"video"},{"Type":"audio"}]"#);
    let (viewer, offer) = world.viewer();
    let offer = base64::encode(offer.as_bytes());
    let fields = [("suuid", "card"), ("data", offer.as_str())];
    let answer = world.form("/stream/receiver/card", &fields);
    assert_eq!(answer.status, 200);
    world.plays(viewer, &decoded(body(&answer)));
    // Errors are empty there; here the reason is in a header.
    let missing = world.form(
        "/stream/receiver/card",
        &[("suuid", "nobody"), ("data", &offer)],
    );
    assert_eq!((missing.status, body(&missing)), (200, ""));
    assert!(missing.headers.iter().any(|(name, _)| name == "X-Error"));
    assert_eq!(body(&world.get("/stream/codec/nobody")), "");
    let page = world.get("/stream/player/card");
    assert!(
        page.headers
            .contains(&("Location".into(), "/watch/card".into()))
    );
}

#[test]
fn a_url_is_a_stream() {
    let mut world = World::new();
    let (viewer, offer) = world.viewer();
    let offer = base64::encode(offer.as_bytes());
    let url = "testcard:";
    let answer = world.form("/stream", &[("url", url), ("sdp64", &offer)]);
    assert_eq!(answer.status, 200, "{}", body(&answer));
    assert_eq!(of(&answer)["tracks"], json!(["video", "audio"]));
    let sdp = decoded(of(&answer)["sdp64"].as_str().unwrap());
    world.plays(viewer, &sdp);
    // It is the stream of the configuration, not another one.
    assert_eq!(world.streams.list().count(), 1);
    for (url, word) in [
        ("file:/etc/passwd", "rtsp://"),
        ("exec:id", "rtsp://"),
        ("-", "rtsp://"),
    ] {
        let refused = world.form("/stream", &[("url", url), ("sdp64", &offer)]);
        assert_eq!(refused.status, 500);
        assert!(of(&refused)["error"].as_str().unwrap().contains(word));
    }
    let refused = world.form("/stream", &[("url", url), ("sdp64", "?")]);
    assert!(of(&refused)["error"].as_str().unwrap().contains("base64"));
}

/// A camera for tests: plain RTP, which never comes.
const RTP: &str = "rtp://127.0.0.1:5010?codec=h264";

#[test]
fn rtsp_to_web_streams_come_change_and_go() {
    let mut world = World::new();
    let id = "PBQXU3LFMFZWK3TBMRQWY43BOM======";
    let of_two = |second: &str| {
        json!({ "name": "Hall", "channels": {
            "0": { "name": "ch1", "url": "rtp://127.0.0.1:5004?codec=h264", "on_demand": true, "audio": true },
            "1": { "url": second, "on_demand": true, "audio": true },
        }})
    };
    let stream = of_two("rtp://127.0.0.1:5006?codec=vp8");
    let added = world.post(&format!("/stream/{id}/add"), &stream);
    assert_eq!(of(&added), json!({ "status": 1, "payload": "success" }));
    let listed = of(&world.get("/streams"));
    let hall = &listed["payload"][id];
    assert_eq!(*hall, stream);
    assert_eq!(
        listed["payload"]["card"]["channels"]["0"]["url"],
        "testcard:"
    );
    // The same again changes nothing; something else does not take its place.
    assert_eq!(
        world.post(&format!("/stream/{id}/add"), &stream).status,
        200
    );
    let other = of_two("rtp://127.0.0.1:5008?codec=vp8");
    let taken = world.post(&format!("/stream/{id}/add"), &other);
    assert_eq!(
        (taken.status, &of(&taken)["payload"]),
        (500, &json!("stream already exists"))
    );
    let (_, offer) = world.viewer();
    let data = base64::encode(offer.as_bytes());
    let answer = world.form(
        &format!("/stream/{id}/channel/1/webrtc"),
        &[("data", &data)],
    );
    assert!(decoded(body(&answer)).contains("VP8"));
    let edited = world.post(&format!("/stream/{id}/edit"), &stream);
    assert_eq!(edited.status, 200);
    assert_eq!(
        world.streams.viewer_count(),
        1,
        "an edit without a change does not restart"
    );
    assert_eq!(
        of(&world.get(&format!("/stream/{id}/info")))["payload"],
        *hall
    );
    assert_eq!(world.get(&format!("/stream/{id}/reload")).status, 200);
    assert_eq!(world.streams.viewer_count(), 1, "viewers stay");
    assert_eq!(
        world.post(&format!("/stream/{id}/edit"), &other).status,
        200
    );
    assert_eq!(world.streams.viewer_count(), 0, "it is another source");
    let channel = format!("/stream/{id}/channel/2");
    let settings = json!({ "url": RTP, "on_demand": true, "audio": true });
    assert_eq!(world.post(&format!("{channel}/add"), &settings).status, 200);
    let info = of(&world.get(&format!("{channel}/info")));
    assert_eq!(info["payload"], settings);
    assert_eq!(world.get(&format!("{channel}/delete")).status, 200);
    let gone = world.get(&format!("{channel}/info"));
    assert_eq!(
        of(&gone),
        json!({ "status": 0, "payload": "stream channel not found" })
    );
    assert_eq!(world.get(&format!("/stream/{id}/delete")).status, 200);
    let gone = world.get(&format!("/stream/{id}/info"));
    assert_eq!(
        (gone.status, of(&gone)),
        (500, json!({ "status": 0, "payload": "stream not found" }))
    );
    // What is in the configuration stays.
    assert_eq!(world.get("/stream/card/delete").status, 500);
    assert_eq!(world.streams.list().count(), 1);
}

#[test]
fn rtsp_to_web_many_at_once() {
    let mut world = World::new();
    let one = json!({ "channels": { "0": { "url": RTP, "on_demand": true, "audio": true } } });
    let bad = json!({ "channels": { "0": { "url": "file:x" } } });
    let added = world.post(
        "/streams/multi/control/add",
        &json!({ "streams": { "a": one, "b": bad } }),
    );
    assert_eq!(added.status, 200);
    let added = of(&added);
    assert_eq!(
        (&added["status"], &added["payload"]["a"]["status"]),
        (&json!(0), &json!(1))
    );
    assert!(
        added["payload"]["b"]["payload"]
            .as_str()
            .unwrap()
            .contains("rtsp")
    );
    let removed = of(&world.post("/streams/multi/control/delete", &json!(["a"])));
    assert_eq!(
        removed["payload"]["a"],
        json!({ "status": 1, "payload": "success" })
    );
    let nothing = of(&world.post("/streams/multi/control/add", &json!({})));
    assert_eq!(nothing["payload"], "streams len zero");
    let bad = world.ask_at(
        Port::Main,
        "POST",
        "/stream/x/add",
        ("application/json", "{"),
    );
    assert_eq!(bad.status, 400);
}

#[test]
fn rtsp_to_web_codecs() {
    let mut world = World::new();
    let codecs = world.get("/stream/card/channel/0/codec");
    let codecs = of(&codecs);
    let [video, audio] = codecs["payload"].as_array().unwrap().as_slice() else {
        panic!("{codecs}");
    };
    assert_eq!(audio, &json!({ "SampleRate_": 48000, "ChannelLayout_": 6 }));
    assert!(video.get("RecordInfo").is_some());
    // Once the source runs, its parameter sets are there.
    world.until("a keyframe", |world| {
        world.streams.wake(&mut world.net, "card").unwrap();
        world
            .streams
            .keyframe("card", crate::proto::media::Codec::H264)
            .is_some()
    });
    let codecs = of(&world.get("/stream/card/channel/0/codec"));
    let video = &codecs["payload"][0];
    assert_eq!(video["SPSInfo"]["Width"], 640, "{video}");
    let record = base64::decode(video["Record"].as_str().unwrap()).unwrap();
    assert_eq!(record[0], 1);
    assert_eq!(video["RecordInfo"]["AVCProfileIndication"], record[1]);
    let missing = world.get("/stream/card/channel/7/codec");
    assert_eq!(of(&missing)["payload"], "stream channel not found");
}

#[test]
fn unknown_paths_methods_and_what_is_not_served_yet() {
    let mut world = World::new();
    for (method, path, status) in [
        ("GET", "/stream/card/channel/0/mse", 501),
        ("GET", "/stream/card/channel/0/hls/live/index.m3u8", 501),
        ("GET", "/stream/card/nothing", 404),
        ("GET", "/stream", 405),
        ("DELETE", "/streams", 405),
        ("OPTIONS", "/streams", 204),
    ] {
        let response = world.ask_at(Port::Main, method, path, ("", ""));
        assert_eq!(response.status, status, "{method} {path}");
    }
}

#[test]
fn go2rtc_streams_and_offers() {
    let mut world = World::new();
    let ask = |world: &mut World, method: &str, target: &str| {
        world.ask_at(Port::Go2rtc, method, target, ("", ""))
    };
    assert_eq!(of(&ask(&mut world, "GET", "/api"))["version"], "1.9.13");
    assert!(
        of(&ask(&mut world, "GET", "/api/schemes"))
            .as_array()
            .unwrap()
            .contains(&json!("rtsp"))
    );
    let refused = ask(
        &mut world,
        "PUT",
        "/api/streams?name=x&src=exec:id&src=ffmpeg:x%23audio%3Dopus",
    );
    assert_eq!(refused.status, 400);
    let all = of(&ask(&mut world, "GET", "/api/streams"));
    assert_eq!(
        all,
        json!({ "card": { "producers": [{ "url": "testcard:" }], "consumers": null } })
    );
    assert_eq!(ask(&mut world, "GET", "/api/streams?src=x").status, 404);
    assert_eq!(ask(&mut world, "DELETE", "/api/streams?src=x").status, 404);
    assert_eq!(
        ask(&mut world, "GET", "/api/frame.jpeg?src=card").status,
        501
    );
    // Preloading.
    assert_eq!(
        ask(&mut world, "PUT", "/api/preload?src=card&video=all").status,
        200
    );
    world.until("the source to run", |w| {
        w.streams.info("card").unwrap().state.as_str() == "live"
    });
    assert_eq!(
        of(&ask(&mut world, "GET", "/api/preload")),
        json!({ "card": { "query": "video=all" } })
    );
    assert_eq!(
        ask(&mut world, "DELETE", "/api/preload?src=card").status,
        200
    );
    assert_eq!(of(&ask(&mut world, "GET", "/api/preload")), json!({}));
    // An offer, in each form.
    let (viewer, offer) = world.viewer();
    let body_json = json!({ "type": "offer", "sdp": offer }).to_string();
    let target = "/api/webrtc?src=card";
    let answer = world.ask_at(
        Port::Go2rtc,
        "POST",
        target,
        ("application/json", &body_json),
    );
    assert_eq!(of(&answer)["type"], "answer");
    let sdp = of(&answer)["sdp"].as_str().unwrap().to_owned();
    world.plays(viewer, &sdp);
    let (viewer, offer) = world.viewer();
    let answer = world.ask_at(Port::Go2rtc, "POST", target, ("application/sdp", &offer));
    assert_eq!(answer.status, 201);
    let sdp = body(&answer).to_owned();
    world.plays(viewer, &sdp);
    let bad = world.ask_at(Port::Go2rtc, "POST", target, ("application/json", "{}"));
    assert_eq!(bad.status, 400);
}

#[test]
fn go2rtc_by_websocket() {
    let mut world = World::new();
    let socket = WebSocketId(1);
    let mut request = Request::new("GET", "/api/ws", ([127, 0, 0, 1], 5).into());
    request.query = "src=card".into();
    world.compat.socket_opened(socket, &request);
    let (viewer, offer) = world.viewer();
    let say = |world: &mut World, message: Value| {
        world.act(|compat, ctx| compat.socket_message(ctx, socket, &message.to_string()));
    };
    say(
        &mut world,
        json!({ "type": "webrtc/candidate", "value": "candidate:1 1 udp 1 127.0.0.1 9 typ host" }),
    );
    say(
        &mut world,
        json!({ "type": "webrtc", "value": { "type": "offer", "sdp": offer, "ice_servers": [] } }),
    );
    world.until("an answer", |w| {
        w.messages.iter().any(|m| m["type"] == "webrtc")
    });
    let answer = world
        .messages
        .iter()
        .find(|m| m["type"] == "webrtc")
        .unwrap();
    assert_eq!(answer["value"]["type"], "answer");
    let sdp = answer["value"]["sdp"].as_str().unwrap().to_owned();
    // Candidates are in the answer or follow it.
    let mut peer = world.net.peer(viewer).unwrap();
    peer.set_remote_description(SessionDescription::answer(sdp))
        .unwrap();
    let mut added = 0;
    world.until("frames", |world| {
        let new = world
            .messages
            .iter()
            .filter(|m| m["type"] == "webrtc/candidate");
        let new: Vec<String> = new
            .skip(added)
            .map(|m| m["value"].as_str().unwrap().to_owned())
            .collect();
        added += new.len();
        for candidate in new {
            let init = crate::proto::peer::IceCandidateInit::new(candidate);
            world
                .net
                .peer(viewer)
                .unwrap()
                .add_ice_candidate(Some(&init))
                .unwrap();
        }
        world.packets > 5
    });
    assert_eq!(world.whip.stats().viewers, 1);
    // Another protocol, nonsense.
    world.messages.clear();
    say(&mut world, json!({ "type": "mse", "value": "" }));
    world.act(|compat, ctx| compat.socket_message(ctx, socket, "nonsense"));
    world.until("errors", |world| world.messages.len() == 2);
    assert!(world.messages.iter().all(|m| m["type"] == "error"));
    // With the socket, the session ends.
    world.act(|compat, ctx| compat.socket_closed(ctx, socket));
    assert_eq!(world.whip.stats().viewers, 0);
}

/// A camera that says nothing is waited for as long as those programs do, and a client has so many requests that wait.
#[test]
fn a_silent_source_is_waited_for() {
    let mut world = World::new();
    world
        .streams
        .add("silent", "whip:".parse().unwrap())
        .unwrap();
    let begun = Instant::now();
    assert_eq!(body(&world.get("/stream/codec/silent")), "");
    assert!(begun.elapsed() >= CODECS_WITHIN);
    let mut request = Request::new("GET", "/stream/codec/silent", ([127, 0, 0, 1], 5).into());
    for n in 0..=MAX_WAITS {
        let id = RequestId(1000 + n as u64);
        world.act(|compat, ctx| compat.handle_request(ctx, Port::Main, id, &request));
    }
    let last = RequestId(1000 + MAX_WAITS as u64);
    world.turn();
    assert_eq!(world.responses.get(&last).unwrap().status, 429);
    // Another client has its own.
    request.client = ([127, 0, 0, 2], 5).into();
    world.act(|compat, ctx| compat.handle_request(ctx, Port::Main, RequestId(2000), &request));
    world.turn();
    assert!(!world.responses.contains_key(&RequestId(2000)));
    // Who is gone waits no more.
    world.act(|compat, ctx| compat.handle_gone(ctx, Port::Main, RequestId(1000)));
    request.client = ([127, 0, 0, 1], 5).into();
    world.act(|compat, ctx| compat.handle_request(ctx, Port::Main, RequestId(3000), &request));
    world.turn();
    assert!(!world.responses.contains_key(&RequestId(3000)));
}

#[test]
fn what_clients_send_is_bounded() {
    let mut world = World::new();
    let one = json!({ "url": RTP, "on_demand": true, "audio": true, "name": "ä".repeat(200) });
    let stream = |channels: Value| json!({ "name": "x", "channels": channels });
    let good = stream(json!({ "0": one }));
    let long = "x".repeat(257);
    let refused = of(&world.post(&format!("/stream/{long}/add"), &good));
    assert!(refused["payload"].as_str().unwrap().contains("256"));
    let many = (0..17).map(|n| (n.to_string(), one.clone()));
    let many = Value::Object(many.collect());
    assert_eq!(world.post("/stream/x/add", &stream(many)).status, 400);
    assert_eq!(world.post("/stream/x/add", &stream(json!({}))).status, 400);
    let all = (0..257).map(|n| (n.to_string(), good.clone()));
    let all = json!({ "streams": Value::Object(all.collect()) });
    assert_eq!(world.post("/streams/multi/control/add", &all).status, 400);
    assert_eq!(world.post("/stream/x/add", &good).status, 200);
    let info = of(&world.get("/stream/x/info"));
    let name = info["payload"]["channels"]["0"]["name"].as_str().unwrap();
    assert_eq!(name.len(), 256, "it is cut between characters");
    assert_eq!(world.streams.list().count(), 2);
}

#[test]
fn streams_by_url_make_room_for_others() {
    let mut world = World::new();
    let by_url = |world: &mut World, n: usize| {
        let url = format!("testcard:?{n}");
        world.act(|compat, ctx| compat.sources.by_url(ctx, &url))
    };
    let first = by_url(&mut world, 0).unwrap();
    assert_eq!(
        by_url(&mut world, 0).unwrap(),
        first,
        "one stream for one URL"
    );
    for n in 1..40 {
        by_url(&mut world, n).unwrap();
    }
    assert_eq!(world.streams.list().count(), 1 + 32);
    assert!(world.streams.info(&first).is_none(), "the oldest has gone");
}

#[test]
fn candidates_before_a_session_are_few() {
    let mut world = World::new();
    let socket = WebSocketId(1);
    let request = Request::new("GET", "/api/ws", ([127, 0, 0, 1], 5).into());
    world.compat.socket_opened(socket, &request);
    let long = "x".repeat(2000);
    for candidate in std::iter::once(long.as_str()).chain(std::iter::repeat_n("candidate:", 100)) {
        let message = json!({ "type": "webrtc/candidate", "value": candidate }).to_string();
        world.act(|compat, ctx| compat.socket_message(ctx, socket, &message));
    }
    assert_eq!(world.compat.go2rtc.waiting_candidates(socket), 64);
}
