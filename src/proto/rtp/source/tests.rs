use std::time::Duration;

use super::super::rtcp::write_bye;
use super::super::{H264ParameterSets, H265ParameterSets};
use super::*;

const A: &str = "10.0.0.1:4000";
const B: &str = "10.0.0.2:5000";

struct Bench {
    source: RtpSource,
    start: Instant,
}

impl Bench {
    fn new(config: RtpSourceConfig) -> Self {
        Self {
            source: RtpSource::new(config),
            start: Instant::now(),
        }
    }

    fn raw(&mut self, ms: u64, from: &str, bytes: &[u8]) -> Result<(), Ignored> {
        let now = self.start + Duration::from_millis(ms);
        self.source.handle_input(from.parse().unwrap(), bytes, now)
    }

    fn send(&mut self, ms: u64, from: &str, ssrc: u32, sequence: u16) -> Result<(), Ignored> {
        self.send_payload(ms, from, ssrc, sequence, &[sequence as u8])
    }

    fn send_payload(
        &mut self,
        ms: u64,
        from: &str,
        ssrc: u32,
        sequence: u16,
        payload: &[u8],
    ) -> Result<(), Ignored> {
        let packet = Packet::new(96, sequence, u32::from(sequence) * 100, ssrc, payload);
        self.raw(ms, from, &packet.to_bytes().unwrap())
    }

    /// Returns source, sequence number and whether it is the first, for each packet.
    fn taken(&mut self) -> Vec<(u32, u16, bool)> {
        let packets = std::iter::from_fn(|| self.source.poll()).filter_map(|event| match event {
            SourceEvent::Packet(p) => Some((p.source, p.sequence_number, p.source_changed)),
            _ => None,
        });
        packets.collect()
    }
}

#[test]
fn another_is_ignored_while_the_current_is_alive() {
    let mut bench = Bench::new(RtpSourceConfig::default());
    for n in 0..100u16 {
        let ms = 10 * u64::from(n);
        assert_eq!(bench.send(ms, A, 1, 65_500u16.wrapping_add(n)), Ok(()));
        // By address, by SSRC, by both.
        assert_eq!(bench.send(ms, B, 1, n), Err(Ignored::NotCurrent));
        assert_eq!(bench.send(ms, A, 2, n), Err(Ignored::NotCurrent));
    }
    let taken = bench.taken();
    assert_eq!(taken.len(), 100);
    assert_eq!(taken[0], (1, 65_500, true));
    assert!(taken[1..].iter().all(|t| !t.2 && t.0 == 1));
    assert_eq!(bench.source.waiting().unwrap().0, B.parse().unwrap());
    let stats = bench.source.stats();
    assert_eq!(
        (stats.packets, stats.not_current, stats.lost),
        (100, 200, 0)
    );
}

#[test]
fn who_is_silent_is_replaced_and_nothing_of_the_new_one_is_lost() {
    let mut bench = Bench::new(RtpSourceConfig::default());
    bench.send(0, A, 1, 7).unwrap();
    for n in 0..10u16 {
        let taken = bench.send(150 + 50 * u64::from(n), B, 2, 1000 + n);
        assert_eq!(taken.is_ok(), n >= 7, "{n}");
    }
    let taken = bench.taken();
    assert_eq!(taken.len(), 11);
    assert_eq!(taken[1], (2, 1000, true));
    assert!((1..10).all(|n| taken[1 + n] == (2, 1000 + n as u16, false)));
    // If the old source returns, it is now the new one.
    assert_eq!(bench.send(700, A, 1, 8), Err(Ignored::NotCurrent));
}

#[test]
fn goodbye_makes_room_at_once() {
    let mut bench = Bench::new(RtpSourceConfig::default());
    bench.send(0, A, 1, 7).unwrap();
    let bye = |ssrc| {
        let info = SenderInfo {
            ssrc,
            ntp: 0,
            rtp_timestamp: 0,
            packets: 0,
            bytes: 0,
        };
        write_bye(&info, "name")
    };
    // Not a BYE of another SSRC, and not one from another address.
    bench.raw(10, A, &bye(2)).unwrap();
    bench.raw(10, B, &bye(1)).unwrap();
    assert_eq!(bench.send(10, B, 2, 1), Err(Ignored::NotCurrent));
    bench.taken();
    // From the next port.
    bench.raw(20, "10.0.0.1:4001", &bye(1)).unwrap();
    assert!(matches!(
        bench.source.poll(),
        Some(SourceEvent::SenderReport(_))
    ));
    assert_eq!(bench.source.poll(), Some(SourceEvent::Ended { ssrc: 1 }));
    // It was overtaken by the BYE.
    bench.send(21, A, 1, 8).unwrap();
    bench.raw(22, A, &bye(1)).unwrap();
    bench.send(23, B, 2, 2).unwrap();
    assert_eq!(bench.taken(), [(1, 8, false), (2, 2, true)]);
}

