//! The client against every script, in virtual time: what the layer of messages and packets has to do about each quirk.

use std::time::Duration;

use looprtc::proto::rtsp::{Quirk, RtspClient, RtspClientConfig, RtspEvent, RtspUrl, Transport};
use looprtc::testing::camera::stage::Stage;
use looprtc::testing::camera::{Behaviour, Expect, SCRIPTS, Script};

/// Time that a session is watched.
const WATCHED: Duration = Duration::from_secs(12);

/// The quirks that the client itself counts; those of media are for the layers above.
fn is_of_messages(number: u8) -> bool {
    matches!(number, 1..=25 | 39..=42)
}

/// Settings of a session with a script's camera.
pub fn config(script: &Script, seed: u64) -> RtspClientConfig {
    let scheme = if script.number == 41 { "rtsps" } else { "rtsp" };
    let url = RtspUrl::parse(&format!("{scheme}://cam:secret@10.0.0.1{}", script.path()));
    let config = RtspClientConfig::new(url.expect("a URL")).seed(Some(seed));
    match script.settings {
        "transport=udp" => config.transports(vec![Transport::Udp, Transport::Tcp]),
        "transport=tcp" => config.transports(vec![Transport::Tcp]),
        // As `Talk` does: on a connection of its own.
        "talk" => config.video(false).audio(false).backchannel(true),
        _ => config,
    }
}

/// Returns the faults of a client's session with a script.
fn judge(script: &Script, seed: u64) -> Result<(), String> {
    let mut stage = Stage::new(seed, script.behaviour(), |_| {
        RtspClient::new(config(script, seed))
    });
    stage.run(WATCHED);
    let ended = stage.events.iter().find_map(|(_, event)| match event {
        RtspEvent::Ended(why) => Some(why.clone()),
        _ => None,
    });
    let sentence = ended.map(|why| why.map_or("it was closed".to_owned(), |e| e.to_string()));
    let packets = stage.events.iter();
    let packets = packets.filter(|(_, e)| matches!(e, RtspEvent::Packet { stream: 0, .. }));
    let packets = packets.count() as u64;
    stage.with(|client, now| client.close(now));
    stage.run(Duration::from_secs(3));
    let requests = format!("{:?}", stage.log().requests);
    match (script.expect, sentence) {
        (Expect::Ends(text), Some(said)) if said.contains(text) => {}
        (Expect::Ends(text), said) => return Err(format!("{said:?} instead of {text:?}")),
        (_, Some(said)) => return Err(format!("it ended: {said}, {requests}")),
        (_, None) => {
            // Those sent by UDP before it was given up are lost.
            let most = if script.settings == "transport=udp" {
                70
            } else {
                90
            };
            if packets < stage.log().pictures * most / 100 || packets < 100 {
                let pictures = stage.log().pictures;
                return Err(format!(
                    "{packets} packets of {pictures} pictures, {requests}"
                ));
            }
            if !stage.client.has_ended() || stage.log().teardowns == 0 {
                return Err("it has not ended well".to_owned());
            }
        }
    }
    let complaints = &stage.log().complaints;
    if !complaints.is_empty() {
        return Err(format!("the camera complains: {complaints:?}"));
    }
    let quirk = Quirk::from_number(script.number).expect("it exists");
    let count = stage.client.quirks().of(quirk);
    if script.counted && is_of_messages(script.number) && count == 0 {
        return Err(format!("not counted: {:?}", stage.client.quirks()));
    }
    Ok(())
}

#[test]
fn the_client_gets_on_with_every_script() {
    let only = std::env::var("LOOPRTC_QUIRK")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut failed = Vec::new();
    for script in SCRIPTS
        .iter()
        .filter(|s| only.is_none_or(|n: u8| n == s.number))
    {
        for seed in 1..=3 {
            if let Err(why) = judge(script, seed) {
                failed.push(format!(
                    "{} {}, {}: {why}",
                    script.number, script.name, script.about
                ));
                break;
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        SCRIPTS.len(),
        failed.join("\n")
    );
}

/// A camera without faults needs no tolerance.
#[test]
fn a_good_camera_has_no_quirks() {
    let script = SCRIPTS[0];
    let mut stage = Stage::new(1, Behaviour::default(), |_| {
        RtspClient::new(config(&script, 1))
    });
    stage.run(Duration::from_secs(200));
    let quirks = stage.client.quirks();
    assert_eq!(quirks.met().count(), 0, "{quirks:?}");
    assert!(
        stage.log().complaints.is_empty(),
        "{:?}",
        stage.log().complaints
    );
    assert!(stage.log().kept_alive > 5 && stage.log().connections == 1);
}
