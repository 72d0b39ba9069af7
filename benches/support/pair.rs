//! Pairs of peers in one event loop, over UDP on the loopback interface.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, PeerId};
use looprtc::proto::net::PortPolicy;
use looprtc::proto::peer::{
    Certificate, ChannelConfig, ChannelId, CryptoBackend, DtlsVersion, IceCandidateInit,
    PeerConfig, PeerError, PeerEvent,
};

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Time limit of each step.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Options of the peers.
#[derive(Clone, Default)]
pub struct PeerOptions {
    pub mtu: Option<usize>,
    pub dtls: Option<DtlsVersion>,
}

pub fn new_loop() -> Result<EventLoop> {
    let config = LoopConfig::default().bind([Ipv4Addr::LOCALHOST.into()]);
    Ok(EventLoop::new(config)?)
}

/// Returns the configuration of a peer. Offerers have a port of their own: on a shared one, datagrams are assigned by
/// remote address, and all answerers have the same.
pub fn peer_config(options: &PeerOptions, is_offerer: bool) -> PeerConfig {
    let port = if is_offerer {
        PortPolicy::Own
    } else {
        PortPolicy::Shared
    };
    let config = PeerConfig::default().include_loopback(true).port(port);
    let (dtls, mtu) = (config.dtls, config.mtu);
    config
        .dtls(options.dtls.unwrap_or(dtls))
        .mtu(options.mtu.unwrap_or(mtu))
}

pub struct Pair {
    pub offerer: PeerId,
    pub answerer: PeerId,
    /// The channel, as seen from the offerer and from the answerer; open on both sides.
    pub near: ChannelId,
    pub far: ChannelId,
}

/// Creates two peers, and returns when the channel is open on both ends.
pub fn connect(net: &mut EventLoop, options: &PeerOptions, own_certificates: bool) -> Result<Pair> {
    let with_certificate = |config: PeerConfig| -> Result<PeerConfig> {
        if !own_certificates {
            return Ok(config); // the loop's
        }
        let backend = CryptoBackend::default_backend().ok_or("no crypto")?;
        let certificate = Certificate::generate(backend)?;
        Ok(config.certificate(Some(certificate)))
    };
    let offerer = net.add_peer(with_certificate(peer_config(options, true))?)?;
    let answerer = net.add_peer(with_certificate(peer_config(options, false))?)?;
    let near = net
        .peer(offerer)?
        .create_data_channel(ChannelConfig::new("data"))?;
    let offer = net.peer(offerer)?.negotiate()?;
    let answer = net.peer(answerer)?.receive(offer)?.ok_or("no answer")?;
    net.peer(offerer)?.receive(answer)?;

    let deadline = Instant::now() + TIMEOUT;
    let (mut near_open, mut far_open) = (false, None);
    loop {
        if let (true, Some(far)) = (near_open, far_open) {
            return Ok(Pair {
                offerer,
                answerer,
                near,
                far,
            });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("the channel did not open within {TIMEOUT:?}").into());
        }
        let Some((id, event)) = net.next_event(Some(left))? else {
            continue;
        };
        let other = if id == offerer { answerer } else { offerer };
        match event {
            PeerEvent::IceCandidate(Some(candidate)) if id == offerer || id == answerer => {
                let init = IceCandidateInit::new(candidate.to_sdp_line());
                net.peer(other)?.add_ice_candidate(Some(&init))?;
            }
            PeerEvent::ChannelOpen(_) if id == offerer => near_open = true,
            PeerEvent::ChannelOpen(channel) if id == answerer => far_open = Some(channel),
            PeerEvent::Error(e) => return Err(e.into()),
            _ => {}
        }
    }
}

pub fn close(net: &mut EventLoop, pair: &Pair) -> Result<()> {
    for id in [pair.offerer, pair.answerer] {
        if let Ok(mut peer) = net.peer(id) {
            peer.close();
        }
    }
    while net.peer(pair.offerer).is_ok() || net.peer(pair.answerer).is_ok() {
        net.next_event(Some(Duration::from_millis(10)))?;
    }
    Ok(())
}

pub fn connect_many(net: &mut EventLoop, options: &PeerOptions, n: usize) -> Result<Vec<Pair>> {
    let mut pairs = Vec::with_capacity(n);
    for i in 1..=n {
        let pair = connect(net, options, false).map_err(|e| format!("pair {i} of {n}: {e}"))?;
        pairs.push(pair);
    }
    Ok(pairs)
}

/// Sends a message there and back.
pub fn round_trip(net: &mut EventLoop, pair: &Pair, message: &[u8]) -> Result<()> {
    net.peer(pair.offerer)?.send_binary(pair.near, message)?;
    loop {
        match net.next_event(Some(TIMEOUT))? {
            Some((id, PeerEvent::ChannelMessage { message, .. })) if id == pair.answerer => {
                net.peer(id)?.send_binary(pair.far, message.as_bytes())?;
            }
            Some((id, PeerEvent::ChannelMessage { message: back, .. })) if id == pair.offerer => {
                if back.as_bytes() != message {
                    return Err("something else came back".into());
                }
                return Ok(());
            }
            Some((_, PeerEvent::Error(e))) => return Err(e.into()),
            Some(_) => {}
            None => return Err(format!("no echo within {TIMEOUT:?}").into()),
        }
    }
}

/// A transfer in one direction, reliable and ordered: the sender fills up to the high water mark and continues when the
/// buffered amount is low.
pub struct Transfer {
    pub high: usize,
    pub offerer: PeerId,
    near: ChannelId,
    message: Vec<u8>,
    /// Number of bytes received, if the receiver is in the same loop.
    pub received: u64,
}

impl Transfer {
    pub fn start(
        net: &mut EventLoop,
        marks: (usize, usize),
        offerer: PeerId,
        near: ChannelId,
        size: usize,
    ) -> Result<Self> {
        let (high, low) = marks;
        let mut sender = net.peer(offerer)?;
        sender.set_buffered_amount_low_threshold(near, low)?;
        let message = vec![7u8; size];
        let transfer = Self {
            high,
            offerer,
            near,
            message,
            received: 0,
        };
        transfer.fill(net)?;
        Ok(transfer)
    }

    fn fill(&self, net: &mut EventLoop) -> Result<()> {
        let mut peer = net.peer(self.offerer)?;
        while peer.buffered_amount(self.near) < self.high {
            match peer.send_binary(self.near, &self.message) {
                Ok(()) => {}
                Err(PeerError::BufferFull { .. }) => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    pub fn run(&mut self, net: &mut EventLoop, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(net)?;
        }
        Ok(())
    }

    /// Handles one event.
    pub fn step(&mut self, net: &mut EventLoop) -> Result<()> {
        match net.next_event(Some(Duration::from_millis(50)))? {
            Some((_, PeerEvent::ChannelMessage { message, .. })) => {
                self.received += message.as_bytes().len() as u64;
            }
            Some((_, PeerEvent::ChannelBufferedAmountLow(_))) => self.fill(net)?,
            Some((_, PeerEvent::Error(e))) => return Err(e.into()),
            _ => {}
        }
        Ok(())
    }
}
