use super::*;
use crate::proto::ice::{AddressFilter, BindingReply, BindingTransport, IceTcp};

mod over_tcp;

fn addresses(list: &[(&str, &str)]) -> SocketReply {
    SocketReply::Opened(
        list.iter()
            .map(|(name, a)| InterfaceAddress {
                interface: (*name).into(),
                address: a.parse().unwrap(),
            })
            .collect(),
    )
}

fn gather(config: GatherConfig, reply: &SocketReply) -> Vec<GatherOutput> {
    let mut g = Gatherer::new(config);
    g.start(Instant::now());
    assert!(matches!(g.poll_output(), Some(GatherOutput::OpenSocket(_))));
    assert_eq!(g.poll_output(), None);
    g.handle_socket(Gatherer::HOST_SOCKET, reply, Instant::now());
    std::iter::from_fn(|| g.poll_output()).collect()
}

fn hosts(out: &[GatherOutput]) -> Vec<String> {
    out.iter()
        .filter_map(|o| match o {
            GatherOutput::Candidate(c) if c.kind == LocalKind::Host => Some(c.address.to_string()),
            _ => None,
        })
        .collect()
}

fn machine() -> SocketReply {
    addresses(&[
        ("lo", "127.0.0.1:9"),
        ("lo", "[::1]:9"),
        ("eth0", "192.0.2.2:9"),
        ("eth0", "[fd00::2]:9"),
        ("eth0", "[fe80::1]:9"),
        ("docker0", "172.17.0.1:9"),
    ])
}

#[test]
fn offers_what_others_can_reach() {
    let out = gather(GatherConfig::default(), &machine());
    assert_eq!(hosts(&out), ["192.0.2.2:9", "[fd00::2]:9", "172.17.0.1:9"]);
    assert_eq!(out.last(), Some(&GatherOutput::Complete));
}

#[test]
fn filters_by_interface_address_and_family() {
    let mut config = GatherConfig {
        include_loopback: true,
        ipv6: false,
        ..Default::default()
    };
    config.filter.not_interfaces = vec!["docker*".into()];
    assert_eq!(
        hosts(&gather(config.clone(), &machine())),
        ["192.0.2.2:9", "127.0.0.1:9"]
    );
    config.filter.interfaces = vec!["lo".into()];
    assert_eq!(hosts(&gather(config.clone(), &machine())), ["127.0.0.1:9"]);
    config.filter = AddressFilter::default();
    config.filter.addresses = vec!["172.17.0.1".parse().unwrap()];
    assert_eq!(hosts(&gather(config, &machine())), ["172.17.0.1:9"]);
}

#[test]
fn says_why_there_is_nothing_to_offer() {
    let out = gather(
        GatherConfig::default(),
        &addresses(&[("lo", "127.0.0.1:9")]),
    );
    let GatherOutput::Failed(why) = &out[0] else {
        panic!("{out:?}")
    };
    assert!(why.text.contains("lo 127.0.0.1") && why.text.contains("include_loopback"));
    assert_eq!(out[1], GatherOutput::Complete);
    let out = gather(
        GatherConfig::default(),
        &SocketReply::Failed("port taken".into()),
    );
    assert!(matches!(&out[0], GatherOutput::Failed(w) if w.text.contains("port taken")));
}

#[test]
fn a_new_generation_says_it_all_again() {
    let mut g = Gatherer::new(GatherConfig::default());
    g.start(Instant::now());
    g.handle_socket(Gatherer::HOST_SOCKET, &machine(), Instant::now());
    while g.poll_output().is_some() {}
    g.start(Instant::now());
    let again: Vec<_> = std::iter::from_fn(|| g.poll_output()).collect();
    assert_eq!(hosts(&again).len(), 3);
    assert_eq!(again.last(), Some(&GatherOutput::Complete));
}

#[test]
fn never_more_than_the_limit() {
    let config = GatherConfig {
        max_candidates: 2,
        ..Default::default()
    };
    assert_eq!(hosts(&gather(config, &machine())).len(), 2);
}

