//! The RTSP client against GStreamer's RTSP server as a camera, over the loop's sockets.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use looprtc::driver::{EventLoop, LoopConfig, TcpConfig, TcpEventKind, TcpId, UdpId};
use looprtc::proto::rtsp::{
    Disconnected, Input, Output, Quirk, RtspClient, RtspClientConfig, RtspError, RtspEvent,
    RtspUrl, Transport,
};

/// GStreamer's server (`tests/interop/cameras/gst_camera.py`), which counts what it hears.
struct Camera {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    port: u64,
}

impl Camera {
    fn start(options: &str) -> Option<Self> {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/interop/cameras/gst_camera.py"
        );
        // Debian's own Python, which has the bindings.
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args(options.split_ascii_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 (tests/setup installs it)");
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut camera = Self {
            child,
            stdin,
            lines,
            port: 0,
        };
        match camera.answer("ready") {
            Some(port) => camera.port = port,
            None => {
                let why = "GStreamer's RTSP server is not installed (tests/setup does it)";
                eprintln!("NOT TESTED: {why}");
                assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
                return None;
            }
        }
        Some(camera)
    }

    /// Reads a line, and returns a number of it.
    fn answer(&mut self, name: &str) -> Option<u64> {
        let line = self.lines.next()?.expect("it can be read");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        value[name].as_u64()
    }

    /// Number of packets heard over the backchannel.
    fn heard(&mut self) -> u64 {
        writeln!(self.stdin, "count").expect("it runs");
        self.answer("talk").expect("a number")
    }

