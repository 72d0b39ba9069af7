use super::*;
use crate::proto::peer::{ChannelConfig, ChannelId, ConnectionState, Message};

fn connect(sim: &mut Simulation, a: Node, b: Node) -> (ChannelId, ChannelId) {
    let ca = sim
        .with(a, |p, now| {
            p.create_data_channel(ChannelConfig::new("data"), now)
        })
        .unwrap();
    let up = |sim: &Simulation| {
        [a, b].iter().all(|n| {
            sim.peer(*n).connection_state() == ConnectionState::Connected
                && sim.peer(*n).channels().len() == 1
        })
    };
    assert!(
        sim.run_until(60_000, up),
        "{:?} {:?}",
        sim.peer(a),
        sim.peer(b)
    );
    let cb = sim.peer(b).channels()[0];
    sim.run_for(500);
    (ca, cb)
}

fn messages(sim: &mut Simulation, node: Node) -> Vec<Message> {
    std::iter::from_fn(|| sim.next_event(node))
        .filter_map(|e| match e {
            PeerEvent::ChannelMessage { message, .. } => Some(message),
            _ => None,
        })
        .collect()
}

#[test]
fn two_peers_connect_and_talk() {
    let mut sim = Simulation::new(1, Link::default());
    let (a, b) = sim.pair();
    let (ca, cb) = connect(&mut sim, a, b);
    sim.with(a, |p, now| p.send_text(ca, "hello", now)).unwrap();
    sim.with(b, |p, now| p.send_binary(cb, &[], now)).unwrap();
    sim.with(b, |p, now| p.send_text(cb, "", now)).unwrap();
    let big: Vec<u8> = (0..256 * 1024).map(|i| i as u8).collect();
    sim.with(a, |p, now| p.send_binary(ca, &big, now)).unwrap();
    sim.run_for(20_000);
    assert_eq!(
        messages(&mut sim, b),
        [Message::Text("hello".into()), Message::Binary(big)]
    );
    assert_eq!(
        messages(&mut sim, a),
        [Message::Binary(vec![]), Message::Text(String::new())]
    );
}
