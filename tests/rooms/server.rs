//! A gateway on a thread of its own, optionally in a network namespace.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use looprtc::server::gateway::{Gateway, GatewayConfig};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A running server, stopped when dropped.
pub struct Server {
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Starts it in this network namespace, if one is named.
    pub fn start(space: Option<String>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let is_over = over.clone();
        thread::spawn(move || {
            if let Some(space) = space {
                let file = File::open(format!("/run/netns/{space}")).expect("the namespace");
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), kind).expect("the right to enter it");
            }
            let config = GatewayConfig::default().listen(([127, 0, 0, 1], 0).into());
            let mut gateway = Gateway::new(config).unwrap();
            tell.send(gateway.local_addr()).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                gateway.run_once(Duration::from_millis(100)).unwrap();
            }
        });
        Self {
            address: told.recv().unwrap(),
            over,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
