//! Access control: tokens, cookies that stand for tokens, and allowed origins.
//!
//! | right | granted to |
//! |---|---|
//! | [`Right::View`] | holders of the token or the publish token; everybody if no token is set |
//! | [`Right::Publish`] | holders of the publish token; if none is set, everybody who may view |
//! | [`Right::Details`] | holders of the stats token; if none is set, of the publish token if it differs from the token; if no token is set at all, everybody, unless the server is open |
//!
//! A valid token is never refused because of attempts by others behind the same address: it is checked first. Wrong
//! tokens are counted, whether sent as a bearer token or as a cookie, and answered with 429 above [`MAX_WRONG`] per
//! [`WINDOW`]. The protection of a token is its length; short ones cause a warning at startup.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::server::http::{Request, Response, is_loopback_name};
use crate::server::quota::{Rates, client_of};
use crate::server::token::Token;
use crate::server::whip::Origins;

/// Number of wrong tokens that a client may send at once before it is answered with 429.
const MAX_WRONG: u32 = 20;

/// Time in which that number is restored.
const WINDOW: Duration = Duration::from_secs(60);

const COOKIE: &str = "looprtc";

/// Maximum number of cookies with our name that are checked per request: browsers send one per path, and servers on
/// other ports of the same host have their own.
const MAX_COOKIES: usize = 4;

/// Rounds of HMAC from a token to its cookie, to slow down guessing a short token from a stolen cookie.
const ROUNDS: usize = 4096;

/// A right that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Watch, join rooms, call, and see figures without personal data.
    View,
    /// Publish by WHIP.
    Publish,
    /// See data about other people: their addresses, the names of their rooms, full paths of files.
    Details,
}

/// The rights of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    pub view: bool,
    pub publish: bool,
    pub details: bool,
}

impl Rights {
    pub fn has(self, right: Right) -> bool {
        match right {
            Right::View => self.view,
            Right::Publish => self.publish,
            Right::Details => self.details,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            view: self.view || other.view,
            publish: self.publish || other.publish,
            details: self.details || other.details,
        }
    }

    fn any(self) -> bool {
        self.view || self.publish || self.details
    }
}

/// Configuration of access control.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessConfig {
    pub view: Option<Token>,
    pub publish: Option<Token>,
    pub stats: Option<Token>,
    /// Everybody is admitted, under any host name of the server.
    pub open: bool,
    /// Origins whose pages may use the server as its own pages do.
    pub origins: Origins,
    /// The server listens on loopback only.
    pub local: bool,
}

/// A token with its rights, and the cookie that stands for it.
#[derive(Debug)]
struct Key {
    token: Token,
    rights: Rights,
    cookie: OnceCell<Token>,
}

impl Key {
    fn new(token: Token, rights: Rights) -> Self {
        Self {
            token,
            rights,
            cookie: OnceCell::new(),
        }
    }

    fn cookie(&self) -> &Token {
        self.cookie.get_or_init(|| Token::new(sign(&self.token)))
    }
}

/// The credentials found in a request.
#[derive(Debug, Default)]
struct Shown {
    rights: Rights,
    /// Number of unknown tokens and cookies.
    wrong: u32,
}

/// Access control of a server.
#[derive(Debug)]
pub(crate) struct Access {
    keys: Vec<Key>,
    /// Rights of a request without credentials.
    anybody: Rights,
    /// Listening on loopback without a token: requests under other host names are refused, because a remote web page
    /// could use such a name for this machine (DNS rebinding).
    own_names_only: bool,
    origins: Origins,
    wrong: Rates,
}

impl Access {
    pub fn new(config: AccessConfig) -> Self {
        let AccessConfig {
            view,
            publish,
            stats,
            open,
            origins,
            local,
        } = config;
        let own_publish = publish.is_some() && publish != view;
        let anybody = Rights {
            view: view.is_none(),
            publish: view.is_none() && publish.is_none(),
            details: !open && view.is_none() && publish.is_none() && stats.is_none(),
        };
        let of_view = Rights {
            view: true,
            publish: !own_publish,
            details: false,
        };
        let of_publish = Rights {
            view: true,
            publish: true,
            details: own_publish && stats.is_none(),
        };
        let of_stats = Rights {
            details: true,
            ..Rights::default()
        };
        let own_names_only = local && !open && view.is_none();
        let keys = [(view, of_view), (publish, of_publish), (stats, of_stats)];
        let keys = keys.into_iter();
        Self {
            keys: keys.filter_map(|(t, r)| Some(Key::new(t?, r))).collect(),
            anybody,
            own_names_only,
            origins,
            wrong: Rates::new(MAX_WRONG, WINDOW / MAX_WRONG),
        }
    }

