use super::*;

const SPS: &[u8] = &[
    0x67, 0x64, 0, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0xfb, 1, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 1, 0xe0,
    0xf1, 0x42, 0x99, 0x60,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
const OTHER_PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc1];
const SEI: &[u8] = &[6, 5, 1, 0xAA, 0x80];
const AUD: &[u8] = &[9, 0xF0];

/// Slices: the highest bit of the second byte says that it is a picture's first.
fn idr(n: u8) -> Vec<u8> {
    vec![0x65, 0x88, n, 0x11, 0x22, 0x33, n, 0x55]
}

fn slice(n: u8) -> Vec<u8> {
    vec![0x41, 0x9A, n, 0x11, 0x22, 0x33, n, 0x55]
}

fn second_slice(n: u8) -> Vec<u8> {
    vec![0x41, 0x5A, n, 0x11, 0x22, 0x33, n, 0x55]
}

fn sender() -> Sender {
    Sender::new(&MediaFormat::H264 {
        sets: vec![SPS.to_vec(), PPS.to_vec()],
    })
}

fn bare_sender() -> Sender {
    Sender::new(&MediaFormat::H264 { sets: vec![] })
}

fn stap(nals: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![24];
    for nal in nals {
        payload.extend((nal.len() as u16).to_be_bytes());
        payload.extend(*nal);
    }
    payload
}

/// Splits a NAL unit into fragments of `size` bytes.
fn fragments(nal: &[u8], size: usize) -> Vec<Vec<u8>> {
    let body: Vec<&[u8]> = nal[1..].chunks(size).collect();
    let last = body.len() - 1;
    let fragment = |(n, chunk): (usize, &&[u8])| {
        let flags = (u8::from(n == 0) << 7) | (u8::from(n == last) << 6);
        [&[nal[0] & 0xE0 | 28, flags | nal[0] & 31][..], chunk].concat()
    };
    body.iter().enumerate().map(fragment).collect()
}

/// Sends three pictures with markers, after which these are believed.
fn trusted() -> Sender {
    let mut sender = sender();
    sender.send(&idr(0), 0, true);
    for n in 1..5 {
        sender.send(&slice(n), u32::from(n) * 3600, true);
    }
    assert_eq!(sender.units().len(), 5);
    sender
}

#[test]
fn single_units_aggregates_and_fragments() {
    let mut sender = bare_sender();
    sender.send(&stap(&[AUD, SPS, PPS, SEI]), 0, false);
    let long: Vec<u8> = [&[0x65, 0x88][..], &[7; 100]].concat();
    for fragment in fragments(&long, 30) {
        sender.send(&fragment, 0, false);
    }
    sender.send(&slice(1), 3600, true);
    sender.send(&[12, 0xFF, 0x80], 7200, false);
    sender.send(&slice(2), 7200, true);
    let units = sender.flushed();
    assert_eq!(units.len(), 3);
    // Without delimiter and filler.
    assert_eq!(kinds(&units[0]), [0x67, 0x68, 6, 0x65]);
    assert_eq!(nals(&units[0])[3], long);
    assert_eq!(kinds(&units[2]), [0x41]);
    let flags = units
        .iter()
        .map(|u| (u.rtp_timestamp, u.is_key, u.discontinuity, u.sets_changed));
    assert_eq!(
        flags.collect::<Vec<_>>(),
        [
            (0, true, false, false),
            (3600, false, false, false),
            (7200, false, false, false)
        ]
    );
    let video = sender.unpacker.video().unwrap();
    assert_eq!(
        (video.profile.as_str(), video.codec_string.as_str()),
        ("High 1.2", "avc1.64000C")
    );
    // The marker is missing once.
    assert_eq!(
        (sender.stats().marker_lies, sender.stats().keyframes),
        (1, 1)
    );
}

#[test]
fn a_believed_marker_ends_a_picture_at_once() {
    let mut sender = trusted();
    sender.send(&slice(9), 20_000, true);
    assert_eq!(sender.units().len(), 1);
    // The arrival is that of the first packet.
    let before = sender.now;
    for fragment in fragments(&slice(8), 2) {
        sender.send(&fragment, 23_600, false);
    }
    sender.send(&second_slice(8), 23_600, true);
    let units = sender.units();
    assert_eq!(units[0].arrived, before + Duration::from_millis(1));
}

