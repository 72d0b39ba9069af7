//! Our TURN server: the program with real clients, and the library within an event loop.
//!
//! `tests/setup` installs the clients. A missing one is reported, and fails the test if the environment variable `CI`
//! is set.

#![cfg(all(unix, feature = "cli"))]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::ice::{IceServer, IceTransportPolicy};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ConnectionState, IceCandidateInit, PeerConfig, PeerEvent, Politeness,
};
use looprtc::server::turn::{
    Credentials, PeerPolicy, TlsIdentity, Transport, TurnLimits, TurnMachineConfig, TurnServer,
    TurnServerConfig, rest_password,
};

/// The `looprtc turn` program.
struct Program {
    child: Child,
    port: u16,
    said: String,
}

impl Program {
    /// Starts it on loopback, for one user and for clients that know the secret.
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_looprtc"))
            .args(["turn", "--listen", "127.0.0.1:0", "--no-tcp"])
            .args(["--user", "alice:wonderland", "--secret", "north"])
            .args(["--allow-peer", "127.0.0.0/8", "--allow-peer", "::1"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("}]") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        let port = said.split("127.0.0.1:").nth(1).unwrap();
        let port = port.split_whitespace().next().unwrap().parse().unwrap();
        let stdout = lines.into_inner();
        child.stdout = Some(stdout);
        Self { child, port, said }
    }

    fn url(&self) -> String {
        format!("turn:127.0.0.1:{}", self.port)
    }

    /// Stops it as Ctrl-C does; returns its last output.
    fn interrupt(mut self) -> String {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-INT", &pid]).status();
        assert!(kill.unwrap().success());
        let mut rest = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reports it: a skipped test looks like one that has passed.
fn is_missing(program: &str, found: bool) -> bool {
    let text = format!("{program} is not installed; run tests/setup");
    assert!(found || std::env::var_os("CI").is_none(), "{text}");
    if !found {
        eprintln!("\n*** NOT TESTED: {text} ***\n");
    }
    !found
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

fn interop() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// coturn's client: ten clients in pairs, 200 messages each; the server's port follows.
fn uclient(port: u16, options: &[&str]) -> String {
    let output = Command::new("timeout")
        .args([
            "-k",
            "1",
            "60",
            "turnutils_uclient",
            "-y",
            "-m",
            "10",
            "-n",
            "200",
            "-z",
            "2",
        ])
        .args(["-u", "alice", "-w", "wonderland", "-p", &port.to_string()])
        .args(options)
        .arg("127.0.0.1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{options:?}: {text}");
    text
}

/// Checks that as much was received as sent, and at least as much as requested.
fn check_uclient(text: &str, messages: u64) {
    let last = text
        .lines()
        .rfind(|l| l.contains("tot_recv_msgs="))
        .unwrap();
    let number = |name: &str| {
        let rest = last.split(name).nth(1).unwrap();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    };
    let (sent, received) = (number("tot_send_msgs="), number("tot_recv_msgs="));
    assert_eq!(sent, received, "{text}");
    assert!(sent >= messages, "{text}");
    assert!(text.contains("Total lost packets 0 "), "{text}");
}

#[test]
fn coturns_client() {
    if is_missing(
        "turnutils_uclient (coturn)",
        is_on_path("turnutils_uclient"),
    ) {
        return;
    }
    let program = Program::start(&[]);
    // With channels and with indications; with the port pairs once used for RTP and RTCP.
    for options in [
        &["-c"][..],
        &["-c", "-s"],
        &[],
        &["-c", "-g"],
        &["-c", "-l", "1200"],
    ] {
        let text = uclient(program.port, options);
        check_uclient(&text, 2000);
    }
    // It does not release everything itself, so only its exit status is checked.
    println!("{}", program.interrupt());
}

#[test]
fn coturns_client_with_time_limited_credentials() {
    if is_missing(
        "turnutils_uclient (coturn)",
        is_on_path("turnutils_uclient"),
    ) {
        return;
    }
    let program = Program::start(&[]);
    let text = uclient(program.port, &["-c", "-W", "north"]);
    check_uclient(&text, 2000);
}

#[test]
fn pion_relay_to_relay() {
    let pion = interop().join("bin/pion-relay");
    if is_missing("pion-relay", pion.exists()) {
        return;
    }
    let program = Program::start(&[]);
    let output = Command::new(pion)
        .args([&program.url(), "alice", "wonderland"])
        .output()
        .unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    println!("pion: {out}");
    assert!(out.contains("100 messages there and back, relay to relay"));
    assert!(program.interrupt().starts_with("allocations 0 "));
}

#[test]
fn chromium_relay_to_relay() {
    let program = Program::start(&[]);
    // The credentials that the program prints for pages, without a configured password.
    let until = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let username = format!("{}:page", until.unwrap().as_secs() + 600);
    let password = rest_password(b"north", &username);
    let output = Command::new("node")
        .arg(interop().join("relay.mjs"))
        .args([&program.url(), &username, &password])
        .output();
    let Ok(output) = output else {
        is_missing("node", false);
        return;
    };
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if is_missing("Chromium", output.status.code() != Some(77)) {
        return;
    }
    assert!(output.status.success(), "{out}{err}");
    println!("Chromium: {out}");
    assert!(out.contains("relay to relay by udp"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_program_says_what_a_page_needs_and_what_is_wrong() {
    let program = Program::start(&["--external", "198.51.100.7"]);
    let url = format!("urls: [\"turn:198.51.100.7:{}\"]", program.port);
    assert!(program.said.contains(&url), "{}", program.said);
    assert!(program.said.contains("username: \"alice\""));

    let fails = |options: &[&str], word: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_looprtc"))
            .arg("turn")
            .args(options)
            .output()
            .unwrap();
        let err = text(&output.stderr);
        assert!(!output.status.success(), "{options:?}");
        assert!(err.contains(word), "{options:?}: {err}");
        output.status.code()
    };
    assert_eq!(fails(&[], "--user NAME:PASSWORD"), Some(2));
    assert_eq!(fails(&["--user", "alice"], "NAME:PASSWORD"), Some(2));
    assert_eq!(
        fails(&["--user", "a:b", "--allow-peer", "10.0.0.0/99"], "prefix"),
        Some(2)
    );
    assert_eq!(
        fails(&["--user", "a:b", "--tls", "127.0.0.1"], "--certificate"),
        Some(2)
    );
    assert_eq!(
        fails(&["--user", "a:b", "--listen", "here"], "not an address"),
        Some(2)
    );
    let taken = format!("127.0.0.1:{}", program.port);
    assert_eq!(
        fails(&["--user", "a:b", "--listen", &taken], "another program"),
        Some(1)
    );
    assert_eq!(
        fails(&["--user", "a:b", "--listen", "192.0.2.1"], "no interface"),
        Some(1)
    );
}

/// Peers and the server they connect through, all on this thread.
struct Together {
    net: EventLoop,
    server: TurnServer,
}

fn loopback() -> TurnMachineConfig {
    let peers = PeerPolicy::default()
        .allow("127.0.0.0/8".parse().unwrap())
        .allow("::1".parse().unwrap());
    TurnMachineConfig::default()
        .credentials(Credentials::default().user("alice", "wonderland"))
        .limits(TurnLimits::default().per_address(1000).per_user(1000))
        .peers(peers)
}

impl Together {
    fn new(config: TurnServerConfig, net: LoopConfig) -> Self {
        let _ = env_logger::builder().is_test(true).try_init();
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let relay = ["127.0.0.1", "::1"].map(|ip| ip.parse().unwrap());
        let config = config.udp(vec![here]).tcp(vec![here]);
        let server = TurnServer::new(config.relay(relay.to_vec())).unwrap();
        let bind = vec!["127.0.0.1".parse().unwrap()];
        let mut net = EventLoop::new(net.bind(bind)).unwrap();
        net.watch(&server).unwrap();
        Self { net, server }
    }

    fn url(&self, transport: Transport) -> String {
        let mut all = self.server.listening().iter();
        let at = all.find(|l| l.transport == transport).unwrap().address;
        match transport {
            Transport::Udp => format!("turn:{at}"),
            Transport::Tcp => format!("turn:{at}?transport=tcp"),
            Transport::Tls => format!("turns:{at}"),
        }
    }

    fn next_event(&mut self) -> Option<(PeerId, PeerEvent)> {
        let most = Duration::from_millis(100);
        let until = self.server.next_deadline();
        let wait = until.map_or(most, |at| {
            at.saturating_duration_since(Instant::now()).min(most)
        });
        let event = self.net.next_event(Some(wait)).unwrap();
        self.server.run_once(Some(Duration::ZERO)).unwrap();
        event
    }

    fn add_pair(&mut self, transport: Transport) -> Pair {
        let server = IceServer::turn(self.url(transport), "alice", "wonderland");
        let config = PeerConfig::default()
            .include_loopback(true)
            .port(PortPolicy::Own)
            .ice_servers(vec![server])
            .ice_transport_policy(IceTransportPolicy::Relay);
        let a = self.net.add_peer(config.clone()).unwrap();
        let b = self
            .net
            .add_peer(config.politeness(Politeness::Impolite))
            .unwrap();
        let channel = ChannelConfig::new("data");
        self.net
            .peer(a)
            .unwrap()
            .create_data_channel(channel)
            .unwrap();
        Pair {
            a,
            b,
            said: false,
            heard: false,
        }
    }

    /// Runs until every pair has passed a message from relay to relay.
    fn run(&mut self, pairs: &mut [Pair], seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !pairs.iter().all(|p| p.heard) {
            assert!(Instant::now() < end, "{:?}", self.server.stats());
            let Some((id, event)) = self.next_event() else {
                continue;
            };
            // Pairs of the previous wave may still report that they are closed.
            if let Some(pair) = pairs.iter_mut().find(|p| p.a == id || p.b == id) {
                pair.on_event(&mut self.net, id, event);
            }
        }
    }

    /// Closes all peers, and runs until the server has nothing left.
    fn close(&mut self, pairs: &[Pair]) {
        for id in pairs.iter().flat_map(|p| [p.a, p.b]) {
            self.net.peer(id).unwrap().close();
        }
        let end = Instant::now() + Duration::from_secs(10);
        while self.server.stats().allocations > 0 {
            assert!(Instant::now() < end, "{:?}", self.server.stats());
            self.next_event();
        }
    }
}

struct Pair {
    a: PeerId,
    b: PeerId,
    said: bool,
    heard: bool,
}

impl Pair {
    fn on_event(&mut self, net: &mut EventLoop, id: PeerId, event: PeerEvent) {
        let other = if id == self.a { self.b } else { self.a };
        match event {
            PeerEvent::NegotiationNeeded => {
                let offer = net.peer(id).unwrap().negotiate().unwrap();
                let answer = net.peer(other).unwrap().receive(offer).unwrap();
                if let Some(answer) = answer {
                    net.peer(id).unwrap().receive(answer).unwrap();
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let init = IceCandidateInit::new(candidate.to_string());
                net.peer(other)
                    .unwrap()
                    .add_ice_candidate(Some(&init))
                    .unwrap();
            }
            PeerEvent::ChannelOpen(channel) if id == self.a => {
                net.peer(id)
                    .unwrap()
                    .send_text(channel, "through the relay")
                    .unwrap();
                self.said = true;
            }
            PeerEvent::ChannelMessage { .. } => self.heard = true,
            PeerEvent::ConnectionStateChange(ConnectionState::Failed) => panic!("{id} failed"),
            PeerEvent::IceCandidateError(e) => panic!("{e}"),
            PeerEvent::Error(e) => panic!("{id}: {e}"),
            _ => {}
        }
    }
}

#[test]
fn our_own_client_by_udp_and_tcp_on_one_thread() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let config = TurnServerConfig::default().machine(loopback());
        let mut all = Together::new(config, LoopConfig::default());
        let start = Instant::now();
        let mut pairs = [all.add_pair(transport)];
        all.run(&mut pairs, 20);
        println!(
            "{transport:?}: connected and heard after {:?}",
            start.elapsed()
        );
        let stats = all.server.stats();
        assert_eq!(stats.allocations, 2);
        assert!(stats.to_peers > 0 && stats.to_clients > 0, "{stats:?}");
        all.close(&pairs);
        assert_eq!(all.server.stats().expired, 0, "given back, not forgotten");
    }
}

#[cfg(feature = "tls")]
#[test]
fn our_own_client_by_tls() {
    let dir = std::env::temp_dir().join(format!("looprtc-turn-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let made = Command::new("openssl")
        .current_dir(&dir)
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=turn".split(' '))
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let cert = std::fs::read(dir.join("cert.pem")).unwrap();
    let key = std::fs::read(dir.join("key.pem")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();

    let identity = TlsIdentity::from_pem(&cert, &key).unwrap();
    assert!(
        TlsIdentity::from_pem(&key, &key)
            .unwrap_err()
            .contains("certificate")
    );
    assert!(
        TlsIdentity::from_pem(&cert, &cert)
            .unwrap_err()
            .contains("key")
    );
    let config = TurnServerConfig::default()
        .machine(loopback())
        .tls(vec!["127.0.0.1:0".parse().unwrap()])
        .identity(Some(identity));
    let mut all = Together::new(config, LoopConfig::default().tls_authorities(Some(cert)));
    let mut pairs = [all.add_pair(Transport::Tls)];
    all.run(&mut pairs, 20);
    all.close(&pairs);
}

#[test]
fn a_hundred_relayed_sessions_leave_nothing_behind() {
    let config = TurnServerConfig::default().machine(loopback());
    let mut all = Together::new(config, LoopConfig::default());
    // In waves: this does not test the speed of handshakes.
    for _ in 0..5 {
        let mut pairs: Vec<_> = (0..20).map(|_| all.add_pair(Transport::Udp)).collect();
        all.run(&mut pairs, 120);
        assert_eq!(all.server.stats().allocations, 40);
        all.close(&pairs);
    }
    let stats = all.server.stats();
    println!("{stats:?}");
    assert_eq!(
        (stats.allocated, stats.allocations, stats.expired),
        (200, 0, 0)
    );
}

#[test]
fn a_lifetime_of_seconds_is_kept_up() {
    let limits = TurnLimits::default();
    let limits = limits
        .lifetime(Duration::from_secs(3))
        .max_lifetime(Duration::from_secs(3));
    // And a nonce that becomes stale meanwhile.
    let limits = limits.nonce_lifetime(Duration::from_secs(2));
    let config = TurnServerConfig::default().machine(loopback().limits(limits));
    let mut all = Together::new(config, LoopConfig::default());
    let mut pairs = [all.add_pair(Transport::Udp)];
    all.run(&mut pairs, 20);
    let end = Instant::now() + Duration::from_secs(7);
    while Instant::now() < end {
        if let Some((id, event)) = all.next_event() {
            pairs[0].on_event(&mut all.net, id, event);
        }
    }
    let stats = all.server.stats();
    assert_eq!((stats.allocations, stats.expired), (2, 0), "{stats:?}");
    assert_eq!(stats.allocated, 2, "{stats:?}");
    // A client that disappears silently is forgotten.
    drop(all.net);
    let end = Instant::now() + Duration::from_secs(5);
    while all.server.stats().allocations > 0 {
        assert!(Instant::now() < end);
        all.server
            .run_once(Some(Duration::from_millis(100)))
            .unwrap();
    }
    assert_eq!(all.server.stats().expired, 2);
}
