//! Codec negotiation: the rules of each codec, and offers of real peers.

use std::time::Instant;

use looprtc::proto::peer::{
    Codec, Codecs, MediaKind, Peer, PeerConfig, SdpType, SessionDescription, TransceiverConfig,
};

/// Returns the result of this offer: the negotiated codecs of each m-line, and our answer.
fn answer(offer: &str, known: &[Codec]) -> (Vec<Vec<String>>, String) {
    let now = Instant::now();
    let config = PeerConfig::default().codecs(Codecs::only(known.to_vec()));
    let mut peer = Peer::new(config, now).expect("a peer");
    let offer = SessionDescription {
        kind: SdpType::Offer,
        sdp: offer.to_owned(),
    };
    let answer = peer.receive(offer, now).expect("an offer that is taken");
    let transceivers = peer.transceivers();
    let codecs = transceivers
        .iter()
        .map(|t| t.codecs.iter().map(|c| c.to_string()).collect());
    (codecs.collect(), answer.expect("an answer").sdp)
}

/// An offer of one m-line with these formats: `H264/90000` and its `a=fmtp`.
fn offer(kind: &str, formats: &[(u8, &str, &str)]) -> String {
    let types: Vec<String> = formats.iter().map(|(pt, _, _)| pt.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m={kind} 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\n\
         a=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n",
        types.join(" "),
        ["00"; 32].join(":"),
    );
    for (pt, encoding, fmtp) in formats {
        sdp += &format!("a=rtpmap:{pt} {encoding}\r\n");
        if !fmtp.is_empty() {
            sdp += &format!("a=fmtp:{pt} {fmtp}\r\n");
        }
    }
    sdp
}

/// Returns the negotiated format for this single offered one; empty for none.
fn one(kind: &str, codec: Codec, encoding: &str, fmtp: &str) -> String {
    let (lines, _) = answer(&offer(kind, &[(97, encoding, fmtp)]), &[codec]);
    lines.concat().concat()
}

#[test]
fn h264_has_one_profile_and_one_mode_on_both_sides() {
    // RFC 6184 §8.2.2: profile and packetization mode are the same on both sides; levels may differ.
    let cases = [
        // Without parameters it is baseline, one NAL unit per packet.
        ("", "0", "42001f"),
        ("packetization-mode=1", "1", "42001f"),
        ("profile-level-id=42e01f", "0", "42e01f"),
        (
            "packetization-mode=1;profile-level-id=42e01f",
            "1",
            "42e01f",
        ),
        (
            "packetization-mode=1;profile-level-id=42E01F",
            "1",
            "42e01f",
        ),
        // Constrained baseline in another spelling, as in GStreamer's offers.
        (
            "packetization-mode=1;profile-level-id=42c00d",
            "1",
            "42e01f",
        ),
        // Other levels of the same profile.
        (
            "packetization-mode=1;profile-level-id=42e033",
            "1",
            "42e01f",
        ),
        (
            "packetization-mode=1;profile-level-id=4d4028",
            "1",
            "4d001f",
        ),
        (
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640034",
            "1",
            "64001f",
        ),
        // Constrained high: our high profile includes it. The answer repeats it.
        (
            "packetization-mode=1;profile-level-id=640c1f",
            "1",
            "64001f",
        ),
    ];
    for (fmtp, mode, profile) in cases {
        let expected = format!(
            "H264/90000 (level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile})"
        );
        assert_eq!(
            one("video", Codec::H264, "H264/90000", fmtp),
            expected,
            "{fmtp}"
        );
    }
    // Interleaved mode and High 4:4:4 are not supported.
    for fmtp in [
        "packetization-mode=2;profile-level-id=42e01f",
        "packetization-mode=1;profile-level-id=f4001f",
    ] {
        assert_eq!(one("video", Codec::H264, "H264/90000", fmtp), "", "{fmtp}");
    }
}

