//! Clients of a lab: each is an event loop on a thread of its own, in its network namespace.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, LoopHandle, PeerId};
use looprtc::proto::ice::IceCandidate;
use looprtc::proto::peer::{
    ChannelConfig, ChannelId, ConnectionState, IceCandidateInit, Message, PeerConfig, PeerEvent,
    SessionDescription,
};

use crate::lab::{self, Lab};

/// Which of the two clients.
pub type Side = usize;

/// A report to the test.
#[derive(Debug)]
pub enum Report {
    Description(SessionDescription),
    Candidate(IceCandidate),
    Open(Instant),
    Message(String),
    State(ConnectionState),
    /// An error that does not end the client.
    Trouble(String),
    Path(Option<(SocketAddr, SocketAddr)>),
}

/// A command to a client.
#[derive(Debug)]
pub enum Order {
    /// Create a channel, and with it an offer.
    Begin,
    Description(SessionDescription),
    Candidate(IceCandidateInit),
    Say(String),
    TellPath,
    RestartIce,
    Leave,
}

pub struct Client {
    handle: LoopHandle,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Starts a client in namespace `a` (side 0) or `b` (side 1). Client `b` echoes the messages it receives.
    pub fn start(
        lab: &Lab,
        side: Side,
        authority: Vec<u8>,
        config: PeerConfig,
        reports: Sender<(Side, Report)>,
    ) -> Self {
        let space = lab.space(["a", "b"][side]);
        let (orders, ordered) = channel();
        let (told, handle) = channel();
        let thread = thread::spawn(move || {
            lab::enter(&space);
            let config_of_loop = LoopConfig::default().tls_authorities(Some(authority));
            let mut net = EventLoop::new(config_of_loop).expect("a loop");
            let peer = net.add_peer(config).expect("a peer");
            told.send(net.handle()).expect("it is waited for");
            let runner = Runner {
                net,
                peer,
                side,
                channel: None,
                reports,
            };
            runner.run(&ordered);
        });
        Self {
            handle: handle.recv().expect("the client starts"),
            orders,
            thread: Some(thread),
        }
    }

    pub fn tell(&self, order: Order) {
        let _ = self.orders.send(order);
        self.handle.wake();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tell(Order::Leave);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Runner {
    net: EventLoop,
    peer: PeerId,
    side: Side,
    channel: Option<ChannelId>,
    reports: Sender<(Side, Report)>,
}

impl Runner {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            while let Ok(order) = orders.try_recv() {
                if matches!(order, Order::Leave) {
                    self.net.shutdown(Duration::from_secs(2)).expect("an end");
                    return;
                }
                self.obey(order);
            }
            let wait = Some(Duration::from_millis(500));
            if let Some((_, event)) = self.net.next_event(wait).expect("a loop that goes on") {
                self.on_event(event);
            }
        }
    }

    fn report(&self, report: Report) {
        let _ = self.reports.send((self.side, report));
    }

    fn obey(&mut self, order: Order) {
        let channel = self.channel;
        let Ok(mut peer) = self.net.peer(self.peer) else {
            return self.report(Report::Trouble(format!("{order:?}: the peer is gone")));
        };
        let done = match order {
            Order::Begin => peer
                .create_data_channel(ChannelConfig::new("data"))
                .map(|_| None),
            Order::Description(description) => peer.receive(description),
            Order::Candidate(init) => peer.add_ice_candidate(Some(&init)).map(|()| None),
            Order::Say(text) => {
                let channel = channel.expect("a channel that is open");
                peer.send_text(channel, &text).map(|_| None)
            }
            Order::RestartIce => peer.restart_ice().map(|_| None),
            Order::TellPath => {
                let path = peer.stats().path;
                self.report(Report::Path(path));
                return;
            }
            Order::Leave => return,
        };
        match done {
            Ok(Some(answer)) => self.report(Report::Description(answer)),
            Ok(None) => {}
            Err(e) => self.report(Report::Trouble(e.to_string())),
        }
    }

    fn on_event(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::NegotiationNeeded => {
                let offer = self
                    .net
                    .peer(self.peer)
                    .and_then(|mut p| Ok(p.negotiate()?));
                match offer {
                    Ok(offer) => self.report(Report::Description(offer)),
                    Err(e) => self.report(Report::Trouble(e.to_string())),
                }
            }
            PeerEvent::IceCandidate(Some(candidate)) => self.report(Report::Candidate(candidate)),
            PeerEvent::IceCandidateError(e) => self.report(Report::Trouble(e.to_string())),
            PeerEvent::ConnectionStateChange(state) => self.report(Report::State(state)),
            PeerEvent::ChannelOpen(channel) => {
                self.channel = Some(channel);
                self.report(Report::Open(Instant::now()));
            }
            PeerEvent::ChannelMessage { message, channel } => {
                let Message::Text(text) = message else {
                    return;
                };
                if self.side == 1 {
                    let sent = self
                        .net
                        .peer(self.peer)
                        .map(|mut p| p.send_text(channel, &text));
                    if !matches!(sent, Ok(Ok(_))) {
                        self.report(Report::Trouble(format!("not sent back: {sent:?}")));
                    }
                }
                self.report(Report::Message(text));
            }
            PeerEvent::Error(e) => self.report(Report::Trouble(e.to_string())),
            _ => {}
        }
    }
}
