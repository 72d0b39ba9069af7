//! Bodies of the fuzz targets in `fuzz/`. They are here so that they are compiled and tested with the library; each
//! target is a one-line call.
//!
//! A body panics if it has found a fault, and only then.

#[cfg(feature = "server")]
mod cameras;
#[cfg(feature = "server")]
mod compat;
#[cfg(feature = "driver")]
mod driver;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
mod dtls;
#[cfg(feature = "server")]
mod http;
mod ice;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
mod inside;
mod media;
#[cfg(feature = "onvif")]
mod onvif;
#[cfg(all(feature = "server", any(feature = "aws-lc", feature = "rust-crypto")))]
mod published;
#[cfg(feature = "server")]
mod rooms;
mod rtp;
mod rtsp;
mod sequence;
#[cfg(all(feature = "server", any(feature = "aws-lc", feature = "rust-crypto")))]
mod servers;
mod stun;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
mod stun_peer;
mod transcode;
#[cfg(feature = "turn-server")]
mod turn_server;
mod unpack;
#[cfg(feature = "server")]
mod whip;

#[cfg(feature = "server")]
pub use cameras::camera_settings;
#[cfg(feature = "server")]
pub use compat::compat_requests;
#[cfg(feature = "driver")]
pub use driver::demux;
#[cfg(all(feature = "driver", any(target_os = "linux", target_os = "android")))]
pub use driver::netlink;
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
pub use dtls::dtls;
#[cfg(feature = "server")]
pub use http::{http_head, web_socket};
pub use ice::{ice_framing, mdns, stun_bindings, turn_client, turn_message, turn_stream};
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
pub use inside::{dcep, depacketize, sctp, srtcp, srtp};
#[cfg(feature = "movies")]
pub use media::movie;
pub use media::{frame, h264, h265, ivf, jitter, media_file, ogg, recording, wav};
#[cfg(feature = "onvif")]
pub use onvif::onvif;
#[cfg(all(feature = "server", any(feature = "aws-lc", feature = "rust-crypto")))]
pub use published::published;
#[cfg(feature = "server")]
pub use rooms::{room_media, room_message};
pub use rtp::{rtp_packet, rtp_source, sdp_file};
pub use rtsp::{rtsp_challenge, rtsp_client, rtsp_message};
pub use sequence::sequence;
#[cfg(all(feature = "server", any(feature = "aws-lc", feature = "rust-crypto")))]
pub use servers::{door, rooms_with_peers, whip_server};
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
pub use stun_peer::stun_peer;
pub use transcode::transcode;
#[cfg(feature = "turn-server")]
pub use turn_server::turn_server;
pub use unpack::{camera_sdp, timeline, unpack};
#[cfg(feature = "server")]
pub use whip::{link_header, sdpfrag};

use super::bytes::Bytes;
use super::{Link, Node, Simulation};
use crate::proto::ice::IceCandidate;
use crate::proto::ice::stun::{StunPeek, is_stun, peek, request_transaction};
use crate::proto::net::Transmit;
use crate::proto::peer::SessionDescription;
use crate::proto::peer::{ChannelConfig, ChannelId, Message, PeerConfig, PeerEvent};
use crate::proto::signal::SignalMessage;

/// The body of a target: takes its input.
#[cfg(all(
    test,
    feature = "cli",
    feature = "movies",
    any(feature = "aws-lc", feature = "rust-crypto")
))]
type Body = fn(&[u8]);

