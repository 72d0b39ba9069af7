//! Rights, and which token grants which.

use std::cell::OnceCell;

use super::cookie;
use crate::server::token::Token;
use crate::server::whip::Origins;

/// A right that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Watch, join rooms, call, and see figures without personal data.
    View,
    /// Publish by WHIP.
    Publish,
    /// See data about other people: their addresses, the names of their rooms, full paths of files.
    Details,
    /// Add, edit and remove cameras: make this server open URLs.
    Admin,
}

/// The rights of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    pub view: bool,
    pub publish: bool,
    pub details: bool,
    pub admin: bool,
}

impl Rights {
    pub fn has(self, right: Right) -> bool {
        match right {
            Right::View => self.view,
            Right::Publish => self.publish,
            Right::Details => self.details,
            Right::Admin => self.admin,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self {
            view: self.view || other.view,
            publish: self.publish || other.publish,
            details: self.details || other.details,
            admin: self.admin || other.admin,
        }
    }

    pub(super) fn any(self) -> bool {
        self.view || self.publish || self.details || self.admin
    }
}

/// Configuration of access control.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessConfig {
    pub view: Option<Token>,
    pub publish: Option<Token>,
    pub stats: Option<Token>,
    pub admin: Option<Token>,
    /// Everybody is admitted, under any host name of the server.
    pub open: bool,
    /// Origins whose pages may use the server as its own pages do.
    pub origins: Origins,
    /// The server listens on loopback only.
    pub local: bool,
    /// A reverse proxy is configured, so that clients on loopback may be anywhere.
    pub proxied: bool,
}

impl AccessConfig {
    /// Returns the rights of a request without credentials. The admin right is that of users of this machine only.
    pub(super) fn anybody(&self) -> Rights {
        let is_public = self.view.is_none() && self.publish.is_none();
        let has_no_token = is_public && self.stats.is_none() && self.admin.is_none();
        Rights {
            view: self.view.is_none(),
            publish: is_public,
            details: has_no_token && !self.open,
            admin: has_no_token && !self.open && self.local && !self.proxied,
        }
    }

    /// Returns the tokens with their rights.
    pub(super) fn keys(&self) -> Vec<Key> {
        let own_publish = self.publish.is_some() && self.publish != self.view;
        let of_view = Rights {
            view: true,
            publish: !own_publish,
            ..Rights::default()
        };
        let of_publish = Rights {
            view: true,
            publish: true,
            details: own_publish && self.stats.is_none(),
            admin: false,
        };
        let of_stats = Rights {
            details: true,
            ..Rights::default()
        };
        let of_admin = Rights {
            view: true,
            publish: true,
            details: true,
            admin: true,
        };
        let all = [
            (&self.view, of_view),
            (&self.publish, of_publish),
            (&self.stats, of_stats),
            (&self.admin, of_admin),
        ];
        let key =
            |(token, rights): (&Option<Token>, Rights)| Some(Key::new(token.clone()?, rights));
        all.into_iter().filter_map(key).collect()
    }
}

/// A token with its rights, and the cookie that stands for it.
#[derive(Debug)]
pub(super) struct Key {
    pub token: Token,
    pub rights: Rights,
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

    pub fn cookie(&self) -> &Token {
        let sign = || Token::new(cookie::sign(&self.token));
        self.cookie.get_or_init(sign)
    }
}
