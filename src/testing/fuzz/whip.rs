//! Input of WHIP and WHEP: SDP fragments, `Link` headers, URLs.

use crate::signaling::whip::sdpfrag::{MAX_CANDIDATES, SdpFragment};
use crate::signaling::whip::{Url, link};

/// The offer that a restart is applied to.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:aaaa\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
    a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\na=end-of-candidates\r\na=sendonly\r\n";

/// Parses an SDP fragment: a parsed one is written so that it parses the same again, and adds only credentials to a
/// description.
pub fn sdpfrag(data: &[u8]) {
    let mut fragment = match SdpFragment::parse(data) {
        Ok(fragment) => fragment,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(fragment.candidates.len() <= MAX_CANDIDATES);
    assert_eq!(fragment.ufrag.is_some(), fragment.pwd.is_some());
    let applied = fragment.applied_to(OFFER);
    let lines = |sdp: &str| -> Vec<String> {
        let kept = sdp.lines().filter(|l| !l.starts_with("a=ice-"));
        let kept = kept.filter(|l| !l.starts_with("a=candidate") && *l != "a=end-of-candidates");
        kept.map(str::to_owned).collect()
    };
    assert_eq!(lines(&applied), lines(OFFER));
    // Unusable ones are only counted.
    fragment.unknown_candidates = 0;
    let written = fragment.to_text();
    let is_empty = written.is_empty();
    match SdpFragment::parse(written.as_bytes()) {
        Ok(again) => assert_eq!(again, fragment, "{written:?}"),
        Err(error) => assert!(is_empty, "{error}: {written:?}"),
    }
}

/// Parses `Link` headers and URLs: parsed ICE servers are written so that they parse the same again, and no reference
/// leads to another scheme.
pub fn link_header(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    assert!(link::parse(text).len() <= link::MAX_LINKS);
    let servers = link::ice_servers([text]);
    let written = link::of_ice_servers(&servers);
    if written.len() == servers.len() {
        assert_eq!(
            link::ice_servers(written.iter().map(String::as_str)),
            servers
        );
    }
    if let Ok(url) = text.parse::<Url>() {
        let again = url.to_string().parse::<Url>();
        assert_eq!(again.as_ref(), Ok(&url));
    }
    let base: Result<Url, _> = "https://a.example/b/c?d".parse();
    if let Ok(joined) = base.and_then(|base| base.join(text)) {
        let origin = joined.origin();
        assert!(origin.starts_with("http://") || origin.starts_with("https://"));
        assert!(!origin.contains('@'));
        assert!(joined.to_string().bytes().all(|c| c.is_ascii_graphic()));
    }
}
