//! Explanations of the transport: BUNDLE, ICE, DTLS, SCTP.

use super::Explained;
use super::outline::{Outline, Section};
use crate::proto::ice::{ServerHost, ServerKind, ServerTransport, ServerUrl};

pub(super) fn group(value: &str, outline: &Outline<'_>) -> Explained {
    let mut fields = value.split_ascii_whitespace();
    let semantics = fields.next().unwrap_or_default();
    let mids: Vec<_> = fields.collect();
    let (reference, meaning) = match semantics {
        "BUNDLE" => (
            "RFC 9143 §5",
            "Goes over one transport (one port, one ICE, one DTLS): the sections",
        ),
        "LS" => ("RFC 5888 §7", "Lip synchronisation between the sections"),
        "FID" => (
            "RFC 5888 §8.4",
            "The same flow in several encodings: the sections",
        ),
        "FEC-FR" => ("RFC 5956 §4.1", "Media and its repair: the sections"),
        _ => ("RFC 5888 §5", "A group of sections"),
    };
    let mut explained = Explained::new(reference, format!("{meaning} {}", mids.join(", ")));
    for mid in &mids {
        if outline.section_of_mid(mid).is_none() {
            explained = explained.error(format!("no section has a=mid:{mid}"));
        }
    }
    if semantics == "BUNDLE" && !mids.is_empty() {
        explained = explained.detail(format!(
            "the transport is that of {}, the first one",
            mids[0]
        ));
        let outside = outline.sections.iter().filter(|s| !s.is_rejected());
        for section in outside.filter(|s| s.get("mid").is_none_or(|mid| !mids.contains(&mid))) {
            explained = explained.warning(format!(
                "the section of line {} ({}) is not in it: it needs a transport of its own, which WebRTC peers often \
                 do not give",
                section.line, section.kind
            ));
        }
    }
    explained
}

pub(super) fn mid(value: &str, outline: &Outline<'_>, section: &Section<'_>) -> Explained {
    let explained = Explained::new(
        "RFC 5888 §4",
        format!("The name of this section is {value:?}"),
    );
    let same = outline
        .sections
        .iter()
        .filter(|s| s.get("mid") == Some(value))
        .count();
    let named = section.all("mid").count();
    match (value, same, named) {
        ("", ..) => explained.error("the name is empty"),
        (_, 2.., _) => explained.error("another section has the same name"),
        (_, _, 2..) => explained.error("the section has two names"),
        _ => explained,
    }
}

/// Explains `a=setup` (RFC 4145 for TCP, RFC 8842 §5 for DTLS).
pub(super) fn setup(value: &str) -> Explained {
    let meaning = match value {
        "actpass" => "Either side may begin the DTLS handshake: the answer chooses (an offer)",
        "active" => "This side begins the DTLS handshake: it is the client",
        "passive" => "This side waits for the DTLS handshake: it is the server",
        "holdconn" => "No DTLS for now",
        _ => "Who begins the DTLS handshake",
    };
    let explained = Explained::new("RFC 4145 §4, RFC 8842 §5", meaning);
    match value {
        "actpass" | "active" | "passive" => explained,
        "holdconn" => explained.error("WebRTC does not know holdconn (RFC 8842 §5.1)"),
        other => explained.error(format!("{other:?}: there are actpass, active and passive")),
    }
}

pub(super) fn fingerprint(value: &str) -> Explained {
    let (hash, digits) = value.split_once(' ').unwrap_or((value, ""));
    let hash = hash.to_ascii_lowercase();
    let mut explained = Explained::new(
        "RFC 8122 §5",
        format!(
            "The {hash} of the certificate that this side shows in DTLS: it is how the other side knows that it talks to the right one"
        ),
    );
    let length = match hash.as_str() {
        "sha-1" | "md5" | "md2" => {
            explained = explained.warning(format!(
                "{hash} is weak: browsers take sha-256 and better (RFC 8122 §5.1)"
            ));
            if hash == "sha-1" { 20 } else { 16 }
        }
        "sha-224" => 28,
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return explained.error(format!("the hash {hash:?} is not known")),
    };
    let bytes: Vec<_> = digits.trim().split(':').collect();
    let is_byte = |byte: &&str| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit());
    if !bytes.iter().all(is_byte) || bytes.len() != length {
        return explained.error(format!(
            "a {hash} is {length} bytes of two hexadecimal digits, with colons between them; here are {}",
            bytes.len()
        ));
    }
    explained
}