#[test]
fn a_new_beginning_under_the_old_ssrc() {
    let mut bench = Bench::new(RtpSourceConfig::default());
    bench.send(0, A, 1, 100).unwrap();
    // One distant packet is not a restart; two in sequence are.
    assert_eq!(bench.send(1, A, 1, 20_000), Err(Ignored::NotCurrent));
    bench.send(2, A, 1, 101).unwrap();
    assert_eq!(bench.send(3, A, 1, 30_000), Err(Ignored::NotCurrent));
    bench.send(4, A, 1, 30_001).unwrap();
    bench.send(5, A, 1, 30_002).unwrap();
    let expected = [
        (1, 100, true),
        (1, 101, false),
        (2, 30_000, true),
        (2, 30_001, false),
        (2, 30_002, false),
    ];
    assert_eq!(bench.taken(), expected);
}

#[test]
fn order_is_counted_and_twice_is_once() {
    let mut bench = Bench::new(RtpSourceConfig::default());
    for n in [65_534, 0, 65_535, 0, 65_535, 4, 1, 2, 3] {
        let _ = bench.send(0, A, 1, n);
    }
    let taken: Vec<u16> = bench.taken().iter().map(|t| t.1).collect();
    assert_eq!(taken, [65_534, 0, 65_535, 4, 1, 2, 3]);
    let stats = bench.source.stats();
    assert_eq!((stats.lost, stats.reordered, stats.duplicates), (0, 4, 2));
}

#[test]
fn what_is_not_wanted() {
    let config = RtpSourceConfig {
        payload_types: vec![97],
        ..RtpSourceConfig::default()
    };
    let mut bench = Bench::new(config.from(Some("10.0.0.1".parse().unwrap())));
    assert_eq!(bench.send(0, B, 1, 1), Err(Ignored::WrongAddress));
    assert_eq!(bench.send(0, A, 1, 1), Err(Ignored::WrongPayloadType));
    assert_eq!(bench.raw(0, A, b"GET / HTTP/1.1"), Err(Ignored::Malformed));
    assert_eq!(bench.raw(0, A, &[0x80, 200]), Err(Ignored::Malformed));
    assert_eq!(bench.raw(0, A, &[]), Err(Ignored::Malformed));
    assert_eq!(bench.taken(), []);
    assert_eq!(
        (
            bench.source.stats().unwanted,
            bench.source.stats().malformed
        ),
        (2, 3)
    );
}

#[test]
fn the_application_chooses() {
    let mut bench = Bench::new(RtpSourceConfig::default());
    bench.send(0, A, 1, 1).unwrap();
    assert_eq!(bench.send(1, B, 2, 50), Err(Ignored::NotCurrent));
    let (_, other) = bench.source.waiting().unwrap();
    bench.source.set_ssrc(Some(other));
    assert_eq!(bench.send(2, A, 1, 2), Err(Ignored::WrongSsrc));
    bench.send(3, B, 2, 51).unwrap();
    bench.source.set_ssrc(None);
    bench.source.set_from(Some("10.0.0.1".parse().unwrap()));
    assert_eq!(bench.send(4, B, 2, 52), Err(Ignored::WrongAddress));
    bench.send(5, A, 1, 3).unwrap();
    let expected = [(1, 1, true), (2, 50, true), (2, 51, false), (3, 3, true)];
    assert_eq!(bench.taken(), expected);
}

#[test]
fn all_at_once_when_told_to() {
    let mut bench = Bench::new(RtpSourceConfig::default().every_ssrc(true));
    for ssrc in [5, 6, 5, 6] {
        bench.send(0, A, ssrc, 1).unwrap();
    }
    let sources: Vec<u32> = bench.taken().iter().map(|t| t.0).collect();
    assert_eq!(sources, [5, 6, 5, 6]);
}

