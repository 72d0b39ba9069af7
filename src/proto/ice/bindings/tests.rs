use turn_types::stun::prelude::MessageWriteExt as _;

use super::*;

const USER: usize = 3;

fn request() -> BindingRequest {
    BindingRequest {
        server: SocketAddr::from(([192, 0, 2, 1], 3478)),
        base: SocketAddr::from(([10, 0, 0, 1], 5000)),
        transport: BindingTransport::Udp,
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], port))
}

/// Drains the machine; returns datagrams, replies and the next timeout.
fn drain(b: &mut Bindings) -> (Vec<Transmit>, Vec<(usize, BindingReply)>, Option<Instant>) {
    let (mut sent, mut replies) = (Vec::new(), Vec::new());
    loop {
        match b.poll_output() {
            BindingOutput::Transmit(_, t) => sent.push(t),
            BindingOutput::Reply(user, _, reply) => replies.push((user, reply)),
            BindingOutput::Timeout(at) => return (sent, replies, at),
            other => panic!("UDP needs no {other:?}"),
        }
    }
}

fn success(to: &Transmit, mapped: SocketAddr) -> Vec<u8> {
    success_to(&to.contents, mapped)
}

pub(super) fn success_to(request: &[u8], mapped: SocketAddr) -> Vec<u8> {
    let message = Message::from_bytes(request).unwrap();
    let mut answer = Message::builder_success(&message, MessageWriteVec::new());
    let attribute = XorMappedAddress::new(mapped, message.transaction_id());
    answer.add_attribute(&attribute).unwrap();
    answer.finish()
}

fn error(to: &Transmit, code: u16, alternate: Option<SocketAddr>) -> Vec<u8> {
    error_to(&to.contents, code, alternate)
}

pub(super) fn error_to(request: &[u8], code: u16, alternate: Option<SocketAddr>) -> Vec<u8> {
    let message = Message::from_bytes(request).unwrap();
    let mut answer = Message::builder_error(&message, MessageWriteVec::new());
    let attribute = ErrorCode::builder(code).reason("no").build().unwrap();
    answer.add_attribute(&attribute).unwrap();
    if let Some(alternate) = alternate {
        answer
            .add_attribute(&AlternateServer::new(alternate))
            .unwrap();
    }
    answer.finish()
}

fn live(b: &mut Bindings, now: Instant) {
    b.request(USER, request(), now);
    let (sent, _, _) = drain(b);
    assert!(b.handle_datagram(request().server, &success(&sent[0], address(1)), now));
    assert_eq!(drain(b).1, [(USER, BindingReply::Mapped(address(1)))]);
}

#[test]
fn a_server_that_answers_is_asked_once_for_all_who_share_the_port() {
    let now = Instant::now();
    let mut b = Bindings::new(Some(1));
    b.request(USER, request(), now);
    b.request(4, request(), now);
    let (sent, replies, _) = drain(&mut b);
    assert_eq!((sent.len(), replies.len()), (1, 0));
    assert_eq!(sent[0].destination, request().server);
    assert_eq!(sent[0].source, request().base);
    assert!(b.handle_datagram(request().server, &success(&sent[0], address(1)), now));
    let both = [USER, 4].map(|u| (u, BindingReply::Mapped(address(1))));
    assert_eq!(drain(&mut b).1, both);
    // A later user gets the known address at once.
    b.request(5, request(), now);
    let (sent, replies, _) = drain(&mut b);
    assert_eq!((sent.len(), replies.len()), (0, 1));
}

#[test]
fn a_silent_server_is_asked_by_the_rfc_and_given_up() {
    let start = Instant::now();
    let mut b = Bindings::new(Some(1));
    b.request(USER, request(), start);
    let mut sent = 0;
    loop {
        let (now_sent, replies, next) = drain(&mut b);
        sent += now_sent.len();
        if let Some((user, BindingReply::Failed { code, .. })) = replies.first() {
            assert_eq!((*user, *code, sent), (USER, 701, 7));
            break;
        }
        b.handle_timeout(next.unwrap());
    }
    assert!(b.is_idle());
    // The next attempt may succeed.
    b.request(USER, request(), start);
    assert_eq!(drain(&mut b).0.len(), 1);
}

#[test]
fn only_the_server_can_answer() {
    let now = Instant::now();
    let mut b = Bindings::new(Some(1));
    b.request(USER, request(), now);
    let (sent, _, _) = drain(&mut b);
    let answer = success(&sent[0], address(1));
    b.handle_datagram(address(3478), &answer, now);
    assert!(drain(&mut b).1.is_empty());
    for cut in 0..answer.len() {
        b.handle_datagram(request().server, &answer[..cut], now);
    }
    assert!(drain(&mut b).1.is_empty());
    let mut other = answer.clone();
    other[19] ^= 1;
    assert!(!b.handle_datagram(request().server, &other, now));
    b.handle_datagram(request().server, &answer, now);
    assert_eq!(drain(&mut b).1.len(), 1);
}

