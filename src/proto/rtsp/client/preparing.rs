//! SETUP of each stream, and PLAY.

use std::time::{Duration, Instant};

use super::session::{Path, Session, UdpPath};
use super::wire::{Purpose, Request, after};
use super::{After, RtspClient, State};
use crate::proto::rtsp::contract::{MulticastGroup, Output, RtspEvent, Transport};
use crate::proto::rtsp::error::RtspError;
use crate::proto::rtsp::message::{Message, TransportField, first_sequences, is_readable_rtp_info};
use crate::proto::rtsp::quirk::Quirk;

/// An RTP packet without payload and an empty receiver report: they open the way through firewalls and NATs.
const PUNCHES: [&[u8]; 2] = [
    &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x80, 201, 0, 1, 0, 0, 0, 0],
];

impl RtspClient {
    /// Sets up the n-th stream, or plays if all are set up.
    pub(super) fn prepare(&mut self, n: usize, now: Instant) {
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        let Some(stream) = session.streams.get(n) else {
            // Servers refuse to seek where a stream also takes data, and some want a range otherwise.
            let has_backchannel = session.streams.iter().any(|s| s.is_backchannel);
            return self.play(!has_backchannel, now);
        };
        let limit = after(now, self.config.timing.answer);
        match session.transport {
            Transport::Tcp => {
                // Channels beyond 255 would need 128 streams; there are at most three.
                let channel = u8::try_from(2 * n).unwrap_or(u8::MAX - 1);
                let value = format!("RTP/AVP/TCP;unicast;interleaved={channel}-{}", channel + 1);
                self.set_up(n, value, now);
            }
            Transport::Udp => {
                let index = stream.index;
                session.opening = Some((n, limit));
                self.out.push(Output::OpenUdp {
                    stream: index,
                    multicast: None,
                });
            }
            Transport::Multicast => self.set_up(n, "RTP/AVP;multicast".to_owned(), now),
        }
    }

    fn set_up(&mut self, n: usize, transport: String, now: Instant) {
        let require = self.require();
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        let Some(stream) = session.streams.get(n) else {
            return;
        };
        let mut fields = vec![("Transport", transport)];
        fields.extend(session_field(session));
        fields.extend(require.filter(|_| stream.is_backchannel));
        let request = Request {
            purpose: Purpose::Setup(n),
            method: "SETUP",
            uri: stream.uri.clone(),
            fields,
        };
        self.ask(request, self.config.timing.answer, now);
    }

    pub(super) fn on_udp_opened(&mut self, index: usize, ports: (u16, u16), now: Instant) {
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        let opening = session.opening.take_if(|(n, _)| {
            let stream = session.streams.get(*n);
            stream.is_some_and(|stream| stream.index == index)
        });
        let Some((n, _)) = opening else {
            return;
        };
        if session.transport == Transport::Multicast {
            return self.prepare(n + 1, now);
        }
        if let Some(stream) = session.streams.get_mut(n) {
            stream.path = Path::Udp(Box::default());
        }
        let value = format!("RTP/AVP;unicast;client_port={}-{}", ports.0, ports.1);
        self.set_up(n, value, now);
    }

    pub(super) fn on_udp_failed(&mut self, reason: String, now: Instant) {
        let is_waited_for = matches!(&self.state, State::Preparing(s) if s.opening.is_some());
        if is_waited_for && !self.change_transport(&format!("no UDP sockets: {reason}"), now) {
            self.fail(RtspError::Udp(reason), now);
        }
    }

    /// The sockets were not opened in time.
    pub(super) fn on_preparing_timeout(&mut self, now: Instant) {
        let is_overdue = matches!(
            &self.state,
            State::Preparing(s) if s.opening.is_some_and(|(_, until)| until <= now)
        );
        if is_overdue {
            let limit = self.config.timing.answer.as_secs_f64();
            self.on_udp_failed(format!("they were not opened within {limit} s"), now);
        }
    }

