//! Explanations of candidates, with their priorities broken down.

use std::net::{IpAddr, Ipv6Addr};

use super::Explained;
use super::outline::{Outline, Section};
use crate::proto::ice::candidate::CandidateAddress;
use crate::proto::ice::{CandidateType, IceCandidate};

const REFERENCE: &str = "RFC 8839 §5.1";

/// Explains a candidate, alone or within its media section.
pub(super) fn explain(line: &str, place: Option<(&Outline<'_>, &Section<'_>)>) -> Explained {
    let candidate = match IceCandidate::parse(line) {
        Ok(candidate) => candidate,
        Err(error) => {
            return Explained::new(REFERENCE, "An ICE candidate that cannot be read")
                .error(error.to_string());
        }
    };
    let meaning = format!(
        "{}: {} {}",
        kind(candidate.typ),
        candidate.protocol.to_uppercase(),
        at(&candidate)
    );
    let mut explained = Explained::new(REFERENCE, meaning)
        .detail(priority(&candidate))
        .detail(format!(
            "foundation {}: candidates with the same one are of one kind, from one base, by one server; pairs of them \
             are checked one after the other",
            candidate.foundation
        ));
    if let Some(related) = candidate.related_address {
        explained = explained.detail(base(candidate.typ, related.ip(), &related.to_string()));
    }
    explained = extensions(line, explained);
    explained = component(&candidate, place.map(|(_, section)| section), explained);
    explained = transport(&candidate, explained);
    let is_typed = line.split_ascii_whitespace().any(|word| word == "tcptype");
    if candidate.protocol != "tcp" && is_typed {
        explained = explained
            .warning("tcptype is of TCP candidates (RFC 6544 §4.5): it means nothing for UDP, and is passed over here; \
                      others may refuse the candidate");
    }
    explained = address(&candidate, explained);
    generation(&candidate, place, explained)
}

fn kind(typ: CandidateType) -> &'static str {
    match typ {
        CandidateType::Host => "An address of the peer's own (host)",
        CandidateType::ServerReflexive => "The address that a STUN server saw (server-reflexive)",
        CandidateType::PeerReflexive => "An address that the other peer saw (peer-reflexive)",
        CandidateType::Relay => "An address of a TURN server that relays (relay)",
    }
}

fn at(candidate: &IceCandidate) -> String {
    match &candidate.address {
        CandidateAddress::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{}", candidate.port),
        address => format!("{address}:{}", candidate.port),
    }
}

fn base(typ: CandidateType, ip: IpAddr, related: &str) -> String {
    match typ {
        _ if ip.is_unspecified() => {
            "raddr and rport are hidden, so that they do not tell local addresses".into()
        }
        CandidateType::Relay => format!("the TURN server sees the peer at {related}"),
        _ => format!("found from the local address {related}"),
    }
}

/// Breaks down a priority: 2^24 × type preference + 2^8 × local preference + 256 − component (RFC 8445 §5.1.2.1).
fn priority(candidate: &IceCandidate) -> String {
    let priority = candidate.priority;
    let (of_type, local, component) = (
        priority >> 24,
        priority >> 8 & 0xffff,
        256 - (priority & 0xff),
    );
    let usual = match candidate.typ {
        CandidateType::Host => 126,
        CandidateType::PeerReflexive => 110,
        CandidateType::ServerReflexive => 100,
        CandidateType::Relay => 0,
    };
    let mut text = format!(
        "priority {priority} = type preference {of_type} × 2^24 + local preference {local} × 2^8 + 256 − component \
         {component} (RFC 8445 §5.1.2.1)"
    );
    if of_type != usual {
        text += &format!(
            "; {} candidates have a type preference of {usual} as a rule",
            candidate.typ
        );
    }
    if candidate.protocol == "tcp" {
        // RFC 6544 §4.2.
        text += &format!(
            "; over TCP the local preference is direction preference {} × 2^13 + {}",
            local >> 13,
            local & 0x1fff
        );
    }
    text
}

fn extensions(line: &str, mut explained: Explained) -> Explained {
    let mut fields = line.split_ascii_whitespace().skip(8);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let text = match name {
            "generation" => {
                format!("generation {value}: which ICE restart it belongs to (libwebrtc's own)")
            }
            "network-id" => {
                format!("network-id {value}: which of the peer's networks (libwebrtc's own)")
            }
            "network-cost" => format!("network-cost {value}: {} (libwebrtc's own)", cost(value)),
            "ufrag" => format!("ufrag {value}: the ICE generation that it belongs to"),
            _ => continue,
        };
        explained = explained.detail(text);
    }
    explained
}

fn cost(value: &str) -> &'static str {
    match value {
        "0" => "wired, or as good",
        "10" => "Wi-Fi",
        "50" => "a network of unknown kind",
        "900" | "910" | "920" | "930" | "940" | "950" | "980" => "a cellular network, which costs",
        "999" => "the dearest there is",
        _ => "the less the better",
    }
}

