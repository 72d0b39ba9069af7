//! Host name resolution without blocking the loop: the system's resolver on a few threads.
//!
//! Threads are started on demand, at most [`MAX_THREADS`]; concurrent lookups of a name are merged, and answers are
//! cached for a while.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::handle::LoopHandle;
use super::peers::PeerId;
use super::tcp_config::TcpId;

/// Maximum number of concurrent lookups. The system's resolver may take half a minute for a name that does not answer.
const MAX_THREADS: usize = 4;

/// Maximum number of queued names; further lookups fail at once.
const MAX_QUEUE: usize = 256;

/// Lifetime of a cached answer. The system does not report the TTL.
const FRESH: Duration = Duration::from_secs(60);

/// Maximum number of cached answers; beyond it the cache is cleared.
const MAX_CACHE: usize = 1024;

/// The addresses of a host, or an error message.
pub(super) type Lookup = Result<Vec<IpAddr>, String>;

/// One that waits for the addresses of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    Peer(PeerId),
    /// A connection of the application.
    Connection(TcpId),
}

/// Resolver of one loop.
pub(super) struct Resolver {
    handle: LoopHandle,
    names: SyncSender<String>,
    queue: Arc<Mutex<Receiver<String>>>,
    found: Receiver<(String, Lookup)>,
    finder: Sender<(String, Lookup)>,
    waiting: HashMap<String, Vec<Waiter>>,
    cache: HashMap<String, (Instant, Vec<IpAddr>)>,
    threads: usize,
}

impl Resolver {
    /// Creates a resolver that wakes this loop when an answer arrives.
    pub fn new(handle: LoopHandle) -> Self {
        let (names, queue) = sync_channel(MAX_QUEUE);
        let (finder, found) = channel();
        Self {
            handle,
            names,
            queue: Arc::new(Mutex::new(queue)),
            found,
            finder,
            waiting: HashMap::new(),
            cache: HashMap::new(),
            threads: 0,
        }
    }

    /// Resolves a name. Returns a cached answer at once; others are returned by [`found`](Self::found).
    pub fn resolve(&mut self, host: &str, waiter: Waiter, now: Instant) -> Option<Lookup> {
        if let Some((at, addresses)) = self.cache.get(host)
            && now < *at + FRESH
        {
            return Some(Ok(addresses.clone()));
        }
        if let Some(waiting) = self.waiting.get_mut(host) {
            waiting.push(waiter);
            return None;
        }
        match self.names.try_send(host.to_owned()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                return Some(Err(format!("{MAX_QUEUE} names are waiting already")));
            }
        }
        self.waiting.insert(host.to_owned(), vec![waiter]);
        if self.threads < MAX_THREADS && self.threads < self.waiting.len() {
            self.start_thread();
        }
        None
    }

    /// Returns the next answer, and those that wait for it.
    pub fn found(&mut self, now: Instant) -> Option<(String, Lookup, Vec<Waiter>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let (host, lookup) = self.found.try_recv().ok()?;
        if let Ok(addresses) = &lookup {
            if self.cache.len() >= MAX_CACHE {
                self.cache.clear();
            }
            self.cache.insert(host.clone(), (now, addresses.clone()));
        }
        let waiting = self.waiting.remove(&host).unwrap_or_default();
        Some((host, lookup, waiting))
    }

    fn start_thread(&mut self) {
        let (queue, finder) = (self.queue.clone(), self.finder.clone());
        let handle = self.handle.clone();
        let run = move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                // The loop was dropped.
                let Ok(host) = next else { return };
                let lookup = look_up(&host);
                if finder.send((host, lookup)).is_err() {
                    return;
                }
                handle.notify();
            }
        };
        match thread::Builder::new().name("resolver".into()).spawn(run) {
            Ok(_) => self.threads += 1,
            Err(e) => log::error!("starting a thread for the resolver: {e}"),
        }
    }
}

fn look_up(host: &str) -> Lookup {
    let mut addresses = Vec::new();
    for address in (host, 0).to_socket_addrs().map_err(|e| e.to_string())? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use mio::{Poll, Token};

    use super::super::{EventLoop, LoopConfig};
    use super::*;
    use crate::proto::peer::PeerConfig;

    fn peer() -> Waiter {
        let mut net = EventLoop::new(LoopConfig::default()).unwrap();
        Waiter::Peer(net.add_peer(PeerConfig::default()).unwrap())
    }

    fn resolver() -> Resolver {
        let poll = Poll::new().unwrap();
        let waker = super::super::handle::waker(poll.registry(), Token(0)).unwrap();
        Resolver::new(LoopHandle::new(waker, 1))
    }

    #[test]
    fn names_that_wait_have_a_limit() {
        let (mut resolver, peer, now) = (resolver(), peer(), Instant::now());
        // As if all threads were busy.
        resolver.threads = MAX_THREADS;
        for n in 0..MAX_QUEUE {
            assert_eq!(resolver.resolve(&format!("{n}.test"), peer, now), None);
        }
        // A second request for a name waits for the same answer.
        assert_eq!(resolver.resolve("0.test", peer, now), None);
        let refused = resolver.resolve("more.test", peer, now).unwrap();
        assert!(refused.unwrap_err().contains("256 names are waiting"));
        assert_eq!(resolver.waiting.len(), MAX_QUEUE);
    }

    #[test]
    fn threads_have_a_limit() {
        let (mut resolver, peer, now) = (resolver(), peer(), Instant::now());
        for n in 0..20 {
            resolver.resolve(&format!("127.0.0.{n}"), peer, now);
        }
        assert_eq!(resolver.threads, MAX_THREADS);
        let end = Instant::now() + Duration::from_secs(20);
        let mut found = 0;
        while found < 20 {
            assert!(Instant::now() < end, "{found} found");
            match resolver.found(now) {
                Some((_, lookup, peers)) => {
                    assert_eq!((lookup.unwrap().len(), peers.len()), (1, 1));
                    found += 1;
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
        // It is cached for a while.
        assert!(resolver.resolve("127.0.0.3", peer, now).is_some());
        assert!(resolver.resolve("127.0.0.3", peer, now + FRESH).is_none());
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let (mut resolver, now) = (resolver(), Instant::now());
        resolver.waiting.insert("somebody waits".into(), Vec::new());
        for n in 0..=MAX_CACHE {
            let answer = (format!("{n}.test"), Ok(vec!["192.0.2.1".parse().unwrap()]));
            resolver.finder.send(answer).unwrap();
            assert!(resolver.found(now).is_some());
            assert!(resolver.cache.len() <= MAX_CACHE);
        }
        assert_eq!(resolver.cache.len(), 1);
    }
}
