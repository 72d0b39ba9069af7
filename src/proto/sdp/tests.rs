use super::*;

const FINGERPRINT: &str = "a=fingerprint:sha-256 DC:A6:5B:D2:14:94:74:24:CE:20:0B:30:0C:DE:30:EF:F4:31:FE:BA:50:9B:C3:56:AE:3A:5D:78:01:A5:02:7B\r\n";

/// Builds an offer from these sections, each beginning with its m-line.
fn offer(bundle: &str, sections: &[&str]) -> String {
    let mut text = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{bundle}a=ice-ufrag:1lju\r\n\
         a=ice-pwd:H0NiFDxDu/sMUy62eiukzN8T\r\n{FINGERPRINT}a=setup:actpass\r\n"
    );
    text.extend(sections.iter().copied());
    text
}

const AUDIO: &str =
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";
const VIDEO: &str =
    "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";

fn read(text: &str) -> Result<Reading, SdpError> {
    Reading::of(&Sdp::parse(text)?, Role::Offer, &[])
}

fn fates(text: &str) -> String {
    let read = read(text).unwrap();
    let used = read
        .lines
        .iter()
        .map(|l| if l.is_rejected() { '-' } else { '+' });
    used.collect()
}

#[test]
fn lines_end_as_they_like() {
    let text = "\u{feff}v=0\r\na=b : c \n\n  m=audio 9 RTP/AVP 0\t\ra=mid: 7\r\n";
    let sdp = Sdp::parse(text).unwrap();
    assert_eq!(
        sdp.session[0],
        Attribute {
            line: 2,
            name: "b",
            value: "c"
        }
    );
    assert_eq!(
        (sdp.media[0].line, sdp.media[0].formats.as_slice()),
        (4, &["0"][..])
    );
    assert_eq!(
        sdp.media[0].first("mid").map(|a| (a.line, a.value)),
        Some((5, "7"))
    );
    assert_eq!(Sdp::parse("SDP:\nv=0\n").unwrap(), Sdp::default());
}

#[test]
fn errors_name_the_line() {
    let error = |text: &str| read(text).unwrap_err().to_string();
    assert!(error("hello").starts_with("line 1: "));
    assert!(error("v=1\r\n").starts_with("line 1: "));
    assert!(error("v=0\r\nm=audio 9\r\n").starts_with("line 2: "));
    assert!(error("v=0\r\nm=audio 99999 RTP/AVP 0\r\n").contains("port"));
    assert!(error(&offer("", &[])).contains("no m-line"));
    let other = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:111 PCMU/8000\r\n";
    assert!(error(&offer("", &[other])).starts_with("line 13: a=rtpmap"));
    let lines = "a=x\r\n".repeat(MAX_LINES + 1);
    assert!(error(&format!("v=0\r\n{lines}")).starts_with(&format!("line {}: ", MAX_LINES + 1)));
}

/// Groups (RFC 5888, RFC 9143): unknown mids are ignored, any order is accepted, and one group is used.
#[test]
fn one_group_is_used() {
    let of = |bundle: &str| fates(&offer(bundle, &[AUDIO, VIDEO]));
    assert_eq!(of("a=group:BUNDLE 0 1\r\n"), "++");
    assert_eq!(of("a=group:BUNDLE 1 0\r\n"), "++");
    assert_eq!(of("a=group:BUNDLE 0 1 2\r\n"), "++");
    assert_eq!(of("a=group:LS 0 1\r\na=group:BUNDLE 1 0\r\n"), "++");
    assert_eq!(of("a=group:BUNDLE 1\r\na=group:BUNDLE 0\r\n"), "+-");
    assert_eq!(of("a=group:BUNDLE 7\r\na=group:BUNDLE 1\r\n"), "-+");
    let error = read(&offer("", &[AUDIO, VIDEO])).unwrap_err();
    assert!(
        error.line == Some(13) && error.text.contains("BUNDLE"),
        "{error}"
    );
}

