//! `looprtc turn`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use looprtc::server::turn::{
    Credentials, Listening, PeerPolicy, TlsIdentity, Transport, TurnLimits, TurnMachineConfig,
    TurnServer, TurnServerConfig, TurnStats, rest_password,
};

use crate::Usage;

const HELP: &str = "\
A STUN and TURN server: tells peers how the world sees them, and relays for those
that cannot reach each other.

usage: looprtc turn [OPTIONS]

who may use it (one of these at least)
  --user NAME:PASSWORD     may relay; can be given several times
  --secret TEXT            for time-limited credentials, which a web service makes:
  --secret-file FILE       username EXPIRY:NAME (seconds since 1970), password
                           base64(HMAC-SHA1(secret, username))
  --stun-only              nobody relays; STUN is for all
  --realm NAME             shown to clients [looprtc]

where it listens
  --listen ADDRESS[:PORT]  for UDP and TCP; several times for several
                           [0.0.0.0:3478 and [::]:3478]
  --no-tcp                 for UDP only
  --tls ADDRESS[:PORT]     for TLS, port 5349 unless given; 443 passes most firewalls
  --certificate FILE       PEM, the server's certificate first
  --key FILE               PEM

from where it relays
  --relay ADDRESS          bind relays to this address; one for IPv4, one for IPv6
                           [the address at which the client reached the server]
  --external ADDRESS       what clients are told instead: behind a router that maps
                           its address to this machine's (as in most clouds)
  --ports FIRST-LAST       the ports of relays, to be opened in a firewall for UDP
                           [any that the system has]

to where it relays: to public addresses only, unless told otherwise
  --allow-peer RANGE       also to these, as 10.0.0.0/8; several times for several
  --deny-peer RANGE        not to these, whatever else is said
                           An IPv4 address inside an IPv6 one (NAT64, 6to4, Teredo)
                           counts as itself; ::ffff:0:0/96 is never relayed to.

how much it gives
  --max-allocations N      relays at once [4096]
  --per-user N             of one user [64]
  --per-address N          of one client address, or IPv6 network of 64 bits [64]
  --bandwidth BYTES        a second, for each relay and direction; what is above it
                           is dropped [no limit]
  --lifetime SECONDS       of a relay that is not refreshed [600]
  --max-lifetime SECONDS   that a client can ask for at once [3600]
  --nonce-lifetime SECONDS until a client has to sign anew [3600]

  --stats SECONDS          print counters every so often

RUST_LOG=info shows relays as they come and go, debug every refusal. Ctrl-C ends it.

examples
  looprtc turn --user alice:wonderland
  looprtc turn --secret-file /etc/turn.secret --external 198.51.100.7 --ports 50000-50999
  looprtc turn --user a:b --tls 0.0.0.0:443 --certificate chain.pem --key key.pem
  looprtc turn --user a:b --listen 127.0.0.1 --allow-peer 127.0.0.0/8       to try it

exit status: 0 when ended by a signal, 1 when it cannot run, 2 when the options
are wrong.";

/// How long a call of the loop waits at most: until then a signal that came at the wrong moment goes unseen.
const LOOK_UP: Duration = Duration::from_secs(1);

pub fn run(mut args: lexopt::Parser) -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut o = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            Long("user") => o.add_user(&args.value()?.string()?)?,
            Long("secret") => o.secret(args.value()?.string()?.into_bytes())?,
            Long("secret-file") => {
                let text = read(&args.value()?.string()?)?;
                o.secret(text.trim_ascii().to_vec())?;
            }
            Long("stun-only") => o.stun_only = true,
            Long("realm") => o.realm = args.value()?.string()?,
            Long("listen") => o.listen.push(address(&args.value()?.string()?, 3478)?),
            Long("no-tcp") => o.no_tcp = true,
            Long("tls") => o.tls.push(address(&args.value()?.string()?, 5349)?),
            Long("certificate") => o.certificate = Some(args.value()?.string()?),
            Long("key") => o.key = Some(args.value()?.string()?),
            Long("relay") => o.relay.push(args.value()?.parse()?),
            Long("external") => o.external.push(args.value()?.parse()?),
            Long("ports") => o.ports = Some(ports(&args.value()?.string()?)?),
            Long("allow-peer") => o.peers = o.peers.allow(args.value()?.parse()?),
            Long("deny-peer") => o.peers = o.peers.deny(args.value()?.parse()?),
            Long("max-allocations") => o.limits.allocations = args.value()?.parse()?,
            Long("per-user") => o.limits.per_user = args.value()?.parse()?,
            Long("per-address") => o.limits.per_address = args.value()?.parse()?,
            Long("bandwidth") => o.limits.bytes_per_second = Some(args.value()?.parse()?),
            Long("lifetime") => o.limits.lifetime = seconds(args.value()?.parse()?),
            Long("max-lifetime") => o.limits.max_lifetime = seconds(args.value()?.parse()?),
            Long("nonce-lifetime") => o.limits.nonce_lifetime = seconds(args.value()?.parse()?),
            Long("stats") => o.stats = Some(seconds(args.value()?.parse()?)),
            Short('h') | Long("help") => {
                say!("{HELP}");
                return Ok(());
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let stats = o.stats;
    let mut server = TurnServer::new(o.config()?)?;
    o.announce(server.listening());
    serve(&mut server, stats)
}

