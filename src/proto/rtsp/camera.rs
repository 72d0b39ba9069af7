//! A camera: a session whose packets become frames of all its tracks, on one timeline.
//!
//! ```text
//!   Input ─► RtspClient ─► packets ─► Reorder (UDP) ─► Unpacker ─► Timeline ─► CameraEvent::Frame
//!                └──► what the driver has to do: CameraOutput::Io
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::RtspClient;
use super::config::RtspClientConfig;
use super::contract::{Direction, Input, Output, RtspEvent, Transport};
use super::described::{Described, DescribedStream};
use super::error::RtspError;
use super::quirk::{Quirk, Quirks};
use crate::proto::peer::MediaKind;
use crate::proto::rtp::{
    MediaFormat, Packet, SenderPacket, Timeline, TimelineStats, UnpackLimits, UnpackStats,
    VideoInfo, read_rtcp,
};

mod receiver;

#[cfg(test)]
mod tests;

use receiver::Receiver;

/// Settings of a [`Camera`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CameraConfig {
    /// Settings of the session.
    pub client: RtspClientConfig,
    /// Limits of frames.
    pub unpack: UnpackLimits,
    /// Longest time that packets wait for one that is missing, over UDP. Default: 200 ms.
    pub max_reordering: Duration,
}

impl CameraConfig {
    /// Creates settings with the defaults for this session.
    pub fn new(client: RtspClientConfig) -> Self {
        Self {
            client,
            unpack: UnpackLimits::default(),
            max_reordering: Duration::from_millis(200),
        }
    }

    crate::setters::setters! {
        unpack: UnpackLimits,
        max_reordering: Duration,
    }
}

/// Output of a [`Camera`].
#[derive(Debug)]
#[non_exhaustive]
pub enum CameraOutput {
    /// Something for the driver to do: any [`Output`] but [`Output::Event`] and [`Output::Timeout`].
    Io(Output),
    /// An event for the application.
    Event(CameraEvent),
    /// No more output. Pass [`Input::Timeout`] at this time, if there is one.
    Timeout(Option<Instant>),
}

/// Event of a [`Camera`]. `Debug` hides passwords in URLs.
#[derive(Debug)]
#[non_exhaustive]
pub enum CameraEvent {
    /// The camera has described its streams. Comes again after a redirect or a change of transport.
    Described(Box<Described>),
    /// The camera sends these tracks; their indices are their positions. Comes again after a change of transport, if they
    /// are others than before.
    Tracks(Vec<CameraTrack>, Transport),
    /// A frame of a track.
    Frame {
        /// Index of the track.
        track: usize,
        /// The frame.
        frame: CameraFrame,
    },
    /// A tolerance was needed for the first time.
    Quirk(Quirk),
    /// Something that people may want to know: a redirect, another transport. A sentence without secrets.
    Note(String),
    /// A message, without secrets; only if [`RtspClientConfig::trace`] is set.
    Trace(Direction, String),
    /// The session is over; the last event. `None` if the application asked for it.
    Ended(Option<RtspError>),
}

/// A track that the camera sends.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CameraTrack {
    /// Kind of media.
    pub kind: MediaKind,
    /// Index of the stream in [`Described::streams`].
    pub stream: usize,
    /// Payload format, as described.
    pub format: MediaFormat,
    /// RTP clock rate, as described, in Hz.
    pub clock_rate: u32,
    /// Frame rate that the description states, in frames per second.
    pub frame_rate: Option<f64>,
}

/// A frame: an access unit of video, or of audio.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CameraFrame {
    /// The data, as [`Unit::data`](crate::proto::rtp::Unit::data) says.
    pub data: Arc<[u8]>,
    /// Time since the camera was created, greater than that of the frame before; comparable between tracks.
    pub time: Duration,
    /// Time of display; differs from `time` for B-frames.
    pub presentation: Duration,
    /// Arrival of its first packet.
    pub arrived: Instant,
    /// Set if decoding can start here; always for audio and MJPEG.
    pub is_key: bool,
    /// Set if something is missing before this frame.
    pub discontinuity: bool,
    /// Set if it is displayed before one that came earlier (B-frames).
    pub is_reordered: bool,
    /// Set for a keyframe whose parameter sets differ from those of the one before.
    pub sets_changed: bool,
}

/// Figures of a track.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CameraTrackStats {
    /// Counters of packets and frames.
    pub unpack: UnpackStats,
    /// Counters of timestamps.
    pub timeline: TimelineStats,
    /// How fast the camera's clock runs compared with ours, in parts per million; `None` before 5 s.
    pub drift_ppm: Option<f64>,
    /// Packets with a payload type that the description does not name for the stream; dropped.
    pub unknown_payload_types: u64,
    /// Datagrams that are not RTP; dropped.
    pub not_rtp: u64,
    /// Sender reports of an SSRC that does not send; ignored.
    pub foreign_reports: u64,
}

