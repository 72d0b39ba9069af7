//! Descriptions rebuilt from public bug reports (`tests/data/cases`), and how a peer and [`inspect`] treat each of
//! them.

use std::time::Instant;

use crate::proto::ice::IceCandidate;
use crate::proto::inspect::{self, Severity};
use crate::proto::peer::{
    MediaKind, Peer, PeerConfig, PeerError, SessionDescription, TransceiverConfig,
};
use crate::proto::sdp::{self, Role, Sdp, Strictness};

/// Returns the table: a file and the expected result per line.
fn table() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("tests/data/cases/expected.txt").unwrap();
    let rows = text
        .lines()
        .filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
    let row = |line: &str| {
        let (file, expected) = line.split_once(char::is_whitespace).unwrap();
        (file.to_owned(), expected.trim().to_owned())
    };
    rows.map(row).collect()
}

fn read(file: &str) -> String {
    let bytes = std::fs::read(format!("tests/data/cases/{file}")).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Returns the answer of a peer, with tracks or without.
fn answer(offer: &str, has_tracks: bool) -> Result<String, PeerError> {
    let now = Instant::now();
    let mut peer = Peer::new(PeerConfig::default(), now).unwrap();
    peer.set_remote_description(SessionDescription::offer(offer), now)?;
    if has_tracks {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            peer.add_track(kind, TransceiverConfig::default(), now)?;
        }
    }
    Ok(peer.create_answer(now)?.sdp)
}

/// Formats the result, such as `audio+ text-`: accepted and rejected m-lines; or the error.
fn outcome(offer: &str, has_tracks: bool) -> String {
    let answer = match answer(offer, has_tracks) {
        Ok(answer) => answer,
        Err(error) => return format!("refused: {error}"),
    };
    let (offered, answered) = (Sdp::parse(offer).unwrap(), Sdp::parse(&answer).unwrap());
    for strictness in [Strictness::Ours, Strictness::Theirs] {
        sdp::check_answer(&offered, &answered, strictness).unwrap();
    }
    let outcome = sdp::outcome(offer, &answer).unwrap();
    let lines: Vec<String> = outcome
        .iter()
        .map(
            |line| match (line.accepted, line.common_codecs.as_slice()) {
                (true, []) => format!("{}+", line.kind),
                (true, codecs) => format!("{}+{}", line.kind, codecs.join(",")),
                (false, _) => format!("{}-", line.kind),
            },
        )
        .collect();
    lines.join(" ")
}

#[test]
fn each_case_has_its_outcome() {
    let mut wrong = Vec::new();
    let table = table();
    for (file, expected) in table.iter().filter(|(file, _)| file.ends_with(".sdp")) {
        let found = outcome(&read(file), file.contains("whep"));
        if found != *expected {
            wrong.push(format!("{file:36}{found}"));
        }
    }
    assert!(wrong.is_empty(), "found instead:\n{}", wrong.join("\n"));
}

#[test]
fn every_case_stands_in_the_table() {
    let known: Vec<String> = table().into_iter().map(|(file, _)| file).collect();
    for file in std::fs::read_dir("tests/data/cases").unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        if file.path().is_file() && name != "expected.txt" {
            assert!(known.contains(&name), "{name} is not in expected.txt");
        }
    }
}

/// A description that a peer refuses is an error for `inspect`, on the same line; an accepted one is not.
#[test]
fn inspect_judges_as_peers_do() {
    for (file, expected) in table().iter().filter(|(file, _)| file.ends_with(".sdp")) {
        let text = read(file);
        let report = inspect::inspect(text.as_bytes()).unwrap();
        let errors = report
            .problems()
            .filter(|(_, p)| p.severity == Severity::Error);
        let errors: Vec<_> = errors.collect();
        let Some(refusal) = expected.strip_prefix("refused: session description: ") else {
            assert!(errors.is_empty(), "{file} is accepted, and yet: {errors:?}");
            let read = super::check_description(&text, Role::Offer).unwrap();
            for line in read
                .iter()
                .filter(|l| matches!(l.fate, sdp::Fate::Unusable(_)))
            {
                let told = &report.lines[line.line - 1].problems;
                assert!(
                    !told.is_empty(),
                    "{file}: nothing is said of line {}",
                    line.line
                );
            }
            continue;
        };
        let says_so = |(line, problem): &(Option<usize>, &inspect::Problem)| {
            let why = match line {
                Some(line) => refusal.strip_prefix(&format!("line {line}: ")),
                None => Some(refusal),
            };
            why.is_some_and(|why| problem.text.contains(why))
        };
        assert!(
            errors.iter().any(says_so),
            "{file}: {refusal} is not among {errors:?}"
        );
    }
}

