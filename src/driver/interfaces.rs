//! The local addresses of this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::proto::net::InterfaceAddress;

/// Lifetime of the cached list: a thousand peers created at once query the system once.
const FRESH: Duration = Duration::from_secs(1);

/// Distant addresses (DNS root servers), used to look up the route to the Internet. Nothing is sent to them.
const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4));
const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30));

/// The interfaces, with a cached list.
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

    /// Returns all IPv4 addresses.
    pub fn ipv4(&mut self, now: Instant) -> io::Result<Vec<Ipv4Addr>> {
        self.update(now)?;
        let list = self.list.iter().filter_map(|(_, ip)| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        });
        Ok(list.collect())
    }

    /// Returns the local addresses at which a socket bound to `bound` is reachable.
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

    /// Queries the system, regardless of the list's age.
    pub fn refresh(&mut self, now: Instant) -> io::Result<()> {
        self.list = if_addrs::get_if_addrs()?
            .into_iter()
            // An interface that is down or has no carrier keeps its address.
            .filter(|i| i.is_oper_up() || i.is_loopback())
            .map(|i| (i.name.clone(), i.ip()))
            .collect();
        self.at = Some(now);
        Ok(())
    }

    /// Returns the state that candidates depend on.
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

/// Local addresses that other machines may reach, and those used for sending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Snapshot {
    /// Interface names and addresses, sorted.
    pub addresses: Vec<(String, IpAddr)>,
    /// Source address of the default route.
    pub way_out_v4: Option<IpAddr>,
    pub way_out_v6: Option<IpAddr>,
}

/// Returns the source address that the system would use.
fn way_out(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket only looks up the route.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 53)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Returns `true` for addresses that can become candidates.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}