/// All bodies of a build with every feature, by the names of their targets.
#[cfg(all(
    test,
    feature = "cli",
    feature = "movies",
    any(feature = "aws-lc", feature = "rust-crypto")
))]
const BODIES: &[(&str, Body)] = &[
    ("camera_sdp", camera_sdp),
    ("camera_settings", camera_settings),
    ("compat_requests", compat_requests),
    ("candidate", candidate),
    ("dcep", dcep),
    ("demux", demux),
    ("depacketize", depacketize),
    ("door", door),
    ("dtls", dtls),
    ("frame", frame),
    ("h264", h264),
    ("h265", h265),
    ("http_head", http_head),
    ("ice_framing", ice_framing),
    ("inspect", inspect),
    ("ivf", ivf),
    ("jitter", jitter),
    ("link_header", link_header),
    ("mdns", mdns),
    ("media_file", media_file),
    ("movie", movie),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    ("netlink", netlink),
    ("ogg", ogg),
    ("onvif", onvif),
    ("peer_datagrams", peer_datagrams),
    ("published", published),
    ("recording", recording),
    ("room_media", room_media),
    ("room_message", room_message),
    ("rooms_with_peers", rooms_with_peers),
    ("rtp_packet", rtp_packet),
    ("rtp_source", rtp_source),
    ("rtsp_challenge", rtsp_challenge),
    ("rtsp_client", rtsp_client),
    ("rtsp_message", rtsp_message),
    ("sctp", sctp),
    ("sdp", sdp),
    ("sdp_file", sdp_file),
    ("sdpfrag", sdpfrag),
    ("sequence", sequence),
    ("signal", signal),
    ("srtcp", srtcp),
    ("srtp", srtp),
    ("stun_bindings", stun_bindings),
    ("stun_peek", stun_peek),
    ("stun_peer", stun_peer),
    ("timeline", timeline),
    ("transcode", transcode),
    ("turn_client", turn_client),
    ("turn_message", turn_message),
    ("turn_server", turn_server),
    ("turn_stream", turn_stream),
    ("unpack", unpack),
    ("wav", wav),
    ("web_socket", web_socket),
    ("whip_server", whip_server),
];

/// Peeks at a STUN datagram, as is done to find its peer.
pub fn stun_peek(data: &[u8]) {
    let Some(peek) = peek(data) else {
        return;
    };
    assert!(is_stun(data), "a STUN message that does not begin like one");
    let transaction = request_transaction(data);
    match peek {
        StunPeek::Request { local_ufrag } => {
            assert!(!local_ufrag.contains(':'));
            assert_eq!(transaction.as_ref().map(|t| &t[..]), Some(&data[8..20]));
        }
        StunPeek::Response {
            transaction: id, ..
        } => {
            assert_eq!((&id[..], transaction), (&data[8..20], None));
        }
        StunPeek::Other => assert_eq!(transaction, None),
    }
}

/// Parses a candidate line: a parsed candidate is written so that it parses the same again.
pub fn candidate(data: &[u8]) {
    let Ok(line) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(candidate) = IceCandidate::parse(line) else {
        return;
    };
    let written = candidate.to_string();
    assert!(!written.contains(['\r', '\n']), "{written:?}");
    assert_eq!(
        IceCandidate::parse(&written).as_ref(),
        Ok(&candidate),
        "{written:?}"
    );
}

