//! The addresses of this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::proto::net::InterfaceAddress;

/// How long a list is taken for true: a thousand peers made at once ask the system once.
const FRESH: Duration = Duration::from_secs(1);

/// The interfaces, looked up anew when the list is old.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    list: Vec<(String, IpAddr)>,
    at: Option<Instant>,
}

impl Interfaces {
    fn refresh(&mut self, now: Instant) -> io::Result<()> {
        if self.at.is_none_or(|at| now >= at + FRESH) {
            self.list = if_addrs::get_if_addrs()?
                .into_iter()
                .map(|i| (i.name.clone(), i.ip()))
                .collect();
            self.at = Some(now);
        }
        Ok(())
    }

    /// All IPv4 addresses.
    pub fn ipv4(&mut self, now: Instant) -> io::Result<Vec<Ipv4Addr>> {
        self.refresh(now)?;
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
        self.refresh(now)?;
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
}
