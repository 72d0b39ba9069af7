//! The streams of a configuration.

use super::{GatewayConfig, GatewayError};
use crate::server::streams::SourceConfig;

/// Name of the stream that browsers can publish to if none is configured.
const LIVE: &str = "live";

/// Returns the configured streams and the built-in ones. A name that `is_camera` belongs to a camera that was added: a
/// built-in stream gives way to it.
pub(super) fn all(
    config: &GatewayConfig,
    is_camera: impl Fn(&str) -> bool,
) -> Result<Vec<(String, SourceConfig)>, GatewayError> {
    let mut all = Vec::new();
    if config.testcard {
        all.push(("testcard".to_owned(), "testcard:".to_owned()));
    }
    all.extend(config.sources.iter().cloned());
    if config.sources.is_empty() && config.testcard {
        all.push((LIVE.to_owned(), "whip:".to_owned()));
    }
    let configured = |name: &str| config.sources.iter().any(|(other, _)| other == name);
    all.retain(|(name, _)| configured(name) || !is_camera(name));
    let parse = |(name, url): (String, String)| {
        let parsed = SourceConfig::parse(&format!("{name}={url}"));
        parsed.map_err(|e| GatewayError::Source(name, e.to_string()))
    };
    all.into_iter().map(parse).collect()
}