fn component(
    candidate: &IceCandidate,
    section: Option<&Section<'_>>,
    explained: Explained,
) -> Explained {
    let of_priority = 256 - (candidate.priority & 0xff);
    let explained = match candidate.component {
        1 => explained,
        2 if section.is_some_and(|s| s.has("rtcp-mux")) => explained
            .note("component 2 is for RTCP, which goes with RTP here (rtcp-mux): it is not used"),
        2 => explained.detail("component 2: for RTCP"),
        n => explained.warning(format!(
            "component {n}: there are 1 (RTP, and all that is bundled) and 2 (RTCP)"
        )),
    };
    if u32::from(candidate.component) != of_priority {
        return explained.note(format!("its priority was made for component {of_priority}"));
    }
    explained
}

fn transport(candidate: &IceCandidate, explained: Explained) -> Explained {
    if candidate.protocol != "tcp" {
        if candidate.port == 0 {
            return explained.error("port 0: nobody can be reached there");
        }
        return explained;
    }
    match candidate.tcp_type.as_deref() {
        Some("active") => explained
            .detail("tcptype active: this peer dials; the port is a placeholder (RFC 6544 §4.5)")
            .note(
                "it is of use only if the other side offers a passive TCP candidate; many do not",
            ),
        Some("passive") => explained.detail("tcptype passive: this peer listens (RFC 6544 §4.5)"),
        Some("so") => explained
            .detail("tcptype so: both dial at the same time (RFC 6544 §4.5)")
            .note("simultaneous open is hardly ever implemented"),
        Some(other) => explained.warning(format!(
            "tcptype {other}: there are active, passive and so (RFC 6544 §4.5)"
        )),
        None => explained.warning("a TCP candidate without tcptype cannot be used (RFC 6544 §4.5)"),
    }
}

fn address(candidate: &IceCandidate, explained: Explained) -> Explained {
    let ip = match &candidate.address {
        CandidateAddress::Name(name) if name.ends_with(".local") => {
            return explained
                .detail("a multicast DNS name in place of the address, so that pages do not learn it (draft-ietf-mmusic-mdns-ice-candidates)")
                .note(
                    "it is of use only to peers on the same network where multicast passes; others need a \
                     server-reflexive or relayed candidate",
                );
        }
        CandidateAddress::Name(name) => {
            return explained.warning(format!(
                "{name} is a name: many peers pass over candidates that they would have to look up"
            ));
        }
        CandidateAddress::Ip(ip) => *ip,
    };
    match scope(ip) {
        Scope::Unusable(why) => {
            explained.error(format!("{ip} is {why}: nobody can be reached there"))
        }
        Scope::Loopback => explained.warning(format!("{ip} is reached from the same machine only")),
        Scope::Local(what) if candidate.typ == CandidateType::Host => explained.detail(format!(
            "{ip} is {what}: reached from the same network only"
        )),
        Scope::Local(what) => explained.note(format!(
            "{ip} is {what}: the server that saw or relays it stands inside, too"
        )),
        Scope::Documentation => {
            explained.detail(format!("{ip} is of a range for documentation and tests"))
        }
        Scope::Global => explained.detail(format!("{ip} is a public address")),
    }
}

enum Scope {
    Unusable(&'static str),
    Loopback,
    Local(&'static str),
    Documentation,
    Global,
}

fn scope(ip: IpAddr) -> Scope {
    match ip {
        _ if ip.is_unspecified() => Scope::Unusable("no address"),
        _ if ip.is_multicast() => Scope::Unusable("a multicast address"),
        _ if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(v4) => match v4.octets() {
            [255, 255, 255, 255] => Scope::Unusable("the broadcast address"),
            [100, 64..=127, ..] => Scope::Local("an address behind a carrier's NAT (RFC 6598)"),
            _ if v4.is_private() => Scope::Local("a private address (RFC 1918)"),
            _ if v4.is_link_local() => Scope::Local("a link-local address (RFC 3927)"),
            _ if v4.is_documentation() => Scope::Documentation,
            _ => Scope::Global,
        },
        IpAddr::V6(v6) => scope_v6(v6),
    }
}

fn scope_v6(ip: Ipv6Addr) -> Scope {
    match ip.segments() {
        [0xfe80..=0xfebf, ..] => Scope::Local("a link-local address (RFC 4291 §2.5.6)"),
        [0xfc00..=0xfdff, ..] => Scope::Local("a unique local address (RFC 4193)"),
        [0x2001, 0xdb8, ..] => Scope::Documentation,
        [0, 0, 0, 0, 0, 0xffff, ..] => Scope::Unusable("an IPv4 address in IPv6's clothes"),
        _ => Scope::Global,
    }
}

/// Adds whether the candidate belongs to the ICE generation of the description.
fn generation(
    candidate: &IceCandidate,
    place: Option<(&Outline<'_>, &Section<'_>)>,
    explained: Explained,
) -> Explained {
    let (Some(of), Some((outline, section))) = (&candidate.username_fragment, place) else {
        return explained;
    };
    match outline.in_force(section, "ice-ufrag") {
        Some(ufrag) if ufrag != of => explained.warning(format!(
            "it has expired: it belongs to the ICE generation {of}, and the description is of {ufrag}"
        )),
        _ => explained,
    }
}