/// Explains arbitrary text: every line is listed, in order; problems have a message.
pub fn inspect(data: &[u8]) {
    let report = match crate::proto::inspect::inspect(data) {
        Ok(report) => report,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(!report.summary.is_empty());
    for (index, line) in report.lines.iter().enumerate() {
        assert_eq!(line.number, index + 1);
        assert!(!line.meaning.is_empty(), "{:?}", line.text);
        assert!(!line.text.contains('\n'), "{:?}", line.text);
    }
    for (line, problem) in report.problems() {
        assert!(!problem.text.is_empty());
        assert!(line.is_none_or(|number| number <= report.lines.len()));
    }
}

/// Parses a signaling message: a parsed message is written so that it parses the same again.
pub fn signal(data: &[u8]) {
    let again = |json: &str| SignalMessage::parse(json.as_bytes());
    if let Ok(description) = SignalMessage::parse_description(data) {
        let message = SignalMessage::Description(description);
        assert_eq!(again(&message.to_json()).as_ref(), Ok(&message));
    }
    for parsed in [
        SignalMessage::parse(data),
        SignalMessage::parse_candidate(data),
    ] {
        match parsed {
            Ok(message) => assert_eq!(again(&message.to_json()).as_ref(), Ok(&message)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// Applies a session description as an offer and as an answer to a peer in several states, selected by the last byte.
pub fn sdp(data: &[u8]) {
    // A panic of the core caused by a description ends the peer, and is not a finding.
    contained(|| {
        if let Ok(text) = std::str::from_utf8(data) {
            sdp_in_a_peer(text, data.last());
        }
    });
}

/// Checks invariants of any description: `inspect` agrees with the peer about its validity, the core parses the whole
/// canonical text, and errors contain no debug output.
fn sdp_read(text: &str) {
    use crate::proto::peer::check_description;
    use crate::proto::sdp::{Reading, Role, Sdp};
    for role in [Role::Offer, Role::Answer] {
        let read = Sdp::parse(text).and_then(|sdp| Reading::of(&sdp, role, &[]));
        let judged = check_description(text, role);
        match (&read, &judged) {
            (Ok(read), _) => {
                assert!(read.ufrag.len() <= crate::proto::sdp::MAX_REMOTE_UFRAG);
                let core = str0m::change::SdpOffer::from_sdp_string(&read.canonical);
                let core = core.expect("a canonical description").to_sdp_string();
                assert_eq!(
                    core.matches("\nm=").count(),
                    read.lines.len(),
                    "{}",
                    read.canonical
                );
            }
            (Err(error), judged) => {
                let is_limit = |e: &crate::proto::sdp::SdpError| e.text.contains("limit");
                let judged = judged.as_ref().expect_err("it cannot be read");
                assert!(
                    judged == error || is_limit(judged),
                    "{judged} is not {error}"
                );
                // No `Debug` output of types; only repetitions of the input.
                for debug in ["0x", "PointerOffset"] {
                    assert!(
                        !error.text.contains(debug) || text.contains(debug),
                        "{error}"
                    );
                }
            }
        }
    }
}

/// Checks that our answer fits its offer.
fn fits(offer: &str, answer: &SessionDescription) {
    use crate::proto::sdp::{Sdp, Strictness, check_answer};
    let (offer, answer) = (Sdp::parse(offer), Sdp::parse(&answer.sdp));
    let offer = offer.expect("an offer that was answered");
    let answer = answer.expect("an answer of ours");
    for strictness in [Strictness::Ours, Strictness::Theirs] {
        assert_eq!(check_answer(&offer, &answer, strictness), Ok(()));
    }
}

fn sdp_in_a_peer(text: &str, state: Option<&u8>) {
    sdp_read(text);
    let mut sim = Simulation::new(1, Link::default());
    let node = sim.add(PeerConfig::default());
    let channel = |sim: &mut Simulation| {
        let config = ChannelConfig::new("data");
        let made = sim.with(node, |peer, now| peer.create_data_channel(config, now));
        assert!(made.is_ok());
    };
    let answer = |sim: &mut Simulation| {
        let description = SessionDescription::offer(text);
        let answered = sim.with(node, |peer, now| peer.receive(description, now));
        if let Ok(Some(answer)) = &answered {
            fits(text, answer);
        }
        answered
    };
    match state {
        // Their answer to our offer.
        Some(b'0') => {
            channel(&mut sim);
            let offered = sim.with(node, |peer, now| peer.negotiate(now));
            assert!(offered.is_ok());
            // A fuzzer would not guess the values that an answer has to repeat from the offer.
            let sdp = offered.map(|o| o.sdp).unwrap_or_default();
            let mid = sdp
                .split("a=mid:")
                .nth(1)
                .and_then(|rest| rest.lines().next());
            let text = text.replace("a=mid:0\r\n", &format!("a=mid:{}\r\n", mid.unwrap_or("0")));
            let answer = SessionDescription::answer(text);
            let _ = sim.with(node, |peer, now| peer.set_remote_description(answer, now));
        }
        // Their offer, which collides with ours.
        Some(b'1') => {
            channel(&mut sim);
            let _ = sim.with(node, |peer, now| peer.negotiate(now));
            let _ = answer(&mut sim);
        }
        // Their offer, twice.
        Some(b'2') => {
            let _ = answer(&mut sim);
            let _ = answer(&mut sim);
        }
        // Their offer, rolled back; then again.
        Some(b'3') => {
            let description = SessionDescription::offer(text);
            let _ = sim.with(node, |peer, now| {
                peer.set_remote_description(description, now)
            });
            let rollback = SessionDescription::rollback();
            let _ = sim.with(node, |peer, now| peer.set_remote_description(rollback, now));
            let _ = answer(&mut sim);
        }
        _ => {
            if let Ok(answered) = answer(&mut sim) {
                assert!(answered.is_some(), "an offer was taken and not answered");
                channel(&mut sim);
            }
        }
    }
    // Candidates of the description are checked, and the peer must still be able to create an offer.
    run(&mut sim, 1_000);
    let _ = sim.with(node, |peer, now| peer.restart_ice(now));
    let _ = sim.with(node, |peer, now| peer.negotiate(now));
    run(&mut sim, 1_000);
}

/// Sends arbitrary datagrams to a peer that is new, has created an offer, is in its handshake, or is connected.
/// Datagrams of a third party must not end a connection.
pub fn peer_datagrams(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut sim = Simulation::new(2, Link::default());
    sim.record();
    let (a, b) = sim.pair();
    let ours = sim
        .with(a, |peer, now| {
            peer.create_data_channel(ChannelConfig::new("data"), now)
        })
        .expect("a channel");
    // Signaling takes 5 ms, a datagram 10 ms; after 1,000 ms the connection is established.
    let age = match bytes.byte() % 8 {
        0 => 0,
        1 => 7,
        n @ 2..6 => 10 + u64::from(n) * 10,
        _ => 1_000,
    };
    run(&mut sim, age);
    let stranger = "10.0.9.9:9999".parse().expect("an address");
    let mut is_from_strangers = true;
    let mut seen = sim.recorded();
    while !bytes.is_empty() {
        let control = bytes.byte();
        let from_partner = control & 1 == 1;
        is_from_strangers &= !from_partner;
        let from = if from_partner {
            sim.address(b)
        } else {
            stranger
        };
        let contents = match control >> 1 & 3 {
            0 | 1 => {
                let length = usize::from(bytes.byte());
                bytes.take(length).to_vec()
            }
            _ => damaged(&seen, &mut bytes),
        };
        sim.forge(from, a, contents);
        run(&mut sim, u64::from(control >> 3));
        seen.extend(sim.recorded());
    }
    run(&mut sim, 1_000);
    if is_from_strangers && age >= 1_000 {
        assert!(
            talks(&mut sim, a, b, ours),
            "a stranger ended the connection"
        );
    }
}

/// Returns a datagram sent before, with a few bytes changed.
fn damaged(seen: &[Transmit], bytes: &mut Bytes<'_>) -> Vec<u8> {
    let index = usize::from(bytes.word()) % seen.len().max(1);
    let contents = seen.get(index).map(|t| t.contents.clone());
    change(contents.unwrap_or_default(), bytes)
}

/// Returns one of these datagrams, with a few bytes changed.
#[cfg(any(feature = "aws-lc", feature = "rust-crypto"))]
fn damage(seen: &[Vec<u8>], bytes: &mut Bytes<'_>) -> Vec<u8> {
    let index = usize::from(bytes.byte()) % seen.len().max(1);
    change(seen.get(index).cloned().unwrap_or_default(), bytes)
}

fn change(mut contents: Vec<u8>, bytes: &mut Bytes<'_>) -> Vec<u8> {
    if contents.is_empty() {
        return contents;
    }
    for _ in 0..bytes.byte() % 4 {
        let at = usize::from(bytes.word()) % contents.len().max(1);
        let change = bytes.byte();
        match contents.get_mut(at) {
            Some(byte) if change != 0 => *byte ^= change,
            _ => contents.truncate(at),
        }
    }
    contents
}

/// Runs code that catches panics of dependencies itself. A fuzzer stops at every panic, including caught ones, so its
/// panic hook is replaced meanwhile.
fn contained(body: impl FnOnce()) {
    if !cfg!(fuzzing) {
        return body();
    }
    static LAST: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut last) = LAST.lock() {
            *last = info.to_string();
        }
    }));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    std::panic::set_hook(hook);
    if result.is_err() {
        panic!(
            "not contained: {}",
            LAST.lock().map(|l| l.clone()).unwrap_or_default()
        );
    }
}

/// Returns `true` if text still gets from one peer to the other.
fn talks(sim: &mut Simulation, from: Node, to: Node, channel: ChannelId) -> bool {
    while sim.next_event(to).is_some() {}
    if sim
        .with(from, |peer, now| {
            peer.send_text(channel, "still there?", now)
        })
        .is_err()
    {
        return false;
    }
    run(sim, 10_000);
    std::iter::from_fn(|| sim.next_event(to)).any(|event| {
        let expected = Message::Text("still there?".into());
        matches!(event, PeerEvent::ChannelMessage { message, .. } if message == expected)
    })
}

/// Runs the simulation, and checks that time passes: a peer whose deadline is always now would stop it.
fn run(sim: &mut Simulation, milliseconds: u64) {
    let before = sim.steps();
    let most = 20_000 + 100 * milliseconds;
    let hung = sim.run_until(milliseconds, |sim| sim.steps() - before > most);
    assert!(!hung, "{most} steps, and {milliseconds} ms have not passed");
}

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod tests;

#[cfg(all(test, any(feature = "aws-lc", feature = "rust-crypto")))]
mod findings;
