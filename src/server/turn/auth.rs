//! Long-term credential mechanism, server side (RFC 8489 §9.2.4).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use sha1::Sha1;
use turn_types::stun::attribute::{
    Nonce, PasswordAlgorithm, PasswordAlgorithmValue, PasswordAlgorithms, Realm, Username,
};
use turn_types::stun::message::{
    IntegrityAlgorithm, IntegrityKey, LongTermKeyCredentials, Message, MessageWriteVec,
    StunWriteError, TransactionId,
};
use turn_types::stun::prelude::{Attribute, AttributeStaticType, MessageWriteExt};

use super::config::Credentials;
use crate::proto::rtp::base64;

/// Prefix of nonces: the cookie of nonces with security features, and the first feature, password algorithms (RFC 8489
/// §9.2, §18.1).
const NONCE_FEATURES: &str = "obMatJos2gAAA";

/// Number of HMAC bytes in a nonce.
const NONCE_PROOF: usize = 8;

/// The offered password algorithms, best first, in wire format.
const OFFERED: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

/// MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256.
const INTEGRITY: [u16; 2] = [0x0008, 0x001c];

/// The signer of a request, with the key for the response.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    pub username: String,
    pub algorithm: IntegrityAlgorithm,
    pub key: IntegrityKey,
}

impl Signer {
    pub fn sign(&self, answer: &mut MessageWriteVec) -> Result<(), StunWriteError> {
        answer.add_message_integrity_with_key(&self.key, self.algorithm)
    }
}

/// Reason why a request is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// Missing or wrong credentials: 401, with a challenge.
    Unauthorized,
    /// Expired nonce: 438, with a new one.
    Stale,
    /// Missing attributes: 400.
    Malformed,
}

pub(super) struct Auth {
    realm: String,
    credentials: Credentials,
    nonce_lifetime: Duration,
    /// Key of the nonces. They are verified by HMAC, so none has to be stored.
    secret: Hmac<Sha1>,
    start: Instant,
}

impl Auth {
    pub fn new(
        realm: String,
        credentials: Credentials,
        nonce_lifetime: Duration,
        seed: Option<u64>,
        start: Instant,
    ) -> Self {
        let mut secret = hmac(&[]);
        match seed {
            Some(seed) => secret.update(&seed.to_be_bytes()),
            None => {
                // 192 bits from the operating system's randomness.
                for _ in 0..2 {
                    let random = u128::from(TransactionId::generate());
                    secret.update(&random.to_be_bytes()[4..]);
                }
            }
        }
        let secret = hmac(&secret.finalize().into_bytes());
        Self {
            realm,
            credentials,
            nonce_lifetime,
            secret,
            start,
        }
    }

    /// Authenticates a request. `known` is the signer of this client's allocation; `unix` is the time in seconds since
    /// 1970.
    pub fn check(
        &self,
        message: &Message<'_>,
        client: SocketAddr,
        known: Option<&Signer>,
        now: Instant,
        unix: u64,
    ) -> Result<Signer, Denied> {
        let signed = message
            .iter_attributes()
            .any(|(_, a)| INTEGRITY.contains(&a.get_type().value()));
        if !signed {
            return Err(Denied::Unauthorized);
        }
        let username = message.attribute::<Username>();
        let realm = message.attribute::<Realm>();
        let nonce = message.attribute::<Nonce>();
        let (Ok(username), Ok(realm), Ok(nonce)) = (username, realm, nonce) else {
            return Err(Denied::Malformed);
        };
        let algorithm = self.algorithm(message, nonce.nonce())?;
        let username = username.username();
        if realm.realm() != self.realm {
            return Err(Denied::Unauthorized);
        }
        let known = known.filter(|k| k.username == username && k.algorithm == algorithm);
        let signer = match known {
            Some(signer) => signer.clone(),
            None => self
                .signer(username, algorithm, unix)
                .ok_or(Denied::Unauthorized)?,
        };
        let verified = message.validate_integrity_with_key(&signer.key);
        if !verified.is_ok_and(|with| with == algorithm) {
            return Err(Denied::Unauthorized);
        }
        // Checked last, so that an unauthenticated client learns nothing about valid nonces.
        if !self.is_fresh(nonce.nonce(), client, now) {
            return Err(Denied::Stale);
        }
        Ok(signer)
    }

    /// Returns the password algorithm chosen by the client; MD5 if it names none.
    fn algorithm(&self, message: &Message<'_>, nonce: &str) -> Result<IntegrityAlgorithm, Denied> {
        let offered = message.raw_attribute(PasswordAlgorithms::TYPE);
        let chosen = message.raw_attribute(PasswordAlgorithm::TYPE);
        if !nonce.starts_with(NONCE_FEATURES) {
            return Ok(IntegrityAlgorithm::Sha1);
        }
        match (offered, chosen) {
            (None, None) => Ok(IntegrityAlgorithm::Sha1),
            (Some(offered), Some(chosen)) if &*offered.value == OFFERED => match &*chosen.value {
                [0, 1, 0, 0] => Ok(IntegrityAlgorithm::Sha1),
                [0, 2, 0, 0] => Ok(IntegrityAlgorithm::Sha256),
                _ => Err(Denied::Malformed),
            },
            // Someone on the path has shortened the list.
            _ => Err(Denied::Malformed),
        }
    }