#[test]
fn quirk_26_markers_on_parameter_sets() {
    let mut sender = bare_sender();
    for round in 0..5u32 {
        let timestamp = round * 7200;
        for set in [SPS, PPS, SEI] {
            sender.send(set, timestamp, true);
        }
        sender.send(&idr(1), timestamp, true);
        sender.send(&slice(1), timestamp + 3600, true);
    }
    let units = sender.flushed();
    assert_eq!(units.len(), 10);
    assert_eq!(kinds(&units[0]), [0x67, 0x68, 6, 0x65]);
    assert_eq!(kinds(&units[8]), [0x67, 0x68, 6, 0x65]);
    assert_eq!(sender.stats().marker_lies, 15);
    assert_eq!(sender.stats().damaged, 0);
}

#[test]
fn quirk_26_markers_on_each_slice() {
    let mut sender = sender();
    for round in 0..4u32 {
        sender.send(&idr(1), round * 3600, true);
        sender.send(&second_slice(1), round * 3600, true);
        sender.send(&second_slice(2), round * 3600, true);
    }
    let units = sender.flushed();
    // Seen with the first picture, so that nothing is lost.
    assert_eq!(units.len(), 4);
    assert!(
        units
            .iter()
            .all(|unit| kinds(unit) == [0x67, 0x68, 0x65, 0x41, 0x41])
    );
    assert_eq!(sender.stats().damaged, 0);
    // Later than that, what refers to the picture is left out.
    let mut sender = trusted();
    sender.send(&slice(1), 20_000, true);
    sender.send(&second_slice(1), 20_000, true);
    sender.send(&slice(2), 23_600, true);
    sender.send(&idr(3), 27_200, true);
    let units = sender.flushed();
    assert_eq!(units.len(), 2);
    assert!(units[1].is_key && units[1].discontinuity);
}

#[test]
fn quirk_26_markers_on_each_fragment_or_never() {
    let mut sender = sender();
    for round in 0..4u32 {
        for fragment in fragments(&idr(1), 2) {
            sender.send(&fragment, round * 3600, true);
        }
    }
    assert_eq!(sender.flushed().len(), 4);
    assert_eq!(sender.stats().damaged, 0);
    let mut sender = self::sender();
    for round in 0..4u32 {
        sender.send(&idr(1), round * 3600, false);
    }
    assert_eq!(sender.flushed().len(), 4);
    assert!(sender.stats().marker_lies >= 3);
}

#[test]
fn quirk_27_annex_b_inside() {
    let codes = [&[0, 0, 0, 1], SPS, &[0, 0, 0, 1], PPS, &[0, 0, 1], &idr(1)].concat();
    let without_first = &codes[4..];
    // As one NAL unit, with and without a start code before it.
    for payload in [&codes[..], without_first] {
        let mut sender = bare_sender();
        sender.send(payload, 0, true);
        let units = sender.flushed();
        assert_eq!(nals(&units[0]), [SPS, PPS, &idr(1)]);
        assert!(units[0].is_key && sender.stats().annex_b > 0);
    }
    // As fragments.
    for size in 1..codes.len() {
        let mut sender = bare_sender();
        for fragment in fragments(without_first, size) {
            sender.send(&fragment, 0, false);
        }
        let units = sender.flushed();
        assert_eq!(nals(&units[0]), [SPS, PPS, &idr(1)], "{size}");
    }
    // Inside an aggregate.
    let mut sender = bare_sender();
    sender.send(&stap(&[&codes]), 0, true);
    assert_eq!(nals(&sender.flushed()[0]), [SPS, PPS, &idr(1)]);
}

#[test]
fn quirk_28_faults_of_fragments() {
    let whole = |payloads: &[&[u8]]| {
        let mut sender = sender();
        for payload in payloads {
            sender.send(payload, 0, false);
        }
        sender.send(&slice(1), 3600, true);
        let nals: Vec<Vec<u8>> = match &sender.flushed()[..] {
            [unit, _] => nals(unit)[2..].iter().map(|nal| nal.to_vec()).collect(),
            units => panic!("{units:?}"),
        };
        (nals, sender.stats())
    };
    let expected = vec![vec![0x65, 0x88, 1, 2, 3]];
    // Start and end at once; the reserved bit; an empty fragment; another type within; no end.
    for (payloads, faults) in [
        (&[&[0x7C, 0xC5, 0x88, 1, 2, 3][..]][..], 1),
        (&[&[0x7C, 0xA5, 0x88, 1], &[0x7C, 0x65, 2, 3]], 2),
        (
            &[&[0x7C, 0x85, 0x88, 1], &[0x7C, 0x05], &[0x7C, 0x45, 2, 3]],
            1,
        ),
        (
            &[&[0x7C, 0x85, 0x88, 1], &[0x7C, 0x01, 2], &[0x7C, 0x41, 3]],
            2,
        ),
        (&[&[0x7C, 0x85, 0x88, 1], &[0x7C, 0x05, 2, 3]], 1),
    ] {
        let (nals, stats) = whole(payloads);
        assert_eq!(
            (nals, stats.fragment_faults),
            (expected.clone(), faults),
            "{payloads:x?}"
        );
    }
    // Another unit begins although the one before has not ended.
    let (nals, stats) = whole(&[&[0x7C, 0x85, 0x88, 1, 2, 3], &[0x65, 0x48, 9]]);
    assert_eq!((nals.len(), stats.fragment_faults), (2, 1));
    // No start: the picture is damaged, and the next keyframe is waited for.
    let mut sender = trusted();
    sender.send(&[0x5C, 0x01, 1, 2], 20_000, false);
    sender.send(&[0x5C, 0x41, 3, 4], 20_000, true);
    sender.send(&slice(1), 23_600, true);
    sender.send(&idr(1), 27_200, true);
    let units = sender.flushed();
    assert!(units.len() == 1 && units[0].discontinuity);
    assert_eq!((sender.stats().damaged, sender.stats().waiting), (1, 1));
}

