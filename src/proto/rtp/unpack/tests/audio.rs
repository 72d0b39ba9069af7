use super::*;

fn aac(header: AuHeader) -> MediaFormat {
    MediaFormat::Aac(AacFormat {
        config: AacConfig::new(16_000, 1).unwrap(),
        config_is_guessed: false,
        header,
        constant_size: 0,
    })
}

fn data(sender: &mut Sender) -> Vec<(u32, Vec<u8>)> {
    let units = sender.units().into_iter();
    units
        .map(|unit| (unit.rtp_timestamp, unit.data.to_vec()))
        .collect()
}

/// An AU header section of mode AAC-hbr.
fn headers(sizes: &[u16]) -> Vec<u8> {
    let mut bytes = (16 * sizes.len() as u16).to_be_bytes().to_vec();
    bytes.extend(sizes.iter().flat_map(|size| (size << 3).to_be_bytes()));
    bytes
}

/// An ADTS frame at 16 kHz, mono.
fn adts(content: &[u8]) -> Vec<u8> {
    let size = content.len() + 7;
    let mut frame = vec![
        0xFF,
        0xF1,
        0x60,
        0x40 | (size >> 11) as u8,
        (size >> 3) as u8,
        (size << 5) as u8 | 0x1F,
        0xFC,
    ];
    frame.extend(content);
    frame
}

#[test]
fn several_access_units_in_a_packet() {
    let mut sender = Sender::new(&aac(AuHeader::default()));
    sender.send(
        &[&headers(&[2, 3, 0, 1])[..], &[1, 2, 3, 4, 5, 6]].concat(),
        1000,
        true,
    );
    assert_eq!(
        data(&mut sender),
        [(1000, vec![1, 2]), (2024, vec![3, 4, 5]), (4072, vec![6])]
    );
    assert_eq!(sender.unpacker.aac_config().unwrap().sample_rate, 16_000);
}

#[test]
fn quirk_37_fragments() {
    let mut sender = Sender::new(&aac(AuHeader::default()));
    let fragment = |part: &[u8]| [&headers(&[6])[..], part].concat();
    sender.send(&fragment(&[1, 2, 3]), 0, false);
    sender.send(&fragment(&[4]), 0, false);
    sender.send(&fragment(&[5, 6]), 0, true);
    assert_eq!(data(&mut sender), [(0, vec![1, 2, 3, 4, 5, 6])]);
    // One is lost: the unit is dropped, and the next one says so.
    sender.send(&fragment(&[1, 2, 3]), 1024, false);
    sender.skip(1);
    sender.send(&fragment(&[5, 6]), 1024, true);
    sender.send(&fragment(&[1, 2, 3, 4, 5, 6]), 2048, true);
    let units = sender.units();
    assert_eq!(units.len(), 1);
    assert!(units[0].discontinuity && units[0].rtp_timestamp == 2048);
}

#[test]
fn quirk_37_headers_of_other_sizes() {
    // Bytes of size, no index (as in some cameras); and everything that RFC 3640 has.
    let wide = AuHeader {
        size: 16,
        index: 0,
        index_delta: 0,
        ..AuHeader::default()
    };
    let mut sender = Sender::new(&aac(wide));
    sender.send(&[0, 32, 0, 2, 0, 1, 7, 8, 9], 0, true);
    assert_eq!(data(&mut sender), [(0, vec![7, 8]), (1024, vec![9])]);
    let all = AuHeader {
        size: 6,
        index: 2,
        index_delta: 2,
        cts_delta: 8,
        dts_delta: 8,
        random_access: 1,
        stream_state: 4,
        auxiliary_size: 8,
    };
    let mut sender = Sender::new(&aac(all));
    // 000010 00 1 11111111 0 1 0000 = 23 bits; auxiliary section of 8 bits.
    let bits = "000010".to_owned() + "00" + "111111111" + "0" + "1" + "0000";
    let mut payload = vec![0, 23];
    let padded = format!("{bits:0<24}");
    for byte in padded.as_bytes().chunks(8) {
        payload.push(byte.iter().fold(0, |n, bit| n << 1 | (bit - b'0')));
    }
    payload.extend([8, 0xEE, 5, 6]);
    sender.send(&payload, 0, true);
    assert_eq!(data(&mut sender), [(0, vec![5, 6])]);
    // Constant size, without headers.
    let none = AuHeader {
        size: 0,
        index: 0,
        index_delta: 0,
        ..AuHeader::default()
    };
    let MediaFormat::Aac(mut format) = aac(none) else {
        panic!();
    };
    format.constant_size = 2;
    let mut sender = Sender::new(&MediaFormat::Aac(format));
    sender.send(&[1, 2, 3, 4], 0, true);
    assert_eq!(data(&mut sender), [(0, vec![1, 2]), (1024, vec![3, 4])]);
}

