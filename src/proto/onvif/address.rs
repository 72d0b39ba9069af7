//! Addresses of a device's services, kept to the device itself.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Maximum length of a service's address, in bytes.
const MAX_ADDRESS: usize = 1024;

/// Address of a SOAP service: a device, which has proved to be there by answering, and a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAddress {
    /// Address and port of the device.
    pub address: SocketAddr,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl ServiceAddress {
    /// Returns the address at which most devices have their device service, port 80.
    pub fn usual(ip: IpAddr) -> Self {
        Self {
            address: SocketAddr::new(ip, 80),
            path: "/onvif/device_service".into(),
        }
    }

    /// Reads an address that a device names (`XAddr`), as one of `device`: port and path are taken, the host is not. Devices
    /// name `0.0.0.0`, or their address behind a NAT; and none may send us to a third party.
    ///
    /// `None` for other schemes than `http`, and for what is no address.
    pub fn of_device(text: &str, device: IpAddr) -> Option<Self> {
        let parts = Parts::of(text)?;
        Some(Self {
            address: SocketAddr::new(device, parts.port),
            path: parts.path.into(),
        })
    }

    /// Returns `true` if this text names `device` itself as the host.
    pub(super) fn names(text: &str, device: IpAddr) -> bool {
        Parts::of(text).is_some_and(|parts| parts.host.parse() == Ok(device))
    }
}

impl FromStr for ServiceAddress {
    type Err = &'static str;

    /// Reads an IP address, with a port if it is not 80: the device service at its usual path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ip, port) = match text.parse::<SocketAddr>() {
            Ok(address) => (address.ip(), address.port()),
            Err(_) => match text.parse::<IpAddr>() {
                Ok(ip) => (ip, 80),
                Err(_) => {
                    return Err(
                        "expected an IP address, for example 192.168.1.64 or 192.168.1.64:8000",
                    );
                }
            },
        };
        let mut service = Self::usual(ip);
        service.address.set_port(port);
        Ok(service)
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

struct Parts<'a> {
    host: &'a str,
    port: u16,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        if text.len() > MAX_ADDRESS || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let scheme = text
            .get(..7)
            .filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
        let rest = text.get(scheme.len()..)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let authority = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest
                .split_once(']')
                .map(|(host, port)| (host, port.strip_prefix(':')))?,
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None => 80,
        };
        Some(Self { host, port, path })
    }
}