/// Creates a gatherer with these servers; its socket is open on one address of each family and on loopback.
fn asking(urls: &[&str], now: Instant) -> (Gatherer, Vec<GatherOutput>) {
    let servers: Vec<_> = urls.iter().map(|u| IceServer::stun(*u)).collect();
    let config = GatherConfig {
        include_loopback: true,
        ..GatherConfig::default()
    };
    let mut g = Gatherer::new(config)
        .with_servers(&servers, IceTransportPolicy::All)
        .unwrap();
    g.start(now);
    let reply = addresses(&[
        ("eth0", "192.0.2.2:9"),
        ("eth0", "[fd00::2]:9"),
        ("lo", "127.0.0.1:9"),
    ]);
    g.handle_socket(Gatherer::HOST_SOCKET, &reply, now);
    let out = drain(&mut g);
    (g, out)
}

fn drain(g: &mut Gatherer) -> Vec<GatherOutput> {
    std::iter::from_fn(|| g.poll_output()).collect()
}

fn requests(out: &[GatherOutput]) -> Vec<BindingRequest> {
    let request = |o: &GatherOutput| match o {
        GatherOutput::RequestBinding(request) => Some(request.clone()),
        _ => None,
    };
    out.iter().filter_map(request).collect()
}

fn errors(out: &[GatherOutput]) -> Vec<IceCandidateError> {
    let error = |o: &GatherOutput| match o {
        GatherOutput::Failed(e) => Some(e.clone()),
        _ => None,
    };
    out.iter().filter_map(error).collect()
}

const SEEN: &str = "203.0.113.7:4000";

#[test]
fn a_stun_server_gives_reflexive_candidates() {
    let (mut g, out) = asking(&["stun:198.51.100.1"], Instant::now());
    let asked = requests(&out);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].base, "192.0.2.2:9".parse().unwrap());
    assert!(!out.contains(&GatherOutput::Complete));
    let mapped = BindingReply::Mapped(SEEN.parse().unwrap());
    g.handle_binding(&asked[0], &mapped);
    let [GatherOutput::Candidate(found), GatherOutput::Complete] = &drain(&mut g)[..] else {
        panic!("a candidate and the end");
    };
    assert_eq!(found.address, SEEN.parse().unwrap());
    assert!(
        matches!(&found.kind, LocalKind::ServerReflexive { base, url }
            if *base == asked[0].base && url.as_deref() == Some("stun:198.51.100.1"))
    );
    // The next generation reports it again without asking a server.
    g.start(Instant::now());
    let again = drain(&mut g);
    assert_eq!((again.len(), requests(&again).len()), (5, 0));
}

#[test]
fn no_nat_no_reflexive_candidate() {
    let (mut g, out) = asking(&["stun:198.51.100.1"], Instant::now());
    let asked = &requests(&out)[0];
    g.handle_binding(asked, &BindingReply::Mapped(asked.base));
    assert_eq!(drain(&mut g), [GatherOutput::Complete]);
}