#[test]
fn it_is_kept_alive_and_a_change_is_said() {
    let now = Instant::now();
    let mut b = Bindings::new(Some(1));
    live(&mut b, now);
    let next = drain(&mut b).2.unwrap();
    assert_eq!(next, now + KEEPALIVE);
    b.handle_timeout(next);
    let (sent, _, _) = drain(&mut b);
    b.handle_datagram(request().server, &success(&sent[0], address(1)), next);
    assert!(drain(&mut b).1.is_empty());
    b.handle_timeout(next + KEEPALIVE);
    let (sent, _, _) = drain(&mut b);
    b.handle_datagram(request().server, &success(&sent[0], address(2)), next);
    assert_eq!(drain(&mut b).1, [(USER, BindingReply::Mapped(address(2)))]);
}

#[test]
fn nothing_is_left_when_its_users_are_gone() {
    let now = Instant::now();
    let mut b = Bindings::new(Some(1));
    live(&mut b, now);
    b.request(4, request(), now);
    drain(&mut b);
    b.release(USER);
    assert!(!b.is_idle());
    b.release(4);
    assert!(b.is_idle() && b.users.is_empty() && b.timers.is_empty());
    assert!(b.transactions.is_empty());
    assert_eq!(drain(&mut b).2, None);
}

#[test]
fn errors_are_passed_on_and_a_redirection_is_followed_once() {
    let now = Instant::now();
    let mut b = Bindings::new(Some(1));
    b.request(USER, request(), now);
    let (sent, _, _) = drain(&mut b);
    let other = SocketAddr::from(([192, 0, 2, 2], 3479));
    b.handle_datagram(request().server, &error(&sent[0], 300, Some(other)), now);
    let (sent, replies, _) = drain(&mut b);
    assert_eq!((sent[0].destination, replies.len()), (other, 0));
    b.handle_datagram(other, &error(&sent[0], 300, Some(address(1))), now);
    let (sent, replies, _) = drain(&mut b);
    assert!(sent.is_empty());
    assert!(matches!(&replies[0].1, BindingReply::Failed { code: 300, text } if text == "no"));
    assert!(b.is_idle());
}

#[test]
fn an_old_server_answers_with_mapped_address() {
    let now = Instant::now();
    let mut b = Bindings::new(Some(1));
    b.request(USER, request(), now);
    let (sent, _, _) = drain(&mut b);
    let message = Message::from_bytes(&sent[0].contents).unwrap();
    let mut answer = Message::builder_success(&message, MessageWriteVec::new()).finish();
    answer.extend([0, 1, 0, 8, 0, 1, 0x12, 0x34, 203, 0, 113, 9]);
    answer[3] = 12;
    b.handle_datagram(request().server, &answer, now);
    assert_eq!(
        drain(&mut b).1,
        [(USER, BindingReply::Mapped(address(0x1234)))]
    );
}

/// After a network change every user is told the new address, including users that ask meanwhile.
#[test]
fn another_network_has_everything_asked_again() {
    let t0 = Instant::now();
    let mut b = Bindings::new(Some(1));
    b.request(USER, request(), t0);
    let (sent, ..) = drain(&mut b);
    let from = request().server;
    assert!(b.handle_datagram(from, &success(&sent[0], address(1)), t0));
    assert_eq!(drain(&mut b).1, [(USER, BindingReply::Mapped(address(1)))]);
    b.refresh(t0 + Duration::from_secs(1));
    let (again, replies, at) = drain(&mut b);
    assert_eq!((again.len(), replies.len()), (1, 0));
    assert!(at.is_some_and(|at| at < t0 + Duration::from_secs(3)));
    b.request(USER + 1, request(), t0 + Duration::from_secs(1));
    assert_eq!(drain(&mut b).1, [], "what was true before is not said");
    assert!(b.handle_datagram(from, &success(&again[0], address(2)), t0));
    let mapped = BindingReply::Mapped(address(2));
    assert_eq!(
        drain(&mut b).1,
        [(USER, mapped.clone()), (USER + 1, mapped)]
    );
}

#[test]
fn bindings_have_a_limit() {
    let now = Instant::now();
    let mut b = Bindings::new(Some(1));
    for n in 0..=MAX_BINDINGS {
        let n = u32::try_from(n).unwrap();
        let server = SocketAddr::from((std::net::Ipv4Addr::from(0x0B00_0000 + n), 3478));
        b.request(
            USER,
            BindingRequest {
                server,
                ..request()
            },
            now,
        );
        // This test does not look at datagrams.
        b.out.retain(|o| !matches!(o, BindingOutput::Transmit(..)));
    }
    let replies: Vec<_> = b.out.iter().collect();
    let [BindingOutput::Reply(USER, _, BindingReply::Failed { text, .. })] = replies[..] else {
        panic!("{} replies", replies.len())
    };
    assert!(text.contains("in use"), "{text}");
}
