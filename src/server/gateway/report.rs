//! Reports on streams, viewers, rooms and the server: JSON for pages and programs, text for Prometheus.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use serde_json::{Value, json};

use super::Gateway;
use super::metrics::{Labels, Metrics};
use crate::driver::{EventLoop, PeerId};
use crate::proto::rtsp::Quirk;
use crate::server::cameras::Cameras;
use crate::server::rooms::Rooms;
use crate::server::streams::{StreamInfo, StreamState, Streams, TalkState};

/// Maximum number of viewers listed individually; others are only counted.
const MAX_VIEWERS: usize = 1000;

/// Returns `{"streams": […]}` for the pages. `editable` are those that were added while the server ran. What is wrong with
/// cameras is included with `details`.
pub(super) fn streams<A>(streams: &Streams, cameras: &Cameras<A>, details: bool) -> Value {
    let shown = |info: StreamInfo| {
        let mut value = stream(&info, false);
        if details {
            add_quirks(&mut value, &info);
        }
        value["editable"] = json!(cameras.get(&info.name).is_some());
        value
    };
    json!({ "streams": streams.list().map(shown).collect::<Vec<_>>() })
}

/// Returns everything about one stream; `camera` are its settings, for those who may change them.
pub(super) fn one(
    info: &StreamInfo,
    details: bool,
    editable: bool,
    camera: Option<Value>,
) -> Value {
    let mut value = figures(info, details);
    value["editable"] = json!(editable);
    value["camera"] = json!(camera);
    value
}

/// Returns the JSON of a stream; with `details` including the directory of its files.
fn stream(info: &StreamInfo, details: bool) -> Value {
    let text = |text: &str| match details {
        true => text.to_owned(),
        false => info.without_directories(text),
    };
    let mut value = json!({
        "name": info.name,
        "about": text(&info.source),
        "state": info.state.as_str(),
        "viewers": info.viewers,
        "codecs": info.codecs.iter().map(|codec| codec.name()).collect::<Vec<_>>(),
        "notes": info.notes.iter().map(|note| text(note)).collect::<Vec<_>>(),
    });
    if let StreamState::Failed { why, retry_at } = &info.state {
        value["why"] = json!(text(why));
        let wait = retry_at.map(|at| at.saturating_duration_since(Instant::now()).as_secs());
        value["retryIn"] = json!(wait);
    }
    if let Some(talk) = &info.talk {
        let why = match talk {
            TalkState::Failed { why } => Some(text(why)),
            _ => None,
        };
        value["talk"] = json!({ "state": talk.as_str(), "why": why });
    }
    if let Some(sub) = &info.sub {
        value["sub"] = stream(sub, details);
    }
    value
}

/// Returns all figures, for `looprtc stats` and other programs. Data about other people (addresses of viewers, names of
/// rooms, directories) is included with `details` only; otherwise rooms are listed without names, and `client` is null.
pub(super) fn stats(gateway: &mut Gateway, details: bool) -> Value {
    let listed = gateway.streams.list();
    let streams: Vec<Value> = listed.map(|info| figures(&info, details)).collect();
    let sessions = details.then(|| gateway.whip.sessions());
    let clients: HashMap<PeerId, IpAddr> = sessions
        .into_iter()
        .flatten()
        .map(|session| (session.peer, session.client))
        .collect();
    let viewers = viewers(gateway, &clients);
    let whip = gateway.whip.stats();
    let door = gateway.door.stats();
    let net = gateway.net.stats();
    let mut value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "details": details,
        "uptime": gateway.started.elapsed().as_secs(),
        "streams": streams,
        "viewers": viewers,
        "publishers": whip.publishers,
        "failures": failures(gateway, details),
        "rooms": gateway.rooms.iter().flat_map(Rooms::list).map(|room| json!({
            "name": details.then_some(room.name), "participants": room.participants,
        })).collect::<Vec<_>>(),
        "door": {
            "connections": door.connections, "webSockets": door.web_sockets, "requests": door.requests,
            "refused": door.refused_full + door.refused_address + door.overloaded,
            "timedOut": door.timed_out,
        },
        "network": {
            "datagramsReceived": net.datagrams_received, "datagramsSent": net.datagrams_sent,
            "sendDropped": net.send_dropped, "unroutable": net.unroutable,
        },
    });
    #[cfg(feature = "turn-server")]
    if let Some(turn) = gateway.relay.stats() {
        value["turn"] = json!({
            "allocations": turn.allocations, "bytesToPeers": turn.bytes_to_peers,
            "bytesToClients": turn.bytes_to_clients,
        });
    }
    value
}

