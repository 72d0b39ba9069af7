//! Input from clients of other programs' interfaces: ids, credentials, forms, JSON.

use crate::server::compat::names::{shown_url, stream_name};
use crate::server::compat::{deepch, login};
use crate::server::http::Request;
use crate::server::streams::check_name;

/// Ids become names of streams and come back, a password is never in what is shown, and nothing panics.
pub fn compat_requests(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (id, channel) = text.split_once('\n').unwrap_or((&text, "0"));
    let name = stream_name(id, channel);
    assert_eq!(check_name(&name), Ok(()), "{id:?} {channel:?}");
    if !name.starts_with("id--x") {
        let back = crate::server::compat::names::of_stream(&name);
        assert_eq!(back, (id.to_owned(), channel.to_owned()), "{name}");
    }
    if !text.contains("Q7Z9") {
        let shown = shown_url(&format!("rtsp://user:Q7Z9{text}@host/path"));
        assert!(!shown.contains("Q7Z9"), "{shown}");
    }
    let mut request = Request::new("POST", "/stream", ([192, 0, 2, 1], 1).into());
    id.clone_into(&mut request.query);
    request.headers = vec![
        ("authorization".into(), channel.to_owned()),
        (
            "content-type".into(),
            "application/x-www-form-urlencoded".into(),
        ),
    ];
    request.body = data.to_vec();
    login::take(&mut request);
    assert!(
        request.query_value("token").is_none(),
        "a token stays in the query"
    );
    let _ = deepch::offer(&request, "data");
    if let Some(channels) = deepch::check_stream(data) {
        assert!(channels <= 16);
    }
}
