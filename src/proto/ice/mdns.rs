//! Host candidates behind mDNS names (RFC 8828 §3.1.2, draft-ietf-mmusic-mdns-ice-candidates): `<uuid>.local`, resolved
//! and published by multicast DNS (RFC 6762).
//!
//! ```text
//!   resolve ──► question to the group, repeated after 1 s and 3 s ──► answer: Resolved │ 5 s: Resolved(Err)
//!   publish ──► answers questions for this name until it is unpublished
//! ```
//!
//! As with [`Bindings`](super::Bindings), one machine serves all peers of a loop, and the owner of the sockets runs it:
//! its output goes to port 5353 of 224.0.0.251 or ff02::fb on every interface.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

/// The port of multicast DNS.
pub const PORT: u16 = 5353;

/// The multicast groups (RFC 6762 §3).
pub const GROUPS: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(224, 0, 0, 251),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb),
);

/// Intervals between repetitions of a question; after the last one the query fails.
const SCHEDULE: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(2),
];

/// Maximum number of concurrent queries; further ones fail at once.
const MAX_QUERIES: usize = 256;

/// Maximum number of published names; further ones are refused.
const MAX_PUBLISHED: usize = 4096;

/// Maximum number of questions read from one packet.
const MAX_QUESTIONS: usize = 16;

/// Time that others may cache an answer, in seconds (RFC 6762 §10).
const TTL: u32 = 120;

/// Output of [`Mdns::poll_output`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MdnsOutput {
    /// Send this packet to the group on every interface.
    Multicast(Vec<u8>),
    /// A query ended: the addresses of the name, or an error message.
    Resolved(String, Result<Vec<IpAddr>, String>),
    /// No more output. Call [`Mdns::handle_timeout`] at this time, if there is one.
    Timeout(Option<Instant>),
}

/// Multicast DNS resolver and responder of one loop.
#[derive(Debug, Default)]
pub struct Mdns {
    queries: HashMap<String, Query>,
    published: HashMap<String, IpAddr>,
    out: VecDeque<MdnsOutput>,
}

#[derive(Debug)]
struct Query {
    sent: usize,
    next: Instant,
}

/// Returns `true` if a host name belongs to multicast DNS (RFC 6762 §3).
pub fn is_local(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() > 6 && host.is_char_boundary(host.len() - 6) && {
        host[host.len() - 6..].eq_ignore_ascii_case(".local")
    }
}

impl Mdns {
    /// Creates a machine without queries and published names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves a name. A [`Resolved`](MdnsOutput::Resolved) follows.
    pub fn resolve(&mut self, host: &str, now: Instant) {
        if self.queries.contains_key(host) {
            return;
        }
        let question = match question(host) {
            Ok(question) if self.queries.len() < MAX_QUERIES => question,
            Ok(_) => {
                let why = format!("{MAX_QUERIES} names are looked for already");
                return self.resolved(host.to_owned(), Err(why));
            }
            Err(why) => return self.resolved(host.to_owned(), Err(why)),
        };
        self.out.push_back(MdnsOutput::Multicast(question));
        let query = Query {
            sent: 1,
            next: now + SCHEDULE[0],
        };
        self.queries.insert(host.to_owned(), query);
    }

    /// Publishes a name: questions for it are answered from now on. Returns `false` if the table is full.
    pub fn publish(&mut self, host: &str, address: IpAddr) -> bool {
        let has_room = self.published.len() < MAX_PUBLISHED;
        if has_room {
            self.published.insert(host.to_ascii_lowercase(), address);
        }
        has_room
    }

    /// Stops answering for this name.
    pub fn unpublish(&mut self, host: &str) {
        self.published.remove(&host.to_ascii_lowercase());
    }

    /// Handles a packet received on port 5353. Malformed packets are ignored.
    pub fn handle_datagram(&mut self, datagram: &[u8]) {
        let Ok(packet) = Packet::parse(datagram) else {
            return;
        };
        if packet.has_flags(PacketFlag::RESPONSE) {
            self.on_answers(&packet);
        } else {
            self.on_questions(&packet);
        }
    }