/// The tagged m-line defines the transport (RFC 9143 §7.3.1).
#[test]
fn credentials_are_those_of_the_tagged_m_line() {
    let with = |section: &str, ufrag: &str| {
        format!(
            "{section}a=ice-ufrag:{ufrag}\r\na=ice-pwd:{ufrag}{ufrag}{ufrag}{ufrag}{ufrag}{ufrag}\r\n"
        )
    };
    let sections = [with(AUDIO, "aaaa"), with(VIDEO, "bbbb")];
    let sections: Vec<&str> = sections.iter().map(String::as_str).collect();
    for (bundle, ufrag) in [("0 1", "aaaa"), ("1 0", "bbbb")] {
        let text = offer(&format!("a=group:BUNDLE {bundle}\r\n"), &sections);
        assert_eq!(read(&text).unwrap().ufrag, ufrag);
    }
}

#[test]
fn mids_of_any_form_get_ids_that_stay() {
    let video = VIDEO.replace("a=mid:1", "a=mid:video/main".replace('/', "+").as_str());
    let audio = AUDIO.replace("a=mid:0\r\n", "");
    let text = offer("", &[&audio]);
    let first = read(&text).unwrap();
    assert_eq!(
        (first.lines[0].mid.as_deref(), first.lines[0].id.as_str()),
        (None, "m0x")
    );
    let text = offer(
        "a=group:BUNDLE video+main m0x\r\n",
        &[&AUDIO.replace("a=mid:0", "a=mid:m0x"), &video],
    );
    let again = Reading::of(&Sdp::parse(&text).unwrap(), Role::Offer, &first.lines).unwrap();
    // Our offers carry the generated mid, so the remote ones carry it from then on.
    assert_eq!(
        (again.lines[0].wire_mid(), again.lines[0].id.as_str()),
        ("m0x", "m0x")
    );
    assert_eq!(
        (again.lines[1].wire_mid(), again.lines[1].id.as_str()),
        ("video+main", "m1x")
    );
    assert!(
        again.canonical.contains("a=group:BUNDLE m0x m1x\r\n"),
        "{}",
        again.canonical
    );
    let bad = offer("", &[&AUDIO.replace("a=mid:0", "a=mid:a b")]);
    assert!(
        read(&bad)
            .unwrap_err()
            .to_string()
            .starts_with("line 10: the mid")
    );
}

/// The MID that the remote peer would send differs from the core's.
#[test]
fn the_mid_extension_is_not_agreed_on_for_a_renamed_m_line() {
    let extension = "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:5 urn:x\r\n";
    let plain = read(&offer("", &[AUDIO, extension])).unwrap();
    assert!(plain.canonical.contains("a=extmap:4 "));
    let renamed = AUDIO.replace("a=mid:0", "a=mid:the-audio");
    let renamed = read(&offer("", &[&renamed, extension])).unwrap();
    assert!(
        !renamed.canonical.contains("a=extmap:4 ") && renamed.canonical.contains("a=extmap:5 ")
    );
}

#[test]
fn fingerprints_of_three_functions_are_understood() {
    let of = |lines: &str| read(&offer("", &[AUDIO, lines])).map(|r| r.fingerprints);
    let bytes = |count: usize| vec!["ab"; count].join(":");
    let all = format!(
        "a=fingerprint:sha-1 {}\r\na=fingerprint:SHA-512 {}\r\na=fingerprint:sha-384 {}\r\n",
        bytes(20),
        bytes(64),
        bytes(48)
    );
    assert_eq!(
        of(&all),
        Ok(vec![
            Fingerprint::Sha512([0xab; 64]),
            Fingerprint::Sha384([0xab; 48])
        ])
    );
    let weak = of(&format!("a=fingerprint:sha-1 {}\r\n", bytes(20))).unwrap_err();
    assert!(
        weak.to_string()
            .contains("line 13: a=fingerprint uses \"sha-1\""),
        "{weak}"
    );
    let short = of(&format!("a=fingerprint:sha-512 {}\r\n", bytes(32))).unwrap_err();
    assert!(short.text.contains("64 hexadecimal bytes"), "{short}");
}

#[test]
fn what_is_not_understood_does_not_reach_the_core() {
    let section = "m=video 9 UDP/TLS/RTP/SAVPF 96 97 xyz 98\r\nk=x\r\nb=AS:1\r\nb=TIAS:1\r\na=rtcp-mux\r\na=mid:1\r\n\
        a=x-google-flag:conference\r\na=rtpmap:96\tVP8/90000\r\na=rtpmap:97 nonsense\r\na=rtcp-fb:* nack pli\r\n\
        a=rtcp-fb:96 x\r\na=fmtp:97 apt=96\r\na=ssrc:1 x:y\r\na=ssrc:no cname:x\r\na=ssrc-group:SIM 1 2 3\r\na=extmap:0 x\r\n";
    let read = read(&offer("", &[section])).unwrap();
    let body = read.canonical.split("m=").nth(1).unwrap();
    assert_eq!(
        body,
        "video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n\
         a=rtcp-fb:96 nack pli\r\na=ssrc:1 x:y\r\n"
    );
}

