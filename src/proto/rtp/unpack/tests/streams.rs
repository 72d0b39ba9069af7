//! Streams of GStreamer's payloaders (`tests/data/camera`).

use super::*;

fn packets(file: &str) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/tests/data/camera/{file}.rtp",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut packets) = (&bytes[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        packets.push(packet.to_vec());
        rest = after;
    }
    packets
}

/// The format that the description of each stream says.
pub(super) fn format(file: &str) -> MediaFormat {
    let sets = |all: &[&str]| all.iter().map(|set| base64::decode(set).unwrap()).collect();
    let aac = |config: &[u8]| {
        MediaFormat::Aac(AacFormat {
            config: AacConfig::parse(config).unwrap(),
            config_is_guessed: false,
            header: AuHeader::default(),
            constant_size: 0,
        })
    };
    match file {
        "h264" | "h264-aggregated" => MediaFormat::H264 { sets: vec![] },
        "h264-b-frames" => MediaFormat::H264 {
            sets: sets(&["Z2QAFKzZRHsBagwMDUoAAAMAAgAAAwBlHihTLA==", "aOvssiw="]),
        },
        "h265" => MediaFormat::H265 {
            sets: vec![],
            has_order_numbers: false,
        },
        "h265-b-frames" => MediaFormat::H265 {
            sets: sets(&[
                "QAEMAf//AWAAAAMAkAAAAwAAAwA/lZAJ",
                "QgEBAWAAAAMAkAAAAwAAAwA/oCCDFllZLkyv/wABAAFqDAwMCAAAAwAIAAADAMhA",
                "RAHBc9CJ",
            ]),
            has_order_numbers: false,
        },
        "jpeg" => MediaFormat::Jpeg { dimensions: None },
        "aac" => aac(&[0x14, 0x08]),
        "aac-fragments" => aac(&[0x12, 0x08]),
        "latm" => MediaFormat::Latm {
            config: Some(vec![0x40, 0, 0x28, 0x10]),
            in_band: false,
        },
        other => panic!("{other}"),
    }
}

pub(super) const FILES: [&str; 9] = [
    "h264",
    "h264-aggregated",
    "h264-b-frames",
    "h265",
    "h265-b-frames",
    "jpeg",
    "aac",
    "aac-fragments",
    "latm",
];

/// Unpacks a stream without the packets that `is_lost` names. Writes the frames beside each other if a folder is named.
fn unpack(file: &str, is_lost: impl Fn(usize) -> bool) -> (Vec<Unit>, UnpackStats) {
    let format = format(file);
    let mut unpacker = Unpacker::new(&format, format.clock_rate(), UnpackLimits::default());
    let mut units = Vec::new();
    let now = Instant::now();
    for (n, packet) in packets(file).iter().enumerate() {
        if !is_lost(n) {
            unpacker.push(
                &Packet::parse(packet).unwrap(),
                now + Duration::from_millis(n as u64),
            );
            units.extend(std::iter::from_fn(|| unpacker.poll()));
        }
    }
    unpacker.flush();
    units.extend(std::iter::from_fn(|| unpacker.poll()));
    if let Some(folder) = std::env::var_os("LOOPRTC_UNPACKED") {
        let all: Vec<u8> = units.iter().flat_map(|unit| unit.data.to_vec()).collect();
        std::fs::write(std::path::Path::new(&folder).join(file), all).unwrap();
    }
    (units, unpacker.stats())
}

#[test]
fn all_frames_come_out_whole() {
    for (file, frames, keyframes, reordered) in [
        ("h264", 20, 3, 0),
        ("h264-aggregated", 20, 3, 0),
        ("h264-b-frames", 20, 2, 12),
        ("h265", 20, 3, 0),
        ("h265-b-frames", 20, 2, 12),
        ("jpeg", 3, 3, 0),
        ("aac", 16, 16, 0),
        ("aac-fragments", 16, 16, 0),
        ("latm", 16, 16, 0),
    ] {
        let (units, stats) = unpack(file, |_| false);
        let keys = units.iter().filter(|unit| unit.is_key).count();
        println!("{file}: {stats:?}");
        assert!(units.len().abs_diff(frames) <= 2, "{file}: {}", units.len());
        assert!(keys.abs_diff(keyframes) <= 2, "{file}: {keys} keyframes");
        assert!(
            stats.reordered.abs_diff(reordered) <= 2,
            "{file}: {}",
            stats.reordered
        );
        assert!(units.iter().all(|unit| !unit.discontinuity), "{file}");
        let bad = (
            stats.malformed,
            stats.damaged,
            stats.undecodable,
            stats.marker_lies,
            stats.annex_b,
        );
        assert_eq!((bad, stats.fragment_faults), ((0, 0, 0, 0, 0), 0), "{file}");
    }
}

/// Returns the slices of a unit.
fn slices<'a>(file: &str, unit: &'a Unit) -> Vec<&'a [u8]> {
    let is_slice = |nal: &&[u8]| match file.starts_with("h264") {
        true => matches!(nal[0] & 31, 1 | 5),
        false => nal[0] >> 1 < 32,
    };
    nals(unit).into_iter().filter(is_slice).collect()
}

/// One packet after the other is lost: what comes out are units of the whole stream, and after the loss there is a mark.
#[test]
fn what_remains_after_a_loss_is_whole() {
    for file in FILES {
        let (whole, _) = unpack(file, |_| false);
        for lost in 0..packets(file).len() {
            let (units, stats) = unpack(file, |n| n == lost);
            assert!(units.len() <= whole.len());
            for unit in &units {
                let same = whole
                    .iter()
                    .find(|other| other.rtp_timestamp == unit.rtp_timestamp);
                let same = same.expect("a unit of the whole stream");
                match file.starts_with("h26") {
                    // What precedes the slices may be missing, if the keyframe has its parameter sets.
                    true => assert_eq!(
                        slices(file, same),
                        slices(file, unit),
                        "{file} without {lost}"
                    ),
                    false => assert_eq!(same.data, unit.data, "{file} without {lost}"),
                }
            }
            let marked = units.iter().filter(|unit| unit.discontinuity).count();
            let first_is_missing =
                units.first().map(|u| u.rtp_timestamp) != whole.first().map(|u| u.rtp_timestamp);
            let ends =
                units.last().map(|u| u.rtp_timestamp) != whole.last().map(|u| u.rtp_timestamp);
            let is_seen = marked == 1 || first_is_missing || ends || lost == 0;
            assert!(
                is_seen || units.len() == whole.len(),
                "{file} without {lost}: {stats:?}"
            );
        }
    }
}
