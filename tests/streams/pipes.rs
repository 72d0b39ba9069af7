//! Live pipes: cameras that stop working if nobody reads, and viewers who join late.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{TrySendError, sync_channel};
use std::time::{Duration, Instant};

use looprtc::driver::PeerId;
use looprtc::proto::media::annexb::AnnexBReader;
use looprtc::proto::media::{Frame, Limits};
use looprtc::proto::peer::Codec::{H264, Opus, Vp8};
use looprtc::server::streams::{StreamState, StreamsConfig};

use crate::stage::Stage;

/// Number of frames that the camera's encoder can hold, like the hardware encoder of `rpicam-vid`.
const BUFFERS: usize = 18;

/// Maximum delay of a frame.
const LATE: Duration = Duration::from_millis(300);

/// A named pipe, removed when dropped.
struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("looprtc-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|s| s.success()), "mkfifo does not work");
        Self(path)
    }

    fn source(&self) -> String {
        format!("cam=pipe:{}", self.0.display())
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A camera program that exits, as `rpicam-vid` does, if its frames cannot be written.
struct Camera {
    start: Instant,
    is_dead: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Camera {
    /// Produces frames at this rate, whatever their headers say (25 per second).
    fn film(to: &Fifo, rate: f64) -> Self {
        let frames = card();
        let (start, path) = (Instant::now(), to.0.clone());
        let [is_dead, stop] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (queue, written) = sync_channel::<Vec<u8>>(BUFFERS);
        std::thread::spawn(move || {
            let mut pipe = std::fs::File::create(path).unwrap();
            written.iter().all(|frame| pipe.write_all(&frame).is_ok())
        });
        let (dead, stopped) = (is_dead.clone(), stop.clone());
        std::thread::spawn(move || {
            for n in 0u32.. {
                let due = start + Duration::from_secs_f64(f64::from(n) / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let frame = &frames[n as usize % frames.len()];
                let frame = with_clock(&frame.data, start.elapsed());
                if let Err(TrySendError::Full(_)) = queue.try_send(frame) {
                    dead.store(true, Ordering::Relaxed);
                    return;
                }
            }
        });
        Self {
            start,
            is_dead,
            stop,
        }
    }

    fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Returns the time from capture to the arrival at a viewer, for each frame.
    fn delays(&self, stage: &Stage, viewer: PeerId) -> Vec<Duration> {
        let frames = stage.client(viewer).of(H264);
        let delay = |frame: &&looprtc::proto::peer::ReceivedFrame| {
            let filmed = self.start + clock(&frame.data).expect("a clock in the picture");
            frame.received.saturating_duration_since(filmed)
        };
        frames.iter().map(delay).collect()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Returns the test card as a byte stream's access units, with a keyframe each second.
fn card() -> Vec<Frame> {
    let path = "src/server/streams/assets/testcard.h264";
    let bytes = std::fs::read(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut reader = AnnexBReader::new(H264, Limits::default()).unwrap();
    reader.feed(&bytes).unwrap();
    reader.finish();
    std::iter::from_fn(|| reader.poll().unwrap()).collect()
}

const UUID: &[u8; 16] = b"looprtc's clock.";

/// Returns an access unit that contains the time as SEI (H.264 §D.1.6: user data, unregistered).
fn with_clock(unit: &[u8], time: Duration) -> Vec<u8> {
    let text = format!("{:016x}", time.as_micros());
    let mut out = vec![0, 0, 0, 1, 6, 5, 32];
    out.extend_from_slice(UUID);
    out.extend_from_slice(text.as_bytes());
    out.push(0x80);
    out.extend_from_slice(unit);
    out
}

fn clock(unit: &[u8]) -> Option<Duration> {
    let at = unit.windows(16).position(|w| w == UUID)?;
    let text = std::str::from_utf8(unit.get(at + 16..at + 32)?).ok()?;
    Some(Duration::from_micros(u64::from_str_radix(text, 16).ok()?))
}

fn median(mut delays: Vec<Duration>) -> Duration {
    delays.sort();
    delays[delays.len() / 2]
}

#[test]
fn a_camera_outlives_viewers_and_who_comes_late_is_not_behind() {
    let fifo = Fifo::new("camera");
    let config = StreamsConfig::default().grace(Duration::from_millis(200));
    let mut stage = Stage::new(config).with(&fifo.source());
    // A third faster than its parameter sets say.
    let camera = Camera::film(&fifo, 33.0);
    stage.until("it runs without viewers", |stage| {
        stage.state("cam") == StreamState::Live
    });
    let early = stage.watch("cam", &[H264]).unwrap();
    stage.until("pictures", |stage| stage.client(early).of(H264).len() > 10);
    stage.leave(early);
    // Without viewers: ten times as long as its buffers and the pipe last.
    stage.run_for(Duration::from_secs(7));
    assert!(!camera.is_dead(), "nobody watched");
    assert_eq!(stage.state("cam"), StreamState::Live);
    let first = stage.watch("cam", &[H264]).unwrap();
    stage.until("pictures", |stage| stage.client(first).of(H264).len() > 60);
    let second = stage.watch("cam", &[H264]).unwrap();
    stage.until("pictures for both", |stage| {
        stage.client(second).of(H264).len() > 60
    });
    assert!(!camera.is_dead());
    for viewer in [first, second] {
        let client = stage.client(viewer);
        assert!(client.frames[0].keyframe, "pictures begin at once");
        let seen = client.connected.unwrap();
        let waited = client.frames[0].received.saturating_duration_since(seen);
        assert!(waited < LATE, "{waited:?}");
        // Everything except for the cached frames, which are sent in a burst.
        let delays = camera.delays(&stage, viewer);
        let late = delays[delays.len() - 25..].iter().max().unwrap();
        assert!(*late < LATE, "{delays:?}");
        // At the rate of capture, not that of its parameter sets.
        let frames = &client.of(H264)[client.frames.len() - 25..];
        let rate = 24.0 / (frames[24].time - frames[0].time).as_secs_f64();
        assert!((30.0..36.0).contains(&rate), "{rate} frames a second");
    }
}

#[test]
fn a_slow_camera_is_not_a_frame_late() {
    let fifo = Fifo::new("slow");
    let mut stage = Stage::new(StreamsConfig::default()).with(&fifo.source());
    let camera = Camera::film(&fifo, 2.0);
    let viewer = stage.watch("cam", &[H264]).unwrap();
    stage.until("pictures", |stage| stage.client(viewer).of(H264).len() > 8);
    let delays = camera.delays(&stage, viewer);
    assert!(median(delays[4..].to_vec()) < LATE, "{delays:?}");
    assert_eq!(stage.client(viewer).decodable(H264), delays.len());
}

#[test]
fn a_paced_pipe_waits_for_viewers() {
    let fifo = Fifo::new("paced");
    let source = format!("{}?paced", fifo.source());
    let mut stage = Stage::new(StreamsConfig::default()).with(&source);
    let camera = Camera::film(&fifo, 100.0);
    let end = Instant::now() + Duration::from_secs(20);
    while !camera.is_dead() && Instant::now() < end {
        stage.run_for(Duration::from_millis(50));
    }
    assert!(camera.is_dead(), "it is read only for viewers");
    assert_eq!(stage.state("cam"), StreamState::Idle);
}

/// Invalid input is reported once, and the next writer is played.
#[test]
fn a_writer_that_sends_rubbish_is_told_of_and_the_next_one_is_played() {
    let fifo = Fifo::new("rubbish");
    let mut stage = Stage::new(StreamsConfig::default()).with(&fifo.source());
    let viewer = stage.watch("cam", &[Vp8, H264, Opus]).unwrap();
    let path = fifo.0.clone();
    let writer = std::thread::spawn(move || std::fs::write(path, [0x47; 5000]));
    stage.until("the reason", |stage| {
        matches!(stage.state("cam"), StreamState::Failed { .. })
    });
    // The writer may have received an error.
    let _ = writer.join().unwrap();
    let camera = Camera::film(&fifo, 25.0);
    stage.until("pictures", |stage| stage.client(viewer).of(H264).len() > 5);
    assert_eq!(stage.state("cam"), StreamState::Live);
    assert_eq!(stage.streams.info("cam").unwrap().stats.failures, 1);
    assert!(!camera.is_dead());
}
