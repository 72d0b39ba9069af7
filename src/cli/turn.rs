//! `looprtc turn`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use looprtc::server::turn::{
    Cidr, Credentials, Listening, PeerPolicy, TlsIdentity, Transport, TurnLimits,
    TurnMachineConfig, TurnServer, TurnServerConfig, TurnStats, rest_password,
};

use clap::{Arg, ArgMatches, Command, value_parser};

use super::page::Page;
use super::{Entry, Outcome, flag, list, option, value, values};
use crate::Usage;

pub const ENTRY: Entry = Entry {
    name: "turn",
    options,
    page: &Page {
        about: "Runs a STUN and TURN server: tells peers their public addresses, and relays for peers that cannot reach \
             each other.",
        notes: &[
            "Time-limited credentials are created by a web service from the secret: the username is EXPIRY:NAME (EXPIRY in \
             seconds since 1970), the password base64(HMAC-SHA1(secret, username)).",
            "RUST_LOG=info logs relays as they come and go, debug every refusal. Ctrl-C stops the server.",
        ],
        examples: &[
            ("looprtc turn --user alice:wonderland", "one user"),
            (
                "looprtc turn --secret-file /etc/turn.secret --external 198.51.100.7 --ports 50000-50999",
                "behind a router that maps its address to this machine's",
            ),
            (
                "looprtc turn --user a:b --tls 0.0.0.0:443 --certificate chain.pem --key key.pem",
                "port 443 passes most firewalls",
            ),
            (
                "looprtc turn --user a:b --listen 127.0.0.1 --allow-peer 127.0.0.0/8",
                "to try it on one machine",
            ),
        ],
        exit: &[
            ("0", "stopped by a signal"),
            ("1", "it could not run; the last line says why"),
            ("2", "the options are wrong"),
        ],
    },
    run,
};

/// Maximum wait of one loop call: a signal that arrives at the wrong moment is noticed after it.
const LOOK_UP: Duration = Duration::from_secs(1);

fn options(command: Command) -> Command {
    command
        .about("Run a STUN and TURN server")
        .next_help_heading("Users (at least one of these)")
        .args(who())
        .next_help_heading("Addresses it listens at")
        .args(listens())
        .next_help_heading("Addresses it relays from")
        .args(relays())
        .next_help_heading("Addresses it relays to (default: public ones only)")
        .arg(list("allow-peer", "RANGE", "Relay to this range too, for example 10.0.0.0/8")
            .value_parser(value_parser!(Cidr)))
        .arg(list(
            "deny-peer",
            "RANGE",
            "Never relay to this range; overrides --allow-peer. An IPv4 address inside an IPv6 one (NAT64, 6to4, Teredo) counts \
             as itself; ::ffff:0:0/96 is never relayed to",
        )
        .value_parser(value_parser!(Cidr)))
        .next_help_heading("Limits")
        .args(limits())
        .next_help_heading(None)
        .arg(seconds("stats", "Print counters at this interval"))
}

fn who() -> [Arg; 5] {
    [
        list("user", "NAME:PASSWORD", "User who may relay"),
        list(
            "secret",
            "TEXT",
            "Secret for time-limited credentials; visible in the process list, prefer a file",
        ),
        list("secret-file", "FILE", "The secret, read from a file"),
        flag("stun-only", "STUN only, for everybody; no relays"),
        option(
            "realm",
            "NAME",
            "Realm of the credentials, shown to clients",
        )
        .default_value("looprtc"),
    ]
}

fn listens() -> [Arg; 5] {
    [
        list(
            "listen",
            "ADDRESS[:PORT]",
            "Address for UDP and TCP [default: 0.0.0.0:3478 and [::]:3478]",
        )
        .value_parser(|text: &str| address(text, 3478)),
        flag("no-tcp", "Listen for UDP only"),
        list(
            "tls",
            "ADDRESS[:PORT]",
            "Address for TLS [default port: 5349]; port 443 passes most firewalls",
        )
        .value_parser(|text: &str| address(text, 5349)),
        option(
            "certificate",
            "FILE",
            "Certificate chain for TLS, PEM, the server's certificate first",
        ),
        option("key", "FILE", "Private key of the certificate, PEM"),
    ]
}

fn relays() -> [Arg; 3] {
    [
        list(
            "relay",
            "ADDRESS",
            "Bind relays to this address; one for IPv4, one for IPv6 [default: where the client reached the server]",
        )
        .value_parser(value_parser!(IpAddr)),
        list(
            "external",
            "ADDRESS",
            "Public address to tell clients, behind a router that maps it to this machine, for example in most \
             clouds",
        )
        .value_parser(value_parser!(IpAddr)),
        option(
            "ports",
            "FIRST-LAST",
            "Ports of the relays, to be opened in the firewall for UDP [default: any free port]",
        )
        .value_parser(ports),
    ]
}

fn limits() -> [Arg; 7] {
    let count = |name, help| option(name, "N", help).value_parser(value_parser!(usize));
    [
        count("max-allocations", "Maximum number of relays").default_value("4096"),
        count("per-user", "Maximum number of relays of one user").default_value("64"),
        count(
            "per-address",
            "Maximum number of relays of one client address, or IPv6 /64 network",
        )
        .default_value("64"),
        option(
            "bandwidth",
            "BYTES",
            "Bytes per second, for each relay and direction; more is dropped [default: no limit]",
        )
        .value_parser(value_parser!(u64)),
        seconds("lifetime", "Lifetime of a relay that is not refreshed").default_value("600"),
        seconds("max-lifetime", "Longest lifetime a client may request").default_value("3600"),
        seconds("nonce-lifetime", "Lifetime of a nonce").default_value("3600"),
    ]
}

