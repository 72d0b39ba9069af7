//! What stands between this machine and the others, and what would get through.
//!
//!     cargo run --example which_nat -- stun.example.org:3478 stun.example.net:3478 --tcp turn.example.org:443
//!
//! Two STUN servers tell how the NAT *maps*: whether both see the same address (RFC 4787 §4.1, RFC 5780
//! §4.3). A server with two addresses (RFC 5780: coturn and others, if they are given two) tells how it
//! *filters*: whether answers from where nothing was sent to come in (§4.4). Both together say who can be
//! reached without a relay. `looprtc` itself needs none of this: it tries all paths and takes the best.

use std::error::Error;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;

#[path = "support/stun.rs"]
mod stun;

use stun::{OTHER_ADDRESS_AND_PORT, OTHER_PORT, SAME, TRIES, WAIT, ask};

const HELP: &str = "\
which_nat: what stands between this machine and the others

  which_nat SERVER... [--tcp HOST:PORT]...

  SERVER            STUN servers, HOST:PORT; two or more tell more
  --tcp HOST:PORT   where TCP might get through: a TURN server's port 443, say";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut servers, mut tcp) = (Vec::new(), Vec::new());
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Value(server) => servers.push(resolve(&server.string()?)?),
            Long("tcp") => tcp.push(resolve(&parser.value()?.string()?)?),
            _ => return Err(HELP.into()),
        }
    }
    let Some(first) = servers.first().copied() else {
        return Err(HELP.into());
    };
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let local = SocketAddr::new(local_address(first)?, socket.local_addr()?.port());
    println!("This machine sends from {local}");
    let mut seen = Vec::new();
    for server in &servers {
        match ask(&socket, *server, SAME) {
            Some(answer) => {
                println!("{server} sees {}", answer.mapped);
                seen.push(answer.mapped);
            }
            None => println!("{server} does not answer"),
        }
    }
    let mut through = Vec::new();
    for server in &tcp {
        let is_open = TcpStream::connect_timeout(server, WAIT * TRIES).is_ok();
        println!("TCP to {server}: {}", if is_open { "yes" } else { "no" });
        through.extend(is_open.then_some(server.to_string()));
    }
    let Some(mapped) = seen.first().copied() else {
        println!("UDP: no answer from any server, so a firewall stops it, or the servers are down");
        say_blocked(&through);
        return Ok(());
    };
    println!("UDP: yes");
    let is_natted = mapped != local;
    let is_same = seen.iter().all(|m| *m == mapped);
    let mapping = match (is_natted, is_same, seen.len()) {
        (false, true, _) => "none, the address is this machine's own",
        (_, false, _) => "endpoint-dependent, another port for each destination",
        (_, true, 1) => "unknown, that takes two servers that answer",
        (_, true, _) => "endpoint-independent, one port for all destinations",
    };
    println!("Mapping: {mapping}");
    let filtering = filtering(first)?;
    println!("Filtering: {}", filtering.describe());
    println!(
        "Hairpin: {}",
        if is_natted && hairpins(&socket, mapped)? {
            "yes"
        } else {
            "no"
        }
    );
    say_verdict(is_natted, is_same, filtering);
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Filtering {
    Independent,
    AddressDependent,
    AddressAndPortDependent,
    Unknown,
}

impl Filtering {
    fn describe(self) -> &'static str {
        match self {
            Self::Independent => "endpoint-independent, anybody may answer",
            Self::AddressDependent => "address-dependent, only whose address was sent to",
            Self::AddressAndPortDependent => "address- and port-dependent, only who was sent to",
            Self::Unknown => "unknown, the first server has no second address (RFC 5780)",
        }
    }
}

/// From a socket of its own: where that of the mapping has sent to, the NAT would let in.
fn filtering(server: SocketAddr) -> Result<Filtering, Box<dyn Error>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let can_change = ask(&socket, server, SAME).is_some_and(|a| a.has_other_address);
    let comes = |flags| ask(&socket, server, flags).is_some_and(|a| a.from != server);
    Ok(match () {
        () if !can_change => Filtering::Unknown,
        () if comes(OTHER_ADDRESS_AND_PORT) => Filtering::Independent,
        () if comes(OTHER_PORT) => Filtering::AddressDependent,
        () => Filtering::AddressAndPortDependent,
    })
}

/// Whether what is sent to the outer address of this machine comes back (RFC 4787 §6).
fn hairpins(socket: &UdpSocket, mapped: SocketAddr) -> Result<bool, Box<dyn Error>> {
    let other = UdpSocket::bind("0.0.0.0:0")?;
    let mut buffer = [0; 64];
    socket.set_read_timeout(Some(WAIT))?;
    for _ in 0..TRIES {
        other.send_to(b"hairpin?", mapped)?;
        if matches!(socket.recv_from(&mut buffer), Ok((8, _)) if buffer.starts_with(b"hairpin?")) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn say_verdict(is_natted: bool, is_same: bool, filtering: Filtering) {
    let open = filtering == Filtering::Independent;
    let (name, directly) = match (is_natted, is_same, open) {
        (false, _, true) => ("no NAT, and no firewall", "everybody whose UDP gets out"),
        (false, _, false) => (
            "no NAT, but perhaps a firewall",
            "everybody but who is behind a symmetric NAT",
        ),
        (true, true, true) => ("a full-cone NAT", "everybody whose UDP gets out"),
        (true, true, false) => (
            "a restricted NAT",
            "everybody but who is behind a symmetric NAT",
        ),
        (true, false, _) => (
            "a symmetric NAT",
            "who is behind no NAT, or a full-cone NAT",
        ),
    };
    println!("This is {name}.\nDirectly: {directly}\nThrough a relay (TURN): everybody else");
}

fn say_blocked(through: &[String]) {
    println!("This is a firewall that blocks UDP.\nDirectly: nobody");
    match through {
        [] => println!("Through a relay (TURN): only if TCP gets somewhere; try --tcp HOST:443"),
        open => println!(
            "Through a relay (TURN): everybody, by TCP or TLS to {}",
            open.join(", ")
        ),
    }
}

fn resolve(host: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let mut found = host.to_socket_addrs().map_err(|e| format!("{host}: {e}"))?;
    let v4 = found.find(SocketAddr::is_ipv4);
    v4.ok_or_else(|| format!("{host}: no IPv4 address").into())
}

/// The address that the system sends from. Nothing is sent.
fn local_address(to: SocketAddr) -> Result<IpAddr, Box<dyn Error>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    Ok(socket.local_addr()?.ip())
}
