//! What another server shows, as a source.

use crate::driver::{EventLoop, PeerId};
use crate::proto::peer::{Direction, MediaKind, MediaMode, PeerConfig, TransceiverConfig};
use crate::signaling::whip::{WhipClient, WhipClientConfig, WhipError};

/// Watches `url`, with a peer of its own.
pub(super) fn start(
    net: &mut EventLoop,
    url: &str,
    token: Option<&str>,
    peer: &PeerConfig,
) -> Result<WhipClient, String> {
    let config = peer.clone().media_mode(MediaMode::Packets);
    let peer = net.add_peer(config).map_err(|e| e.to_string())?;
    let started = watch(net, peer, url, token);
    if started.is_err()
        && let Ok(mut peer) = net.peer(peer)
    {
        peer.close();
    }
    started.map_err(|e| e.to_string())
}

fn watch(
    net: &mut EventLoop,
    peer: PeerId,
    url: &str,
    token: Option<&str>,
) -> Result<WhipClient, WhipError> {
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let receive = TransceiverConfig::default().direction(Direction::RecvOnly);
        net.peer(peer)?.add_transceiver(kind, receive)?;
    }
    let config = WhipClientConfig::new(url).token(token.map(str::to_owned));
    WhipClient::start(net, peer, config)
}
