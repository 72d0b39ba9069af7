//! URL schemes that are not supported, with advice how to use them anyway.

use crate::server::streams::kind::SourceConfig;

pub(super) fn parse(url: &str) -> Option<Result<SourceConfig, String>> {
    let (scheme, _) = url.split_once(':')?;
    match scheme {
        "http" | "https" => Some(Err(format!(
            "{scheme}: is not fetched; for another server's WHEP write whep:{url}"
        ))),
        "rtmp" | "rtmps" | "srt" => Some(Err(advice_for_ffmpeg(scheme, url))),
        _ => None,
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
