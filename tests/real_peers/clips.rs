//! Clips made once by FFmpeg, checksums of their frames, and decoding of received media.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use looprtc::proto::media::wav::WavReader;
use looprtc::proto::media::{Limits, Reader, annexb};
use looprtc::proto::peer::{Codec, ReceivedFrame};

/// Duration of a clip in seconds; it loops.
const SECONDS: u32 = 3;

/// Frames per second.
const RATE: u32 = 30;

/// Keyframe interval, in frames.
pub const GROUP: usize = 30;

/// Media to be sent.
#[derive(Debug)]
pub struct Clip {
    pub codec: Codec,
    pub frames: Vec<Arc<[u8]>>,
}

impl Clip {
    /// Returns the time of the nth frame, continued over repetitions.
    pub fn time(&self, n: usize) -> Duration {
        let n = n as u64;
        match self.codec.is_video() {
            true => Duration::from_nanos(n * 1_000_000_000 / u64::from(RATE)),
            false => Duration::from_millis(20) * n as u32,
        }
    }

    pub fn frame(&self, n: usize) -> &Arc<[u8]> {
        &self.frames[n % self.frames.len()]
    }
}

/// Returns the directory of the clips, for peers that read them: each codec in IVF, `vp8.ivf`, `opus.ivf` and so on.
pub fn directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clips");
    fs::create_dir_all(&directory).expect("a directory for clips");
    directory
}

/// The clip of this codec.
pub fn clip(codec: Codec) -> Arc<Clip> {
    static CLIPS: OnceLock<Mutex<HashMap<Codec, Arc<Clip>>>> = OnceLock::new();
    let mut clips = CLIPS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(|e| e.into_inner());
    let clip = clips.entry(codec).or_insert_with(|| Arc::new(make(codec)));
    Arc::clone(clip)
}