/// Adds the faults of a stream's camera that are tolerated, and those of its second stream.
fn add_quirks(value: &mut Value, info: &StreamInfo) {
    let met = info.quirks.iter().map(|(quirk, count)| {
        json!({
            "number": quirk.number(), "name": quirk.name(), "about": quirk.about(), "count": count,
        })
    });
    value["quirks"] = met.collect();
    if let Some(sub) = &info.sub {
        add_quirks(&mut value["sub"], sub);
    }
}

fn figures(info: &StreamInfo, details: bool) -> Value {
    let mut value = stream(info, details);
    if details {
        add_quirks(&mut value, info);
    }
    let s = &info.stats;
    value["bitrate"] = json!(s.bitrate);
    value["packets"] = json!(s.packets);
    value["bytes"] = json!(s.bytes);
    value["keyframes"] = json!(s.keyframes);
    value["sent"] = json!(s.sent);
    value["keyframesAsked"] = json!(s.keyframes_asked);
    value["starts"] = json!(s.starts);
    value["failures"] = json!(s.failures);
    value["viewersTotal"] = json!(s.viewers_total);
    value
}

fn viewers(gateway: &mut Gateway, clients: &HashMap<PeerId, IpAddr>) -> Vec<Value> {
    let names: Vec<String> = gateway.streams.list().map(|info| info.name).collect();
    let peers = names.iter().flat_map(|name| gateway.streams.viewers(name));
    let peers: Vec<PeerId> = peers.take(MAX_VIEWERS).collect();
    let tell = |peer: PeerId| {
        let viewer = gateway.streams.viewer_stats(peer)?;
        let path = Path::of(&mut gateway.net, peer);
        let bytes: u64 = viewer.tracks.iter().map(|track| track.bytes).sum();
        Some(json!({
            "stream": viewer.stream,
            "client": clients.get(&peer).map(ToString::to_string),
            "seconds": viewer.since.elapsed().as_secs(),
            "firstSentMs": viewer.first_sent_after.map(|t| t.as_millis()),
            "codecs": viewer.tracks.iter().filter_map(|t| t.codec).map(|c| c.name()).collect::<Vec<_>>(),
            "bytes": bytes,
            "packets": viewer.tracks.iter().map(|t| t.sent).sum::<u64>(),
            "keyframeRequests": viewer.tracks.iter().map(|t| t.keyframe_requests).sum::<u64>(),
            "roundTripMs": path.round_trip.map(|s| (s * 10_000.0).round() / 10.0),
            "lossPercent": path.lost.map(|share| (f64::from(share) * 1000.0).round() / 10.0),
            "jitterMs": path.jitter.map(|s| (s * 10_000.0).round() / 10.0),
        }))
    };
    peers.into_iter().filter_map(tell).collect()
}

/// Returns the sessions of publishers and viewers that failed, the latest first.
fn failures(gateway: &Gateway, details: bool) -> Vec<Value> {
    let mut all: Vec<Value> = gateway
        .whip
        .failures()
        .map(|failure| {
            json!({
                "stream": failure.name,
                "role": failure.kind.to_string(),
                "client": details.then(|| failure.client.to_string()),
                "secondsAgo": failure.at.elapsed().as_secs(),
                "why": failure.why,
            })
        })
        .collect();
    all.reverse();
    all
}

