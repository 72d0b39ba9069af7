//! The addresses of this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::proto::net::InterfaceAddress;

/// How long a list is taken for true: a thousand peers made at once ask the system once.
const FRESH: Duration = Duration::from_secs(1);

/// Somewhere far away (root servers of the DNS): what is asked is by which way it is reached. Nothing is sent.
const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4));
const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30));

/// The interfaces, looked up anew when the list is old.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    list: Vec<(String, IpAddr)>,
    at: Option<Instant>,
}

impl Interfaces {
    fn update(&mut self, now: Instant) -> io::Result<()> {
        if self.at.is_none_or(|at| now >= at + FRESH) {
            self.refresh(now)?;
        }
        Ok(())
    }

    /// All IPv4 addresses.
    pub fn ipv4(&mut self, now: Instant) -> io::Result<Vec<Ipv4Addr>> {
        self.update(now)?;
        let list = self.list.iter().filter_map(|(_, ip)| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        });
        Ok(list.collect())
    }

    /// The local addresses at which a socket bound to `bound` can be reached.
    pub fn reachable(
        &mut self,
        bound: SocketAddr,
        now: Instant,
    ) -> io::Result<Vec<InterfaceAddress>> {
        self.update(now)?;
        let ip = bound.ip();
        let list = self.list.iter().filter(|(_, address)| {
            *address == ip || (ip.is_unspecified() && address.is_ipv4() == ip.is_ipv4())
        });
        Ok(list
            .map(|(name, address)| InterfaceAddress {
                interface: name.clone(),
                address: SocketAddr::new(*address, bound.port()),
            })
            .collect())
    }

    /// Asks the system, however young the list is.
    pub fn refresh(&mut self, now: Instant) -> io::Result<()> {
        self.list = if_addrs::get_if_addrs()?
            .into_iter()
            // An interface that is down, or has no cable in it, keeps its address.
            .filter(|i| i.is_oper_up() || i.is_loopback())
            .map(|i| (i.name.clone(), i.ip()))
            .collect();
        self.at = Some(now);
        Ok(())
    }

    /// What there is to be reached by: when this changes, so may candidates.
    pub fn snapshot(&self) -> Snapshot {
        let usable = self.list.iter().filter(|(_, ip)| is_usable(*ip));
        let mut addresses: Vec<_> = usable.cloned().collect();
        addresses.sort();
        addresses.dedup();
        Snapshot {
            addresses,
            way_out_v4: way_out(FAR_V4),
            way_out_v6: way_out(FAR_V6),
        }
    }
}

/// The addresses that other machines may reach us by, and those that we would send from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Snapshot {
    /// Sorted.
    pub addresses: Vec<(String, IpAddr)>,
    /// By the default route.
    pub way_out_v4: Option<IpAddr>,
    pub way_out_v6: Option<IpAddr>,
}

/// The address that the system would send from.
fn way_out(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket only looks the route up.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 53)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Not those that come and go with an interface and are of no use as candidates.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}
