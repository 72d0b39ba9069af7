//! ICE-TCP: its candidates, and binding requests from its port.

use super::*;
use crate::proto::net::{NetworkChange, ServerName};

const SERVER: &str = "198.51.100.1";

/// Creates a gatherer with these servers, with one address for UDP and TCP.
fn listening(config: GatherConfig, urls: &[&str]) -> (Gatherer, Vec<GatherOutput>) {
    let now = Instant::now();
    let servers = urls.iter().map(|u| match u.starts_with("turn") {
        true => IceServer::turn(*u, "me", "secret"),
        false => IceServer::stun(*u),
    });
    let servers: Vec<_> = servers.collect();
    let mut g = Gatherer::new(config)
        .with_servers(&servers, IceTransportPolicy::All)
        .unwrap();
    g.start(now);
    let udp = addresses(&[("lo", "127.0.0.1:1000"), ("eth0", "192.0.2.2:1000")]);
    g.handle_socket(Gatherer::HOST_SOCKET, &udp, now);
    let tcp = addresses(&[("lo", "127.0.0.1:443"), ("eth0", "192.0.2.2:443")]);
    g.handle_socket(TcpPaths::SOCKET, &tcp, now);
    let out = drain(&mut g);
    (g, out)
}

fn with(tcp: IceTcp) -> GatherConfig {
    GatherConfig {
        tcp,
        ..GatherConfig::default()
    }
}

/// Returns base and transport of each binding request.
fn asked(out: &[GatherOutput]) -> Vec<String> {
    let each = requests(out).into_iter();
    each.map(|r| format!("{} {:?}", r.base, r.transport))
        .collect()
}

fn tls() -> BindingTransport {
    BindingTransport::Tls(ServerName(SERVER.into()))
}

#[test]
fn a_stun_server_is_asked_by_udp_and_by_tcp() {
    for tcp in [IceTcp::Passive, IceTcp::Both] {
        let (mut g, out) = listening(with(tcp), &["stun:198.51.100.1"]);
        assert_eq!(asked(&out), ["192.0.2.2:1000 Udp", "192.0.2.2:443 Tcp"]);
        let mapped: SocketAddr = "203.0.113.7:4000".parse().unwrap();
        // UDP and TCP may use the same port number.
        for request in requests(&out) {
            g.handle_binding(&request, &BindingReply::Mapped(mapped));
        }
        let [
            GatherOutput::Candidate(udp),
            GatherOutput::Candidate(tcp),
            GatherOutput::Complete,
        ] = &drain(&mut g)[..]
        else {
            panic!("two candidates and the end");
        };
        assert!(matches!(udp.kind, LocalKind::ServerReflexive { .. }));
        assert_eq!((udp.address, tcp.address), (mapped, mapped));
        let LocalKind::ServerReflexiveTcp { base, url } = &tcp.kind else {
            panic!("{tcp:?}")
        };
        assert_eq!(*base, "192.0.2.2:443".parse().unwrap());
        assert_eq!(url.as_deref(), Some("stun:198.51.100.1?transport=tcp"));
    }
}

#[test]
fn a_url_says_how_a_server_is_asked() {
    let url = "stun:198.51.100.1?transport=tcp";
    let (_, out) = listening(with(IceTcp::Passive), &[url]);
    assert_eq!(asked(&out), ["192.0.2.2:443 Tcp"]);
    let (_, out) = listening(with(IceTcp::Passive), &["stuns:198.51.100.1"]);
    assert_eq!(asked(&out), [format!("192.0.2.2:443 {:?}", tls())]);
    // A TURN server is also a STUN server.
    let (_, out) = listening(with(IceTcp::Passive), &["turns:198.51.100.1:443"]);
    assert_eq!(asked(&out), [format!("192.0.2.2:443 {:?}", tls())]);
    let (_, out) = listening(with(IceTcp::Both), &["turn:198.51.100.1?transport=tcp"]);
    assert_eq!(asked(&out), ["192.0.2.2:443 Tcp"]);
    // Without UDP, a `stun:` URL means TCP.
    let mut config = with(IceTcp::Passive);
    config.udp = false;
    let (_, out) = listening(config, &["stun:198.51.100.1"]);
    assert_eq!(asked(&out), ["192.0.2.2:443 Tcp"]);
    assert!(errors(&out).is_empty());
}

