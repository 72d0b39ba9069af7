use super::*;

fn explained(line: &str) -> Line {
    let report = inspect(line.as_bytes()).unwrap();
    report.lines.into_iter().next().unwrap()
}

fn all_text(report: &Report) -> String {
    let mut text = report.summary.clone();
    for line in &report.lines {
        text += &format!(
            "\n{}: {} [{}] {}",
            line.number,
            line.meaning,
            line.reference,
            line.details.join("; ")
        );
    }
    for (line, problem) in report.problems() {
        text += &format!("\n{:?} {}: {}", line, problem.severity, problem.text);
    }
    text
}

fn problems(sdp: &str) -> Vec<String> {
    let report = inspect(sdp.as_bytes()).unwrap();
    let shown = report.problems().map(|(line, p)| match line {
        Some(line) => format!("{}, line {line}: {}", p.severity, p.text),
        None => format!("{}: {}", p.severity, p.text),
    });
    shown.collect()
}

fn has(problems: &[String], phrase: &str) -> bool {
    problems.iter().any(|p| p.contains(phrase))
}

/// A valid offer of a data channel.
const DATA: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=setup:actpass\r\n\
a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\na=ice-options:trickle\r\na=sctp-port:5000\r\n\
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
a=candidate:1 1 udp 2130706431 192.0.2.2 41400 typ host\r\n";

#[test]
fn real_offers_are_explained_and_without_errors() {
    for (name, sdp) in [
        (
            "chromium",
            include_str!("../../../tests/sdp/chromium-offer-default.sdp"),
        ),
        (
            "chromium H264",
            include_str!("../../../tests/sdp/chromium-offer-H264.sdp"),
        ),
        (
            "firefox",
            include_str!("../../../tests/sdp/firefox-offer-default.sdp"),
        ),
        (
            "aiortc",
            include_str!("../../../tests/sdp/offer-aiortc.sdp"),
        ),
        (
            "webrtcbin",
            include_str!("../../../tests/sdp/offer-webrtcbin-h264.sdp"),
        ),
        (
            "werift",
            include_str!("../../../tests/sdp/offer-werift.sdp"),
        ),
        ("wrtc", include_str!("../../../tests/sdp/offer-wrtc.sdp")),
    ] {
        let report = inspect(sdp.as_bytes()).unwrap();
        let text = all_text(&report);
        assert!(
            report.problems().all(|(_, p)| p.severity < Severity::Error),
            "{name}: {text}"
        );
        assert!(
            report.summary.starts_with("an offer"),
            "{name}: {}",
            report.summary
        );
        assert_eq!(report.lines.len(), sdp.lines().count());
        for line in &report.lines {
            assert!(!line.meaning.contains("not known here"), "{name}: {line:?}");
            assert!(!line.reference.is_empty(), "{name}: {line:?}");
        }
    }
}

#[test]
fn what_stands_in_chromiums_offer() {
    let text =
        all_text(&inspect(include_bytes!("../../../tests/sdp/chromium-offer-H264.sdp")).unwrap());
    for phrase in [
        "Constrained Baseline profile, level 3.1: enough for 1280 × 720 at 30 pictures a second",
        "Baseline profile, level 3.1",
        "pictures may be cut into several packets",
        "sends H264",
        "Goes over one transport",
        "a keyframe can be asked for when pictures are broken (PLI) [RFC 4585 §6.3.1]",
        "which media section the packet belongs to",
        "Either side may begin the DTLS handshake",
    ] {
        assert!(text.contains(phrase), "{phrase}\n{text}");
    }
}

#[test]
fn priorities_are_taken_apart() {
    let line = explained("candidate:1 1 udp 2130706431 192.168.1.2 41400 typ host");
    assert_eq!(
        line.meaning,
        "An address of the peer's own (host): UDP 192.168.1.2:41400"
    );
    assert_eq!(line.reference, "RFC 8839 §5.1");
    let text = line.details.join("\n");
    assert!(
        text.contains(
            "type preference 126 × 2^24 + local preference 65535 × 2^8 + 256 − component 1"
        ),
        "{text}"
    );
    assert!(text.contains("private address (RFC 1918)"), "{text}");
    // libwebrtc gives TCP a lower type preference.
    let line = explained("candidate:1 1 tcp 1518280447 192.0.2.2 9 typ host tcptype active");
    let text = line.details.join("\n");
    assert!(text.contains("type preference 90"), "{text}");
    assert!(
        text.contains("host candidates have a type preference of 126 as a rule"),
        "{text}"
    );
    assert!(line.problems[0].text.contains("passive"), "{line:?}");
}

