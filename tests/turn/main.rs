//! Peers that connect through a real TURN server (coturn).

mod coturn;
#[cfg(all(feature = "tls", feature = "turn-server"))]
mod stun;

use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::ice::{
    CandidateType, IceCandidate, IceCandidateError, IceServer, IceTransportPolicy,
};
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, IceCandidateInit, IceGatheringState, Message, PeerConfig, PeerEvent,
    Politeness,
};

use coturn::{Coturn, PASSWORD, SECRET, USER};

/// A peer at 127.0.0.1 only. coturn is bound to loopback, and ends an allocation that sends to an address that cannot
/// be reached from there.
fn direct() -> PeerConfig {
    let mut config = PeerConfig::default().include_loopback(true);
    config.gather.filter.addresses = vec![std::net::Ipv4Addr::LOCALHOST.into()];
    config
}

fn relayed(server: &IceServer) -> PeerConfig {
    PeerConfig::default()
        .ice_servers(vec![server.clone()])
        .ice_transport_policy(IceTransportPolicy::Relay)
}

/// Two peers in one loop. They receive each other's candidates as soon as they are found.
struct Pair {
    net: EventLoop,
    a: PeerId,
    b: PeerId,
    candidates: Vec<(PeerId, IceCandidate)>,
    errors: Vec<IceCandidateError>,
    channel: Option<ChannelId>,
    messages: Vec<Message>,
    complete: usize,
}

impl Pair {
    /// Only `a` uses a relay, so that there is one allocation.
    fn new(server: &IceServer) -> Self {
        Self::with(relayed(server), direct())
    }

    fn with(a: PeerConfig, b: PeerConfig) -> Self {
        Self::within(LoopConfig::default(), a, b)
    }

    fn within(config: LoopConfig, a: PeerConfig, b: PeerConfig) -> Self {
        let _ = env_logger::builder().is_test(true).try_init();
        let mut net = EventLoop::new(config).unwrap();
        let a = net.add_peer(a).unwrap();
        let b = net.add_peer(b.politeness(Politeness::Impolite)).unwrap();
        let mut pair = Self {
            net,
            a,
            b,
            candidates: Vec::new(),
            errors: Vec::new(),
            channel: None,
            messages: Vec::new(),
            complete: 0,
        };
        let config = ChannelConfig::new("data");
        pair.net
            .peer(a)
            .unwrap()
            .create_data_channel(config)
            .unwrap();
        pair
    }

    fn step(&mut self) {
        let Some((id, event)) = self
            .net
            .next_event(Some(Duration::from_millis(20)))
            .unwrap()
        else {
            return;
        };
        let other = if id == self.a { self.b } else { self.a };
        match event {
            PeerEvent::NegotiationNeeded => {
                let offer = self.net.peer(id).unwrap().negotiate().unwrap();
                let answer = self.net.peer(other).unwrap().receive(offer).unwrap();
                if let Some(answer) = answer {
                    self.net.peer(id).unwrap().receive(answer).unwrap();
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let init = IceCandidateInit::new(candidate.to_string());
                let mut peer = self.net.peer(other).unwrap();
                peer.add_ice_candidate(Some(&init)).unwrap();
                self.candidates.push((id, candidate));
            }
            PeerEvent::IceCandidateError(error) => self.errors.push(error),
            PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => self.complete += 1,
            PeerEvent::ChannelOpen(channel) if id == self.a => self.channel = Some(channel),
            PeerEvent::ChannelMessage { message, .. } => self.messages.push(message),
            PeerEvent::Error(e) => panic!("{id}: {e}"),
            _ => {}
        }
    }

    fn run_until(&mut self, seconds: u64, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !done(self) {
            assert!(
                Instant::now() < end,
                "{what}: {:?} {:?}",
                self.errors,
                self.candidates
            );
            self.step();
        }
    }

    fn run_for(&mut self, milliseconds: u64) {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end {
            self.step();
        }
    }

    fn connect(&mut self) {
        self.run_until(10, "connecting", |p| p.channel.is_some());
    }

    /// Sends a message from `a` to `b` and waits for it.
    fn talk(&mut self, text: &str) {
        let channel = self.channel.unwrap();
        let mut peer = self.net.peer(self.a).unwrap();
        peer.send_text(channel, text).unwrap();
        self.run_until(15, text, |p| {
            p.messages.contains(&Message::Text(text.into()))
        });
    }
}

fn server(coturn: &Coturn) -> IceServer {
    IceServer::turn(coturn.url(""), USER, PASSWORD)
}

#[test]
fn a_relayed_peer_connects_and_gives_the_allocation_back() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let mut pair = Pair::new(&server(&coturn));
    let start = Instant::now();
    pair.connect();
    println!("connected through the relay after {:?}", start.elapsed());
    let of_a = pair.candidates.iter().filter(|(id, _)| *id == pair.a);
    for (_, candidate) in of_a {
        assert_eq!(candidate.typ, CandidateType::Relay, "{candidate}");
        assert_eq!(candidate.url.as_deref(), Some(coturn.url("").as_str()));
    }
    pair.talk("through the relay");
    let (local, _) = pair.net.peer(pair.a).unwrap().stats().path.unwrap();
    assert!(
        pair.candidates
            .iter()
            .any(|(_, c)| c.socket_addr() == Some(local))
    );
    // The address that carries data has a channel by now.
    pair.run_for(300);
    pair.talk("by a channel");
    assert!(coturn.count("CHANNEL_BIND processed, success") >= 1);
    assert_eq!(coturn.count("ALLOCATE processed, success"), 1);
    pair.net.peer(pair.a).unwrap().close();
    pair.run_for(100);
    assert!(
        coturn.wait_log("REFRESH processed, success", 1, 2000),
        "{:?}",
        coturn.log()
    );
    assert!(
        coturn.wait_log("closed (2nd stage)", 1, 2000),
        "{:?}",
        coturn.log()
    );
}