/// An answer that does not fit is refused (RFC 3264, RFC 8829, RFC 8842, RFC 9143), and the error names the line.
#[test]
fn answers_that_do_not_fit_are_refused() {
    let offered = offer(
        "a=group:BUNDLE 0 1\r\n",
        &[&AUDIO.replace("a=mid:0", "a=mid:0\r\na=sendonly"), VIDEO],
    );
    let good = offer(
        "a=group:BUNDLE 0 1\r\n",
        &[&AUDIO.replace("a=mid:0", "a=mid:0\r\na=recvonly"), VIDEO],
    )
    .replace("actpass", "active");
    let check = |answer: &str, strictness| {
        let (offer, answer) = (Sdp::parse(&offered).unwrap(), Sdp::parse(answer).unwrap());
        check_answer(&offer, &answer, strictness)
    };
    assert_eq!(check(&good, Strictness::Ours), Ok(()));
    let refused = |from: &str, to: &str, both: bool, says: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(good, changed);
        let error = check(&changed, Strictness::Ours).unwrap_err();
        assert!(error.text.contains(says), "{error}");
        assert_eq!(
            check(&changed, Strictness::Theirs).is_err(),
            both,
            "{from} -> {to}"
        );
    };
    refused("a=setup:active", "a=setup:actpass", true, "actpass");
    refused("a=recvonly", "a=sendrecv", true, "a=sendonly");
    refused("m=video", "m=text", true, "m=text");
    refused("a=mid:1", "a=mid:2", true, "mid");
    refused("BUNDLE 0 1", "BUNDLE 0 1 2", true, "bundles");
    refused("BUNDLE 0 1", "BUNDLE 0", false, "not in one");
    refused("SAVPF 96", "SAVPF 97", false, "format");
    refused("UDP/TLS/RTP/SAVPF 96", "RTP/SAVPF 96", false, "protocol");
    refused("UDP/TLS/RTP/SAVPF 96", "UDP/DTLS/SCTP 96", true, "protocol");
    refused("a=setup:active\r\n", "", false, "a=setup");
    let shorter = good.replace(VIDEO, "");
    assert!(
        check(&shorter, Strictness::Theirs)
            .unwrap_err()
            .text
            .contains("1 m-lines")
    );
    // Port 0 is always valid.
    let rejected = good
        .replace("m=video 9", "m=video 0")
        .replace("0 1\r\n", "0\r\n");
    assert_eq!(check(&rejected, Strictness::Ours), Ok(()));
}

/// Doubling any part of a description about doubles the time, and the core's text stays small.
#[test]
fn descriptions_are_read_in_linear_time() {
    let kinds = [
        "a=x7\r\n",
        "a=ssrc:7 cname:x\r\n",
        "a=fmtp:96 x=7\r\n",
        "a=rtpmap:96 VP8/90000\r\n",
        "a=rtcp-fb:96 nack pli\r\n",
        "a=candidate:7 1 udp 7 192.0.2.1 7 typ host\r\n",
        "a=extmap:7 urn:x\r\n",
        "a=group:BUNDLE 0\r\n",
        "\r\n",
    ];
    for kind in kinds {
        let text = |count: usize| {
            let mut lines = String::new();
            for n in 0..count {
                lines += &kind.replace('7', &n.to_string());
            }
            offer("a=group:BUNDLE 1\r\n", &[VIDEO, &lines])
        };
        let cost = |count: usize| {
            let text = text(count);
            let best = (0..5).map(|_| {
                let start = std::time::Instant::now();
                let read = read(&text).unwrap();
                assert!(read.canonical.lines().count() < 200, "{kind}");
                start.elapsed()
            });
            best.min().unwrap()
        };
        let (half, whole) = (cost(1900), cost(3800));
        // Allowance for noise and for fixed costs.
        let most = half * 4 + std::time::Duration::from_millis(2);
        assert!(
            whole < most,
            "{kind:?}: {half:?} for half, {whole:?} for all"
        );
    }
}
