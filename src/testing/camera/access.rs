//! Authentication that a camera demands, and its verdict on requests.

use std::collections::HashMap;
use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use sha2::{Sha256, Sha512_256};

use super::behaviour::{Access, Algorithm, Challenge};
use super::request::Request;

pub const USER: &str = "cam";
pub const PASSWORD: &str = "secret";
const REALM: &str = "a camera";
const OPAQUE: &str = "5ccc069c403ebaf9f0171e9517f40e41";

/// The state of authentication on one connection.
#[derive(Debug, Default)]
pub struct Gate {
    /// Number of nonces so far.
    nonces: u32,
    /// Number of requests let in by the latest one.
    used: u32,
    /// Highest nonce count.
    count: u32,
}

impl Gate {
    fn nonce(&self) -> String {
        format!("dcd98b7102dd2f0e8b11d0f600bfb0c{:02x}", self.nonces % 256)
    }

    /// Returns `true` if the request is let in. What a camera would not understand is a complaint.
    pub fn admits(
        &mut self,
        access: &Access,
        request: &Request,
        complaints: &mut Vec<String>,
    ) -> bool {
        let Some(header) = request.header("Authorization") else {
            return false;
        };
        let is_right = match header.split_once(' ') {
            Some(("Basic", credentials)) => {
                let offered = access.challenges.contains(&Challenge::Basic);
                if !offered {
                    complaints.push("Basic, which was not offered".to_owned());
                }
                // cam:secret
                offered && credentials == "Y2FtOnNlY3JldA=="
            }
            Some(("Digest", fields)) => self.digest(access, request, fields, complaints),
            _ => false,
        };
        if !is_right {
            return false;
        }
        self.used += 1;
        if access.nonce_lasts.is_some_and(|most| self.used > most) {
            self.nonces += 1;
            self.used = 0;
            self.count = 0;
            return false;
        }
        true
    }

    fn digest(
        &mut self,
        access: &Access,
        request: &Request,
        fields: &str,
        complaints: &mut Vec<String>,
    ) -> bool {
        let fields: HashMap<&str, &str> = fields
            .split(',')
            .filter_map(|field| field.trim().split_once('='))
            .map(|(name, value)| (name, value.trim_matches('"')))
            .collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        let algorithm = match fields.get("algorithm") {
            None | Some(&"MD5") => Algorithm::Md5,
            Some(&"SHA-256") => Algorithm::Sha256,
            Some(&"SHA-512-256") => Algorithm::Sha512_256,
            Some(_) => return false,
        };
        let challenge = access.challenges.iter().find_map(|offered| match offered {
            Challenge::Digest {
                algorithm: a,
                qop,
                taken,
            } if *a == algorithm => Some((*qop, *taken)),
            _ => None,
        });
        let Some((qop, taken)) = challenge else {
            complaints.push(format!("{algorithm:?}, which was not offered"));
            return false;
        };
        if field("uri") != request.url {
            complaints.push(format!(
                "the digest's URI {:?} is not that of the request, {:?}",
                field("uri"),
                request.url
            ));
        }
        if field("username") != USER || field("realm") != REALM || field("nonce") != self.nonce() {
            return false;
        }
        let hash = |text: String| hash(algorithm, &text);
        let ha1 = hash(format!("{USER}:{REALM}:{PASSWORD}"));
        let ha2 = hash(format!("{}:{}", request.method, field("uri")));
        let middle = match qop {
            true => {
                let count = u32::from_str_radix(field("nc"), 16).unwrap_or_default();
                if count <= self.count || field("nc").len() != 8 {
                    complaints.push(format!("nc={} after {}", field("nc"), self.count));
                }
                self.count = count;
                if field("qop") != "auth" || field("cnonce").is_empty() || field("opaque") != OPAQUE
                {
                    complaints.push("qop, cnonce or opaque is missing".to_owned());
                }
                format!("{}:{}:auth:", field("nc"), field("cnonce"))
            }
            false => String::new(),
        };
        let expected = hash(format!("{ha1}:{}:{middle}{ha2}", self.nonce()));
        field("response") == expected && taken
    }

    /// Returns the values of `WWW-Authenticate`.
    pub fn challenges(&self, access: &Access) -> Vec<String> {
        let values = access.challenges.iter().map(|challenge| match challenge {
            Challenge::Basic => format!("Basic realm=\"{REALM}\""),
            Challenge::Digest { algorithm, qop, .. } => {
                let mut text = format!("Digest realm=\"{REALM}\", nonce=\"{}\"", self.nonce());
                match algorithm {
                    Algorithm::Md5 => {}
                    Algorithm::Sha256 => text.push_str(", algorithm=SHA-256"),
                    Algorithm::Sha512_256 => text.push_str(", algorithm=SHA-512-256"),
                }
                if *qop {
                    let _ = write!(text, ", qop=\"auth\", opaque=\"{OPAQUE}\"");
                }
                text
            }
        });
        let values: Vec<_> = values.collect();
        match access.in_one_header {
            true => vec![values.join(", ")],
            false => values,
        }
    }
}

fn hash(algorithm: Algorithm, text: &str) -> String {
    let bytes = match algorithm {
        Algorithm::Md5 => Md5::digest(text).to_vec(),
        Algorithm::Sha256 => Sha256::digest(text).to_vec(),
        Algorithm::Sha512_256 => Sha512_256::digest(text).to_vec(),
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
