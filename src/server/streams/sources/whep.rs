//! A stream of another server, played by a peer of our own over WHEP.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{
    ConnectionState, Direction, MediaKind, MediaMode, PeerEvent, TransceiverConfig,
};
use crate::server::streams::kind::{Context, Kind, Source, SourceConfig, SourceEvent, Stopped};
use crate::server::streams::publisher::Publisher;
use crate::server::token::Token;
use crate::signaling::whip::{WhipClient, WhipClientConfig, WhipError, WhipEvent};

/// Maximum silence of a path to another server after it is noticed. An ICE restart has been attempted by then.
const LOST: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Whep {
    url: String,
    /// Bearer token for the server.
    token: Option<Token>,
}

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    let rest = url.strip_prefix("whep:")?;
    Some(
        match rest.starts_with("http://") || rest.starts_with("https://") {
            true => Whep::of(rest).map(SourceConfig::new),
            false => Err("write whep:https://HOST/PATH, or whep:http://…".into()),
        },
    )
}

impl Whep {
    /// Parses the text after `whep:`. The fragment is never sent to the server, so it may hold a secret.
    fn of(text: &str) -> Result<Self, String> {
        let (url, token) = match text.split_once('#') {
            None => (text, None),
            Some((url, fragment)) => match fragment.strip_prefix("token=") {
                Some(secret) if !secret.is_empty() => (url, Some(Token::new(secret))),
                _ => return Err("behind the # of a URL stands token=SECRET".into()),
            },
        };
        let url = url.to_owned();
        Ok(Self { url, token })
    }

    fn watch(&self, net: &mut EventLoop, peer: PeerId) -> Result<WhipClient, WhipError> {
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let receive = TransceiverConfig::default().direction(Direction::RecvOnly);
            net.peer(peer)?.add_transceiver(kind, receive)?;
        }
        let token = self.token.as_ref().map(|t| t.expose().to_owned());
        let config = WhipClientConfig::new(&self.url).token(token);
        WhipClient::start(net, peer, config)
    }
}

impl Kind for Whep {
    fn describe(&self) -> String {
        let without = self.url.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = without.split_once("://").unwrap_or(("", without));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("WHEP, {scheme}://{host}")
    }

    fn may_change_codecs(&self) -> bool {
        true
    }

    fn start(&self, ctx: &mut Context<'_>, _: u32) -> Result<Box<dyn Source>, String> {
        let config = ctx.peer.clone().media_mode(MediaMode::Packets);
        let peer = ctx.net.add_peer(config).map_err(|e| e.to_string())?;
        match self.watch(ctx.net, peer) {
            Ok(client) => {
                ctx.outcome.joined.push(peer);
                Ok(Box::new(Watching {
                    client,
                    publisher: Publisher::new(peer, ctx.now),
                    ready: VecDeque::new(),
                    lost_at: None,
                    is_ending: false,
                }))
            }
            Err(error) => {
                if let Ok(mut peer) = ctx.net.peer(peer) {
                    peer.close();
                }
                Err(error.to_string())
            }
        }
    }
}

/// A session with another server.
#[derive(Debug)]
struct Watching {
    client: WhipClient,
    publisher: Publisher,
    ready: VecDeque<SourceEvent>,
    /// When a silent server is given up.
    lost_at: Option<Instant>,
    is_ending: bool,
}

impl Watching {
    /// Handles the outcome of the session's requests.
    fn fetch(&mut self, ctx: &mut Context<'_>) {
        self.client.handle_timeout(ctx.net, ctx.now);
        while let Some(event) = self.client.poll_event() {
            if let WhipEvent::Failed(why) = event {
                self.ready.push_back(SourceEvent::Failed(why.to_string()));
            }
        }
        if self.lost_at.take_if(|at| *at <= ctx.now).is_some() {
            let why = "the other server is silent".into();
            self.ready.push_back(SourceEvent::Failed(why));
        }
    }
}

impl Source for Watching {
    fn poll(&mut self, _: &mut Context<'_>) -> Option<SourceEvent> {
        self.ready.pop_front()
    }

    fn handle_timeout(&mut self, ctx: &mut Context<'_>) {
        if !self.is_ending {
            self.publisher.handle_timeout(ctx);
        }
        self.fetch(ctx);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let ask = self.publisher.deadline().filter(|_| !self.is_ending);
        let all = [self.client.next_deadline(), ask, self.lost_at];
        all.into_iter().flatten().min()
    }

    fn peer(&self) -> Option<PeerId> {
        Some(self.publisher.peer)
    }

    fn handle_peer_event(&mut self, ctx: &mut Context<'_>, event: &PeerEvent) {
        self.client
            .handle_peer_event(ctx.net, self.publisher.peer, event);
        if self.is_ending {
            return;
        }
        match event {
            PeerEvent::Packet(_) | PeerEvent::PacketsLost { .. } => {
                let media = self.publisher.handle_event(ctx, event);
                self.ready.extend(media.map(SourceEvent::Media));
                return;
            }
            PeerEvent::ConnectionStateChange(ConnectionState::Disconnected) => {
                self.lost_at = Some(ctx.now + LOST);
            }
            PeerEvent::ConnectionStateChange(_) => self.lost_at = None,
            _ => {}
        }
        self.fetch(ctx);
    }

    fn is_silent(&self, patience: Duration, now: Instant) -> bool {
        self.publisher.is_silent(patience, now)
    }

    fn want_keyframe(&mut self, ctx: &mut Context<'_>) {
        self.publisher.want_keyframe(ctx);
    }

    fn stop(mut self: Box<Self>, net: &mut EventLoop) -> Stopped {
        self.client.close(net);
        self.lost_at = None;
        self.is_ending = true;
        Stopped::Ending(self)
    }

    fn is_over(&self) -> bool {
        self.client.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_to_ourselves() {
        let source = Whep::of("http://example.org/a#token=s3cret").unwrap();
        assert_eq!(source.url, "http://example.org/a");
        assert!(source.token.as_ref().unwrap().matches("s3cret"));
        let shown = format!("{source:?} {}", source.describe());
        assert!(!shown.contains("s3cret"), "{shown}");
        let other = Whep::of("https://u:secret@example.org/a?token=b#token=c").unwrap();
        assert_eq!(other.describe(), "WHEP, https://example.org/a");
    }
}
