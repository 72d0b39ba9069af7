//! Network interfaces of simulated machines that come and go.

use std::net::{IpAddr, SocketAddr};

use super::transit::Parcel;
use super::{Node, Place, Simulation};
use crate::proto::net::{InterfaceAddress, NetworkChange};
use crate::proto::peer::Input;

/// Maximum number of interfaces per machine; further ones do not come up.
const MAX_INTERFACES: usize = 4;

impl Place {
    pub(super) fn is_own(&self, ip: IpAddr) -> bool {
        let mut all = [&self.address].into_iter().chain(&self.others);
        all.any(|a| a.ip() == ip)
    }

    /// Returns an address that the machine did not have recently.
    fn fresh_address(&mut self) -> SocketAddr {
        self.moves = self.moves.wrapping_add(1);
        let mut address = self.address;
        if let SocketAddr::V4(v4) = &mut address {
            let [_, _, net, host] = v4.ip().octets();
            v4.set_ip([10, self.moves, net, host].into());
        }
        address
    }

    pub(super) fn interfaces(&self) -> Vec<InterfaceAddress> {
        let all = [self.address]
            .into_iter()
            .chain(self.others.iter().copied());
        let named = |address: SocketAddr| InterfaceAddress {
            // Named after its network.
            interface: match address {
                SocketAddr::V4(v4) => format!("sim{}", v4.ip().octets()[1]),
                SocketAddr::V6(_) => "sim".into(),
            },
            address,
        };
        all.map(named).collect()
    }
}

impl Simulation {
    /// Changes a peer's address, as a change of networks would, and notifies the peer. Datagrams in flight to the old
    /// address are lost.
    pub fn readdress(&mut self, node: Node) {
        let place = &mut self.places[node.0];
        let old = place.address;
        place.address = place.fresh_address();
        let address = place.address.ip();
        place.gone.retain(|ip| *ip != address);
        let addresses = &place.interfaces();
        self.tell(
            node,
            NetworkChange {
                addresses,
                gone: &[old.ip()],
                rerouted_ipv4: true,
                ..NetworkChange::default()
            },
        );
    }

    /// Adds an address to a peer, and notifies it.
    pub fn add_interface(&mut self, node: Node) {
        let place = &mut self.places[node.0];
        if place.others.len() + 1 >= MAX_INTERFACES {
            return;
        }
        let address = place.fresh_address();
        place.gone.retain(|ip| *ip != address.ip());
        place.others.push(address);
        let addresses = &place.interfaces();
        let change = NetworkChange {
            addresses,
            ..NetworkChange::default()
        };
        self.tell(node, change);
    }

    /// Removes the address last added by [`add_interface`](Self::add_interface), and notifies the peer.
    pub fn remove_interface(&mut self, node: Node) {
        let place = &mut self.places[node.0];
        let Some(old) = place.others.pop() else {
            return;
        };
        place.gone.push(old.ip());
        let addresses = &place.interfaces();
        let change = NetworkChange {
            addresses,
            gone: &[old.ip()],
            ..NetworkChange::default()
        };
        self.tell(node, change);
    }

    /// Suspends a peer's machine until [`rise`](Self::rise): nothing runs on it, datagrams are lost, and signaling
    /// waits.
    pub(super) fn sleep(&mut self, node: Node) {
        self.places[node.0].asleep.get_or_insert_default();
    }

    /// Resumes a suspended machine: the peer is notified, then reads what waited for it.
    pub(super) fn rise(&mut self, node: Node) {
        let waiting = self.places[node.0].asleep.take();
        self.wake(node);
        for parcel in waiting.unwrap_or_default() {
            self.deliver(parcel);
        }
    }

    /// Returns the parcel unless its recipient is suspended, which gets it later.
    pub(super) fn awake(&mut self, parcel: Parcel) -> Option<Parcel> {
        let to = match &parcel {
            Parcel::Description { to, .. } | Parcel::Candidate { to, .. } => *to,
            Parcel::Opened { node, .. } => *node,
            Parcel::Tcp(segment) => match self.connections.told(segment) {
                Some(node) => node,
                None => return Some(parcel),
            },
            Parcel::Datagram { .. } | Parcel::Piece { .. } => return Some(parcel),
        };
        match &mut self.places[to.0].asleep {
            Some(waiting) => {
                waiting.push(parcel);
                None
            }
            None => Some(parcel),
        }
    }

    /// Tells a peer that its machine has resumed from suspend.
    pub fn wake(&mut self, node: Node) {
        let addresses = &self.places[node.0].interfaces();
        let change = NetworkChange {
            addresses,
            slept: true,
            ..NetworkChange::default()
        };
        self.tell(node, change);
    }

    fn tell(&mut self, node: Node, change: NetworkChange<'_>) {
        let now = self.now;
        let mut tcp_addresses = change.addresses.to_vec();
        for address in &mut tcp_addresses {
            address.address.set_port(super::ice_tcp::PORT);
        }
        let change = NetworkChange {
            tcp_addresses: &tcp_addresses,
            ..change
        };
        self.input(node, Input::NetworkChanged { now, change });
    }
}
