//! What our HTTP clients have in common.

use std::io::ErrorKind::{
    AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable,
};
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// A client that asks only where it is told to: no redirections, no proxies of the environment.
pub(super) fn builder(exchange_deadline: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .timeout_global(Some(exchange_deadline))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        // A connection each: one kept from before may be dead, and then it could not be told whether
        // the other end got the message.
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .user_agent(concat!("looprtc/", env!("CARGO_PKG_VERSION")))
}

/// Whether the request certainly did not reach the other end, and may next time.
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