    /// Handles time: call it when the time of the last [`Timeout`](MdnsOutput::Timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.queries.iter().filter(|(_, q)| q.next <= now);
        let due: Vec<String> = due.map(|(host, _)| host.clone()).collect();
        for host in due {
            let Some(query) = self.queries.get_mut(&host) else {
                continue;
            };
            match (SCHEDULE.get(query.sent), question(&host)) {
                (Some(wait), Ok(question)) => {
                    query.sent += 1;
                    query.next = now + *wait;
                    self.out.push_back(MdnsOutput::Multicast(question));
                }
                _ => {
                    self.queries.remove(&host);
                    let why = "nobody in this network answers for the name".to_owned();
                    self.resolved(host, Err(why));
                }
            }
        }
    }

    /// Returns the next output. Call it until it returns [`Timeout`](MdnsOutput::Timeout).
    pub fn poll_output(&mut self) -> MdnsOutput {
        self.out
            .pop_front()
            .unwrap_or_else(|| MdnsOutput::Timeout(self.queries.values().map(|q| q.next).min()))
    }

    fn on_answers(&mut self, packet: &Packet<'_>) {
        if self.queries.is_empty() {
            return;
        }
        let mut found: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for record in packet.answers.iter().chain(&packet.additional_records) {
            let address: IpAddr = match &record.rdata {
                RData::A(a) => Ipv4Addr::from(a.address).into(),
                RData::AAAA(a) => Ipv6Addr::from(a.address).into(),
                _ => continue,
            };
            let name = record.name.to_string();
            let asked = self.queries.keys().find(|k| k.eq_ignore_ascii_case(&name));
            if let Some(host) = asked {
                found.entry(host.clone()).or_default().push(address);
            }
        }
        for (host, addresses) in found {
            self.queries.remove(&host);
            self.resolved(host, Ok(addresses));
        }
    }

    fn on_questions(&mut self, packet: &Packet<'_>) {
        let mut answers = Packet::new_reply(0);
        answers.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        for question in packet.questions.iter().take(MAX_QUESTIONS) {
            let host = question.qname.to_string().to_ascii_lowercase();
            let Some(address) = self.published.get(&host) else {
                continue;
            };
            let (rdata, kind) = match address {
                IpAddr::V4(ip) => (RData::A(A::from(*ip)), TYPE::A),
                IpAddr::V6(ip) => (RData::AAAA(AAAA::from(*ip)), TYPE::AAAA),
            };
            let is_asked = question.qtype == QTYPE::ANY || question.qtype == QTYPE::TYPE(kind);
            let is_new = answers.answers.iter().all(|a| a.name != question.qname);
            if is_asked && is_new {
                let name = question.qname.clone();
                let record = ResourceRecord::new(name, CLASS::IN, TTL, rdata);
                answers.answers.push(record.with_cache_flush(true));
            }
        }
        if answers.answers.is_empty() {
            return;
        }
        if let Ok(answers) = answers.build_bytes_vec() {
            self.out.push_back(MdnsOutput::Multicast(answers));
        }
    }

    fn resolved(&mut self, host: String, result: Result<Vec<IpAddr>, String>) {
        self.out.push_back(MdnsOutput::Resolved(host, result));
    }
}