    /// Returns `true` if watching needs a token.
    pub fn needs_token(&self) -> bool {
        !self.anybody.view
    }

    /// Returns `true` if a token grants this right and not everybody has it.
    pub fn is_guarded(&self, right: Right) -> bool {
        !self.anybody.has(right) && self.keys.iter().any(|key| key.rights.has(right))
    }

    /// Checks that a request has a right. Pages of other origins must send the token explicitly, because browsers
    /// attach cookies automatically.
    pub fn check(&mut self, right: Right, request: &Request, now: Instant) -> Result<(), Response> {
        let shown = self.shown(request);
        if request.bearer().is_some() && shown.rights.has(right) {
            return Ok(());
        }
        if request.bearer().is_none() || self.anybody.has(right) {
            // If no token is required, an unnecessary one is no reason for a refusal.
            self.check_origin(request)?;
        }
        if self.anybody.has(right) || shown.rights.has(right) {
            return Ok(());
        }
        self.count_wrong(request, shown.wrong, now)?;
        let (detail, challenge) = match (request.bearer(), shown.rights.any()) {
            (None, false) => ("send the header Authorization: Bearer TOKEN", "Bearer"),
            (_, true) => (
                "this token does not give that right; another one does",
                "Bearer error=\"insufficient_scope\"",
            ),
            (Some(_), false) => (
                "the bearer token is not the right one",
                "Bearer error=\"invalid_token\"",
            ),
        };
        Err(Response::problem(401, "Not authorized", detail).header("WWW-Authenticate", challenge))
    }

    /// Returns the rights of a request.
    pub fn rights(&self, request: &Request) -> Rights {
        self.anybody.or(self.shown(request).rights)
    }

    /// Counts the wrong tokens in a request.
    ///
    /// # Errors
    ///
    /// Returns a 429 response if there are too many.
    pub fn count(&mut self, request: &Request, now: Instant) -> Result<(), Response> {
        let wrong = self.shown(request).wrong;
        self.count_wrong(request, wrong, now)
    }

    /// Signs in: checks that the token grants any right, and returns its cookie. Returns `None` if there is no token
    /// and none is needed.
    pub fn sign_in(&mut self, request: &Request, now: Instant) -> Result<Option<String>, Response> {
        self.check_origin(request)?;
        if let Some(cookie) = self.cookie(request) {
            return Ok(Some(cookie));
        }
        match request.bearer() {
            Some(_) if !self.keys.is_empty() => {
                self.count_wrong(request, 1, now)?;
                let challenge = "Bearer error=\"invalid_token\"";
                let detail = "the bearer token is not the right one";
                let refused = Response::problem(401, "Not authorized", detail);
                Err(refused.header("WWW-Authenticate", challenge))
            }
            _ => self.check(Right::View, request, now).map(|()| None),
        }
    }

    /// Returns the cookie for a page that has sent a valid token.
    pub fn cookie(&self, request: &Request) -> Option<String> {
        let shown = request.bearer()?;
        let key = self.keys.iter().find(|key| key.token.matches(shown))?;
        Some(set_cookie(key.cookie().expose(), 2_592_000, request))
    }

    /// Returns the cookie that signs a page out.
    pub fn no_cookie(request: &Request) -> String {
        set_cookie("", 0, request)
    }

    /// Returns `true` if a request has a valid cookie of this server.
    pub fn has_cookie(&self, request: &Request) -> bool {
        cookies(request)
            .take(MAX_COOKIES)
            .any(|value| self.key_of_cookie(value).is_some())
    }

    /// Returns `true` if a request has an invalid (expired) cookie of this server.
    pub fn has_stale_cookie(&self, request: &Request) -> bool {
        cookies(request)
            .take(MAX_COOKIES)
            .any(|value| self.key_of_cookie(value).is_none())
    }