#[test]
fn quirk_37_adts_inside_or_instead() {
    let mut sender = Sender::new(&aac(AuHeader::default()));
    let frame = adts(&[1, 2, 3]);
    sender.send(&[&headers(&[10])[..], &frame].concat(), 0, true);
    assert_eq!(data(&mut sender), [(0, vec![1, 2, 3])]);
    // Instead: several in a packet, and one that goes on in the next.
    let stream = [adts(&[1, 2, 3]), adts(&[4; 20]), adts(&[5, 6])].concat();
    for cut in 8..stream.len() {
        let mut sender = Sender::new(&aac(AuHeader::default()));
        sender.send(&stream[..cut], 1024, false);
        sender.send(&stream[cut..], 1024, true);
        let units = data(&mut sender);
        let contents: Vec<_> = units.iter().map(|(_, data)| data.clone()).collect();
        assert_eq!(contents, [vec![1, 2, 3], vec![4; 20], vec![5, 6]], "{cut}");
    }
    assert!(sender.stats().other_framing > 0);
    // The configuration is that of the stream if the description has none.
    let MediaFormat::Aac(mut format) = aac(AuHeader::default()) else {
        panic!();
    };
    format.config_is_guessed = true;
    format.config = AacConfig::new(48_000, 2).unwrap();
    let mut sender = Sender::new(&MediaFormat::Aac(format));
    sender.send(&frame, 0, true);
    assert_eq!(
        sender.unpacker.aac_config(),
        AacConfig::new(16_000, 1).as_ref()
    );
}

#[test]
fn aac_that_lies_about_its_sizes() {
    let mut sender = Sender::new(&aac(AuHeader::default()));
    for payload in [
        &[0][..],
        &[0, 16],
        &[0, 16, 0],
        &[0xFF, 0xFF, 1, 2],
        &[&headers(&[2, 3])[..], &[1, 2, 3]].concat(),
    ] {
        sender.send(payload, 0, true);
    }
    assert_eq!(data(&mut sender), [(0, vec![1, 2])]);
    assert_eq!(sender.stats().malformed, 5);
    // As many units as there are bits, at most 256 of them.
    let bit = AuHeader {
        size: 1,
        index: 0,
        index_delta: 0,
        ..AuHeader::default()
    };
    let mut sender = Sender::new(&aac(bit));
    sender.send(
        &[&[0xFF, 0xFF][..], &[0xFF; 8192], &[7; 2000]].concat(),
        0,
        true,
    );
    assert_eq!(sender.units().len(), 256);
}

#[test]
fn latm() {
    // AudioMuxElements without configuration: a length and the access unit.
    let mut sender = Sender::new(&MediaFormat::Latm {
        config: Some(vec![0x40, 0, 0x28, 0x10]),
        in_band: false,
    });
    assert_eq!(
        sender.unpacker.aac_config(),
        AacConfig::new(16_000, 1).as_ref()
    );
    sender.send(&[3, 1, 2, 3], 0, true);
    // Fragments, which a marker ends; 300 bytes are 255 and 45.
    let long = [&[255, 45][..], &[9; 300]].concat();
    sender.send(&long[..100], 1024, false);
    sender.send(&long[100..], 1024, true);
    assert_eq!(
        data(&mut sender),
        [(0, vec![1, 2, 3]), (1024, vec![9; 300])]
    );
    sender.send(&[9, 1, 2], 2048, true);
    sender.skip(1);
    sender.send(&[2, 1, 2], 3072, true);
    sender.send(&[1, 4], 4096, true);
    let units = sender.units();
    assert_eq!(units.len(), 1);
    assert!(units[0].discontinuity);
    assert_eq!((sender.stats().malformed, sender.stats().damaged), (1, 1));
    // In band: the configuration is in the first element, and moves all by some bits.
    let mut sender = Sender::new(&MediaFormat::Latm {
        config: None,
        in_band: true,
    });
    // 0, the StreamMuxConfig as above (25 of its bits, then 3 + 8 + 1 + 1), and the access unit 0xAB 0xCD.
    let config = "0".to_owned()
        + "0"
        + "1"
        + "000000"
        + "0000"
        + "000"
        + "00010"
        + "1000"
        + "0001"
        + "000"
        + "000"
        + "11111111"
        + "0"
        + "0";
    let element = config + "00000010" + "10101011" + "11001101";
    let mut bytes = Vec::new();
    let padded = format!("{element}{}", "0".repeat((8 - element.len() % 8) % 8));
    for byte in padded.as_bytes().chunks(8) {
        bytes.push(byte.iter().fold(0, |n, bit| n << 1 | (bit - b'0')));
    }
    sender.send(&bytes, 0, true);
    assert_eq!(data(&mut sender), [(0, vec![0xAB, 0xCD])]);
    assert_eq!(
        sender.unpacker.aac_config(),
        AacConfig::new(16_000, 1).as_ref()
    );
}

#[test]
fn plain_audio() {
    for format in [
        MediaFormat::Opus,
        MediaFormat::G722,
        MediaFormat::Pcmu {
            clock_rate: 8_000,
            channels: 1,
        },
    ] {
        let mut sender = Sender::new(&format);
        sender.send(&[1, 2, 3], 0, false);
        sender.send(&[], 160, false);
        sender.skip(2);
        sender.send(&[4], 480, true);
        let units = sender.units();
        assert_eq!((units.len(), &units[0].data[..]), (2, &[1, 2, 3][..]));
        assert_eq!(
            (units[0].discontinuity, units[1].discontinuity),
            (false, true)
        );
    }
}

#[test]
fn quirk_38_samples_with_the_low_byte_first_are_swapped() {
    for (little_endian, expected) in [(false, [1, 2, 3, 4]), (true, [2, 1, 4, 3])] {
        let mut sender = Sender::new(&MediaFormat::L16 {
            clock_rate: 16_000,
            channels: 1,
            little_endian,
        });
        sender.send(&[1, 2, 3, 4], 0, false);
        assert_eq!(data(&mut sender), [(0, expected.to_vec())]);
    }
}