    fn signer(&self, username: &str, algorithm: IntegrityAlgorithm, unix: u64) -> Option<Signer> {
        let password = self.password(username, unix)?;
        let credentials =
            LongTermKeyCredentials::new(username.to_owned(), password, self.realm.clone());
        Some(Signer {
            username: username.to_owned(),
            algorithm,
            key: credentials.make_key(algorithm),
        })
    }

    fn password(&self, username: &str, unix: u64) -> Option<String> {
        if let Some(password) = self.credentials.users.get(username) {
            return Some(password.clone());
        }
        let secret = self.credentials.secret.as_deref()?;
        let expiry = username.split(':').next()?.parse::<u64>().ok()?;
        (unix < expiry).then(|| rest_password(secret, username))
    }

    /// Adds realm, nonce and password algorithms.
    pub fn challenge(
        &self,
        answer: &mut MessageWriteVec,
        client: SocketAddr,
        now: Instant,
    ) -> Result<(), StunWriteError> {
        answer.add_attribute(&Realm::new(&self.realm)?)?;
        answer.add_attribute(&Nonce::new(&self.nonce(client, now))?)?;
        let offered = [PasswordAlgorithmValue::SHA256, PasswordAlgorithmValue::MD5];
        answer.add_attribute(&PasswordAlgorithms::new(&offered))
    }

    /// Returns a nonce for this client. It contains its creation time and an HMAC.
    pub fn nonce(&self, client: SocketAddr, now: Instant) -> String {
        let seconds = self.seconds(now).to_be_bytes();
        let mut bytes = seconds.to_vec();
        bytes.extend(&self.proof(seconds, client)[..NONCE_PROOF]);
        format!("{NONCE_FEATURES}{}", base64::encode(&bytes))
    }

    fn is_fresh(&self, nonce: &str, client: SocketAddr, now: Instant) -> bool {
        let bytes = nonce.strip_prefix(NONCE_FEATURES).and_then(base64::decode);
        let Some((seconds, proof)) = bytes.as_deref().and_then(|b| b.split_first_chunk::<4>())
        else {
            return false;
        };
        let age = self
            .seconds(now)
            .saturating_sub(u32::from_be_bytes(*seconds));
        proof == &self.proof(*seconds, client)[..NONCE_PROOF]
            && u64::from(age) < self.nonce_lifetime.as_secs().max(1)
    }

    fn proof(&self, seconds: [u8; 4], client: SocketAddr) -> [u8; 20] {
        let mut proof = self.secret.clone();
        proof.update(&seconds);
        match client.ip() {
            std::net::IpAddr::V4(ip) => proof.update(&ip.octets()),
            std::net::IpAddr::V6(ip) => proof.update(&ip.octets()),
        }
        proof.update(&client.port().to_be_bytes());
        proof.finalize().into_bytes().into()
    }

    fn seconds(&self, now: Instant) -> u32 {
        let seconds = now.saturating_duration_since(self.start).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }
}

/// Returns the password for a time-limited username: base64 of its HMAC-SHA1.
///
/// A web service that knows the secret calls this to issue credentials:
///
/// ```
/// use looprtc::server::turn::rest_password;
/// let username = "1900000000:alice"; // valid until 2030-03-17
/// assert_eq!(rest_password(b"the service's secret", username).len(), 28);
/// ```
pub fn rest_password(secret: &[u8], username: &str) -> String {
    let mut mac = hmac(secret);
    mac.update(username.as_bytes());
    base64::encode(&mac.finalize().into_bytes())
}

/// Returns the name that an allocation counts against in quotas: for a time-limited username, the name without the
/// time.
pub(super) fn quota_name(username: &str) -> &str {
    match username.split_once(':') {
        Some((expiry, name)) if expiry.parse::<u64>().is_ok() => name,
        _ if username.parse::<u64>().is_ok() => "",
        _ => username,
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha1> {
    // Keys longer than a block are hashed first, so every length is valid.
    let Ok(mac) = Hmac::<Sha1>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length");
    };
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_passwords_are_as_others_make_them() {
        // printf 1433895918:user | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(rest_password(b"north", "1433895918:user"), REST);
        assert_eq!(quota_name("1433895918:user"), "user");
        assert_eq!(quota_name("1433895918"), "");
        assert_eq!(quota_name("alice"), "alice");
        assert_eq!(quota_name("alice:x"), "alice:x");
    }

    const REST: &str = "/gk4t5tUc08OpM3NjrVjHSFVNmY=";

    #[test]
    fn a_nonce_is_good_for_one_client_and_one_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let auth = |seed| {
            Auth::new(
                "r".into(),
                Credentials::default(),
                Duration::from_secs(60),
                seed,
                start,
            )
        };
        let (auth, other) = (auth(None), auth(None));
        let client: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let nonce = auth.nonce(client, at(10));
        assert!(auth.is_fresh(&nonce, client, at(10)));
        assert!(auth.is_fresh(&nonce, client, at(69)));
        assert!(!auth.is_fresh(&nonce, client, at(70)));
        assert!(!auth.is_fresh(&nonce, "192.0.2.1:4001".parse().unwrap(), at(10)));
        assert!(!auth.is_fresh(&nonce, "192.0.2.2:4000".parse().unwrap(), at(10)));
        assert!(!other.is_fresh(&nonce, client, at(10)));
        for junk in [
            "",
            NONCE_FEATURES,
            "obMatJos2gAAA====",
            "x",
            &nonce[1..],
            &nonce[..nonce.len() - 4],
        ] {
            assert!(!auth.is_fresh(junk, client, at(10)), "{junk}");
        }
    }
}
