use super::*;

fn sender() -> Sender {
    Sender::new(&MediaFormat::Jpeg { dimensions: None })
}

/// A packet: offset, type, quality, width and height in blocks of eight pixels, data.
fn packet(offset: u32, kind: u8, quality: u8, size: (u8, u8), data: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = offset.to_be_bytes();
    [&[0, a, b, c, kind, quality, size.0, size.1][..], data].concat()
}

fn contains(file: &[u8], part: &[u8]) -> bool {
    file.windows(part.len()).any(|window| window == part)
}

#[test]
fn pictures_are_whole_files() {
    let mut sender = sender();
    sender.send(&packet(0, 1, 50, (8, 6), &[1, 2, 3]), 0, false);
    sender.send(&packet(3, 1, 50, (8, 6), &[4, 5]), 0, true);
    let units = sender.units();
    let file = &units[0].data;
    assert!(
        file.starts_with(&[0xFF, 0xD8, 0xFF, 0xDB]) && file.ends_with(&[1, 2, 3, 4, 5, 0xFF, 0xD9])
    );
    // Baseline, 48 lines of 64 pixels, three components, 4:2:0.
    assert!(contains(
        file,
        &[0xFF, 0xC0, 0, 17, 8, 0, 48, 0, 64, 3, 1, 0x22, 0]
    ));
    // At quality 50, the tables are those of the standard.
    assert!(contains(file, &[0, 67, 0, 16, 11, 12, 14]));
    let video = sender.unpacker.video().unwrap();
    assert_eq!((video.width, video.height), (64, 48));
    assert!(units[0].is_key);
}

#[test]
fn tables_and_restarts_in_packets() {
    let mut sender = sender();
    let tables = [&[0, 0, 0, 128][..], &[7; 64], &[9; 64]].concat();
    // Restart interval of 4 blocks.
    let restart = [0, 4, 0xFF, 0xFF];
    sender.send(
        &packet(0, 64, 200, (2, 2), &[&restart[..], &tables, &[1]].concat()),
        0,
        true,
    );
    // Known from before; and never sent.
    sender.send(&packet(0, 0, 200, (2, 2), &[0, 0, 0, 0, 2]), 1, true);
    sender.send(&packet(0, 0, 201, (2, 2), &[0, 0, 0, 0, 2]), 2, true);
    let units = sender.units();
    assert_eq!(units.len(), 2);
    for unit in &units {
        assert!(contains(
            &unit.data,
            &[&[0xFF, 0xDB, 0, 67, 1][..], &[9; 64]].concat()
        ));
    }
    assert!(contains(&units[0].data, &[0xFF, 0xDD, 0, 4, 0, 4]));
    assert_eq!(sender.stats().malformed, 1);
}

#[test]
fn large_pictures_have_their_size_elsewhere() {
    let mut sender = Sender::new(&MediaFormat::Jpeg {
        dimensions: Some((2592, 1944)),
    });
    sender.send(&packet(0, 1, 50, (0, 0), &[1]), 0, true);
    assert!(contains(
        &sender.units()[0].data,
        &[8, 1944u16.to_be_bytes()[0], 1944u16.to_be_bytes()[1]]
    ));
    // ONVIF: the header of the file is in a header extension.
    let header = [0xFF, 0xC0, 0, 17, 8, 0x0C, 0x00, 0x10, 0x00, 3, 1, 0x22];
    let payload = packet(0, 1, 50, (0, 0), &[1]);
    let mut with_extension = Packet::new(26, sender.sequence, 9, 7, &payload);
    with_extension.extension = Some((0xFFD8, &header));
    with_extension.marker = true;
    let now = sender.now;
    sender.unpacker.push(&with_extension, now);
    assert!(contains(
        &sender.units()[0].data,
        &[0xFF, 0xC0, 0, 17, 8, 0x0C, 0x00, 0x10, 0x00]
    ));
    let mut unknown = self::sender();
    unknown.send(&packet(0, 1, 50, (0, 0), &[1]), 0, true);
    assert_eq!((unknown.units().len(), unknown.stats().malformed), (0, 1));
}

#[test]
fn whole_files_in_packets() {
    let mut sender = sender();
    let file = [
        0xFF, 0xD8, 0xFF, 0xC0, 0, 17, 8, 0, 16, 0, 32, 3, 0xFF, 0xD9,
    ];
    sender.send(&packet(0, 1, 50, (1, 1), &file[..6]), 0, false);
    sender.send(&packet(6, 1, 50, (1, 1), &file[6..]), 0, true);
    assert_eq!(&sender.units()[0].data[..], file);
    assert_eq!(sender.unpacker.video().unwrap().width, 32);
}

#[test]
fn a_picture_with_a_gap_is_dropped() {
    let mut sender = sender();
    let part = |offset, data: &[u8]| packet(offset, 1, 50, (1, 1), data);
    sender.send(&part(0, &[1]), 99, true);
    assert_eq!(sender.units().len(), 1);
    sender.send(&part(0, &[1]), 0, false);
    sender.skip(1);
    sender.send(&part(2, &[3]), 0, true);
    // The offset does not fit.
    sender.send(&part(0, &[1]), 1, false);
    sender.send(&part(5, &[3]), 1, false);
    sender.send(&part(6, &[3]), 1, true);
    // No marker: the next picture ends it.
    sender.send(&part(0, &[7]), 2, false);
    sender.send(&part(0, &[8]), 3, true);
    let units = sender.units();
    assert_eq!(
        units.iter().map(|u| u.rtp_timestamp).collect::<Vec<_>>(),
        [2, 3]
    );
    assert!(units[0].discontinuity && !units[1].discontinuity);
    assert_eq!(sender.stats().damaged, 1);
}

#[test]
fn what_is_no_picture() {
    let mut sender = sender();
    for payload in [
        &[][..],
        &[0; 7],
        &packet(0, 2, 50, (1, 1), &[1]),
        &packet(0, 200, 50, (1, 1), &[1]),
        &packet(0, 64, 50, (1, 1), &[1]),
        &packet(0, 1, 0, (1, 1), &[1]),
        &packet(0, 1, 255, (1, 1), &[0, 0, 0, 64]),
        &packet(0, 1, 255, (1, 1), &[0, 1, 0, 2, 1, 2]),
    ] {
        sender.send(payload, 0, true);
    }
    assert_eq!((sender.units().len(), sender.stats().malformed), (0, 8));
}

#[test]
fn quirk_36_pictures_are_bounded() {
    let mut sender = Sender::with(
        &MediaFormat::Jpeg { dimensions: None },
        UnpackLimits::default().max_unit(5000),
    );
    for n in 0..20u32 {
        sender.send(&packet(n * 1000, 1, 50, (1, 1), &[5; 1000]), 0, n == 19);
    }
    assert!(sender.units().is_empty());
    assert_eq!((sender.stats().oversized, sender.stats().damaged), (1, 1));
}
