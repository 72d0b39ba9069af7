//! Cameras that are added, edited and removed while the server runs, and kept in a file.
//!
//! Changes happen one after another, and each is written before it takes effect, by a thread: a slow disk delays the answer
//! and not the media. So a change that was answered survives a loss of power, and one that cannot be written changes
//! nothing.
//!
//! ```text
//!   submit ─► waiting ─► check ─► file (thread) ─► Streams ─► poll_answer
//! ```
//!
//! This module does not know HTTP: [`Fields::read`] reads the JSON of a request, and `A` is whatever the owner needs for
//! the answer.

mod address;
mod camera;
mod fields;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use crate::driver::{EventLoop, LoopHandle};
use crate::server::quota::{Rates, client_of};
use crate::server::streams::{SourceConfig, StreamError, Streams, check_name};

pub(crate) use self::camera::Camera;
pub(crate) use self::fields::{Fields, Invalid};
pub(crate) use self::file::FileError;
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::file::{contents, parse};

/// Maximum number of cameras.
pub(crate) const MAX_CAMERAS: usize = 256;

/// Maximum number of changes that wait for the file.
const MAX_WAITING: usize = 16;

/// Number of changes that a client may make at once, and the time in which it may make one more.
const BURST: u32 = 30;
const EACH: Duration = Duration::from_secs(1);

/// A change of the cameras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Add { name: String, fields: Fields },
    Edit { name: String, fields: Fields },
    Remove { name: String },
}

impl Change {
    /// Returns the name of the camera.
    pub fn name(&self) -> &str {
        let (Self::Add { name, .. } | Self::Edit { name, .. } | Self::Remove { name }) = self;
        name
    }
}

/// Outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    Added,
    /// Its stream has started anew; viewers were disconnected and come back.
    Edited,
    /// The camera was so already.
    Unchanged,
    Removed,
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangeError {
    /// These fields are invalid.
    Invalid(Vec<Invalid>),
    /// There is a stream with this name.
    Taken(String),
    /// There is no stream with this name.
    NoSuch(String),
    /// The stream with this name was not added while the server ran.
    Configured(String),
    /// There are as many cameras as there may be.
    Full,
    /// This client makes too many changes; it has to wait for so long.
    TooMany(Duration),
    /// Too many changes wait for the file.
    Busy,
    /// The file could not be written.
    Unwritten(String),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(fields) => {
                let all: Vec<String> = fields.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("; "))
            }
            Self::Taken(name) => write!(f, "there is a stream {name:?} already"),
            Self::NoSuch(name) => write!(f, "there is no stream {name:?}"),
            Self::Configured(name) => write!(
                f,
                "the stream {name:?} is built in or stands in the server's configuration: change it there"
            ),
            Self::Full => write!(f, "there are as many streams as there may be"),
            Self::TooMany(_) => f.write_str("too many changes from this address; try again later"),
            Self::Busy => f.write_str("other changes are still being written; try again"),
            Self::Unwritten(why) => write!(f, "nothing was changed: {why}"),
        }
    }
}

/// The answer to a change.
#[derive(Debug)]
pub(crate) struct Answer<A> {
    pub asked: A,
    /// The camera's name.
    pub name: String,
    pub result: Result<Changed, ChangeError>,
}

#[derive(Debug)]
struct Waiting<A> {
    asked: A,
    change: Change,
}

/// A change that is being written.
#[derive(Debug)]
struct Writing<A> {
    asked: A,
    name: String,
    planned: Planned,
    result: Receiver<io::Result<()>>,
}

/// The cameras after a change, and what it does to the streams.
#[derive(Debug)]
struct Planned {
    cameras: BTreeMap<String, Camera>,
    changed: Changed,
    /// The new source; `None` if the camera is removed.
    source: Option<SourceConfig>,
}

/// The cameras of a server. `A` is returned with each [`Answer`].
#[derive(Debug)]
pub(crate) struct Cameras<A> {
    cameras: BTreeMap<String, Camera>,
    file: Option<PathBuf>,
    handle: LoopHandle,
    waiting: VecDeque<Waiting<A>>,
    writing: Option<Writing<A>>,
    answers: VecDeque<Answer<A>>,
    rates: Rates,
}

