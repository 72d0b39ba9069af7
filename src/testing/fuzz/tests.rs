use super::*;
use crate::proto::peer::PeerError;
use crate::testing::Rng;

#[cfg(all(feature = "cli", feature = "movies"))]
#[path = "registry.rs"]
mod registry;

#[test]
fn bodies_take_what_is_well_formed() {
    for line in [
        "candidate:1 1 udp 1677729535 203.0.113.9 60000 typ srflx raddr 10.0.0.1 rport 5000",
        "candidate:7 1 udp 2122260223 fd00::2 50000 typ host ufrag abcd",
    ] {
        candidate(line.as_bytes());
        signal(line.as_bytes());
    }
    for json in [
        r#"{"type":"offer","sdp":"v=0\r\n"}"#,
        r#"{"candidate":""}"#,
        "null",
    ] {
        signal(json.as_bytes());
    }
    let offers = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdp");
    let mut count = 0;
    for file in std::fs::read_dir(offers).unwrap() {
        let mut offer = std::fs::read(file.unwrap().path()).unwrap();
        sdp(&offer);
        offer.push(b'1' + count % 3);
        sdp(&offer);
        count += 1;
    }
    assert!(count > 10);
}

#[cfg(feature = "server")]
fn seeds(name: &str, body: fn(&[u8])) -> usize {
    let seeds = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        body(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    count
}

/// The seeds for the HTTP port, and each of them with every byte changed.
#[cfg(feature = "server")]
#[test]
fn door_seeds() {
    use crate::server::proxies::HeaderReader;

    let seed = include_str!("../../../fuzz/seeds/http_head/cookie");
    assert!(seed.contains(&http::pair()), "a cookie that lets in");
    for seed in [
        include_bytes!("../../../fuzz/seeds/http_head/proxy_v1").as_slice(),
        include_bytes!("../../../fuzz/seeds/http_head/proxy_v2"),
    ] {
        let read = HeaderReader::default().push(&seed[1..]);
        assert!(matches!(read, Ok(Some(_))), "{read:?}");
    }
    for (name, body) in [
        ("http_head", http_head as fn(&[u8])),
        ("web_socket", web_socket),
        ("room_message", room_message),
    ] {
        assert!(seeds(name, body) > 3);
        let directory = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
        for seed in std::fs::read_dir(directory).unwrap() {
            let seed = std::fs::read(seed.unwrap().path()).unwrap();
            for at in 0..seed.len() {
                for change in [1, 0x20, 0x80, 0xff] {
                    let mut damaged = seed.clone();
                    damaged[at] ^= change;
                    body(&damaged);
                }
            }
        }
    }
}

/// The seeds of servers with peers take effect: sessions start, change and end; pages receive offers and answer them;
/// requests and WebSockets pass the HTTP port.
#[cfg(feature = "server")]
#[test]
fn seeds_reach_the_servers() {
    let seed = |name: &str| {
        let path = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    };
    let statuses = servers::whip_statuses(&seed("whip_server/session"));
    println!("{statuses:?}");
    assert_eq!(statuses[0], ("POST", 201));
    assert!(statuses.contains(&("PATCH", 200)) || statuses.contains(&("PATCH", 204)));
    assert!(statuses.contains(&("DELETE", 200)));
    let statuses = servers::whip_statuses(&seed("whip_server/both"));
    println!("{statuses:?}");
    assert!(statuses.iter().filter(|s| **s == ("POST", 201)).count() > 1);
    let statuses = servers::whip_statuses(&seed("whip_server/changed"));
    println!("{statuses:?}");
    assert!(statuses.iter().any(|(_, status)| *status == 422));
    let received = published::watched(&seed("published/two-viewers"));
    println!("{received} frames");
    assert!(received >= 6);
    for name in ["join", "changed"] {
        let events = servers::rooms_events(&seed(&format!("rooms_with_peers/{name}")));
        println!("{events:?}");
        assert!(events.iter().filter(|e| *e == "offer").count() > 1);
    }
    for (name, requests, web_sockets, messages) in [
        ("chunked", 1, 0, 0),
        ("request", 2, 0, 0),
        ("slow", 0, 0, 0),
        ("web_socket", 0, 1, 1),
    ] {
        let counts = servers::door_counts(&seed(&format!("door/{name}")));
        println!("{name}: {counts:?}");
        let found = (counts.requests, counts.web_sockets, counts.messages);
        assert_eq!(found, (requests, web_sockets, messages), "{name}");
    }
}

#[test]
fn datagrams_of_strangers_end_nothing() {
    // Connected; an unauthenticated source sends junk, then copies of earlier datagrams.
    let mut schedule = vec![7, 0, 3, b'a', b'b', b'c'];
    for index in 0..20 {
        schedule.extend([4, 0, index, 0]);
    }
    peer_datagrams(&schedule);
}

/// A handshake flight with one record in its middle damaged: the rest of it must neither be acknowledged endlessly nor
/// cost the connection.
#[test]
fn a_gap_in_a_handshake_flight() {
    use crate::proto::peer::ConnectionState;
    use std::cell::RefCell;
    use std::rc::Rc;

    // Before that is the ServerHello, which is not protected.
    for at in (130..700).step_by(30) {
        let mut sim = Simulation::new(3, Link::default());
        let (a, b) = sim.pair();
        let flight: Rc<RefCell<Option<Transmit>>> = Rc::default();
        let kept = Rc::clone(&flight);
        sim.set_filter(move |transmit| {
            // A handshake record with a ServerHello, and the records after it.
            let is_it = transmit.contents[0] == 22 && transmit.contents.get(13) == Some(&2);
            let is_first = is_it && kept.borrow().is_none();
            if is_first {
                *kept.borrow_mut() = Some(transmit.clone());
            }
            !is_first
        });
        let config = ChannelConfig::new("data");
        let made = sim.with(a, |peer, now| peer.create_data_channel(config, now));
        made.unwrap();
        assert!(sim.run_until(1_000, |_| flight.borrow().is_some()));
        let mut damaged = flight.take().unwrap();
        let Some(byte) = damaged.contents.get_mut(at) else {
            break;
        };
        *byte ^= 1;
        // So that the filter does not take the next one for the first.
        *flight.borrow_mut() = Some(damaged.clone());
        let to = if sim.address(a) == damaged.destination {
            a
        } else {
            b
        };
        sim.record();
        sim.forge(damaged.source, to, damaged.contents);
        run(&mut sim, 50);
        let sent = sim.recorded().len();
        assert!(sent < 30, "byte {at}: {sent} datagrams in answer to one");
        let up = sim.run_until(20_000, |sim| {
            let state = |node| sim.peer(node).connection_state();
            [a, b].map(state) == [ConnectionState::Connected; 2]
        });
        assert!(up, "byte {at}: {:?} {:?}", sim.peer(a), sim.peer(b));
    }
}

/// An impolite peer with a pending offer ignores another one, but not the time, nor being closed.
#[test]
fn an_ignored_offer() {
    let mut sim = Simulation::new(4, Link::default());
    let (_, impolite) = sim.pair();
    let config = ChannelConfig::new("data");
    let made = sim.with(impolite, |peer, now| peer.create_data_channel(config, now));
    made.unwrap();
    let offer = || SessionDescription::offer("v=0\r\n");
    let receive = |sim: &mut Simulation| sim.with(impolite, |peer, now| peer.receive(offer(), now));
    assert_eq!(receive(&mut sim), Ok(None));
    sim.with(impolite, |peer, now| peer.close(now));
    assert_eq!(receive(&mut sim), Err(PeerError::Closed));
}

/// Real descriptions and the seeds, damaged at random places: none of them may cause a panic.
#[test]
fn damaged_descriptions_are_explained() {
    let mut rng = Rng::new(11);
    let root = env!("CARGO_MANIFEST_DIR");
    let mut inputs = Vec::new();
    for directory in [
        "tests/sdp",
        "fuzz/seeds/inspect",
        "fuzz/seeds/sdp",
        "fuzz/seeds/candidate",
    ] {
        for file in std::fs::read_dir(format!("{root}/{directory}")).unwrap() {
            inputs.push(std::fs::read(file.unwrap().path()).unwrap());
        }
    }
    assert!(inputs.len() > 20, "{}", inputs.len());
    for input in inputs {
        inspect(&input);
        for _ in 0..20 {
            let mut damaged = input.clone();
            for _ in 0..1 + rng.next_u64() % 5 {
                // There is an empty seed.
                let at = rng.next_u64() as usize % damaged.len().max(1);
                if damaged.is_empty() {
                    break;
                }
                match rng.next_u64() % 4 {
                    0 => damaged[at] = rng.next_u64() as u8 & 0x7f,
                    1 => drop(damaged.remove(at)),
                    2 => damaged.insert(at, b" :;/,=\n-09a"[rng.next_u64() as usize % 11]),
                    _ => damaged.truncate(at.max(1)),
                }
            }
            inspect(&damaged);
        }
    }
}

/// Descriptions of all implementations with lines removed, duplicated, moved, taken from another description, and
/// damaged: the core can read the part passed to it, and answers fit. The environment variable `LOOPRTC_ROUNDS` asks
/// for more rounds than a test should take.
#[test]
fn damaged_descriptions_are_answered_or_refused() {
    let rounds = std::env::var("LOOPRTC_ROUNDS")
        .ok()
        .and_then(|r| r.parse().ok());
    let rounds: u64 = rounds.unwrap_or(2);
    let root = env!("CARGO_MANIFEST_DIR");
    let mut inputs = Vec::new();
    for directory in ["tests/sdp", "tests/data/cases", "fuzz/seeds/sdp"] {
        for file in std::fs::read_dir(format!("{root}/{directory}")).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() && !path.ends_with("expected.txt") {
                inputs.extend(std::fs::read_to_string(path));
            }
        }
    }
    inputs.sort();
    assert!(inputs.len() > 150, "{}", inputs.len());
    for round in 0..rounds {
        for (at, input) in inputs.iter().enumerate() {
            let mut rng = Rng::new(round << 16 | at as u64);
            let mut below = |most: usize| rng.next_u64() as usize % most.max(1);
            let mut lines: Vec<String> = input.lines().map(str::to_owned).collect();
            for _ in 0..1 + below(4) {
                let (from, to) = (below(lines.len()), below(lines.len() + 1));
                if lines.is_empty() {
                    break;
                }
                match below(7) {
                    0 => drop(lines.remove(from)),
                    1 => lines.insert(to, lines[from].clone()),
                    2 => {
                        let line = lines.remove(from);
                        lines.insert(to.min(lines.len()), line);
                    }
                    3 => {
                        let other = &inputs[below(inputs.len())];
                        let other: Vec<&str> = other.lines().collect();
                        let line = other.get(below(other.len())).copied().unwrap_or_default();
                        lines.insert(to, line.to_owned());
                    }
                    4 => {
                        let mut chars: Vec<char> = lines[from].chars().collect();
                        let place = below(chars.len() + 1);
                        chars.insert(
                            place,
                            [' ', ':', '0', '-', '/', 'x', '\t', '\u{fffd}'][below(8)],
                        );
                        lines[from] = chars.into_iter().collect();
                    }
                    5 => lines[from] = lines[from].chars().take(below(20)).collect(),
                    // A number is changed.
                    _ => {
                        let number = below(300).to_string();
                        let mut words: Vec<&str> = lines[from].split(' ').collect();
                        let place = below(words.len());
                        words[place] = &number;
                        lines[from] = words.join(" ");
                    }
                }
            }
            let state = ["", "0", "1", "2", "3"][below(5)];
            let text = lines.join("\r\n") + "\r\n" + state;
            let result = std::panic::catch_unwind(|| sdp(text.as_bytes()));
            assert!(result.is_ok(), "round {round}, input {at}: {text}");
        }
    }
}

/// The seeds of WHIP's parsers.
#[cfg(feature = "server")]
#[test]
fn whip_seeds() {
    for (name, body) in [
        ("sdpfrag", sdpfrag as fn(&[u8])),
        ("link_header", link_header),
    ] {
        let seeds = format!("{}/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for seed in std::fs::read_dir(seeds).unwrap() {
            let seed = std::fs::read(seed.unwrap().path()).unwrap();
            body(&seed);
            // Cut anywhere, and with one byte changed.
            let mut rng = Rng::new(3);
            for at in 0..seed.len() {
                body(&seed[..at]);
                let mut changed = seed.clone();
                changed[at] = rng.next_u64() as u8;
                body(&changed);
            }
            count += 1;
        }
        assert!(count >= 3);
    }
}
