//! Who may do what: tokens, the cookie that a page gets for one, and from which pages requests may come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::server::http::{Request, Response, is_loopback_name};
use crate::server::token::Token;
use crate::server::who::who;

/// Wrong tokens that an address, or an IPv6 network of 64 bits, may show in [`WINDOW`], before it is made to wait.
const MAX_WRONG: u32 = 20;

const WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered for that. Above it the oldest are forgotten, so that a flood of addresses is no memory.
const MAX_REMEMBERED: usize = 4096;

const COOKIE: &str = "looprtc";

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Watch, join, call, and see the figures.
    View,
    /// Publish by WHIP.
    Publish,
}

/// Decides.
#[derive(Debug)]
pub(crate) struct Access {
    view: Option<Token>,
    publish: Option<Token>,
    /// Listening on loopback without a token: then a web page elsewhere must not come by another name for this
    /// machine (DNS rebinding).
    own_names_only: bool,
    wrong: HashMap<IpAddr, (Instant, u32)>,
}

impl Access {
    pub fn new(view: Option<Token>, publish: Option<Token>, own_names_only: bool) -> Self {
        let publish = publish.or_else(|| view.clone());
        let own_names_only = own_names_only && view.is_none();
        Self {
            view,
            publish,
            own_names_only,
            wrong: HashMap::new(),
        }
    }

    /// Whether anything is asked of whoever comes.
    pub fn needs_token(&self) -> bool {
        self.view.is_some()
    }

    /// Whether this request shows what is needed. It is not for pages of other origins, unless they show the token
    /// themselves: a browser adds a cookie without being asked.
    pub fn check(&mut self, right: Right, request: &Request, now: Instant) -> Result<(), Response> {
        if let Some(shown) = request.bearer() {
            return self.check_bearer(right, shown, request, now);
        }
        self.check_origin(request)?;
        match self.wanted(right) {
            None => Ok(()),
            Some(token) if shows_cookie(token, request) => Ok(()),
            Some(_) => Err(unauthorized(
                "send the header Authorization: Bearer TOKEN",
                "Bearer",
            )),
        }
    }

    /// The cookie for a page that has shown a token.
    pub fn cookie(&self, request: &Request) -> Option<String> {
        let shown = request.bearer()?;
        // Who may publish may watch, too, where there is one token for each.
        let token = [&self.view, &self.publish]
            .into_iter()
            .flatten()
            .find(|t| t.matches(shown))?;
        let secure = if request.secure { "; Secure" } else { "" };
        Some(format!(
            "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{secure}",
            sign(token)
        ))
    }

    /// Requests from pages of other origins, and by names that are not this machine's.
    pub fn check_origin(&self, request: &Request) -> Result<(), Response> {
        let host = request.header("host").unwrap_or_default();
        if self.own_names_only && !is_loopback_name(host) {
            let detail = format!(
                "this server answers as localhost only, not as {host:.100}; to be reached by other names it needs --token"
            );
            return Err(Response::problem(403, "Another name", detail));
        }
        let Some(origin) = request.header("origin") else {
            return Ok(());
        };
        match request.is_same_origin() {
            true => Ok(()),
            false => Err(Response::problem(
                403,
                "Origin not allowed",
                format!("pages of {origin:.100} may not use this server without its token"),
            )),
        }
    }

    fn check_bearer(
        &mut self,
        right: Right,
        shown: &str,
        request: &Request,
        now: Instant,
    ) -> Result<(), Response> {
        let ip = who(request.client.ip());
        if let Some((since, count)) = self.wrong.get(&ip)
            && *count >= MAX_WRONG
            && now.saturating_duration_since(*since) < WINDOW
        {
            let wait = (*since + WINDOW).saturating_duration_since(now).as_secs() + 1;
            let text = "too many wrong tokens from this address";
            return Err(Response::problem(429, "Too many tries", text)
                .header("Retry-After", wait.to_string()));
        }
        let Some(token) = self.wanted(right) else {
            // Nothing is asked; what a program sends all the same is no reason to refuse it.
            return self.check_origin(request);
        };
        let known = token.matches(shown)
            || right == Right::View && self.publish.as_ref().is_some_and(|t| t.matches(shown));
        if known {
            return Ok(());
        }
        self.remember_wrong(ip, now);
        Err(unauthorized(
            "the bearer token is not the right one",
            "Bearer error=\"invalid_token\"",
        ))
    }

    fn wanted(&self, right: Right) -> Option<&Token> {
        match right {
            Right::View => self.view.as_ref(),
            Right::Publish => self.publish.as_ref(),
        }
    }

    fn remember_wrong(&mut self, ip: IpAddr, now: Instant) {
        if self.wrong.len() >= MAX_REMEMBERED && !self.wrong.contains_key(&ip) {
            self.wrong
                .retain(|_, (since, _)| now.saturating_duration_since(*since) < WINDOW);
            let oldest = self.wrong.iter().min_by_key(|(_, (since, _))| *since);
            if let Some(oldest) = oldest
                .map(|(ip, _)| *ip)
                .filter(|_| self.wrong.len() >= MAX_REMEMBERED)
            {
                self.wrong.remove(&oldest);
            }
        }
        let (since, count) = self.wrong.entry(ip).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }
}