impl<A> Cameras<A> {
    /// Reads the cameras of a file; none if there is none yet. Wakes the loop by `handle` when a change was written.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with the file, and in which line. The file is left as it is.
    pub fn open(file: Option<PathBuf>, handle: LoopHandle) -> Result<Self, FileError> {
        let cameras = match &file {
            Some(path) => file::read(path)?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            cameras,
            file,
            handle,
            waiting: VecDeque::new(),
            writing: None,
            answers: VecDeque::new(),
            rates: Rates::new(BURST, EACH),
        })
    }

    /// Adds the cameras that were read to the streams.
    ///
    /// # Errors
    ///
    /// Returns a sentence that names the file and the camera that cannot be added, and says why.
    pub fn start(&self, streams: &mut Streams) -> Result<(), String> {
        let path = self.file.as_deref().unwrap_or_else(|| "".as_ref());
        for (name, camera) in &self.cameras {
            let added = match parsed(camera) {
                Ok(source) => streams.add(name, source).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            added.map_err(|why| {
                format!(
                    "{}: the camera {name:?}: {why}. Remove its line there, or rename the other one",
                    path.display()
                )
            })?;
        }
        Ok(())
    }

    /// Returns `true` if the cameras are kept across restarts.
    pub fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Returns a camera; `None` if no camera of this name was added.
    pub fn get(&self, name: &str) -> Option<&Camera> {
        self.cameras.get(name)
    }

    /// Accepts a change, whose answer follows.
    pub fn submit(&mut self, change: Change, asked: A, client: IpAddr, now: Instant) {
        let counted = self.rates.try_spend(client_of(client), 1, now);
        let refused = match counted {
            Err(wait) => Some(ChangeError::TooMany(wait)),
            Ok(()) => (self.waiting.len() >= MAX_WAITING).then_some(ChangeError::Busy),
        };
        match refused {
            Some(error) => self.answer(asked, change.name().to_owned(), Err(error)),
            None => self.waiting.push_back(Waiting { asked, change }),
        }
    }

    /// Carries on with the changes. Call it after [`submit`](Self::submit), and whenever the loop was woken.
    pub fn turn(&mut self, net: &mut EventLoop, streams: &mut Streams) {
        loop {
            if let Some(writing) = self.writing.take() {
                let written = match writing.result.try_recv() {
                    Ok(written) => written,
                    Err(TryRecvError::Empty) => {
                        self.writing = Some(writing);
                        return;
                    }
                    Err(TryRecvError::Disconnected) => {
                        Err(io::Error::other("the writing thread has failed"))
                    }
                };
                let Writing {
                    asked,
                    name,
                    planned,
                    ..
                } = writing;
                let result = match written {
                    Ok(()) => self.apply(net, streams, &name, planned),
                    Err(error) => Err(self.unwritten(&error)),
                };
                self.answer(asked, name, result);
            }
            let Some(Waiting { asked, change }) = self.waiting.pop_front() else {
                return;
            };
            let name = change.name().to_owned();
            match self.plan(streams, change) {
                Err(error) => self.answer(asked, name, Err(error)),
                Ok(None) => self.answer(asked, name, Ok(Changed::Unchanged)),
                Ok(Some(planned)) => match self.write(&planned.cameras) {
                    None => {
                        let result = self.apply(net, streams, &name, planned);
                        self.answer(asked, name, result);
                    }
                    Some(result) => {
                        self.writing = Some(Writing {
                            asked,
                            name,
                            planned,
                            result,
                        });
                    }
                },
            }
        }
    }

    /// Returns the next answer, if any.
    pub fn poll_answer(&mut self) -> Option<Answer<A>> {
        self.answers.pop_front()
    }

    fn answer(&mut self, asked: A, name: String, result: Result<Changed, ChangeError>) {
        self.answers.push_back(Answer {
            asked,
            name,
            result,
        });
    }

    /// Checks a change; `None` if it changes nothing.
    fn plan(&self, streams: &Streams, change: Change) -> Result<Option<Planned>, ChangeError> {
        let mut cameras = self.cameras.clone();
        let (source, changed) = match change {
            Change::Add { name, fields } => {
                check_name(&name)
                    .map_err(|why| ChangeError::Invalid(vec![Invalid::new("name", why)]))?;
                let camera = Camera::new(fields, None).map_err(ChangeError::Invalid)?;
                if streams.info(&name).is_some() || cameras.contains_key(&name) {
                    return Err(ChangeError::Taken(name));
                }
                if cameras.len() >= MAX_CAMERAS || !streams.has_room() {
                    return Err(ChangeError::Full);
                }
                let source = parsed(&camera)?;
                cameras.insert(name, camera);
                (Some(source), Changed::Added)
            }
            Change::Edit { name, fields } => {
                let old = self.existing(streams, &name)?;
                let camera = Camera::new(fields, Some(old)).map_err(ChangeError::Invalid)?;
                if camera == *old {
                    return Ok(None);
                }
                let source = parsed(&camera)?;
                cameras.insert(name, camera);
                (Some(source), Changed::Edited)
            }
            Change::Remove { name } => {
                self.existing(streams, &name)?;
                cameras.remove(&name);
                (None, Changed::Removed)
            }
        };
        Ok(Some(Planned {
            cameras,
            changed,
            source,
        }))
    }

    fn existing(&self, streams: &Streams, name: &str) -> Result<&Camera, ChangeError> {
        let configured = || match streams.info(name) {
            Some(_) => ChangeError::Configured(name.to_owned()),
            None => ChangeError::NoSuch(name.to_owned()),
        };
        self.cameras.get(name).ok_or_else(configured)
    }

    /// Starts to write the file; `None` if there is none.
    fn write(&self, cameras: &BTreeMap<String, Camera>) -> Option<Receiver<io::Result<()>>> {
        let path = self.file.clone()?;
        let contents = file::contents(cameras);
        let (done, result) = sync_channel(1);
        let handle = self.handle.clone();
        let write = move || {
            // Nobody waits for it any more if the server has ended.
            let _ = done.send(file::write(&path, &contents));
            handle.wake();
        };
        let thread = std::thread::Builder::new().name("cameras".into());
        if let Err(error) = thread.spawn(write) {
            log::warn!("the thread that writes the cameras: {error}");
        }
        Some(result)
    }

    fn unwritten(&self, error: &io::Error) -> ChangeError {
        let path = self.file.as_deref().unwrap_or_else(|| "".as_ref());
        log::warn!("{}: {error}", path.display());
        ChangeError::Unwritten(format!("{}: {error}", path.display()))
    }

    /// Changes the streams. The camera is tried at once, so that its state is seen.
    fn apply(
        &mut self,
        net: &mut EventLoop,
        streams: &mut Streams,
        name: &str,
        planned: Planned,
    ) -> Result<Changed, ChangeError> {
        self.cameras = planned.cameras;
        if planned.changed != Changed::Added {
            for peer in streams.remove(net, name).unwrap_or_default() {
                if let Ok(mut peer) = net.peer(peer) {
                    peer.close();
                }
            }
        }
        if let Some(source) = planned.source {
            if let Err(error) = streams.add(name, source) {
                // Somebody else was faster while the file was written, which loses it with the next change.
                self.cameras.remove(name);
                return Err(match error {
                    StreamError::NameTaken(name) => ChangeError::Taken(name),
                    _ => ChangeError::Full,
                });
            }
            streams.try_out(net, name);
        }
        log::info!("camera {name}: {:?}", planned.changed);
        Ok(planned.changed)
    }
}

fn parsed(camera: &Camera) -> Result<SourceConfig, ChangeError> {
    let invalid = |why| ChangeError::Invalid(vec![Invalid::new("url", why)]);
    camera.source().map_err(invalid)
}
