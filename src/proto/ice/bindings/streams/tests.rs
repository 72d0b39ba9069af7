use super::super::tests::{error_to, success_to};
use super::super::{Bindings, TRY_ALTERNATE};
use super::*;
use crate::proto::net::ServerName;

const USER: usize = 3;
const SECOND: Duration = Duration::from_secs(1);

fn request(transport: BindingTransport) -> BindingRequest {
    BindingRequest {
        server: SocketAddr::from(([192, 0, 2, 1], 3478)),
        base: SocketAddr::from(([10, 0, 0, 1], 5000)),
        transport,
    }
}

fn mapped(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], port))
}

/// The machine and the output it has produced.
struct Bench {
    machine: Bindings,
    now: Instant,
    opened: Vec<SocketRequest>,
    closed: Vec<SocketId>,
    written: Vec<(SocketId, Vec<u8>)>,
    replies: Vec<(usize, BindingReply)>,
    next: Option<Instant>,
}

impl Bench {
    fn new() -> Self {
        Self {
            machine: Bindings::new(Some(1)),
            now: Instant::now(),
            opened: Vec::new(),
            closed: Vec::new(),
            written: Vec::new(),
            replies: Vec::new(),
            next: None,
        }
    }

    /// Creates a bench with one request over TCP.
    fn asked() -> Self {
        let mut bench = Self::new();
        bench.request(USER, BindingTransport::Tcp);
        bench
    }

    /// Creates a bench whose server has answered.
    fn live() -> Self {
        let mut bench = Self::asked();
        bench.open();
        bench.answer(1);
        assert_eq!(bench.replies, [(USER, BindingReply::Mapped(mapped(1)))]);
        bench
    }

    fn drain(&mut self) {
        loop {
            match self.machine.poll_output() {
                BindingOutput::OpenSocket(request) => self.opened.push(request),
                BindingOutput::CloseSocket(id) => self.closed.push(id),
                BindingOutput::Write(id, bytes) => self.written.push((id, bytes)),
                BindingOutput::Reply(user, _, reply) => self.replies.push((user, reply)),
                BindingOutput::Transmit(..) => panic!("no datagrams"),
                BindingOutput::Timeout(at) => {
                    self.next = at;
                    return;
                }
            }
        }
    }

    fn request(&mut self, user: usize, transport: BindingTransport) {
        self.machine.request(user, request(transport), self.now);
        self.drain();
    }

    /// Returns the id of the stream that was requested last.
    fn id(&self) -> SocketId {
        self.opened.last().expect("one was asked for").id
    }

    fn open(&mut self) {
        let reply = SocketReply::Opened(Vec::new());
        self.machine.handle_socket(self.id(), &reply, self.now);
        self.drain();
    }

    fn end(&mut self, why: &str) {
        let reply = SocketReply::Failed(why.to_owned());
        self.machine.handle_socket(self.id(), &reply, self.now);
        self.drain();
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.machine.handle_stream(self.id(), bytes, self.now);
        self.drain();
    }

    fn answer(&mut self, port: u16) {
        let (id, request) = self.written.pop().expect("it has asked");
        assert_eq!(id, self.id());
        self.receive(&success_to(&request, mapped(port)));
    }

    /// Advances the clock to the machine's next deadline; returns the time that passed.
    fn wait(&mut self) -> Duration {
        let begun = self.now;
        self.now = self.next.expect("something is to come");
        self.machine.handle_timeout(self.now);
        self.drain();
        self.now - begun
    }
}