fn serve(server: &mut TurnServer, every: Option<Duration>) -> Result<(), Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let mut due = every.map(|every| Instant::now() + every);
    while !stop.load(Ordering::Relaxed) {
        let until = due.map(|due| due.saturating_duration_since(Instant::now()));
        server.turn(Some(until.unwrap_or(LOOK_UP).min(LOOK_UP)))?;
        if let (Some(at), Some(every)) = (due, every)
            && Instant::now() >= at
        {
            due = Some(at + every);
            print(&server.stats());
        }
    }
    print(&server.stats());
    Ok(())
}

fn print(s: &TurnStats) {
    say!(
        "allocations {} (made {}, expired {}), relayed to peers {} ({} bytes), to clients {} ({} bytes)",
        s.allocations,
        s.allocated,
        s.expired,
        s.to_peers,
        s.bytes_to_peers,
        s.to_clients,
        s.bytes_to_clients
    );
    say!(
        "bindings {}, denied {}, refused {} (peer addresses {}), dropped: no permission {}, bandwidth {}, \
         queue {}, unanswered {}, malformed {}",
        s.bindings,
        s.denied,
        s.refused,
        s.forbidden_peers,
        s.not_permitted,
        s.over_bandwidth,
        s.over_queue,
        s.unanswered,
        s.malformed
    );
}

struct Options {
    credentials: Credentials,
    /// As given, for the first line of what a page needs.
    first_user: Option<String>,
    stun_only: bool,
    realm: String,
    listen: Vec<SocketAddr>,
    no_tcp: bool,
    tls: Vec<SocketAddr>,
    certificate: Option<String>,
    key: Option<String>,
    relay: Vec<IpAddr>,
    external: Vec<IpAddr>,
    ports: Option<RangeInclusive<u16>>,
    peers: PeerPolicy,
    limits: TurnLimits,
    stats: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        let machine = TurnMachineConfig::default();
        Self {
            credentials: machine.credentials,
            first_user: None,
            stun_only: false,
            realm: machine.realm,
            listen: Vec::new(),
            no_tcp: false,
            tls: Vec::new(),
            certificate: None,
            key: None,
            relay: Vec::new(),
            external: Vec::new(),
            ports: None,
            peers: machine.peers,
            limits: machine.limits,
            stats: None,
        }
    }
}

impl Options {
    fn add_user(&mut self, text: &str) -> Result<(), Usage> {
        let Some((name, password)) = text.split_once(':') else {
            return Err(Usage("--user wants NAME:PASSWORD".into()));
        };
        if name.is_empty() || password.is_empty() {
            return Err(Usage(
                "--user wants NAME:PASSWORD, neither of them empty".into(),
            ));
        }
        self.first_user.get_or_insert_with(|| name.to_owned());
        self.credentials = std::mem::take(&mut self.credentials).user(name, password);
        Ok(())
    }

    fn secret(&mut self, secret: Vec<u8>) -> Result<(), Usage> {
        if secret.is_empty() {
            return Err(Usage(
                "the secret is empty: anybody could make credentials".into(),
            ));
        }
        self.credentials = std::mem::take(&mut self.credentials).secret(secret);
        Ok(())
    }

