//! STUN over TCP and TLS, for ICE-TCP: the server sees the listening port. A TCP forwarder simulates a NAT: behind it,
//! the server sees another address than ours.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use looprtc::proto::ice::IceTcp;
use looprtc::proto::peer::CandidatePolicy;
use looprtc::server::turn::{TlsIdentity, Transport, TurnServer, TurnServerConfig};

use super::coturn::Certificates;
use super::*;

/// Forwards connections, from ports of its own.
struct Nat {
    address: SocketAddr,
    /// The clients, and the addresses used for them.
    seen: Arc<Mutex<Vec<[SocketAddr; 2]>>>,
}

impl Nat {
    fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = seen.clone();
        thread::spawn(move || {
            for inside in listener.incoming().map_while(Result::ok) {
                let Ok(outside) = TcpStream::connect(server) else {
                    continue;
                };
                let ends = [inside.peer_addr(), outside.local_addr()].map(Result::unwrap);
                list.lock().unwrap().push(ends);
                for (from, to) in [(&inside, &outside), (&outside, &inside)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || pass_on(from, to));
                }
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<[SocketAddr; 2]> {
        self.seen.lock().unwrap().clone()
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A loop whose peers are at 127.0.0.1.
struct Listener {
    net: EventLoop,
}

/// Candidates found by one of its peers.
struct Found {
    peer: PeerId,
    candidates: Vec<IceCandidate>,
    errors: Vec<String>,
}

impl Listener {
    fn new(authority: Option<&Certificates>) -> Self {
        let _ = env_logger::builder().is_test(true).try_init();
        let authority = authority.map(|c| c.authority.clone());
        let config = LoopConfig::default().tls_authorities(authority);
        let net = EventLoop::new(config).unwrap();
        Self { net }
    }

    /// Gathers with this server, until the end.
    fn gather(&mut self, url: &str, tcp: IceTcp) -> Found {
        let mut config = direct()
            .ice_tcp(tcp)
            .ice_servers(vec![IceServer::stun(url)]);
        config.gather.timeout = Duration::from_secs(3);
        config.candidates = CandidatePolicy::Immediately;
        let peer = self.net.add_peer(config).unwrap();
        let channel = ChannelConfig::new("data");
        let mut it = self.net.peer(peer).unwrap();
        it.create_data_channel(channel).unwrap();
        it.negotiate().unwrap();
        let mut found = Found {
            peer,
            candidates: Vec::new(),
            errors: Vec::new(),
        };
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            assert!(Instant::now() < end, "{url}: gathering has no end");
            let wait = Some(Duration::from_millis(50));
            let Some((_, event)) = self.net.next_event(wait).unwrap() else {
                continue;
            };
            match event {
                PeerEvent::IceCandidate(Some(candidate)) => found.candidates.push(candidate),
                PeerEvent::IceCandidateError(error) => found.errors.push(error.to_string()),
                PeerEvent::IceGatheringStateChange(IceGatheringState::Complete) => return found,
                _ => {}
            }
        }
    }

    fn run_for(&mut self, milliseconds: u64) {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end {
            self.net
                .next_event(Some(Duration::from_millis(20)))
                .unwrap();
        }
    }
}

impl Found {
    fn of(&self, typ: CandidateType) -> Vec<&IceCandidate> {
        let mut passive = self.candidates.iter();
        let is_it = |c: &&IceCandidate| c.typ == typ && c.tcp_type.as_deref() == Some("passive");
        passive.by_ref().filter(is_it).collect()
    }

    /// Returns the only passive candidate reported by a server, and its listening address; checked against the NAT.
    fn check(&self, nat: &Nat, url: &str) {
        assert!(self.errors.is_empty(), "{:?}", self.errors);
        let ([host], [seen]) = (
            &self.of(CandidateType::Host)[..],
            &self.of(CandidateType::ServerReflexive)[..],
        ) else {
            panic!("{:?}", self.candidates);
        };
        let last = nat.seen().pop().expect("a connection");
        assert_eq!(host.socket_addr(), Some(last[0]), "from another port");
        assert_eq!(seen.socket_addr(), Some(last[1]));
        assert_eq!(seen.related_address, host.socket_addr());
        assert_eq!(seen.url.as_deref(), Some(url));
        assert!(seen.priority < host.priority);
        let line = seen.to_sdp_line();
        assert!(
            line.contains(" tcp ") && line.ends_with(" tcptype passive"),
            "{line}"
        );
        // The outgoing connection does not block the listening port for others.
        let taken = TcpListener::bind(last[0]);
        assert!(taken.is_err(), "somebody else can listen there");
        println!("{line}");
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[test]
fn coturn_by_tcp_and_by_tls() {
    if coturn::is_missing() {
        return;
    }
    let certificates = Certificates::make();
    let options = certificates.options();
    let coturn = Coturn::start(&[&options[0], &options[1]]);
    let mut listener = Listener::new(Some(&certificates));
    for (scheme, query, port) in [
        ("stun", "?transport=tcp", coturn.port),
        ("stuns", "", coturn.tls_port),
    ] {
        let nat = Nat::before(local(port));
        let url = format!("{scheme}:{}{query}", nat.address);
        let first = listener.gather(&url, IceTcp::Both);
        first.check(&nat, &url);
        // A second peer shares the stream.
        let second = listener.gather(&url, IceTcp::Passive);
        second.check(&nat, &url);
        assert_eq!(nat.seen().len(), 1);
        // It is open as long as it is needed. Then the port is free for another connection to the same server.
        for found in [first, second] {
            listener.net.peer(found.peer).unwrap().close();
        }
        listener.run_for(100);
        let third = listener.gather(&url, IceTcp::Passive);
        third.check(&nat, &url);
        assert_eq!(nat.seen().len(), 2);
        listener.net.peer(third.peer).unwrap().close();
        listener.run_for(100);
    }
}

/// With `stun:` and nothing else, both protocols are used.
#[test]
fn coturn_by_udp_and_tcp_at_once() {
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[]);
    let nat = Nat::before(local(coturn.port));
    // UDP is not forwarded, so it gets no response; TCP yields its candidate all the same.
    let mut listener = Listener::new(None);
    let url = format!("stun:{}", nat.address);
    let found = listener.gather(&url, IceTcp::Passive);
    assert_eq!(found.of(CandidateType::ServerReflexive).len(), 1);
    let [error] = &found.errors[..] else {
        panic!("{:?}", found.errors)
    };
    assert!(error.starts_with(&url), "{error}");
}

#[test]
fn our_own_server_by_tcp_and_by_tls() {
    let certificates = Certificates::make();
    let [certificate, key] = certificates.options();
    let read = |option: &str| std::fs::read(option.split_once('=').unwrap().1).unwrap();
    let identity = TlsIdentity::from_pem(&read(&certificate), &read(&key)).unwrap();
    let config = TurnServerConfig::default()
        .tcp(vec![local(0)])
        .tls(vec![local(0)])
        .identity(Some(identity));
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut server = TurnServer::new(config).unwrap();
        tell.send(server.listening().to_vec()).unwrap();
        loop {
            server.run_once(Some(Duration::from_millis(50))).unwrap();
        }
    });
    let listening = told.recv().unwrap();
    let at = |transport| {
        let mut all = listening.iter();
        all.find(|l| l.transport == transport).unwrap().address
    };
    let (tcp, tls) = (at(Transport::Tcp), at(Transport::Tls));
    let mut listener = Listener::new(Some(&certificates));
    for (scheme, query, address) in [("stun", "?transport=tcp", tcp), ("stuns", "", tls)] {
        let nat = Nat::before(address);
        let url = format!("{scheme}:{}{query}", nat.address);
        listener.gather(&url, IceTcp::Both).check(&nat, &url);
    }
}

#[test]
fn what_is_wrong_is_said() {
    let certificates = Certificates::make();
    let other = Certificates::make();
    let options = certificates.options();
    let nobody = local(coturn::free_port());
    let url = format!("stun:{nobody}?transport=tcp");
    let refused = Listener::new(None).gather(&url, IceTcp::Passive);
    let [error] = &refused.errors[..] else {
        panic!("{:?}", refused.errors)
    };
    assert!(error.starts_with(&format!("{url}: over TCP: ")), "{error}");
    assert!(
        error.contains("refused") && error.contains("check name and port"),
        "{error}"
    );
    // A peer that does not listen does not need it.
    let useless = Listener::new(None).gather(&url, IceTcp::Active);
    assert!(
        useless.errors[0].contains("IceTcp::Passive"),
        "{:?}",
        useless.errors
    );
    if coturn::is_missing() {
        return;
    }
    let coturn = Coturn::start(&[&options[0], &options[1]]);
    let url = format!("stuns:127.0.0.1:{}", coturn.tls_port);
    let strange = Listener::new(Some(&other)).gather(&url, IceTcp::Passive);
    let [error] = &strange.errors[..] else {
        panic!("{:?}", strange.errors)
    };
    assert!(
        error.contains("over TLS: ") && error.contains("tls_authorities"),
        "{error}"
    );
    println!("{}\n{error}", useless.errors[0]);
}
