//! Searches the network for ONVIF cameras, and asks each for its streams.
//!
//! [`search`] runs the machines of [`proto::onvif`](crate::proto::onvif) over sockets of its own. It blocks for some seconds:
//! call it on a thread of its own. Nothing is sent unless it is called.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::agent;
use crate::proto::onvif::{
    Device, DeviceQuery, Discovery, DiscoveryOutput, FoundDevice, GROUP, MAX_DOCUMENT,
    ServiceAddress, SoapRequest,
};
use crate::proto::rtsp::Credentials;

/// Number of devices that are asked at a time.
const WORKERS: usize = 8;

/// Maximum time that one device is asked, over all its requests.
const DEVICE_TIME: Duration = Duration::from_secs(30);

/// Time from the end of the search after which no device is asked any more.
const ASK_TIME: Duration = Duration::from_secs(60);

/// Pause between two looks at the sockets.
const LOOK: Duration = Duration::from_millis(20);

/// Maximum number of datagrams taken from a socket in one look.
const MAX_DATAGRAMS: usize = 64;

/// Settings of a search.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SearchConfig {
    /// How long answers are taken, up to 60 s. Default: 4 s.
    pub duration: Duration,
    /// Network to search: the name of an interface, or one of this machine's IPv4 addresses. `None`: all but loopback.
    pub interface: Option<String>,
    /// Devices to ask besides, or, with [`only_given`](Self::only_given), instead: for networks without multicast.
    pub devices: Vec<ServiceAddress>,
    /// Sends nothing to the network, and asks [`devices`](Self::devices) only. Default: `false`.
    pub only_given: bool,
    /// User and password for all devices. Without them most devices tell their name, but not their streams.
    pub credentials: Option<Credentials>,
    /// Time limit of each request. Default: 5 s.
    pub request_timeout: Duration,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(4),
            interface: None,
            devices: Vec::new(),
            only_given: false,
            credentials: None,
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl SearchConfig {
    /// Sets [`duration`](Self::duration).
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.duration = duration.min(Duration::from_secs(60));
        self
    }

    /// Sets [`interface`](Self::interface).
    #[must_use]
    pub fn interface(mut self, interface: Option<String>) -> Self {
        self.interface = interface;
        self
    }

    /// Sets [`devices`](Self::devices).
    #[must_use]
    pub fn devices(mut self, devices: Vec<ServiceAddress>) -> Self {
        self.devices = devices;
        self
    }

    /// Sets [`only_given`](Self::only_given).
    #[must_use]
    pub fn only_given(mut self, only_given: bool) -> Self {
        self.only_given = only_given;
        self
    }

    /// Sets [`credentials`](Self::credentials).
    #[must_use]
    pub fn credentials(mut self, credentials: Option<Credentials>) -> Self {
        self.credentials = credentials;
        self
    }

    /// Sets [`request_timeout`](Self::request_timeout).
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }
}

/// Searches and asks. Returns the devices by address; those that could not be asked have a
/// [`problem`](Device::problem).
///
/// # Errors
///
/// Fails if there is no network to search: no interface of that name, or none at all.
pub fn search(config: &SearchConfig) -> io::Result<Vec<Device>> {
    let mut found = if config.only_given {
        Vec::new()
    } else {
        discover(config)?
    };
    for service in &config.devices {
        if found
            .iter()
            .all(|device| device.service.address != service.address)
        {
            found.push(FoundDevice::at(service.clone()));
        }
    }
    let (queue, waiting) = channel();
    found.into_iter().for_each(|device| {
        // The receiver lives until the end of this function.
        let _ = queue.send(device);
    });
    drop(queue);
    let waiting = Mutex::new(waiting);
    let until = Instant::now() + ASK_TIME;
    let devices = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(found) = next(&waiting) {
                    let device = ask(found, config, until);
                    devices
                        .lock()
                        .unwrap_or_else(|e| e.into_inner())
                        .push(device);
                }
            });
        }
    });
    let mut devices = devices.into_inner().unwrap_or_else(|e| e.into_inner());
    devices.sort_by(|a: &Device, b| a.found.service.cmp(&b.found.service));
    Ok(devices)
}

fn next(waiting: &Mutex<Receiver<FoundDevice>>) -> Option<FoundDevice> {
    waiting
        .lock()
        .unwrap_or_else(|e| e.into_inner())
        .try_recv()
        .ok()
}