    pub(super) fn on_setup(&mut self, n: usize, code: u16, message: &Message, now: Instant) {
        if code >= 300 {
            return self.on_setup_refused(n, code, message, now);
        }
        self.identify(message, true);
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        session.is_begun = true;
        let value = message.fields.get("Transport").unwrap_or_default();
        let field = TransportField::parse(value);
        match session.transport {
            Transport::Tcp => {
                let asked = u8::try_from(2 * n).unwrap_or(u8::MAX - 1);
                let asked = (asked, asked + 1);
                let said = field.interleaved.unwrap_or(asked);
                let is_taken = [said.0, said.1]
                    .iter()
                    .any(|channel| session.stream_of_channel(*channel).is_some());
                // A channel for two streams would mix them up; then what was asked for is more likely.
                let channels = if is_taken { asked } else { said };
                if let Some(stream) = session.streams.get_mut(n) {
                    stream.path = Path::Channels(channels.0, channels.1);
                }
                if said != asked || !field.is_tcp || !field.has_both_channels {
                    self.note(Quirk::OtherChannels);
                }
                self.wire.reader.expect_channel(channels.0);
                self.wire.reader.expect_channel(channels.1);
                self.prepare(n + 1, now);
            }
            Transport::Udp if field.is_tcp => {
                self.note(Quirk::OtherChannels);
                self.on_transport_refused(now);
            }
            Transport::Udp => {
                let ports = field.server_port;
                self.set_path(n, &field, ports);
                if ports.is_none() {
                    self.note(Quirk::UdpPorts);
                }
                self.punch(n);
                self.prepare(n + 1, now);
            }
            Transport::Multicast => self.join(n, &field, now),
        }
    }

    /// Remembers where the datagrams of the n-th stream come from.
    fn set_path(&mut self, n: usize, field: &TransportField, ports: Option<(u16, u16)>) {
        let remote = self
            .wire
            .addresses
            .map(|(_, remote)| remote.ip().to_canonical());
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        let is_multicast = session.transport == Transport::Multicast;
        if let Some(stream) = session.streams.get_mut(n) {
            let source = field
                .source
                .filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
            stream.path = Path::Udp(Box::new(UdpPath {
                is_multicast,
                sources: [remote, source.map(|ip| ip.to_canonical())],
                ports,
                ..UdpPath::default()
            }));
        }
    }

    /// Sends a datagram to each of the camera's ports.
    fn punch(&mut self, n: usize) {
        let State::Preparing(session) = &self.state else {
            return;
        };
        let Some(stream) = session.streams.get(n) else {
            return;
        };
        let Path::Udp(path) = &stream.path else {
            return;
        };
        for (is_rtcp, contents) in [false, true].into_iter().zip(PUNCHES) {
            // A backchannel's first RTP packet is the application's.
            let is_ours = is_rtcp || !stream.is_backchannel;
            if let Some(destination) = path.destination(is_rtcp).filter(|_| is_ours) {
                self.out.push(Output::SendUdp {
                    stream: stream.index,
                    is_rtcp,
                    destination,
                    contents: contents.to_vec(),
                });
            }
        }
    }

    /// Asks for the sockets of a multicast group.
    fn join(&mut self, n: usize, field: &TransportField, now: Instant) {
        let group = field.destination.filter(|ip| ip.is_multicast());
        let (Some(group), Some((rtp_port, rtcp_port)), Some((local, _))) =
            (group, field.port.or(field.server_port), self.wire.addresses)
        else {
            self.note(Quirk::OtherChannels);
            return self.on_transport_refused(now);
        };
        self.set_path(n, field, None);
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        let Some(stream) = session.streams.get(n) else {
            return;
        };
        let index = stream.index;
        session.opening = Some((n, after(now, self.config.timing.answer)));
        self.out.push(Output::OpenUdp {
            stream: index,
            multicast: Some(MulticastGroup {
                group,
                rtp_port,
                rtcp_port,
                interface: local.ip(),
            }),
        });
    }

    fn on_setup_refused(&mut self, n: usize, code: u16, message: &Message, now: Instant) {
        // 461 is the right status; others say 400 or whatever.
        let is_about_transport = !matches!(code, 403 | 404 | 453 | 454 | 503 | 551);
        let has_next = self.transport + 1 < self.config.transports.len();
        if code == 461 || (n == 0 && is_about_transport && has_next) {
            return self.on_transport_refused(now);
        }
        let error = self.refusal(Purpose::Setup(n), code, message);
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        let stream = session.streams.get(n);
        let is_audio = stream.is_some_and(|stream| stream.is_audio);
        let has_other = session
            .streams
            .iter()
            .any(|s| !s.is_audio && !s.is_backchannel);
        let is_backchannel = stream.is_some_and(|stream| stream.is_backchannel);
        if is_backchannel {
            self.note(Quirk::Backchannel);
        }
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        // Pictures without sound are better than nothing, and so is media without two-way audio.
        let can_do_without = match is_backchannel {
            true => session.has_media(),
            false => is_audio && has_other && error != RtspError::Busy,
        };
        if !can_do_without {
            let error = if is_backchannel {
                RtspError::NoBackchannel
            } else {
                error
            };
            return self.fail(error, now);
        }
        let removed = session.streams.remove(n);
        if matches!(removed.path, Path::Udp(_)) {
            self.out.push(Output::CloseUdp {
                stream: removed.index,
            });
        }
        self.prepare(n, now);
    }