#[test]
fn who_does_not_listen_is_told_once_that_the_server_is_of_no_use() {
    for tcp in [IceTcp::Off, IceTcp::Active] {
        for url in ["stuns:198.51.100.1", "stun:198.51.100.1?transport=tcp"] {
            let (mut g, out) = listening(with(tcp), &[url]);
            let [error] = &errors(&out)[..] else {
                panic!("{out:?}")
            };
            assert_eq!(error.url.as_deref(), Some(url));
            let text = error.to_string();
            assert!(text.contains("not asked"), "{text}");
            assert!(text.contains("IceTcp::Passive"), "{text}");
            assert!(requests(&out).is_empty());
            g.handle_socket(
                TcpPaths::SOCKET,
                &SocketReply::Opened(vec![]),
                Instant::now(),
            );
            assert!(g.is_complete());
            g.start(Instant::now());
            assert!(errors(&drain(&mut g)).is_empty(), "once");
        }
    }
    let mut config = with(IceTcp::Active);
    config.udp = false;
    let (_, out) = listening(config, &["stun:198.51.100.1"]);
    assert!(errors(&out)[0].text.contains("GatherConfig::udp"));
}

/// Many STUN servers support UDP only, and a firewall may drop TCP silently.
#[test]
fn whoever_was_not_asked_for_tcp_is_not_waited_for_long_and_not_reported() {
    let (mut g, out) = listening(with(IceTcp::Passive), &["stun:198.51.100.1"]);
    let [udp, tcp] = &requests(&out)[..] else {
        panic!("{out:?}")
    };
    let seen = |port| BindingReply::Mapped(SocketAddr::from(([203, 0, 113, 7], port)));
    g.handle_binding(udp, &seen(1));
    drain(&mut g);
    let at = g.deadline().unwrap();
    assert!(at <= Instant::now() + IMPLIED_WAIT);
    g.handle_timeout(at);
    assert_eq!(drain(&mut g), [GatherOutput::Complete]);
    // A late answer is still used.
    g.handle_binding(tcp, &seen(2));
    let late = drain(&mut g);
    assert!(
        matches!(&late[..], [GatherOutput::Candidate(_)]),
        "{late:?}"
    );
    // A server that was configured for TCP is waited for, and its failure reported.
    let (mut g, out) = listening(with(IceTcp::Passive), &["stuns:198.51.100.1"]);
    g.handle_timeout(Instant::now() + IMPLIED_WAIT);
    assert!(!g.is_complete());
    let text = "over TLS: connecting: refused".to_owned();
    let code = IceCandidateError::UNREACHABLE;
    let failed = BindingReply::Failed { code, text };
    g.handle_binding(&requests(&out)[0], &failed);
    let out = drain(&mut g);
    let text = errors(&out)[0].to_string();
    assert!(text.starts_with("stuns:198.51.100.1: over TLS"), "{text}");
    assert!(text.contains("check name and port"), "{text}");
    assert!(g.is_complete());
}

#[test]
fn a_known_external_address_is_one_for_tcp_as_well() {
    let mut config = with(IceTcp::Passive);
    config.external_addresses = vec!["203.0.113.5".parse().unwrap()];
    let (_, out) = listening(config, &[]);
    let is_it = |o: &&GatherOutput| {
        matches!(o, GatherOutput::Candidate(LocalCandidate { address, kind })
            if *address == "203.0.113.5:443".parse().unwrap()
                && matches!(kind, LocalKind::ServerReflexiveTcp { url: None, .. }))
    };
    assert_eq!(out.iter().filter(is_it).count(), 1, "{out:?}");
}

#[test]
fn one_server_is_asked_from_so_many_addresses() {
    let server = IceServer::stun("stun:198.51.100.1");
    let mut g = Gatherer::new(GatherConfig::default())
        .with_servers(&[server], IceTransportPolicy::All)
        .unwrap();
    g.start(Instant::now());
    let many: Vec<_> = (1..=20).map(|n| format!("192.0.2.{n}:9")).collect();
    let many: Vec<_> = many.iter().map(|a| ("eth0", a.as_str())).collect();
    g.handle_socket(Gatherer::HOST_SOCKET, &addresses(&many), Instant::now());
    let out = drain(&mut g);
    assert_eq!((hosts(&out).len(), requests(&out).len()), (20, 8));
}

