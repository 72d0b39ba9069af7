//! Credentials as clients of other programs send them: a name and a password (`Authorization: Basic`, RFC 7617), or
//! `?token=` in the URL.
//!
//! Both are turned into the bearer token that the rest of the server knows, and leave the request, so that no log has them.

use crate::proto::rtp::base64;
use crate::server::http::Request;

/// How a request has shown a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Not at all, or in our own ways: a bearer token, a cookie.
    Otherwise,
    /// By `?token=`: whoever has made the URL knows the token.
    InUrl,
    /// By Basic. A browser that was once asked for a password adds it to the requests of all pages, as with a cookie.
    Basic,
}

/// Turns Basic and `?token=` into a bearer token. A header takes precedence.
pub(crate) fn take(request: &mut Request) -> Shown {
    let token = request.query_value("token");
    let kept = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        !is_token(name)
    };
    let query: Vec<&str> = request.query.split('&').filter(kept).collect();
    request.query = query.join("&");
    let authorization = request.header("authorization");
    if let Some(authorization) = authorization {
        let Some(password) = password(authorization) else {
            return Shown::Otherwise;
        };
        let bearer = format!("Bearer {password}");
        let mut headers = request.headers.iter_mut();
        if let Some((_, value)) = headers.find(|(name, _)| name == "authorization") {
            *value = bearer;
        }
        return Shown::Basic;
    }
    match token {
        Some(token) if !token.is_empty() => {
            let bearer = ("authorization".to_owned(), format!("Bearer {token}"));
            request.headers.push(bearer);
            Shown::InUrl
        }
        _ => Shown::Otherwise,
    }
}

/// Returns `true` if a name in a query is `token`, however it is escaped.
fn is_token(name: &str) -> bool {
    let mut request = Request::new("GET", "/", ([0, 0, 0, 0], 0).into());
    name.clone_into(&mut request.query);
    request.query_value("token").is_some()
}

/// Returns the password of `Basic` credentials; the name is of no importance. What is no Basic has none; what is none of
/// either kind has an empty one, which is wrong.
fn password(authorization: &str) -> Option<String> {
    let (scheme, rest) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::decode(rest.trim()).and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.unwrap_or_default();
    let password = pair.split_once(':').map(|(_, password)| password);
    Some(password.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_tokens_in_urls_become_bearer_tokens() {
        let take = |authorization: &str, query: &str| {
            let mut request = Request::new("GET", "/streams", ([192, 0, 2, 1], 1).into());
            query.clone_into(&mut request.query);
            if !authorization.is_empty() {
                let header = ("authorization".to_owned(), authorization.to_owned());
                request.headers.push(header);
            }
            let shown = take(&mut request);
            let bearer = request.bearer().map(str::to_owned);
            (shown, bearer, request.query)
        };
        let some = |text: &str| Some(text.to_owned());
        // user:se:cret
        let basic = "basic dXNlcjpzZTpjcmV0";
        assert_eq!(
            take(basic, ""),
            (Shown::Basic, some("se:cret"), String::new())
        );
        assert_eq!(
            take("", "a=b&token=x%2By&c"),
            (Shown::InUrl, some("x+y"), "a=b&c".into())
        );
        assert_eq!(
            take("Bearer z", "token=x"),
            (Shown::Otherwise, some("z"), String::new())
        );
        assert_eq!(take("Basic ?", "token=x").1, some(""));
        assert_eq!(take("", "").0, Shown::Otherwise);
    }
}