#[test]
fn candidates_that_lead_nowhere() {
    let problem = |line: &str| {
        let line = explained(line);
        let first = line.problems.first().map(|p| (p.severity, p.text.clone()));
        first.unwrap_or_else(|| panic!("nothing wrong with {line:?}"))
    };
    let (severity, text) = problem("candidate:1 1 udp 2122260223 6e4f0a2b-93c1.local 5 typ host");
    assert_eq!(severity, Severity::Note);
    assert!(text.contains("same network"), "{text}");
    for (line, phrase) in [
        (
            "candidate:1 1 udp 2122260223 0.0.0.0 5 typ host",
            "nobody can be reached",
        ),
        (
            "candidate:1 1 udp 2122260223 224.0.0.1 5 typ host",
            "multicast",
        ),
        (
            "candidate:1 1 udp 2122260223 192.0.2.1 0 typ host",
            "port 0",
        ),
        (
            "candidate:1 x udp 1 192.0.2.1 1 typ host",
            "component-id \"x\"",
        ),
    ] {
        let (severity, text) = problem(line);
        assert_eq!(severity, Severity::Error, "{line}");
        assert!(text.contains(phrase), "{text}");
    }
    for (line, phrase) in [
        (
            "candidate:1 1 udp 2122260223 127.0.0.1 5 typ host",
            "same machine",
        ),
        (
            "candidate:1 1 tcp 2122260223 192.0.2.1 5 typ host",
            "without tcptype",
        ),
    ] {
        let (severity, text) = problem(line);
        assert_eq!(severity, Severity::Warning, "{line}");
        assert!(text.contains(phrase), "{text}");
    }
}

#[test]
fn a_good_offer_has_nothing_wrong() {
    assert_eq!(problems(DATA), Vec::<String>::new());
}

#[test]
fn what_is_missing_is_said() {
    let without = |line: &str| {
        let kept = DATA.lines().filter(|l| !l.starts_with(line));
        problems(&kept.map(|l| format!("{l}\r\n")).collect::<String>())
    };
    assert!(has(&without("a=fingerprint"), "has no a=fingerprint"));
    assert!(has(&without("a=ice-ufrag"), "has no a=ice-ufrag"));
    assert!(has(&without("a=ice-pwd"), "has no a=ice-pwd"));
    assert!(has(&without("a=setup"), "has no a=setup"));
    assert!(has(&without("a=sctp-port"), "has no a=sctp-port"));
    assert!(has(&without("a=candidate"), "no candidates yet"));
    assert!(has(&without("v=0"), "begins with v=0"));
    let no_mid = without("a=mid");
    assert!(
        has(&no_mid, "no section has a=mid:0") && has(&no_mid, "has no a=mid"),
        "{no_mid:?}"
    );
}

#[test]
fn what_does_not_go_together_is_said() {
    let with = |from: &str, to: &str| problems(&DATA.replace(from, to));
    assert!(has(
        &with("typ host", "typ host ufrag efgh"),
        "it has expired"
    ));
    assert!(has(
        &with("192.0.2.2", "a.local"),
        "all candidates are .local names"
    ));
    assert!(has(&with("sha-256 00:", "sha-256 "), "32 bytes"));
    assert!(has(&with("abcdefghijklmnopqrstuv", "short"), "22 to 256"));
    assert!(has(
        &with("a=setup:actpass", "a=setup:holdconn"),
        "holdconn"
    ));
    assert!(has(
        &with("m=application 9", "m=application 0"),
        "is refused, and yet in the BUNDLE group"
    ));
    assert!(has(
        &with("BUNDLE 0", "BUNDLE 0 1"),
        "no section has a=mid:1"
    ));
    assert!(has(&with("\r\n", "\n"), "LF alone"));
    let answer = serde_json::json!({"type": "answer", "sdp": DATA}).to_string();
    assert!(has(&problems(&answer), "a=setup:active or passive"));
    let offer = DATA.replace("actpass", "active");
    let offer = serde_json::json!({"type": "offer", "sdp": offer}).to_string();
    assert!(has(&problems(&offer), "leaves the DTLS role to the answer"));
}

#[test]
fn simulcast_and_its_layers() {
    let sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n\
               a=rtpmap:96 VP8/90000\r\na=rid:h send max-width=1280\r\na=rid:q send\r\na=rid:x send\r\n\
               a=simulcast:send h;q,~z\r\na=ssrc-group:FID 11 22\r\na=ssrc:11 cname:me\r\na=ssrc:22 cname:me\r\n";
    let report = inspect(sdp.as_bytes()).unwrap();
    let text = all_text(&report);
    for phrase in [
        "can be sent: 2 layers, h, q or ~z",
        "restriction max-width=1280",
        "no a=rid line tells about \"z\"",
        "a=simulcast does not mention it",
        "22 sends again what is lost of 11 (FID)",
        "The sender 22 (retransmissions)",
        "no a=rtpmap says which codec the payload type 97 is",
    ] {
        assert!(text.contains(phrase), "{phrase}\n{text}");
    }
}

