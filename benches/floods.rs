//! Cost of a flood for an honest session: `cargo bench --bench floods [-- ROUNDS]`.
//!
//! A loop on a thread of its own receives from an honest peer in another loop, and from an attacker. Measured is the
//! processor time of the receiving thread, which is what the two compete for: without and with the flood, in turns of a
//! second. The time that the flood takes is what a session that needs the whole thread would lose.

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/pair.rs"]
mod pair;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cpu::thread_time;
use looprtc::driver::{EventLoop, LoopHandle, PeerId};
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, IceCandidateInit, IceGatheringState, PeerEvent, SessionDescription,
};
use pair::{PeerOptions, Result, TIMEOUT, new_loop, peer_config};

/// Traffic of the honest peer, in bytes per second (160 Mbit/s) and bytes per message.
const HONEST_RATE: u64 = 20_000_000;
const MESSAGE: [u8; 1200] = [7; 1200];

const WINDOW: Duration = Duration::from_secs(1);

/// A ClientHello as sent by Chromium.
const CLIENT_HELLO: &[u8] = include_bytes!("../tests/data/client_hello.bin");

#[derive(Clone, Copy, PartialEq)]
enum Flood {
    WrongPassword,
    ClientHellos,
    Junk,
    HalfHandshakes,
    Candidates,
    Offers,
}

/// The floods, with their rate per second.
const FLOODS: [(Flood, u32, &str); 6] = [
    (
        Flood::WrongPassword,
        10_000,
        "STUN with the right user name and a wrong password",
    ),
    (Flood::ClientHellos, 10_000, "ClientHellos from strangers"),
    (Flood::Junk, 10_000, "junk from strangers"),
    (
        Flood::HalfHandshakes,
        10,
        "peers that answer ICE's checks, and no handshake",
    ),
    (Flood::Candidates, 1_000, "candidates for another peer"),
    (
        Flood::Offers,
        50,
        "offers to another peer, each with an ICE restart",
    ),
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|w| w != "--bench")
        .collect();
    let rounds = words.iter().find_map(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(5usize);
    let wanted = words.iter().find(|word| word.parse::<usize>().is_err());
    let victim = Victim::start()?;
    println!(
        "| flood | a second | of the thread's time without, with it | it costs |\n|---|---|---|---|"
    );
    let is_wanted = |name: &str| wanted.is_none_or(|word| name.contains(word.as_str()));
    for (flood, rate, name) in FLOODS.into_iter().filter(|(_, _, name)| is_wanted(name)) {
        let (mut quiet, mut under, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            quiet.push(victim.window()?);
            let over = Arc::new(AtomicBool::new(false));
            let flooding = thread::scope(|scope| {
                let attack =
                    scope.spawn(|| victim.attack(flood, rate, &over).map_err(|e| e.to_string()));
                let used = victim.window();
                over.store(true, Relaxed);
                (used, attack.join())
            });
            sent.push(flooding.1.map_err(|_| "the attacker panicked")??);
            under.push(flooding.0?);
        }
        quiet.sort_by(f64::total_cmp);
        let without = quiet[rounds / 2];
        under.sort_by(f64::total_cmp);
        let with = under[rounds / 2];
        sent.sort_unstable();
        let [without, with, cost] = [without, with, with - without].map(|part| 100.0 * part);
        println!(
            "| {name} | {} of {rate} | {without:.1} %, {with:.1} % | {cost:.1} % |",
            sent[rounds / 2]
        );
    }
    Ok(())
}

/// The flooded loop, with the honest session.
struct Victim {
    handle: LoopHandle,
    address: SocketAddr,
    /// Ufrags of the honest session: the receiver's and the sender's.
    ufrags: (String, String),
    received: Arc<AtomicU64>,
}

