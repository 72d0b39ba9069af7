//! The kinds of source: each is a file with a [`Kind`](super::kind::Kind) and its text form.
//!
//! To add one, write its file and add it to the two lists here.

mod elsewhere;
mod files;
mod pipe;
mod rtp;
mod rtsp;
mod test_card;
mod url;
mod whep;
mod whip;

use super::kind::SourceConfig;

pub use self::rtp::RtpInput;
pub(crate) use self::rtsp::CameraSettings;

/// Parses the text form of a source; `None` if it is of another kind.
type Parse = fn(&str) -> Option<Result<SourceConfig, String>>;

/// Tried in this order. The last one accepts any text, as a file name.
const KINDS: &[Parse] = &[
    test_card::parse,
    whip::parse,
    whep::parse,
    rtp::parse,
    rtsp::parse,
    pipe::parse,
    elsewhere::parse,
    files::parse,
];

/// Parses the text form of a source of any kind. Nothing is opened.
///
/// # Errors
///
/// Returns a sentence that says what to write instead.
pub(super) fn parse(url: &str) -> Result<SourceConfig, String> {
    let nothing = "nothing behind the =; give a file, -, rtsp://…, rtp:…, whip: or whep:…";
    match url {
        "" => Err(nothing.into()),
        _ => KINDS
            .iter()
            .find_map(|parse| parse(url))
            .unwrap_or_else(|| Err(nothing.into())),
    }
}
