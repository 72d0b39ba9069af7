//! The kinds of source, each a file with a [`Kind`](super::kind::Kind) and a way to write it.
//!
//! To add one: write its file, and name it twice here.

mod elsewhere;
mod files;
mod pipe;
mod rtp;
mod test_card;
mod url;
mod whep;
mod whip;

use super::kind::SourceConfig;

pub use self::rtp::RtpInput;

/// Reads the text of a source; `None`: it is of another kind.
type Parse = fn(&str) -> Option<Result<SourceConfig, String>>;

/// Asked in this order. The last takes what is left, for the name of a file.
const KINDS: [Parse; 7] = [
    test_card::parse,
    whip::parse,
    whep::parse,
    rtp::parse,
    pipe::parse,
    elsewhere::parse,
    files::parse,
];

/// Reads the text of a source of any kind. Nothing is opened.
///
/// # Errors
///
/// A sentence that says what to write instead.
pub(super) fn parse(url: &str) -> Result<SourceConfig, String> {
    let nothing = "nothing behind the =; give a file, -, rtp:…, whip: or whep:…";
    match url {
        "" => Err(nothing.into()),
        _ => KINDS
            .iter()
            .find_map(|parse| parse(url))
            .unwrap_or_else(|| Err(nothing.into())),
    }
}