impl Victim {
    fn start() -> Result<Self> {
        let (mut net, mut honest) = (new_loop()?, new_loop()?);
        let options = PeerOptions::default();
        let sender = honest.add_peer(peer_config(&options, true))?;
        let channel = honest
            .peer(sender)?
            .create_data_channel(ChannelConfig::new("honest"))?;
        honest.peer(sender)?.negotiate()?;
        let offer = gathered(&mut honest, sender)?;
        let receiver = net.add_peer(peer_config(&options, false))?;
        net.peer(receiver)?.receive(offer.clone())?;
        let answer = gathered(&mut net, receiver)?;
        honest.peer(sender)?.receive(answer.clone())?;

        let received = Arc::new(AtomicU64::new(0));
        let (count, handle) = (received.clone(), net.handle());
        thread::spawn(move || {
            serve(net, &count)
                .map_err(|e| e.to_string())
                .expect("goes on")
        });
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            send(honest, sender, channel, &tell)
                .map_err(|e| e.to_string())
                .expect("goes on")
        });
        told.recv_timeout(TIMEOUT)?;
        Ok(Self {
            handle,
            address: address(&answer)?,
            ufrags: (ufrag(&answer)?, ufrag(&offer)?),
            received,
        })
    }

    /// Returns the fraction of the thread's time needed for the honest traffic of one window.
    fn window(&self) -> Result<f64> {
        thread::sleep(WINDOW / 4); // what came before is over
        let bytes = self.received.load(Relaxed);
        let (used, from) = (self.used()?, Instant::now());
        thread::sleep(WINDOW);
        let used = (self.used()? - used).as_secs_f64() / from.elapsed().as_secs_f64();
        let came = (self.received.load(Relaxed) - bytes) as f64 / from.elapsed().as_secs_f64();
        if came < HONEST_RATE as f64 * 0.9 {
            eprintln!(
                "NOTE: of the honest peer came {:.1} MB/s: a busy machine?",
                came / 1e6
            );
        }
        Ok(used)
    }

    /// Returns the processor time used by the receiving thread so far.
    fn used(&self) -> Result<Duration> {
        let (tell, told) = mpsc::channel();
        // An error means that nobody waits for it any more.
        let job = move |_: &mut EventLoop| tell.send(thread_time()).unwrap_or_default();
        self.handle.post(job)?;
        Ok(told.recv_timeout(TIMEOUT)?)
    }

    /// Runs the attack until it is over; returns the number of packets per second.
    fn attack(&self, flood: Flood, rate: u32, over: &AtomicBool) -> Result<u64> {
        let from = Instant::now();
        let sent = match flood {
            Flood::WrongPassword => self.datagrams(&self.wrong_password(), rate, over)?,
            Flood::ClientHellos => self.datagrams(CLIENT_HELLO, rate, over)?,
            Flood::Junk => self.datagrams(&[0xc3; 1000], rate, over)?,
            Flood::HalfHandshakes => self.half_handshakes(rate, over)?,
            Flood::Candidates => self.candidates(rate, over)?,
            Flood::Offers => self.offers(rate, over)?,
        };
        Ok((sent as f64 / from.elapsed().as_secs_f64()).round() as u64)
    }

    fn wrong_password(&self) -> Vec<u8> {
        let name = format!("{}:{}", self.ufrags.0, self.ufrags.1);
        let mut body = Vec::new();
        for (kind, value) in [
            (0x0006u16, name.as_bytes()),
            (0x0024, &[1; 4]),
            (0x0008, &[9; 20]),
        ] {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = vec![0, 1];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend([0x21, 0x12, 0xa4, 0x42]);
        message.extend([5; 12]);
        message.extend(body);
        message
    }

    /// Sends from 64 addresses, a few packets every millisecond.
    fn datagrams(&self, contents: &[u8], rate: u32, over: &AtomicBool) -> Result<u64> {
        let sockets: std::io::Result<Vec<_>> =
            (0..64).map(|_| UdpSocket::bind("127.0.0.1:0")).collect();
        let sockets = sockets?;
        paced(rate, over, |n| {
            // Refused when the receiver's buffer is full, which equals a loss.
            let _ = sockets[n as usize % sockets.len()].send_to(contents, self.address);
            Ok(())
        })
    }

    /// Creates peers that complete ICE and then disappear.
    fn half_handshakes(&self, rate: u32, over: &AtomicBool) -> Result<u64> {
        paced(rate, over, |_| {
            let mut net = new_loop()?;
            let (peer, offer) = offerer(&mut net)?;
            let (_, answer) = self.admit(offer)?;
            net.peer(peer)?.receive(answer)?;
            let candidate = IceCandidateInit::new(format!(
                "candidate:1 1 udp 2130706431 {} {} typ host",
                self.address.ip(),
                self.address.port()
            ));
            net.peer(peer)?.add_ice_candidate(Some(&candidate))?;
            let end = Instant::now() + Duration::from_millis(500);
            while net.peer(peer)?.stats().path.is_none() && Instant::now() < end {
                net.next_event(Some(Duration::from_millis(20)))?;
            }
            Ok(())
        })
    }

    fn candidates(&self, rate: u32, over: &AtomicBool) -> Result<u64> {
        let (_, offer) = offerer(&mut new_loop()?)?;
        let (peer, _) = self.admit(offer)?;
        let sent = paced(rate, over, |n| {
            let line = format!(
                "candidate:{n} 1 udp 1 10.{}.{}.1 9 typ host",
                n >> 8 & 255,
                n & 255
            );
            let job = move |net: &mut EventLoop| {
                if let Ok(mut peer) = net.peer(peer) {
                    let _ = peer.add_ice_candidate(Some(&IceCandidateInit::new(line)));
                }
            };
            Ok(self.handle.post(job)?)
        })?;
        self.dismiss(peer)?;
        Ok(sent)
    }

    fn offers(&self, rate: u32, over: &AtomicBool) -> Result<u64> {
        let mut net = new_loop()?;
        let (mine, offer) = offerer(&mut net)?;
        let (theirs, answer) = self.admit(offer)?;
        net.peer(mine)?.receive(answer)?;
        let sent = paced(rate, over, |_| {
            net.run_once(Some(Duration::ZERO))?;
            while net.poll_event().is_some() {}
            net.peer(mine)?.restart_ice()?;
            let offer = net.peer(mine)?.negotiate()?;
            let answer = self.ask(move |net| net.peer(theirs).ok()?.receive(offer).ok()?)?;
            Ok(net.peer(mine)?.receive(answer).map(drop)?)
        })?;
        self.dismiss(theirs)?;
        Ok(sent)
    }

    /// Lets the victim create a peer for this offer; returns its answer.
    fn admit(&self, offer: SessionDescription) -> Result<(PeerId, SessionDescription)> {
        self.ask(move |net| {
            let config = peer_config(&PeerOptions::default(), false);
            let peer = net.add_peer(config).ok()?;
            let answer = net.peer(peer).ok()?.receive(offer).ok()??;
            Some((peer, answer))
        })
    }

    fn dismiss(&self, peer: PeerId) -> Result<()> {
        let job = move |net: &mut EventLoop| drop(net.peer(peer).map(|mut peer| peer.close()));
        Ok(self.handle.post(job)?)
    }

    /// Runs a job on the victim's thread, as its signaling would.
    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut EventLoop) -> Option<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, told) = mpsc::channel();
        self.handle.post(move |net| drop(tell.send(job(net))))?;
        Ok(told.recv_timeout(TIMEOUT)?.ok_or("no answer")?)
    }
}

