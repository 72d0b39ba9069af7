//! Duties while a session plays: keep-alives, reports, and the end of patience. Two-way audio.

use std::time::Instant;

use super::preparing::session_field;
use super::session::Path;
use super::wire::{Purpose, Request, after};
use super::{RtspClient, State, media};
use crate::proto::rtsp::contract::Output;
use crate::proto::rtsp::error::RtspError;
use crate::proto::rtsp::message::{self, Message};
use crate::proto::rtsp::quirk::Quirk;

impl RtspClient {
    pub(super) fn on_playing_timeout(&mut self, now: Instant) {
        let State::Playing(session) = &mut self.state else {
            return;
        };
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        let timers = &mut session.timers;
        let (no_datagram, silent) = (
            is_due(&mut timers.first_datagram),
            is_due(&mut timers.silence),
        );
        let (keepalive, report) = (is_due(&mut timers.keepalive), is_due(&mut timers.report));
        let limit = media::silence(session, &self.config.timing);
        let has_none = session.is_udp() && !session.has_datagrams();
        if no_datagram {
            self.note(Quirk::UdpPorts);
            let because = "no datagrams arrive: a firewall may be in the way";
            if self.change_transport(because, now) {
                return;
            }
        }
        if silent {
            let error = match has_none {
                true => {
                    self.note(Quirk::UdpPorts);
                    RtspError::NoDatagrams { after: limit }
                }
                false => {
                    self.note(Quirk::Silent);
                    RtspError::Silent { after: limit }
                }
            };
            return self.fail(error, now);
        }
        if keepalive {
            self.wire.is_second_keepalive = false;
            self.keep_alive(now);
        }
        if report {
            self.report(now);
        }
    }

    /// Sends a keep-alive. Its answer is not waited for: media is the proof of life.
    fn keep_alive(&mut self, now: Instant) {
        let State::Playing(session) = &mut self.state else {
            return;
        };
        session.timers.keepalive = Some(after(now, session.keepalive(&self.config.timing)));
        let request = Request {
            purpose: Purpose::Keepalive,
            method: self.wire.keepalive,
            uri: session.uri.clone(),
            fields: session_field(session).into_iter().collect(),
        };
        let cseq = self.transmit(&request);
        if self.wire.expect_keepalive(cseq, request.method) {
            self.refuse_keepalive(request.method);
        }
    }

    /// A refused keep-alive is repeated at once, but once: with the new nonce, or by the other method.
    pub(super) fn on_keepalive_answer(
        &mut self,
        method: &str,
        code: u16,
        message: &Message,
        now: Instant,
    ) {
        match code {
            200..=299 => return self.auth.accepted(),
            401 => {
                let challenges = message.fields.all("WWW-Authenticate");
                // A refusal of the password matters no more than another error: media arrives.
                match self.auth.challenged(challenges) {
                    Ok(quirks) => self.note_all(quirks),
                    Err(_) => return self.note(Quirk::KeepaliveRefused),
                }
            }
            _ => self.refuse_keepalive(method),
        }
        if !self.wire.is_second_keepalive {
            self.wire.is_second_keepalive = true;
            self.keep_alive(now);
        }
    }

    /// Uses the other method from now on.
    fn refuse_keepalive(&mut self, method: &str) {
        self.note(Quirk::KeepaliveRefused);
        self.wire.keepalive = match method {
            "GET_PARAMETER" => "OPTIONS",
            _ => "GET_PARAMETER",
        };
    }

    /// Sends a receiver report for each stream: some cameras end sessions without.
    fn report(&mut self, now: Instant) {
        let own = self.ssrc;
        let State::Playing(session) = &mut self.state else {
            return;
        };
        session.timers.report = Some(after(now, self.config.timing.reports));
        for stream in &mut session.streams {
            let Path::Udp(path) = &mut stream.path else {
                continue;
            };
            let Some(destination) = path.destination(true).filter(|_| !path.is_multicast) else {
                continue;
            };
            self.out.push(Output::SendUdp {
                stream: stream.index,
                is_rtcp: true,
                destination,
                contents: path.reception.report(own, now),
            });
        }
    }

    /// Sends an RTP packet to the camera's loudspeaker. Returns `false` if the session does not play with a backchannel, or if
    /// the packet is longer than 65,535 bytes.
    ///
    /// The caller makes the packets: payload type and clock are those of the stream that
    /// [`RtspEvent::Playing::backchannel`](super::super::RtspEvent::Playing) names. Take the outputs afterwards.
    pub fn send_backchannel(&mut self, packet: &[u8]) -> bool {
        let State::Playing(session) = &self.state else {
            return false;
        };
        let Some(stream) = session.streams.iter().find(|s| s.is_backchannel) else {
            return false;
        };
        let output = match &stream.path {
            Path::None => None,
            Path::Channels(channel, _) => message::frame(*channel, packet).map(Output::Send),
            Path::Udp(path) => path.destination(false).map(|destination| Output::SendUdp {
                stream: stream.index,
                is_rtcp: false,
                destination,
                contents: packet.to_vec(),
            }),
        };
        let is_sent = output.is_some();
        self.out.extend(output);
        is_sent
    }
}