fn discover(config: &SearchConfig) -> io::Result<Vec<FoundDevice>> {
    let sockets = sockets(config.interface.as_deref())?;
    let mut discovery = Discovery::new(config.duration, None, Instant::now());
    let mut buffer = vec![0; 65_536];
    loop {
        match discovery.poll_output(Instant::now()) {
            DiscoveryOutput::Probe(probe) => {
                for socket in &sockets {
                    if let Err(error) = socket.send_to(&probe, GROUP) {
                        log::debug!(
                            "searching for cameras from {:?}: {error}",
                            socket.local_addr()
                        );
                    }
                }
            }
            DiscoveryOutput::Timeout(at) => {
                std::thread::sleep(LOOK.min(at.saturating_duration_since(Instant::now())));
                for socket in &sockets {
                    for _ in 0..MAX_DATAGRAMS {
                        let Ok((length, source)) = socket.recv_from(&mut buffer) else {
                            break;
                        };
                        discovery.handle_datagram(source, buffer.get(..length).unwrap_or_default());
                    }
                }
            }
            DiscoveryOutput::Done => break,
        }
    }
    if discovery.ignored() > 0 {
        log::debug!(
            "{} datagrams were no answers of cameras",
            discovery.ignored()
        );
    }
    Ok(discovery.found().cloned().collect())
}

/// Opens a socket on each network.
fn sockets(interface: Option<&str>) -> io::Result<Vec<UdpSocket>> {
    let all = if_addrs::get_if_addrs()?;
    let wanted = all.iter().filter(|candidate| match interface {
        Some(name) => candidate.name == name || Ok(candidate.ip()) == name.parse(),
        None => !candidate.is_loopback(),
    });
    let addresses: Vec<Ipv4Addr> = wanted
        .filter_map(|candidate| match candidate.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
        .collect();
    if addresses.is_empty() {
        let names: std::collections::BTreeSet<&str> = all.iter().map(|i| i.name.as_str()).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let reason = match interface {
            Some(name) => format!("no interface {name} with an IPv4 address; there are: {names}"),
            None => format!("no network with an IPv4 address; there are the interfaces: {names}"),
        };
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    let mut sockets = Vec::new();
    let mut last = None;
    for address in addresses {
        match socket(address) {
            Ok(socket) => sockets.push(socket),
            Err(error) => last = Some(io::Error::new(error.kind(), format!("{address}: {error}"))),
        }
    }
    match last {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

fn socket(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    socket2::SockRef::from(&socket).set_multicast_if_v4(&address)?;
    // WS-Discovery stays within the network (§2.4).
    socket.set_multicast_ttl_v4(1)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Asks a device everything.
fn ask(found: FoundDevice, config: &SearchConfig, until: Instant) -> Device {
    let start = Instant::now();
    let until = until.min(start + DEVICE_TIME);
    let agent = agent::builder(config.request_timeout).build().new_agent();
    // A clock before 1970 is no worse than any other wrong one.
    let wall_clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut query = DeviceQuery::new(found, config.credentials.clone(), wall_clock, None, start);
    while let Some(request) = query.poll_request(Instant::now()) {
        if Instant::now() > until {
            query.handle_failure("there was no time left");
            break;
        }
        match post(&agent, &request) {
            Ok((status, body)) => query.handle_response(status, &body, Instant::now()),
            Err(reason) => query.handle_failure(&reason),
        }
    }
    query.device().clone()
}

fn post(agent: &ureq::Agent, request: &SoapRequest) -> Result<(u16, Vec<u8>), String> {
    let content_type = format!(
        "application/soap+xml; charset=utf-8; action=\"{}\"",
        request.action
    );
    let response = agent
        .post(request.service.to_string())
        .header("Content-Type", content_type)
        .send(request.body.as_bytes())
        .map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .into_with_config()
        .limit(MAX_DOCUMENT as u64)
        .read_to_vec()
        .map_err(|error| error.to_string())?;
    Ok((status, body))
}

/// Returns what is known of a device as JSON, without passwords.
pub fn to_json(device: &Device) -> Value {
    let streams: Vec<Value> = device
        .streams
        .iter()
        .map(|stream| {
            json!({
                "profile": stream.profile,
                "encoding": stream.encoding,
                "width": stream.size.map(|size| size.0),
                "height": stream.size.map(|size| size.1),
                "frame_rate": stream.frame_rate,
                "audio": stream.audio,
                "uri": stream.uri.as_ref().map(ToString::to_string),
                "snapshot": stream.snapshot,
            })
        })
        .collect();
    json!({
        "address": device.found.ip.to_string(),
        "service": device.found.service.to_string(),
        "name": device.found.name,
        "location": device.found.location,
        "manufacturer": device.manufacturer,
        "model": device.model.as_ref().or(device.found.hardware.as_ref()),
        "streams": streams,
        "problem": device.problem,
    })
}