#[test]
fn it_connects_from_the_port_that_is_listened_on_and_asks() {
    let name = ServerName("stun.example.org".into());
    for transport in [BindingTransport::Tcp, BindingTransport::Tls(name.clone())] {
        let mut b = Bench::new();
        b.request(USER, transport.clone());
        let [SocketRequest { kind, .. }] = &b.opened[..] else {
            panic!("{:?}", b.opened)
        };
        let tls = matches!(transport, BindingTransport::Tls(_)).then(|| name.clone());
        let request = request(transport);
        assert_eq!(
            *kind,
            SocketKind::BindingStream {
                local: request.base,
                remote: request.server,
                tls
            }
        );
        assert!(b.written.is_empty(), "not before it is open");
        b.open();
        // A second user of the port waits for the same answer; a third one gets it at once.
        b.request(4, request.transport.clone());
        assert_eq!((b.opened.len(), b.written.len()), (1, 1));
        b.answer(1);
        let reply = BindingReply::Mapped(mapped(1));
        assert_eq!(b.replies, [(USER, reply.clone()), (4, reply.clone())]);
        b.request(5, request.transport);
        assert_eq!(b.replies[2..], [(5, reply)]);
    }
}

#[test]
fn an_answer_is_found_wherever_the_stream_is_cut() {
    let mut whole = Bench::asked();
    whole.open();
    let answer = success_to(&whole.written[0].1, mapped(7));
    for cut in 1..answer.len() {
        let mut b = Bench::asked();
        b.open();
        let answer = success_to(&b.written[0].1, mapped(7));
        b.receive(&answer[..cut]);
        assert!(b.replies.is_empty());
        b.receive(&answer[cut..]);
        assert_eq!(b.replies, [(USER, BindingReply::Mapped(mapped(7)))]);
    }
}

#[test]
fn what_is_no_answer_of_ours_is_passed_over_and_what_is_not_stun_ends_it() {
    let mut b = Bench::asked();
    b.open();
    let request = b.written[0].1.clone();
    let mut other = success_to(&request, mapped(7));
    other[19] ^= 1;
    b.receive(&other);
    b.receive(&request);
    assert!(b.replies.is_empty() && b.closed.is_empty());
    for (junk, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "not STUN"),
        (&[0; 20][..], "not STUN"),
        (&[1, 1, 0xFF, 0xFF], "too long"),
    ] {
        let mut b = Bench::asked();
        b.open();
        b.receive(junk);
        let [(USER, BindingReply::Failed { code: 701, text })] = &b.replies[..] else {
            panic!("{:?}", b.replies)
        };
        assert!(text.contains("over TCP") && text.contains(why), "{text}");
        assert_eq!(b.closed, [b.id()]);
        assert!(b.machine.is_idle());
    }
}

#[test]
fn failures_say_by_what_it_was_tried_and_why() {
    let mut b = Bench::asked();
    b.end("connecting: refused");
    let text = "over TCP: connecting: refused".to_owned();
    let failed = BindingReply::Failed { code: 701, text };
    assert_eq!(b.replies, [(USER, failed)]);
    assert!(b.machine.is_idle() && b.next.is_none());
    // No answer: the limit is 39.5 s in all, counted from the SYN (RFC 8489 §6.2.2).
    for opens in [false, true] {
        let mut b = Bench::asked();
        if opens {
            b.now += SECOND * 30;
            b.open();
            b.now -= SECOND * 30;
        }
        assert_eq!(b.wait(), Duration::from_millis(39_500));
        assert!(
            matches!(&b.replies[..], [(USER, BindingReply::Failed { code: 701, text })] if text.contains("39.5"))
        );
        assert!(b.machine.is_idle());
    }
    let mut b = Bench::asked();
    b.open();
    let refusal = error_to(&b.written[0].1, 403, None);
    b.receive(&refusal);
    assert!(matches!(
        &b.replies[..],
        [(USER, BindingReply::Failed { code: 403, .. })]
    ));
    assert!(b.machine.is_idle());
}

#[test]
fn it_is_kept_alive_and_a_change_is_said() {
    let mut b = Bench::live();
    for (port, said) in [(1, 1), (2, 2), (2, 2)] {
        assert_eq!(b.wait(), KEEPALIVE);
        b.answer(port);
        assert_eq!(b.replies.len(), said);
    }
    assert_eq!(b.replies[1], (USER, BindingReply::Mapped(mapped(2))));
    assert_eq!((b.opened.len(), b.closed.len()), (1, 0), "by one stream");
}

