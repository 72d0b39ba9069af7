//! `looprtc probe`.

mod advice;
mod observed;
mod report;

use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command, ValueHint};
use looprtc::driver::{CameraSockets, TlsMode};
use looprtc::proto::rtsp::{
    Camera, CameraConfig, CameraEvent, CameraOutput, Credentials, Direction, Input,
    RtspClientConfig, RtspError, RtspUrl, Transport,
};
use looprtc::{EventLoop, LoopConfig};

use super::page::Page;
use super::{Entry, Outcome, flag, list, option, positional, stop_on_signals, value, values};
use crate::Usage;
use observed::Observed;

/// Advice for a camera whose certificate is not accepted.
const CERTIFICATE: &str = "--fingerprint accepts one certificate, --insecure any";

pub const ENTRY: Entry = Entry {
    name: "probe",
    options,
    page: &Page {
        about: "Watches an RTSP camera for some seconds and tells what it is, what it sends, what browsers play of it, and \
                what to change in its settings.",
        notes: &[
            "A password in the address is visible to other users of this machine, in the list of processes. \
             --user and --password-file avoid that.",
            "--verbose prints the exchange with the camera, without passwords: attach it to a report of a camera that \
             does not work.",
        ],
        examples: &[
            (
                "looprtc probe rtsp://admin:secret@192.168.1.20/stream1",
                "ten seconds of a camera",
            ),
            (
                "looprtc probe rtsp://192.168.1.20/stream1 --user admin --password-file password --verbose",
                "with the exchange, and the password from a file",
            ),
            (
                "looprtc probe rtsp://192.168.1.20/stream1 --transport udp --json",
                "by UDP, for a program",
            ),
        ],
        exit: &[
            ("0", "the camera sends media that was understood"),
            ("1", "it does not; the last line says why"),
            ("2", "the options are wrong"),
        ],
    },
    run,
};

/// Time for everything before the first frame: connecting, a change of transport, a redirect.
const PATIENCE: Duration = Duration::from_secs(30);

fn options(command: Command) -> Command {
    command
        .about("Tell what an RTSP camera sends, and what to change in its settings")
        .arg(positional(
            "url",
            "URL",
            "Camera, for example rtsp://user:password@192.168.1.20/stream1",
        ))
        .arg(
            option(
                "seconds",
                "SECONDS",
                "Time to watch, from the first frame [1 to 3600]",
            )
            .default_value("10")
            .value_parser(clap::value_parser!(u64).range(1..=3600)),
        )
        .arg(
            list(
                "transport",
                "tcp|udp|multicast",
                "Transport; several are tried in turn [default: tcp, then udp]",
            )
            .value_parser(["tcp", "udp", "multicast"]),
        )
        .arg(option(
            "user",
            "NAME",
            "User name, if it is not in the address",
        ))
        .arg(
            Arg::new("password-file")
                .long("password-file")
                .value_name("FILE")
                .help("File whose first line is the password")
                .value_hint(ValueHint::FilePath),
        )
        .arg(flag("insecure", "Accept any certificate (rtsps)"))
        .arg(option(
            "fingerprint",
            "SHA-256",
            "Accept the certificate with this fingerprint only (rtsps)",
        ))
        .arg(flag(
            "verbose",
            "Print the exchange with the camera, without passwords",
        ))
        .arg(flag("json", "Print JSON"))
}

fn run(options: &ArgMatches) -> Outcome {
    let url = url(options)?;
    let transports = values::<String>(options, "transport").into_iter();
    let transports = transports.map(|name| match name.as_str() {
        "udp" => Transport::Udp,
        "multicast" => Transport::Multicast,
        _ => Transport::Tcp,
    });
    let is_verbose = options.get_flag("verbose");
    let shown = url.without_credentials();
    let client = RtspClientConfig::new(url)
        .transports(transports.collect())
        .trace(is_verbose);
    let seconds = value(options, "seconds").unwrap_or(10);
    let mut observed = Observed::new(shown);
    let outcome = watch(
        CameraConfig::new(client),
        CameraSockets::new(tls_mode(options)?, CERTIFICATE),
        Duration::from_secs(seconds),
        &mut observed,
    )?;
    match options.get_flag("json") {
        true => say!("{:#}", report::as_json(&observed)),
        false => report::print(&observed),
    }
    match outcome {
        Some(error) if observed.frames() == 0 => Err(error.to_string().into()),
        Some(error) => Err(format!("{error}, after {} frames", observed.frames()).into()),
        None if observed.frames() == 0 => {
            Err("the camera has sent nothing that was understood".into())
        }
        None => Ok(()),
    }
}

