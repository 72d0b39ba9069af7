//! Notification of pages about stream changes by WebSocket. Pages notice the end of the connection when the server is
//! gone.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::server::http::WebSocketId;

/// Interval of the check for changes.
const INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Live {
    sockets: HashSet<WebSocketId>,
    /// Sockets that have not received the list yet.
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

    /// Returns the sockets that [`latest`](Self::latest) has to be sent to: all if it has changed, otherwise the new
    /// ones.
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
