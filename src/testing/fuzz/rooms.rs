//! Messages of pages in rooms and calls.

use std::time::{Duration, Instant};

use super::Bytes;
use crate::proto::media::Codec;
use crate::server::calls::{Calls, CallsConfig};
use crate::server::http::{Request, SocketOutput, WebSocketId};
use crate::server::rooms::Rooms;
use crate::server::rooms::forward::{Forwarder, LAYERS, Look, Verdict};

/// Number of sockets; messages on others have no sender.
const SOCKETS: u64 = 4;

/// One line per event: its first byte selects the event and the socket; the rest is the message.
pub fn room_message(data: &[u8]) {
    let mut now = Instant::now();
    let config = CallsConfig {
        max_calls: 2,
        ..CallsConfig::default()
    };
    let mut calls = Calls::new(config);
    for line in data.split(|b| *b == b'\n').take(64) {
        let mut bytes = Bytes(line);
        let what = bytes.byte();
        let text = String::from_utf8_lossy(bytes.0);
        if let Err(why) = Rooms::understands(&text) {
            assert!(!why.is_empty() && why.len() < 4096, "{why}");
        }
        if let Some(room) = Rooms::room_of(&text) {
            assert!(!room.is_empty() && !room.contains(['/', '\\', '?', '%']));
        }
        let socket = WebSocketId(u64::from(what) % SOCKETS);
        match what / 64 {
            0 => {
                let mut request = Request::new("GET", "/call/ws", ([127, 0, 0, 1], 1).into());
                request.query = text.into_owned();
                // A name is used once.
                calls.socket_closed(socket, now);
                calls.socket_opened(socket, &request, now);
            }
            1 => calls.socket_closed(socket, now),
            2 if text.is_empty() => {
                now += Duration::from_secs(20);
                calls.handle_timeout(now);
            }
            _ => calls.socket_message(socket, &text, now),
        }
        calls.check();
        while let Some(output) = calls.poll_socket() {
            let (SocketOutput::Send(to, _) | SocketOutput::Close(to, _, _)) = &output;
            assert!(to.0 < SOCKETS);
            match output {
                SocketOutput::Send(_, text) => {
                    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                    assert!(value["type"].is_string(), "{value}");
                }
                SocketOutput::Close(_, _, why) => assert!(why.len() <= 123),
            }
        }
    }
}

/// Packets of a simulcast camera, for a receiver whose layer changes: it starts and changes layers with a keyframe, and
/// only the numbers in the payload descriptor are rewritten.
pub fn room_media(data: &[u8]) {
    let mut bytes = Bytes(data);
    let codec = [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Opus][usize::from(bytes.byte() & 3)];
    let mut forwarder = Forwarder::default();
    let mut layer = None;
    while !bytes.is_empty() {
        let control = bytes.byte();
        match control & 0x0F {
            0x0E => forwarder.aim(usize::from(control >> 4) % LAYERS.len()),
            0x0F => {
                forwarder.restart();
                layer = None;
            }
            _ => {}
        }
        let rid = LAYERS.get(usize::from(control & 3)).copied();
        let length = usize::from(bytes.byte() & 0x3F);
        let payload = bytes.take(length);
        let look = Look::of(codec, rid, payload).expect("a layer that was asked for");
        let switches = forwarder.switches;
        let sent = match forwarder.decide(&look, payload) {
            Verdict::Drop => continue,
            Verdict::AsItIs => payload.to_vec(),
            Verdict::Changed(changed) => {
                assert_eq!(codec, Codec::Vp8);
                changed.to_vec()
            }
        };
        let begins = |payload: &[u8]| Look::of(codec, rid, payload).map(|l| l.begins_keyframe());
        assert_eq!(begins(&sent), begins(payload));
        if layer.replace(look.layer) != Some(look.layer) {
            assert_ne!(
                look.begins_keyframe(),
                Some(false),
                "it begins in the middle"
            );
        } else {
            assert_eq!(forwarder.switches, switches);
        }
        // The first byte, the extension byte, and the part after the numbers.
        assert_eq!(sent.len(), payload.len());
        let changed = sent.iter().zip(payload).filter(|(a, b)| a != b).count();
        assert!(
            changed <= 3 && sent.first() == payload.first(),
            "{sent:?} of {payload:?}"
        );
    }
}