    fn url(&self) -> String {
        format!("rtsp://cam:secret@127.0.0.1:{}/cam", self.port)
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session, with the loop's sockets.
struct Player {
    net: EventLoop,
    client: RtspClient,
    tcp: Option<TcpId>,
    udp: HashMap<usize, (UdpId, UdpId)>,
    deadline: Option<Instant>,
    /// RTP packets of each stream.
    packets: HashMap<usize, u64>,
    transport: Option<Transport>,
    backchannel: Option<usize>,
    ended: Option<Option<RtspError>>,
}

impl Player {
    fn new(camera: &Camera, change: impl FnOnce(RtspClientConfig) -> RtspClientConfig) -> Self {
        let url = RtspUrl::parse(&camera.url()).expect("a URL");
        let mut player = Self {
            net: EventLoop::new(LoopConfig::default()).expect("a loop"),
            client: RtspClient::new(change(RtspClientConfig::new(url))),
            tcp: None,
            udp: HashMap::new(),
            deadline: None,
            packets: HashMap::new(),
            transport: None,
            backchannel: None,
            ended: None,
        };
        player.drain();
        player
    }

    fn input(&mut self, input: Input<'_>) {
        self.client.handle_input(input, Instant::now());
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.client.poll_output() {
                Output::Connect { host, port, .. } => {
                    let config = TcpConfig::new(host, port);
                    self.tcp = Some(self.net.add_tcp(config).expect("a connection"));
                }
                Output::Send(bytes) => {
                    let tcp = self.tcp.expect("connected");
                    assert!(self.net.send_tcp(tcp, &bytes).expect("open"), "no room");
                }
                Output::Disconnect => {
                    if let Some(tcp) = self.tcp.take() {
                        self.net.close_tcp(tcp);
                    }
                }
                Output::OpenUdp { stream, .. } => {
                    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    let pair = self.net.add_udp_pair(ip, 30_000..=39_999).expect("a pair");
                    let port = |id| self.net.udp_address(id).expect("open").port();
                    let (rtp_port, rtcp_port) = (port(pair.0), port(pair.1));
                    self.udp.insert(stream, pair);
                    let opened = Input::UdpOpened {
                        stream,
                        rtp_port,
                        rtcp_port,
                    };
                    self.client.handle_input(opened, Instant::now());
                }
                Output::CloseUdp { stream } => {
                    let (rtp, rtcp) = self.udp.remove(&stream).expect("open");
                    self.net.close_udp(rtp);
                    self.net.close_udp(rtcp);
                }
                Output::SendUdp {
                    stream,
                    is_rtcp,
                    destination,
                    contents,
                } => {
                    let (rtp, rtcp) = self.udp[&stream];
                    let socket = if is_rtcp { rtcp } else { rtp };
                    let sent = self.net.send_datagram(socket, destination, contents);
                    sent.expect("an address of the same family");
                }
                Output::Event(event) => self.on_event(event),
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn on_event(&mut self, event: RtspEvent) {
        match event {
            RtspEvent::Packet { stream, .. } => *self.packets.entry(stream).or_default() += 1,
            RtspEvent::Playing {
                transport,
                backchannel,
                ..
            } => {
                self.transport = Some(transport);
                self.backchannel = backchannel;
            }
            RtspEvent::Ended(why) => self.ended = Some(why),
            _ => {}
        }
    }

    /// Runs until something holds, for 30 s at most.
    fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !holds(self) {
            let now = Instant::now();
            let ended = &self.ended;
            assert!(
                now < end,
                "{what}: not within 30 s; {ended:?}, {:?}",
                self.packets
            );
            let wait = self.deadline.map_or(Duration::from_millis(10), |at| {
                at.saturating_duration_since(now)
                    .min(Duration::from_millis(10))
            });
            self.net.run_once(Some(wait)).expect("the loop runs");
            while let Some(event) = self.net.poll_tcp() {
                match event.kind {
                    TcpEventKind::Connected { local, remote } => {
                        self.input(Input::Connected { local, remote });
                    }
                    TcpEventKind::Received(bytes) => self.input(Input::Received(&bytes)),
                    TcpEventKind::Closed { reason } => {
                        self.tcp = None;
                        let why = Disconnected::Failed(reason.to_string());
                        self.input(Input::Closed(why));
                    }
                    _ => {}
                }
            }
            while let Some(datagram) = self.net.poll_datagram() {
                let from = self.udp.iter().find_map(|(stream, (rtp, rtcp))| {
                    let is_it = [rtp, rtcp].iter().any(|id| **id == datagram.socket);
                    is_it.then_some((*stream, *rtcp == datagram.socket))
                });
                if let Some((stream, is_rtcp)) = from {
                    self.input(Input::Datagram {
                        stream,
                        is_rtcp,
                        source: datagram.source,
                        contents: &datagram.contents,
                    });
                }
            }
            if self.deadline.is_some_and(|at| at <= Instant::now()) {
                self.input(Input::Timeout);
            }
        }
    }

    /// Waits for packets of all streams, then ends the session in order.
    fn plays(&mut self, streams: usize, transport: Transport) {
        self.run_until("packets of all streams", |player| {
            let enough = player.packets.values().filter(|count| **count >= 20);
            enough.count() == streams || player.ended.is_some()
        });
        assert_eq!(self.ended, None);
        assert_eq!(self.transport, Some(transport));
        self.client.close(Instant::now());
        self.drain();
        self.run_until("the end", |player| player.ended.is_some());
        assert_eq!(self.ended, Some(None));
    }
}

const UDP_FIRST: [Transport; 2] = [Transport::Udp, Transport::Tcp];

#[test]
fn gstreamer_over_tcp_with_digest() {
    let Some(camera) = Camera::start("--auth digest --audio pcma") else {
        return;
    };
    let mut player = Player::new(&camera, |config| config);
    player.plays(2, Transport::Tcp);
    assert_eq!(
        player.client.quirks().met().count(),
        0,
        "{:?}",
        player.client
    );
}

#[test]
fn gstreamer_over_udp_with_basic() {
    let Some(camera) = Camera::start("--auth basic --audio opus") else {
        return;
    };
    let mut player = Player::new(&camera, |config| config.transports(UDP_FIRST.to_vec()));
    player.plays(2, Transport::Udp);
    assert_eq!(
        player.client.quirks().met().count(),
        0,
        "{:?}",
        player.client
    );
}

#[test]
fn gstreamer_that_refuses_tcp_is_played_over_udp() {
    let Some(camera) = Camera::start("--transports udp --audio opus") else {
        return;
    };
    let mut player = Player::new(&camera, |config| config);
    player.plays(2, Transport::Udp);
    let quirk = Quirk::TransportNeedsReconnect;
    assert_eq!(player.client.quirks().of(quirk), 1);
}

#[test]
fn gstreamer_refuses_a_wrong_password() {
    let Some(camera) = Camera::start("--auth digest") else {
        return;
    };
    let mut player = Player::new(&camera, |mut config| {
        let wrong = looprtc::proto::rtsp::Credentials::new("cam", "wrong");
        config.url = config.url.with_credentials(Some(wrong));
        config
    });
    player.run_until("the end", |player| player.ended.is_some());
    assert_eq!(player.ended, Some(Some(RtspError::WrongPassword)));
}

/// Audio that we send is heard: GStreamer counts it.
#[test]
fn gstreamer_hears_us() {
    for transports in [vec![Transport::Tcp], vec![Transport::Udp]] {
        let Some(mut camera) = Camera::start("--audio pcma --backchannel") else {
            return;
        };
        let mut player = Player::new(&camera, |config| {
            config.backchannel(true).transports(transports)
        });
        player.run_until("playing", |player| {
            player.transport.is_some() || player.ended.is_some()
        });
        assert_eq!(player.backchannel, Some(2), "{:?}", player.ended);
        let (begun, mut sent) = (Instant::now(), 0u16);
        player.run_until("two seconds", |player| {
            // 20 ms of silence in G.711.
            while begun.elapsed() >= Duration::from_millis(20) * u32::from(sent) {
                let mut packet = vec![0x80, 0];
                packet.extend(sent.to_be_bytes());
                packet.extend((u32::from(sent) * 160).to_be_bytes());
                packet.extend([0, 0, 0, 9]);
                packet.extend([0xff; 160]);
                assert!(player.client.send_backchannel(&packet));
                sent += 1;
            }
            player.drain();
            sent > 100
        });
        let heard = camera.heard();
        assert!(heard >= 80, "{heard} of {sent}");
        player.plays(2, player.transport.expect("it plays"));
    }
}