    /// The camera does not take the transport: tries the next one, or gives up.
    fn on_transport_refused(&mut self, now: Instant) {
        let because = format!("the camera refuses {}", self.transport().name());
        if !self.change_transport(&because, now) {
            let tried = self.config.transports.iter().map(|t| t.name());
            let tried: Vec<&str> = tried.collect();
            self.fail(RtspError::TransportRefused(tried.join(" and ")), now);
        }
    }

    /// Goes over to the next transport, with a new connection: many cameras take no second DESCRIBE, or no SETUP of another
    /// kind. Returns `false` if there is no other transport.
    pub(super) fn change_transport(&mut self, because: &str, now: Instant) -> bool {
        let Some(to) = self.config.transports.get(self.transport + 1).copied() else {
            return false;
        };
        self.transport += 1;
        self.note(Quirk::TransportNeedsReconnect);
        self.out.push(Output::Event(RtspEvent::TransportChanged {
            to,
            because: because.to_owned(),
        }));
        self.finish(After::Reconnect(Duration::ZERO), now);
        true
    }

    fn play(&mut self, with_range: bool, now: Instant) {
        let require = self.require();
        let State::Preparing(session) = &mut self.state else {
            return;
        };
        session.is_play_asked = true;
        let mut fields = Vec::new();
        fields.extend(session_field(session));
        if with_range {
            fields.push(("Range", "npt=0.000-".to_owned()));
        }
        fields.extend(require);
        let request = Request {
            purpose: Purpose::Play { with_range },
            method: "PLAY",
            uri: session.uri.clone(),
            fields,
        };
        self.ask(request, self.config.timing.answer, now);
    }

    pub(super) fn on_play(&mut self, with_range: bool, code: u16, message: &Message, now: Instant) {
        // 457 Invalid Range, or another status by servers that cannot seek: live streams have no range.
        if with_range && matches!(code, 400 | 456 | 457 | 500 | 501 | 503) {
            return self.play(false, now);
        }
        if code >= 300 {
            let error = self.refusal(Purpose::Play { with_range }, code, message);
            return self.fail(error, now);
        }
        self.identify(message, false);
        let infos = message.fields.get("RTP-Info").unwrap_or_default();
        if !is_readable_rtp_info(infos) {
            self.note(Quirk::RtpInfoLies);
        }
        let has_next = self.transport + 1 < self.config.transports.len();
        let timing = self.config.timing.clone();
        let state = std::mem::replace(&mut self.state, State::Ended);
        let mut session = match state {
            State::Preparing(session) => session,
            other => {
                self.state = other;
                return;
            }
        };
        for (stream, sequence) in session.streams.iter_mut().zip(first_sequences(infos)) {
            stream.announced.sequence = sequence;
        }
        let streams = session.streams.iter();
        let media = streams
            .clone()
            .filter(|s| !s.is_backchannel)
            .map(|s| s.index);
        let backchannel = streams.clone().find(|s| s.is_backchannel).map(|s| s.index);
        self.out.push(Output::Event(RtspEvent::Playing {
            streams: media.collect(),
            backchannel,
            transport: session.transport,
        }));
        let early = session.take_early();
        session.timers.keepalive = Some(after(now, session.keepalive(&timing)));
        if session.has_media() {
            let patience = match session.is_udp() {
                true => timing.silence_udp,
                false => timing.silence_tcp.saturating_mul(2),
            };
            session.timers.silence = Some(after(now, patience));
            let is_probed = session.is_udp() && has_next && !session.has_datagrams();
            session.timers.first_datagram = is_probed.then(|| after(now, timing.first_datagram));
        }
        session.timers.report = session.is_udp().then(|| after(now, timing.reports));
        self.state = State::Playing(session);
        for event in early {
            self.out.push_media(event);
        }
    }
}

/// Returns the header that names the session, once it has a name.
pub(super) fn session_field(session: &Session) -> Option<(&'static str, String)> {
    session.id.clone().map(|id| ("Session", id))
}
