use super::*;

/// Answers a challenge with a fixed client nonce.
fn answer(
    challenge: &str,
    credentials: (&str, &str),
    nonce: &str,
    request: (&str, &str),
) -> String {
    let credentials = Credentials::new(credentials.0, credentials.1);
    let mut auth = Authenticator::new(Some(credentials), Some(1));
    auth.challenged([challenge].into_iter()).unwrap();
    auth.active.as_mut().unwrap().client_nonce = nonce.to_owned();
    auth.authorization(request.0, request.1).unwrap()
}

fn response(value: &str) -> &str {
    let at = value.find("response=\"").unwrap() + 10;
    &value[at..at + value[at..].find('"').unwrap()]
}

/// RFC 2617 §3.5 and RFC 7616 §3.9.1; the others were computed with Python's `hashlib`.
#[test]
fn vectors_of_the_rfcs() {
    let rfc_2617 = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
                    nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let value = answer(
        rfc_2617,
        ("Mufasa", "Circle Of Life"),
        "0a4f113b",
        ("GET", "/dir/index.html"),
    );
    assert_eq!(
        value,
        "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
         uri=\"/dir/index.html\", response=\"6629fae49393a05397450978507c4ef1\", \
         opaque=\"5ccc069c403ebaf9f0171e9517f40e41\", qop=auth, nc=00000001, cnonce=\"0a4f113b\""
    );
    let rfc_7616 = |algorithm: &str| {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    };
    for (algorithm, expected) in [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        (
            "SHA-256",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (
            "SHA-512-256",
            "430d05014cecc49cab6fbe03176d41a1da86cbfe24a16580e22aaad928d960d0",
        ),
        ("MD5-sess", "e783283f46242139c486a698fec7211d"),
        (
            "SHA-256-sess",
            "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7",
        ),
    ] {
        let value = answer(
            &rfc_7616(algorithm),
            ("Mufasa", "Circle of Life"),
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            ("GET", "/dir/index.html"),
        );
        assert_eq!(response(&value), expected, "{algorithm}");
        assert!(
            value.contains(&format!(", algorithm={algorithm},")),
            "{value}"
        );
    }
}

/// The form of RFC 2069, as most cameras use it, computed with Python's `hashlib`.
#[test]
fn quirk_5_without_qop_there_are_the_five_fields_alone() {
    let value = answer(
        "Digest realm=\"IP Camera\", nonce=\"abc\"",
        ("admin", "12345"),
        "x",
        ("DESCRIBE", "rtsp://192.0.2.1:554/h264"),
    );
    assert_eq!(
        value,
        "Digest username=\"admin\", realm=\"IP Camera\", nonce=\"abc\", uri=\"rtsp://192.0.2.1:554/h264\", \
         response=\"be8d0a56782d659d67e65e940ca15624\""
    );
}

#[test]
fn basic() {
    let value = answer(
        "Basic realm=\"x\"",
        ("Aladdin", "open sesame"),
        "",
        ("PLAY", "/"),
    );
    assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

#[test]
fn counts_rise_until_there_is_a_new_nonce() {
    let mut auth = Authenticator::new(Some(Credentials::new("u", "p")), Some(1));
    assert_eq!(auth.authorization("PLAY", "x"), None);
    let challenge = |nonce: &str, stale| {
        format!("Digest realm=\"r\", qop=auth, nonce=\"{nonce}\", stale={stale}")
    };
    auth.challenged([challenge("1", false).as_str()].into_iter())
        .unwrap();
    let count = |auth: &mut Authenticator| {
        let value = auth.authorization("PLAY", "x").unwrap();
        value[value.find("nc=").unwrap()..][3..11].to_owned()
    };
    assert_eq!(count(&mut auth), "00000001");
    assert_eq!(count(&mut auth), "00000002");
    let quirks = auth
        .challenged([challenge("2", true).as_str()].into_iter())
        .unwrap();
    assert!(!quirks.contains(&Quirk::DigestNonceChanges));
    assert_eq!(count(&mut auth), "00000001");
    // A nonce that changes silently is taken for one only once the password is proved.
    auth.accepted();
    let quirks = auth
        .challenged([challenge("3", false).as_str()].into_iter())
        .unwrap();
    assert!(quirks.contains(&Quirk::DigestNonceChanges));
    auth.challenged([challenge("4", true).as_str()].into_iter())
        .unwrap();
    // Not without end.
    let last = auth.challenged([challenge("5", true).as_str()].into_iter());
    assert_eq!(last, Err(RtspError::WrongPassword));
}

/// Returns the kinds of answers that a camera gets that refuses all.
fn tried(challenges: &[&str]) -> (Vec<String>, RtspError) {
    let mut auth = Authenticator::new(Some(Credentials::new("u", "p")), Some(1));
    let mut tried = Vec::new();
    loop {
        match auth.challenged(challenges.iter().copied()) {
            Ok(_) => {
                let value = auth.authorization("PLAY", "x").unwrap();
                let algorithm = value
                    .find("algorithm=")
                    .map(|at| value[at + 10..].split(',').next().unwrap());
                let scheme = value.split(' ').next().unwrap();
                tried.push(format!("{scheme} {}", algorithm.unwrap_or("-")));
            }
            Err(error) => return (tried, error),
        }
    }
}

#[test]
fn quirk_4_the_strongest_first_and_the_next_once() {
    let md5 = "Digest realm=\"r\", nonce=\"n\", algorithm=MD5";
    let sha = "Digest realm=\"r\", nonce=\"n\", algorithm=\"SHA-256\"";
    let sha512 = "Digest realm=\"r\",nonce=\"n\",algorithm=SHA-512-256";
    let basic = "Basic realm=\"r\"";
    let all = format!("{basic}, {md5}, {sha}");
    for (challenges, expected) in [
        (vec![basic, md5], vec!["Digest MD5", "Basic -"]),
        (vec![md5, basic], vec!["Digest MD5", "Basic -"]),
        (vec![all.as_str()], vec!["Digest SHA-256", "Digest MD5"]),
        (
            vec![md5, sha512, sha],
            vec!["Digest SHA-512-256", "Digest SHA-256"],
        ),
        (vec![md5], vec!["Digest MD5"]),
        (
            vec!["Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"", basic],
            vec!["Basic -"],
        ),
        (vec!["Negotiate", md5], vec!["Digest MD5"]),
    ] {
        let (tried, error) = tried(&challenges);
        assert_eq!(tried, expected, "{challenges:?}");
        assert_eq!(error, RtspError::WrongPassword);
    }
}

#[test]
fn without_a_password_or_a_known_kind_it_says_so() {
    let mut auth = Authenticator::new(None, None);
    let refused = auth.challenged(["Basic realm=\"x\""].into_iter());
    assert_eq!(refused, Err(RtspError::PasswordNeeded));
    let mut auth = Authenticator::new(Some(Credentials::new("u", "p")), None);
    for (challenge, named) in [
        ("Negotiate", "Negotiate"),
        (
            "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-1",
            "Digest SHA-1",
        ),
        ("Negotiate abc==, NTLM", "Negotiate, abc, NTLM"),
    ] {
        let error = auth.challenged([challenge].into_iter()).unwrap_err();
        assert!(matches!(error, RtspError::Authentication(_)), "{error:?}");
        if !challenge.contains("==") {
            assert_eq!(error, RtspError::Authentication(named.to_owned()));
        }
    }
    let error = auth.challenged(std::iter::empty()).unwrap_err();
    assert_eq!(error, RtspError::Authentication("it names none".to_owned()));
}

#[test]
fn challenges_as_cameras_write_them() {
    for value in [
        "Digest realm=\"a, b=c\", nonce=\"n\"",
        "digest  REALM = \"a, b=c\" ,, nonce= \"n\" ,",
        "Digest realm=\"a, b=c\";nonce=\"n\"",
        "Digest realm=\"a, b=c\" nonce=n",
        "realm=\"a, b=c\", nonce=\"n\"",
        "Digest nonce=n, realm=\"a, b=c",
    ] {
        let (usable, others) = challenge::parse([value].into_iter());
        assert_eq!(usable.len(), 1, "{value}");
        assert_eq!(usable[0].realm, "a, b=c", "{value}");
        assert_eq!(usable[0].nonce, "n", "{value}");
        assert!(others.is_empty(), "{value}");
    }
    // Escapes are sent back as they came.
    let (usable, _) = challenge::parse(["Digest realm=\"a\\\"b\", nonce=\"n\""].into_iter());
    assert_eq!(usable[0].realm, "a\\\"b");
    let many = "Basic ".repeat(1000);
    let (usable, _) = challenge::parse([many.as_str(), &many].into_iter());
    assert!(usable.len() <= 16);
}

#[test]
fn nothing_shows_the_password() {
    let mut auth = Authenticator::new(Some(Credentials::new("admin", "geheim")), None);
    auth.challenged(["Basic realm=\"x\""].into_iter()).unwrap();
    let shown = format!("{auth:?}");
    assert!(
        !shown.contains("geheim") && !shown.contains("admin"),
        "{shown}"
    );
}