#[test]
fn a_wrong_password_is_said() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let mut pair = Pair::new(&IceServer::turn(coturn.url(""), USER, "wrong"));
    pair.run_until(5, "gathering", |p| p.complete >= 2);
    let [error] = &pair.errors[..] else {
        panic!("{:?}", pair.errors)
    };
    assert_eq!(error.code, 401);
    assert!(error.to_string().contains("check username"), "{error}");
    assert!(pair.candidates.iter().all(|(id, _)| *id == pair.b));
}

/// A candidate that does not exist, so that a permission for it is requested.
fn nobody(n: u8) -> IceCandidateInit {
    IceCandidateInit::new(format!("candidate:9 1 udp 1 127.0.0.{n} 9 typ host"))
}

#[test]
fn a_nonce_that_has_gone_stale_is_changed() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&["--stale-nonce=1"]);
    let mut pair = Pair::new(&server(&coturn));
    pair.connect();
    let permissions = coturn.count("CREATE_PERMISSION processed, success");
    pair.run_for(2500);
    let mut peer = pair.net.peer(pair.a).unwrap();
    peer.add_ice_candidate(Some(&nobody(9))).unwrap();
    pair.run_for(500);
    pair.talk("still there");
    assert!(
        coturn.count("error 438: Stale nonce") >= 1,
        "{:?}",
        coturn.log()
    );
    assert!(coturn.count("CREATE_PERMISSION processed, success") > permissions);
    assert!(pair.errors.is_empty(), "{:?}", pair.errors);
    // A nonce that becomes stale at the very end leaves no allocation behind either.
    pair.run_for(2500);
    let stale = coturn.count("error 438: Stale nonce");
    pair.net.shutdown(Duration::from_secs(2)).unwrap();
    assert!(
        coturn.wait_log("closed (2nd stage)", 1, 2000),
        "{:?}",
        coturn.log()
    );
    assert!(coturn.count("error 438: Stale nonce") > stale);
}

#[test]
fn a_lifetime_of_seconds_is_refreshed_in_time() {
    if coturn::is_missing() {
        return;
    }
    // coturn applies it to its first response only; the allocation is refreshed half-way.
    let coturn = Coturn::start(&["--max-allocate-lifetime=2"]);
    let mut pair = Pair::new(&server(&coturn));
    pair.connect();
    assert_eq!(coturn.count("REFRESH processed, success"), 0);
    pair.run_for(2500);
    pair.talk("after the first lifetime");
    assert_eq!(coturn.count("REFRESH processed, success"), 1);
    assert_eq!(coturn.count("ALLOCATE processed, success"), 1);
}

#[test]
fn a_quota_that_is_used_up_is_said() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&["--user-quota=1"]);
    let mut first = Pair::new(&server(&coturn));
    first.connect();
    let mut second = Pair::new(&server(&coturn));
    second.run_until(5, "gathering", |p| p.complete >= 2);
    let [error] = &second.errors[..] else {
        panic!("{:?}", second.errors)
    };
    assert_eq!(error.code, 486, "{error}");
    first.talk("still there");
}

#[test]
fn a_forbidden_peer_address_is_said() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&["--denied-peer-ip=127.0.0.1"]);
    let mut pair = Pair::new(&server(&coturn));
    pair.run_until(5, "a refusal", |p| p.errors.iter().any(|e| e.code == 403));
    let text = pair.errors[0].to_string();
    assert!(text.contains("does not relay to"), "{text}");
}

#[test]
fn time_limited_credentials() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start_rest();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let username = format!("{}:bob", now.unwrap().as_secs() + 60);
    let key = openssl_hmac(SECRET, &username);
    let mut pair = Pair::new(&IceServer::turn(coturn.url(""), username, key));
    pair.connect();
    pair.talk("for a minute");
}

