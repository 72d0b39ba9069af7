use super::*;
use crate::proto::rtsp::config::RtspLimits;
use crate::proto::rtsp::quirk::Quirk;
use std::time::Duration;

/// Reads a stream in pieces of these lengths, over and over.
fn read(stream: &[u8], lengths: &[usize]) -> (Vec<Item>, Option<reader::ReaderError>) {
    let mut reader = Reader::new(
        RtspLimits::default()
            .max_head(2000)
            .max_body(2000)
            .max_skipped(1000),
    );
    reader.expect_channel(0);
    reader.expect_channel(1);
    let (mut items, mut rest) = (Vec::new(), stream);
    for length in lengths.iter().cycle() {
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        rest = after;
        reader.push(piece);
        loop {
            match reader.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(error) => return (items, Some(error)),
            }
        }
        if rest.is_empty() {
            return (items, None);
        }
    }
    unreachable!("lengths are not empty")
}

fn messages(stream: &[u8]) -> Vec<Message> {
    let (items, error) = read(stream, &[usize::MAX]);
    assert_eq!(error, None);
    let messages = items.into_iter().filter_map(|item| match item {
        Item::Message(message) => Some(message),
        _ => None,
    });
    messages.collect()
}

fn quirks(stream: &[u8]) -> Vec<Quirk> {
    let (items, _) = read(stream, &[usize::MAX]);
    let quirks = items.into_iter().filter_map(|item| match item {
        Item::Quirk(quirk) => Some(quirk),
        _ => None,
    });
    quirks.collect()
}

const RTP: &[u8] = b"$\0\0\x0c\x80\x60\0\x01\0\0\0\0\0\0\0\x07";

#[test]
fn a_stream_of_everything() {
    let mut stream = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 5\r\n\r\nv=0\r\n".to_vec();
    stream.extend(RTP);
    stream.extend(b"OPTIONS rtsp://h/ RTSP/1.0\r\nCSeq: 7\r\n\r\n");
    let (items, error) = read(&stream, &[usize::MAX]);
    assert_eq!(error, None);
    let [
        Item::Message(response),
        Item::Frame(0, rtp),
        Item::Message(request),
    ] = &items[..]
    else {
        panic!("{items:?}");
    };
    assert_eq!(response.start, Start::Response(200, "OK".to_owned()));
    assert_eq!(response.fields.cseq(), Some(3));
    assert_eq!(response.body, b"v=0\r\n");
    assert_eq!(rtp, &RTP[4..]);
    assert_eq!(request.start, Start::Request("OPTIONS".to_owned()));
}

#[test]
fn quirk_8_names_in_any_case() {
    let stream = b"RTSP/1.0 200 OK\r\nCseq: 3\r\ncontent-length: 1\r\nX-y: 1\r\n\r\nx";
    let [message] = &messages(stream)[..] else {
        panic!();
    };
    assert_eq!(message.fields.cseq(), Some(3));
    assert_eq!(message.body, b"x");
    assert_eq!(quirks(stream), [Quirk::HeaderCase]);
    let sent = request("PLAY", "rtsp://h", 1, &[("User-Agent", "x".to_owned())]);
    assert_eq!(
        sent,
        b"PLAY rtsp://h RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: x\r\n\r\n"
    );
}

#[test]
fn quirk_9_white_space_and_junk() {
    for stream in [
        &b"RTSP/1.0 200 OK\r\nCSeq: 3  \r\n\r\n"[..],
        b"RTSP/1.0 200 OK\r\nCSeq:   3\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq : 3\r\n\r\n",
        b"RTSP/1.0  200   OK\r\njunk\r\nCSeq: 3\r\n\r\n",
        b"\r\n\r\n RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: no\r\n\r\n",
    ] {
        let shown = String::from_utf8_lossy(stream);
        let [message] = &messages(stream)[..] else {
            panic!("{shown}");
        };
        assert_eq!(message.fields.cseq(), Some(3), "{shown}");
        assert_eq!(quirks(stream), [Quirk::HeaderJunk], "{shown}");
    }
    // Bare line feeds and folded lines are no reason to complain.
    let [message] = &messages(b"RTSP/1.0 200 OK\nCSeq: 3\nPublic: A,\n B\n\n")[..] else {
        panic!();
    };
    assert_eq!(message.fields.get("Public"), Some("A, B"));
}