    fn config(&self) -> Result<TurnServerConfig, Box<dyn Error>> {
        if self.credentials.is_empty() && !self.stun_only {
            let text = "nobody may relay: give --user NAME:PASSWORD or --secret TEXT, or --stun-only if that is meant";
            return Err(Usage(text.into()).into());
        }
        if self.stun_only && !self.credentials.is_empty() {
            return Err(Usage("--stun-only does not go with --user and --secret".into()).into());
        }
        let machine = TurnMachineConfig::default()
            .realm(self.realm.clone())
            .credentials(self.credentials.clone())
            .peers(self.peers.clone())
            .limits(self.limits.clone());
        let mut config = TurnServerConfig::default()
            .machine(machine)
            .tls(self.tls.clone())
            .identity(self.identity()?)
            .relay(self.relay.clone())
            .external(self.external.clone())
            .ports(self.ports.clone());
        if !self.listen.is_empty() {
            config = config.udp(self.listen.clone()).tcp(self.listen.clone());
        }
        if self.no_tcp {
            config = config.tcp(Vec::new());
        }
        Ok(config)
    }

    fn identity(&self) -> Result<Option<TlsIdentity>, Box<dyn Error>> {
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) if !self.tls.is_empty() => {
                let identity = TlsIdentity::from_pem(&read(certificate)?, &read(key)?);
                Ok(Some(
                    identity.map_err(|e| format!("{certificate}, {key}: {e}"))?,
                ))
            }
            (None, None) if self.tls.is_empty() => Ok(None),
            _ => {
                let text = "--tls, --certificate and --key go together: all three, or none";
                Err(Usage(text.into()).into())
            }
        }
    }

    /// Says where it listens, and what a page needs.
    fn announce(&self, listening: &[Listening]) {
        let mut urls = Vec::new();
        for Listening { transport, address } in listening {
            say!("listening at {} {address}", name(*transport));
            let host = self.host(address.ip());
            let at = SocketAddr::new(host, address.port());
            let url = match transport {
                _ if self.stun_only && *transport != Transport::Udp => continue,
                Transport::Udp if self.stun_only => format!("stun:{at}"),
                Transport::Udp => format!("turn:{at}"),
                Transport::Tcp => format!("turn:{at}?transport=tcp"),
                Transport::Tls => format!("turns:{at}"),
            };
            if !host.is_unspecified() && !urls.contains(&url) {
                urls.push(url);
            }
        }
        let urls: Vec<_> = urls.iter().map(|url| format!("\"{url}\"")).collect();
        say!("");
        say!("iceServers: [{{");
        say!("  urls: [{}],", urls.join(", "));
        self.announce_credential();
        say!("}}]");
        if !self.tls.is_empty() {
            say!("(for turns: put the name that the certificate is for in place of the address)");
        }
        let own = self.relay.iter().chain(&self.external).copied();
        let own = own.chain(listening.iter().map(|l| self.host(l.address.ip())));
        let private = own
            .filter(|ip| !ip.is_unspecified())
            .find(|ip| !self.peers.permits(*ip));
        if let Some(ip) = private.filter(|_| !self.stun_only) {
            say!("");
            say!(
                "{ip} is not a public address: peers there, two that both relay among them, are reached"
            );
            say!("only with --allow-peer {ip}.");
        }
    }

    fn announce_credential(&self) {
        if let Some(user) = &self.first_user {
            say!("  username: \"{user}\", credential: \"(the password of {user})\",");
        } else if let Some(secret) = &self.credentials.secret {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let until = now.map_or(0, |now| now.as_secs()) + 24 * 3600;
            let username = format!("{until}:test");
            let password = rest_password(secret, &username);
            say!("  username: \"{username}\", credential: \"{password}\",   // for a day");
        }
    }

    /// The address that clients use for one that we listen at.
    fn host(&self, ip: IpAddr) -> IpAddr {
        let told = self.external.iter().find(|e| e.is_ipv4() == ip.is_ipv4());
        if let Some(external) = told {
            return *external;
        }
        if !ip.is_unspecified() {
            return ip;
        }
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let mut usable = interfaces
            .iter()
            .filter(|i| !i.is_loopback() && !i.is_link_local());
        let found = usable.find(|i| i.ip().is_ipv4() == ip.is_ipv4());
        found.map_or(ip, |i| i.ip())
    }
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{path}: {e}"))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn address(text: &str, port: u16) -> Result<SocketAddr, Usage> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match (text.parse(), bare.parse()) {
        (Ok(address), _) => Ok(address),
        (_, Ok(ip)) => Ok(SocketAddr::new(ip, port)),
        _ => Err(Usage(format!(
            "{text:?} is no address: expected one as 192.0.2.7, 192.0.2.7:{port} or [2001:db8::7]:{port}"
        ))),
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, Usage> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    range.ok_or_else(|| {
        Usage(format!(
            "--ports {text:?}: expected FIRST-LAST, as 50000-50999"
        ))
    })
}
