//! Access control: tokens, cookies that stand for tokens, and allowed origins.
//!
//! | right | granted to |
//! |---|---|
//! | [`Right::View`] | holders of the token or the publish token; everybody if no token is set |
//! | [`Right::Publish`] | holders of the publish token; if none is set, everybody who may view |
//! | [`Right::Details`] | holders of the stats token or the admin token; if there is no stats token, of the publish token if it differs from the token; if no token is set at all, everybody, unless the server is open |
//! | [`Right::Admin`] | holders of the admin token, which grants the other rights, too; if no token is set at all, users of this machine, on the server's own pages, unless the server is open, listens for others or has a proxy |
//!
//! A valid token is never refused because of attempts by others behind the same address: it is checked first. Wrong
//! tokens are counted, whether sent as a bearer token or as a cookie, and answered with 429 above [`MAX_WRONG`] per
//! [`WINDOW`]. The protection of a token is its length; short ones cause a warning at startup.

mod cookie;
mod rights;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::rights::Key;
use crate::server::http::{Request, Response, is_loopback_name};
use crate::server::quota::{Rates, client_of};
use crate::server::whip::Origins;

pub(crate) use self::rights::{AccessConfig, Right, Rights};

/// Number of wrong tokens that a client may send at once before it is answered with 429.
const MAX_WRONG: u32 = 20;

/// Time in which that number is restored.
const WINDOW: Duration = Duration::from_secs(60);

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
        Self {
            keys: config.keys(),
            anybody: config.anybody(),
            own_names_only: config.local && !config.open && config.view.is_none(),
            origins: config.origins,
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
        let anybody = self.anybody(request);
        if request.bearer().is_none() || anybody.has(right) {
            // If no token is required, an unnecessary one is no reason for a refusal.
            self.check_origin(request)?;
            if right == Right::Admin {
                check_own_page(request)?;
            }
        }
        if anybody.has(right) || shown.rights.has(right) {
            return Ok(());
        }
        if right == Right::Admin && !self.is_guarded(right) {
            let detail = "cameras can be changed with the admin token only, and this server has none: start it with \
                          --admin-token-file FILE";
            return Err(Response::problem(403, "No administration", detail));
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
        let shown = self.shown(request).rights;
        let mut rights = self.anybody(request).or(shown);
        let has_shown_token = request.bearer().is_some() && shown.admin;
        rights.admin &= has_shown_token || self.is_own_page(request);
        rights
    }

    /// Returns the rights of a request if it has no credentials.
    fn anybody(&self, request: &Request) -> Rights {
        let mut rights = self.anybody;
        rights.admin &= is_of_this_machine(request);
        rights
    }

    /// Returns `true` if a request comes from a page of this server itself, or from no page.
    fn is_own_page(&self, request: &Request) -> bool {
        self.check_origin(request).is_ok() && check_own_page(request).is_ok()
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
        Some(cookie::set(key.cookie().expose(), cookie::MAX_AGE, request))
    }

    /// Returns the cookie that signs a page out.
    pub fn no_cookie(request: &Request) -> String {
        cookie::set("", 0, request)
    }

    /// Returns `true` if a request has a valid cookie of this server.
    pub fn has_cookie(&self, request: &Request) -> bool {
        cookie::values(request).any(|value| self.key_of_cookie(value).is_some())
    }

    /// Returns `true` if a request has an invalid (expired) cookie of this server.
    pub fn has_stale_cookie(&self, request: &Request) -> bool {
        cookie::values(request).any(|value| self.key_of_cookie(value).is_none())
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
            None => cookie::values(request).for_each(|value| add(self.key_of_cookie(value))),
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

/// Refuses pages of other origins, even allowed ones: these may use the server as viewers do, but change nothing without
/// a token of their own.
fn check_own_page(request: &Request) -> Result<(), Response> {
    match request.header("origin") {
        Some(origin) if !request.is_same_origin() => {
            let detail = format!(
                "pages of {origin:.100} may change cameras with the admin token in the header Authorization only"
            );
            Err(Response::problem(403, "Origin not allowed", detail))
        }
        _ => Ok(()),
    }
}

/// Returns `true` if a client is a program or a browser on this machine, as far as that can be known: a reverse proxy
/// that was not configured is recognized by what it adds.
fn is_of_this_machine(request: &Request) -> bool {
    let by_proxy = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];
    let is_forwarded = by_proxy.iter().any(|name| request.header(name).is_some());
    request.client.ip().to_canonical().is_loopback() && !is_forwarded
}
