use super::*;

const VPS: &[u8] = &[0x40, 1, 0x0C, 1];
const SPS: &[u8] = &[0x42, 1, 1, 1];
const PPS: &[u8] = &[0x44, 1, 0xC1, 0x73];

/// A slice segment of this type; the highest bit of the third byte says that it is a picture's first.
fn slice(kind: u8, first: bool) -> Vec<u8> {
    vec![
        kind << 1,
        1,
        if first { 0x80 } else { 0x10 },
        0x55,
        0x66,
        0x77,
    ]
}

const IDR: u8 = 19;
const CRA: u8 = 21;
const TRAIL: u8 = 1;
const RASL: u8 = 8;

fn sender(has_order_numbers: bool) -> Sender {
    Sender::new(&MediaFormat::H265 {
        sets: vec![VPS.to_vec(), SPS.to_vec(), PPS.to_vec()],
        has_order_numbers,
    })
}

#[test]
fn single_units_aggregates_and_fragments() {
    let mut sender = sender(false);
    let mut aggregate = vec![48 << 1, 1];
    for nal in [VPS, SPS, PPS, &[0x46, 1, 0x50], &slice(IDR, true)] {
        aggregate.extend((nal.len() as u16).to_be_bytes());
        aggregate.extend(nal);
    }
    sender.send(&aggregate, 0, true);
    sender.send(&[49 << 1, 1, 0x80 | TRAIL, 0x80, 1, 2], 3600, false);
    sender.send(&[49 << 1, 1, TRAIL, 3], 3600, false);
    sender.send(&[49 << 1, 1, 0x40 | TRAIL, 4], 3600, true);
    // PACI is ignored, and so are other layers.
    sender.send(&[50 << 1, 1, 0x20, 0, 1], 7200, false);
    sender.send(&[TRAIL << 1, 9, 0x80, 1], 7200, false);
    sender.send(&slice(TRAIL, true), 7200, true);
    let units = sender.flushed();
    assert_eq!(units.len(), 3);
    assert_eq!(nals(&units[0]), [VPS, SPS, PPS, &slice(IDR, true)]);
    assert_eq!(nals(&units[1]), [[TRAIL << 1, 1, 0x80, 1, 2, 3, 4]]);
    assert_eq!(nals(&units[2]), [slice(TRAIL, true)]);
    assert!(units[0].is_key && !units[1].is_key);
    assert_eq!(sender.stats().malformed, 1);
}

#[test]
fn quirk_28_start_and_end_at_once() {
    let mut sender = sender(false);
    sender.send(&[49 << 1, 1, 0xC0 | IDR, 0x80, 1, 2], 0, true);
    let units = sender.flushed();
    assert_eq!(nals(&units[0]), [VPS, SPS, PPS, &[IDR << 1, 1, 0x80, 1, 2]]);
}

#[test]
fn quirk_23_one_set_of_three() {
    let mut sender = Sender::new(&MediaFormat::H265 {
        sets: vec![SPS.to_vec()],
        has_order_numbers: false,
    });
    sender.send(&slice(IDR, true), 0, true);
    for set in [VPS, PPS] {
        sender.send(set, 3600, false);
    }
    sender.send(&slice(IDR, true), 3600, true);
    let units = sender.flushed();
    assert_eq!(units.len(), 1);
    assert_eq!(nals(&units[0])[..3], [VPS, SPS, PPS]);
}

#[test]
fn decoding_order_numbers_are_skipped() {
    let mut sender = sender(true);
    let idr = slice(IDR, true);
    sender.send(&[&idr[..2], &[0, 1], &idr[2..]].concat(), 0, true);
    let mut aggregate = vec![48 << 1, 1, 0, 2];
    for (n, nal) in [slice(TRAIL, true), slice(TRAIL, false)].iter().enumerate() {
        aggregate.extend(&[0][..n]);
        aggregate.extend((nal.len() as u16).to_be_bytes());
        aggregate.extend(nal);
    }
    sender.send(&aggregate, 3600, true);
    sender.send(&[49 << 1, 1, 0x80 | TRAIL, 0, 3, 0x80, 1], 7200, false);
    sender.send(&[49 << 1, 1, 0x40 | TRAIL, 2], 7200, true);
    let units = sender.flushed();
    assert_eq!(nals(&units[0])[3], idr);
    assert_eq!(nals(&units[1]), [slice(TRAIL, true), slice(TRAIL, false)]);
    assert_eq!(nals(&units[2]), [[TRAIL << 1, 1, 0x80, 1, 2]]);
}

/// Leading pictures refer to what precedes the keyframe: after a loss, there is nothing.
#[test]
fn leading_pictures_after_a_loss_are_left_out() {
    let mut sender = sender(false);
    let mut sent = [CRA, RASL, TRAIL, CRA, RASL, TRAIL];
    sent.iter()
        .enumerate()
        .for_each(|(n, kind)| sender.send(&slice(*kind, true), n as u32, true));
    let units = sender.flushed();
    // The first keyframe has nothing before it, the second one has.
    assert_eq!(
        units.iter().map(|u| u.rtp_timestamp).collect::<Vec<_>>(),
        [0, 2, 3, 4, 5]
    );
    sender.skip(1);
    sent.iter_mut()
        .enumerate()
        .for_each(|(n, kind)| sender.send(&slice(*kind, true), 10 + n as u32, true));
    let units = sender.flushed();
    assert_eq!(
        units.iter().map(|u| u.rtp_timestamp).collect::<Vec<_>>(),
        [10, 12, 13, 14, 15]
    );
    assert!(units[0].discontinuity);
}
