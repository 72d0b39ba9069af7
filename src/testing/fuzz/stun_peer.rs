//! Connectivity checks and responses, with and without the right password.

use std::net::SocketAddr;

use turn_types::stun::message::{IntegrityAlgorithm, IntegrityKey, ShortTermCredentials};

use super::stun::Invented;
use super::{Bytes, run, talks};
use crate::proto::ice::stun::request_transaction;
use crate::proto::peer::crypto::open;
use crate::proto::peer::{ChannelConfig, PeerConfig};
use crate::testing::{Link, Node, Simulation, shared_certificate};

/// STUN for a peer in its handshake or connected: requests and responses of any shape, with the right password or
/// without. A source without the password cannot end the connection; one with it counts as one of a few addresses.
pub fn stun_peer(data: &[u8]) {
    let mut bytes = Bytes(data);
    let options = bytes.byte();
    let mut sim = Simulation::new(3, Link::default().delay(1, 0));
    sim.signaling_ms = 1;
    sim.record();
    let config = PeerConfig::default();
    let limit = config.limits.max_validated_addresses;
    // Created now, while a crypto provider that can create one is active.
    let _ = shared_certificate();
    let (a, b) = open::wanted(|| sim.pair_with(config.clone(), config));
    let channel = sim.with(a, |p, now| {
        p.create_data_channel(ChannelConfig::new("data"), now)
    });
    let channel = channel.expect("a channel");
    let is_connected = options & 1 == 0;
    run(
        &mut sim,
        if is_connected {
            500
        } else {
            u64::from(options >> 4)
        },
    );
    let (ours, theirs) = (credentials(&sim, b), credentials(&sim, a));
    let (Some((ufrag, password)), Some((their_ufrag, their_password))) = (ours, theirs) else {
        return;
    };
    let mut asked: Vec<u128> = Vec::new();
    let mut is_signed = false;
    while !bytes.is_empty() {
        for sent in sim.recorded() {
            let id = (sent.source == sim.address(b)).then(|| request_transaction(&sent.contents));
            if let Some(id) = id.flatten() {
                let mut long = [0; 16];
                long[4..].copy_from_slice(&id);
                asked.insert(0, u128::from_be_bytes(long));
                asked.truncate(8);
            }
        }
        let control = bytes.byte();
        if control & 7 == 0 {
            run(&mut sim, u64::from(bytes.byte()) * 4);
            continue;
        }
        let kind = [
            0x0001, 0x0001, 0x0101, 0x0111, 0x0001, 0x0101, 0x0011, 0x0003,
        ][usize::from(control & 7)];
        let id = match control & 8 {
            0 => u128::from(bytes.word()) + 1,
            _ => asked
                .get(usize::from(bytes.byte() & 7))
                .copied()
                .unwrap_or(7),
        };
        let Some(mut message) = Invented::new(kind, id) else {
            continue;
        };
        let is_request = kind & 0x0110 == 0;
        if is_request {
            let name = match control & 0x10 {
                0 => format!("{ufrag}:{their_ufrag}"),
                _ => format!("{ufrag}:x"),
            };
            message.add(0x0006, name.as_bytes());
            message.add(0x0024, &[0x6E, 0, 1, bytes.byte()]);
            match bytes.byte() & 7 {
                0 => message.add(0x8029, &[1; 8]),
                1 => message.add(0x802A, &[0xFF; 8]),
                2 | 3 => message.add(0x802A, &[0; 8]),
                4 => message.add(0x0025, &[]),
                _ => message.add(0x8029, &[0xFF; 8]),
            }
        } else if control & 0x10 == 0 {
            message.add_address(0x0020, sim.address(b));
        }
        message.add_some(&mut bytes);
        let how = bytes.byte();
        if how & 1 == 0 {
            let password = if is_request {
                &password
            } else {
                &their_password
            };
            message.sign(&key(password), IntegrityAlgorithm::Sha1);
            is_signed = true;
        } else {
            message.sign(&key("wrong"), IntegrityAlgorithm::Sha1);
        }
        let from = match how & 6 {
            0 | 2 => sim.address(a),
            4 => SocketAddr::from(([10, 0, 9, 9], 9000 + u16::from(how >> 3))),
            _ => SocketAddr::from(([10, 0, 0, 1], 5001)),
        };
        sim.forge(from, b, message.finish(how & 0x80 == 0));
        run(&mut sim, 1);
        assert!(sim.peer(b).validated_addresses().count() <= limit);
    }
    run(&mut sim, 2_000);
    if is_connected && !is_signed {
        assert!(
            talks(&mut sim, a, b, channel),
            "a stranger ended the connection"
        );
    }
}

fn key(password: &str) -> IntegrityKey {
    ShortTermCredentials::new(password.into()).make_key()
}

/// Returns the ufrag and password of a peer.
fn credentials(sim: &Simulation, node: Node) -> Option<(String, String)> {
    let sdp = sim.peer(node).local_description()?.sdp;
    let value = |name: &str| sdp.lines().find_map(|l| l.strip_prefix(name));
    Some((
        value("a=ice-ufrag:")?.to_owned(),
        value("a=ice-pwd:")?.to_owned(),
    ))
}
