//! Rights by token, cookie and origin.

use std::net::IpAddr;

use super::cookie::MAX_COOKIES;
use super::*;
use crate::server::token::Token;

fn request(headers: &[(&str, &str)]) -> Request {
    let mut request = Request::new("POST", "/whep/card", ([192, 0, 2, 1], 5).into());
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    request.headers = headers.iter().map(owned).collect();
    request
}

fn closed() -> Access {
    Access::new(AccessConfig {
        view: Some(Token::new("view")),
        publish: Some(Token::new("publish")),
        ..AccessConfig::default()
    })
}

fn bearer(token: &str) -> Request {
    request(&[("authorization", &format!("Bearer {token}"))])
}

/// Builds a same-origin request with the cookie for this token.
fn with_cookie(access: &Access, token: &str) -> Request {
    let cookie = access.cookie(&bearer(token)).unwrap();
    let pair = cookie.split(';').next().unwrap();
    request(&[("host", "a:1"), ("origin", "http://a:1"), ("cookie", pair)])
}

#[test]
fn tokens_open_what_they_are_for() {
    let now = Instant::now();
    let mut access = closed();
    let with = |token: &str| request(&[("authorization", &format!("Bearer {token}"))]);
    assert!(access.check(Right::View, &with("view"), now).is_ok());
    assert!(access.check(Right::View, &with("publish"), now).is_ok());
    assert!(access.check(Right::Publish, &with("publish"), now).is_ok());
    let refused = access
        .check(Right::Publish, &with("view"), now)
        .unwrap_err();
    assert_eq!(refused.status, 401);
    assert_eq!(
        access
            .check(Right::View, &request(&[]), now)
            .unwrap_err()
            .status,
        401
    );
}

