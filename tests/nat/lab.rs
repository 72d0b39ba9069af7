//! Network namespaces with NATs between them, created by the script `tests/nat/lab`.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The NAT in front of a client. `tests/nat/lab` explains each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    None,
    Cone,
    Hairpin,
    PortRestricted,
    Symmetric,
    UdpBlocked,
    TcpCone,
    TcpOnly,
    Tcp443,
}

impl Kind {
    /// The kinds of the matrix.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Cone,
        Self::PortRestricted,
        Self::Symmetric,
        Self::UdpBlocked,
        Self::Tcp443,
    ];

    /// Its name in the script.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cone => "cone",
            Self::Hairpin => "hairpin",
            Self::PortRestricted => "masq",
            Self::Symmetric => "sym",
            Self::UdpBlocked => "udpblock",
            Self::TcpCone => "tcpcone",
            Self::TcpOnly => "tcponly",
            Self::Tcp443 => "tcp443",
        }
    }

    pub fn lets_udp_out(self) -> bool {
        !matches!(
            self,
            Self::UdpBlocked | Self::TcpCone | Self::TcpOnly | Self::Tcp443
        )
    }
}

/// The location of an address in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A client's own address.
    Host,
    /// Its router's address.
    Nat,
    /// The server's address.
    Relay,
}

pub fn whose(address: SocketAddr) -> Whose {
    match address.ip() {
        IpAddr::V4(ip) if ip.octets()[0] == 10 => Whose::Host,
        IpAddr::V4(ip) if matches!(ip.octets(), [203, 0, 113, 11 | 12]) => Whose::Nat,
        IpAddr::V4(ip) if matches!(ip.octets(), [203, 0, 113, 10 | 20]) => Whose::Relay,
        ip => panic!("{ip} is nobody's"),
    }
}

/// Labs run one at a time, so that they do not disturb each other's measurements.
static TURN: Mutex<()> = Mutex::new(());

pub struct Lab {
    id: String,
    _turn: MutexGuard<'static, ()>,
}

/// Returns `true` if labs can be created here. If not, reports it, and fails the test in CI.
pub fn ready() -> bool {
    let check = Command::new(script())
        .arg("--check")
        .stdin(Stdio::null())
        .output();
    let why = match check {
        Ok(output) if output.status.success() => return server_ready(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(e) => format!("{}: {e}", script().display()),
    };
    not_tested(&why)
}

fn server_ready() -> bool {
    let found = Command::new("turnserver")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok() || not_tested("coturn is not installed; run tests/setup")
}

/// A skipped test looks like one that has passed.
pub fn not_tested(why: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "NOT TESTED: {why}");
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("\n########## NOT TESTED behind NATs: {why} ##########\n\n"),
    );
    false
}

fn script() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "nat", "lab"]
        .iter()
        .collect()
}

impl Lab {
    pub fn new(a: Kind, b: Kind) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let _ = env_logger::builder().is_test(true).try_init();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let lab = Self {
            id: format!("{}-{count}", std::process::id()),
            _turn: turn,
        };
        let made = Command::new(script())
            .args(["up", &lab.id, a.name(), b.name()])
            .output()
            .expect("the script runs");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "{said}");
        lab
    }

    /// Returns the namespace of `a`, `b` or `srv`.
    pub fn space(&self, name: &str) -> String {
        format!("looprtc-nat-{}-{name}", self.id)
    }

    /// Returns the command prefix that runs a command there.
    pub fn prefix(&self, name: &str) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.space(name)];
        words.map(str::to_owned).to_vec()
    }

    pub fn command(&self, name: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space(name), program]);
        command
    }
}

/// Moves the calling thread into this namespace permanently. Threads started by it are there, too.
pub fn enter(space: &str) {
    let file = File::open(format!("/run/netns/{space}")).expect("the namespace is there");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = Command::new(script()).args(["down", &self.id]).status();
    }
}
