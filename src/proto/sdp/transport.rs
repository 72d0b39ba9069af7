//! The transport of a description: ICE credentials and candidates, fingerprints, DTLS role.

use super::line::{Attribute, Media, Sdp};
use super::{Role, SdpError, quoted};
use crate::proto::ice::IceCandidate;

/// Maximum length of a remote `a=ice-ufrag`, in characters. RFC 8839 §5.4 allows 256, but the core formats
/// `theirs:ours` into 128 bytes and panics if it does not fit (docs/upstream.md); 16 are reserved for ours.
pub(crate) const MAX_REMOTE_UFRAG: usize = MAX_USERNAME - 1 - 16;

/// Maximum length of the USERNAME in a check, in bytes: a limit of the core.
pub(crate) const MAX_USERNAME: usize = 128;

/// Maximum number of candidates read from one description; further ones are counted as unreadable.
const MAX_CANDIDATES: usize = 256;

/// Maximum number of fingerprints read from one description.
const MAX_FINGERPRINTS: usize = 16;

/// A certificate fingerprint (RFC 8122 §5) with a supported hash function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fingerprint {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

/// The DTLS role in a description (RFC 8842 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    ActPass,
    Active,
    Passive,
}

/// The transport shared by the whole description: everything is bundled.
pub(super) struct Transport<'a> {
    pub ufrag: &'a str,
    pub pwd: &'a str,
    pub fingerprints: &'a [Fingerprint],
    pub setup: Option<Setup>,
    pub ice_lite: bool,
}

/// Search order for transport attributes: the tagged m-line, the session, the other m-lines of the bundle.
pub(super) struct Place<'a> {
    pub sdp: &'a Sdp<'a>,
    pub tagged: Option<&'a Media<'a>>,
    pub bundle: &'a [usize],
}