pub(super) fn ufrag(value: &str) -> Explained {
    let explained = Explained::new(
        "RFC 8839 §5.4",
        format!("The name {value:?} of this ICE generation, for STUN checks"),
    )
    .detail("a new one with a new ice-pwd is an ICE restart (RFC 8839 §4.4.1.1.1)");
    characters(value, 4, explained)
}

pub(super) fn pwd(value: &str) -> Explained {
    let explained = Explained::new(
        "RFC 8839 §5.4",
        "The password that STUN checks to this side are signed with",
    );
    characters(value, 22, explained)
}

fn characters(value: &str, least: usize, explained: Explained) -> Explained {
    let length = value.chars().count();
    if !(least..=256).contains(&length) {
        return explained.error(format!(
            "it has {length} characters; {least} to 256 are asked for"
        ));
    }
    if !value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
    {
        return explained.note(
            "it has characters other than letters, digits, + and /, which the RFC does not allow",
        );
    }
    explained
}

pub(super) fn ice_options(value: &str) -> Explained {
    let mut explained = Explained::new("RFC 8839 §5.6", "What this side can do in ICE");
    for option in value.split_ascii_whitespace() {
        explained = explained.detail(match option {
            "trickle" => "trickle: candidates may come later, one by one (RFC 8838 §3)".to_owned(),
            "ice2" => "ice2: ICE as in RFC 8445, not its predecessor (RFC 8445 §10)".to_owned(),
            "renomination" => "renomination: the chosen pair may be changed later (draft-thatcher-ice-renomination)".to_owned(),
            "rtp+ecn" => "rtp+ecn: congestion marks are understood (RFC 6679 §6.4)".to_owned(),
            other => format!("{other}: not known here"),
        });
    }
    explained
}

pub(super) fn sctp_port(value: &str) -> Explained {
    let explained = Explained::new(
        "RFC 8841 §5",
        format!("SCTP's own port is {value}, inside of DTLS; nothing has to be opened for it"),
    );
    match value.parse::<u16>() {
        Ok(0) => explained.note("0 closes the association"),
        Ok(_) => explained,
        Err(_) => explained.error("it is a number up to 65535"),
    }
}

pub(super) fn max_message_size(value: &str) -> Explained {
    match value.parse::<u64>() {
        Ok(0) => Explained::new("RFC 8841 §6", "Messages of every size are taken"),
        Ok(bytes) => Explained::new(
            "RFC 8841 §6",
            format!(
                "Messages of at most {bytes} bytes are taken ({})",
                size(bytes)
            ),
        ),
        Err(_) => Explained::new("RFC 8841 §6", "The largest message that is taken")
            .error("it is a number of bytes"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// Explains the URL of an ICE server.
pub(super) fn server(url: &str) -> Explained {
    let parsed: ServerUrl = match url.parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            return Explained::new(
                "RFC 7064, RFC 7065",
                "The URL of an ICE server that cannot be used",
            )
            .error(error.to_string());
        }
    };
    let how = match parsed.transport {
        ServerTransport::Udp => "over UDP",
        ServerTransport::Tcp => "over TCP",
        ServerTransport::Tls => "over TLS",
    };
    let (reference, meaning) = match parsed.kind {
        ServerKind::Stun => (
            "RFC 7064 §3.1",
            "A STUN server: tells a peer from which address its datagrams come",
        ),
        ServerKind::Turn => (
            "RFC 7065 §3.1",
            "A TURN server: relays for peers that cannot reach each other",
        ),
    };
    let mut explained = Explained::new(reference, format!("{meaning}, {how}"))
        .detail(format!("at {}, port {}", parsed.host, parsed.port));
    if let ServerHost::Name(name) = &parsed.host {
        explained = explained.detail(format!("the name {name} is resolved first"));
    }
    if parsed.kind == ServerKind::Turn {
        explained = explained
            .note("it needs a username and a credential, which stand beside the URL, not in it");
    }
    match (parsed.transport, parsed.kind) {
        (ServerTransport::Udp, ServerKind::Turn) => explained.note(
            "where UDP is blocked, only ?transport=tcp or turns: gets through, best at port 443",
        ),
        (ServerTransport::Tcp | ServerTransport::Tls, ServerKind::Stun) => {
            explained.warning(
                "browsers ask STUN over UDP only; looprtc asks so for candidates of ICE-TCP that others connect to",
            )
        }
        _ => explained,
    }
}
