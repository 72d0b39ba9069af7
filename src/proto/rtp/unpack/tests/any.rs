//! Anything may come.

use super::*;
use crate::testing::Rng;

/// Payloads that begin as some of each format do, of any length.
fn payload(rng: &mut Rng) -> Vec<u8> {
    const BEGINNINGS: [&[u8]; 20] = [
        &[0x67, 0x64, 0, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0xfb],
        &[0x68, 0xeb],
        &[0x65, 0x88],
        &[0x41, 0x9A],
        &[24, 0, 2, 0x67],
        &[28, 0x85, 0x88],
        &[28, 0x05],
        &[28, 0x45],
        &[0, 0, 0, 1, 0x65, 0x88],
        &[9, 0xF0],
        &[0x42, 1],
        &[0x26, 1, 0x80],
        &[98, 1, 0x93, 0x80],
        &[96, 1, 0, 3],
        &[0, 16, 0, 0x50],
        &[0xFF, 0xF1, 0x60, 0x40, 2, 0x9F, 0xFC],
        &[0, 0, 0, 0, 1, 50, 2, 2],
        &[0, 0, 0, 40, 1, 50, 2, 2],
        &[255, 255, 3],
        &[],
    ];
    let mut bytes = BEGINNINGS[rng.below(20) as usize].to_vec();
    let length = rng.below(80);
    bytes.extend((0..length).map(|_| match rng.below(3) {
        0 => 0,
        1 => 1,
        _ => rng.next_u64() as u8,
    }));
    bytes
}

/// Whatever comes, memory is bounded, numbers agree, and units consist of bytes that came.
#[test]
fn nothing_panics_and_nothing_grows() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let format = streams::format(streams::FILES[rng.below(9) as usize]);
        let limits = UnpackLimits::default().max_unit(2000);
        let mut sender = Sender::with(&format, limits);
        let (mut timestamp, mut given_out) = (0u32, 0);
        for _ in 0..300 {
            match rng.below(8) {
                0..=3 => timestamp = timestamp.wrapping_add(rng.below(4000) as u32),
                4 => sender.skip(rng.next_u64() as u16),
                5 if rng.chance(0.1) => sender.unpacker.flush(),
                _ => {}
            }
            sender.send(&payload(&mut rng), timestamp, rng.chance(0.5));
            if rng.chance(0.7) {
                let units = sender.units();
                // Parameter sets are put before keyframes; a JPEG gets its header.
                assert!(
                    units.iter().all(|unit| unit.data.len() <= 2000 + 16_384),
                    "seed {seed}"
                );
                given_out += units.len() as u64;
            }
        }
        given_out += sender.units().len() as u64;
        let stats = sender.stats();
        assert_eq!(stats.units, given_out + stats.overflowed, "seed {seed}");
    }
}

/// The work for the worst packets grows with their size only.
#[test]
fn work_is_linear() {
    let format = streams::format("h264-b-frames");
    let stap = |nal: &[u8]| {
        let mut payload = vec![24];
        while payload.len() < 60_000 {
            payload.extend((nal.len() as u16).to_be_bytes());
            payload.extend(nal);
        }
        payload
    };
    // Many keyframes, many parameter sets, many start codes in one packet; and a unit that never ends.
    for payload in [
        stap(&[0x65, 0x88]),
        stap(&[0x67, 0x64, 0, 0x0c, 0xac]),
        stap(&[0x68, 0xeb]),
        [0, 0, 1, 0x65].repeat(15_000),
        [&[28, 0x05][..], &[7; 60_000]].concat(),
    ] {
        let mut sender = Sender::new(&format);
        let start = Instant::now();
        let mut size = 0;
        for n in 0..50u32 {
            sender.send(&payload, n / 10 * 3600, true);
            size += sender
                .units()
                .iter()
                .map(|unit| unit.data.len())
                .sum::<usize>();
        }
        // 3 MB of input: generously bounded for busy machines.
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:x?}",
            &payload[..8]
        );
        assert!(size < 50 * (payload.len() + 16_384) * 3);
    }
}
