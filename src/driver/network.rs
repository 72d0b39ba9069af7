//! Detection of network changes on the loop.
//!
//! ```text
//!   netlink notification ──┐
//!   every 2 s, elsewhere ──┴─► wait 250 ms ─► query the system once ─► different? ─► every peer
//!   suspend detected ──────────────────────────────────────────────────────────────► every peer
//! ```
//!
//! Without a change, a thousand idle peers cost one comparison in all. Peers decide themselves how to react: see
//! [`Input::NetworkChanged`](crate::proto::peer::Input).

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod netlink;
mod sleep;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

#[cfg(any(target_os = "linux", target_os = "android"))]
use self::netlink::Netlink;
use self::sleep::SleepWatch;
use super::EventLoop;
use super::config::NetworkWatching;
use super::interfaces::Snapshot;
use super::peers::RelaySocket;
use crate::proto::net::NetworkChange;
use crate::proto::peer::Input;

/// Time to wait after a notification, because changes come in groups: an interface, its addresses, its routes.
const PATIENCE: Duration = Duration::from_millis(250);

/// The known state of the networks, and the time of the next query.
#[derive(Debug)]
pub(super) struct NetworkWatch {
    source: Source,
    sleep: SleepWatch,
    known: Snapshot,
    look_at: Option<Instant>,
    /// mio token of netlink.
    token: Token,
}

#[derive(Debug)]
enum Source {
    /// Not started: no peer has needed it yet.
    NotStarted(NetworkWatching),
    Off,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Netlink(Netlink),
    Polling(Duration),
}

/// Result of a comparison.
#[derive(Debug, PartialEq, Eq, Default)]
struct Difference {
    /// Addresses that the machine no longer has.
    gone: Vec<IpAddr>,
    rerouted_v4: bool,
    rerouted_v6: bool,
    slept: bool,
}

impl NetworkWatch {
    pub fn new(watching: NetworkWatching, token: Token) -> Self {
        Self {
            source: Source::NotStarted(watching),
            sleep: SleepWatch::new(),
            known: Snapshot::default(),
            look_at: None,
            token,
        }
    }

    fn start(&mut self, watching: NetworkWatching, registry: &Registry, now: Instant) {
        self.source = match watching {
            NetworkWatching::Off => Source::Off,
            NetworkWatching::Polling(every) => Source::Polling(every),
            NetworkWatching::Auto => automatic(registry, self.token),
        };
        if let Source::Polling(every) = self.source {
            self.look_at = Some(now + every);
        }
    }

    /// Handles a readable netlink socket.
    pub fn on_ready(&mut self, now: Instant) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Source::Netlink(netlink) = &mut self.source {
            match netlink.read() {
                Ok(true) => _ = self.look_at.get_or_insert(now + PATIENCE),
                Ok(false) => {}
                Err(e) => {
                    log::warn!("netlink: {e}; looking at the interfaces every 2 s instead");
                    self.source = Source::Polling(POLL_EVERY);
                    self.look_at = Some(now + POLL_EVERY);
                }
            }
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = now;
    }

    /// Returns the time of the next query.
    pub fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Returns `true` if a query is due, and schedules the next one.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.look_at.is_none_or(|at| now < at) {
            return false;
        }
        self.look_at = match self.source {
            Source::Polling(every) => Some(now + every),
            _ => None,
        };
        true
    }
}

/// Interval of queries if the system sends no notifications.
const POLL_EVERY: Duration = Duration::from_secs(2);