/// A session with a camera, from the connection to frames. A sans-IO machine with the inputs and outputs of [`RtspClient`].
#[derive(Debug)]
pub struct Camera {
    client: RtspClient,
    config: CameraConfig,
    described: Option<Described>,
    transport: Transport,
    receivers: Vec<Receiver>,
    timeline: Timeline,
    events: VecDeque<CameraEvent>,
    quirks: Quirks,
    now: Instant,
}

impl Camera {
    /// Creates a session. Its first output asks for a connection.
    pub fn new(config: CameraConfig, now: Instant) -> Self {
        Self {
            client: RtspClient::new(config.client.clone()),
            config,
            described: None,
            transport: Transport::Tcp,
            receivers: Vec::new(),
            timeline: Timeline::new(now),
            events: VecDeque::new(),
            quirks: Quirks::default(),
            now,
        }
    }

    /// Handles an input. Take the outputs afterwards.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        self.now = self.now.max(now);
        self.client.handle_input(input, now);
    }

    /// Returns the next output. Packets become frames here, one after the other, so that no more than those of one packet are
    /// held at a time.
    pub fn poll_output(&mut self) -> CameraOutput {
        loop {
            if let Some(event) = self.events.pop_front() {
                return CameraOutput::Event(event);
            }
            let (is_released, reordering) = self.release();
            if is_released {
                continue;
            }
            match self.client.poll_output() {
                Output::Event(event) => self.on_event(event),
                Output::Timeout(session) => {
                    return CameraOutput::Timeout(session.into_iter().chain(reordering).min());
                }
                io => return CameraOutput::Io(io),
            }
        }
    }

    /// Ends the session. [`CameraEvent::Ended`] follows.
    pub fn close(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.client.close(now);
    }

    /// Returns the session, for its backchannel and its state.
    pub fn client(&mut self) -> &mut RtspClient {
        &mut self.client
    }

    /// Returns the latest description.
    pub fn described(&self) -> Option<&Described> {
        self.described.as_ref()
    }

    /// Returns the transport in use.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Returns how often each tolerance was needed, by the session and by its media.
    pub fn quirks(&self) -> Quirks {
        let mut all = self.client.quirks().clone();
        all.add(&self.quirks);
        all
    }

    /// Returns what a track says about its video; `None` for audio, and before it is known.
    pub fn video(&self, track: usize) -> Option<VideoInfo> {
        self.receivers.get(track)?.unpacker.video()
    }

    /// Returns the latest parameter sets of an H.264 or H.265 track, as NAL units without start codes.
    pub fn parameter_sets(&self, track: usize) -> Vec<&[u8]> {
        let receiver = self.receivers.get(track);
        receiver.map_or_else(Vec::new, |receiver| receiver.unpacker.parameter_sets())
    }

    /// Returns the configuration of an AAC track; `None` for others, and before it is known.
    pub fn aac_config(&self, track: usize) -> Option<&crate::proto::media::AacConfig> {
        self.receivers.get(track)?.unpacker.aac_config()
    }

    /// Returns the figures of a track.
    pub fn stats(&self, track: usize) -> Option<CameraTrackStats> {
        let receiver = self.receivers.get(track)?;
        Some(CameraTrackStats {
            unpack: receiver.unpacker.stats(),
            timeline: self.timeline.stats(receiver.clock)?,
            drift_ppm: self.timeline.drift_ppm(receiver.clock),
            unknown_payload_types: receiver.unknown_payload_types,
            not_rtp: receiver.not_rtp,
            foreign_reports: receiver.foreign_reports,
        })
    }

    fn on_event(&mut self, event: RtspEvent) {
        match event {
            RtspEvent::Described(described) => {
                self.described = Some(described.as_ref().clone());
                self.events.push_back(CameraEvent::Described(described));
            }
            RtspEvent::Playing {
                streams, transport, ..
            } => self.on_playing(&streams, transport),
            RtspEvent::Packet { stream, contents } => self.on_packet(stream, contents),
            RtspEvent::Rtcp { stream, contents } => self.on_rtcp(stream, &contents),
            RtspEvent::Quirk(quirk) => self.events.push_back(CameraEvent::Quirk(quirk)),
            RtspEvent::Redirected(to) => self.note(format!("the camera redirects to {to}")),
            RtspEvent::TransportChanged { to, because } => {
                self.note(format!(
                    "media comes by {} from now on: {because}",
                    to.name()
                ));
            }
            RtspEvent::Trace(direction, text) => {
                self.events.push_back(CameraEvent::Trace(direction, text));
            }
            RtspEvent::Ended(error) => {
                for index in 0..self.receivers.len() {
                    if let Some(receiver) = self.receivers.get_mut(index) {
                        receiver.end(self.now);
                    }
                    self.give_out(index);
                }
                self.events.push_back(CameraEvent::Ended(error));
            }
        }
    }

    fn note(&mut self, text: String) {
        self.events.push_back(CameraEvent::Note(text));
    }

    fn on_playing(&mut self, streams: &[usize], transport: Transport) {
        self.transport = transport;
        let described: &[DescribedStream] = self
            .described
            .as_ref()
            .map_or(&[], |described| &described.streams);
        let wanted = streams
            .iter()
            .filter_map(|stream| Some((*stream, described.get(*stream)?)));
        let tracks: Vec<CameraTrack> = wanted
            .map(|(index, stream)| CameraTrack {
                kind: stream.kind,
                stream: index,
                format: stream.format.clone(),
                clock_rate: stream.clock_rate,
                frame_rate: stream.frame_rate,
            })
            .collect();
        let before: Vec<&CameraTrack> = self.receivers.iter().map(|r| &r.track).collect();
        let is_same = before == tracks.iter().collect::<Vec<_>>();
        self.timeline.restart();
        let max_reordering = (transport != Transport::Tcp).then_some(self.config.max_reordering);
        if is_same {
            for receiver in &mut self.receivers {
                receiver.restart(max_reordering);
            }
            return;
        }
        self.receivers.clear();
        for track in &tracks {
            let payload_type = described
                .get(track.stream)
                .map_or(96, |stream| stream.payload_type);
            let clock = self.timeline.add_track(track.kind, track.clock_rate);
            let limits = self.config.unpack.clone();
            self.receivers.push(Receiver::new(
                track.clone(),
                payload_type,
                clock,
                limits,
                max_reordering,
            ));
        }
        self.events
            .push_back(CameraEvent::Tracks(tracks, transport));
    }

    fn receiver_of(&mut self, stream: usize) -> Option<usize> {
        let mut all = self.receivers.iter();
        all.position(|receiver| receiver.track.stream == stream)
    }

    fn on_packet(&mut self, stream: usize, contents: Vec<u8>) {
        let now = self.now;
        let Some(index) = self.receiver_of(stream) else {
            return;
        };
        let Some(receiver) = self.receivers.get_mut(index) else {
            return;
        };
        let Ok(packet) = Packet::parse(&contents) else {
            receiver.not_rtp += 1;
            return;
        };
        match receiver.judge(packet.payload_type) {
            receiver::Judgement::Accepted => {}
            receiver::Judgement::Adopted => self.count(Quirk::BrokenSdp, 1),
            receiver::Judgement::Dropped => return self.count(Quirk::VendorData, 1),
        }
        let Some(receiver) = self.receivers.get_mut(index) else {
            return;
        };
        receiver.ssrc = Some(packet.ssrc);
        if receiver.is_reordering() {
            let header = (packet.ssrc, packet.sequence_number, packet.timestamp);
            receiver.hold(header, contents, now);
        } else {
            receiver.unpacker.push(&packet, now);
            self.give_out(index);
        }
    }

    fn on_rtcp(&mut self, stream: usize, contents: &[u8]) {
        let Some(index) = self.receiver_of(stream) else {
            return;
        };
        for packet in read_rtcp(contents) {
            let SenderPacket::SenderReport(info) = packet else {
                continue;
            };
            let Some(receiver) = self.receivers.get_mut(index) else {
                return;
            };
            if receiver.ssrc == Some(info.ssrc) {
                self.timeline.sender_report(receiver.clock, &info);
            } else if receiver.ssrc.is_some() {
                receiver.foreign_reports += 1;
                self.count(Quirk::RtpInfoLies, 1);
            }
        }
    }

    /// Takes a packet that need not wait any longer. Returns whether there was one, and otherwise when there may be.
    fn release(&mut self) -> (bool, Option<Instant>) {
        let mut next = None;
        for index in 0..self.receivers.len() {
            let Some(receiver) = self.receivers.get_mut(index) else {
                break;
            };
            match receiver.release(self.now) {
                Ok(()) => {
                    self.give_out(index);
                    return (true, None);
                }
                Err(Some(at)) => next = Some(next.map_or(at, |next: Instant| next.min(at))),
                Err(None) => {}
            }
        }
        (false, next)
    }

    /// Gives out the frames of a receiver.
    fn give_out(&mut self, index: usize) {
        let Some(receiver) = self.receivers.get_mut(index) else {
            return;
        };
        while let Some(unit) = receiver.unpacker.poll() {
            let stamp = self.timeline.time(
                receiver.clock,
                unit.rtp_timestamp,
                unit.arrived,
                unit.is_reordered,
            );
            let Some(stamp) = stamp else {
                continue;
            };
            self.events.push_back(CameraEvent::Frame {
                track: index,
                frame: CameraFrame {
                    data: unit.data,
                    time: stamp.time,
                    presentation: stamp.presentation,
                    arrived: unit.arrived,
                    is_key: unit.is_key,
                    discontinuity: unit.discontinuity,
                    is_reordered: unit.is_reordered,
                    sets_changed: unit.sets_changed,
                },
            });
        }
        let over_tcp = self.transport == Transport::Tcp;
        let timeline = self.timeline.stats(receiver.clock).unwrap_or_default();
        for (quirk, count) in receiver.new_quirks(&timeline, over_tcp) {
            self.count(quirk, count);
        }
    }

    fn count(&mut self, quirk: Quirk, times: u64) {
        // More is as good as many.
        for _ in 0..times.min(1000) {
            if self.quirks.count(quirk) && self.client.quirks().of(quirk) == 0 {
                self.events.push_back(CameraEvent::Quirk(quirk));
            }
        }
    }
}
