//! The streams of a configuration.

use super::{GatewayConfig, GatewayError};
use crate::server::streams::SourceConfig;

/// The name under which a browser can publish where no stream is given.
const LIVE: &str = "live";

/// Those that are given, and the built-in ones.
pub(super) fn all(config: &GatewayConfig) -> Result<Vec<(String, SourceConfig)>, GatewayError> {
    let mut all = Vec::new();
    if config.testcard {
        all.push(("testcard".to_owned(), "testcard:".to_owned()));
    }
    all.extend(config.sources.iter().cloned());
    if config.sources.is_empty() && config.testcard {
        all.push((LIVE.to_owned(), "whip:".to_owned()));
    }
    let parse = |(name, url): (String, String)| {
        let parsed = SourceConfig::parse(&format!("{name}={url}"));
        parsed.map_err(|e| GatewayError::Source(name, e.to_string()))
    };
    all.into_iter().map(parse).collect()
}
