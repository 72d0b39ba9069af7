//! Two sides that send to each other continuously.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, LoopHandle};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, Codec, EncodedFrame, IceCandidateInit, MediaKind, PeerConfig,
    PeerEvent, Politeness, SessionDescription, SignalingState, TransceiverConfig, TransceiverId,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lab::Lab;

/// Time limit for recovery.
pub const BACK_WITHIN: Duration = Duration::from_secs(3);

const MESSAGE_EVERY: Duration = Duration::from_millis(10);
const FRAME_EVERY: Duration = Duration::from_millis(33);

/// Data that one side has received.
#[derive(Debug, Default)]
pub struct Record {
    pub messages: Vec<(Instant, u32)>,
    /// Number, keyframe, and contiguity of each frame.
    pub frames: Vec<(Instant, u32, bool, bool)>,
    pub sent: u32,
    pub restarts: usize,
    pub path: String,
    pub states: Vec<String>,
    pub errors: Vec<String>,
    pub network_changes: u64,
}

impl Record {
    /// Returns when the first decodable frame after this time arrived: nothing is missing since the last keyframe.
    pub fn picture_after(&self, time: Instant) -> Option<Instant> {
        let mut is_whole = true;
        let frame = self.frames.iter().find(|f| {
            is_whole = f.2 || (is_whole && f.3);
            is_whole && f.0 > time
        });
        frame.map(|f| f.0)
    }

    pub fn brief(&self) -> String {
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

pub enum Signal {
    Description(SessionDescription),
    Candidate(IceCandidateInit),
}

/// One side: a loop in its namespace, on a thread of its own.
pub struct Side {
    pub record: Arc<Mutex<Record>>,
    pub thread: JoinHandle<()>,
    pub handle: LoopHandle,
}

/// Configuration of a side.
pub struct Plan {
    pub space: String,
    pub config: LoopConfig,
    pub peer: PeerConfig,
    pub offers: bool,
    /// Set if it sends video.
    pub films: bool,
}

pub struct Session {
    a: Side,
    b: Side,
    quiet: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Session {
    pub fn start(lab: &Lab, mobile: LoopConfig, port: PortPolicy, mobile_offers: bool) -> Self {
        let peer = PeerConfig::default().port(port);
        Self::start_with(lab, mobile, peer, mobile_offers)
    }

    pub fn start_with(
        lab: &Lab,
        mobile: LoopConfig,
        peer: PeerConfig,
        mobile_offers: bool,
    ) -> Self {
        let peers = [peer, PeerConfig::default()];
        Self::start_pair(lab, mobile, peers, mobile_offers)
    }

    pub fn start_pair(
        lab: &Lab,
        mobile: LoopConfig,
        [mobile_peer, other_peer]: [PeerConfig; 2],
        mobile_offers: bool,
    ) -> Self {
        let (to_a, at_a) = channel();
        let (to_b, at_b) = channel();
        let (quiet, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let a = Plan {
            space: lab.space("a"),
            config: mobile,
            peer: mobile_peer,
            offers: mobile_offers,
            films: true,
        };
        let b = Plan {
            space: lab.space("b"),
            config: LoopConfig::default(),
            peer: other_peer,
            offers: !mobile_offers,
            films: true,
        };
        let flags = || (quiet.clone(), over.clone());
        let a = Side::start(a, at_a, to_b, flags());
        let b = Side::start(b, at_b, to_a, flags());
        // Each side wakes the other one after writing to it.
        let session = Self { a, b, quiet, over };
        session.wait("messages and frames on both sides", |a, b| {
            [a, b]
                .iter()
                .all(|r| r.messages.len() > 50 && r.frames.len() > 20)
        });
        session
    }

    pub fn wait(&self, what: &str, done: impl Fn(&Record, &Record) -> bool) {
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

    pub fn records(&self) -> (MutexGuard<'_, Record>, MutexGuard<'_, Record>) {
        let why = "the other thread lives";
        (
            self.a.record.lock().expect(why),
            self.b.record.lock().expect(why),
        )
    }

    /// Changes the network, and checks that both directions recover in time. `what` describes the change.
    pub fn survives(&self, what: &str, change: impl FnOnce()) {
        let changed = Instant::now();
        change();
        let is_back = |r: &Record, sent: u32| {
            let message = r.messages.iter().find(|(_, n)| *n >= sent).map(|m| m.0);
            let picture = r.picture_after(changed + Duration::from_millis(400));
            Some((message?, picture?))
        };
        // Certainly sent after the change.
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

    /// Checks that every message has arrived once and in order, and that frames were never out of order.
    pub fn finish(self) -> [Record; 2] {
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
            // After a gap, video continues with a keyframe.
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
    pub fn start(
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
    films: bool,
    bound: Option<TransceiverId>,
    wants_keyframe: bool,
    pub frames: u32,
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
            films: plan.films,
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
                    // Our tracks are part of the answer.
                    return;
                }
                if peer.signaling_state() != SignalingState::Stable {
                    // An offer is pending. Missing changes are negotiated after its answer.
                    return;
                }
                let offer = peer.negotiate().unwrap();
                let _ = outbox.send(Signal::Description(offer));
            }
            PeerEvent::IceCandidate(Some(candidate)) => {
                let _ = outbox.send(Signal::Candidate(candidate.to_init()));
            }
            PeerEvent::ChannelOpen(channel) => self.channel = Some(channel),
            PeerEvent::ChannelMessage { message, .. } => {
                let number = message.as_bytes()[..4].try_into().unwrap();
                record.messages.push((now, u32::from_be_bytes(number)));
            }
            PeerEvent::TrackBound { transceiver, .. } => self.bound = Some(transceiver),
            PeerEvent::KeyframeRequest { .. } => self.wants_keyframe = true,
            PeerEvent::Frame(frame) => {
                let number = frame.data.get(10..14).and_then(|n| n.try_into().ok());
                let number = number.map_or(0, u32::from_be_bytes);
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
        let Some(video) = self.bound.filter(|_| self.films) else {
            return;
        };
        // As in VP8 (RFC 6386 §9.1): the first bit, and a start code in keyframes.
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
