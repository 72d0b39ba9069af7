//! URL schemes that are not supported, with advice how to use them anyway.

use crate::server::streams::kind::SourceConfig;

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    let (scheme, rest) = url.split_once(':')?;
    let is_scheme = scheme
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let shown = without_login(url);
    let url = shown.as_str();
    match scheme {
        "http" | "https" => Some(Err(format!(
            "{scheme}: is not fetched; for another server's WHEP write whep:{url}"
        ))),
        "rtmp" | "rtmps" | "srt" => Some(Err(advice_for_ffmpeg(scheme, url))),
        // Not a file, whose name would be shown with the password in it.
        _ if is_scheme && scheme != "file" && rest.starts_with("//") => Some(Err(format!(
            "{scheme}: is unknown; there are rtsp, rtsps, rtp, whep and whip; for a file of this name write ./ before it"
        ))),
        _ => None,
    }
}

/// Returns the URL with words instead of the user name and the password in it.
fn without_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, host))) if rest.contains('@') => {
            format!("{scheme}://USER:PASSWORD@{host}")
        }
        _ => url.to_owned(),
    }
}

/// Returns commands that make ffmpeg fetch an unsupported URL, ready to paste.
fn advice_for_ffmpeg(scheme: &str, url: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:.-_@%+=,".contains(c);
    let quoted = match url.chars().all(is_plain) {
        true => url.to_owned(),
        false => format!("'{}'", url.replace('\'', "'\\''")),
    };
    format!(
        "{scheme}: is not spoken; let ffmpeg fetch it:\n  \
         ffmpeg -i {quoted} -an -c copy -f rtp -sdp_file cam.sdp rtp://127.0.0.1:5004\n\
         and, once that has written cam.sdp (-an leaves the audio out):\n  \
         looprtc serve cam=rtp:cam.sdp"
    )
}
