//! Challenges: the values of `WWW-Authenticate` (RFC 7235 §4.1), several in one header or in many.

/// Maximum number of challenges that are considered.
const MAX_CHALLENGES: usize = 16;

/// A hash function of Digest, in ascending order of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Md5 = 1,
    Sha256 = 2,
    Sha512_256 = 3,
}

/// An algorithm of Digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithm {
    pub hash: Hash,
    /// The variants with `-sess`.
    pub is_session: bool,
}

/// A supported kind of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Basic,
    Digest(Algorithm),
}

/// A challenge that can be answered. Texts are as they stand between the quotes, because they are sent back that way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub scheme: Scheme,
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub algorithm_as_given: Option<String>,
    /// `qop` contains `auth`.
    pub has_qop: bool,
    pub is_stale: bool,
}

/// Parses all challenges of a response. Returns those that can be answered, and the names of the others.
pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a str>) -> (Vec<Challenge>, Vec<String>) {
    let (mut usable, mut others) = (Vec::new(), Vec::new());
    let all = values.flat_map(split).take(MAX_CHALLENGES);
    for (scheme, parameters) in all {
        match understood(&scheme, &parameters) {
            Ok(challenge) => usable.push(challenge),
            Err(name) => others.push(name),
        }
    }
    (usable, others)
}

type Parameters = Vec<(String, String)>;

/// Splits a header into challenges. A word without `=` begins the next one.
fn split(value: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c == ';' || c.is_whitespace());
        if rest.is_empty() || challenges.len() > MAX_CHALLENGES {
            return challenges;
        }
        let is_end = |c: char| matches!(c, '=' | ',' | ';') || c.is_whitespace();
        let (word, after) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
        let Some(assigned) = after.trim_start().strip_prefix('=') else {
            challenges.push((word.to_owned(), Vec::new()));
            rest = after;
            continue;
        };
        let (value, after) = parameter(assigned.trim_start());
        rest = after;
        match challenges.last_mut() {
            Some((_, parameters)) => parameters.push((word.to_ascii_lowercase(), value.to_owned())),
            // A value that begins with a parameter is Digest in the cameras that write it.
            None => challenges.push((
                "Digest".to_owned(),
                vec![(word.to_ascii_lowercase(), value.to_owned())],
            )),
        }
    }
}

/// Reads a quoted or bare value; returns it and what follows.
fn parameter(text: &str) -> (&str, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_end = |c: char| matches!(c, ',' | ';') || c.is_whitespace();
        return text.split_at(text.find(is_end).unwrap_or(text.len()));
    };
    let mut is_escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return (&quoted[..at], &quoted[at + 1..]),
            _ => {}
        }
    }
    // Without a closing quote, all of it.
    (quoted, "")
}

/// Returns the challenge if it can be answered, else its name.
fn understood(scheme: &str, parameters: &Parameters) -> Result<Challenge, String> {
    let get = |name: &str| {
        let found = parameters.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    };
    let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(40).collect();
    let mut challenge = Challenge {
        scheme: Scheme::Basic,
        realm: get("realm").unwrap_or_default().to_owned(),
        nonce: get("nonce").unwrap_or_default().to_owned(),
        opaque: get("opaque").map(str::to_owned),
        algorithm_as_given: get("algorithm").map(str::to_owned),
        has_qop: false,
        is_stale: get("stale").is_some_and(|s| s.eq_ignore_ascii_case("true")),
    };
    if scheme.eq_ignore_ascii_case("basic") {
        return Ok(challenge);
    }
    if !scheme.eq_ignore_ascii_case("digest") {
        return Err(shown(scheme));
    }
    let name = get("algorithm").unwrap_or("MD5").to_ascii_uppercase();
    let (base, is_session) = match name.strip_suffix("-SESS") {
        Some(base) => (base, true),
        None => (name.as_str(), false),
    };
    let hash = match base {
        "MD5" | "" => Hash::Md5,
        "SHA-256" | "SHA256" => Hash::Sha256,
        "SHA-512-256" => Hash::Sha512_256,
        _ => return Err(shown(&format!("Digest {name}"))),
    };
    let qops = get("qop").unwrap_or_default();
    let mut qops = qops
        .split([',', ' '])
        .filter(|qop| !qop.is_empty())
        .peekable();
    if qops.peek().is_some() {
        challenge.has_qop = qops.any(|qop| qop.eq_ignore_ascii_case("auth"));
        if !challenge.has_qop {
            return Err(shown(&format!("Digest {name} with auth-int")));
        }
    }
    challenge.scheme = Scheme::Digest(Algorithm { hash, is_session });
    Ok(challenge)
}
