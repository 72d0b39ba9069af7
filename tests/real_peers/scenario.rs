//! The scenarios that looprtc runs with every real peer.

use std::io::Write;

use looprtc::proto::ice::IceTcp;
use looprtc::proto::net::Protocol;
#[cfg(feature = "openssl")]
use looprtc::proto::peer::DtlsVersion;
use looprtc::proto::peer::{ChannelConfig, ConnectionState, CryptoBackend};
use looprtc::proto::peer::{Message, PeerConfig, PeerError};
use serde_json::{Value, json};

use crate::call::{Call, Offerer};
use crate::child;

/// A peer, and its limitations; tests/interop/README.md explains them.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub name: &'static str,
    pub args: &'static [&'static str],
    /// The maximum message sizes that it receives and sends, in bytes.
    pub largest: usize,
    /// Set if it can send an empty message.
    pub sends_empty: bool,
    /// Set if it confuses empty text and empty binary messages.
    pub swaps_empty: bool,
    /// Set if text may contain NUL.
    pub text_with_nul: bool,
    /// Set if a channel of its own can be both unordered and with limited retransmissions.
    pub unordered_and_limited: bool,
    /// Set if it reports the reliability of a channel created by us.
    pub tells_reliability: bool,
    /// Set if it always notices our close (a DTLS alert).
    pub hears_goodbye: bool,
    /// Set if our side notices its close at once. Otherwise only by silence.
    pub says_goodbye: bool,
}

impl Profile {
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            args: &[],
            largest: 256 * 1024,
            sends_empty: true,
            swaps_empty: false,
            text_with_nul: true,
            unordered_and_limited: true,
            tells_reliability: true,
            hears_goodbye: true,
            says_goodbye: true,
        }
    }
}

pub const PION: Profile = Profile {
    largest: 65535,
    ..Profile::new("pion")
};
pub const LIBWEBRTC: Profile = Profile::new("libwebrtc");
pub const CHROMIUM: Profile = Profile::new("chromium");
/// Set if it sends no more than the remote peer announces, and reports an error at once for larger messages.
pub const FIREFOX: Profile = Profile::new("firefox");
/// Set if it hides its host addresses behind mDNS names, as browsers do for pages without permissions.
pub const CHROMIUM_MDNS: Profile = Profile {
    args: &["--mdns"],
    ..Profile::new("chromium")
};
pub const AIORTC: Profile = Profile::new("aiortc");
pub const LIBDATACHANNEL: Profile = Profile {
    tells_reliability: false,
    ..Profile::new("libdatachannel")
};
pub const WERIFT: Profile = Profile {
    largest: 65536,
    sends_empty: false,
    unordered_and_limited: false,
    hears_goodbye: false,
    says_goodbye: false,
    ..Profile::new("werift")
};
pub const GSTREAMER: Profile = Profile {
    largest: 65536,
    sends_empty: false,
    swaps_empty: true,
    text_with_nul: false,
    hears_goodbye: false,
    says_goodbye: false,
    ..Profile::new("gstreamer")
};

/// Returns `true` if the test can run. A missing peer fails the test in CI, and is reported elsewhere.
pub fn ready(profile: &Profile) -> bool {
    let Err(why) = child::installed(profile.name) else {
        return true;
    };
    assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
    // Not `eprintln!`, which is captured for a test that passes.
    let name = profile.name;
    let _ = writeln!(
        std::io::stderr(),
        "\n########## NOT TESTED against {name}: {why} ##########\n"
    );
    false
}

pub fn config() -> PeerConfig {
    PeerConfig::default()
}

/// OpenSSL's DTLS, with RSA certificates and version 1.2.
#[cfg(feature = "openssl")]
pub fn openssl() -> PeerConfig {
    config()
        .crypto(Some(CryptoBackend::OpenSsl))
        .dtls(DtlsVersion::V1_2)
}

/// Connects, exchanges all kinds of messages on three channels, and closes from our side.
pub fn full(profile: &Profile, offerer: Offerer, config: PeerConfig) {
    if !ready(profile) {
        return;
    }
    let mut call = connect(profile, offerer, config);
    exchange(&mut call, profile, "interop");
    let limit = call.announced_limit();
    too_large(&mut call, limit);
    channel_of_theirs(&mut call, profile);
    channel_of_ours(&mut call, profile);
    we_close(&mut call, profile);
}

/// Connects, exchanges a message, and the remote peer closes.
pub fn they_close(profile: &Profile, offerer: Offerer, config: PeerConfig) {
    if !ready(profile) {
        return;
    }
    let mut call = connect(profile, offerer, config);
    hello(&mut call, "interop");
    call.theirs.say(&json!({"type": "close"}));
    if profile.says_goodbye {
        call.wait_closed("interop");
        call.wait_state(ConnectionState::Closed);
        if let Some(e) = &call.error {
            call.fail(&format!("a normal close is reported as an error: {e}"));
        }
    } else {
        call.wait_state(ConnectionState::Disconnected);
    }
}

