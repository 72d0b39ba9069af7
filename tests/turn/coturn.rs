//! A real TURN server (coturn) for one test.
#![allow(
    dead_code,
    reason = "each of the tests that share this needs a part of it"
)]

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const USER: &str = "alice";
pub const PASSWORD: &str = "wonderland";
pub const SECRET: &str = "the service's secret";

pub struct Coturn {
    child: Child,
    pub address: IpAddr,
    pub port: u16,
    pub tls_port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

/// Returns `true` if it is installed. If not, reports it: a skipped test looks like one that has passed.
pub fn is_missing() -> bool {
    let found = Command::new("turnserver")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok() {
        return false;
    }
    let text = "coturn is not installed; run tests/setup";
    assert!(std::env::var_os("CI").is_none(), "{text}");
    eprintln!("\n*** NOT TESTED: {text} ***\n");
    true
}

impl Coturn {
    /// Starts a server with one user and these additional options.
    pub fn start(options: &[&str]) -> Self {
        let credentials = [
            "--lt-cred-mech".to_owned(),
            format!("--user={USER}:{PASSWORD}"),
        ];
        Self::start_with(&credentials, options)
    }

    /// Starts one at this address, for peers that do not offer loopback addresses.
    pub fn start_on(address: IpAddr) -> Self {
        let user = format!("--user={USER}:{PASSWORD}");
        Self::start_at(address, free_port(), &["--lt-cred-mech".into(), user], &[])
    }

    /// Starts a server that accepts time-limited credentials.
    pub fn start_rest() -> Self {
        let secret = format!("--static-auth-secret={SECRET}");
        Self::start_with(&["--use-auth-secret".into(), secret], &[])
    }

    fn start_with(credentials: &[String], options: &[&str]) -> Self {
        Self::start_at(
            Ipv4Addr::LOCALHOST.into(),
            free_port(),
            credentials,
            options,
        )
    }

    fn start_at(address: IpAddr, port: u16, credentials: &[String], options: &[&str]) -> Self {
        let tls_port = free_port();
        let fixed = "-n --no-cli --no-dtls --allow-loopback-peers --realm=test.example --log-file=stdout --simple-log -v \
                     --pidfile=/dev/null --no-multicast-peers";
        let mut child = Command::new("turnserver")
            .args(fixed.split_whitespace())
            .arg(format!("--listening-ip={address}"))
            .arg(format!("--relay-ip={address}"))
            .arg(format!("--listening-port={port}"))
            .arg(format!("--tls-listening-port={tls_port}"))
            .args(credentials)
            .args(options)
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
            address,
            port,
            tls_port,
            log,
        };
        assert!(
            server.wait_log("UDP listener opened on: ", 1, 10_000),
            "coturn did not come up: {:?}",
            server.log()
        );
        // It reports that shortly before it listens on TCP.
        thread::sleep(Duration::from_millis(200));
        server
    }

    /// Starts one in the place of a stopped one.
    pub fn start_again(port: u16) -> Self {
        let user = format!("--user={USER}:{PASSWORD}");
        let address = Ipv4Addr::LOCALHOST.into();
        Self::start_at(address, port, &["--lt-cred-mech".into(), user], &[])
    }

    pub fn url(&self, query: &str) -> String {
        format!("turn:{}:{}{query}", self.address, self.port)
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Returns the number of lines of its log that contain this.
    pub fn count(&self, text: &str) -> usize {
        self.log().iter().filter(|l| l.contains(text)).count()
    }

    /// Waits until this many lines contain it.
    pub fn wait_log(&self, text: &str, times: usize, milliseconds: u64) -> bool {
        let end = Instant::now() + Duration::from_millis(milliseconds);
        while Instant::now() < end {
            if self.count(text) >= times {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for line in self.log() {
                eprintln!("coturn: {line}");
            }
        }
    }
}

/// Returns a port that is free for UDP and TCP.
pub fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = udp.local_addr().expect("it is bound").port();
        // coturn uses the next one, too.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A certificate authority and a certificate issued by it for 127.0.0.1 and localhost, in a directory of their own.
pub struct Certificates {
    pub authority: Vec<u8>,
    directory: std::path::PathBuf,
}

impl Certificates {
    pub fn make() -> Self {
        let name = format!("looprtc-turn-{}-{}", std::process::id(), free_port());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory for certificates");
        let script = "set -e
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
            openssl req -newkey rsa:2048 -nodes -subj /CN=turn -keyout key.pem -out request.pem
            printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > names
            openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile names -out certificate.pem";
        let made = Command::new("sh")
            .args(["-c", script])
            .current_dir(&directory)
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl runs").success());
        let authority = std::fs::read(directory.join("ca.pem")).expect("it was written");
        Self {
            authority,
            directory,
        }
    }

    pub fn options(&self) -> [String; 2] {
        let path = |name| self.directory.join(name).display().to_string();
        [
            format!("--cert={}", path("certificate.pem")),
            format!("--pkey={}", path("key.pem")),
        ]
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
