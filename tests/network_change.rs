//! Networks that change under a session, in network namespaces: an interface goes down, another comes up,
//! an address is replaced. A channel sends and a video plays both ways all the while; within 3 s both go
//! on, and no message is lost.
//!
//! ```text
//!   looprtc-nc<n>-a  wifi0 10.71.1.2 ── router ── eth0 10.71.3.2  looprtc-nc<n>-b
//!                    lte0  10.71.2.2 ──┘
//! ```
//!
//! Needs `ip` and the right to make namespaces. Where that is missing it is said loudly, and fails when the
//! environment variable `CI` is set.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, LoopHandle, NetworkWatching};
use looprtc::proto::ice::{IceServer, IceTransportPolicy};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, Codec, EncodedFrame, IceCandidateInit, MediaKind, PeerConfig,
    PeerEvent, Politeness, SessionDescription, SignalingState, TransceiverConfig, TransceiverId,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How soon everything has to go on.
const BACK_WITHIN: Duration = Duration::from_secs(3);

const MESSAGE_EVERY: Duration = Duration::from_millis(10);
const FRAME_EVERY: Duration = Duration::from_millis(33);

/// Three namespaces, gone with it.
struct Lab {
    name: String,
}

impl Lab {
    /// `None`, and a loud word, where namespaces are not to be had.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("looprtc-nc{}-{number}", std::process::id());
        let lab = Self { name };
        match lab.build() {
            Ok(()) => Some(lab),
            Err(why) => {
                eprintln!("\nNOT TESTED: network namespaces: {why}\n");
                assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        for host in ["a", "r", "b"] {
            run(&["netns", "add", &self.space(host)])?;
            self.ip(host, "link set lo up")?;
        }
        for (host, link, net) in [("a", "wifi0", 1), ("a", "lte0", 2), ("b", "eth0", 3)] {
            let (here, there) = (self.space(host), self.space("r"));
            let router = format!("r{net}");
            let words = ["link", "add", link, "netns", &here, "type", "veth"];
            run(&[&words[..], &["peer", "name", &router, "netns", &there]].concat())?;
            self.ip("r", &format!("addr add 10.71.{net}.1/24 dev {router}"))?;
            self.ip("r", &format!("link set {router} up"))?;
            self.ip(host, &format!("addr add 10.71.{net}.2/24 dev {link}"))?;
            self.ip(host, &format!("link set {link} up"))?;
        }
        self.ip("b", "route add default via 10.71.3.1")?;
        self.ip("a", "route add default via 10.71.1.1 metric 100")?;
        self.ip("a", "route add default via 10.71.2.1 metric 200")?;
        let command = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(&["netns", "exec", &self.space("r"), "sh", "-c", command])?;
        // The kernel takes its time to call both ends of a cable running.
        thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    fn space(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    fn ip(&self, host: &str, words: &str) -> Result<(), String> {
        let space = self.space(host);
        let mut all = vec!["-n", &space];
        all.extend(words.split_whitespace());
        run(&all)
    }

    fn must(&self, host: &str, words: &str) {
        self.ip(host, words).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in ["a", "r", "b"] {
            let _ = run(&["netns", "del", &self.space(host)]);
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output();
    let output = output.map_err(|e| format!("ip: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// What came to one side.
#[derive(Debug, Default)]
struct Record {
    messages: Vec<(Instant, u32)>,
    /// Number, whether a keyframe, whether nothing is missing before it.
    frames: Vec<(Instant, u32, bool, bool)>,
    sent: u32,
    restarts: usize,
    path: String,
    states: Vec<String>,
    errors: Vec<String>,
    network_changes: u64,
}

impl Record {
    fn brief(&self) -> String {
        format!(
            "{} messages, {} frames, {} sent, {} restarts, {} changes, {}, {:?}, {:?}",
            self.messages.len(),
            self.frames.len(),
            self.sent,
            self.restarts,
            self.network_changes,
            self.path,
            self.states,
            self.errors
        )
    }
}

enum Signal {
    Description(SessionDescription),
    Candidate(IceCandidateInit),
}

/// One side: a loop in its namespace, on a thread of its own.
struct Side {
    record: Arc<Mutex<Record>>,
    thread: JoinHandle<()>,
    handle: LoopHandle,
}

/// What a side is to be.
struct Plan {
    space: String,
    config: LoopConfig,
    peer: PeerConfig,
    offers: bool,
}

struct Session {
    a: Side,
    b: Side,
    quiet: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Session {
    fn start(lab: &Lab, mobile: LoopConfig, port: PortPolicy, mobile_offers: bool) -> Self {
        let peer = PeerConfig::default().port(port);
        Self::start_with(lab, mobile, peer, mobile_offers)
    }

    fn start_with(lab: &Lab, mobile: LoopConfig, peer: PeerConfig, mobile_offers: bool) -> Self {
        let (to_a, at_a) = channel();
        let (to_b, at_b) = channel();
        let (quiet, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let a = Plan {
            space: lab.space("a"),
            config: mobile,
            peer,
            offers: mobile_offers,
        };
        let b = Plan {
            space: lab.space("b"),
            config: LoopConfig::default(),
            peer: PeerConfig::default(),
            offers: !mobile_offers,
        };
        let flags = || (quiet.clone(), over.clone());
        let a = Side::start(a, at_a, to_b, flags());
        let b = Side::start(b, at_b, to_a, flags());
        // Each wakes the other when it has written to it.
        let session = Self { a, b, quiet, over };
        session.wait("messages and frames on both sides", |a, b| {
            [a, b]
                .iter()
                .all(|r| r.messages.len() > 50 && r.frames.len() > 20)
        });
        session
    }

    fn wait(&self, what: &str, done: impl Fn(&Record, &Record) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let (a, b) = self.records();
            if done(&a, &b) {
                return;
            }
            let is_late = Instant::now() >= end;
            let brief = format!("{what} did not come: {}; {}", a.brief(), b.brief());
            drop((a, b));
            assert!(!is_late, "{brief}");
            self.a.handle.wake();
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn records(&self) -> (MutexGuard<'_, Record>, MutexGuard<'_, Record>) {
        let why = "the other thread lives";
        (
            self.a.record.lock().expect(why),
            self.b.record.lock().expect(why),
        )
    }

    /// Changes the network, and sees both directions go on in time. What it says is for the reader.
    fn survives(&self, what: &str, change: impl FnOnce()) {
        let changed = Instant::now();
        change();
        let is_back = |r: &Record, sent: u32| {
            let message = r.messages.iter().find(|(_, n)| *n >= sent).map(|m| m.0);
            // A picture that can be shown: nothing is missing since the last keyframe.
            let mut is_whole = true;
            let frame = r.frames.iter().find(|f| {
                is_whole = f.2 || (is_whole && f.3);
                is_whole && f.0 > changed + Duration::from_millis(400)
            });
            Some((message?, frame?.0))
        };
        // Sent certainly after the change.
        let sent_a = self.a.record.lock().unwrap().sent + 1;
        let sent_b = self.b.record.lock().unwrap().sent + 1;
        self.wait(&format!("anything after: {what}"), |a, b| {
            is_back(a, sent_b).is_some() && is_back(b, sent_a).is_some()
        });
        let (a, b) = self.records();
        let back = [is_back(&a, sent_b), is_back(&b, sent_a)].map(|t| t.expect("waited for"));
        let ms = |at: Instant| at.saturating_duration_since(changed).as_millis();
        println!(
            "{what}: messages go on after {} ms and {} ms, pictures after {} ms and {} ms; by {}; \
             restarts {} and {}",
            ms(back[0].0),
            ms(back[1].0),
            ms(back[0].1),
            ms(back[1].1),
            a.path,
            a.restarts,
            b.restarts
        );
        for (message, frame) in back {
            for at in [message, frame] {
                assert!(at <= changed + BACK_WITHIN, "{what}: too late");
            }
        }
    }

    /// Every message has come, once and in order; pictures were never out of order.
    fn finish(self) -> [Record; 2] {
        self.quiet.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(100));
        self.wait("all messages", |a, b| {
            a.messages.len() >= b.sent as usize && b.messages.len() >= a.sent as usize
        });
        self.over.store(true, Ordering::Relaxed);
        let take = |side: Side| {
            side.handle.wake();
            side.thread.join().expect("no panic");
            std::mem::take(&mut *side.record.lock().unwrap())
        };
        let records = [take(self.a), take(self.b)];
        for (r, other) in [(&records[0], &records[1]), (&records[1], &records[0])] {
            let got: Vec<u32> = r.messages.iter().map(|m| m.1).collect();
            assert_eq!(got, (0..other.sent).collect::<Vec<u32>>());
            assert!(r.frames.is_sorted_by_key(|f| f.1), "{:?}", r.frames);
            // After a gap there is a keyframe before pictures go on.
            let mut is_whole = true;
            for (at, number, keyframe, contiguous) in &r.frames {
                is_whole = *keyframe || (is_whole && *contiguous);
                let _ = (at, number);
            }
            assert!(is_whole, "the last picture cannot be shown");
            assert_eq!(r.errors, [] as [&str; 0]);
        }
        records
    }
}

impl Side {
    fn start(
        plan: Plan,
        inbox: Receiver<Signal>,
        outbox: Sender<Signal>,
        (quiet, over): (Arc<AtomicBool>, Arc<AtomicBool>),
    ) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let (tell, told) = channel();
        let shared = record.clone();
        let thread = thread::spawn(move || {
            let file = File::open(format!("/run/netns/{}", plan.space)).expect("the namespace");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("who may make namespaces may enter them");
            let net = EventLoop::new(plan.config.clone()).unwrap();
            tell.send(net.handle()).unwrap();
            Player::new(net, &plan, shared).run(&inbox, &outbox, &quiet, &over);
        });
        Self {
            record,
            thread,
            handle: told.recv().expect("the loop is made"),
        }
    }
}

/// Sends and receives.
struct Player {
    net: EventLoop,
    id: looprtc::driver::PeerId,
    record: Arc<Mutex<Record>>,
    channel: Option<ChannelId>,
    offers: bool,
    bound: Option<TransceiverId>,
    wants_keyframe: bool,
    frames: u32,
    begun: Instant,
}

impl Player {
    fn new(mut net: EventLoop, plan: &Plan, record: Arc<Mutex<Record>>) -> Self {
        let politeness = match plan.offers {
            true => Politeness::Polite,
            false => Politeness::Impolite,
        };
        let config = plan.peer.clone().politeness(politeness);
        let id = net.add_peer(config).unwrap();
        let mut peer = net.peer(id).unwrap();
        let codec = TransceiverConfig::default().codecs([Codec::Vp8]);
        peer.add_transceiver(MediaKind::Video, codec).unwrap();
        if plan.offers {
            peer.create_data_channel(ChannelConfig::new("data"))
                .unwrap();
        }
        Self {
            net,
            id,
            record,
            channel: None,
            offers: plan.offers,
            bound: None,
            wants_keyframe: true,
            frames: 0,
            begun: Instant::now(),
        }
    }

    fn run(
        mut self,
        inbox: &Receiver<Signal>,
        outbox: &Sender<Signal>,
        quiet: &AtomicBool,
        over: &AtomicBool,
    ) {
        let (mut message_at, mut frame_at) = (Instant::now(), Instant::now());
        while !over.load(Ordering::Relaxed) {
            let next = message_at.min(frame_at);
            let wait = next.saturating_duration_since(Instant::now());
            if let Some((_, event)) = self.net.next_event(Some(wait)).unwrap() {
                self.on_event(event, outbox);
            }
            for signal in inbox.try_iter() {
                self.on_signal(signal, outbox);
            }
            let now = Instant::now();
            if now >= message_at {
                message_at = now + MESSAGE_EVERY;
                if !quiet.load(Ordering::Relaxed) {
                    self.send_message();
                }
            }
            if now >= frame_at {
                frame_at = now + FRAME_EVERY;
                self.send_frame();
            }
        }
    }

    fn on_event(&mut self, event: PeerEvent, outbox: &Sender<Signal>) {
        let now = Instant::now();
        let mut record = self.record.lock().unwrap();
        record.network_changes = self.net.stats().network_changes;
        match event {
            PeerEvent::NegotiationNeeded => {
                record.restarts += usize::from(self.channel.is_some());
                let mut peer = self.net.peer(self.id).unwrap();
                if !self.offers && peer.remote_description().is_none() {
                    // What we send goes into the answer.
                    return;
                }
                if peer.signaling_state() != SignalingState::Stable {
                    // An offer is under way. What it lacks is said when it has been answered.
                    return;
                }
                let offer = peer.negotiate().unwrap();
                let _ = outbox.send(Signal::Description(offer));
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let mut init = IceCandidateInit::new(candidate.to_sdp_line());
                init.username_fragment = candidate.username_fragment.clone();
                let _ = outbox.send(Signal::Candidate(init));
            }
            PeerEvent::ChannelOpen(channel) => self.channel = Some(channel),
            PeerEvent::ChannelMessage { message, .. } => {
                let number = message.as_bytes()[..4].try_into().unwrap();
                record.messages.push((now, u32::from_be_bytes(number)));
            }
            PeerEvent::TrackBound { transceiver, .. } => self.bound = Some(transceiver),
            PeerEvent::KeyframeRequest { .. } => self.wants_keyframe = true,
            PeerEvent::Frame(frame) => {
                let number = frame.data[10..14].try_into().unwrap();
                let number = u32::from_be_bytes(number);
                let flags = (frame.keyframe, frame.contiguous);
                record.frames.push((now, number, flags.0, flags.1));
            }
            PeerEvent::Error(error) => record.errors.push(error.to_string()),
            PeerEvent::IceConnectionStateChange(state) => {
                record.states.push(state.to_string());
                if let Ok(peer) = self.net.peer(self.id)
                    && let Some((here, there)) = peer.stats().path
                {
                    record.path = format!("{here} to {there}");
                }
            }
            _ => {}
        }
    }

    fn on_signal(&mut self, signal: Signal, outbox: &Sender<Signal>) {
        let mut peer = self.net.peer(self.id).unwrap();
        match signal {
            Signal::Description(description) => {
                if let Some(answer) = peer.receive(description).unwrap() {
                    let _ = outbox.send(Signal::Description(answer));
                }
            }
            Signal::Candidate(init) => peer.add_ice_candidate(Some(&init)).unwrap(),
        }
    }

    fn send_message(&mut self) {
        let Some(channel) = self.channel else {
            return;
        };
        let mut record = self.record.lock().unwrap();
        let data = [&record.sent.to_be_bytes()[..], &[5; 500]].concat();
        let mut peer = self.net.peer(self.id).unwrap();
        peer.send_binary(channel, &data).expect("room for it");
        record.sent += 1;
        if let Some((here, there)) = peer.stats().path {
            record.path = format!("{here} to {there}");
        }
    }

    fn send_frame(&mut self) {
        let Some(video) = self.bound else {
            return;
        };
        // As VP8 has it (RFC 6386 §9.1): the first bit, and a start code in keyframes.
        let is_key = std::mem::take(&mut self.wants_keyframe);
        let mut data = vec![9; if is_key { 20_000 } else { 3_000 }];
        data[0] = 0x10 | u8::from(!is_key);
        if is_key {
            data[3..10].copy_from_slice(&[0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
        }
        data[10..14].copy_from_slice(&self.frames.to_be_bytes());
        let frame = EncodedFrame::new(data, self.begun.elapsed());
        let mut peer = self.net.peer(self.id).unwrap();
        if peer.write_frame(video, &frame).is_ok() {
            self.frames += 1;
        }
    }
}

fn auto() -> LoopConfig {
    LoopConfig::default()
}

#[test]
fn the_interface_in_use_goes_down() {
    for (mobile_offers, port) in [(true, PortPolicy::Shared), (false, PortPolicy::Own)] {
        let Some(lab) = Lab::new() else { return };
        let session = Session::start(&lab, auto(), port, mobile_offers);
        let who = if mobile_offers { "offerer" } else { "answerer" };
        session.survives(&format!("{who}: wifi0 down, lte0 is there"), || {
            lab.must("a", "link set wifi0 down");
        });
        session.survives(&format!("{who}: wifi0 up again, lte0 down"), || {
            lab.must("a", "link set wifi0 up");
            lab.must("a", "route add default via 10.71.1.1 metric 100");
            lab.must("a", "link set lte0 down");
        });
        let [a, b] = session.finish();
        assert!(a.network_changes >= 2, "{}", a.network_changes);
        assert_eq!(b.network_changes, 0);
        assert!(a.restarts >= 1 && b.restarts == 0);
    }
}

/// From one network to the next, with nothing in between.
#[test]
fn one_network_is_left_before_the_next_is_there() {
    let Some(lab) = Lab::new() else { return };
    lab.must("a", "link set lte0 down");
    let session = Session::start(&lab, auto(), PortPolicy::Shared, true);
    session.survives("wifi0 down, lte0 up a little later", || {
        lab.must("a", "link set wifi0 down");
        thread::sleep(Duration::from_millis(200));
        lab.must("a", "link set lte0 up");
        lab.must("a", "route add default via 10.71.2.1 metric 200");
    });
    session.finish();
}

#[test]
fn an_address_is_replaced() {
    let Some(lab) = Lab::new() else { return };
    lab.must("a", "link set lte0 down");
    let session = Session::start(&lab, auto(), PortPolicy::Shared, false);
    session.survives("10.71.1.2 becomes 10.71.1.77", || {
        lab.must("a", "addr del 10.71.1.2/24 dev wifi0");
        lab.must("a", "addr add 10.71.1.77/24 dev wifi0");
        lab.must("a", "route add default via 10.71.1.1 metric 100");
    });
    let [a, _] = session.finish();
    assert!(a.path.starts_with("10.71.1.77:"), "{}", a.path);
}

/// A TURN server knows an allocation by the address that it was made from: another is made from the new one.
#[test]
fn a_relay_is_made_anew() {
    let Some(lab) = Lab::new() else { return };
    let Some(server) = Turn::start(&lab) else {
        return;
    };
    let peer = PeerConfig::default()
        .ice_servers(vec![server.ice_server()])
        .ice_transport_policy(IceTransportPolicy::Relay);
    let session = Session::start_with(&lab, auto(), peer, true);
    let before = session.records().0.path.clone();
    assert!(before.starts_with("10.71.3.1:"), "not relayed: {before}");
    session.survives("wifi0 down, relayed", || {
        lab.must("a", "link set wifi0 down");
    });
    let [a, _] = session.finish();
    assert!(a.path.starts_with("10.71.3.1:"), "not relayed: {}", a.path);
    assert_ne!(a.path, before, "another allocation has another port");
}

/// coturn, on the router.
struct Turn(Child);

impl Turn {
    fn start(lab: &Lab) -> Option<Self> {
        let options = "-n --no-cli --no-dtls --no-tls --listening-ip=10.71.3.1 --relay-ip=10.71.3.1 \
                       --listening-port=3478 --realm=test.example --log-file=stdout --simple-log \
                       --pidfile=/dev/null --lt-cred-mech --user=alice:wonderland";
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.space("r"), "turnserver"])
            .args(options.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let found = Command::new("turnserver")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match (found, child) {
            (Ok(_), Ok(child)) => {
                let server = Self(child);
                // Who asks too early asks again (RFC 8489 §6.2.1).
                thread::sleep(Duration::from_millis(500));
                Some(server)
            }
            _ => {
                let why = "coturn is not installed; run tests/setup";
                eprintln!("\n*** NOT TESTED: {why} ***\n");
                assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
                None
            }
        }
    }

    fn ice_server(&self) -> IceServer {
        IceServer::turn("turn:10.71.3.1:3478", "alice", "wonderland")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the system does not say that something has changed.
#[test]
fn found_by_polling() {
    let Some(lab) = Lab::new() else { return };
    let config = LoopConfig::default().network(NetworkWatching::Polling(Duration::from_secs(1)));
    let session = Session::start(&lab, config, PortPolicy::Shared, true);
    session.survives("wifi0 down, by polling", || {
        lab.must("a", "link set wifi0 down");
    });
    session.finish();
}

/// A session whose network does not change is left alone, whatever else does.
#[test]
fn what_does_not_concern_the_path_changes_nothing() {
    let Some(lab) = Lab::new() else { return };
    let session = Session::start(&lab, auto(), PortPolicy::Shared, true);
    lab.must("a", "link add other0 type veth peer name other1");
    lab.must("a", "link set other1 up");
    lab.must("a", "addr add 10.99.0.1/24 dev other0");
    lab.must("a", "link set other0 up");
    thread::sleep(Duration::from_millis(800));
    lab.must("a", "link del other0");
    thread::sleep(Duration::from_millis(800));
    let [a, b] = session.finish();
    assert!(a.network_changes >= 1);
    assert_eq!((a.restarts, b.restarts), (0, 0));
    let gap = |r: &Record| {
        let times = r.messages.windows(2).map(|w| w[1].0 - w[0].0);
        times.max().unwrap_or_default()
    };
    assert!(gap(&a).max(gap(&b)) < Duration::from_secs(1));
}
