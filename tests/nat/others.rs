//! Other implementations as the remote peer: pion and libwebrtc. `LOOPRTC_MATRIX=1 cargo test --test nat others --
//! --nocapture` generates the table of docs/nat.md.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use looprtc::proto::peer::{IceCandidateInit, PeerConfig, SessionDescription};

use crate::child::{self, RealPeer};
use crate::client::{Client, Order, Report};
use crate::lab::{Kind, Lab, Whose, not_tested, ready, whose};
use crate::server::{Coturn, ice_servers, ice_servers_json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the expected kind of path. Which of the two relays is used depends on both implementations.
fn is_relayed(a: Kind, b: Kind) -> bool {
    let picky = |k| matches!(k, Kind::PortRestricted | Kind::Symmetric);
    !a.lets_udp_out()
        || !b.lets_udp_out()
        || a == Kind::Symmetric && picky(b)
        || b == Kind::Symmetric && picky(a)
}

/// We are `a` and offer; the remote peer is `b`, answers, and echoes messages. Returns the time since the offer, and
/// the path.
fn meet(name: &str, a: Kind, b: Kind) -> String {
    let lab = Lab::new(a, b);
    let server = Coturn::start(&lab, &[]);
    let (sender, reports) = std::sync::mpsc::channel();
    let config = PeerConfig::default().ice_servers(ice_servers());
    let begun = Instant::now();
    let json = ice_servers_json();
    let mut theirs =
        RealPeer::start_by(&lab.prefix("b"), name, "answer", &["--ice-servers", &json]);
    let authority = server.certificates.authority.clone();
    let ours = Client::start(&lab, 0, authority, config, sender);
    ours.tell(Order::Begin);
    let mut offered = None;
    let mut opened = None;
    let mut path = None;
    let mut echoes = 0;
    let mut story = Vec::new();
    // Data continues for a while, so that the better path is found.
    while echoes < 20 {
        assert!(begun.elapsed() < PATIENCE, "{name} {a:?} {b:?}: {story:#?}");
        match theirs.report() {
            Ok(Some(report)) => {
                story.push(format!("they: {report}"));
                on_theirs(&report, &ours);
            }
            Ok(None) => {}
            Err(why) => panic!("{name}: {why}: {story:#?}"),
        }
        let Ok((_, report)) = reports.recv_timeout(Duration::from_millis(5)) else {
            continue;
        };
        match report {
            Report::Description(offer) => {
                offered = Some(Instant::now());
                let description = json!({"type": offer.kind.as_str(), "sdp": offer.sdp});
                theirs.say(&json!({"type": "description", "description": description}));
            }
            Report::Candidate(candidate) => {
                let init = candidate.to_init();
                let candidate = json!({
                    "candidate": init.candidate,
                    "sdpMid": init.sdp_mid,
                    "sdpMLineIndex": init.sdp_m_line_index,
                });
                theirs.say(&json!({"type": "candidate", "candidate": candidate}));
            }
            Report::Open(at) => {
                opened = Some(at);
                ours.tell(Order::Say("0".into()));
            }
            Report::Message(_) => {
                echoes += 1;
                std::thread::sleep(Duration::from_millis(100));
                ours.tell(Order::Say(echoes.to_string()));
                ours.tell(Order::TellPath);
            }
            Report::Path(now) => path = now,
            Report::State(_) | Report::Trouble(_) => story.push(format!("we: {report:?}")),
        }
    }
    let (Some(offered), Some(opened), Some((local, remote))) = (offered, opened, path) else {
        panic!("{name} {a:?} {b:?}: {story:#?}");
    };
    let time = opened - offered;
    let (local, remote) = (whose(local), whose(remote));
    println!(
        "{name:10} {:5} {:5} connected {:5} ms  {local:?}→{remote:?}",
        a.name(),
        b.name(),
        time.as_millis()
    );
    let relayed = local == Whose::Relay || remote == Whose::Relay;
    assert_eq!(
        relayed,
        is_relayed(a, b),
        "{local:?} {remote:?}: {story:#?}"
    );
    let by = match (local, remote) {
        _ if relayed => "relay",
        (Whose::Host, Whose::Host) => "host",
        _ => "srflx",
    };
    format!("{by} {}", time.as_millis())
}

fn on_theirs(report: &Value, ours: &Client) {
    match report["type"].as_str() {
        Some("description") => {
            let sdp = report["description"]["sdp"].as_str().unwrap_or_default();
            let answer = SessionDescription::answer(sdp.to_owned());
            ours.tell(Order::Description(answer));
        }
        Some("candidate") => {
            if let Some(line) = report["candidate"]["candidate"].as_str() {
                ours.tell(Order::Candidate(IceCandidateInit::new(line.to_owned())));
            }
        }
        Some("error") => panic!("{report}"),
        _ => {}
    }
}

fn every_pair(name: &str) {
    if !ready() {
        return;
    }
    if let Err(why) = child::installed(name) {
        not_tested(&why);
        return;
    }
    let is_matrix = std::env::var_os("LOOPRTC_MATRIX").is_some();
    let kinds = match is_matrix {
        true => &Kind::ALL[..],
        false => &[Kind::None, Kind::PortRestricted, Kind::Symmetric],
    };
    let mut table = String::new();
    for a in kinds {
        let met = kinds.iter().map(|b| meet(name, *a, *b));
        table += &format!(
            "| `{}` | {} |\n",
            a.name(),
            met.collect::<Vec<_>>().join(" | ")
        );
    }
    if is_matrix {
        let names: Vec<_> = kinds.iter().map(|k| format!("`{}`", k.name())).collect();
        println!("\n| we ↓, {name} → | {} |\n{table}", names.join(" | "));
    }
}

#[test]
fn pion() {
    every_pair("pion");
}

#[test]
fn libwebrtc() {
    every_pair("libwebrtc");
}