/// A viewer's path, from its receiver reports; times in seconds.
#[derive(Default)]
struct Path {
    round_trip: Option<f64>,
    lost: Option<f32>,
    jitter: Option<f64>,
}

impl Path {
    fn of(net: &mut EventLoop, peer: PeerId) -> Self {
        let Ok(peer) = net.peer(peer) else {
            return Self::default();
        };
        let mut path = Self {
            round_trip: peer.stats().round_trip_time.map(|t| t.as_secs_f64()),
            ..Self::default()
        };
        for transceiver in peer.transceivers() {
            let Some(stats) = peer.track_stats(transceiver.id) else {
                continue;
            };
            for sent in &stats.sent {
                let lost = path.lost.into_iter().chain(sent.fraction_lost);
                path.lost = lost.reduce(f32::max);
                let jitter = sent.remote_jitter.map(|t| t.as_secs_f64());
                path.jitter = path.jitter.into_iter().chain(jitter).reduce(f64::max);
                path.round_trip = path
                    .round_trip
                    .or(sent.round_trip_time.map(|t| t.as_secs_f64()));
            }
        }
        path
    }
}

/// Returns the figures for Prometheus, without those that differ per viewer.
pub(super) fn metrics(gateway: &Gateway, details: bool) -> String {
    let mut m = Metrics::default();
    m.gauge(
        "uptime_seconds",
        "Time since the start.",
        gateway.started.elapsed().as_secs(),
    );
    streams_metrics(&mut m, &gateway.streams);
    if details {
        quirks_metrics(&mut m, &gateway.streams);
    }
    let whip = gateway.whip.stats();
    m.gauge(
        "publishers",
        "Sessions that publish by WHIP.",
        whip.publishers,
    );
    m.gauge("viewers", "Sessions that watch by WHEP.", whip.viewers);
    m.counter(
        "sessions_total",
        "Sessions of WHIP and WHEP so far.",
        whip.created,
    );
    m.counter(
        "sessions_refused_total",
        "Requests of WHIP and WHEP refused.",
        whip.refused,
    );
    m.counter(
        "sessions_lost_total",
        "Sessions that never connected.",
        whip.never_connected,
    );
    if let Some(rooms) = &gateway.rooms {
        let (count, people) = rooms
            .list()
            .fold((0, 0), |(n, p), r| (n + 1, p + r.participants));
        m.gauge("rooms", "Rooms that somebody is in.", count);
        m.gauge("room_participants", "Participants of all rooms.", people);
        let stats = rooms.stats();
        let counters = [
            (
                "joined",
                "Participants that have joined rooms.",
                stats.joined,
            ),
            (
                "refused",
                "Participants that could not join.",
                stats.refused,
            ),
            (
                "bad_messages",
                "Messages in rooms that were none.",
                stats.bad_messages,
            ),
            (
                "packets_received",
                "Packets of participants.",
                stats.packets_received,
            ),
            (
                "packets_forwarded",
                "Packets passed on in rooms.",
                stats.packets_forwarded,
            ),
            (
                "keyframes_requested",
                "Keyframes asked of participants.",
                stats.keyframes_requested,
            ),
            (
                "layer_switches",
                "Times that a receiver got another layer.",
                stats.layer_switches,
            ),
        ];
        for (name, help, value) in counters {
            m.counter(&format!("room_{name}_total"), help, value);
        }
    }
    let door = gateway.door.stats();
    m.gauge(
        "door_connections",
        "Connections at the door.",
        door.connections,
    );
    m.gauge("door_web_sockets", "WebSockets.", door.web_sockets);
    m.counter(
        "door_accepted_total",
        "Connections admitted.",
        door.accepted,
    );
    m.counter("door_requests_total", "Whole requests.", door.requests);
    let refused = [
        ("full", door.refused_full),
        ("address", door.refused_address),
        ("overloaded", door.overloaded),
        ("time", door.timed_out),
        ("malformed", door.refused_requests),
    ];
    let refused = refused.map(|(why, count)| ([("why", why)], count));
    m.family(
        "door_refused_total",
        "counter",
        "Connections and requests refused.",
        refused.iter().map(|(labels, count)| (&labels[..], count)),
    );
    let net = gateway.net.stats();
    m.counter(
        "datagrams_received_total",
        "Datagrams read.",
        net.datagrams_received,
    );
    m.counter(
        "datagrams_sent_total",
        "Datagrams sent.",
        net.datagrams_sent,
    );
    m.counter(
        "datagrams_dropped_total",
        "Datagrams that the system did not take.",
        net.send_dropped,
    );
    m.counter(
        "datagrams_unroutable_total",
        "Datagrams of nobody.",
        net.unroutable,
    );
    m.counter(
        "panics_total",
        "Peers closed because they panicked.",
        net.panics,
    );
    #[cfg(feature = "turn-server")]
    if let Some(turn) = gateway.relay.stats() {
        m.gauge("turn_allocations", "Relays now.", turn.allocations);
        m.counter(
            "turn_bytes_to_peers_total",
            "Bytes relayed to peers.",
            turn.bytes_to_peers,
        );
        m.counter(
            "turn_bytes_to_clients_total",
            "Bytes relayed to clients.",
            turn.bytes_to_clients,
        );
    }
    m.into_text()
}