#[cfg(any(target_os = "linux", target_os = "android"))]
fn automatic(registry: &Registry, token: Token) -> Source {
    match Netlink::open(registry, token) {
        Ok(netlink) => Source::Netlink(netlink),
        Err(e) => {
            log::debug!("no netlink ({e}): looking at the interfaces every 2 s");
            Source::Polling(POLL_EVERY)
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn automatic(_: &Registry, _: Token) -> Source {
    Source::Polling(POLL_EVERY)
}

/// Compares two snapshots; returns the difference, if any.
fn compare(before: &Snapshot, after: &Snapshot, slept: bool) -> Option<Difference> {
    if before == after && !slept {
        return None;
    }
    let has = |list: &Snapshot, ip: IpAddr| list.addresses.iter().any(|(_, i)| *i == ip);
    let before_ips = before.addresses.iter().map(|(_, ip)| *ip);
    Some(Difference {
        gone: before_ips.filter(|ip| !has(after, *ip)).collect(),
        rerouted_v4: before.way_out_v4 != after.way_out_v4,
        rerouted_v6: before.way_out_v6 != after.way_out_v6,
        slept,
    })
}

impl EventLoop {
    /// Starts watching, with the first peer: before it there is no address to lose.
    pub(super) fn start_watching(&mut self, now: Instant) {
        let Source::NotStarted(watching) = self.network.source else {
            return;
        };
        self.network.start(watching, self.poll.registry(), now);
        if matches!(self.network.source, Source::Off) {
            return;
        }
        // After netlink was opened, so that no change is missed in between.
        match self.sockets.look(now) {
            Ok(snapshot) => self.network.known = snapshot,
            Err(e) => log::warn!("listing network interfaces: {e}"),
        }
    }

    /// Queries the networks if there is a reason, and passes changes to the peers. Called before their deadlines are
    /// handled: after a suspend these have all passed, and their actions would assume the old network.
    pub(super) fn watch_network(&mut self, now: Instant) {
        if matches!(self.network.source, Source::NotStarted(_) | Source::Off) {
            return;
        }
        let slept = self.network.sleep.has_slept(now);
        if !self.network.is_due(now) && !slept {
            return;
        }
        let after = match self.sockets.look(now) {
            Ok(snapshot) => snapshot,
            Err(e) => return log::warn!("listing network interfaces: {e}"),
        };
        let Some(difference) = compare(&self.network.known, &after, slept) else {
            return;
        };
        log::info!(
            "the network has changed: {:?}, was {:?}{}",
            after.addresses,
            self.network.known.addresses,
            if slept {
                "; the machine was asleep"
            } else {
                ""
            }
        );
        self.network.known = after;
        self.stats.network_changes += 1;
        self.tell_peers(&difference, now);
    }

    fn tell_peers(&mut self, difference: &Difference, now: Instant) {
        let interfaces = self.sockets.ipv4_interfaces(now);
        self.mdns.reopen(interfaces, self.poll.registry());
        // There may be other NATs on the path.
        self.bindings.refresh(now);
        let tcp = match self.ice_tcp_addresses_now(now) {
            Ok(addresses) => addresses,
            Err(why) => return log::warn!("{why}"),
        };
        for id in self.peers.ids() {
            let index = id.index();
            let Some(entry) = self.peers.get_mut(index) else {
                continue;
            };
            let relays = &entry.relay_sockets;
            let is_relays = |s: &usize| {
                relays
                    .iter()
                    .any(|(_, r)| matches!(r, RelaySocket::Datagrams(list) if list.contains(s)))
            };
            let hosts: Vec<usize> = entry
                .sockets
                .iter()
                .copied()
                .filter(|s| !is_relays(s))
                .collect();
            let addresses = match self.sockets.addresses(&hosts, now) {
                Ok(addresses) => addresses,
                Err(why) => return log::warn!("{why}"),
            };
            let change = NetworkChange {
                addresses: &addresses,
                tcp_addresses: &tcp,
                gone: &difference.gone,
                rerouted_ipv4: difference.rerouted_v4,
                rerouted_ipv6: difference.rerouted_v6,
                slept: difference.slept,
            };
            let input = Input::NetworkChanged { now, change };
            self.peers.input(index, input, &mut self.touched);
        }
        self.drain_bindings(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LoopConfig, PeerId};
    use super::*;
    use crate::proto::net::PortPolicy;
    use crate::proto::peer::{
        ChannelConfig, IceCandidateInit, PeerConfig, PeerEvent, Politeness, SignalingState,
    };

    /// Two peers of one loop with their signaling; counts how often each asked for an offer.
    struct Pair {
        net: EventLoop,
        ids: [PeerId; 2],
        needed: [usize; 2],
        open: usize,
    }

    impl Pair {
        fn run(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
            let end = Instant::now() + time;
            while Instant::now() < end && !done(self) {
                let wait = Some(Duration::from_millis(20));
                let Some((id, event)) = self.net.next_event(wait).unwrap() else {
                    continue;
                };
                let index = usize::from(id != self.ids[0]);
                let other = self.ids[1 - index];
                match event {
                    PeerEvent::NegotiationNeeded => {
                        self.needed[index] += 1;
                        let offer = self.net.peer(id).unwrap().negotiate().unwrap();
                        let answer = self.net.peer(other).unwrap().receive(offer).unwrap();
                        self.net.peer(id).unwrap().receive(answer.unwrap()).unwrap();
                    }
                    PeerEvent::IceCandidate(Some(candidate)) => {
                        let init = IceCandidateInit::new(candidate.to_string());
                        let mut other = self.net.peer(other).unwrap();
                        other.add_ice_candidate(Some(&init)).unwrap();
                    }
                    PeerEvent::ChannelOpen(_) => self.open += 1,
                    _ => {}
                }
            }
            done(self)
        }
    }

    #[test]
    fn a_sleep_of_the_machine_restarts_ice_once() {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        let config = PeerConfig::default().include_loopback(true);
        let a = net.add_peer(config.clone().port(PortPolicy::Own)).unwrap();
        let b = net
            .add_peer(config.politeness(Politeness::Impolite))
            .unwrap();
        net.peer(a)
            .unwrap()
            .create_data_channel(ChannelConfig::new("data"))
            .unwrap();
        let mut pair = Pair {
            net,
            ids: [a, b],
            needed: [0, 0],
            open: 0,
        };
        assert!(pair.run(Duration::from_secs(20), |p| p.open == 2));
        pair.run(Duration::from_millis(600), |_| false);
        let before = pair.needed;
        pair.net.network.sleep.pretend(Duration::from_secs(3_600));
        pair.run(Duration::from_secs(2), |_| false);
        let restarts = pair.needed.iter().sum::<usize>() - before.iter().sum::<usize>();
        // Both were notified, and one offer is enough for both.
        assert_eq!(restarts, 1, "{:?}", pair.needed);
        assert_eq!(pair.net.stats().network_changes, 1);
        let peer = pair.net.peer(a).unwrap();
        assert_eq!(peer.signaling_state(), SignalingState::Stable);
        assert!(matches!(
            peer.ice_connection_state().to_string().as_str(),
            "connected" | "completed"
        ));
    }

    /// Without a change, peers are neither queried nor notified.
    #[test]
    fn a_look_that_finds_nothing_touches_nobody() {
        let every = Duration::from_millis(1);
        let config = LoopConfig::default().network(NetworkWatching::Polling(every));
        let mut net = EventLoop::new(config).unwrap();
        for _ in 0..100 {
            net.add_peer(PeerConfig::default()).unwrap();
        }
        net.run_once(Some(Duration::ZERO)).unwrap();
        for _ in 0..10 {
            let look = net.network.look_at;
            std::thread::sleep(every * 2);
            net.watch_network(Instant::now());
            assert!(net.network.look_at > look, "it has looked");
            assert!(net.touched.is_empty());
        }
        assert_eq!(net.stats().network_changes, 0);
    }

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn snapshot(addresses: &[u8], way_out: Option<u8>) -> Snapshot {
        Snapshot {
            addresses: addresses
                .iter()
                .map(|n| (format!("eth{n}"), ip(*n)))
                .collect(),
            way_out_v4: way_out.map(ip),
            way_out_v6: None,
        }
    }

    #[test]
    fn a_look_finds_what_is_different() {
        let before = snapshot(&[1, 2], Some(1));
        assert_eq!(compare(&before, &before, false), None);
        let slept = compare(&before, &before, true).unwrap();
        assert!(slept.slept && slept.gone.is_empty() && !slept.rerouted_v4);
        let unplugged = compare(&before, &snapshot(&[2], Some(2)), false).unwrap();
        assert_eq!(unplugged.gone, [ip(1)]);
        assert!(unplugged.rerouted_v4 && !unplugged.rerouted_v6);
        let more = compare(&before, &snapshot(&[1, 2, 3], Some(1)), false).unwrap();
        assert!(more.gone.is_empty() && !more.rerouted_v4);
        // An address that moved to another interface is not gone.
        let mut moved = before.clone();
        moved.addresses[0].0 = "wlan0".into();
        assert!(compare(&before, &moved, false).unwrap().gone.is_empty());
    }

    #[test]
    fn changes_that_come_together_are_one() {
        let t0 = Instant::now();
        let ms = Duration::from_millis;
        let mut watch = NetworkWatch::new(NetworkWatching::Off, Token(1));
        assert!(!watch.is_due(t0));
        watch.look_at = Some(t0 + PATIENCE);
        // Further notifications do not delay the query.
        let _ = watch.look_at.get_or_insert(t0 + ms(100) + PATIENCE);
        assert!(!watch.is_due(t0 + ms(249)));
        assert!(watch.is_due(t0 + ms(250)));
        assert!(!watch.is_due(t0 + ms(251)), "once");
        assert_eq!(watch.deadline(), None);
        watch.source = Source::Polling(ms(2_000));
        watch.look_at = Some(t0);
        assert!(watch.is_due(t0 + ms(1)));
        assert_eq!(watch.deadline(), Some(t0 + ms(2_001)));
    }
}
