//! A machine with two networks, another one with one network, a router between them, in network namespaces; and coturn.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use looprtc::proto::ice::IceServer;

/// Three namespaces, removed when dropped.
pub struct Lab {
    name: String,
}

impl Lab {
    /// Returns `None`, and reports it, if namespaces are not available.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("looprtc-nc{}-{number}", std::process::id());
        let lab = Self { name };
        match lab.build() {
            Ok(()) => Some(lab),
            Err(why) => {
                eprintln!("\nNOT TESTED: network namespaces: {why}\n");
                assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        for host in ["a", "r", "b"] {
            run(&["netns", "add", &self.space(host)])?;
            self.ip(host, "link set lo up")?;
        }
        for (host, link, net) in [("a", "wifi0", 1), ("a", "lte0", 2), ("b", "eth0", 3)] {
            let (here, there) = (self.space(host), self.space("r"));
            let router = format!("r{net}");
            let words = ["link", "add", link, "netns", &here, "type", "veth"];
            run(&[&words[..], &["peer", "name", &router, "netns", &there]].concat())?;
            self.ip("r", &format!("addr add 10.71.{net}.1/24 dev {router}"))?;
            self.ip("r", &format!("link set {router} up"))?;
            self.ip(host, &format!("addr add 10.71.{net}.2/24 dev {link}"))?;
            self.ip(host, &format!("link set {link} up"))?;
        }
        self.ip("b", "route add default via 10.71.3.1")?;
        self.ip("a", "route add default via 10.71.1.1 metric 100")?;
        self.ip("a", "route add default via 10.71.2.1 metric 200")?;
        let command = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        run(&["netns", "exec", &self.space("r"), "sh", "-c", command])?;
        // The kernel takes a moment to report both ends of a cable as up.
        thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    /// Returns the command prefix that runs a command there.
    pub fn prefix(&self, host: &str) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.space(host)];
        words.map(str::to_owned).to_vec()
    }

    /// The prefix of its namespaces' names.
    #[cfg(feature = "cli")]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn space(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    fn ip(&self, host: &str, words: &str) -> Result<(), String> {
        let space = self.space(host);
        let mut all = vec!["-n", &space];
        all.extend(words.split_whitespace());
        run(&all)
    }

    pub fn must(&self, host: &str, words: &str) {
        self.ip(host, words).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in ["a", "r", "b"] {
            let _ = run(&["netns", "del", &self.space(host)]);
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output();
    let output = output.map_err(|e| format!("ip: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// Starts coturn on the router.
pub struct Turn(Child);

impl Turn {
    pub fn start(lab: &Lab) -> Option<Self> {
        let options = "-n --no-cli --no-dtls --no-tls --listening-ip=10.71.3.1 --relay-ip=10.71.3.1 \
                       --listening-port=3478 --realm=test.example --log-file=stdout --simple-log \
                       --pidfile=/dev/null --lt-cred-mech --user=alice:wonderland";
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.space("r"), "turnserver"])
            .args(options.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let found = Command::new("turnserver")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match (found, child) {
            (Ok(_), Ok(child)) => {
                let server = Self(child);
                // A request sent too early is retransmitted (RFC 8489 §6.2.1).
                thread::sleep(Duration::from_millis(500));
                Some(server)
            }
            _ => {
                let why = "coturn is not installed; run tests/setup";
                eprintln!("\n*** NOT TESTED: {why} ***\n");
                assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
                None
            }
        }
    }

    pub fn ice_server(&self) -> IceServer {
        IceServer::turn("turn:10.71.3.1:3478", "alice", "wonderland")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