fn streams_metrics(m: &mut Metrics, streams: &Streams) {
    type Figure = (
        &'static str,
        &'static str,
        &'static str,
        fn(&StreamInfo) -> u64,
    );
    let all: Vec<StreamInfo> = streams.list().collect();
    let labels: Vec<[(&str, &str); 1]> =
        all.iter().map(|s| [("stream", s.name.as_str())]).collect();
    let figures: [Figure; 8] = [
        ("stream_up", "gauge", "Whether it plays.", |s| {
            u64::from(s.state == StreamState::Live)
        }),
        ("stream_viewers", "gauge", "Viewers.", |s| s.viewers as u64),
        ("stream_bitrate", "gauge", "What comes, in bit/s.", |s| {
            s.stats.bitrate
        }),
        (
            "stream_packets_total",
            "counter",
            "Packets or frames that came.",
            |s| s.stats.packets,
        ),
        ("stream_bytes_total", "counter", "Bytes that came.", |s| {
            s.stats.bytes
        }),
        (
            "stream_sent_total",
            "counter",
            "Packets or frames given to viewers.",
            |s| s.stats.sent,
        ),
        (
            "stream_failures_total",
            "counter",
            "Failures of the source.",
            |s| s.stats.failures,
        ),
        (
            "stream_keyframe_requests_total",
            "counter",
            "Keyframes that viewers asked for.",
            |s| s.stats.keyframe_requests,
        ),
    ];
    for (name, kind, help, figure) in figures {
        let values = labels.iter().zip(&all);
        let values = values.map(|(labels, info)| (&labels[..] as Labels<'_>, figure(info)));
        m.family(name, kind, help, values);
    }
}

/// Writes the tolerated faults of cameras: at most one line for each camera and fault. Those of its second stream count, too.
fn quirks_metrics(m: &mut Metrics, streams: &Streams) {
    let mut counts: BTreeMap<(String, Quirk), u64> = BTreeMap::new();
    for info in streams.list() {
        let sub = info.sub.iter().flat_map(|sub| &sub.quirks);
        for (quirk, count) in info.quirks.iter().chain(sub) {
            *counts.entry((info.name.clone(), *quirk)).or_default() += u64::from(*count);
        }
    }
    let labels: Vec<[(&str, &str); 2]> = counts
        .keys()
        .map(|(name, quirk)| [("stream", name.as_str()), ("quirk", quirk.name())])
        .collect();
    let values = labels.iter().zip(counts.values());
    m.family(
        "camera_quirks_total",
        "counter",
        "Faults of cameras that were tolerated, by their names in docs/cameras.md.",
        values.map(|(labels, count)| (&labels[..] as Labels<'_>, count)),
    );
}
