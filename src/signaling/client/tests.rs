//! Against this crate's server, and against raw sockets that misbehave.

use super::super::http::{HttpConfig, HttpServer, Status};
use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const LONG: Duration = Duration::from_secs(20);

fn quick() -> PosterConfig {
    PosterConfig::default()
        .first_pause(Duration::from_millis(10))
        .longest_pause(Duration::from_millis(40))
        .give_up_after(Duration::from_secs(10))
}

fn poster(to: impl Into<Address>, config: PosterConfig) -> Poster {
    Poster::start(to.into(), config, Box::new(|| {})).unwrap()
}

fn server() -> HttpServer {
    let address = "127.0.0.1:0".parse().unwrap();
    HttpServer::bind(&address, &HttpConfig::default(), Box::new(|| {})).unwrap()
}

fn candidate(port: u16) -> IceCandidateInit {
    IceCandidateInit::new(format!(
        "candidate:1 1 udp 2130706431 192.0.2.2 {port} typ host"
    ))
}

/// Returns an address without a listener.
fn nobody() -> Address {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .into()
}

/// Starts a server that answers one connection with these bytes and closes it.
fn misbehaving(response: &'static [u8]) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(response);
    });
    address.into()
}

#[test]
fn keeps_the_order_and_reports_each_result() {
    let server = server();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let wake = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let poster = Poster::start(server.local_addr().into(), quick(), wake).unwrap();
    let offer = SessionDescription::offer("v=0\r\n");
    poster.post_description(&offer).unwrap();
    for port in 1..=20 {
        poster.post_candidate(&candidate(port)).unwrap();
    }
    let request = server.wait_for_request(LONG).unwrap();
    assert_eq!(request.message(), &SignalMessage::Description(offer));
    request.accept();
    for port in 1..=20 {
        let request = server.wait_for_request(LONG).unwrap();
        assert_eq!(
            request.message(),
            &SignalMessage::Candidate(candidate(port))
        );
        request.accept();
    }
    let first = poster.wait_for_result(LONG).unwrap();
    assert_eq!(first.kind, PostKind::Description(SdpType::Offer));
    assert!(matches!(first.outcome, Ok(None)));
    for _ in 1..=20 {
        let result = poster.wait_for_result(LONG).unwrap();
        assert_eq!(result.kind, PostKind::Candidate);
        assert!(matches!(result.outcome, Ok(None)));
    }
    assert!(poster.next_result().is_none());
    assert!(woken.load(Ordering::SeqCst) >= 20);
}

#[test]
fn waits_for_an_end_that_is_started_later() {
    let address = nobody();
    let poster = poster(address.clone(), quick());
    poster
        .post_description(&SessionDescription::offer("v=0"))
        .unwrap();
    thread::sleep(Duration::from_millis(200));
    assert!(poster.next_result().is_none());
    let server = HttpServer::bind(&address, &HttpConfig::default(), Box::new(|| {})).unwrap();
    server.wait_for_request(LONG).unwrap().accept();
    assert!(matches!(
        poster.wait_for_result(LONG).unwrap().outcome,
        Ok(None)
    ));
}

#[test]
fn gives_up_with_a_reason() {
    let address = nobody();
    let poster = poster(
        address.clone(),
        quick().give_up_after(Duration::from_millis(200)),
    );
    poster.post_candidate(&candidate(1)).unwrap();
    let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
    let PostError::NotUp {
        attempts, tried, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!((4..=20).contains(attempts), "{attempts} attempts");
    assert!(*tried <= Duration::from_secs(2));
    let text = error.to_string();
    assert!(
        text.contains(&format!("http://{}/candidate", address.authority())),
        "{text}"
    );
    assert!(text.contains("is the other end started"), "{text}");

    let unknown: Address = "no-such-host.invalid:80".parse().unwrap();
    let poster = self::poster(unknown, quick().give_up_after(Duration::from_millis(1)));
    poster.post_candidate(&candidate(1)).unwrap();
    let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot resolve no-such-host.invalid:80"),
        "{error}"
    );
}

