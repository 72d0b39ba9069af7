//! Messages for people about a stream's source: notes, and failures without repetition.

use std::time::Duration;

/// Maximum number of notes per source. Further ones are dropped.
const MAX_NOTES: usize = 16;

/// Returns the remark that a track is left out, with advice.
pub(super) fn left_out(what: &str) -> String {
    let audio = [
        "AAC",
        "FLAC",
        "A_",
        "MP3",
        "MP4A",
        "Opus",
        "audio",
        "uncompressed",
    ];
    match audio.iter().any(|name| what.starts_with(name)) {
        true => format!(
            "{what} is left out: WebRTC carries Opus, G.711 and G.722. Convert it: \
             ffmpeg -i INPUT -c:v copy -c:a libopus -ac 2 OUTPUT.mkv"
        ),
        false => format!("{what} is left out: WebRTC does not carry it"),
    }
}

/// Notes about a source, and the last failure that was logged.
#[derive(Debug, Default)]
pub(super) struct Notices {
    notes: Vec<String>,
    logged: Option<String>,
}

impl Notices {
    /// Returns the notes in order.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Logs and stores a note about the source of `stream`. Returns `false` if it is known already, or there is no room
    /// for it.
    pub fn note(&mut self, stream: &str, note: String) -> bool {
        if self.notes.contains(&note) || self.notes.len() >= MAX_NOTES {
            return false;
        }
        log::warn!("stream {stream}: {note}");
        self.notes.push(note);
        true
    }

    /// Logs a failure of `stream`: as a warning, or at debug level if it repeats the last one.
    pub fn failed(&mut self, stream: &str, why: &str, again_in: Option<Duration>) {
        let level = match self.logged.as_deref() == Some(why) {
            true => log::Level::Debug,
            false => log::Level::Warn,
        };
        let again = again_in.map(|wait| format!("; again in {wait:?}"));
        let again = again.unwrap_or_default();
        log::log!(level, "stream {stream}: {why}{again}");
        self.logged = Some(why.to_owned());
    }

    /// Lets the next failure be logged as a warning, even if it is the same.
    pub fn recovered(&mut self) {
        self.logged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_kept_once_and_have_a_limit() {
        let mut notices = Notices::default();
        assert!(notices.note("a", "no audio".into()));
        assert!(!notices.note("a", "no audio".into()));
        let made = (0..100).filter(|n| notices.note("a", n.to_string()));
        assert_eq!(made.count(), MAX_NOTES - 1);
        assert_eq!(notices.notes().len(), MAX_NOTES);
    }
}
