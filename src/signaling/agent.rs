//! Configuration shared by the HTTP clients.

use std::io::ErrorKind::{
    AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable,
};
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// Returns the configuration of a client that follows no redirections and uses no proxies from the environment.
pub(super) fn builder(exchange_deadline: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .timeout_global(Some(exchange_deadline))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        // No connection reuse: a kept connection may be dead, and then it would be unknown whether the remote side
        // received the message.
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .user_agent(concat!("looprtc/", env!("CARGO_PKG_VERSION")))
}

/// Returns `true` if the request certainly did not reach the remote side, and a retry may succeed.
pub(super) fn never_connected(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable
        ),
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        _ => false,
    }
}
