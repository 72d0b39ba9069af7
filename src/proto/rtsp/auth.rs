//! Authentication: Basic (RFC 7617) and Digest (RFC 2617, RFC 7616).
//!
//! Written here rather than taken from `http-auth`: that crate is sound, but brings random numbers and hexadecimal crates of
//! its own (21 in all), draws client nonces that cannot be replayed, and takes one challenge at a time where cameras need
//! another one after a refusal. The hashes were in the tree already.

mod challenge;
#[cfg(test)]
mod tests;

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

use self::challenge::{Algorithm, Challenge, Hash, Scheme};
use super::error::RtspError;
use super::quirk::Quirk;
use super::url::Credentials;
use crate::proto::random::Random;
use crate::proto::rtp::base64;

#[cfg(feature = "testing")]
pub(crate) use self::challenge::parse as parse_challenges;

/// How many kinds of authentication are tried with the same password. Cameras lock accounts after some more.
const MAX_REFUSALS: u32 = 2;

/// How many new nonces are accepted for one request.
const MAX_RENEWALS: u32 = 2;

/// Answers the challenges of one camera.
#[derive(Debug)]
pub(crate) struct Authenticator {
    credentials: Option<Credentials>,
    active: Option<Active>,
    refusals: u32,
    /// New nonces since the last accepted request.
    renewals: u32,
    random: Random,
}

/// The challenge in use.
#[derive(Debug)]
struct Active {
    challenge: Challenge,
    /// Number of requests with this nonce.
    count: u32,
    client_nonce: String,
    /// The camera has accepted an answer to this kind of challenge.
    is_proved: bool,
}

impl Authenticator {
    pub fn new(credentials: Option<Credentials>, seed: Option<u64>) -> Self {
        Self {
            credentials,
            active: None,
            refusals: 0,
            renewals: 0,
            random: Random::new(seed),
        }
    }

    /// Returns `true` once the camera has asked for authentication.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Takes the `WWW-Authenticate` headers of a response with status 401. After `Ok`, the request is repeated. Returns
    /// the tolerances that were needed.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no password, no supported kind of authentication, or if the password was refused.
    pub fn challenged<'a>(
        &mut self,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Quirk>, RtspError> {
        let (mut usable, others) = challenge::parse(values);
        // Without a usable challenge the password is not to blame.
        if usable.is_empty() {
            return Err(match others.is_empty() {
                true => RtspError::Authentication("it names none".to_owned()),
                false => RtspError::Authentication(others.join(", ")),
            });
        }
        if self.credentials.is_none() {
            return Err(RtspError::PasswordNeeded);
        }
        let mut quirks = Vec::new();
        if usable.len() + others.len() > 1 {
            quirks.push(Quirk::SeveralChallenges);
        }
        usable.sort_by_key(|challenge| std::cmp::Reverse(challenge.strength()));
        let chosen = self.choose(usable, &mut quirks)?;
        if chosen.has_qop {
            quirks.push(Quirk::DigestQop);
        }
        if chosen.strength() > Hash::Md5 as u8 {
            quirks.push(Quirk::DigestSha);
        }
        let is_proved = self
            .active
            .as_ref()
            .is_some_and(|a| a.is_proved && a.challenge.scheme == chosen.scheme);
        self.active = Some(Active {
            challenge: chosen,
            count: 0,
            client_nonce: format!("{:016x}", self.random.bits()),
            is_proved,
        });
        Ok(quirks)
    }

    /// Chooses among usable challenges, strongest first: the strongest, a new nonce for the one in use, or the next one
    /// after a refusal.
    fn choose(
        &mut self,
        usable: Vec<Challenge>,
        quirks: &mut Vec<Quirk>,
    ) -> Result<Challenge, RtspError> {
        let mut usable = usable.into_iter();
        let Some(active) = &self.active else {
            return usable.next().ok_or(RtspError::WrongPassword);
        };
        let scheme = active.challenge.scheme;
        let strength = active.challenge.strength();
        let same = usable.clone().find(|challenge| challenge.scheme == scheme);
        if let Some(same) = same
            && same.nonce != active.challenge.nonce
            && (same.is_stale || active.is_proved)
            && self.renewals < MAX_RENEWALS
        {
            self.renewals += 1;
            if !same.is_stale {
                quirks.push(Quirk::DigestNonceChanges);
            }
            return Ok(same);
        }
        self.refusals += 1;
        if self.refusals >= MAX_REFUSALS {
            return Err(RtspError::WrongPassword);
        }
        let weaker = usable.find(|challenge| challenge.strength() < strength);
        weaker.ok_or(RtspError::WrongPassword)
    }

    /// The camera has accepted a request.
    pub fn accepted(&mut self) {
        self.renewals = 0;
        if let Some(active) = &mut self.active {
            active.is_proved = true;
        }
    }

    /// Returns the value of `Authorization` for a request; `None` if the camera has not asked for it. `uri` must be that of
    /// the request line.
    pub fn authorization(&mut self, method: &str, uri: &str) -> Option<String> {
        let (active, credentials) = (self.active.as_mut()?, self.credentials.as_ref()?);
        let (user, password) = (&credentials.user, credentials.password.expose());
        let Scheme::Digest(algorithm) = active.challenge.scheme else {
            let both = format!("{user}:{password}");
            return Some(format!("Basic {}", base64::encode(both.as_bytes())));
        };
        active.count = active.count.saturating_add(1);
        let count = format!("{:08x}", active.count);
        let challenge = &active.challenge;
        let (realm, nonce) = (&challenge.realm, &challenge.nonce);
        let hash = |text: String| algorithm.hash.of(&text);
        let mut secret = hash(format!("{user}:{realm}:{password}"));
        if algorithm.is_session {
            secret = hash(format!("{secret}:{nonce}:{}", active.client_nonce));
        }
        let request = hash(format!("{method}:{uri}"));
        let response = match challenge.has_qop {
            true => hash(format!(
                "{secret}:{nonce}:{count}:{}:auth:{request}",
                active.client_nonce
            )),
            false => hash(format!("{secret}:{nonce}:{request}")),
        };
        let user = user.replace('\\', "\\\\").replace('"', "\\\"");
        let mut value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\""
        );
        if let Some(opaque) = &challenge.opaque {
            value += &format!(", opaque=\"{opaque}\"");
        }
        if let Some(name) = &challenge.algorithm_as_given {
            value += &format!(", algorithm={name}");
        }
        if challenge.has_qop {
            value += &format!(", qop=auth, nc={count}");
        }
        if challenge.has_qop || algorithm.is_session {
            value += &format!(", cnonce=\"{}\"", active.client_nonce);
        }
        Some(value)
    }
}

impl Hash {
    /// Returns the hash of a text in lower-case hexadecimal digits.
    fn of(self, text: &str) -> String {
        fn hex(bytes: &[u8]) -> String {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Sha512_256 => hex(&Sha512_256::digest(text)),
        }
    }
}

impl Challenge {
    /// Orders challenges: Basic, then Digest by its hash.
    fn strength(&self) -> u8 {
        match self.scheme {
            Scheme::Basic => 0,
            Scheme::Digest(Algorithm { hash, .. }) => hash as u8,
        }
    }
}
