//! WS-Discovery: which cameras are there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::ServiceAddress;
use super::xml::{Element, escape};
use crate::proto::random::Random;

/// The multicast address and port that probes are sent to (WS-Discovery 1.0 §2.4).
pub const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 3702);

/// Maximum number of devices; later ones are left out.
pub const MAX_DEVICES: usize = 256;

/// Maximum size of an answer, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Maximum number of addresses and of scopes that are looked at in an answer.
const MAX_WORDS: usize = 64;

/// When probes are sent, from the start: a datagram may be lost, and some devices answer one of two.
const PROBES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_millis(1500),
];

/// A device that has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundDevice {
    /// Address that the answer came from.
    pub ip: IpAddr,
    /// Address of the device service.
    pub service: ServiceAddress,
    /// Name, from the scope `onvif://www.onvif.org/name/…`.
    pub name: Option<String>,
    /// Model, from the scope `…/hardware/…`.
    pub hardware: Option<String>,
    /// Location, from the scope `…/location/…`.
    pub location: Option<String>,
}

/// Output of [`Discovery`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiscoveryOutput {
    /// Send this datagram to [`GROUP`], on each network that is to be searched.
    Probe(Vec<u8>),
    /// Wait for datagrams until this time, then call [`Discovery::poll_output`] again.
    Timeout(Instant),
    /// The time is up.
    Done,
}

/// Searches for ONVIF devices: a machine that says what to send, and takes what comes.
///
/// Answers are taken from anybody on the network. Of an answer the sender's address counts, not the one inside it.
#[derive(Debug)]
pub struct Discovery {
    random: Random,
    start: Instant,
    until: Instant,
    sent: usize,
    pending: Option<Vec<u8>>,
    found: BTreeMap<IpAddr, FoundDevice>,
    ignored: u64,
}

impl Discovery {
    /// Starts a search that takes answers for `duration`. `seed` makes its message ids repeatable; `None`: random.
    pub fn new(duration: Duration, seed: Option<u64>, now: Instant) -> Self {
        Self {
            random: Random::new(seed),
            start: now,
            until: now + duration,
            sent: 0,
            pending: None,
            found: BTreeMap::new(),
            ignored: 0,
        }
    }

    /// Returns what to do next.
    pub fn poll_output(&mut self, now: Instant) -> DiscoveryOutput {
        if let Some(second) = self.pending.take() {
            return DiscoveryOutput::Probe(second);
        }
        if now >= self.until {
            return DiscoveryOutput::Done;
        }
        match PROBES.get(self.sent).map(|after| self.start + *after) {
            Some(due) if now >= due => {
                self.sent += 1;
                // Devices answer to one type or the other.
                self.pending = Some(self.probe(
                    "tds:Device",
                    "http://www.onvif.org/ver10/device/wsdl",
                    "tds",
                ));
                let camera = "dn:NetworkVideoTransmitter";
                DiscoveryOutput::Probe(self.probe(
                    camera,
                    "http://www.onvif.org/ver10/network/wsdl",
                    "dn",
                ))
            }
            Some(due) => DiscoveryOutput::Timeout(due.min(self.until)),
            None => DiscoveryOutput::Timeout(self.until),
        }
    }

    /// Takes a datagram. What is no answer of a camera is counted and ignored.
    pub fn handle_datagram(&mut self, source: SocketAddr, contents: &[u8]) {
        let ip = source.ip().to_canonical();
        let is_new = !self.found.contains_key(&ip);
        match found(ip, contents) {
            Some(device) if !is_new || self.found.len() < MAX_DEVICES => {
                self.found.entry(ip).or_insert(device);
            }
            _ => self.ignored += 1,
        }
    }

    /// Returns the devices found so far, by address.
    pub fn found(&self) -> impl Iterator<Item = &FoundDevice> {
        self.found.values()
    }

    /// Returns the number of datagrams that were no answers of cameras, or of too many of them.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    fn probe(&mut self, types: &str, namespace: &str, prefix: &str) -> Vec<u8> {
        let (a, b) = (self.random.bits(), self.random.bits());
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xFFFF,
            a & 0xFFF,
            b >> 48 & 0x3FFF | 0x8000,
            b & 0xFFFF_FFFF_FFFF
        );
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
             xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
             xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\">\
             <s:Header>\
             <a:Action s:mustUnderstand=\"1\">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>\
             <a:MessageID>uuid:{id}</a:MessageID>\
             <a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous</a:Address></a:ReplyTo>\
             <a:To s:mustUnderstand=\"1\">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>\
             </s:Header>\
             <s:Body><d:Probe><d:Types xmlns:{prefix}=\"{}\">{types}</d:Types></d:Probe></s:Body>\
             </s:Envelope>",
            escape(namespace)
        )
        .into_bytes()
    }
}

/// Reads an answer; `None` if it is none, or none of a camera.
fn found(ip: IpAddr, contents: &[u8]) -> Option<FoundDevice> {
    if contents.len() > MAX_ANSWER {
        return None;
    }
    let document = Element::parse(contents).ok()?;
    // ProbeMatch answers a probe; Hello is said by a device that has just come.
    let answer = document
        .find("ProbeMatch")
        .or_else(|| document.find("Hello"))?;
    let scopes = answer.text_of("Scopes").unwrap_or_default();
    let types = answer.text_of("Types").unwrap_or_default();
    // Printers and computers speak WS-Discovery, too.
    if !types.contains("NetworkVideoTransmitter") && !scopes.contains("onvif://") {
        return None;
    }
    let scope = |category: &str| {
        let mut scopes = scopes.split_whitespace().take(MAX_WORDS);
        scopes.find_map(|scope| {
            let rest = scope.strip_prefix("onvif://www.onvif.org/")?;
            let value = rest.strip_prefix(category)?.strip_prefix('/')?;
            Some(shown(&percent_decoded(value))).filter(|value| !value.is_empty())
        })
    };
    let addresses = || {
        answer
            .text_of("XAddrs")
            .unwrap_or_default()
            .split_whitespace()
            .take(MAX_WORDS)
    };
    let own = addresses().find(|text| ServiceAddress::names(text, ip));
    let own = own.and_then(|text| ServiceAddress::of_device(text, ip));
    let first = || addresses().find_map(|text| ServiceAddress::of_device(text, ip));
    let service = own
        .or_else(first)
        .unwrap_or_else(|| ServiceAddress::usual(ip));
    Some(FoundDevice {
        ip,
        service,
        name: scope("name"),
        hardware: scope("hardware"),
        location: scope("location"),
    })
}

/// Decodes `%20` and the like; what is not valid stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes text of a device fit to be shown: one line, no control characters, at most 100 characters.
pub(super) fn shown(text: &str) -> String {
    let printable = |c: char| {
        if c.is_control() || c.is_whitespace() {
            ' '
        } else {
            c
        }
    };
    let text: String = text.chars().map(printable).take(100).collect();
    text.trim().to_owned()
}
