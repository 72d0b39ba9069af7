use super::*;
use crate::testing::Rng;

const BODIES: [fn(&[u8]); 6] = [stun_peek, candidate, signal, sdp, peer_datagrams, sequence];

/// A small part of what a fuzzer does, so that no change to the library leaves a target broken.
#[test]
fn bodies_take_anything() {
    let mut rng = Rng::new(7);
    for body in BODIES {
        body(&[]);
        for length in [1, 3, 20, 60, 200] {
            let data: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
            body(&data);
        }
    }
}

#[test]
fn bodies_take_what_is_well_formed() {
    for line in [
        "candidate:1 1 udp 1677729535 203.0.113.9 60000 typ srflx raddr 10.0.0.1 rport 5000",
        "candidate:7 1 udp 2122260223 fd00::2 50000 typ host ufrag abcd",
    ] {
        candidate(line.as_bytes());
        signal(line.as_bytes());
    }
    for json in [
        r#"{"type":"offer","sdp":"v=0\r\n"}"#,
        r#"{"candidate":""}"#,
        "null",
    ] {
        signal(json.as_bytes());
    }
    let offers = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdp");
    let mut count = 0;
    for file in std::fs::read_dir(offers).unwrap() {
        let mut offer = std::fs::read(file.unwrap().path()).unwrap();
        sdp(&offer);
        offer.push(b'1' + count % 3);
        sdp(&offer);
        count += 1;
    }
    assert!(count > 10);
}

#[test]
fn datagrams_of_strangers_end_nothing() {
    // Connected; a stranger sends junk, then copies of what was under way.
    let mut schedule = vec![7, 0, 3, b'a', b'b', b'c'];
    for index in 0..20 {
        schedule.extend([4, 0, index, 0]);
    }
    peer_datagrams(&schedule);
}

/// A channel each way, messages, losses, an ICE restart, forgeries.
#[test]
fn a_schedule_with_everything_in_it() {
    let mut schedule = vec![1, 0, 0, 15, 10];
    for step in 0..20 {
        schedule.extend([4, step, 0xc1, step, 0x80, 1, 5, 1, 0x40 + step, step]);
        schedule.extend([15, 20, 18, 20, 5, 10, 30, 22, 0, 0, step, 1, 0, 9, 1]);
    }
    schedule.extend([16, 10, 0]);
    let world = sequence::play(&schedule);
    world.check();
    assert!(world.received() > 20, "{}", world.received());
}
