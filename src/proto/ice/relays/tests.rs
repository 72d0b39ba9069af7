use super::*;

fn relays() -> Relays {
    let mut relays = Relays::new(Some(1));
    let server = RelayServer {
        index: 0,
        url: "turn:192.0.2.1".parse().unwrap(),
        username: "me".into(),
        password: "secret".into(),
        ipv4: true,
        ipv6: true,
    };
    relays.start(server, &["192.0.2.1".parse().unwrap()]);
    relays
}

/// Drains the machine; returns the number of sockets opened and the errors reported.
fn drain(relays: &mut Relays) -> (usize, Vec<IceCandidateError>) {
    let (mut opened, mut failed) = (0, Vec::new());
    while let Some(output) = relays.poll_output() {
        match output {
            RelayOutput::OpenSocket(_) => opened += 1,
            RelayOutput::Failed(error) => failed.push(error),
            _ => {}
        }
    }
    (opened, failed)
}

#[test]
fn redirections_come_to_an_end() {
    let (mut relays, now) = (relays(), Instant::now());
    assert_eq!(drain(&mut relays).0, 1);
    for n in 0..MAX_REDIRECTIONS {
        let next = SocketAddr::from(([192, 0, 2, 2], 3478 + n as u16));
        relays.redirect(0, next, now);
        assert_eq!(drain(&mut relays), (1, Vec::new()));
        assert_eq!(relays.relays[0].remote, next);
    }
    relays.redirect(0, SocketAddr::from(([192, 0, 2, 3], 3478)), now);
    let (opened, failed) = drain(&mut relays);
    assert_eq!((opened, failed[0].code), (0, 300));
    assert!(relays.is_empty());
    // A server that redirects to itself is not asked twice.
    let mut relays = self::relays();
    let itself = relays.relays[0].remote;
    relays.redirect(0, itself, now);
    assert_eq!(drain(&mut relays).1[0].code, 300);
}

/// Each renewal waits longer than the one before, until the client gives up on the server.
#[test]
fn renewals_come_to_an_end() {
    let (mut relays, mut now) = (relays(), Instant::now());
    drain(&mut relays);
    let (mut opened, mut waited) = (0, Vec::new());
    while !relays.is_empty() {
        relays.lose(0, 437, "forgotten", now);
        let before = now;
        if let Some(at) = relays.deadline() {
            now = at;
            relays.handle_timeout(now);
        }
        let (again, failed) = drain(&mut relays);
        assert_eq!(failed.len(), 1, "each loss is said");
        opened += again;
        waited.push((now - before).as_secs());
    }
    assert_eq!(opened, MAX_RENEWALS as usize);
    assert_eq!(waited, [0, 1, 2, 4, 8, 16, 32, 64, 0]);
}