#[test]
fn a_refusal_is_final_and_says_why() {
    let server = server();
    let poster = poster(server.local_addr(), quick());
    poster.post_candidate(&candidate(1)).unwrap();
    server
        .wait_for_request(LONG)
        .unwrap()
        .reject(Status::NotFound, "no session here");
    let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
    let PostError::Refused { status, reason, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*status, reason.as_str()), (404, "no session here"));
    assert!(
        server
            .wait_for_request(Duration::from_millis(200))
            .is_none(),
        "no second attempt"
    );
}

#[test]
fn a_busy_end_is_tried_again() {
    let server = server();
    let poster = poster(server.local_addr(), quick());
    poster.post_candidate(&candidate(1)).unwrap();
    for _ in 0..2 {
        server
            .wait_for_request(LONG)
            .unwrap()
            .reject(Status::Unavailable, "busy");
    }
    server.wait_for_request(LONG).unwrap().accept();
    assert!(matches!(
        poster.wait_for_result(LONG).unwrap().outcome,
        Ok(None)
    ));

    let config = quick().give_up_after(Duration::from_millis(1));
    let poster = self::poster(server.local_addr(), config);
    poster.post_candidate(&candidate(1)).unwrap();
    server
        .wait_for_request(LONG)
        .unwrap()
        .reject(Status::Unavailable, "busy");
    let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
    assert!(
        matches!(error, PostError::Refused { status: 503, .. }),
        "{error}"
    );
}

#[test]
fn brings_back_an_answer_from_the_response() {
    let server = server();
    let poster = poster(server.local_addr(), quick());
    let answer = SessionDescription::answer("v=0\r\n".repeat(5000));
    poster
        .post_description(&SessionDescription::offer("v=0"))
        .unwrap();
    server.wait_for_request(LONG).unwrap().answer(&answer);
    assert_eq!(
        poster.wait_for_result(LONG).unwrap().outcome.unwrap(),
        Some(answer)
    );
}

#[test]
fn broken_exchanges_are_not_repeated() {
    for response in [
        b"".as_slice(),
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    ] {
        let poster = poster(misbehaving(response), quick());
        poster.post_candidate(&candidate(1)).unwrap();
        let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
        assert!(matches!(error, PostError::Broken { .. }), "{error}");
    }
    let json = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let poster = poster(misbehaving(json), quick());
    poster.post_candidate(&candidate(1)).unwrap();
    let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
    assert!(matches!(error, PostError::BadReply { .. }), "{error}");

    let words = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let poster = self::poster(misbehaving(words), quick());
    poster.post_candidate(&candidate(1)).unwrap();
    assert!(matches!(
        poster.wait_for_result(LONG).unwrap().outcome,
        Ok(None)
    ));
}

#[test]
fn a_response_over_the_limit_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[b'{'; 4096]).is_ok() {}
    });
    let poster = poster(address, quick());
    poster.post_candidate(&candidate(1)).unwrap();
    let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
    assert!(matches!(error, PostError::Broken { .. }), "{error}");
}

#[test]
fn a_silent_end_is_left_after_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = quick().exchange_deadline(Duration::from_millis(300));
    let poster = poster(listener.local_addr().unwrap(), config);
    poster.post_candidate(&candidate(1)).unwrap();
    let start = Instant::now();
    let error = poster.wait_for_result(LONG).unwrap().outcome.unwrap_err();
    assert!(matches!(error, PostError::Broken { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_queue_is_bounded_and_posting_never_blocks() {
    let poster = poster(nobody(), quick().max_waiting(3));
    let start = Instant::now();
    let refused = (0..10)
        .filter(|_| poster.post_candidate(&candidate(1)).is_err())
        .count();
    // One may be in progress already, and three are queued.
    assert!((6..=7).contains(&refused), "{refused}");
    assert!(start.elapsed() < Duration::from_secs(1));
    let error = poster.post_candidate(&candidate(1)).unwrap_err();
    assert!(
        matches!(error, PostError::QueueFull { limit: 3 }),
        "{error}"
    );
    drop(poster);
}
