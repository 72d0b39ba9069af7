//! Asks a device for its streams.

use std::time::{Duration, Instant};

use super::discovery::shown;
use super::soap::{self, Refused, answer, device_time};
use super::xml::{Element, escape};
use super::{FoundDevice, ServiceAddress};
use crate::proto::random::Random;
use crate::proto::rtsp::{Credentials, RtspUrl};

/// Maximum number of profiles that are asked for their addresses; recorders have one or two for each camera.
pub const MAX_PROFILES: usize = 64;

/// Maximum length of a token or an address from a device, in bytes.
const MAX_TEXT: usize = 1024;

/// A request to send by HTTP: `POST`, with the content type `application/soap+xml; charset=utf-8`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SoapRequest {
    /// Where to send it.
    pub service: ServiceAddress,
    /// The action, for the parameter `action` of the content type.
    pub action: &'static str,
    /// The envelope. May contain the digest of a password.
    pub body: String,
}

/// Description of a device.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Device {
    /// Its answer to the search; only the address if it was asked directly.
    pub found: FoundDevice,
    /// The maker.
    pub manufacturer: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Its streams, in its order: as a rule the best one first.
    pub streams: Vec<DeviceStream>,
    /// Why nothing or not everything is known, as a sentence for people.
    pub problem: Option<String>,
}

/// A stream of a device.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct DeviceStream {
    /// Name of the profile.
    pub profile: String,
    /// Video codec, for example `H264`.
    pub encoding: Option<String>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// Audio codec, for example `AAC`.
    pub audio: Option<String>,
    /// The stream's address, without credentials.
    pub uri: Option<RtspUrl>,
    /// Address of a JPEG picture, without credentials and without passwords: `***` stands in their place.
    pub snapshot: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Time,
    Information,
    Capabilities,
    Profiles,
    StreamUri(usize),
    SnapshotUri(usize),
    Done,
}

/// Asks one device for its streams: a machine that says what to send, and takes the responses, one at a time.
#[derive(Debug)]
pub struct DeviceQuery {
    credentials: Option<Credentials>,
    random: Random,
    step: Step,
    /// The device's time when it said so, and when that was; until then ours.
    clock: (Duration, Instant),
    media: ServiceAddress,
    tokens: Vec<String>,
    device: Device,
}

impl DeviceQuery {
    /// Starts with a device. `wall_clock` is our own time since 1970, for devices that do not tell theirs: they refuse what
    /// is older than some seconds. `seed` makes nonces repeatable; `None`: random.
    pub fn new(
        found: FoundDevice,
        credentials: Option<Credentials>,
        wall_clock: Duration,
        seed: Option<u64>,
        now: Instant,
    ) -> Self {
        Self {
            credentials,
            random: Random::new(seed),
            step: Step::Time,
            clock: (wall_clock, now),
            media: found.service.clone(),
            tokens: Vec::new(),
            device: Device {
                found,
                manufacturer: None,
                model: None,
                streams: Vec::new(),
                problem: None,
            },
        }
    }