#[test]
fn quirk_10_sync_is_found_again() {
    for garbage in [
        &b"garbage"[..],
        b"$\x09\0\x10nonsense on a channel",
        b"x$\0\0\x0c\x01 version 0",
        b"xRTSP/1.0 what?\r\n",
        b"xRTS",
        b"xOPTIONS of no kind\n",
        &[0xff; 900],
    ] {
        let mut stream = RTP.to_vec();
        stream.extend(b"x");
        stream.extend(garbage);
        stream.extend(RTP);
        stream.extend(b"RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n");
        let (items, error) = read(&stream, &[usize::MAX]);
        assert_eq!(error, None, "{garbage:?}");
        let is_frame = |item: &&Item| **item == Item::Frame(0, RTP[4..].to_vec());
        assert_eq!(
            items.iter().filter(is_frame).count(),
            2,
            "{garbage:?} {items:?}"
        );
        assert!(
            matches!(items.last(), Some(Item::Message(_))),
            "{garbage:?}"
        );
        assert!(items.contains(&Item::Quirk(Quirk::LostSync)), "{garbage:?}");
    }
    let (_, error) = read(&[b'x'; 2000], &[7]);
    assert_eq!(error, Some(reader::ReaderError::Garbage));
}

#[test]
fn sizes_are_limited() {
    let head = format!("RTSP/1.0 200 OK\r\nX: {}", "y".repeat(3000));
    let (_, error) = read(head.as_bytes(), &[100]);
    assert_eq!(error, Some(reader::ReaderError::HeadTooLong));
    let (_, error) = read(format!("{head}\r\n\r\n").as_bytes(), &[usize::MAX]);
    assert_eq!(error, Some(reader::ReaderError::HeadTooLong));
    let body = b"RTSP/1.0 200 OK\r\nContent-Length: 2001\r\n\r\n";
    let (_, error) = read(body, &[usize::MAX]);
    assert_eq!(error, Some(reader::ReaderError::BodyTooLong));
    let many = format!("RTSP/1.0 200 OK\r\n{}\r\n", "A: 1\r\n".repeat(300));
    assert_eq!(
        messages(many.as_bytes())[0].fields.all("a").count(),
        MAX_FIELDS
    );
    // A first line without end is garbage, not a reason to wait for ever.
    let line = [&b"RTSP/"[..], &[b'x'; 6000]].concat();
    let (items, error) = read(&line, &[100]);
    assert_eq!(error, Some(reader::ReaderError::Garbage));
    assert_eq!(items, [Item::Quirk(Quirk::LostSync)]);
}

#[test]
fn input_split_anywhere_gives_the_same() {
    let mut stream =
        b"\r\n RTSP/1.0 200 OK\r\nCseq: 3 \r\njunk\r\nContent-Length: 7\r\n\r\nv=0\r\n\r\n\r\n\r\n"
            .to_vec();
    stream.extend(RTP);
    stream.extend(b"\r\n\r\n");
    stream.extend(b"OPTIONS rtsp://h/ RTSP/1.0\nCSeq: 7\n\n$\x01\0\x02ab trouble $\x05\0\0RTSP/ ");
    stream.extend(RTP);
    stream.extend(b"  RTSP/2.0 404 Not Found\r\n\r\nGET_PARA");
    let whole = read(&stream, &[usize::MAX]);
    assert!(whole.0.len() > 10, "{whole:?}");
    for length in 1..40 {
        assert_eq!(read(&stream, &[length]), whole, "{length}");
        assert_eq!(read(&stream, &[1, length, 3]), whole, "{length}");
    }
    for at in 0..stream.len() {
        assert_eq!(read(&stream, &[at.max(1), usize::MAX]), whole, "{at}");
    }
}

