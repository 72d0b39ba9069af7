//! Packets from the camera, interleaved or as datagrams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::session::{Path, Session, Verdict};
use super::wire::after;
use super::{RtspClient, State};
use crate::proto::rtsp::contract::{RtspEvent, Transport};
use crate::proto::rtsp::error::RtspError;
use crate::proto::rtsp::quirk::Quirk;

/// Time after which live555 forgets a session (65 s without RTCP).
const STALE: Duration = Duration::from_secs(65);

/// The first release of live555 that does not send data of earlier sessions.
const SOUND_LIVE555: &str = "2017.06.04";

impl RtspClient {
    pub(super) fn on_frame(&mut self, channel: u8, contents: Vec<u8>, now: Instant) {
        let (State::Preparing(session) | State::Playing(session)) = &self.state else {
            if matches!(self.state, State::Connecting | State::Asking) {
                self.note(Quirk::UnassignedChannel);
            }
            return;
        };
        match session.stream_of_channel(channel) {
            Some((stream, is_rtcp)) => {
                let index = stream.index;
                self.deliver(index, is_rtcp, contents, now);
            }
            None => {
                // Before the session has a name it could not be ended. By UDP nothing is mixed up.
                let is_in_the_way = session.id.is_some() && !session.is_udp();
                let is_stale = is_in_the_way && is_old_live555(session.described.tool.as_deref());
                self.note(Quirk::UnassignedChannel);
                if is_stale {
                    self.on_stale_session(now);
                }
            }
        }
    }

    /// Data of an earlier session takes the place of ours until the camera has forgotten it. UDP keeps them apart.
    fn on_stale_session(&mut self, now: Instant) {
        self.note(Quirk::StaleSession);
        let next = self.config.transports.get(self.transport + 1);
        let because = "the camera mixes in data of an earlier session";
        let has_udp = next == Some(&Transport::Udp);
        if !has_udp || !self.change_transport(because, now) {
            self.fail(RtspError::StaleSession { wait: STALE }, now);
        }
    }

    pub(super) fn on_datagram(
        &mut self,
        index: usize,
        is_rtcp: bool,
        source: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) {
        let (State::Preparing(session) | State::Playing(session)) = &mut self.state else {
            return;
        };
        let elapsed = now.saturating_duration_since(session.begun);
        let stream = session.streams.iter_mut().find(|s| s.index == index);
        let Some((stream, path)) = stream.and_then(|stream| match &mut stream.path {
            Path::Udp(path) => Some((stream.clock_rate, path)),
            _ => None,
        }) else {
            return;
        };
        let verdict = path.judge(is_rtcp, source);
        if verdict == Verdict::Foreign {
            return self.note(Quirk::UdpPorts);
        }
        match is_rtcp {
            true => path.reception.on_rtcp(contents, now),
            false => {
                // Wraps, as RTP timestamps do.
                let clock = elapsed.as_micros() * u128::from(stream) / 1_000_000;
                path.reception.on_rtp(contents, clock as u32);
            }
        }
        session.timers.first_datagram = None;
        if verdict == Verdict::OtherPort {
            self.note(Quirk::UdpPorts);
        }
        self.deliver(index, is_rtcp, contents.to_vec(), now);
    }

    fn deliver(&mut self, stream: usize, is_rtcp: bool, contents: Vec<u8>, now: Instant) {
        let length = contents.len();
        let event = match is_rtcp {
            true => RtspEvent::Rtcp { stream, contents },
            false => RtspEvent::Packet { stream, contents },
        };
        match &mut self.state {
            State::Playing(session) => {
                let packet = match &event {
                    RtspEvent::Packet { contents, .. } | RtspEvent::Rtcp { contents, .. } => {
                        contents
                    }
                    _ => return,
                };
                let stream = session.streams.iter_mut().find(|s| s.index == stream);
                let is_true = stream.is_none_or(|s| s.announced.is_true(is_rtcp, packet));
                if !is_rtcp && session.has_media() {
                    let limit = silence(session, &self.config.timing);
                    session.timers.silence = Some(after(now, limit));
                }
                self.out.push_media(event);
                if !is_true {
                    self.note(Quirk::RtpInfoLies);
                }
            }
            State::Preparing(session) => {
                // Before PLAY was sent it can only be of no use.
                if session.is_play_asked {
                    session.keep_early(event, length);
                }
                self.note(Quirk::EarlyData);
            }
            _ => {}
        }
    }
}

/// Returns how long a session may be without media.
pub(super) fn silence(
    session: &Session,
    timing: &crate::proto::rtsp::config::RtspTiming,
) -> Duration {
    match session.is_udp() {
        true => timing.silence_udp,
        false => timing.silence_tcp,
    }
}

/// `LIVE555 Streaming Media v2013.04.08`, and the like.
fn is_old_live555(tool: Option<&str>) -> bool {
    let version = tool.and_then(|tool| tool.strip_prefix("LIVE555 Streaming Media v"));
    let date = version.and_then(|version| version.get(..SOUND_LIVE555.len()));
    date.is_some_and(|date| date < SOUND_LIVE555)
}