#[test]
fn quirk_29_sets_are_put_before_each_keyframe() {
    let mut sender = bare_sender();
    // Keyframes without sets that nobody knows cannot be decoded.
    sender.send(&idr(1), 0, true);
    sender.send(&slice(1), 3600, true);
    sender.send(SPS, 7200, false);
    sender.send(PPS, 7200, false);
    for n in 2..5 {
        sender.send(&idr(n), u32::from(n) * 3600, true);
    }
    let units = sender.flushed();
    assert_eq!(units.len(), 3);
    assert!(units.iter().all(|unit| kinds(unit) == [0x67, 0x68, 0x65]));
    assert!(
        units
            .iter()
            .all(|unit| !unit.discontinuity && !unit.sets_changed)
    );
    assert_eq!(
        (sender.stats().bare_keyframes, sender.stats().undecodable),
        (3, 1)
    );
}

#[test]
fn quirk_23_sets_in_band_win() {
    let mut sender = Sender::new(&MediaFormat::H264 {
        sets: vec![SPS.to_vec(), OTHER_PPS.to_vec(), vec![], vec![0x67]],
    });
    sender.send(&stap(&[SPS, PPS]), 0, false);
    sender.send(&idr(1), 0, true);
    sender.send(&idr(2), 3600, true);
    let units = sender.flushed();
    assert_eq!(nals(&units[1])[..2], [SPS, PPS]);
    assert_eq!(sender.stats().set_contradictions, 1);
    // One that cannot be parsed is sent on.
    let mut sender = bare_sender();
    sender.send(&stap(&[&[0x67, 1], PPS, &idr(1)]), 0, true);
    sender.send(&idr(2), 3600, true);
    assert_eq!(nals(&sender.flushed()[1]), [&[0x67, 1], PPS, &idr(2)]);
}

#[test]
fn quirk_30_sets_that_change() {
    let mut sender = bare_sender();
    for (n, pps) in [PPS, PPS, OTHER_PPS, OTHER_PPS].into_iter().enumerate() {
        sender.send(&stap(&[SPS, pps, &idr(1)]), n as u32 * 3600, true);
    }
    let changed: Vec<bool> = sender
        .flushed()
        .iter()
        .map(|unit| unit.sets_changed)
        .collect();
    assert_eq!(changed, [false, false, true, false]);
    assert_eq!(sender.stats().set_changes, 1);
    // Changed between keyframes: said with the next one.
    let mut sender = trusted();
    sender.send(PPS, 20_000, false);
    sender.send(&slice(1), 20_000, true);
    sender.send(OTHER_PPS, 23_600, false);
    sender.send(&slice(2), 23_600, true);
    sender.send(&idr(3), 27_200, true);
    let units = sender.flushed();
    assert!(units[2].sets_changed && nals(&units[2])[1] == OTHER_PPS);
}

#[test]
fn quirk_31_pictures_with_equal_timestamps() {
    let mut sender = sender();
    for n in 0..10 {
        sender.send(&idr(n), 5, n % 2 == 0);
        sender.send(&slice(n), 5, true);
    }
    assert_eq!(sender.flushed().len(), 20);
    assert!(sender.stats().equal_timestamps >= 18);
}

#[test]
fn quirk_34_large_packets() {
    let mut sender = trusted();
    let large = [&[0x65, 0x88][..], &[7; 60_000]].concat();
    sender.send(&large, 20_000, true);
    assert_eq!(nals(&sender.flushed()[0])[2], large);
    assert_eq!(sender.stats().largest_payload, 60_002);
}