/// coturn closes the connection of a client without an allocation after 60 s, or after 3 s if it only serves STUN.
#[test]
fn a_server_that_ends_the_stream_is_connected_to_again() {
    for (lasted, pause) in [(3, 12), (60, 1)] {
        let mut b = Bench::live();
        for time in 1..20 {
            b.now += SECOND * lasted;
            b.end("the other side has closed the connection");
            assert_eq!((b.closed.len(), b.opened.len()), (time, time));
            assert_eq!(b.wait(), SECOND * pause);
            assert_eq!(b.opened.len(), time + 1);
            b.open();
            b.answer(1);
        }
        assert_eq!(b.replies.len(), 1, "nothing new was said");
    }
}

#[test]
fn a_server_that_is_gone_is_left_alone_after_a_while() {
    let mut b = Bench::live();
    b.end("reset");
    let mut tries = 0;
    while b.next.is_some() {
        b.wait();
        tries += 1;
        b.end("refused");
    }
    assert_eq!(tries, MAX_FAILURES as usize + 1);
    assert!(b.machine.is_idle());
    assert_eq!((b.closed.len(), b.replies.len()), (b.opened.len(), 1));
}

#[test]
fn nothing_is_left_when_its_users_are_gone() {
    let mut b = Bench::live();
    b.request(4, BindingTransport::Tcp);
    b.machine.release(USER);
    b.drain();
    assert!(b.closed.is_empty() && !b.machine.is_idle());
    b.machine.release(4);
    b.drain();
    assert_eq!(b.closed, [b.id()]);
    assert!(b.machine.is_idle() && b.next.is_none());
    // Bytes that arrive later are ignored.
    b.receive(b"late");
    b.end("late");
    assert_eq!(b.closed.len(), 1);
}

#[test]
fn another_network_has_everything_asked_by_new_streams() {
    let mut b = Bench::live();
    let first = b.id();
    b.machine.refresh(b.now);
    b.drain();
    assert_eq!(b.closed, [first]);
    assert_ne!(b.id(), first);
    b.request(4, BindingTransport::Tcp);
    assert_eq!(b.replies.len(), 1, "what was true before is not said");
    b.open();
    b.answer(2);
    let reply = BindingReply::Mapped(mapped(2));
    assert_eq!(b.replies[1..], [(USER, reply.clone()), (4, reply)]);
}

#[test]
fn a_redirection_is_followed_once() {
    let mut b = Bench::asked();
    b.open();
    let other = SocketAddr::from(([192, 0, 2, 2], 3479));
    let elsewhere = |b: &mut Bench, to| {
        let (_, request) = b.written.pop().unwrap();
        b.receive(&error_to(&request, TRY_ALTERNATE, Some(to)));
    };
    elsewhere(&mut b, other);
    let [first, second] = &b.opened[..] else {
        panic!("{:?}", b.opened)
    };
    assert_eq!(b.closed, [first.id]);
    assert!(matches!(second.kind, SocketKind::BindingStream { remote, .. } if remote == other));
    b.open();
    elsewhere(&mut b, mapped(1));
    assert!(matches!(
        &b.replies[..],
        [(USER, BindingReply::Failed { code: 300, .. })]
    ));
    assert!(b.machine.is_idle() && b.closed.len() == 2);
}

#[test]
fn streams_have_a_limit() {
    let mut b = Bench::new();
    for n in 0..=MAX_STREAMS {
        let port = u16::try_from(n + 1).unwrap();
        let mut request = request(BindingTransport::Tcp);
        request.server.set_port(port);
        b.machine.request(USER, request, b.now);
    }
    b.drain();
    assert_eq!(b.opened.len(), MAX_STREAMS);
    assert!(
        matches!(&b.replies[..], [(USER, BindingReply::Failed { text, .. })] if text.contains("in use"))
    );
}