/// A candidate is read, or refused with a reason; `inspect` agrees.
#[test]
fn candidates_are_read_or_refused() {
    let mut wrong = Vec::new();
    for (file, expected) in table().iter().filter(|(file, _)| file.ends_with(".cand")) {
        let text = read(file);
        let found = match IceCandidate::parse(text.trim()) {
            Ok(_) => "read".to_owned(),
            Err(error) => format!("refused: {error}"),
        };
        if found != *expected {
            wrong.push(format!("{file:39} {found}"));
        }
        let Ok(report) = inspect::inspect(text.as_bytes()) else {
            assert!(found.starts_with("refused"), "{file}");
            continue;
        };
        let errors = report
            .problems()
            .filter(|(_, p)| p.severity == Severity::Error);
        let is_refused = found.starts_with("refused");
        // A port of 0 can be parsed, but not used.
        let is_wrong = (errors.count() > 0) != is_refused;
        assert!(!is_wrong || text.contains(" 0 typ"), "{file}: {report:?}");
    }
    assert!(wrong.is_empty(), "found instead:\n{}", wrong.join("\n"));
}

/// An answer repeats the offered H.264 profile, even if the core uses another name for it.
#[test]
fn answers_repeat_the_profile() {
    for profile in ["4d0c1f", "64081f", "640c1f"] {
        for (file, has_tracks) in [("30p", false), ("30q-whep", true)] {
            let offer = read(&format!("{file}-{profile}.sdp"));
            let answer = answer(&offer, has_tracks).unwrap();
            let wanted = format!("profile-level-id={profile}");
            assert_eq!(answer.matches("profile-level-id=").count(), 1, "{answer}");
            assert!(answer.contains(&wanted), "{answer}");
        }
    }
}

/// S7: the largest offer that WHIP accepts costs a bounded time, whatever its content. Before, 64 KiB of unknown
/// attributes took 190 ms in a release build; most of it in the core's parser, which is optimized here as well.
#[test]
fn a_large_offer_costs_little() {
    let offer = |kind: &str| {
        let mut text = read("02-ffmpeg-both.sdp");
        for n in 0..4000 {
            let line = kind.replace('#', &n.to_string());
            if text.len() + line.len() > 64 * 1024 {
                break;
            }
            text += &line;
        }
        text
    };
    let cost = |offer: &str| {
        let best = (0..5).map(|_| {
            let start = Instant::now();
            let answered = answer(offer, false);
            (start.elapsed(), answered.is_ok())
        });
        best.min().unwrap()
    };
    let (small, _) = cost(&offer(""));
    for kind in [
        "a=x#\r\n",
        "a=ssrc:# cname:x\r\n",
        "a=ssrc-group:FID # #\r\n",
        "a=fmtp:106 x=#\r\n",
        "a=rtcp-fb:106 nack pli\r\n",
        "a=extmap:# urn:x\r\n",
        "a=candidate:# 1 udp 7 127.0.0.1 7 typ host\r\n",
        "a=rid:# send\r\n",
        "a=msid:# #\r\n",
        "m=text 9 RTP/SAVPF 7\r\n",
        "m=video 0 UDP/TLS/RTP/SAVPF 7\r\na=mid:x#\r\n",
    ] {
        let (large, is_ok) = cost(&offer(kind));
        println!("{small:?} without, {large:?} with {kind:?} (answered: {is_ok})");
        let most = small * 3 + std::time::Duration::from_millis(60);
        assert!(large < most, "{kind:?}: {large:?}, without it {small:?}");
    }
}