#[test]
fn names_are_resolved_and_servers_asked_at_once() {
    let urls = ["stun:one.example", "stun:two.example:99"];
    let (mut g, out) = asking(&urls, Instant::now());
    assert_eq!(requests(&out).len(), 0);
    let ips = ["2001:db8::1", "198.51.100.1", "198.51.100.2"];
    let ips = ips.map(|ip| ip.parse().unwrap()).to_vec();
    g.handle_resolved("two.example", &Ok(ips));
    let out = drain(&mut g);
    let asked = requests(&out);
    // One address of each family; not from loopback, which has no route to the server.
    let ways: Vec<_> = asked
        .iter()
        .map(|r| (r.server.to_string(), r.base.to_string()))
        .collect();
    assert_eq!(ways[0], ("198.51.100.1:99".into(), "192.0.2.2:9".into()));
    assert_eq!(ways[1], ("[2001:db8::1]:99".into(), "[fd00::2]:9".into()));
    assert_eq!(ways.len(), 2);
    for request in asked {
        g.handle_binding(&request, &BindingReply::Mapped(request.base));
    }
    assert_eq!(drain(&mut g), []);
    g.handle_resolved("one.example", &Err("no such name".into()));
    let out = drain(&mut g);
    let [error] = &errors(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!(error.url.as_deref(), Some("stun:one.example"));
    assert_eq!(error.code, 701);
    assert!(error.to_string().contains("no such name"), "{error}");
    assert_eq!(out.last(), Some(&GatherOutput::Complete));
}

#[test]
fn a_silent_server_is_said_once_and_asked_again_in_the_next_generation() {
    let start = Instant::now();
    let (mut g, out) = asking(&["stun:127.0.0.1"], start);
    assert_eq!(requests(&out).len(), 2);
    g.handle_timeout(start + Duration::from_secs(9));
    assert_eq!(drain(&mut g), []);
    assert_eq!(g.deadline(), Some(start + Duration::from_secs(10)));
    g.handle_timeout(start + Duration::from_secs(10));
    let out = drain(&mut g);
    assert_eq!(errors(&out).len(), 1);
    assert!(g.is_complete());
    assert_eq!(g.deadline(), None);
    // A late answer changes nothing.
    let late = &requests(&asking(&["stun:127.0.0.1"], start).1)[0];
    g.handle_binding(late, &BindingReply::Mapped(SEEN.parse().unwrap()));
    assert_eq!(drain(&mut g), []);
    g.start(start + Duration::from_secs(60));
    assert_eq!(requests(&drain(&mut g)).len(), 2);
}

#[test]
fn what_a_server_answers_is_passed_on() {
    let (mut g, out) = asking(&["stun:198.51.100.1"], Instant::now());
    let failed = BindingReply::Failed {
        code: 400,
        text: "Bad Request".into(),
    };
    g.handle_binding(&requests(&out)[0], &failed);
    let out = drain(&mut g);
    let [error] = &errors(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (error.code, error.local),
        (400, Some("192.0.2.2:9".parse().unwrap()))
    );
    assert!(g.is_complete());
}

#[test]
fn a_family_that_this_machine_lacks_is_said() {
    let servers = [IceServer::stun("stun:[2001:db8::1]")];
    let mut g = Gatherer::new(GatherConfig::default())
        .with_servers(&servers, IceTransportPolicy::All)
        .unwrap();
    g.start(Instant::now());
    g.handle_socket(
        Gatherer::HOST_SOCKET,
        &addresses(&[("eth0", "192.0.2.2:9")]),
        Instant::now(),
    );
    let out = drain(&mut g);
    assert!(errors(&out)[0].text.contains("2001:db8::1"), "{out:?}");
    assert!(g.is_complete());
}

#[test]
fn a_turn_server_is_asked_as_a_stun_server_too() {
    let servers = [IceServer::turn("turn:198.51.100.1", "me", "secret")];
    let mut g = Gatherer::new(GatherConfig::default())
        .with_servers(&servers, IceTransportPolicy::All)
        .unwrap();
    let now = Instant::now();
    g.start(now);
    let host = addresses(&[("eth0", "192.0.2.2:9")]);
    g.handle_socket(Gatherer::HOST_SOCKET, &host, now);
    let asked = drain(&mut g).into_iter().find_map(|o| match o {
        GatherOutput::RequestBinding(request) => Some(request),
        _ => None,
    });
    let request = asked.unwrap();
    assert_eq!(request.server, "198.51.100.1:3478".parse().unwrap());
    let mapped = "203.0.113.9:1000".parse().unwrap();
    g.handle_binding(&request, &BindingReply::Mapped(mapped));
    let out = drain(&mut g);
    assert!(
        out.iter()
            .any(|o| matches!(o, GatherOutput::Candidate(c) if c.address == mapped)),
        "{out:?}"
    );
    // The missing answer is reported for the relay, and once only.
    g.handle_timeout(now + Duration::from_secs(11));
    assert_eq!(errors(&drain(&mut g)).len(), 1);
}

#[test]
fn bad_servers_are_refused() {
    let with = |servers: &[IceServer]| {
        Gatherer::new(GatherConfig::default())
            .with_servers(servers, IceTransportPolicy::All)
            .unwrap_err()
            .to_string()
    };
    assert!(with(&[IceServer::stun("http://a")]).contains("http://a"));
    assert!(with(&[IceServer::stun("turn:a")]).contains("needs username and credential"));
    assert!(with(&vec![IceServer::stun("stun:a"); 17]).contains("more than 16"));
}

mod changed {
    use super::*;
    use crate::proto::net::NetworkChange;

    const SERVER: &str = "198.51.100.1:3478";

    fn list(addresses: &[&str]) -> Vec<InterfaceAddress> {
        let interface = |a: &&str| InterfaceAddress {
            interface: "eth0".into(),
            address: a.parse().unwrap(),
        };
        addresses.iter().map(interface).collect()
    }

    /// Creates a gatherer with one STUN server that has answered with this address.
    fn gathered(now: Instant) -> Gatherer {
        let server = IceServer::stun(format!("stun:{SERVER}"));
        let mut g = Gatherer::new(GatherConfig::default())
            .with_servers(&[server], IceTransportPolicy::All)
            .unwrap();
        g.start(now);
        let hosts = SocketReply::Opened(list(&["192.0.2.2:9"]));
        g.handle_socket(Gatherer::HOST_SOCKET, &hosts, now);
        answer(&mut g, "203.0.113.7:77");
        assert!(g.is_complete());
        drain(&mut g);
        g
    }

    /// Answers every binding request; returns the other outputs.
    fn answer(g: &mut Gatherer, mapped: &str) -> Vec<GatherOutput> {
        let (asked, said): (Vec<_>, Vec<_>) = drain(g)
            .into_iter()
            .partition(|o| matches!(o, GatherOutput::RequestBinding(_)));
        for output in asked {
            let GatherOutput::RequestBinding(request) = output else {
                continue;
            };
            let reply = BindingReply::Mapped(mapped.parse().unwrap());
            g.handle_binding(&request, &reply);
        }
        said
    }

    fn drain(g: &mut Gatherer) -> Vec<GatherOutput> {
        std::iter::from_fn(|| g.poll_output()).collect()
    }

    fn found(out: &[GatherOutput]) -> Vec<String> {
        out.iter()
            .filter_map(|o| match o {
                GatherOutput::Candidate(c) => Some(format!("+{}", c.address)),
                GatherOutput::Lost(c) => Some(format!("-{}", c.address)),
                GatherOutput::RequestBinding(r) => Some(format!("?{}", r.base)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_new_address_is_offered_and_asked_about() {
        let now = Instant::now();
        let mut g = gathered(now);
        let addresses = list(&["192.0.2.2:9", "192.0.2.3:9"]);
        let change = NetworkChange {
            addresses: &addresses,
            ..NetworkChange::default()
        };
        assert!(g.network_changed(&change, now));
        assert_eq!(found(&drain(&mut g)), ["+192.0.2.3:9", "?192.0.2.3:9"]);
        assert!(!g.network_changed(&change, now), "nothing more has changed");
        assert_eq!(drain(&mut g), []);
    }

    #[test]
    fn an_address_that_is_gone_takes_what_stands_on_it() {
        let now = Instant::now();
        let mut g = gathered(now);
        let addresses = list(&["192.0.2.3:9"]);
        let change = NetworkChange {
            addresses: &addresses,
            gone: &["192.0.2.2".parse().unwrap()],
            rerouted_ipv4: true,
            ..NetworkChange::default()
        };
        assert!(g.network_changed(&change, now));
        let lost = ["-192.0.2.2:9", "-203.0.113.7:77"];
        let said = drain(&mut g);
        assert_eq!(found(&said)[..2], lost);
        assert_eq!(found(&said)[2..], ["+192.0.2.3:9", "?192.0.2.3:9"]);
        // A new generation reports the current candidates only.
        g.start(now);
        assert_eq!(found(&drain(&mut g)), ["+192.0.2.3:9"]);
    }

    #[test]
    fn another_way_out_has_servers_asked_again() {
        let now = Instant::now();
        let mut g = gathered(now);
        let addresses = list(&["192.0.2.2:9"]);
        for (v4, v6, asked) in [(false, true, 0), (true, false, 1)] {
            let change = NetworkChange {
                addresses: &addresses,
                rerouted_ipv4: v4,
                rerouted_ipv6: v6,
                ..NetworkChange::default()
            };
            assert_eq!(g.network_changed(&change, now), asked > 0);
            let said = drain(&mut g);
            assert_eq!(found(&said).len(), asked, "{said:?}");
        }
        // The new answer is another candidate; the old one may still be valid elsewhere.
        let request = BindingRequest {
            server: SERVER.parse().unwrap(),
            base: "192.0.2.2:9".parse().unwrap(),
            transport: BindingTransport::Udp,
        };
        let reply = BindingReply::Mapped("203.0.113.8:88".parse().unwrap());
        g.handle_binding(&request, &reply);
        assert_eq!(found(&drain(&mut g)), ["+203.0.113.8:88"]);
    }

    #[test]
    fn before_the_beginning_there_is_nothing_to_change() {
        let mut g = Gatherer::new(GatherConfig::default());
        let change = NetworkChange {
            slept: true,
            ..NetworkChange::default()
        };
        assert!(!g.network_changed(&change, Instant::now()));
        assert_eq!(g.poll_output(), None);
    }
}

#[test]
fn an_external_address_stands_before_the_first_host() {
    let mut config = GatherConfig {
        external_addresses: vec!["203.0.113.5".parse().unwrap()],
        ..GatherConfig::default()
    };
    let out = gather(config.clone(), &machine());
    let [.., GatherOutput::Candidate(last), GatherOutput::Complete] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!(last.address, "203.0.113.5:9".parse().unwrap());
    assert_eq!(
        last.kind,
        LocalKind::ServerReflexive {
            base: "192.0.2.2:9".parse().unwrap(),
            url: None
        }
    );
    config.ipv6 = false;
    config.external_addresses = vec!["2001:db8::5".parse().unwrap()];
    let out = gather(config, &machine());
    assert!(errors(&out)[0].text.contains("2001:db8::5"));
}

#[test]
fn servers_that_come_late_are_asked_at_once() {
    let now = Instant::now();
    let mut g = Gatherer::new(GatherConfig::default());
    g.start(now);
    g.handle_socket(
        Gatherer::HOST_SOCKET,
        &addresses(&[("eth0", "192.0.2.2:9")]),
        now,
    );
    assert!(std::iter::from_fn(|| g.poll_output()).any(|o| o == GatherOutput::Complete));
    let bad = [IceServer::stun("stun:192.0.2.9"), IceServer::stun("http:x")];
    assert!(g.add_servers(&bad, now).is_err());
    assert_eq!((g.poll_output(), g.is_complete()), (None, true));
    g.add_servers(&bad[..1], now).unwrap();
    let Some(GatherOutput::RequestBinding(request)) = g.poll_output() else {
        panic!("the server is not asked")
    };
    assert!(!g.is_complete());
    let mapped = BindingReply::Mapped("198.51.100.1:7".parse().unwrap());
    g.handle_binding(&request, &mapped);
    assert!(matches!(g.poll_output(), Some(GatherOutput::Candidate(c)) if c.address.port() == 7));
    assert_eq!(g.poll_output(), Some(GatherOutput::Complete));
}