#[test]
fn quirk_35_a_gap_drops_everything_up_to_the_next_keyframe() {
    for lost in 0..12u16 {
        let mut sender = trusted();
        // Two groups of pictures, each picture of two packets.
        for n in 0..6u16 {
            let key = n % 3 == 0;
            let picture = if key { idr(n as u8) } else { slice(n as u8) };
            for (half, fragment) in fragments(&picture, 4).iter().enumerate() {
                if 2 * n + half as u16 == lost {
                    sender.skip(1);
                } else {
                    sender.send(fragment, 20_000 + 3600 * u32::from(n), half == 1);
                }
            }
        }
        let units = sender.flushed();
        let numbers: Vec<u32> = units
            .iter()
            .map(|unit| (unit.rtp_timestamp - 20_000) / 3600)
            .collect();
        let damaged = u32::from(lost / 2);
        let next_key = if damaged < 3 { 3 } else { 6 };
        let expected: Vec<u32> = (0..6).filter(|n| *n < damaged || *n >= next_key).collect();
        assert_eq!(numbers, expected, "without packet {lost}");
        let marked = units.iter().filter(|unit| unit.discontinuity).count();
        assert_eq!(marked, usize::from(damaged < 3), "without packet {lost}");
        assert_eq!(sender.stats().lost, u64::from(lost < 11));
    }
}

#[test]
fn quirk_35_a_whole_picture_that_is_missing() {
    let mut sender = trusted();
    sender.skip(1);
    sender.send(&slice(1), 23_600, true);
    sender.send(&idr(2), 27_200, true);
    let units = sender.flushed();
    assert!(units.len() == 1 && units[0].is_key && units[0].discontinuity);
    // The first slice is missing, and the second one looks like a beginning to nobody.
    sender.skip(1);
    sender.send(&[0x65, 0x48, 1, 2], 30_800, true);
    assert!(sender.flushed().is_empty());
}

#[test]
fn quirk_36_a_unit_without_end_is_dropped() {
    let format = MediaFormat::H264 {
        sets: vec![SPS.to_vec(), PPS.to_vec()],
    };
    let mut sender = Sender::with(&format, UnpackLimits::default().max_unit(10_000));
    for n in 0..1000 {
        // A fragment without end, and then units that are no picture: all with the same timestamp.
        let header = if n == 0 { 0x85 } else { 0x05 };
        sender.send(
            &[&[0x7C, header][..], &[n as u8 | 0x80; 100]].concat(),
            0,
            false,
        );
    }
    for _ in 0..5000 {
        sender.send(SEI, 0, false);
    }
    sender.send(&idr(1), 3600, true);
    sender.send(&slice(1), 7200, true);
    let units = sender.flushed();
    assert_eq!(units.len(), 2);
    assert!(sender.stats().oversized > 0 && sender.stats().damaged > 0);
}

#[test]
fn what_is_no_payload_is_counted() {
    let mut sender = sender();
    for payload in [
        &[][..],
        &[0],
        &[24],
        &[24, 0],
        &[24, 0, 9, 1],
        &[26, 1, 2, 3],
        &[28],
        &[28, 0x85],
        &[30, 1],
        &[31, 1],
    ] {
        sender.send(payload, 0, false);
    }
    assert!(sender.flushed().is_empty());
    assert_eq!(sender.stats().malformed, 7);
}

#[test]
fn a_sender_that_restarts() {
    let mut sender = trusted();
    sender.skip(20_000);
    sender.send(&idr(1), 5, true);
    sender.send(&idr(2), 3605, true);
    sender.send(&slice(2), 7205, true);
    let units = sender.flushed();
    assert_eq!(units.len(), 2);
    assert!(units[0].discontinuity && !units[1].discontinuity);
    assert_eq!((sender.stats().restarts, sender.stats().late), (1, 1));
}

#[test]
fn nobody_polls() {
    let mut sender = trusted();
    for n in 0..2000u32 {
        sender.send(&slice(1), 20_000 + n * 3600, true);
    }
    let units = sender.units();
    assert_eq!(units.len(), 512);
    assert!(units[0].discontinuity);
    assert_eq!(sender.stats().overflowed, 1488);
}

#[test]
fn interleaved_packets_in_their_order() {
    // STAP-B and FU-B with their decoding order numbers.
    let mut sender = bare_sender();
    let mut payload = stap(&[SPS, PPS]);
    payload[0] = 25;
    payload.splice(1..1, [0, 7]);
    sender.send(&payload, 0, false);
    sender.send(&[0x7D, 0x85, 0, 8, 0x88, 1, 2], 0, false);
    sender.send(&[0x7D, 0x45, 3, 4], 0, true);
    assert_eq!(
        nals(&sender.flushed()[0]),
        [SPS, PPS, &[0x65, 0x88, 1, 2, 3, 4]]
    );
}