    /// Returns the request to send next; `None` once everything is known that can be.
    pub fn poll_request(&mut self, now: Instant) -> Option<SoapRequest> {
        let device = "http://www.onvif.org/ver10/device/wsdl";
        let media = "http://www.onvif.org/ver10/media/wsdl";
        let token = |n: usize| escape(self.tokens.get(n).map_or("", String::as_str));
        let (namespace, action, content) = match self.step {
            Step::Time => (
                device,
                "http://www.onvif.org/ver10/device/wsdl/GetSystemDateAndTime",
                String::new(),
            ),
            Step::Information => (
                device,
                "http://www.onvif.org/ver10/device/wsdl/GetDeviceInformation",
                String::new(),
            ),
            Step::Capabilities => (
                device,
                "http://www.onvif.org/ver10/device/wsdl/GetCapabilities",
                "<Category>Media</Category>".to_owned(),
            ),
            Step::Profiles => (
                media,
                "http://www.onvif.org/ver10/media/wsdl/GetProfiles",
                String::new(),
            ),
            Step::StreamUri(n) => (
                media,
                "http://www.onvif.org/ver10/media/wsdl/GetStreamUri",
                format!(
                    "<StreamSetup><Stream xmlns=\"http://www.onvif.org/ver10/schema\">RTP-Unicast</Stream>\
                     <Transport xmlns=\"http://www.onvif.org/ver10/schema\"><Protocol>RTSP</Protocol></Transport>\
                     </StreamSetup><ProfileToken>{}</ProfileToken>",
                    token(n)
                ),
            ),
            Step::SnapshotUri(n) => (
                media,
                "http://www.onvif.org/ver10/media/wsdl/GetSnapshotUri",
                format!("<ProfileToken>{}</ProfileToken>", token(n)),
            ),
            Step::Done => return None,
        };
        let name = action.rsplit('/').next().unwrap_or_default();
        let body = format!("<{name} xmlns=\"{namespace}\">{content}</{name}>");
        // The first request is for the time that the signature of the others needs (ONVIF Core §5.9.3).
        let credentials = self
            .credentials
            .as_ref()
            .filter(|_| self.step != Step::Time);
        let time = self.clock.0 + now.saturating_duration_since(self.clock.1);
        let service = if namespace == media {
            &self.media
        } else {
            &self.device.found.service
        };
        Some(SoapRequest {
            service: service.clone(),
            action,
            body: soap::envelope(&body, credentials.map(|c| (c, time)), &mut self.random),
        })
    }

    /// Takes the response to the latest request: its status and its body, cut off at [`MAX_DOCUMENT`](super::MAX_DOCUMENT).
    pub fn handle_response(&mut self, status: u16, body: &[u8], now: Instant) {
        match answer(status, body) {
            Ok(document) => self.take(&document, now),
            Err(refused) => self.refused(refused),
        }
    }

    /// Takes the news that the latest request had no response: the device is not asked any more.
    pub fn handle_failure(&mut self, reason: &str) {
        self.device.problem = Some(format!(
            "it does not answer at {}: {reason}",
            self.device.found.service
        ));
        self.step = Step::Done;
    }