#[test]
fn candidates_for_tcp() {
    let config = GatherConfig {
        tcp: IceTcp::Both,
        ..Default::default()
    };
    let mut g = Gatherer::new(config);
    g.start(Instant::now());
    let udp = addresses(&[("eth0", "192.0.2.2:1000")]);
    g.handle_socket(Gatherer::HOST_SOCKET, &udp, Instant::now());
    assert!(!g.is_complete());
    let tcp = addresses(&[("lo", "127.0.0.1:443"), ("eth0", "192.0.2.2:443")]);
    g.handle_socket(TcpPaths::SOCKET, &tcp, Instant::now());
    assert!(g.is_complete());
    let of_tcp = |out: &[GatherOutput]| -> Vec<String> {
        let each = out.iter().filter_map(|o| match o {
            GatherOutput::Candidate(c) | GatherOutput::Lost(c) => match c.kind {
                LocalKind::HostTcp(kind) => Some(format!("{} {kind:?}", c.address)),
                _ => None,
            },
            _ => None,
        });
        each.collect()
    };
    let both = ["192.0.2.2:9 Active", "192.0.2.2:443 Passive"];
    assert_eq!(of_tcp(&drain(&mut g)), both);
    // A new generation, and then a new address that replaces the old one.
    g.start(Instant::now());
    assert_eq!(of_tcp(&drain(&mut g)), both);
    let new = [InterfaceAddress {
        interface: "eth0".into(),
        address: "192.0.2.3:1000".parse().unwrap(),
    }];
    let tcp = [InterfaceAddress {
        interface: "eth0".into(),
        address: "192.0.2.3:443".parse().unwrap(),
    }];
    let change = NetworkChange {
        addresses: &new,
        tcp_addresses: &tcp,
        gone: &["192.0.2.2".parse().unwrap()],
        ..Default::default()
    };
    assert!(g.network_changed(&change, Instant::now()));
    let changed = of_tcp(&drain(&mut g));
    let now = ["192.0.2.3:9 Active", "192.0.2.3:443 Passive"];
    assert_eq!(changed, [both, now].concat());
}

/// Without a UDP socket, only TCP reports the addresses.
#[test]
fn addresses_come_and_go_without_udp() {
    let mut config = with(IceTcp::Both);
    config.udp = false;
    let (mut g, out) = listening(config, &["stun:198.51.100.1"]);
    let seen = "203.0.113.7:4000".parse().unwrap();
    g.handle_binding(&requests(&out)[0], &BindingReply::Mapped(seen));
    drain(&mut g);
    let said = |g: &mut Gatherer, ip: &[&str], gone: &[IpAddr]| {
        let each = ip.iter().map(|ip| InterfaceAddress {
            interface: "eth0".into(),
            address: format!("{ip}:443").parse().unwrap(),
        });
        let tcp_addresses: Vec<_> = each.collect();
        let change = NetworkChange {
            tcp_addresses: &tcp_addresses,
            gone,
            ..NetworkChange::default()
        };
        g.network_changed(&change, Instant::now());
        let each = drain(g).into_iter().filter_map(|o| match o {
            GatherOutput::Candidate(c) => Some(format!("+{}", c.address)),
            GatherOutput::Lost(c) => Some(format!("-{}", c.address)),
            GatherOutput::RequestBinding(r) => Some(format!("?{}", r.base)),
            _ => None,
        });
        each.collect::<Vec<_>>()
    };
    let gone = ["192.0.2.2".parse().unwrap()];
    assert_eq!(
        said(&mut g, &[], &gone),
        ["-192.0.2.2:9", "-192.0.2.2:443", "-203.0.113.7:4000"]
    );
    assert_eq!(
        said(&mut g, &["192.0.2.3"], &[]),
        ["+192.0.2.3:9", "+192.0.2.3:443", "?192.0.2.3:443"]
    );
    assert!(said(&mut g, &["192.0.2.3"], &[]).is_empty());
}
