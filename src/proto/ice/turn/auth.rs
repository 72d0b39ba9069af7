//! Long-term credential of a TURN client (RFC 8489 §9.2).

use turn_types::stun::attribute::{
    Nonce, PasswordAlgorithm, PasswordAlgorithmValue, PasswordAlgorithms, Realm, Username,
};
use turn_types::stun::message::{
    IntegrityAlgorithm, IntegrityKey, LongTermKeyCredentials, Message, MessageWriteVec,
    StunWriteError,
};
use turn_types::stun::prelude::{AttributeStaticType, MessageWriteExt};

/// Prefix of a nonce that carries security features (RFC 8489 §9.2).
const NONCE_COOKIE: &str = "obMatJos2";

/// Credential state: how requests are signed once the server has sent a challenge.
pub(super) struct Auth {
    username: String,
    password: String,
    session: Option<Session>,
}

/// Omits the secrets.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("username", &self.username)
            .field("realm", &self.session.as_ref().map(|s| &s.realm))
            .finish_non_exhaustive()
    }
}

struct Session {
    realm: String,
    nonce: String,
    /// The algorithms that the server offered, returned unchanged so that it can detect a downgrade.
    offered: Vec<PasswordAlgorithmValue>,
    algorithm: IntegrityAlgorithm,
    key: IntegrityKey,
}

impl Auth {
    pub fn new(username: String, password: String) -> Self {
        Self {
            username,
            password,
            session: None,
        }
    }

    /// Returns `true` if requests are signed.
    pub fn is_known(&self) -> bool {
        self.session.is_some()
    }

    /// Takes realm and nonce from a 401 or 438 response.
    pub fn challenge(&mut self, message: &Message<'_>) -> Result<(), &'static str> {
        let realm = message.attribute::<Realm>();
        let nonce = message.attribute::<Nonce>();
        let (Ok(realm), Ok(nonce)) = (realm, nonce) else {
            return Err("the server asks for a credential without realm and nonce");
        };
        let (realm, nonce) = (realm.realm().to_owned(), nonce.nonce().to_owned());
        let offered = offered_algorithms(message);
        if offered.is_empty() && promises_algorithms(&nonce) {
            // Removed by an attacker on the path (RFC 8489 §9.2.5).
            return Err("the server's password algorithms are missing from its answer");
        }
        let algorithm = if offered.contains(&PasswordAlgorithmValue::SHA256) {
            IntegrityAlgorithm::Sha256
        } else {
            IntegrityAlgorithm::Sha1
        };
        let is_same = |s: &Session| s.realm == realm && s.algorithm == algorithm;
        let key = match self.session.take() {
            Some(session) if is_same(&session) => session.key,
            _ => LongTermKeyCredentials::new(
                self.username.clone(),
                self.password.clone(),
                realm.clone(),
            )
            .make_key(algorithm),
        };
        self.session = Some(Session {
            realm,
            nonce,
            offered,
            algorithm,
            key,
        });
        Ok(())
    }

    /// Adds USERNAME, REALM, NONCE and the signature.
    pub fn sign(&self, message: &mut MessageWriteVec) -> Result<(), StunWriteError> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        message.add_attribute(&Username::new(&self.username)?)?;
        message.add_attribute(&Realm::new(&session.realm)?)?;
        message.add_attribute(&Nonce::new(&session.nonce)?)?;
        if !session.offered.is_empty() {
            message.add_attribute(&PasswordAlgorithms::new(&session.offered))?;
            let chosen = match session.algorithm {
                IntegrityAlgorithm::Sha256 => PasswordAlgorithmValue::SHA256,
                IntegrityAlgorithm::Sha1 => PasswordAlgorithmValue::MD5,
            };
            message.add_attribute(&PasswordAlgorithm::new(chosen))?;
        }
        message.add_message_integrity_with_key(&session.key, session.algorithm)
    }

    /// Returns `true` if the server signed this message with the agreed key and algorithm.
    pub fn verify(&self, message: &Message<'_>) -> bool {
        self.session.as_ref().is_some_and(|session| {
            message
                .validate_integrity_with_key(&session.key)
                .is_ok_and(|algorithm| algorithm == session.algorithm)
        })
    }
}

/// Returns the server's password algorithms that are supported here. Parsed by hand: the parser of `stun-types` 2.0
/// assumes that the attribute is not cut off within its second entry.
fn offered_algorithms(message: &Message<'_>) -> Vec<PasswordAlgorithmValue> {
    let Some(raw) = message.raw_attribute(PasswordAlgorithms::TYPE) else {
        return Vec::new();
    };
    let mut rest: &[u8] = &raw.value;
    let mut offered = Vec::new();
    while let [k0, k1, l0, l1, after @ ..] = rest {
        match u16::from_be_bytes([*k0, *k1]) {
            1 => offered.push(PasswordAlgorithmValue::MD5),
            2 => offered.push(PasswordAlgorithmValue::SHA256),
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*l0, *l1])).next_multiple_of(4);
        rest = after.get(length..).unwrap_or_default();
    }
    offered
}

/// Reads the first of the 24 feature bits, which follow the cookie in base64.
fn promises_algorithms(nonce: &str) -> bool {
    let first = nonce
        .strip_prefix(NONCE_COOKIE)
        .and_then(|n| n.bytes().next());
    // The first six bits; in this alphabet the upper half begins with 'g' (32).
    first.is_some_and(|b| matches!(b, b'g'..=b'z' | b'0'..=b'9' | b'+' | b'/'))
}