impl<'a> Place<'a> {
    /// Returns the attribute lists, the most specific first.
    fn lists(&self) -> impl Iterator<Item = &'a [Attribute<'a>]> {
        let sdp = self.sdp;
        let rest = self
            .bundle
            .iter()
            .skip(1)
            .map(|at| sdp.media[*at].attributes.as_slice());
        let tagged = self.tagged.map(|m| m.attributes.as_slice());
        // If no m-line is in use, any of them will do.
        let unused = self
            .tagged
            .is_none()
            .then(|| sdp.media.iter().map(|m| m.attributes.as_slice()));
        tagged
            .into_iter()
            .chain([sdp.session.as_slice()])
            .chain(rest)
            .chain(unused.into_iter().flatten())
    }

    fn find(&self, name: &str) -> Option<Attribute<'a>> {
        let mut found = self
            .lists()
            .filter_map(|list| list.iter().find(|a| a.name == name));
        found.next().copied()
    }

    fn required(&self, name: &str) -> Result<Attribute<'a>, SdpError> {
        self.find(name).ok_or_else(|| match self.tagged {
            Some(media) => SdpError::at(
                media.line,
                format!(
                    "a={name} is missing: neither {} nor the session has it",
                    media.name()
                ),
            ),
            None => SdpError::whole(format!("a={name} is missing")),
        })
    }

    /// Reads ufrag and password. Lengths follow RFC 8839 §5.4. Characters outside its alphabet are harmless, white
    /// space is not.
    pub fn credentials(&self) -> Result<(String, String), SdpError> {
        let ufrag = self.required("ice-ufrag")?;
        let pwd = self.required("ice-pwd")?;
        let is_text = |a: &Attribute<'_>| a.value.bytes().all(|c| c.is_ascii_graphic());
        for (attribute, least, most) in [(ufrag, 4, MAX_REMOTE_UFRAG), (pwd, 22, 256)] {
            if !(least..=most).contains(&attribute.value.len()) || !is_text(&attribute) {
                return Err(SdpError::at(
                    attribute.line,
                    format!(
                        "a={} must have {least} to {most} characters without white space, this one has {}",
                        attribute.name,
                        attribute.value.len()
                    ),
                ));
            }
        }
        Ok((ufrag.value.to_owned(), pwd.value.to_owned()))
    }

    /// Returns the supported fingerprints of the first list that has any: those of an m-line replace those of the
    /// session.
    pub fn fingerprints(&self) -> Result<Vec<Fingerprint>, SdpError> {
        let first = self.required("fingerprint")?;
        let has_one = |list: &&[Attribute<'_>]| list.iter().any(|a| a.name == "fingerprint");
        let list = self.lists().find(has_one).unwrap_or_default();
        let all = list
            .iter()
            .filter(|a| a.name == "fingerprint")
            .take(MAX_FINGERPRINTS);
        let mut understood = Vec::new();
        for attribute in all {
            understood.extend(Fingerprint::parse(attribute)?);
        }
        if understood.is_empty() {
            let hash = first
                .value
                .split_ascii_whitespace()
                .next()
                .unwrap_or_default();
            return Err(SdpError::at(
                first.line,
                format!(
                    "a=fingerprint uses {}; sha-256, sha-384 and sha-512 are understood",
                    quoted(hash)
                ),
            ));
        }
        Ok(understood)
    }

    /// Returns the DTLS role; `None` if it is missing or unknown.
    pub fn setup(&self, role: Role) -> Result<Option<Setup>, SdpError> {
        let Some(setup) = self.find("setup") else {
            return Ok(None);
        };
        match (setup.value.to_ascii_lowercase().as_str(), role) {
            ("actpass", Role::Offer) => Ok(Some(Setup::ActPass)),
            ("actpass", Role::Answer) => Err(SdpError::at(
                setup.line,
                "a=setup:actpass in an answer, which has to choose active or passive (RFC 8842 §5.3)",
            )),
            ("active", _) => Ok(Some(Setup::Active)),
            ("passive", _) => Ok(Some(Setup::Passive)),
            ("holdconn", _) => Err(SdpError::at(
                setup.line,
                "a=setup:holdconn: DTLS has to begin, as active, passive or actpass (RFC 8842 §4.1)",
            )),
            _ => Ok(None),
        }
    }

    pub fn candidates(&self, ufrag: &str) -> (Vec<IceCandidate>, usize) {
        let mut found: Vec<IceCandidate> = Vec::new();
        let mut unreadable = 0;
        for attribute in self.lists().flatten().filter(|a| a.name == "candidate") {
            if found.len() >= MAX_CANDIDATES {
                unreadable += 1;
                continue;
            }
            match IceCandidate::parse(&format!("candidate:{}", attribute.value)) {
                Ok(mut c) => {
                    c.username_fragment.get_or_insert_with(|| ufrag.to_owned());
                    if !found.contains(&c) {
                        found.push(c);
                    }
                }
                Err(_) => unreadable += 1,
            }
        }
        (found, unreadable)
    }
}

impl Fingerprint {
    /// Parses `sha-256 AA:BB:…`. Returns `None` for an unsupported hash function.
    fn parse(attribute: &Attribute<'_>) -> Result<Option<Self>, SdpError> {
        let mut words = attribute.value.split_ascii_whitespace();
        let hash = words.next().unwrap_or_default().to_ascii_lowercase();
        let length = match hash.as_str() {
            "sha-256" => 32,
            "sha-384" => 48,
            "sha-512" => 64,
            _ => return Ok(None),
        };
        let byte = |text: &str| match text.len() {
            2 if text.bytes().all(|c| c.is_ascii_hexdigit()) => u8::from_str_radix(text, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = words
            .next()
            .unwrap_or_default()
            .split(':')
            .map(byte)
            .collect();
        let bytes = bytes.unwrap_or_default();
        let read = match length {
            32 => bytes.try_into().ok().map(Self::Sha256),
            48 => bytes.try_into().ok().map(Self::Sha384),
            _ => bytes.try_into().ok().map(Self::Sha512),
        };
        read.map(Some).ok_or_else(|| {
            SdpError::at(
                attribute.line,
                format!("a=fingerprint:{hash} is not {length} hexadecimal bytes (AA:BB:…)"),
            )
        })
    }
}
