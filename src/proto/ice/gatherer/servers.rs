//! Adding STUN and TURN servers before or during gathering.

use std::time::Instant;

use super::{Gatherer, Lookup, MAX_SERVER_URLS, Phase, Server};
use crate::proto::ice::server::{
    IceServer, ServerKind, ServerTransport, ServerUrl, ServerUrlError,
};

impl Gatherer {
    /// Adds servers. If gathering has started they are asked at once, and their candidates belong to the current
    /// generation.
    ///
    /// # Errors
    ///
    /// The same as [`with_servers`](Self::with_servers); nothing is changed then.
    pub fn add_servers(
        &mut self,
        servers: &[IceServer],
        now: Instant,
    ) -> Result<(), ServerUrlError> {
        let before = self.servers.len();
        if let Err(error) = self.take_servers(servers) {
            self.servers.truncate(before);
            return Err(error);
        }
        if self.phase == Phase::New || self.servers.len() == before {
            return Ok(());
        }
        self.gather_until(now);
        for index in before..self.servers.len() {
            self.start_server(index);
        }
        self.proceed();
        Ok(())
    }

    pub(super) fn take_servers(&mut self, servers: &[IceServer]) -> Result<(), ServerUrlError> {
        for (server, url) in servers
            .iter()
            .flat_map(|s| s.urls.iter().map(move |u| (s, u)))
        {
            let parsed: ServerUrl = url.parse()?;
            let refused = |why| ServerUrlError {
                url: url.clone(),
                why,
            };
            if parsed.kind == ServerKind::Turn {
                server.check_credential().map_err(refused)?;
            }
            let given = self.servers.iter().filter(|s| !s.implied);
            if given.count() >= MAX_SERVER_URLS {
                return Err(refused("there are more than 16 URLs"));
            }
            self.servers.push(Server {
                url: parsed,
                username: server.username.clone(),
                password: server.credential.clone(),
                state: Lookup::NotAsked,
                implied: false,
                quiet: false,
                said: false,
            });
        }
        self.take_implied();
        Ok(())
    }

    /// Adds implied servers. A TURN server is also a STUN server (RFC 8656 §1); the address it sees for the relay's own
    /// socket is of no use to a host candidate, so it is asked from the host socket as well. With ICE-TCP, a STUN
    /// server is also asked over TCP.
    fn take_implied(&mut self) {
        let by_tcp = self.config.tcp.is_passive();
        let given = self.servers.iter().filter(|s| !s.implied);
        let given: Vec<_> = given.map(|s| s.url.clone()).collect();
        for mut url in given {
            let is_stun = url.kind == ServerKind::Stun;
            url.kind = ServerKind::Stun;
            match url.transport {
                ServerTransport::Udp => {
                    if by_tcp {
                        let mut twin = url.clone();
                        twin.transport = ServerTransport::Tcp;
                        // Without UDP, the TCP request is what the application wanted.
                        self.imply(twin, !is_stun || self.config.udp);
                    }
                    self.imply(url, true);
                }
                ServerTransport::Tcp | ServerTransport::Tls if by_tcp => self.imply(url, true),
                ServerTransport::Tcp | ServerTransport::Tls => {}
            }
        }
    }

    fn imply(&mut self, url: ServerUrl, quiet: bool) {
        if self.servers.iter().any(|s| s.url == url) {
            return;
        }
        self.servers.push(Server {
            url,
            username: String::new(),
            password: String::new(),
            state: Lookup::NotAsked,
            implied: true,
            quiet,
            said: false,
        });
    }
}
