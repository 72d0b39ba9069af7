//! Network namespaces.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::not_tested;

/// A network namespace with a non-loopback address, removed when dropped.
pub struct Space(String);

impl Space {
    /// Returns `None`, and reports it, if namespaces are not available.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let space = Self(format!("looprtc-sp{}-{number}", std::process::id()));
        let name = &space.0;
        let commands = [
            format!("netns add {name}"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link add here type veth peer name there"),
            format!("-n {name} addr add 10.74.0.2/24 dev here"),
            format!("-n {name} link set here up"),
            format!("-n {name} link set there up"),
            format!("-n {name} route add default via 10.74.0.1"),
        ];
        for command in commands {
            let run = Command::new("ip").args(command.split(' ')).output();
            let why = match run {
                Ok(run) if run.status.success() => continue,
                Ok(run) => String::from_utf8_lossy(&run.stderr).into_owned(),
                Err(why) => why.to_string(),
            };
            not_tested(&format!("network namespaces: ip {command}: {why}"));
            return None;
        }
        Some(space)
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
