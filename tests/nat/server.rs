//! coturn as STUN and TURN server of a lab: UDP and TCP on 3478, TLS on 443.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use looprtc::proto::ice::IceServer;

use crate::lab::Lab;

const USER: &str = "alice";
const PASSWORD: &str = "wonderland";
pub const IP: &str = "203.0.113.10";

pub struct Coturn {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub certificates: Certificates,
}

impl Coturn {
    pub fn start(lab: &Lab, options: &[&str]) -> Self {
        Self::start_with(lab, Certificates::make(), options)
    }

    pub fn start_with(lab: &Lab, certificates: Certificates, options: &[&str]) -> Self {
        // The program itself is a child of this process, so that it can be stopped: `ip netns exec` replaces itself
        // with it.
        let mut command = lab.command("srv", "turnserver");
        command
            .args("-n --no-cli --no-dtls --listening-port=3478 --tls-listening-port=443".split(' '))
            // With two addresses it can report how a NAT filters (RFC 5780).
            .args("--listening-ip=203.0.113.10 --listening-ip=203.0.113.20".split(' '))
            .args("--relay-ip=203.0.113.10 --realm=test.example --lt-cred-mech".split(' '))
            .args("--log-file=stdout --simple-log -v --pidfile=/dev/null".split(' '))
            .arg(format!("--user={USER}:{PASSWORD}"))
            .arg(format!("--cert={}", certificates.path("certificate.pem")))
            .arg(format!("--pkey={}", certificates.path("key.pem")))
            .args(options);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("coturn starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let lines = log.clone();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let server = Self {
            child,
            log,
            certificates,
        };
        let is_up = server.wait_log("UDP listener opened on: 203.0.113.10:3478", 10_000);
        assert!(is_up, "coturn did not come up: {:?}", server.log());
        // It reports that shortly before it listens on TCP.
        thread::sleep(Duration::from_millis(200));
        server
    }

    /// Kills it, and starts another one in its place after this time.
    pub fn restart(mut self, lab: &Lab, after: Duration) -> Self {
        self.kill();
        thread::sleep(after);
        let certificates = std::mem::take(&mut self.certificates);
        Self::start_with(lab, certificates, &[])
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn count(&self, text: &str) -> usize {
        self.log().iter().filter(|l| l.contains(text)).count()
    }

    pub fn wait_log(&self, text: &str, milliseconds: u64) -> bool {
        self.wait_until(milliseconds, |s| s.count(text) > 0)
    }

    /// Returns the number of allocations created and not released.
    pub fn allocations(&self) -> usize {
        // coturn logs "new", and "delete" when a session ends for any reason.
        let made = self.count("ALLOCATE processed, success");
        made.saturating_sub(self.count("delete: realm"))
    }

    pub fn wait_until(&self, milliseconds: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end {
            if done(self) {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Returns its memory use in KiB.
    pub fn resident(&self) -> u64 {
        resident(self.child.id())
    }
}

/// Returns the VmRSS of a process, in KiB.
pub fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    let number = line.and_then(|l| l.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Returns everything that the server offers. The rest of the test determines how much of it is used.
pub fn ice_servers() -> Vec<IceServer> {
    let turn = |url: String| IceServer::turn(url, USER, PASSWORD);
    let mut servers = vec![
        IceServer::stun(format!("stun:{IP}")),
        turn(format!("turn:{IP}")),
        turn(format!("turn:{IP}?transport=tcp")),
    ];
    if cfg!(feature = "tls") {
        servers.push(turn(format!("turns:{IP}:443?transport=tcp")));
    }
    servers
}

/// The same for peers controlled by JSON; they do not trust our certificates, so port 443 is TCP without TLS.
pub fn ice_servers_json() -> String {
    let turn = |of: &str| {
        format!(r#"{{"urls":["turn:{IP}:{of}"],"username":"{USER}","credential":"{PASSWORD}"}}"#)
    };
    let turns = ["3478", "3478?transport=tcp", "443?transport=tcp"].map(turn);
    format!(r#"[{{"urls":["stun:{IP}:3478"]}},{}]"#, turns.join(","))
}

impl Drop for Coturn {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            for line in self.log() {
                eprintln!("coturn: {line}");
            }
        }
    }
}

/// A certificate authority and a server certificate issued by it, in a directory of their own.
#[derive(Debug, Default)]
pub struct Certificates {
    pub authority: Vec<u8>,
    directory: std::path::PathBuf,
}

impl Certificates {
    fn make() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("looprtc-nat-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory for certificates");
        let script = "set -e
            new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
            openssl req -x509 $new -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
            openssl req $new -subj /CN=turn -keyout key.pem -out request.pem
            printf 'subjectAltName=IP:203.0.113.10' > names
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile names -out certificate.pem";
        let made = std::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(&directory)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl runs").success());
        Self {
            authority: std::fs::read(directory.join("ca.pem")).expect("it was written"),
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        if !self.directory.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
