use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn server(config: TurnServerConfig) -> (TurnServer, SocketAddr) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = TurnServer::new(config.udp(vec![any]).tcp(vec![any])).unwrap();
    let listening = server.listening().iter();
    let address = listening
        .filter(|l| l.transport == Transport::Tcp)
        .map(|l| l.address)
        .next()
        .unwrap();
    (server, address)
}

/// Returns `true` if the server has closed this stream.
fn has_ended(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(0) => true,
        Err(e) if e.kind() == ErrorKind::WouldBlock => false,
        // A reset.
        Err(_) => true,
        Ok(n) => panic!("{n} bytes of a server that was asked nothing"),
    }
}

/// Runs the server until this number of streams has ended.
fn until_ended(server: &mut TurnServer, streams: &mut [TcpStream], count: usize) {
    let end = Instant::now() + LONG;
    loop {
        server.run_once(Some(Duration::from_millis(10))).unwrap();
        let ended = streams
            .iter_mut()
            .filter_map(|s| has_ended(s).then_some(()));
        let ended = ended.count();
        if ended == count {
            return;
        }
        assert!(ended < count, "{ended} have ended, not {count}");
        assert!(Instant::now() < end, "{ended} have ended, not {count}");
    }
}

#[test]
fn streams_have_their_limits() {
    for (streams, per_address) in [(3, 64), (64, 3)] {
        let config = TurnServerConfig::default()
            .streams(streams)
            .streams_per_address(per_address)
            .stream_idle(Duration::from_secs(3));
        let (mut server, address) = server(config);
        let connect = |_| TcpStream::connect(address).unwrap();
        let mut all: Vec<TcpStream> = (0..5).map(connect).collect();
        until_ended(&mut server, &mut all, 2);
        assert_eq!(server.streams.len(), 3);
        // The accepted ones are silent, and are closed when their time is over.
        until_ended(&mut server, &mut all, 5);
        assert!(server.streams.is_empty() && server.streams_of.is_empty());
        // There is room again.
        let mut next = [connect(0)];
        let end = Instant::now() + LONG;
        while server.streams.is_empty() {
            assert!(Instant::now() < end && !has_ended(&mut next[0]));
            server.run_once(Some(Duration::from_millis(10))).unwrap();
        }
    }
}