#[test]
fn nothing_grows_without_bound() {
    let config = RtpSourceConfig {
        max_held: 10_000,
        ..RtpSourceConfig::default()
    };
    let mut bench = Bench::new(config);
    bench.send(0, A, 1, 1).unwrap();
    for n in 0..5000 {
        assert!(bench.send_payload(1, B, 2, n, &[0; 1000]).is_err());
    }
    assert!(bench.source.challenger.as_ref().unwrap().bytes <= 10_000);
    bench.send(1100, B, 2, 5000).unwrap();
    assert_eq!(bench.taken().len(), 1 + 9 + 1);
    for n in 5001..25_000 {
        let _ = bench.send(1200, B, 2, n);
    }
    assert_eq!(bench.source.events.len(), MAX_UNPOLLED);
    assert_eq!(bench.taken().len(), MAX_UNPOLLED);
}

/// A keyframe without sets gets those of the SDP file, later those received in the stream.
#[test]
fn parameter_sets_are_repeated() {
    let fmtp = "sprop-parameter-sets=Z2QADKzZQUH7ARAAAAMAEAAAAwHg8UKZYA==,aOvjyyLA";
    let sets = H264ParameterSets::from_fmtp(fmtp).unwrap().to_payload();
    let config = RtpSourceConfig {
        repeat_parameter_sets: true,
        parameter_sets: H264ParameterSets::from_fmtp(fmtp).map(ParameterSets::H264),
        ..RtpSourceConfig::default()
    };
    let mut bench = Bench::new(config);
    let (idr, slice): (&[u8], &[u8]) = (&[0x65, 1], &[0x41, 1]);
    for (n, payload) in [(10, idr), (11, slice), (13, idr), (12, slice), (14, slice)] {
        bench.send_payload(0, A, 1, n, payload).unwrap();
    }
    // A set in a packet of its own: nothing is inserted at the same timestamp.
    let other = [0x67, 0x42, 0xe0, 0x1f, 9];
    let own = Packet::new(96, 15, 777, 1, &other).to_bytes().unwrap();
    let key = Packet::new(96, 16, 777, 1, idr).to_bytes().unwrap();
    bench.raw(0, A, &own).unwrap();
    bench.raw(0, A, &key).unwrap();
    bench.send_payload(0, A, 1, 17, idr).unwrap();
    let mut packets = Vec::new();
    while let Some(SourceEvent::Packet(p)) = bench.source.poll() {
        packets.push((p.sequence_number, p.payload.to_vec(), p.source_changed));
    }
    let [.., repeated, last] = &packets[..] else {
        panic!("{packets:?}");
    };
    assert_eq!((repeated.0, &repeated.1[3..8]), (19, &other[..]));
    assert_eq!(*last, (20, idr.to_vec(), false));
    let expected = [
        (10, sets.clone(), true),
        (11, idr.to_vec(), false),
        (12, slice.to_vec(), false),
        (14, sets, false),
        (15, idr.to_vec(), false),
        (13, slice.to_vec(), false),
        (16, slice.to_vec(), false),
        (17, other.to_vec(), false),
        (18, idr.to_vec(), false),
    ];
    assert_eq!(packets[..9], expected);
    assert_eq!(bench.source.stats().parameter_sets, 3);
}

/// H.265 parameter sets are repeated; if none are known, undecodable keyframes are counted.
#[test]
fn parameter_sets_of_h265_are_repeated_and_missing_ones_counted() {
    let fmtp = "sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwA8ugJA; \
        sprop-sps=QgEBAWAAAAMAkAAAAwAAAwA8oAoIDxZbpKTC8BaAgAAAAwCAAAAMhA==; sprop-pps=RAHAc8GJ";
    let known = H265ParameterSets::from_fmtp(fmtp).unwrap();
    let key: &[u8] = &[19 << 1, 1, 0x80];
    for (sets, inserted, bare) in [(known, 1, 0), (H265ParameterSets::default(), 0, 1)] {
        let config = RtpSourceConfig {
            repeat_parameter_sets: true,
            parameter_sets: Some(ParameterSets::H265(sets.clone())),
            ..RtpSourceConfig::default()
        };
        let mut bench = Bench::new(config);
        bench.send_payload(0, A, 1, 10, key).unwrap();
        let packets = std::iter::from_fn(|| match bench.source.poll() {
            Some(SourceEvent::Packet(packet)) => Some(packet.payload.to_vec()),
            _ => None,
        });
        let packets: Vec<_> = packets.collect();
        let stats = bench.source.stats();
        assert_eq!(
            (stats.parameter_sets, stats.bare_keyframes),
            (inserted, bare)
        );
        assert_eq!(packets.len() as u64, 1 + inserted);
        if inserted > 0 {
            assert_eq!(packets[0], sets.to_payload());
        }
    }
}