#[test]
fn nothing_sent_has_another_line_within() {
    let sent = request("PLAY", "u", 1, &[("Session", "1\r\nEvil: 1".to_owned())]);
    assert_eq!(
        sent,
        b"PLAY u RTSP/1.0\r\nCSeq: 1\r\nSession: 1Evil: 1\r\n\r\n"
    );
    assert_eq!(response(200, "OK", &[]), b"RTSP/1.0 200 OK\r\n\r\n");
    assert_eq!(frame(2, b"ab").as_deref(), Some(&b"$\x02\0\x02ab"[..]));
    assert_eq!(frame(2, &[0; 65_536]), None);
}

#[test]
fn session_identifiers() {
    let parse = |value| SessionField::parse(value).map(|s| (s.id, s.timeout.map(|t| t.as_secs())));
    let some = |id: &str, timeout| Some((id.to_owned(), timeout));
    assert_eq!(parse("1234;timeout=30"), some("1234", Some(30)));
    assert_eq!(parse("  1234 ; Timeout = 30 "), some("1234", Some(30)));
    assert_eq!(parse("ab$-_.+;x;timeout=0"), some("ab$-_.+", None));
    assert_eq!(parse("1;timeout=99999999999"), some("1", None));
    assert_eq!(parse("1;timeout=4000000000"), some("1", Some(86_400)));
    for bad in ["", ";timeout=5", "a b", "a\u{7f}", &"x".repeat(257)] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    assert_eq!(
        SessionField::parse("1;timeout=5").unwrap().timeout,
        Some(Duration::from_secs(5))
    );
}

#[test]
fn quirk_3_and_40_transports_as_cameras_answer() {
    let parse = TransportField::parse;
    let tcp = parse("RTP/AVP/TCP;unicast;interleaved=2-3;ssrc=12");
    assert!(tcp.is_tcp);
    assert_eq!(tcp.interleaved, Some((2, 3)));
    assert_eq!(parse("RTP/AVP;interleaved=0").interleaved, Some((0, 1)));
    assert_eq!(parse("RTP/AVP;interleaved=255").interleaved, None);
    assert_eq!(parse("RTP/AVP;interleaved=256-257").interleaved, None);
    let udp = parse("RTP/AVP;unicast; client_port=5-6; Source=192.0.2.9 ;server_port=7000-7001");
    assert_eq!(udp.server_port, Some((7000, 7001)));
    assert_eq!(udp.source, "192.0.2.9".parse().ok());
    for none in ["", "0-0", "0-1", "x", "65536"] {
        let value = format!("RTP/AVP;server_port={none}");
        assert_eq!(parse(&value).server_port, None, "{none}");
    }
    assert_eq!(
        parse("RTP/AVP;server_port=7000").server_port,
        Some((7000, 7001))
    );
    let group = parse("RTP/AVP;multicast;destination=239.1.2.3;port=5000-5001;ttl=1,RTP/AVP/TCP");
    assert!(group.is_multicast && !group.is_tcp);
    assert_eq!(group.destination, "239.1.2.3".parse().ok());
    assert_eq!(group.port, Some((5000, 5001)));
}

#[test]
fn lists_of_methods_and_rtp_info() {
    assert!(has_method(
        "OPTIONS, describe,GET_PARAMETER",
        "GET_PARAMETER"
    ));
    assert!(!has_method("SET_PARAMETER", "GET_PARAMETER"));
    assert!(is_readable_rtp_info(
        "url=rtsp://h/t;seq=1;rtptime=4294967295;"
    ));
    assert!(!is_readable_rtp_info("url=x;seq=abc"));
    assert!(!is_readable_rtp_info("url=x;seq=1;rtptime=4294967296"));
}
