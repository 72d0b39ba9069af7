//! Faults that the fuzzer has found, in the order of discovery. Each input is a seed as well, named `finding-…`.

use super::*;
use crate::proto::ice::CandidateError;
use crate::proto::media::jitter::{Arrival, JitterBuffer, JitterConfig, JitterOutput};
use crate::proto::media::{Codec, Limits, MediaErrorKind, Reader};

fn finding(target: &str, name: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read(format!("{root}/fuzz/seeds/{target}/finding-{name}")).unwrap()
}

/// A vertical tab is white space at the end of a line but not between words: it was kept after the tcptype, and lost
/// when the line was written and parsed again.
#[test]
fn a_vertical_tab_behind_the_tcptype() {
    candidate(&finding("candidate", "vertical-tab"));
    let parsed = IceCandidate::parse("candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype so\u{b} x y");
    let field = "tcptype";
    let value = "so\u{b}".to_owned();
    assert_eq!(parsed, Err(CandidateError::Bad { field, value }));
}

/// The first frame of a new stream was dropped because the output queue was full; the mark of the new stream was lost
/// with it, and later frames appeared to be out of order.
#[test]
fn the_beginning_of_a_stream_dropped_from_the_jitter_buffer() {
    jitter(&finding("jitter", "dropped-beginning"));
    let now = std::time::Instant::now();
    let mut buffer = JitterBuffer::new(JitterConfig::new(90_000).max_items(2));
    for sequence in 1..10 {
        let arrival = Arrival {
            ssrc: 1,
            sequence,
            packets: 1,
            timestamp: 0,
            bytes: 1,
            item: (),
        };
        buffer.insert(arrival, now);
    }
    let JitterOutput::Item(first) = buffer.poll(now) else {
        panic!("nothing is given out");
    };
    assert!(first.discontinuity && first.sequence > 65_537, "{first:?}");
}

/// Many zeros before the first start code: whether the input was recognized as a byte stream depended on how it was
/// split.
#[test]
fn zeros_before_a_byte_stream() {
    let input = finding("media_file", "zeros-in-front");
    media_file(&input);
    for piece in [1, 2, 16, 17] {
        let mut reader = Reader::new(Limits::default());
        let fed: Result<(), _> = input.chunks(piece).try_for_each(|p| reader.feed(p));
        assert_eq!(fed.unwrap_err().kind, MediaErrorKind::WrongFormat);
    }
}

/// A VP8 keyframe of 0 x 96 pixels was accepted as the start of a recording.
#[test]
fn a_picture_without_a_width() {
    let input = finding("ivf", "no-width");
    ivf(&input);
    let mut frame = [0x10, 0, 0, 0x9D, 0x01, 0x2A, 0, 0, 96, 0];
    let size = |frame: &[u8]| crate::proto::media::keyframe::dimensions(Codec::Vp8, frame);
    assert_eq!(size(&frame), None);
    frame[6] = 64;
    assert_eq!(size(&frame), Some((64, 96)));
}

/// A Matroska file whose segment starts with a CRC-32 element and has no valid element after it: a demuxer used before
/// our own read that element in an endless loop.
#[cfg(feature = "movies")]
#[test]
fn a_movie_that_is_read_without_end() {
    let input = finding("movie", "crc-first");
    movie(&input);
    let opened = crate::proto::media::movie::MovieReader::open(
        std::io::Cursor::new(&input[..]),
        Limits::default(),
    );
    let error = opened.map(drop).unwrap_err();
    assert_eq!(error.kind, MediaErrorKind::Damaged);
    assert_eq!(error.offset, 400, "{error}");
}

/// A STUN message that is neither a request nor a success response, and whose first attribute is a signature (of any
/// value): the core's parser panicked when verifying it. 44 bytes from anybody ended a connection.
#[test]
fn a_signature_before_everything_else() {
    stun_peer(&finding("stun_peer", "signature-first"));
    let mut sim = Simulation::new(8, Link::default());
    let (a, b) = sim.pair();
    let channel = ChannelConfig::new("data");
    let channel = sim.with(a, |p, now| p.create_data_channel(channel, now));
    run(&mut sim, 1_000);
    // A Binding error, a Binding indication, and a TURN message.
    for kind in [[1, 0x11], [0, 0x11], [1, 0x13]] {
        let mut message = vec![kind[0], kind[1], 0, 24, 0x21, 0x12, 0xA4, 0x42];
        message.extend([7; 12]);
        message.extend([0, 8, 0, 20]);
        message.extend([0; 20]);
        for from in [sim.address(a), "10.0.9.9:9999".parse().unwrap()] {
            let before = sim.peer(b).stats().malformed_dropped;
            sim.forge(from, b, message.clone());
            run(&mut sim, 1);
            assert_eq!(sim.peer(b).stats().malformed_dropped, before + 1);
        }
    }
    assert!(talks(&mut sim, a, b, channel.unwrap()));
}

/// A protected record that arrives twice before there are keys, as any network that duplicates a datagram can cause:
/// dimpl panicked.
#[test]
fn a_protected_record_twice_before_there_are_keys() {
    dtls(&finding("dtls", "early-record-twice"));
    let record = [22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 5, 0, 3, 1, 2, 3];
    for to in [0x08, 0x88] {
        // Both ends, after a few steps of the handshake in each version.
        for options in 0..=255 {
            let mut schedule = vec![options];
            for _ in 0..2 {
                schedule.extend([to, 0, record.len() as u8]);
                schedule.extend(record);
            }
            dtls(&schedule);
        }
    }
}

/// A candidate with its `ufrag` and once more without: the parsed fragment had two, the written one a single candidate.
#[cfg(feature = "server")]
#[test]
fn a_candidate_twice_in_a_fragment() {
    use crate::signaling::whip::sdpfrag::SdpFragment;
    sdpfrag(&finding("sdpfrag", "same-candidate"));
    let line = "a=candidate:1 1 udp 1 192.0.2.1 5 typ host";
    let text = format!(
        "m=audio 9 RTP 0\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
         {line}\r\n{line} ufrag abcd\r\n"
    );
    let fragment = SdpFragment::parse(text.as_bytes()).unwrap();
    assert_eq!(fragment.candidates.len(), 1);
}

/// One payload type for two H.264 profiles, in two m-lines of a group: the core panicked.
#[test]
fn one_payload_type_for_two_profiles() {
    sdp(&finding("sdp", "one-type-two-profiles"));
}

/// A DTLS 1.3 record with the number of an epoch that has no keys, before there are any: its contents were delivered as
/// data of the remote peer once the handshake was complete. Anybody able to spoof an address could inject them
/// (`crypto/tests/forged.rs`).
#[test]
fn data_of_an_epoch_without_keys() {
    dtls(&finding("dtls", "data-of-no-epoch"));
}

/// A camera's address `Whip:`, which the API accepted as a publisher's place and the sources took for the name of a file.
#[cfg(feature = "server")]
#[test]
fn a_scheme_in_capitals_is_no_file() {
    camera_settings(&finding("camera_settings", "scheme-in-capitals"));
}

/// A password without a user name: sending back what was shown took the password away.
#[cfg(feature = "server")]
#[test]
fn a_password_without_a_user_is_kept() {
    camera_settings(&finding("camera_settings", "password-without-user"));
}

/// A camera's address with a second `@`: written to the file, it had a user name of its own, and the file was not read.
#[cfg(feature = "server")]
#[test]
fn an_address_is_the_same_when_it_is_read_again() {
    camera_settings(&finding("camera_settings", "at-sign-twice"));
}