fn unauthorized(detail: &str, challenge: &str) -> Response {
    Response::problem(401, "Not authorized", detail).header("WWW-Authenticate", challenge)
}

/// The same for every start of the program with the same token: pages come back by themselves.
fn sign(token: &Token) -> String {
    // HMAC takes keys of every length; were it to refuse one, nobody would have this cookie.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(b"looprtc cookie 1");
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shows_cookie(token: &Token, request: &Request) -> bool {
    let cookies = request.headers.iter().filter(|(name, _)| name == "cookie");
    let mut values = cookies
        .flat_map(|(_, value)| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE);
    let signed = Token::new(sign(token));
    values.any(|(_, value)| signed.matches(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new("POST", "/whep/card", ([192, 0, 2, 1], 5).into());
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        request.headers = headers.iter().map(owned).collect();
        request
    }

    fn closed() -> Access {
        Access::new(Some(Token::new("view")), Some(Token::new("publish")), false)
    }

    #[test]
    fn tokens_open_what_they_are_for() {
        let now = Instant::now();
        let mut access = closed();
        let with = |token: &str| request(&[("authorization", &format!("Bearer {token}"))]);
        assert!(access.check(Right::View, &with("view"), now).is_ok());
        assert!(access.check(Right::View, &with("publish"), now).is_ok());
        assert!(access.check(Right::Publish, &with("publish"), now).is_ok());
        let refused = access
            .check(Right::Publish, &with("view"), now)
            .unwrap_err();
        assert_eq!(refused.status, 401);
        assert_eq!(
            access
                .check(Right::View, &request(&[]), now)
                .unwrap_err()
                .status,
            401
        );
    }

    #[test]
    fn a_cookie_is_as_good_but_only_on_our_own_pages() {
        let now = Instant::now();
        let mut access = closed();
        let cookie = access
            .cookie(&request(&[("authorization", "Bearer view")]))
            .unwrap();
        assert!(!cookie.contains("view"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let own = [("host", "a:1"), ("origin", "http://a:1"), ("cookie", pair)];
        assert!(access.check(Right::View, &request(&own), now).is_ok());
        assert_eq!(
            access
                .check(Right::Publish, &request(&own), now)
                .unwrap_err()
                .status,
            401
        );
        let other = [("host", "a:1"), ("origin", "http://b"), ("cookie", pair)];
        assert_eq!(
            access
                .check(Right::View, &request(&other), now)
                .unwrap_err()
                .status,
            403
        );
    }

    #[test]
    fn guessing_is_slowed_down() {
        let mut now = Instant::now();
        let mut access = closed();
        let wrong = request(&[("authorization", "Bearer guess")]);
        for _ in 0..MAX_WRONG {
            assert_eq!(
                access.check(Right::View, &wrong, now).unwrap_err().status,
                401
            );
        }
        let right = request(&[("authorization", "Bearer view")]);
        assert_eq!(
            access.check(Right::View, &right, now).unwrap_err().status,
            429
        );
        now += WINDOW;
        assert!(access.check(Right::View, &right, now).is_ok());
    }

    #[test]
    fn a_page_elsewhere_cannot_use_the_server_of_this_machine() {
        let now = Instant::now();
        let mut access = Access::new(None, None, true);
        let rebound = [
            ("host", "evil.example:8080"),
            ("origin", "http://evil.example:8080"),
        ];
        assert_eq!(
            access
                .check(Right::View, &request(&rebound), now)
                .unwrap_err()
                .status,
            403
        );
        let forged = [
            ("host", "localhost:8080"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(
            access
                .check(Right::View, &request(&forged), now)
                .unwrap_err()
                .status,
            403
        );
        for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "cam.localhost"] {
            assert!(
                access
                    .check(Right::View, &request(&[("host", host)]), now)
                    .is_ok(),
                "{host}"
            );
        }
    }

    #[test]
    fn one_network_is_one_guesser_and_a_flood_of_addresses_is_no_memory() {
        let now = Instant::now();
        let mut access = closed();
        let from = |ip: IpAddr, token: &str| {
            let mut request = request(&[("authorization", &format!("Bearer {token}"))]);
            request.client.set_ip(ip);
            request
        };
        // Whoever has one IPv6 address has 2^64 of them.
        let of_network = |n: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
        for n in 0..u128::from(MAX_WRONG) {
            let guess = from(of_network(n), "guess");
            let refused = access.check(Right::View, &guess, now).unwrap_err();
            assert_eq!(refused.status, 401);
        }
        let next = from(of_network(1 << 60), "guess");
        let refused = access.check(Right::View, &next, now).unwrap_err();
        assert_eq!(refused.status, 429);
        for n in 0..2 * MAX_REMEMBERED as u32 {
            let later = now + Duration::from_millis(u64::from(n) + 1);
            let guess = from(IpAddr::V4((0x0A00_0000 + n).into()), "guess");
            assert!(access.check(Right::View, &guess, later).is_err());
            assert!(access.wrong.len() <= MAX_REMEMBERED);
        }
        // The latest are remembered, the oldest not.
        let last = IpAddr::V4((0x0A00_0000 + 2 * MAX_REMEMBERED as u32 - 1).into());
        assert!(access.wrong.contains_key(&last));
        assert!(!access.wrong.contains_key(&who(of_network(0))));
    }
}