/// Builds a question for A and AAAA records, answered to the group.
fn question(host: &str) -> Result<Vec<u8>, String> {
    let why = |e: simple_dns::SimpleDnsError| format!("not a name that can be asked for: {e}");
    let mut packet = Packet::new_query(0);
    for kind in [TYPE::A, TYPE::AAAA] {
        packet.questions.push(Question::new(
            Name::new(host).map_err(why)?,
            QTYPE::TYPE(kind),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
    }
    packet.build_bytes_vec_compressed().map_err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "6f6b5c1e-5f0f-4e6c-9f33-9a0c8d3b2a11.local";

    type Answers = Vec<(String, Result<Vec<IpAddr>, String>)>;

    fn drain(mdns: &mut Mdns) -> (Vec<Vec<u8>>, Answers) {
        let (mut sent, mut found) = (Vec::new(), Vec::new());
        loop {
            match mdns.poll_output() {
                MdnsOutput::Multicast(packet) => sent.push(packet),
                MdnsOutput::Resolved(host, result) => found.push((host, result)),
                MdnsOutput::Timeout(_) => return (sent, found),
            }
        }
    }

    #[test]
    fn one_asks_and_the_other_answers() {
        for address in ["192.0.2.7", "fd00::7"] {
            let address: IpAddr = address.parse().unwrap();
            let (mut asks, mut answers) = (Mdns::new(), Mdns::new());
            assert!(answers.publish(NAME, address));
            asks.resolve(NAME, Instant::now());
            let (questions, _) = drain(&mut asks);
            answers.handle_datagram(&questions[0]);
            let (sent, _) = drain(&mut answers);
            assert_eq!(sent.len(), 1);
            asks.handle_datagram(&sent[0]);
            assert_eq!(drain(&mut asks).1, [(NAME.to_owned(), Ok(vec![address]))]);
            assert_eq!(asks.poll_output(), MdnsOutput::Timeout(None));
            answers.unpublish(NAME);
            answers.handle_datagram(&questions[0]);
            assert!(drain(&mut answers).0.is_empty());
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_given_up() {
        let start = Instant::now();
        let mut mdns = Mdns::new();
        mdns.resolve(NAME, start);
        let mut sent = 0;
        loop {
            match mdns.poll_output() {
                MdnsOutput::Multicast(_) => sent += 1,
                MdnsOutput::Timeout(Some(at)) => mdns.handle_timeout(at),
                MdnsOutput::Timeout(None) => panic!("without a word"),
                MdnsOutput::Resolved(host, result) => {
                    assert_eq!((host.as_str(), sent), (NAME, 3));
                    assert!(result.unwrap_err().contains("nobody"));
                    return;
                }
            }
        }
    }

    #[test]
    fn strange_names_and_junk_do_no_harm() {
        let mut mdns = Mdns::new();
        mdns.resolve(&"x".repeat(300), Instant::now());
        assert!(drain(&mut mdns).1[0].1.is_err());
        assert!(is_local(NAME) && is_local("a.LOCAL.") && !is_local(".local"));
        assert!(!is_local("example.org") && !is_local("xlocal") && !is_local("äöü€ocal"));
        mdns.publish(NAME, "192.0.2.7".parse().unwrap());
        mdns.resolve(NAME, Instant::now());
        let (sent, _) = drain(&mut mdns);
        for at in 0..sent[0].len() {
            for bit in 0..8 {
                let mut bad = sent[0].clone();
                bad[at] ^= 1 << bit;
                mdns.handle_datagram(&bad);
                mdns.handle_datagram(&sent[0][..at]);
            }
        }
    }

    #[test]
    fn names_of_others_are_not_taken() {
        let (mut asks, mut answers) = (Mdns::new(), Mdns::new());
        answers.publish("other.local", "192.0.2.7".parse().unwrap());
        asks.resolve(NAME, Instant::now());
        answers.handle_datagram(&question("other.local").unwrap());
        let (sent, _) = drain(&mut answers);
        asks.handle_datagram(&sent[0]);
        assert!(drain(&mut asks).1.is_empty());
    }

    #[test]
    fn names_have_limits() {
        let mut mdns = Mdns::new();
        for n in 0..=MAX_QUERIES {
            mdns.resolve(&format!("{n}.local"), Instant::now());
        }
        let (sent, found) = drain(&mut mdns);
        assert_eq!(sent.len(), MAX_QUERIES);
        let [(host, Err(why))] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(*host, format!("{MAX_QUERIES}.local"));
        assert!(why.contains("already"), "{why}");
        let address = "192.0.2.7".parse().unwrap();
        for n in 0..=MAX_PUBLISHED {
            assert_eq!(
                mdns.publish(&format!("{n}.local"), address),
                n < MAX_PUBLISHED
            );
        }
        mdns.unpublish("0.local");
        assert!(
            mdns.publish("new.local", address),
            "room that is made is used"
        );
    }

    #[test]
    fn questions_of_one_packet_have_a_limit() {
        let mut mdns = Mdns::new();
        let mut packet = Packet::new_query(0);
        for n in 0..=MAX_QUESTIONS {
            let host = format!("{n}.local");
            assert!(mdns.publish(&host, "192.0.2.7".parse().unwrap()));
            let name = Name::new(&host).unwrap().into_owned();
            let class = QCLASS::CLASS(CLASS::IN);
            let question = Question::new(name, QTYPE::TYPE(TYPE::A), class, false);
            packet.questions.push(question);
        }
        mdns.handle_datagram(&packet.build_bytes_vec().unwrap());
        let (sent, _) = drain(&mut mdns);
        let answer = Packet::parse(&sent[0]).unwrap();
        assert_eq!((sent.len(), answer.answers.len()), (1, MAX_QUESTIONS));
    }
}
