//! The program's log: lines on the standard error without secrets, limited in volume, and never blocking.
//!
//! - **No secrets.** Dependencies log ICE passwords, headers and whole messages at *debug* and *trace*; regardless of
//!   RUST_LOG, only records known to be harmless pass.
//! - **Bounded.** Dependencies' messages about datagrams and descriptions that anyone can send are off unless RUST_LOG
//!   enables them, and even then limited per source location. Our own messages that clients can trigger are limited
//!   where they are written (`seldom!`).
//! - **Never blocking.** A separate thread writes. If nobody reads the standard error, lines are dropped and counted;
//!   the server continues.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use env_logger::{Builder, Env, Logger, Target, WriteStyle};
use log::{LevelFilter, Log, Metadata, Record};

/// Default log filter: our own warnings. RUST_LOG overrides it.
const DEFAULT: &str = "looprtc=warn";

/// Maximum number of bytes queued for writing. Further lines are dropped and counted.
const MAX_WAITING: usize = 256 * 1024;

/// Maximum number of lines per source location of a dependency within [`PERIOD`].
const MAX_LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);

/// Log target of panics: their texts usually come from dependencies and have the same limit.
const PANIC: &str = "looprtc::panic";

/// Maximum time that the end of the program waits for queued lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Flushes queued lines when it is dropped, at the end of the program.
pub struct Guard(Arc<Queue>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.flush(LAST_WORDS);
    }
}

/// Starts logging with the filter in RUST_LOG.
pub fn start() -> Guard {
    let queue = Arc::new(Queue::default());
    let writer = queue.clone();
    let spawned = std::thread::Builder::new()
        .name("log".into())
        .spawn(move || writer.write_to(&mut io::stderr()));
    let target: Box<dyn Write + Send> = match spawned {
        Ok(_) => Box::new(Sender(queue.clone())),
        // Without a thread, lines are written directly.
        Err(_) => Box::new(io::stderr()),
    };
    let style = match io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => WriteStyle::Always,
        false => WriteStyle::Never,
    };
    let inner = Builder::from_env(Env::default().default_filter_or(DEFAULT))
        .write_style(style)
        .target(Target::Pipe(target))
        .build();
    let most = inner.filter();
    let capped = Capped {
        inner,
        places: Mutex::default(),
    };
    if log::set_boxed_logger(Box::new(capped)).is_ok() {
        log::set_max_level(most);
    }
    // The default hook writes each panic directly and without limit; a panic of one peer is contained.
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        match trace.status() {
            BacktraceStatus::Captured => log::error!(target: PANIC, "{panic}\n{trace}"),
            _ => log::error!(target: PANIC, "{panic}"),
        }
    }));
    Guard(queue)
}

/// Returns the most verbose level that is free of secrets for this target.
fn most(target: &str) -> LevelFilter {
    match target.split("::").next() {
        Some("looprtc") => LevelFilter::Trace,
        _ => LevelFilter::Info,
    }
}

/// The logger with the limits applied.
struct Capped {
    inner: Logger,
    /// Lines written by each place in dependencies' code, keyed by a hash of file and line; bounded by the number of such places.
    places: Mutex<HashMap<u64, Place>>,
}

struct Place {
    since: Instant,
    lines: u32,
}

impl Capped {
    /// Counts a line of a dependency. Returns `true` if it may be written.
    fn has_room(&self, record: &Record<'_>, now: Instant) -> bool {
        if record.target() != PANIC && record.target().split("::").next() == Some("looprtc") {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        (record.file(), record.line(), record.target()).hash(&mut hasher);
        let mut places = lock(&self.places);
        let place = places.entry(hasher.finish()).or_insert(Place {
            since: now,
            lines: 0,
        });
        if now.saturating_duration_since(place.since) >= PERIOD {
            (place.since, place.lines) = (now, 0);
        }
        place.lines = place.lines.saturating_add(1);
        place.lines <= MAX_LINES
    }
}

impl Log for Capped {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= most(metadata.target()) && self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && self.has_room(record, Instant::now()) {
            self.inner.log(record);
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

/// Lines queued for the standard error.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: u64,
    /// Set while a line that was taken out is being written.
    is_writing: bool,
}

impl Queue {
    fn push(&self, line: &[u8]) {
        let mut waiting = lock(&self.waiting);
        if waiting.bytes + line.len() > MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_vec());
        self.changed.notify_all();
    }

