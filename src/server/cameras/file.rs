//! The file that keeps the cameras: a JSON object in each line.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::MAX_CAMERAS;
use super::camera::Camera;
use super::fields::Fields;
use crate::server::streams::check_name;

/// Maximum size of the file, in bytes: more than [`MAX_CAMERAS`] lines of the maximum length have.
const MAX_FILE: u64 = 4 << 20;

/// The first line. Lines that begin with # are not read.
const HEAD: &str = "# Cameras of looprtc, written by it whenever one is changed, with their passwords. One JSON object in each line.\n";

/// An error in the file.
#[derive(Debug)]
pub(crate) struct FileError {
    path: PathBuf,
    /// Counted from 1; 0 for the whole file.
    line: usize,
    what: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        match line {
            0 => write!(f, "{}: {what}", path.display()),
            line => write!(
                f,
                "{}:{line}: {what}. The file keeps the cameras that were added while the server ran: mend that line, \
                 or remove it",
                path.display()
            ),
        }
    }
}

/// Reads the cameras of a file; none if there is no file.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Camera>, FileError> {
    let wrong = |line: usize, what: String| FileError {
        path: path.to_owned(),
        line,
        what,
    };
    let mut bytes = Vec::new();
    let opened = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        opened => opened,
    };
    let read = opened.and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| wrong(0, error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(0, format!("has more than {MAX_FILE} bytes")));
    }
    parse(&bytes).map_err(|(line, what)| wrong(line, what))
}

/// Parses the contents of a file. The error is a line, counted from 1, and what is wrong there.
pub(crate) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Camera>, (usize, String)> {
    let mut cameras = BTreeMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (name, camera) = camera(line).map_err(|what| (index + 1, what))?;
        if cameras.len() >= MAX_CAMERAS {
            return Err((
                index + 1,
                format!("there are more than {MAX_CAMERAS} cameras"),
            ));
        }
        if cameras.contains_key(&name) {
            return Err((index + 1, format!("there are two cameras {name:?}")));
        }
        cameras.insert(name, camera);
    }
    Ok(cameras)
}

fn camera(line: &[u8]) -> Result<(String, Camera), String> {
    let mut fields = Fields::read(line).map_err(all)?;
    let name = fields.name.take().ok_or("the name is missing")?;
    check_name(&name)?;
    let camera = Camera::new(fields, None).map_err(all)?;
    Ok((name, camera))
}

fn all(wrong: Vec<super::Invalid>) -> String {
    let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    wrong.join("; ")
}

/// Returns the contents of a file with these cameras.
pub(crate) fn contents(cameras: &BTreeMap<String, Camera>) -> String {
    let mut text = HEAD.to_owned();
    for (name, camera) in cameras {
        text.push_str(&camera.kept(name).to_string());
        text.push('\n');
    }
    text
}

/// Replaces a file as a whole: after a failure or a loss of power it has its old contents or the new ones. Only its owner
/// may read it.
pub(super) fn write(path: &Path, contents: &str) -> io::Result<()> {
    // A link stays a link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut new = path.clone().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left behind by a failure; its permissions may be others.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = written(&new, contents).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        // It may not be there; the error that counts is that of writing.
        let _ = fs::remove_file(&new);
        return written;
    }
    sync_directory(&path);
    Ok(())
}

fn written(path: &Path, contents: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(contents.as_bytes())?;
    file.sync_all()
}

/// Makes a renaming last. Not every file system can, and the file is whole anyway.
fn sync_directory(path: &Path) {
    #[cfg(unix)]
    {
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or_else(|| Path::new(".")));
        let _ = directory.and_then(|directory| directory.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}
