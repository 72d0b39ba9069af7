//! Pages that are told of the streams as these change. That the line ends tells them at once when the server is gone.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::server::http::WebSocketId;

/// How often is looked whether something has changed.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Live {
    sockets: HashSet<WebSocketId>,
    /// Those that have not heard anything yet.
    new: Vec<WebSocketId>,
    latest: String,
    due: Option<Instant>,
}

impl Live {
    pub fn add(&mut self, socket: WebSocketId, now: Instant) {
        self.sockets.insert(socket);
        self.new.push(socket);
        self.due = Some(now);
    }

    pub fn remove(&mut self, socket: WebSocketId) {
        self.sockets.remove(&socket);
        self.new.retain(|new| *new != socket);
        if self.sockets.is_empty() {
            self.due = None;
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// To whom [`latest`](Self::latest) is to be sent: to all when it has changed, else to those that are new.
    pub fn news(&mut self, text: String, now: Instant) -> Vec<WebSocketId> {
        self.due = Some(now + INTERVAL);
        let new = std::mem::take(&mut self.new);
        if text == self.latest {
            return new;
        }
        self.latest = text;
        self.sockets.iter().copied().collect()
    }

    pub fn latest(&self) -> &str {
        &self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told() {
        let (a, b) = (WebSocketId(1), WebSocketId(2));
        let mut now = Instant::now();
        let mut live = Live::default();
        assert!(!live.is_due(now));
        live.add(a, now);
        assert!(live.is_due(now));
        assert_eq!(live.news("one".into(), now), [a]);
        assert!(!live.is_due(now));
        now += INTERVAL;
        assert!(live.is_due(now));
        assert!(live.news("one".into(), now).is_empty());
        live.add(b, now);
        assert_eq!(live.news("one".into(), now), [b]);
        assert_eq!(live.news("two".into(), now).len(), 2);
        live.remove(a);
        live.remove(b);
        assert_eq!(live.next_deadline(), None);
    }
}