/// Its host candidates are mDNS names, which we resolve.
pub fn names_are_resolved(profile: &Profile) {
    if !ready(profile) {
        return;
    }
    let mut call = connect(profile, Offerer::Looprtc, config());
    hello(&mut call, "interop");
    // Beside names, Chromium sends TCP candidates, sooner or later, that are not usable here.
    call.wait("a resolved candidate", |call| {
        let counts = call.peer().stats().candidates;
        (counts.applied > 0).then_some(())
    });
}

/// Both sides restart ICE in turn; the channel continues.
pub fn ice_restarts(profile: &Profile, offerer: Offerer, config: PeerConfig) {
    if !ready(profile) {
        return;
    }
    let mut call = connect(profile, offerer, config);
    hello(&mut call, "interop");
    call.wait_restart(|call| {
        let restarted = call.peer().restart_ice();
        assert_eq!(restarted, Ok(()));
        call.offer();
    });
    hello(&mut call, "interop");
    call.wait_restart(|call| call.theirs.say(&json!({"type": "restart-ice"})));
    hello(&mut call, "interop");
    we_close(&mut call, profile);
}

/// Over TCP only (RFC 6544): all kinds of messages, and a restart from both sides, which uses new streams.
pub fn over_tcp(profile: &Profile, offerer: Offerer, tcp: IceTcp) {
    if !ready(profile) {
        return;
    }
    let mut call = connect(profile, offerer, config().udp(false).ice_tcp(tcp));
    exchange(&mut call, profile, "interop");
    let by = call.peer().stats().path_protocol;
    assert_eq!(by, Some(Protocol::IceTcp));
    call.wait_restart(|call| {
        let restarted = call.peer().restart_ice();
        assert_eq!(restarted, Ok(()));
        call.offer();
    });
    hello(&mut call, "interop");
    call.wait_restart(|call| call.theirs.say(&json!({"type": "restart-ice"})));
    hello(&mut call, "interop");
    we_close(&mut call, profile);
}

/// Connects, and the remote peer reports its DTLS version.
pub fn dtls_version(profile: &Profile, config: PeerConfig, version: &str) {
    for offerer in [Offerer::Looprtc, Offerer::RealPeer] {
        if !ready(profile) {
            return;
        }
        let mut call = connect(profile, offerer, config.clone());
        let report = call.wait_report("dtls", &[]);
        assert_eq!(report["version"], version, "{offerer:?} offers");
        hello(&mut call, "interop");
    }
}

/// With a backend without RSA, the error says so.
pub fn rsa_is_refused(profile: &Profile) {
    let without_rsa = CryptoBackend::available()
        .into_iter()
        .filter(|backend| *backend != CryptoBackend::OpenSsl);
    for backend in without_rsa {
        for offerer in [Offerer::Looprtc, Offerer::RealPeer] {
            if !ready(profile) {
                return;
            }
            let config = config().crypto(Some(backend));
            let mut call = Call::start(profile.name, profile.args, offerer, config);
            call.wait_state(ConnectionState::Failed);
            let why = match &call.error {
                Some(e) => e.to_string(),
                None => call.fail("failed without an error"),
            };
            assert!(
                why.contains("RSA") && why.contains("openssl"),
                "{offerer:?} offers: {why}"
            );
        }
    }
}

pub fn connect(profile: &Profile, offerer: Offerer, config: PeerConfig) -> Call {
    let mut call = Call::start(profile.name, profile.args, offerer, config);
    call.wait_open("interop");
    call.wait_report("open", &[("label", "interop")]);
    call.wait_state(ConnectionState::Connected);
    call
}

/// All kinds and sizes of messages, in both directions.
fn exchange(call: &mut Call, profile: &Profile, label: &str) {
    let long = "text ".repeat(4000);
    let mut texts = vec!["hello", "grüße, 世界 \u{1F600} \"\\\n", &long];
    if profile.text_with_nul {
        texts.push("a\0b\0");
    }
    for text in texts {
        from_us(call, label, &Message::Text(text.to_owned()));
        from_them(call, label, &json!({"text": text}));
    }
    for size in [1, 1200, 16 * 1024, 65535, 65536, 256 * 1024 - 1, 256 * 1024] {
        if size <= profile.largest {
            from_us(call, label, &Message::Binary(pattern(size)));
            from_them(call, label, &json!({"random": size}));
        }
    }
    empty_messages(call, profile, label);
    // Nothing was lost or left over.
    hello(call, label);
}

fn empty_messages(call: &mut Call, profile: &Profile, label: &str) {
    let text = Message::Text(String::new());
    let binary = Message::Binary(Vec::new());
    for (message, kind) in [(&text, "text"), (&binary, "binary")] {
        call.send(label, message);
        let report = call.wait_report("message", &[("label", label)]);
        let kind = match (profile.swaps_empty, kind) {
            (true, "text") => "binary",
            (true, _) => "text",
            (false, kind) => kind,
        };
        let good = match kind {
            "text" => report["text"] == "",
            _ => report["binary"] == 0,
        };
        if !good {
            call.fail(&format!("empty {kind} was heard as {report}"));
        }
        if profile.sends_empty {
            expect_message(call, label, message);
        }
    }
    if profile.sends_empty {
        from_them(call, label, &json!({"text": ""}));
        from_them(call, label, &json!({"random": 0}));
    }
}