/// Returns the camera's address with the credentials of the options.
fn url(options: &ArgMatches) -> Result<RtspUrl, Box<dyn std::error::Error>> {
    let text: String = value(options, "url").unwrap_or_default();
    let url = RtspUrl::parse(&text).map_err(|error| Usage(error.to_string()))?;
    let user: Option<String> = value(options, "user");
    let file: Option<String> = value(options, "password-file");
    if user.is_none() && file.is_none() {
        return Ok(url);
    }
    let known = url.credentials().cloned();
    let user = user.or_else(|| known.as_ref().map(|known| known.user.clone()));
    let password = match file {
        Some(file) => {
            let text =
                std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None => known.map_or_else(String::new, |known| known.password.expose().to_owned()),
    };
    Ok(url.with_credentials(Some(Credentials::new(user.unwrap_or_default(), password))))
}

/// Returns how the camera's certificate is checked.
fn tls_mode(options: &ArgMatches) -> Result<TlsMode, Usage> {
    if options.get_flag("insecure") {
        return Ok(TlsMode::Unverified);
    }
    let Some(text) = value::<String>(options, "fingerprint") else {
        return Ok(TlsMode::SystemRoots);
    };
    TlsMode::pinned(&text).ok_or_else(|| {
        Usage("--fingerprint: a SHA-256 fingerprint has 64 hexadecimal digits, with or without colons".into())
    })
}

/// Watches a camera. Returns the error that ended the session, if one did.
fn watch(
    config: CameraConfig,
    mut sockets: CameraSockets,
    time: Duration,
    observed: &mut Observed,
) -> Result<Option<RtspError>, Box<dyn std::error::Error>> {
    let stop = stop_on_signals()?;
    let mut net = EventLoop::new(LoopConfig::default())?;
    let mut camera = Camera::new(config, Instant::now());
    let mut until = Instant::now() + PATIENCE;
    let mut is_closing = false;
    loop {
        let now = Instant::now();
        let deadline = loop {
            match camera.poll_output() {
                CameraOutput::Io(output) => {
                    if let Some(input) = sockets.perform(&mut net, output) {
                        camera.handle_input(input, Instant::now());
                    }
                }
                CameraOutput::Event(CameraEvent::Ended(error)) => {
                    observed.end(&camera);
                    sockets.close(&mut net);
                    // What is queued is sent.
                    net.run_once(Some(Duration::from_millis(20)))?;
                    return Ok(error);
                }
                CameraOutput::Event(event) => {
                    if matches!(event, CameraEvent::Frame { .. }) && observed.frames() == 0 {
                        until = now + time;
                    }
                    show(&event);
                    observed.take(event, now);
                }
                CameraOutput::Timeout(at) => break at,
                _ => {}
            }
        };
        if !is_closing && (now >= until || stop.load(std::sync::atomic::Ordering::Relaxed)) {
            is_closing = true;
            observed.end(&camera);
            camera.close(now);
            continue;
        }
        let next = if is_closing {
            deadline
        } else {
            Some(deadline.map_or(until, |at| at.min(until)))
        };
        // A signal does not wake the loop.
        let wait = next.map_or(Duration::from_millis(100), |at| {
            at.saturating_duration_since(now)
        });
        net.run_once(Some(wait.min(Duration::from_millis(100))))?;
        while let Some(event) = net.poll_tcp() {
            if let Some(input) = sockets.input_of_tcp(&event) {
                camera.handle_input(input, Instant::now());
            }
        }
        while let Some(datagram) = net.poll_datagram() {
            if let Some(input) = sockets.input_of_datagram(&datagram) {
                camera.handle_input(input, Instant::now());
            }
        }
        let now = Instant::now();
        if deadline.is_some_and(|at| at <= now) {
            camera.handle_input(Input::Timeout, now);
        }
    }
}

/// Prints a message of the exchange.
fn show(event: &CameraEvent) {
    let CameraEvent::Trace(direction, text) = event else {
        return;
    };
    let mark = match direction {
        Direction::Sent => '>',
        Direction::Received => '<',
    };
    for line in text.lines() {
        say!("{mark} {line}");
    }
    say!("");
}
