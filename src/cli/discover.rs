//! `looprtc discover`.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use looprtc::proto::onvif::{Device, DeviceStream, ServiceAddress};
use looprtc::proto::rtsp::Credentials;
use looprtc::signaling::onvif::{SearchConfig, search, to_json};
use serde_json::json;

use super::page::Page;
use super::{Entry, Outcome, flag, option, value, values};

pub const ENTRY: Entry = Entry {
    name: "discover",
    options,
    page: &Page {
        about: "Searches the local network for cameras (ONVIF), and shows the addresses of their streams.",
        notes: &[
            "Most cameras tell their streams only to a user with a password; some have a user of its own for ONVIF, which is \
             created in their settings, or have ONVIF switched off.",
            "The search is a multicast, which does not leave the network, and which containers often do not pass on: there, name \
             the cameras. The password is sent as a digest, to every camera that is found: search networks that you trust.",
            "Passwords inside addresses are shown as ***.",
        ],
        examples: &[
            ("looprtc discover", "what is there"),
            (
                "looprtc discover --user admin --password-file camera.password",
                "and their streams",
            ),
            (
                "looprtc discover 192.168.1.64 --json | jq '.devices[].streams[].uri'",
                "one camera, for programs",
            ),
        ],
        exit: &[
            ("0", "the search is done, whatever it found"),
            ("1", "there is no network to search"),
            ("2", "the options are wrong"),
        ],
    },
    run,
};

fn options(command: Command) -> Command {
    command
        .about("Search the local network for cameras")
        .arg(
            Arg::new("address")
                .value_name("ADDRESS[:PORT]")
                .help("Ask these cameras, and search for no others")
                .action(ArgAction::Append)
                .value_parser(value_parser!(ServiceAddress)),
        )
        .arg(option(
            "interface",
            "NAME",
            "Network interface to search, or its IPv4 address [default: all but loopback]",
        ))
        .arg(
            option("seconds", "SECONDS", "Time to wait for answers, up to 60")
                .value_parser(value_parser!(f64))
                .default_value("4"),
        )
        .arg(option("user", "NAME", "User of the cameras").requires("password-file"))
        .arg(option("password-file", "FILE", "File with the user's password").requires("user"))
        .arg(flag("json", "Print JSON"))
}

fn run(options: &ArgMatches) -> Outcome {
    let seconds = value(options, "seconds").unwrap_or(4.0);
    let duration = Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= Duration::from_secs(60))
        .ok_or_else(|| crate::Usage(format!("--seconds {seconds}: expected 0 to 60")))?;
    let devices: Vec<ServiceAddress> = values(options, "address");
    let config = SearchConfig::default()
        .duration(duration)
        .interface(value(options, "interface"))
        .only_given(!devices.is_empty())
        .devices(devices)
        .credentials(credentials(options)?);
    let found = search(&config)?;
    if options.get_flag("json") {
        let devices: Vec<_> = found.iter().map(to_json).collect();
        say!("{}", json!({ "devices": devices }));
        return Ok(());
    }
    if found.is_empty() {
        say!(
            "No camera has answered. looprtc discover ADDRESS asks one directly; in many cameras ONVIF has to be switched on."
        );
    }
    for device in &found {
        print(device);
    }
    Ok(())
}

fn credentials(options: &ArgMatches) -> Result<Option<Credentials>, Box<dyn std::error::Error>> {
    let Some((user, path)) =
        value::<String>(options, "user").zip(value::<String>(options, "password-file"))
    else {
        return Ok(None);
    };
    let password = std::fs::read_to_string(&path)
        .map_err(|error| format!("--password-file {path}: {error}"))?;
    // Editors end a file with a line break, which no password has.
    let password = password.trim_end_matches(['\r', '\n']);
    Ok(Some(Credentials::new(user, password)))
}

fn print(device: &Device) {
    let model = device.model.as_ref().or(device.found.hardware.as_ref());
    let words = [
        device.found.name.as_ref(),
        device.manufacturer.as_ref(),
        model,
        device.found.location.as_ref(),
    ];
    let mut shown: Vec<&str> = Vec::new();
    for word in words.into_iter().flatten() {
        // The name is often that of the model.
        if shown.iter().all(|before| !before.contains(word.as_str())) {
            shown.push(word);
        }
    }
    say!("{}  {}", device.found.service.address, shown.join(", "));
    for stream in &device.streams {
        let uri = stream
            .uri
            .as_ref()
            .map_or_else(|| "(no address)".into(), ToString::to_string);
        say!("    {uri}  {}", about(stream));
        if let Some(snapshot) = &stream.snapshot {
            say!("        picture: {snapshot}");
        }
    }
    if let Some(problem) = &device.problem {
        say!("    {problem}");
    }
}

/// Describes a stream in a few words.
fn about(stream: &DeviceStream) -> String {
    let size = stream
        .size
        .map(|(width, height)| format!("{width}x{height}"));
    let rate = stream.frame_rate.map(|rate| format!("{rate} frames/s"));
    let audio = stream.audio.as_ref().map(|audio| format!("audio {audio}"));
    let parts = [
        Some(stream.profile.clone()),
        stream.encoding.clone(),
        size,
        rate,
        audio,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