fn make(codec: Codec) -> Clip {
    let picture = format!("testsrc=size=320x180:rate={RATE}:duration={SECONDS}");
    let sound = format!("sine=frequency=440:sample_rate=48000:duration={SECONDS}");
    let group = GROUP.to_string();
    let (extension, options): (_, &[&str]) = match codec {
        Codec::Vp8 => ("ivf", &["libvpx", "-auto-alt-ref", "0", "-cpu-used", "8"]),
        Codec::Vp9 => (
            "ivf",
            &["libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
        ),
        Codec::Av1 => (
            "ivf",
            &[
                "libaom-av1",
                "-usage",
                "realtime",
                "-cpu-used",
                "8",
                "-lag-in-frames",
                "0",
            ],
        ),
        Codec::H264 => (
            "h264",
            &["libx264", "-profile:v", "baseline", "-tune", "zerolatency"],
        ),
        Codec::H265 => (
            "h265",
            &[
                "libx265",
                "-preset",
                "ultrafast",
                "-x265-params",
                "log-level=none:bframes=0:scenecut=0:repeat-headers=1:keyint=30:min-keyint=30",
            ],
        ),
        Codec::Opus => ("ogg", &["libopus", "-b:a", "48k"]),
        Codec::Pcmu => ("wav", &["pcm_mulaw", "-ar", "8000", "-ac", "1"]),
        Codec::Pcma => ("wav", &["pcm_alaw", "-ar", "8000", "-ac", "1"]),
        Codec::G722 => ("g722", &["g722", "-ar", "16000", "-ac", "1"]),
        other => panic!("no clip of {other}"),
    };
    let name = codec.name().to_lowercase();
    let file = directory().join(format!("{name}.{extension}"));
    let mut command = Command::new("ffmpeg");
    command.args(["-y", "-v", "error", "-f", "lavfi", "-i"]);
    match codec.is_video() {
        true => command.args([&picture, "-pix_fmt", "yuv420p", "-b:v", "400k"]),
        false => command.arg(&sound),
    };
    if codec.is_video() {
        command.args(["-g", &group, "-keyint_min", &group]);
    }
    run(command
        .arg(if codec.is_video() { "-c:v" } else { "-c:a" })
        .args(options)
        .arg(&file));
    let frames = read(codec, &file);
    assert!(
        frames.len() >= (SECONDS * 25) as usize,
        "{} frames",
        frames.len()
    );
    let clip = Clip { codec, frames };
    write_ivf(&directory().join(format!("{name}.ivf")), &clip);
    clip
}

fn read(codec: Codec, file: &Path) -> Vec<Arc<[u8]>> {
    let mut reader = match codec {
        Codec::G722 => {
            let raw = WavReader::raw(codec, Limits::default()).expect("a sound codec");
            Reader::Wav(Box::new(raw))
        }
        _ => Reader::new(Limits::default()),
    };
    reader
        .feed(&fs::read(file).expect("the clip"))
        .expect("a clip that can be read");
    let mut frames = Vec::new();
    let mut take = |reader: &mut Reader| {
        while let Some(frame) = reader.poll().expect("a clip that can be read") {
            frames.push(Arc::from(frame.data));
        }
    };
    take(&mut reader);
    reader.finish();
    take(&mut reader);
    frames
}

/// Writes frames of any codec as IVF, of which the peers read only the frame sizes and the timebase.
fn write_ivf(path: &Path, clip: &Clip) {
    let (numerator, denominator) = match clip.codec.is_video() {
        true => (1, RATE),
        false => (1, 50),
    };
    let mut out = Vec::new();
    out.extend_from_slice(b"DKIF\0\0\x20\0");
    out.extend_from_slice(match clip.codec {
        Codec::Vp8 => b"VP80",
        Codec::Vp9 => b"VP90",
        Codec::Av1 => b"AV01",
        _ => b"\0\0\0\0",
    });
    for side in [320u16, 180] {
        out.extend_from_slice(&side.to_le_bytes());
    }
    for number in [denominator, numerator, clip.frames.len() as u32, 0u32] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for (n, frame) in clip.frames.iter().enumerate() {
        out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        out.extend_from_slice(&(n as u64).to_le_bytes());
        out.extend_from_slice(frame);
    }
    // Atomically: another test may be reading it.
    let partial = path.with_extension("partial");
    fs::write(&partial, out).expect("a file for a clip");
    fs::rename(&partial, path).expect("a file for a clip");
}

/// Returns a checksum of the part of a frame that is sent over RTP: without start codes, OBU sizes and delimiters.
pub fn fingerprint(codec: Codec, data: &[u8]) -> String {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = CRC.digest();
    let mut length = 0;
    let mut add = |bytes: &[u8]| {
        digest.update(bytes);
        length += bytes.len();
    };
    match codec {
        Codec::H264 | Codec::H265 => {
            for (_, unit) in annexb::units(data) {
                let is_delimiter = match codec {
                    Codec::H264 => unit.first().is_some_and(|b| b & 31 == 9),
                    _ => unit.first().is_some_and(|b| (b >> 1) & 63 == 35),
                };
                if !is_delimiter {
                    add(&[0, 0, 0, 1]);
                    add(unit);
                }
            }
        }
        Codec::Av1 => obus(data, &mut add),
        _ => add(data),
    }
    format!("{length}:{:08x}", digest.finalize())
}

/// Returns OBUs without sizes and temporal delimiters (AV1 specification §5.3).
fn obus(mut unit: &[u8], add: &mut impl FnMut(&[u8])) {
    while let [header, rest @ ..] = unit {
        let extension = usize::from(header & 4 != 0);
        let mut at = extension;
        let mut size = rest.len().saturating_sub(extension);
        if header & 2 != 0 {
            size = 0;
            for shift in (0..35).step_by(7) {
                let byte = rest.get(at).copied().unwrap_or_default();
                size |= usize::from(byte & 127) << shift;
                at += 1;
                if byte & 128 == 0 {
                    break;
                }
            }
        }
        let end = (at + size).min(rest.len());
        if (header >> 3) & 15 != 2 {
            add(&[header & !2]);
            add(&rest[..extension]);
            add(&rest[at.min(end)..end]);
        }
        unit = &rest[end..];
    }
}

/// Returns the number of these frames that FFmpeg decodes; any error fails the test.
pub fn decoded(codec: Codec, frames: &[ReceivedFrame], name: &str) -> usize {
    use looprtc::proto::media::Timebase;
    use looprtc::proto::media::ivf::IvfWriter;
    use looprtc::proto::media::ogg::{OggOpusWriter, WriterConfig};
    let mut out = Vec::new();
    let mut input: &[&str] = &[];
    match codec {
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 => {
            let timebase = Timebase::new(1, 90_000).expect("not zero");
            let mut writer = IvfWriter::new(codec, 640, 480, timebase, &mut out).expect("a writer");
            for f in frames {
                writer.write(f.time, &f.data, &mut out).expect("in order");
            }
        }
        Codec::H264 | Codec::H265 => {
            input = match codec {
                Codec::H264 => &["-f", "h264"],
                _ => &["-f", "hevc"],
            };
            frames.iter().for_each(|f| annexb::write(&f.data, &mut out));
        }
        Codec::Opus => {
            let mut writer = OggOpusWriter::new(WriterConfig::default(), &mut out).expect("Opus");
            for f in frames {
                writer.write(f.time, &f.data, &mut out).expect("in order");
            }
            writer.finish(&mut out);
        }
        _ => {
            input = match codec {
                Codec::Pcmu => &["-f", "mulaw", "-ar", "8000"],
                Codec::Pcma => &["-f", "alaw", "-ar", "8000"],
                _ => &["-f", "g722"],
            };
            frames.iter().for_each(|f| out.extend_from_slice(&f.data));
        }
    }
    let file = directory().join(format!("from-{name}-{}", codec.name().to_lowercase()));
    fs::write(&file, out).expect("a file for what has come");
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_frames"]).args(input);
    command.args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]);
    let text = run(command.arg(&file));
    if codec.is_video() {
        return text.trim().parse().unwrap_or_default();
    }
    // FFmpeg re-frames audio; the total has to match.
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-xerror"]).args(input);
    run(command.arg("-i").arg(&file).args(["-f", "null", "-"]));
    frames.len()
}

fn run(command: &mut Command) -> String {
    let out = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e} (Debian: apt-get install ffmpeg)"));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success() && errors.trim().is_empty(),
        "{command:?}: {errors}"
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}
