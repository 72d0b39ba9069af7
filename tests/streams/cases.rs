//! Media files from public bug reports: each plays, or the error explains why not.

use std::collections::BTreeMap;
use std::fs::File;

use looprtc::proto::media::movie::MovieReader;
use looprtc::proto::media::{Codec, Limits};
use looprtc::proto::rtp::SdpFile;
use looprtc::server::streams::{StreamState, StreamsConfig};

use crate::stage::Stage;

/// A line of `expected.txt`.
struct Case {
    file: &'static str,
    outcome: &'static str,
    codecs: &'static str,
    /// The delay of audio relative to video, in milliseconds.
    later: Option<f64>,
    words: &'static str,
}

fn cases() -> Vec<Case> {
    let table = include_str!("../data/cases/media/expected.txt");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let case = |line: &'static str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [file, outcome, codecs, later, words] = cells[..] else {
            panic!("{line}");
        };
        Case {
            file,
            outcome,
            codecs,
            later: (!later.is_empty()).then(|| later.parse().unwrap()),
            words,
        }
    };
    lines.map(case).collect()
}

fn path(file: &str) -> String {
    format!(
        "{}/tests/data/cases/media/{file}",
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn the_table_has_all_files() {
    let dir = std::fs::read_dir(path("")).unwrap();
    let names = dir.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<String> = names.filter(|name| name != "expected.txt").collect();
    there.sort();
    let listed: Vec<&str> = cases().iter().map(|case| case.file).collect();
    assert_eq!(there, listed);
}

#[test]
fn each_file_plays_or_says_why_not() {
    let cases = cases();
    let mut stage = Stage::new(StreamsConfig::default());
    let mut viewers = BTreeMap::new();
    for (n, case) in cases.iter().enumerate() {
        let scheme = if case.outcome == "described" {
            "rtp:"
        } else {
            ""
        };
        stage = stage.with(&format!("case{n}={scheme}{}", path(case.file)));
        let info = stage.streams.info(&format!("case{n}")).unwrap();
        let codecs: Vec<&str> = info.codecs.iter().map(|c| c.name()).collect();
        assert_eq!(codecs.join(", "), case.codecs, "{}", case.file);
        match info.state {
            StreamState::Failed { why, .. } => {
                assert_eq!(case.outcome, "failed", "{}: {why}", case.file);
                assert!(why.contains(case.words), "{}: {why}", case.file);
            }
            _ => assert_ne!(case.outcome, "failed", "{}", case.file),
        }
        if case.outcome == "plays" {
            let codecs = info.codecs.clone();
            let viewer = stage.watch(&format!("case{n}"), &codecs).unwrap();
            viewers.insert(n, (viewer, codecs));
        }
    }
    // At least a second and a half of each.
    stage.until("all that plays", |stage| {
        viewers.values().all(|(viewer, codecs)| {
            let enough = |codec: &Codec| stage.client(*viewer).of(*codec).len() >= 35;
            codecs.iter().all(enough)
        })
    });
    // Faults at the end of a file are reported when it is reached.
    stage.until("all that is to be said", |stage| {
        cases.iter().enumerate().all(|(n, case)| {
            let info = stage.streams.info(&format!("case{n}")).unwrap();
            case.outcome == "failed" || info.notes.join(" ").contains(case.words)
        })
    });
    for (n, case) in cases.iter().enumerate() {
        let info = stage.streams.info(&format!("case{n}")).unwrap();
        if let Some((viewer, codecs)) = viewers.get(&n) {
            assert_eq!(info.state, StreamState::Live, "{}", case.file);
            assert_eq!(info.stats.failures, 0, "{}", case.file);
            let client = stage.client(*viewer);
            for codec in codecs {
                assert_eq!(
                    client.decodable(*codec),
                    client.of(*codec).len(),
                    "{}",
                    case.file
                );
            }
        }
        if case.outcome != "failed" {
            let notes = info.notes.join(" ");
            let is_clean = case.words.is_empty() && notes.is_empty();
            let is_said = !case.words.is_empty() && notes.contains(case.words);
            assert!(is_clean || is_said, "{}: {notes:?}", case.file);
        }
    }
}

#[test]
fn audio_and_video_are_in_step() {
    for case in cases() {
        let Some(later) = case.later else {
            continue;
        };
        let file = File::open(path(case.file)).unwrap();
        let mut movie = MovieReader::open(file, Limits::default()).unwrap();
        let mut first = [None; 2];
        while let Ok(Some((track, frame))) = movie.next_frame() {
            let kind = usize::from(!movie.tracks()[track].codec.is_video());
            first[kind].get_or_insert(frame.time.as_secs_f64() * 1000.0);
        }
        let is = first[1].unwrap() - first[0].unwrap();
        assert!(
            (is - later).abs() < 10.0,
            "{}: {is} ms, not {later}",
            case.file
        );
    }
}

/// H.265 needs the parameter sets, which only its SDP file has.
#[test]
fn parameter_sets_of_h265_come_from_the_sdp_file() {
    let text = std::fs::read_to_string(path("64-h265.sdp")).unwrap();
    let file = SdpFile::parse(&text).unwrap();
    let config = looprtc::proto::rtp::RtpSourceConfig::for_stream(&file.streams[0]);
    assert!(config.repeat_parameter_sets);
    assert!(config.parameter_sets.is_some_and(|sets| sets.is_complete()));
}
