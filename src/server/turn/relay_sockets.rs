//! Relay sockets: choice of address and port.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use turn_types::stun::message::TransactionId;

use super::server_config::TurnServerConfig;
use super::{Client, RelayPort};
use crate::driver::UdpConfig;
use crate::driver::udp::Owner;
use crate::driver::udp::Udp;

/// Number of ports tried before giving up.
const TRIES: u32 = 64;

pub(super) struct RelaySockets {
    relay: Vec<IpAddr>,
    external: Vec<IpAddr>,
    listening: Vec<IpAddr>,
    ports: Option<RangeInclusive<u16>>,
    buffer: usize,
    queue: usize,
    /// Sockets reserved for a following allocation, by token.
    reserved: HashMap<u64, Udp>,
}

impl RelaySockets {
    pub fn new(config: &TurnServerConfig) -> Self {
        let listening = [&config.udp, &config.tcp, &config.tls]
            .into_iter()
            .flatten();
        Self {
            relay: config.relay.clone(),
            external: config.external.clone(),
            listening: listening.map(SocketAddr::ip).collect(),
            ports: config.ports.clone(),
            buffer: config.socket_buffer,
            queue: config.socket_queue,
            reserved: HashMap::new(),
        }
    }

    /// Opens a socket; returns it with its public address.
    pub fn open(
        &mut self,
        v6: bool,
        client: &Client,
        port: RelayPort,
    ) -> Result<(Udp, SocketAddr), String> {
        let udp = match port {
            RelayPort::Reserved(token) => {
                let held = self.reserved.remove(&token);
                held.ok_or("the reserved port is gone")?
            }
            RelayPort::Any | RelayPort::Even => {
                let ip = self.address(v6, client)?;
                self.bind(ip, port == RelayPort::Even)?
            }
            RelayPort::EvenAndNext(token) => {
                let ip = self.address(v6, client)?;
                let (udp, next) = self.bind_two(ip)?;
                self.reserved.insert(token, next);
                udp
            }
        };
        let bound = udp.bound();
        let mut external = self.external.iter().copied();
        let ip = external.find(|ip| ip.is_ipv6() == bound.is_ipv6());
        let seen_as = SocketAddr::new(ip.unwrap_or(bound.ip()), bound.port());
        Ok((udp, seen_as))
    }

    pub fn forget(&mut self, token: u64) {
        self.reserved.remove(&token);
    }

    fn address(&self, v6: bool, client: &Client) -> Result<IpAddr, String> {
        let configured = self.relay.iter().find(|ip| ip.is_ipv6() == v6);
        if let Some(ip) = configured {
            return Ok(*ip);
        }
        let usable = |ip: &IpAddr| ip.is_ipv6() == v6 && !ip.is_unspecified();
        let reached = std::iter::once(client.local.ip());
        let mut near = reached.chain(self.listening.iter().copied());
        if let Some(ip) = near.find(usable) {
            return Ok(ip);
        }
        let interfaces =
            if_addrs::get_if_addrs().map_err(|e| format!("listing network interfaces: {e}"))?;
        let mut others = interfaces
            .iter()
            .filter(|i| !i.is_loopback() && !i.is_link_local());
        let found = others.find(|i| usable(&i.ip()));
        let family = if v6 { "IPv6" } else { "IPv4" };
        let none = || format!("no interface has an {family} address to relay from");
        found.map(|i| i.ip()).ok_or_else(none)
    }

    fn bind(&self, ip: IpAddr, even: bool) -> Result<Udp, String> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.try_bind(ip, self.draw(even)) {
                Ok(udp) if even && udp.bound().port() % 2 == 1 => {}
                Ok(udp) => return Ok(udp),
                Err(e) => {
                    let is_taken = e.kind() == io::ErrorKind::AddrInUse;
                    last = Some(e);
                    if !is_taken {
                        break;
                    }
                }
            }
        }
        let why = last.map_or("no even port".into(), |e| e.to_string());
        Err(format!("binding a relay to {ip}: {why}"))
    }

    fn bind_two(&self, ip: IpAddr) -> Result<(Udp, Udp), String> {
        for _ in 0..TRIES {
            let first = self.bind(ip, true)?;
            // The port is even, so there is a next one.
            let port = first.bound().port() + 1;
            let is_ours = self.ports.as_ref().is_none_or(|p| p.contains(&port));
            if let (true, Ok(next)) = (is_ours, self.try_bind(ip, port)) {
                return Ok((first, next));
            }
        }
        Err(format!(
            "binding a relay to {ip}: no two neighbouring ports"
        ))
    }

    fn try_bind(&self, ip: IpAddr, port: u16) -> io::Result<Udp> {
        let at = UdpConfig::new(SocketAddr::new(ip, port));
        Udp::bind(&at, Owner::Nobody, self.buffer, self.queue)
    }

    /// Returns a port to try; 0 lets the system choose.
    fn draw(&self, even: bool) -> u16 {
        let Some(ports) = &self.ports else { return 0 };
        let count = u128::from(ports.end().saturating_sub(*ports.start())) + 1;
        let offset = u128::from(TransactionId::generate()) % count;
        // Less than `count`, which is at most 65,536.
        let port = ports.start().saturating_add(offset as u16);
        match even && port % 2 == 1 {
            true if ports.contains(&(port - 1)) => port - 1,
            _ => port,
        }
    }
}
