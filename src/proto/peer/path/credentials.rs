//! The current ICE credentials, and the ufrags by which datagrams are routed to this peer.

use std::collections::VecDeque;

use super::super::contract::{Output, Route};
use super::super::outbox::Outbox;
use crate::proto::ice::IceCredentials;

/// Maximum number of local ufrags routed at once: the current one, the offered one, the previous one.
const MAX_UFRAGS: usize = 3;

/// The credentials of both sides.
#[derive(Debug)]
pub(in super::super) struct Credentials {
    local: IceCredentials,
    remote: Option<IceCredentials>,
    routed: VecDeque<String>,
}

impl Credentials {
    pub fn new(local: IceCredentials, out: &mut Outbox) -> Self {
        let mut credentials = Self {
            remote: None,
            routed: VecDeque::new(),
            local,
        };
        credentials.route(credentials.local.ufrag.clone(), out);
        credentials
    }

    pub fn local(&self) -> &IceCredentials {
        &self.local
    }

    pub fn remote(&self) -> Option<&IceCredentials> {
        self.remote.as_ref()
    }

    /// Returns the password that signs a STUN message.
    pub fn password(&self, is_request: bool) -> Option<&str> {
        match is_request {
            true => Some(&self.local.password),
            false => self.remote.as_ref().map(|c| c.password.as_str()),
        }
    }

    /// Handles a completed negotiation. Returns `true` if ICE restarts: the remote credentials have changed.
    pub fn negotiated(
        &mut self,
        local: IceCredentials,
        remote: IceCredentials,
        out: &mut Outbox,
    ) -> bool {
        self.local = local;
        self.route(self.local.ufrag.clone(), out);
        let is_restart = self.remote.as_ref().is_some_and(|before| *before != remote);
        self.remote = Some(remote);
        is_restart
    }

    /// Routes STUN requests with a local ufrag to this peer. Replaces the oldest ufrag that is not in use, if
    /// necessary.
    pub fn route(&mut self, ufrag: String, out: &mut Outbox) {
        if self.routed.contains(&ufrag) {
            return;
        }
        if self.routed.len() >= MAX_UFRAGS {
            let in_force = &self.local.ufrag;
            if let Some(old) = self.routed.iter().find(|u| *u != in_force).cloned() {
                self.unroute(&old, out);
            }
        }
        self.routed.push_back(ufrag.clone());
        out.push(Output::Route(Route::Ufrag(ufrag)));
    }

    /// Stops that routing: the generation was rolled back.
    pub fn unroute(&mut self, ufrag: &str, out: &mut Outbox) {
        if let Some(index) = self.routed.iter().position(|u| u == ufrag) {
            self.routed.remove(index);
            out.push(Output::Route(Route::DropUfrag(ufrag.to_owned())));
        }
    }

    /// Clears everything, because the connection is closed.
    pub fn clear(&mut self) {
        self.routed.clear();
        self.remote = None;
    }

    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> (&'static str, usize, usize) {
        ("ufrags", self.routed.len(), MAX_UFRAGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds(ufrag: &str) -> IceCredentials {
        IceCredentials {
            ufrag: ufrag.into(),
            password: format!("secret of {ufrag}"),
        }
    }

    fn routes(out: &mut Outbox) -> Vec<Route> {
        let polled = std::iter::from_fn(|| out.pop());
        polled
            .filter_map(|o| match o {
                Output::Route(route) => Some(route),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn the_ufrag_in_force_keeps_its_route() {
        let mut out = Outbox::default();
        let mut c = Credentials::new(creds("one"), &mut out);
        for ufrag in ["two", "three", "four", "four"] {
            c.route(ufrag.into(), &mut out);
        }
        let ufrag = |u: &str| Route::Ufrag(u.into());
        let dropped = Route::DropUfrag("two".into());
        let all = [
            ufrag("one"),
            ufrag("two"),
            ufrag("three"),
            dropped,
            ufrag("four"),
        ];
        assert_eq!(routes(&mut out), all);
        c.unroute("never routed", &mut out);
        assert_eq!(routes(&mut out), []);
    }

    #[test]
    fn new_remote_credentials_are_a_restart() {
        let mut out = Outbox::default();
        let mut c = Credentials::new(creds("a"), &mut out);
        assert_eq!(c.password(false), None, "nobody is known yet");
        assert!(!c.negotiated(creds("a"), creds("b"), &mut out));
        assert!(!c.negotiated(creds("a"), creds("b"), &mut out));
        assert!(c.negotiated(creds("c"), creds("d"), &mut out));
        assert_eq!(c.password(true), Some("secret of c"));
        assert_eq!(c.password(false), Some("secret of d"));
        assert!(!format!("{c:?}").contains("secret"));
    }
}