/// As such a service does: base64 of the HMAC-SHA1 of the username.
fn openssl_hmac(secret: &str, text: &str) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("sh")
        .args([
            "-c",
            r#"openssl dgst -sha1 -hmac "$0" -binary | base64"#,
            secret,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

#[test]
fn relayed_on_both_sides() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let config = relayed(&server(&coturn));
    let mut pair = Pair::with(config.clone(), config);
    pair.connect();
    pair.talk("from relay to relay");
    for (_, candidate) in &pair.candidates {
        assert_eq!(candidate.typ, CandidateType::Relay, "{candidate}");
    }
}

#[test]
fn names_are_resolved() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let url = format!("turn:localhost:{}", coturn.port);
    let mut pair = Pair::new(&IceServer::turn(url, USER, PASSWORD));
    pair.connect();
    pair.talk("by its name");
    let url = "turn:no-such-host.invalid";
    let mut pair = Pair::new(&IceServer::turn(url, USER, PASSWORD));
    pair.run_until(20, "gathering", |p| p.complete >= 2);
    assert_eq!(pair.errors[0].code, 701);
    assert!(
        pair.errors[0].to_string().contains("resolve"),
        "{}",
        pair.errors[0]
    );
}

#[test]
fn over_tcp() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let url = coturn.url("?transport=tcp");
    let mut pair = Pair::new(&IceServer::turn(url, USER, PASSWORD));
    pair.connect();
    for n in 0..50 {
        pair.talk(&format!("{n} {}", "x".repeat(n * 1000)));
    }
    pair.net.peer(pair.a).unwrap().close();
    pair.run_for(200);
    assert!(
        coturn.wait_log("closed (2nd stage)", 1, 2000),
        "{:?}",
        coturn.log()
    );
    assert!(pair.errors.is_empty(), "{:?}", pair.errors);
}

#[test]
fn a_tcp_port_where_nobody_listens_is_said() {
    let port = coturn::free_port();
    let url = format!("turn:127.0.0.1:{port}?transport=tcp");
    let mut pair = Pair::new(&IceServer::turn(url, USER, PASSWORD));
    pair.run_until(5, "gathering", |p| p.complete >= 2);
    assert!(
        pair.errors[0].to_string().contains("refused"),
        "{}",
        pair.errors[0]
    );
}

#[test]
fn a_server_that_is_restarted_is_found_again() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let url = coturn.url("?transport=tcp");
    let mut pair = Pair::new(&IceServer::turn(url, USER, PASSWORD));
    pair.connect();
    pair.talk("before");
    let port = coturn.port;
    drop(coturn);
    // Long enough for the first attempt to fail.
    pair.run_for(500);
    let again = Coturn::start_again(port);

    let text = pair.errors[0].to_string();
    assert!(text.contains("connection to the server is gone"), "{text}");
    pair.run_until(10, "a new allocation", |p| {
        p.candidates.iter().filter(|(id, _)| *id == p.a).count() >= 2
    });
    pair.talk("after");
    drop(again);
}

#[cfg(feature = "tls")]
#[test]
fn over_tls() {
    if coturn::is_missing() {
        return;
    }
    let certificates = coturn::Certificates::make();
    let options = certificates.options();
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let coturn = Coturn::start(&options);
    let relayed = |host: &str| {
        let url = format!("turns:{host}:{}", coturn.tls_port);
        relayed(&IceServer::turn(url, USER, PASSWORD))
    };
    for host in ["127.0.0.1", "localhost"] {
        let trusting = LoopConfig::default().tls_authorities(Some(certificates.authority.clone()));
        let mut pair = Pair::within(trusting, relayed(host), direct());
        pair.connect();
        for n in 0..20 {
            pair.talk(&format!("{n} {}", "x".repeat(n * 3000)));
        }
    }
    // A server with an untrusted certificate is not used.
    let stranger = coturn::Certificates::make();
    let doubting = LoopConfig::default().tls_authorities(Some(stranger.authority.clone()));
    let mut pair = Pair::within(doubting, relayed("127.0.0.1"), direct());
    pair.run_until(5, "gathering", |p| p.complete >= 2);
    let text = pair.errors[0].to_string();
    assert!(
        text.contains("TLS") && text.contains("certificate"),
        "{text}"
    );
}

/// `cargo test` builds the examples, beside the directory of this test.
#[test]
fn the_example() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(std::path::Path::parent).unwrap();
    let out = std::process::Command::new(profile.join("examples").join("relay_only"))
        .args([&coturn.url(""), USER, PASSWORD])
        .output()
        .expect("the example is built: cargo build --examples");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{out:?}");
    assert!(text.contains("there: \"hello from somewhere\""), "{text}");
    assert!(
        !text.contains("typ host") && text.contains("typ relay"),
        "{text}"
    );
    assert!(
        coturn.wait_log("closed (2nd stage)", 2, 3000),
        "{:?}",
        coturn.log()
    );
}