fn seconds(name: &'static str, help: &'static str) -> Arg {
    option(name, "SECONDS", help)
        .value_parser(|text: &str| text.parse::<u32>().map(|n| Duration::from_secs(n.into())))
}

fn run(options: &ArgMatches) -> Outcome {
    let stats = value(options, "stats");
    let options = Options::read(options)?;
    let mut server = TurnServer::new(options.config()?)?;
    server.set_own(Some(options.own()), &[]);
    options.announce(server.listening());
    serve(&mut server, stats)
}

fn serve(server: &mut TurnServer, every: Option<Duration>) -> Result<(), Box<dyn Error>> {
    let stop = super::stop_on_signals()?;
    let mut due = every.map(|every| Instant::now() + every);
    while !stop.load(Ordering::Relaxed) {
        let until = due.map(|due| due.saturating_duration_since(Instant::now()));
        server.run_once(Some(until.unwrap_or(LOOK_UP).min(LOOK_UP)))?;
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
    /// The first user as given, for the configuration line of a page.
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
}

impl Options {
    fn read(options: &ArgMatches) -> Result<Self, Box<dyn Error>> {
        let mut peers = PeerPolicy::default();
        for range in values(options, "allow-peer") {
            peers = peers.allow(range);
        }
        for range in values(options, "deny-peer") {
            peers = peers.deny(range);
        }
        let mut read = Self {
            credentials: Credentials::default(),
            first_user: None,
            stun_only: options.get_flag("stun-only"),
            realm: value(options, "realm").unwrap_or_default(),
            listen: values(options, "listen"),
            no_tcp: options.get_flag("no-tcp"),
            tls: values(options, "tls"),
            certificate: value(options, "certificate"),
            key: value(options, "key"),
            relay: values(options, "relay"),
            external: values(options, "external"),
            ports: value(options, "ports"),
            peers,
            limits: Self::limits(options),
        };
        for user in values::<String>(options, "user") {
            read.add_user(&user)?;
        }
        for secret in values::<String>(options, "secret") {
            read.secret(secret.into_bytes())?;
        }
        for path in values::<String>(options, "secret-file") {
            read.secret(self::read(&path)?.trim_ascii().to_vec())?;
        }
        Ok(read)
    }

    fn limits(options: &ArgMatches) -> TurnLimits {
        let mut limits = TurnLimits::default();
        let count = |name, to: &mut usize| *to = value(options, name).unwrap_or(*to);
        count("max-allocations", &mut limits.allocations);
        count("per-user", &mut limits.per_user);
        count("per-address", &mut limits.per_address);
        limits.bytes_per_second = value(options, "bandwidth");
        let time = |name, to: &mut Duration| *to = value(options, name).unwrap_or(*to);
        time("lifetime", &mut limits.lifetime);
        time("max-lifetime", &mut limits.max_lifetime);
        time("nonce-lifetime", &mut limits.nonce_lifetime);
        limits
    }

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

    /// Returns the addresses of this machine, including those mapped to it by routers. Services on them must not be
    /// reachable through the relay.
    fn own(&self) -> Vec<IpAddr> {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let all = interfaces.iter().map(if_addrs::Interface::ip);
        let own = all.filter(|ip| !ip.is_loopback());
        own.chain(self.external.iter().copied()).collect()
    }

    /// Prints the listening addresses, and the configuration that a page needs.
    fn announce(&self, listening: &[Listening]) {
        let mut urls = Vec::new();
        for Listening { transport, address } in listening {
            announce!("listening at {} {address}", name(*transport));
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
        announce!("");
        announce!("iceServers: [{{");
        announce!("  urls: [{}],", urls.join(", "));
        self.announce_credential();
        announce!("}}]");
        if !self.tls.is_empty() {
            announce!(
                "(for turns: put the name that the certificate is for in place of the address)"
            );
        }
        let own = self.relay.iter().chain(&self.external).copied();
        let own = own.chain(listening.iter().map(|l| self.host(l.address.ip())));
        let private = own
            .filter(|ip| !ip.is_unspecified())
            .find(|ip| !self.peers.permits(*ip));
        if let Some(ip) = private.filter(|_| !self.stun_only) {
            announce!("");
            announce!("{ip} is not a public address: peers there are reached");
            announce!("only with --allow-peer {ip}.");
        }
    }

    fn announce_credential(&self) {
        if let Some(user) = &self.first_user {
            announce!("  username: \"{user}\", credential: \"(the password of {user})\",");
        } else if let Some(secret) = &self.credentials.secret {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let until = now.map_or(0, |now| now.as_secs()) + 24 * 3600;
            let username = format!("{until}:test");
            let password = rest_password(secret, &username);
            announce!("  username: \"{username}\", credential: \"{password}\",   // for a day");
        }
    }

    /// Returns the address that clients use for a listening address.
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

fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match (text.parse(), bare.parse()) {
        (Ok(address), _) => Ok(address),
        (_, Ok(ip)) => Ok(SocketAddr::new(ip, port)),
        _ => Err(format!(
            "not an address: expected one, for example 192.0.2.7, 192.0.2.7:{port} or [2001:db8::7]:{port}"
        )),
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    range.ok_or("expected FIRST-LAST, for example 50000-50999")
}