#[test]
fn profiles_of_the_other_codecs() {
    let h265 = "H265/90000 (profile-id=1;tier-flag=0;level-id=";
    let cases = [
        (Codec::Vp8, "VP8/90000", "", "VP8/90000"),
        (Codec::Vp8, "vp8/90000", "", "VP8/90000"),
        // RFC 9628 §7: no profile is profile 0.
        (Codec::Vp9, "VP9/90000", "", "VP9/90000 (profile-id=0)"),
        (
            Codec::Vp9,
            "VP9/90000",
            "profile-id=0",
            "VP9/90000 (profile-id=0)",
        ),
        (
            Codec::Vp9,
            "VP9/90000",
            "profile-id=2",
            "VP9/90000 (profile-id=2)",
        ),
        (Codec::Vp9, "VP9/90000", "profile-id=1", ""),
        (Codec::Av1, "AV1/90000", "", "AV1/90000"),
        (
            Codec::Av1,
            "AV1/90000",
            "level-idx=5;profile=0;tier=0",
            "AV1/90000",
        ),
        // Each side has a level of its own; the profile is common.
        (
            Codec::Av1,
            "AV1/90000",
            "level-idx=19;profile=0;tier=1",
            "AV1/90000",
        ),
        (Codec::Av1, "AV1/90000", "profile=1", ""),
        (
            Codec::H265,
            "H265/90000",
            "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
            &format!("{h265}93)"),
        ),
        (
            Codec::H265,
            "H265/90000",
            "level-id=180;profile-id=1;tier-flag=0",
            &format!("{h265}180)"),
        ),
        (
            Codec::H265,
            "H265/90000",
            "level-id=93;profile-id=1;tier-flag=1",
            "",
        ),
    ];
    for (codec, encoding, fmtp, expected) in cases {
        assert_eq!(
            one("video", codec, encoding, fmtp),
            expected,
            "{encoding} {fmtp}"
        );
    }
    let opus = "opus/48000/2 (minptime=10;useinbandfec=1)";
    let cases = [
        (Codec::Opus, "opus/48000/2", "", opus),
        (
            Codec::Opus,
            "OPUS/48000/2",
            "minptime=10;useinbandfec=1",
            opus,
        ),
        (
            Codec::Opus,
            "opus/48000/2",
            "stereo=1;sprop-stereo=1;maxaveragebitrate=128000",
            opus,
        ),
        (Codec::Pcmu, "PCMU/8000", "", "PCMU/8000"),
        (Codec::Pcmu, "PCMU/8000/1", "", "PCMU/8000"),
        (Codec::Pcma, "pcma/8000/1", "", "PCMA/8000"),
        // 8000, although it samples at 16000 (RFC 3551 §4.5.2).
        (Codec::G722, "G722/8000", "", "G722/8000"),
        (Codec::G722, "G722/8000/1", "", "G722/8000"),
    ];
    for (codec, encoding, fmtp, expected) in cases {
        assert_eq!(
            one("audio", codec, encoding, fmtp),
            expected,
            "{encoding} {fmtp}"
        );
    }
}

#[test]
fn real_offers_agree_on_what_they_should() {
    let sound = "opus G722 PCMU PCMA";
    let cases: [(&str, &[&str]); 14] = [
        (
            include_str!("../sdp/chromium-offer-default.sdp"),
            &["VP8 H264 AV1 VP9", sound],
        ),
        (
            include_str!("../sdp/chromium-offer-VP8.sdp"),
            &["VP8", sound],
        ),
        (
            include_str!("../sdp/chromium-offer-VP9.sdp"),
            &["VP9", sound],
        ),
        (
            include_str!("../sdp/chromium-offer-AV1.sdp"),
            &["AV1", sound],
        ),
        (
            include_str!("../sdp/chromium-offer-H264.sdp"),
            &["H264", sound],
        ),
        (
            include_str!("../sdp/firefox-offer-default.sdp"),
            &["VP8 VP9 AV1", sound],
        ),
        (
            include_str!("../sdp/firefox-offer-VP8.sdp"),
            &["VP8", sound],
        ),
        (
            include_str!("../sdp/firefox-offer-VP9.sdp"),
            &["VP9", sound],
        ),
        (
            include_str!("../sdp/firefox-offer-AV1.sdp"),
            &["AV1", sound],
        ),
        (
            include_str!("../sdp/offer-aiortc.sdp"),
            &["VP8 H264", sound],
        ),
        (include_str!("../sdp/offer-werift.sdp"), &["VP8 H264"]),
        (
            include_str!("../sdp/offer-webrtcbin-vp8.sdp"),
            &["VP8", "opus"],
        ),
        (
            include_str!("../sdp/offer-webrtcbin-vp9.sdp"),
            &["VP9", "opus"],
        ),
        (
            include_str!("../sdp/offer-webrtcbin-h264.sdp"),
            &["H264", "opus"],
        ),
    ];
    let all: Vec<Codec> = Codecs::default().iter().collect();
    for (offer, expected) in cases {
        let (lines, answer) = answer(offer, &all);
        let mut found: Vec<String> = Vec::new();
        for line in &lines {
            let mut names: Vec<&str> = line.iter().filter_map(|c| c.split('/').next()).collect();
            names.dedup();
            found.push(names.join(" "));
        }
        found.sort_by_key(|line| !expected[0].starts_with(line.split(' ').next().unwrap_or("")));
        assert_eq!(found, expected, "{offer}");
        // The core must not answer with a format that was not offered.
        for map in answer.lines().filter(|l| l.starts_with("a=rtpmap:")) {
            let lower = map.to_ascii_lowercase();
            let offered = offer
                .lines()
                .any(|l| l.to_ascii_lowercase().starts_with(&lower));
            assert!(offered, "{map}");
        }
    }
}