    /// Refuses requests from pages of other origins, and requests under foreign host names.
    pub fn check_origin(&self, request: &Request) -> Result<(), Response> {
        let host = request.header("host").unwrap_or_default();
        if self.own_names_only && !is_loopback_name(host) {
            let detail = format!(
                "this server answers as localhost only, not as {host:.100}; to be reached by other names it needs \
                 --token, or --open for whoever comes"
            );
            return Err(Response::problem(403, "Another name", detail));
        }
        let Some(origin) = request.header("origin") else {
            return Ok(());
        };
        match self.origins.permits(request) {
            true => Ok(()),
            false => Err(Response::problem(
                403,
                "Origin not allowed",
                format!(
                    "pages of {origin:.100} may not use this server without its token; its owner can allow that origin \
                     (--allow-origin)"
                ),
            )),
        }
    }

    /// Checks that a page may ask what this server offers: one of our own, one of an allowed origin, or one that shows a
    /// token where a token is what counts.
    pub fn check_page(&self, request: &Request) -> Result<(), Response> {
        let has_shown_one =
            request.bearer().is_some() && (self.needs_token() || self.shown(request).rights.view);
        match has_shown_one {
            true => Ok(()),
            false => self.check_origin(request),
        }
    }

    /// Returns `true` if a browser may show the response to the page that has sent the request: the page shows a token
    /// itself, or is one of those that may use the server.
    pub fn may_read(&self, request: &Request) -> bool {
        request.bearer().is_some() || self.check_origin(request).is_ok()
    }

    /// Evaluates the credentials of a request. With a bearer token, cookies are ignored.
    fn shown(&self, request: &Request) -> Shown {
        let mut shown = Shown::default();
        let mut add = |key: Option<&Key>| match key {
            Some(key) => shown.rights = shown.rights.or(key.rights),
            None => shown.wrong += 1,
        };
        match request.bearer() {
            // The same token may be configured for several purposes: it grants all their rights.
            Some(bearer) => {
                let mut keys = self.keys.iter().filter(|key| key.token.matches(bearer));
                add(keys.next());
                keys.for_each(|key| add(Some(key)));
            }
            None => cookies(request)
                .take(MAX_COOKIES)
                .for_each(|value| add(self.key_of_cookie(value))),
        }
        if self.keys.is_empty() {
            // Without tokens there is nothing to guess.
            shown.wrong = 0;
        }
        shown
    }

    fn key_of_cookie(&self, value: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.cookie().matches(value))
    }

    fn count_wrong(&mut self, request: &Request, count: u32, now: Instant) -> Result<(), Response> {
        if count == 0 {
            return Ok(());
        }
        let client = client_of(request.client.ip());
        self.wrong.try_spend(client, count, now).map_err(|wait| {
            let text = "too many wrong tokens from this address; the right one is always taken";
            Response::problem(429, "Too many tries", text)
                .header("Retry-After", (wait.as_secs() + 1).to_string())
        })
    }
}

fn set_cookie(value: &str, max_age: u32, request: &Request) -> String {
    let secure = if request.secure { "; Secure" } else { "" };
    let path = request.prefix.as_str();
    format!("{COOKIE}={value}; Path={path}/; HttpOnly; SameSite=Strict; Max-Age={max_age}{secure}")
}

/// Returns the values of our cookies.
fn cookies(request: &Request) -> impl Iterator<Item = &str> {
    let cookies = request.headers.iter().filter(|(name, _)| name == "cookie");
    cookies
        .flat_map(|(_, value)| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, value)| *name == COOKIE && !value.is_empty())
        .map(|(_, value)| value)
}