/// Calls `act` at this rate, to the millisecond, until it is over; returns the number of calls.
fn paced(rate: u32, over: &AtomicBool, mut act: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    let from = Instant::now();
    let mut done = 0;
    while !over.load(Relaxed) {
        let due = (from.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while done < due && !over.load(Relaxed) {
            act(done)?;
            done += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(done)
}

fn serve(mut net: EventLoop, received: &AtomicU64) -> Result<()> {
    loop {
        if let Some((_, PeerEvent::ChannelMessage { message, .. })) =
            net.next_event(Some(TIMEOUT))?
        {
            received.fetch_add(message.as_bytes().len() as u64, Relaxed);
        }
    }
}

/// Sends at its rate, once the channel is open.
fn send(
    mut net: EventLoop,
    peer: PeerId,
    channel: ChannelId,
    open: &mpsc::Sender<()>,
) -> Result<()> {
    let mut from = None;
    let mut sent = 0;
    loop {
        if let Some((_, PeerEvent::ChannelOpen(_))) =
            net.next_event(Some(Duration::from_millis(1)))?
        {
            from = Some(Instant::now());
            open.send(())?;
        }
        let Some(from) = from else { continue };
        let due = (from.elapsed().as_secs_f64() * HONEST_RATE as f64) as u64;
        while sent + MESSAGE.len() as u64 <= due
            && net.peer(peer)?.send_binary(channel, &MESSAGE).is_ok()
        {
            sent += MESSAGE.len() as u64;
        }
        // What could not be sent in time is skipped.
        sent = sent.max(due.saturating_sub(HONEST_RATE / 20));
    }
}

fn offerer(net: &mut EventLoop) -> Result<(PeerId, SessionDescription)> {
    let peer = net.add_peer(peer_config(&PeerOptions::default(), true))?;
    net.peer(peer)?
        .create_data_channel(ChannelConfig::new("x"))?;
    net.peer(peer)?.negotiate()?;
    let offer = gathered(net, peer)?;
    Ok((peer, offer))
}

/// Returns the description with all candidates, once they are gathered.
fn gathered(net: &mut EventLoop, id: PeerId) -> Result<SessionDescription> {
    while net.peer(id)?.ice_gathering_state() != IceGatheringState::Complete {
        net.next_event(Some(Duration::from_millis(100)))?;
    }
    Ok(net.peer(id)?.local_description().ok_or("no description")?)
}

fn ufrag(description: &SessionDescription) -> Result<String> {
    let mut lines = description.sdp.lines();
    let found = lines.find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    Ok(found.ok_or("no ufrag")?.to_owned())
}

fn address(description: &SessionDescription) -> Result<SocketAddr> {
    let mut lines = description.sdp.lines();
    let line = lines
        .find(|line| line.starts_with("a=candidate:"))
        .ok_or("no candidate")?;
    let words: Vec<_> = line.split(' ').collect();
    let [.., ip, port, _, _] = words[..words.len().min(8)] else {
        return Err(format!("{line}: not understood").into());
    };
    Ok(SocketAddr::new(ip.parse()?, port.parse()?))
}