    /// Returns what is known.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn take(&mut self, answer: &Element, now: Instant) {
        match self.step {
            Step::Time => {
                if let Some(time) = device_time(answer) {
                    self.clock = (time, now);
                }
            }
            Step::Information => {
                let text = |name| {
                    answer
                        .text_of(name)
                        .map(shown)
                        .filter(|text| !text.is_empty())
                };
                self.device.manufacturer = text("Manufacturer");
                self.device.model = text("Model");
            }
            Step::Capabilities => {
                let media = answer.all("Media").find_map(|media| media.text_of("XAddr"));
                let media =
                    media.and_then(|text| ServiceAddress::of_device(text, self.device.found.ip));
                if let Some(media) = media {
                    self.media = media;
                }
            }
            Step::Profiles => self.take_profiles(answer),
            Step::StreamUri(n) => {
                let uri = answer.text_of("Uri").and_then(|text| self.stream_uri(text));
                if let Some(stream) = self.device.streams.get_mut(n) {
                    stream.uri = uri;
                }
            }
            Step::SnapshotUri(n) => {
                let uri = answer
                    .text_of("Uri")
                    .and_then(|text| self.snapshot_uri(text));
                if let Some(stream) = self.device.streams.get_mut(n) {
                    stream.snapshot = uri;
                }
            }
            Step::Done => {}
        }
        self.advance();
    }

    fn refused(&mut self, refused: Refused) {
        let is_needed = matches!(self.step, Step::Profiles | Step::StreamUri(_));
        match refused {
            Refused::NotAuthorized if is_needed => {
                let reason = match self.credentials {
                    Some(_) => {
                        "it refuses this user or password (cameras may have a user of its own for ONVIF)"
                    }
                    None => "it asks for a user and a password",
                };
                self.device.problem = Some(reason.into());
                self.step = Step::Done;
            }
            Refused::Fault(reason) if is_needed => {
                self.device.problem = Some(format!("it does not tell its streams: {reason}"));
                self.advance();
            }
            // Time, name and snapshots are not worth stopping for.
            _ => self.advance(),
        }
    }

    fn advance(&mut self) {
        let last = self.device.streams.len();
        self.step = match self.step {
            Step::Time => Step::Information,
            Step::Information => Step::Capabilities,
            Step::Capabilities => Step::Profiles,
            Step::Profiles if last > 0 => Step::StreamUri(0),
            Step::StreamUri(n) => Step::SnapshotUri(n),
            Step::SnapshotUri(n) if n + 1 < last => Step::StreamUri(n + 1),
            Step::Profiles | Step::SnapshotUri(_) | Step::Done => Step::Done,
        };
    }

    fn take_profiles(&mut self, answer: &Element) {
        for profile in answer.all("Profiles").take(MAX_PROFILES) {
            let Some(token) = profile
                .token
                .as_ref()
                .filter(|t| !t.is_empty() && t.len() <= MAX_TEXT)
            else {
                continue;
            };
            let video = profile.find("VideoEncoderConfiguration");
            let number = |name| video?.text_of(name)?.parse::<u32>().ok().filter(|n| *n > 0);
            let encoding = |configuration: Option<&Element>| {
                configuration?
                    .text_of("Encoding")
                    .map(shown)
                    .filter(|text| !text.is_empty())
            };
            self.tokens.push(token.clone());
            self.device.streams.push(DeviceStream {
                // Configurations have names, too; the profile's own is not inside another element.
                profile: profile
                    .children
                    .iter()
                    .find(|child| child.name == "Name")
                    .map_or_else(|| shown(token), |name| shown(&name.text)),
                encoding: encoding(video),
                size: number("Width").zip(number("Height")),
                frame_rate: video
                    .and_then(|video| video.text_of("FrameRateLimit")?.parse().ok())
                    .filter(|rate: &f64| rate.is_finite() && *rate > 0.0),
                audio: encoding(profile.find("AudioEncoderConfiguration")),
                ..DeviceStream::default()
            });
        }
        if self.device.streams.is_empty() {
            self.device.problem = Some("it has no profiles, so no streams".into());
        }
    }

    /// Reads a stream's address; one that names no host has the device's.
    fn stream_uri(&self, text: &str) -> Option<RtspUrl> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let text = self.repaired(text);
        Some(RtspUrl::parse(&text).ok()?.with_credentials(None))
    }

    fn snapshot_uri(&self, text: &str) -> Option<String> {
        let is_web = text.starts_with("http://") || text.starts_with("https://");
        let is_plain = text.len() <= MAX_TEXT && text.bytes().all(|b| b.is_ascii_graphic());
        (is_web && is_plain).then(|| crate::proto::rtsp::redacted(&self.repaired(text)))
    }

    /// Puts the device's address in place of `0.0.0.0`, of loopback addresses, and of none.
    fn repaired(&self, text: &str) -> String {
        let Some((scheme, rest)) = text.split_once("://") else {
            return text.to_owned();
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
                (host, format!(":{port}"))
            }
            _ => (host, String::new()),
        };
        let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        let is_nowhere = host.is_empty()
            || host.eq_ignore_ascii_case("localhost")
            || ip.is_ok_and(|ip| ip.is_unspecified() || ip.is_loopback());
        if !is_nowhere {
            return text.to_owned();
        }
        match self.device.found.ip {
            std::net::IpAddr::V4(ip) => format!("{scheme}://{ip}{port}{path}"),
            std::net::IpAddr::V6(ip) => format!("{scheme}://[{ip}]{port}{path}"),
        }
    }
}