    /// Writes queued lines, forever.
    fn write_to(&self, out: &mut impl Write) {
        loop {
            let line = self.next();
            // An error cannot be reported anywhere.
            let _ = out.write_all(&line);
        }
    }

    /// Waits for the next line.
    fn next(&self) -> Vec<u8> {
        let mut waiting = lock(&self.waiting);
        waiting.is_writing = false;
        self.changed.notify_all();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes -= line.len();
                waiting.is_writing = true;
                return line;
            }
            if waiting.dropped > 0 {
                let dropped = std::mem::take(&mut waiting.dropped);
                waiting.is_writing = true;
                return format!("looprtc: {dropped} lines of the log were dropped here\n").into();
            }
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until everything is written, for at most `patience`.
    fn flush(&self, patience: Duration) {
        let waiting = lock(&self.waiting);
        let is_busy = |w: &mut Waiting| w.is_writing || !w.lines.is_empty();
        drop(self.changed.wait_timeout_while(waiting, patience, is_busy));
    }
}

/// The logger's output; each write is a whole line.
struct Sender(Arc<Queue>);

impl Write for Sender {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn capped(filter: &str) -> (Capped, Arc<Queue>) {
        let queue = Arc::new(Queue::default());
        let inner = Builder::new()
            .parse_filters(filter)
            .target(Target::Pipe(Box::new(Sender(queue.clone()))))
            .build();
        let places = Mutex::default();
        (Capped { inner, places }, queue)
    }

    fn lines(queue: &Queue) -> usize {
        lock(&queue.waiting).lines.len()
    }

    fn say(log: &Capped, level: Level, target: &str) {
        log.log(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("text"))
                .build(),
        );
    }

    #[test]
    fn dependencies_are_silent_unless_asked() {
        let (log, queue) = capped(DEFAULT);
        for target in ["is::stun", "str0m::sdp::parser", "stun_types", "rustls"] {
            say(&log, Level::Error, target);
        }
        assert_eq!(lines(&queue), 0);
        say(&log, Level::Warn, "looprtc::server::rooms");
        assert_eq!(lines(&queue), 1);
        say(&log, Level::Info, "looprtc::server::rooms");
        assert_eq!(lines(&queue), 1);
    }

    #[test]
    fn what_holds_secrets_is_written_at_no_level() {
        let (log, queue) = capped("trace,tungstenite=trace,is=trace");
        for (level, target) in [
            (Level::Debug, "is::agent"),
            (Level::Debug, "str0m::sctp"),
            (Level::Debug, "tungstenite::protocol"),
            (Level::Debug, "ureq_proto::client"),
            (Level::Trace, "tracing::span"),
        ] {
            say(&log, level, target);
            assert_eq!(lines(&queue), 0, "{target}");
        }
        say(&log, Level::Trace, "looprtc::proto");
        say(&log, Level::Info, "is::agent");
        assert_eq!(lines(&queue), 2);
    }

    #[test]
    fn one_place_of_a_dependency_has_so_many_lines_a_minute() {
        let (log, _) = capped("trace");
        let record = Record::builder().target("is::stun").line(Some(1)).build();
        let other = Record::builder().target("is::stun").line(Some(2)).build();
        let start = Instant::now();
        let written = (0..1000).filter(|_| log.has_room(&record, start)).count();
        assert_eq!(written, 20);
        assert!(log.has_room(&other, start));
        assert!(log.has_room(&record, start + PERIOD));
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_counted() {
        let queue = Queue::default();
        for _ in 0..1000 {
            queue.push(&[b'x'; 1024]);
        }
        assert_eq!(lock(&queue.waiting).bytes, MAX_WAITING);
        for _ in 0..256 {
            assert_eq!(queue.next().len(), 1024);
        }
        let last = String::from_utf8(queue.next()).unwrap();
        assert!(last.contains("744 lines of the log were dropped"), "{last}");
        queue.push(b"more");
        assert_eq!(queue.next(), b"more");
    }
}