/// Derives the cookie from a token. It is the same after every restart, so that pages stay signed in (PBKDF2, RFC 8018
/// §5.2, one block).
fn sign(token: &Token) -> String {
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new("POST", "/whep/card", ([192, 0, 2, 1], 5).into());
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        request.headers = headers.iter().map(owned).collect();
        request
    }

    fn closed() -> Access {
        Access::new(AccessConfig {
            view: Some(Token::new("view")),
            publish: Some(Token::new("publish")),
            ..AccessConfig::default()
        })
    }

    fn bearer(token: &str) -> Request {
        request(&[("authorization", &format!("Bearer {token}"))])
    }

    /// Builds a same-origin request with the cookie for this token.
    fn with_cookie(access: &Access, token: &str) -> Request {
        let cookie = access.cookie(&bearer(token)).unwrap();
        let pair = cookie.split(';').next().unwrap();
        request(&[("host", "a:1"), ("origin", "http://a:1"), ("cookie", pair)])
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

    /// S10: attempts by others behind the same address do not lock out the holder of a valid token.
    #[test]
    fn guessing_is_counted_and_the_right_token_is_always_taken() {
        let mut now = Instant::now();
        let mut access = closed();
        let status = |access: &mut Access, request: &Request, now| {
            let checked = access.check(Right::View, request, now);
            checked.map_or_else(|refused| refused.status, |()| 200)
        };
        let cookie = with_cookie(&access, "view");
        for _ in 0..MAX_WRONG {
            assert_eq!(status(&mut access, &bearer("guess"), now), 401);
        }
        assert_eq!(status(&mut access, &bearer("guess"), now), 429);
        assert_eq!(status(&mut access, &bearer("view"), now), 200);
        assert_eq!(status(&mut access, &cookie, now), 200);
        assert!(access.sign_in(&bearer("view"), now).unwrap().is_some());
        assert_eq!(
            access.sign_in(&bearer("guess"), now).unwrap_err().status,
            429
        );
        now += WINDOW;
        assert_eq!(status(&mut access, &bearer("guess"), now), 401);
    }

    /// S4: a cookie is equivalent to its token.
    #[test]
    fn a_wrong_cookie_counts_as_a_wrong_token() {
        let now = Instant::now();
        let mut access = closed();
        let tried = |access: &mut Access, cookies: &str| {
            let request = request(&[("host", "a:1"), ("cookie", cookies)]);
            access.check(Right::View, &request, now).unwrap_err().status
        };
        for _ in 0..MAX_WRONG {
            assert_eq!(tried(&mut access, "other=1; looprtc=abc"), 401);
        }
        assert_eq!(tried(&mut access, "looprtc=abc"), 429);
        // Cookies of other servers are ignored.
        assert_eq!(tried(&mut access, "other=1"), 401);
        // Several in one request are all counted.
        let mut access = closed();
        let many = "looprtc=a; looprtc=b; looprtc=c; looprtc=d; ".repeat(50);
        for _ in 0..MAX_WRONG as usize / MAX_COOKIES {
            assert_eq!(tried(&mut access, &many), 401);
        }
        assert_eq!(tried(&mut access, &many), 429);
    }

    #[test]
    fn a_token_for_something_else_is_not_a_wrong_one() {
        let now = Instant::now();
        let mut access = closed();
        for _ in 0..3 * MAX_WRONG {
            let refused = access.check(Right::Publish, &bearer("view"), now);
            assert_eq!(refused.unwrap_err().status, 401);
            assert!(access.count(&bearer("view"), now).is_ok());
        }
        let guess = access.check(Right::View, &bearer("guess"), now);
        assert_eq!(guess.unwrap_err().status, 401);
    }

    /// S15: like the bearer token.
    #[test]
    fn who_may_publish_may_watch_with_the_cookie_too() {
        let now = Instant::now();
        let mut access = closed();
        let page = with_cookie(&access, "publish");
        assert!(access.check(Right::View, &page, now).is_ok());
        assert!(access.check(Right::Publish, &page, now).is_ok());
        assert_eq!(
            access.rights(&with_cookie(&access, "view")),
            Rights {
                view: true,
                ..Rights::default()
            }
        );
    }

    #[test]
    fn what_concerns_other_people_is_for_few() {
        let token = |text: &str| Some(Token::new(text));
        let details = |config: AccessConfig, shown: &str| {
            let access = Access::new(config);
            let request = match shown {
                "" => request(&[]),
                shown => bearer(shown),
            };
            access.rights(&request).details
        };
        let none = AccessConfig::default;
        // A local server has one user; an open one has unknown users.
        assert!(details(none(), ""));
        let open = AccessConfig {
            open: true,
            ..none()
        };
        assert!(!details(open.clone(), ""));
        let view = AccessConfig {
            view: token("view"),
            ..none()
        };
        assert!(!details(view.clone(), "view"));
        let both = AccessConfig {
            publish: token("publish"),
            ..view.clone()
        };
        assert!(!details(both.clone(), "view") && details(both.clone(), "publish"));
        let all = AccessConfig {
            stats: token("stats"),
            ..both
        };
        assert!(!details(all.clone(), "publish") && details(all.clone(), "stats"));
        // It grants no other right.
        let rights = Access::new(all).rights(&bearer("stats"));
        assert!(!rights.view && !rights.publish);
        let open = AccessConfig {
            stats: token("stats"),
            ..open
        };
        assert!(!details(open.clone(), "") && details(open, "stats"));
    }

    #[test]
    fn an_open_server_has_any_name() {
        let now = Instant::now();
        let mut access = Access::new(AccessConfig {
            open: true,
            local: true,
            ..AccessConfig::default()
        });
        let proxied = request(&[
            ("host", "media.example"),
            ("origin", "http://media.example"),
        ]);
        assert!(access.check(Right::View, &proxied, now).is_ok());
        let other = request(&[("host", "media.example"), ("origin", "http://evil.example")]);
        let refused = access.check(Right::View, &other, now).unwrap_err();
        assert_eq!(refused.status, 403);
    }

    #[test]
    fn cookies_are_for_the_prefix_that_pages_are_under() {
        let access = closed();
        let mut login = bearer("view");
        let plain = access.cookie(&login).unwrap();
        assert!(plain.contains("; Path=/;") && !plain.contains("Secure"));
        login.prefix = "/cam".into();
        login.secure = true;
        let cookie = access.cookie(&login).unwrap();
        assert!(cookie.contains("; Path=/cam/;") && cookie.ends_with("; Secure"));
        assert!(Access::no_cookie(&login).starts_with("looprtc=; Path=/cam/;"));
    }

    #[test]
    fn a_page_elsewhere_cannot_use_the_server_of_this_machine() {
        let now = Instant::now();
        let mut access = Access::new(AccessConfig {
            local: true,
            ..AccessConfig::default()
        });
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
    fn pages_of_allowed_origins_are_as_our_own() {
        let now = Instant::now();
        let from = |origin: &str| request(&[("host", "media.example"), ("origin", origin)]);
        let (friend, other) = (
            from("https://friend.example"),
            from("https://other.example"),
        );
        let origins = Origins::Listed(vec!["https://friend.example".into()]);
        let mut open = Access::new(AccessConfig {
            open: true,
            origins: origins.clone(),
            ..AccessConfig::default()
        });
        assert!(open.check(Right::View, &friend, now).is_ok() && open.may_read(&friend));
        assert_eq!(
            open.check(Right::View, &other, now).unwrap_err().status,
            403
        );
        assert!(!open.may_read(&other));
        // An allowed origin is no token.
        let mut guarded = Access::new(AccessConfig {
            view: Some(Token::new("view")),
            origins,
            ..AccessConfig::default()
        });
        let refused = guarded.check(Right::View, &friend, now).unwrap_err();
        assert_eq!(refused.status, 401);
        assert!(guarded.may_read(&friend) && !guarded.may_read(&other));
        // A page with a token is told what that gives; where none counts, showing something is worth nothing.
        let with = |token: &str| {
            let mut request = other.clone();
            let shown = ("authorization".to_owned(), format!("Bearer {token}"));
            request.headers.push(shown);
            request
        };
        assert!(guarded.check_page(&with("view")).is_ok());
        assert!(guarded.check_page(&with("guess")).is_ok() && !guarded.rights(&with("guess")).view);
        assert!(guarded.check_page(&other).is_err());
        assert!(open.check_page(&with("guess")).is_err());
    }

    #[test]
    fn one_network_is_one_guesser() {
        let now = Instant::now();
        let mut access = closed();
        let from = |ip: IpAddr, token: &str| {
            let mut request = request(&[("authorization", &format!("Bearer {token}"))]);
            request.client.set_ip(ip);
            request
        };
        // The owner of one IPv6 address has 2^64 of them.
        let of_network = |n: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
        for n in 0..u128::from(MAX_WRONG) {
            let guess = from(of_network(n), "guess");
            let refused = access.check(Right::View, &guess, now).unwrap_err();
            assert_eq!(refused.status, 401);
        }
        let next = from(of_network(1 << 60), "guess");
        let refused = access.check(Right::View, &next, now).unwrap_err();
        assert_eq!(refused.status, 429);
    }
}