#[test]
fn stereo_is_said_when_it_is_wanted() {
    let now = Instant::now();
    for stereo in [false, true] {
        let mut peer = Peer::new(PeerConfig::default(), now).expect("a peer");
        let config = TransceiverConfig::default().stereo(stereo);
        peer.add_track(MediaKind::Audio, config, now)
            .expect("a track");
        let made = peer.negotiate(now).expect("an offer").sdp;
        let said = made.contains(" minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1\r\n");
        assert_eq!(said, stereo, "{made}");
        assert_eq!(made.matches("stereo=1").count(), if stereo { 2 } else { 0 });

        // In an answer, too.
        let mut peer = Peer::new(PeerConfig::default(), now).expect("a peer");
        let config = TransceiverConfig::default().stereo(stereo);
        peer.add_track(MediaKind::Audio, config, now)
            .expect("a track");
        let offer = SessionDescription {
            kind: SdpType::Offer,
            sdp: offer(
                "audio",
                &[(111, "opus/48000/2", "stereo=1"), (0, "PCMU/8000", "")],
            ),
        };
        let answer = peer
            .receive(offer, now)
            .expect("taken")
            .expect("an answer")
            .sdp;
        assert_eq!(
            answer.contains("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"),
            stereo
        );
    }
}

/// RFC 9143 §10.1.2: bundled m-lines share their payload types. The core panics if one has two meanings.
#[test]
fn a_payload_type_means_one_thing() {
    let now = Instant::now();
    let all = [Codec::H264, Codec::H265, Codec::Vp8, Codec::Vp9, Codec::Av1];
    let receive = |peer: &mut Peer, sdp: &str| {
        let (kind, sdp) = (SdpType::Offer, sdp.to_owned());
        peer.receive(SessionDescription { kind, sdp }, now)
    };
    let outcome = |first: (&str, &str), second: (&str, &str)| {
        let config = PeerConfig::default().codecs(Codecs::only(all.to_vec()));
        let mut peer = Peer::new(config, now).expect("a peer");
        let line = |(encoding, fmtp)| offer("video", &[(96, encoding, fmtp)]);
        let other = line(second).replace("a=mid:0", "a=mid:1");
        let (_, other) = other.split_once("m=video").expect("an m-line");
        let two = line(first).replace("BUNDLE 0", "BUNDLE 0 1") + "m=video" + other;
        let outcome = receive(&mut peer, &two).map(drop);
        if outcome.is_err() {
            // Nothing has changed.
            receive(&mut peer, &line(first)).expect("the first alone");
        }
        outcome.map_err(|e| e.to_string())
    };
    let h264 = |level: &'static str| ("H264/90000", level);
    for (a, b) in [
        (("VP8/90000", ""), ("vp8/90000", "")),
        (
            h264("profile-level-id=42e01f"),
            h264("profile-level-id=42E028"),
        ),
        (h264("profile-level-id=42001f"), h264("")),
        (("VP9/90000", "profile-id=0"), ("VP9/90000", "")),
        (
            ("AV1/90000", "level-idx=5"),
            ("AV1/90000", "profile=0;tier=0"),
        ),
    ] {
        assert_eq!(outcome(a, b), Ok(()), "{a:?} {b:?}");
    }
    for (a, b, why) in [
        (("VP8/90000", ""), ("VP9/90000", ""), "96 is vp9/90000"),
        (
            h264("profile-level-id=42e01f"),
            h264("profile-level-id=640c1f"),
            "profile-level-id=6400",
        ),
        (
            h264("packetization-mode=1"),
            h264(""),
            "packetization-mode=0",
        ),
        (
            ("VP9/90000", "profile-id=2"),
            ("VP9/90000", ""),
            "profile-id=0",
        ),
        (
            ("H265/90000", "tx-mode=MRST"),
            ("H265/90000", ""),
            "tx-mode=SRST",
        ),
    ] {
        let error = outcome(a, b).expect_err("two things");
        assert!(error.contains(why), "{error}");
    }
}