#[test]
fn plain_rtp_is_told_from_webrtc() {
    let sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n\
               a=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=640c1f;sprop-parameter-sets=Z0\r\n";
    let report = inspect(sdp.as_bytes()).unwrap();
    assert!(all_text(&report).contains("Constrained High profile, level 3.1"));
    assert_eq!(report.findings.len(), 1);
    assert!(report.findings[0].text.contains("plain RTP"));
}

#[test]
fn every_wrapping_is_taken_off() {
    let json = serde_json::json!({"type": "offer", "sdp": DATA}).to_string();
    let base64 = crate::proto::rtp::base64::encode(json.as_bytes());
    let escaped = DATA.replace("\r\n", "\\r\\n");
    let expected = inspect(DATA.as_bytes()).unwrap().lines;
    for (input, kind) in [
        (json.clone(), Some(SdpType::Offer)),
        (format!("  {base64}\n"), Some(SdpType::Offer)),
        (
            format!("{}\n{}", &base64[..70], &base64[70..]),
            Some(SdpType::Offer),
        ),
        (escaped, None),
        (serde_json::Value::from(DATA).to_string(), None),
    ] {
        let report = inspect(input.as_bytes()).unwrap();
        assert_eq!(report.kind, Kind::Description(kind), "{input}");
        assert_eq!(report.lines, expected, "{input}");
    }
    let init = r#"{"candidate":"candidate:1 1 udp 1 192.0.2.2 5 typ host","sdpMid":"0"}"#;
    assert_eq!(inspect(init.as_bytes()).unwrap().kind, Kind::Candidate);
    assert_eq!(inspect(br#"{"candidate":""}"#).unwrap().lines, []);
    let broken = inspect(br#"{"candidate":"candidate:1 1\nudp 1 192.0.2.2 5 typ host"}"#).unwrap();
    assert_eq!(
        broken.lines[0].text,
        "candidate:1 1 udp 1 192.0.2.2 5 typ host"
    );
}

#[test]
fn urls_of_servers() {
    let line = explained("turn:turn.example.org?transport=tcp");
    assert!(
        line.meaning.contains("TURN server") && line.meaning.ends_with("over TCP"),
        "{line:?}"
    );
    assert_eq!(line.details[0], "at turn.example.org, port 3478");
    let line = explained("turn://turn.example.org");
    assert_eq!(line.problems[0].severity, Severity::Error);
    assert!(line.problems[0].text.contains("no //"));
}

#[test]
fn what_is_nothing_of_the_kind() {
    let error = |input: &[u8]| inspect(input).unwrap_err().to_string();
    assert!(error(b" \n").contains("empty"));
    assert!(error(b"hello, world").contains("neither a session description"));
    assert!(error(b"{\"a\":1}").contains("no text \"sdp\""));
    assert!(error(b"{").contains("JSON"));
    assert!(error(b"v=0\xff").contains("byte 3"));
    assert!(error(&vec![b'v'; MAX_INPUT + 1]).contains("limit"));
    assert!(error("v=0\n".repeat(MAX_LINES + 1).as_bytes()).contains("lines"));
    assert!(error(b"aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91").contains("neither"));
}

#[test]
fn levels_and_profiles() {
    let text = |codec: &str, parameters: &str| {
        let sdp = format!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 {codec}/90000\na=fmtp:96 {parameters}"
        );
        let report = inspect(sdp.as_bytes()).unwrap();
        report.lines[2].details.join("; ")
    };
    for (id, phrase) in [
        ("42e01f", "Constrained Baseline profile, level 3.1"),
        ("42001f", ": Baseline profile, level 3.1"),
        ("4d0032", "Main profile, level 5.0"),
        ("640028", ": High profile, level 4.0"),
        ("42f00b", "Constrained Baseline profile, level 1b"),
        ("f40034", "High 4:4:4 Predictive profile, level 5.2"),
    ] {
        let text = text("H264", &format!("profile-level-id={id}"));
        assert!(text.contains(phrase), "{text}");
    }
    assert!(text("AV1", "level-idx=5;profile=0;tier=0").contains("level 3.1"));
    assert!(text("H265", "level-id=93").contains("level 3.1"));
    assert!(text("VP9", "profile-id=2").contains("10 or 12 bits"));
}