#[test]
fn a_cookie_is_as_good_but_only_on_our_own_pages() {
    let now = Instant::now();
    let mut access = closed();
    let cookie = access
        .cookie(&request(&[("authorization", "Bearer view")]))
        .unwrap();
    assert!(!cookie.contains("view"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let own = [("host", "a:1"), ("origin", "http://a:1"), ("cookie", pair)];
    assert!(access.check(Right::View, &request(&own), now).is_ok());
    assert_eq!(
        access
            .check(Right::Publish, &request(&own), now)
            .unwrap_err()
            .status,
        401
    );
    let other = [("host", "a:1"), ("origin", "http://b"), ("cookie", pair)];
    assert_eq!(
        access
            .check(Right::View, &request(&other), now)
            .unwrap_err()
            .status,
        403
    );
}

/// S10: attempts by others behind the same address do not lock out the holder of a valid token.
#[test]
fn guessing_is_counted_and_the_right_token_is_always_taken() {
    let mut now = Instant::now();
    let mut access = closed();
    let status = |access: &mut Access, request: &Request, now| {
        let checked = access.check(Right::View, request, now);
        checked.map_or_else(|refused| refused.status, |()| 200)
    };
    let cookie = with_cookie(&access, "view");
    for _ in 0..MAX_WRONG {
        assert_eq!(status(&mut access, &bearer("guess"), now), 401);
    }
    assert_eq!(status(&mut access, &bearer("guess"), now), 429);
    assert_eq!(status(&mut access, &bearer("view"), now), 200);
    assert_eq!(status(&mut access, &cookie, now), 200);
    assert!(access.sign_in(&bearer("view"), now).unwrap().is_some());
    assert_eq!(
        access.sign_in(&bearer("guess"), now).unwrap_err().status,
        429
    );
    now += WINDOW;
    assert_eq!(status(&mut access, &bearer("guess"), now), 401);
}

/// S4: a cookie is equivalent to its token.
#[test]
fn a_wrong_cookie_counts_as_a_wrong_token() {
    let now = Instant::now();
    let mut access = closed();
    let tried = |access: &mut Access, cookies: &str| {
        let request = request(&[("host", "a:1"), ("cookie", cookies)]);
        access.check(Right::View, &request, now).unwrap_err().status
    };
    for _ in 0..MAX_WRONG {
        assert_eq!(tried(&mut access, "other=1; looprtc=abc"), 401);
    }
    assert_eq!(tried(&mut access, "looprtc=abc"), 429);
    // Cookies of other servers are ignored.
    assert_eq!(tried(&mut access, "other=1"), 401);
    // Several in one request are all counted.
    let mut access = closed();
    let many = "looprtc=a; looprtc=b; looprtc=c; looprtc=d; ".repeat(50);
    for _ in 0..MAX_WRONG as usize / MAX_COOKIES {
        assert_eq!(tried(&mut access, &many), 401);
    }
    assert_eq!(tried(&mut access, &many), 429);
}

#[test]
fn a_token_for_something_else_is_not_a_wrong_one() {
    let now = Instant::now();
    let mut access = closed();
    for _ in 0..3 * MAX_WRONG {
        let refused = access.check(Right::Publish, &bearer("view"), now);
        assert_eq!(refused.unwrap_err().status, 401);
        assert!(access.count(&bearer("view"), now).is_ok());
    }
    let guess = access.check(Right::View, &bearer("guess"), now);
    assert_eq!(guess.unwrap_err().status, 401);
}

/// S15: like the bearer token.
#[test]
fn who_may_publish_may_watch_with_the_cookie_too() {
    let now = Instant::now();
    let mut access = closed();
    let page = with_cookie(&access, "publish");
    assert!(access.check(Right::View, &page, now).is_ok());
    assert!(access.check(Right::Publish, &page, now).is_ok());
    assert_eq!(
        access.rights(&with_cookie(&access, "view")),
        Rights {
            view: true,
            ..Rights::default()
        }
    );
}

#[test]
fn what_concerns_other_people_is_for_few() {
    let token = |text: &str| Some(Token::new(text));
    let details = |config: AccessConfig, shown: &str| {
        let access = Access::new(config);
        let request = match shown {
            "" => request(&[]),
            shown => bearer(shown),
        };
        access.rights(&request).details
    };
    let none = AccessConfig::default;
    // A local server has one user; an open one has unknown users.
    assert!(details(none(), ""));
    let open = AccessConfig {
        open: true,
        ..none()
    };
    assert!(!details(open.clone(), ""));
    let view = AccessConfig {
        view: token("view"),
        ..none()
    };
    assert!(!details(view.clone(), "view"));
    let both = AccessConfig {
        publish: token("publish"),
        ..view.clone()
    };
    assert!(!details(both.clone(), "view") && details(both.clone(), "publish"));
    let all = AccessConfig {
        stats: token("stats"),
        ..both
    };
    assert!(!details(all.clone(), "publish") && details(all.clone(), "stats"));
    // It grants no other right.
    let rights = Access::new(all).rights(&bearer("stats"));
    assert!(!rights.view && !rights.publish);
    let open = AccessConfig {
        stats: token("stats"),
        ..open
    };
    assert!(!details(open.clone(), "") && details(open, "stats"));
}

#[test]
fn an_open_server_has_any_name() {
    let now = Instant::now();
    let mut access = Access::new(AccessConfig {
        open: true,
        local: true,
        ..AccessConfig::default()
    });
    let proxied = request(&[
        ("host", "media.example"),
        ("origin", "http://media.example"),
    ]);
    assert!(access.check(Right::View, &proxied, now).is_ok());
    let other = request(&[("host", "media.example"), ("origin", "http://evil.example")]);
    let refused = access.check(Right::View, &other, now).unwrap_err();
    assert_eq!(refused.status, 403);
}

#[test]
fn cookies_are_for_the_prefix_that_pages_are_under() {
    let access = closed();
    let mut login = bearer("view");
    let plain = access.cookie(&login).unwrap();
    assert!(plain.contains("; Path=/;") && !plain.contains("Secure"));
    login.prefix = "/cam".into();
    login.secure = true;
    let cookie = access.cookie(&login).unwrap();
    assert!(cookie.contains("; Path=/cam/;") && cookie.ends_with("; Secure"));
    assert!(Access::no_cookie(&login).starts_with("looprtc=; Path=/cam/;"));
}

#[test]
fn a_page_elsewhere_cannot_use_the_server_of_this_machine() {
    let now = Instant::now();
    let mut access = Access::new(AccessConfig {
        local: true,
        ..AccessConfig::default()
    });
    let rebound = [
        ("host", "evil.example:8080"),
        ("origin", "http://evil.example:8080"),
    ];
    assert_eq!(
        access
            .check(Right::View, &request(&rebound), now)
            .unwrap_err()
            .status,
        403
    );
    let forged = [
        ("host", "localhost:8080"),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(
        access
            .check(Right::View, &request(&forged), now)
            .unwrap_err()
            .status,
        403
    );
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080", "cam.localhost"] {
        assert!(
            access
                .check(Right::View, &request(&[("host", host)]), now)
                .is_ok(),
            "{host}"
        );
    }
}

#[test]
fn pages_of_allowed_origins_are_as_our_own() {
    let now = Instant::now();
    let from = |origin: &str| request(&[("host", "media.example"), ("origin", origin)]);
    let (friend, other) = (
        from("https://friend.example"),
        from("https://other.example"),
    );
    let origins = Origins::Listed(vec!["https://friend.example".into()]);
    let mut open = Access::new(AccessConfig {
        open: true,
        origins: origins.clone(),
        ..AccessConfig::default()
    });
    assert!(open.check(Right::View, &friend, now).is_ok() && open.may_read(&friend));
    assert_eq!(
        open.check(Right::View, &other, now).unwrap_err().status,
        403
    );
    assert!(!open.may_read(&other));
    // An allowed origin is no token.
    let mut guarded = Access::new(AccessConfig {
        view: Some(Token::new("view")),
        origins,
        ..AccessConfig::default()
    });
    let refused = guarded.check(Right::View, &friend, now).unwrap_err();
    assert_eq!(refused.status, 401);
    assert!(guarded.may_read(&friend) && !guarded.may_read(&other));
    // A page with a token is told what that gives; where none counts, showing something is worth nothing.
    let with = |token: &str| {
        let mut request = other.clone();
        let shown = ("authorization".to_owned(), format!("Bearer {token}"));
        request.headers.push(shown);
        request
    };
    assert!(guarded.check_page(&with("view")).is_ok());
    assert!(guarded.check_page(&with("guess")).is_ok() && !guarded.rights(&with("guess")).view);
    assert!(guarded.check_page(&other).is_err());
    assert!(open.check_page(&with("guess")).is_err());
}

#[test]
fn one_network_is_one_guesser() {
    let now = Instant::now();
    let mut access = closed();
    let from = |ip: IpAddr, token: &str| {
        let mut request = request(&[("authorization", &format!("Bearer {token}"))]);
        request.client.set_ip(ip);
        request
    };
    // The owner of one IPv6 address has 2^64 of them.
    let of_network = |n: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
    for n in 0..u128::from(MAX_WRONG) {
        let guess = from(of_network(n), "guess");
        let refused = access.check(Right::View, &guess, now).unwrap_err();
        assert_eq!(refused.status, 401);
    }
    let next = from(of_network(1 << 60), "guess");
    let refused = access.check(Right::View, &next, now).unwrap_err();
    assert_eq!(refused.status, 429);
}

#[test]
fn cameras_are_changed_with_the_admin_token() {
    let now = Instant::now();
    let mut access = Access::new(AccessConfig {
        view: Some(Token::new("view")),
        publish: Some(Token::new("publish")),
        stats: Some(Token::new("stats")),
        admin: Some(Token::new("admin")),
        ..AccessConfig::default()
    });
    let mut status = |request: &Request| {
        let checked = access.check(Right::Admin, request, now);
        checked.map_or_else(|refused| refused.status, |()| 200)
    };
    for token in ["view", "publish", "stats", "guess"] {
        assert_eq!(status(&bearer(token)), 401, "{token}");
    }
    assert_eq!(status(&request(&[])), 401);
    assert_eq!(status(&bearer("admin")), 200);
    let all = Rights {
        view: true,
        publish: true,
        details: true,
        admin: true,
    };
    assert_eq!(access.rights(&bearer("admin")), all);
    // By cookie, on our own pages: not even allowed origins may change what a visitor may.
    let mut access = Access::new(AccessConfig {
        admin: Some(Token::new("admin")),
        origins: Origins::Any,
        open: true,
        ..AccessConfig::default()
    });
    let mut page = with_cookie(&access, "admin");
    assert!(access.check(Right::Admin, &page, now).is_ok() && access.rights(&page).admin);
    page.headers.retain(|(name, _)| name != "origin");
    page.headers.push(("origin".into(), "http://a:2".into()));
    let refused = access.check(Right::Admin, &page, now).unwrap_err();
    assert_eq!(refused.status, 403);
    assert!(!access.rights(&page).admin && access.rights(&page).view);
    let mut elsewhere = bearer("admin");
    elsewhere
        .headers
        .push(("origin".into(), "http://a:2".into()));
    assert!(access.check(Right::Admin, &elsewhere, now).is_ok() && access.rights(&elsewhere).admin);
}

#[test]
fn without_an_admin_token_only_who_sits_at_the_machine_changes_cameras() {
    let now = Instant::now();
    let local = AccessConfig {
        local: true,
        origins: Origins::Listed(vec!["http://friend.example".into()]),
        ..AccessConfig::default()
    };
    let here = |headers: &[(&str, &str)]| {
        let mut request = request(headers);
        request.client = ([127, 0, 0, 1], 5).into();
        request
    };
    let may = |config: &AccessConfig, request: &Request| {
        let mut access = Access::new(config.clone());
        let checked = access.check(Right::Admin, request, now);
        let status = checked.map_or_else(|refused| refused.status, |()| 200);
        assert_eq!(access.rights(request).admin, status == 200);
        status
    };
    let host = ("host", "localhost:8080");
    assert_eq!(may(&local, &here(&[host])), 200);
    assert_eq!(
        may(&local, &here(&[host, ("origin", "http://localhost:8080")])),
        200
    );
    for (what, headers) in [
        (
            "another page of this machine",
            [host, ("origin", "http://localhost:81")],
        ),
        (
            "an allowed origin",
            [host, ("origin", "http://friend.example")],
        ),
        (
            "a rebound name",
            [("host", "evil.example:8080"), ("accept", "*/*")],
        ),
        ("behind a proxy", [host, ("x-forwarded-for", "192.0.2.1")]),
        ("behind another proxy", [host, ("via", "1.1 proxy")]),
    ] {
        assert_eq!(may(&local, &here(&headers)), 403, "{what}");
    }
    let mut remote = here(&[host]);
    remote.client = ([192, 0, 2, 1], 5).into();
    assert_eq!(may(&local, &remote), 403);
    let with = |change: fn(&mut AccessConfig)| {
        let mut config = local.clone();
        change(&mut config);
        config
    };
    for (what, config) in [
        ("open", with(|c| c.open = true)),
        ("for others", with(|c| c.local = false)),
        ("behind a proxy", with(|c| c.proxied = true)),
        ("with a token", with(|c| c.view = Some(Token::new("abc")))),
        (
            "with a publish token",
            with(|c| c.publish = Some(Token::new("abc"))),
        ),
        (
            "with a stats token",
            with(|c| c.stats = Some(Token::new("abc"))),
        ),
    ] {
        assert_eq!(may(&config, &here(&[host])), 403, "{what}");
    }
    assert_eq!(
        may(&with(|c| c.admin = Some(Token::new("abc"))), &here(&[host])),
        401
    );
}
