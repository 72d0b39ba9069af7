//! Request targets, paths and host names in URLs (RFC 3986; RFC 9112, section 3.2).

use std::net::IpAddr;

use super::Refusal;

/// Returns the target as path and query. The form that clients send to proxies (`http://host/path`) has to be understood
/// by servers as well; its host must be the `Host`.
pub(super) fn origin_form<'a>(target: &'a str, host: Option<&str>) -> Result<&'a str, Refusal> {
    if target.starts_with('/') {
        return Ok(target);
    }
    let no_path = || Refusal::bad("the target is not a path");
    let (scheme, rest) = target.split_once("://").ok_or_else(no_path)?;
    let is_http = |s: &str| scheme.eq_ignore_ascii_case(s);
    if !is_http("http") && !is_http("https") {
        return Err(no_path());
    }
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if host.is_none_or(|host| !host.eq_ignore_ascii_case(authority)) {
        return Err(Refusal::bad("the target's host is not the Host"));
    }
    if path.starts_with('?') {
        return Err(Refusal::bad("the target has no path"));
    }
    Ok(path)
}

/// Returns `true` if the text may be a host with an optional port. Names are not checked further.
pub(super) fn is_authority(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(&b))
}

/// Decodes a path that begins with `/`, then removes its dot segments (RFC 3986, sections 2.1 and 5.2.4), in this
/// order: an encoded dot or slash counts as one.
pub(crate) fn decode_path(path: &str) -> Result<String, Refusal> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'#' {
            return Err(Refusal::bad("the path has a \"#\""));
        }
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            let message = "the path has a \"%\" without two hexadecimal digits";
            return Err(Refusal::bad(message));
        };
        // Two digits of four bits.
        bytes.push((high << 4 | low) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| Refusal::bad("the path is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(Refusal::bad("the path has control characters"));
    }
    Ok(without_dot_segments(&text))
}

fn without_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut all = path.split('/').skip(1).peekable();
    while let Some(segment) = all.next() {
        let is_last = all.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Encodes a path for a URL.
pub(crate) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Decodes a name or value of a form (`application/x-www-form-urlencoded`): `+` is a space, a `%` without two digits
/// stands for itself, and bytes that are not UTF-8 become U+FFFD.
pub(super) fn decode_form(text: &str) -> String {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, digit(tail.first()), digit(tail.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            (b'+', _, _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns `true` for `localhost`, names below it (RFC 6761, section 6.3) and loopback addresses, with or without a port:
/// hosts in a `Host` header or a URL that mean this machine.
#[must_use]
pub fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    let is_address = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    is_address || name == "localhost" || name.ends_with(".localhost")
}