/// A channel created by them, unordered and with limited retransmissions; they close it.
fn channel_of_theirs(call: &mut Call, profile: &Profile) {
    call.theirs.say(&json!({
        "type": "create", "label": "theirs", "ordered": false, "maxRetransmits": 3, "protocol": "proto",
    }));
    call.wait_open("theirs");
    call.wait_report("open", &[("label", "theirs")]);
    let info = call.info("theirs").config;
    assert_eq!(info.protocol, "proto");
    assert_eq!(info.max_retransmits, Some(3));
    assert_eq!(info.ordered, !profile.unordered_and_limited);
    hello(call, "theirs");
    call.theirs
        .say(&json!({"type": "close-channel", "label": "theirs"}));
    call.wait_closed("theirs");
    call.wait_report("closed", &[("label", "theirs")]);
}

/// A channel created by us, unordered and with a limited lifetime; we close it.
fn channel_of_ours(call: &mut Call, profile: &Profile) {
    let config = ChannelConfig::new("ours")
        .ordered(false)
        .max_packet_lifetime(2000)
        .protocol("ours-proto");
    call.create(config);
    call.wait_open("ours");
    let report = call.wait_report("open", &[("label", "ours")]);
    assert_eq!(report["protocol"], "ours-proto");
    if profile.tells_reliability {
        assert_eq!(report["ordered"], false);
        assert_eq!(report["maxPacketLifeTime"], 2000);
        assert_eq!(report["maxRetransmits"], Value::Null);
    }
    hello(call, "ours");
    call.close_channel("ours");
    call.wait_closed("ours");
    call.wait_report("closed", &[("label", "ours")]);
    hello(call, "interop");
}

/// The remote peer notices our close at once.
fn we_close(call: &mut Call, profile: &Profile) {
    call.close();
    call.wait_state(ConnectionState::Closed);
    if let Some(e) = &call.error {
        call.fail(&format!("our own close is reported as an error: {e}"));
    }
    if profile.hears_goodbye {
        call.wait_report("closed", &[("label", "interop")]);
    }
}

pub fn hello(call: &mut Call, label: &str) {
    from_us(call, label, &Message::Text("hello from looprtc".into()));
    from_them(call, label, &json!({"text": "hello from the peer"}));
}

/// We send; they report received messages, and echo them.
fn from_us(call: &mut Call, label: &str, message: &Message) {
    call.send(label, message);
    let report = call.wait_report("message", &[("label", label)]);
    let heard = match message {
        Message::Text(text) => report["text"] == *text.as_str(),
        Message::Binary(data) => report["binary"] == data.len(),
    };
    if !heard {
        call.fail(&format!("they heard something else: {report:.200}"));
    }
    expect_message(call, label, message);
}

/// They send; received messages go back to them, and they compare (by hash, for random ones).
fn from_them(call: &mut Call, label: &str, what: &Value) {
    let mut order = json!({"type": "send", "label": label});
    for (key, value) in what.as_object().into_iter().flatten() {
        order[key] = value.clone();
    }
    call.theirs.say(&order);
    let heard = call.wait_message(label);
    let sent = match what["text"].as_str() {
        Some(text) => {
            assert_eq!(heard, Message::Text(text.to_owned()));
            return;
        }
        None => call.wait_report("sent", &[("label", label)]),
    };
    if !matches!(heard, Message::Binary(_)) || sent["binary"] != heard.as_bytes().len() {
        call.fail(&format!(
            "they sent {sent}, we heard {} bytes",
            heard.as_bytes().len()
        ));
    }
    call.send(label, &heard);
    let returned = call.wait_report("message", &[("label", label)]);
    if returned["sha256"] != sent["sha256"] {
        call.fail(&format!("they sent {sent}, and got back {returned}"));
    }
    expect_message(call, label, &heard);
}

fn expect_message(call: &mut Call, label: &str, message: &Message) {
    let got = call.wait_message(label);
    if got != *message {
        let (got, message) = (got.as_bytes().len(), message.as_bytes().len());
        call.fail(&format!(
            "the echo of {message} bytes is another message ({got} bytes)"
        ));
    }
}

/// A message over their announced limit is refused by us, with the sizes.
fn too_large(call: &mut Call, limit: usize) {
    // Firefox announces 1 GiB; we never queue more than this.
    let limit = limit.min(2 * 1024 * 1024);
    let sent = call.try_send("interop", &Message::Binary(vec![0; limit + 1]));
    let size = limit + 1;
    assert_eq!(sent, Err(PeerError::MessageTooLarge { size, limit }));
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size)
        .map(|i| (i.wrapping_mul(2654435761) >> 13) as u8)
        .collect()
}
