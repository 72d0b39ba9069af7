//! Cookies that stand for tokens: how they are made, set and read.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::server::http::Request;
use crate::server::token::Token;

const COOKIE: &str = "looprtc";

/// Maximum number of cookies with our name that are checked per request: browsers send one per path, and servers on
/// other ports of the same host have their own.
pub(super) const MAX_COOKIES: usize = 4;

/// Rounds of HMAC from a token to its cookie, to slow down guessing a short token from a stolen cookie.
const ROUNDS: usize = 4096;

/// Time for which a browser keeps a cookie, in seconds: 30 days.
pub(super) const MAX_AGE: u32 = 2_592_000;

/// Returns the value of `Set-Cookie` that sets our cookie for `max_age` seconds; 0 deletes it.
pub(super) fn set(value: &str, max_age: u32, request: &Request) -> String {
    let secure = if request.secure { "; Secure" } else { "" };
    let path = request.prefix.as_str();
    format!("{COOKIE}={value}; Path={path}/; HttpOnly; SameSite=Strict; Max-Age={max_age}{secure}")
}

/// Returns the values of our cookies in a request, at most [`MAX_COOKIES`].
pub(super) fn values(request: &Request) -> impl Iterator<Item = &str> {
    let cookies = request.headers.iter().filter(|(name, _)| name == "cookie");
    cookies
        .flat_map(|(_, value)| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, value)| *name == COOKIE && !value.is_empty())
        .map(|(_, value)| value)
        .take(MAX_COOKIES)
}

/// Derives the cookie from a token. It is the same after every restart, so that pages stay signed in (PBKDF2, RFC 8018
/// §5.2, one block).
pub(super) fn sign(token: &Token) -> String {
    // HMAC accepts keys of every length; if it did not, no cookie would be valid.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes()) else {
        return String::new();
    };
    let next = |input: &[u8]| {
        let mut mac = mac.clone();
        mac.update(input);
        mac.finalize().into_bytes()
    };
    let mut last = next(b"looprtc cookie 2\0\0\0\x01");
    let mut sum = last;
    for _ in 1..ROUNDS {
        last = next(&last);
        sum.iter_mut()
            .zip(&last)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}
