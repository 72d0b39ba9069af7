//! SOAP envelopes, and who asks (WS-Security UsernameToken Profile 1.0).

use std::time::Duration;

use sha1::{Digest, Sha1};

use super::xml::{Element, escape};
use crate::proto::random::Random;
use crate::proto::rtp::base64;
use crate::proto::rtsp::Credentials;

const SECURITY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const UTILITY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const PASSWORD: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// Writes a request around `body`, signed if there are credentials. `time` is the device's, since 1970.
pub(super) fn envelope(
    body: &str,
    signed: Option<(&Credentials, Duration)>,
    random: &mut Random,
) -> String {
    let header = signed.map(|(credentials, time)| token(credentials, time, random));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">{}<s:Body>{body}</s:Body></s:Envelope>",
        header.unwrap_or_default()
    )
}

/// Writes a token: the password is not in it, but its digest with a nonce and the time, base64(SHA-1(nonce + time +
/// password)).
fn token(credentials: &Credentials, time: Duration, random: &mut Random) -> String {
    let nonce: Vec<u8> = (0..2).flat_map(|_| random.bits().to_be_bytes()).collect();
    let created = timestamp(time);
    let password = credentials.password.expose();
    format!(
        "<s:Header><Security s:mustUnderstand=\"1\" xmlns=\"{SECURITY}\"><UsernameToken>\
         <Username>{}</Username><Password Type=\"{PASSWORD}\">{}</Password>\
         <Nonce EncodingType=\"{BASE64}\">{}</Nonce><Created xmlns=\"{UTILITY}\">{created}</Created>\
         </UsernameToken></Security></s:Header>",
        escape(&credentials.user),
        digest(&nonce, &created, password),
        base64::encode(&nonce),
    )
}

pub(super) fn digest(nonce: &[u8], created: &str, password: &str) -> String {
    let digest = Sha1::new()
        .chain_update(nonce)
        .chain_update(created)
        .chain_update(password)
        .finalize();
    base64::encode(&digest)
}

/// Writes a time since 1970 as `2026-12-01T03:04:05Z`.
pub(super) fn timestamp(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days from 1 March of year 0, in eras of 400 years (146,097 days) whose leap days come last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = match month {
        0..10 => (month + 3, year + era * 400),
        _ => (month - 9, year + era * 400 + 1),
    };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads the time that a device says it is, since 1970.
pub(super) fn device_time(answer: &Element) -> Option<Duration> {
    let utc = answer.find("UTCDateTime")?;
    let number = |name| utc.text_of(name)?.parse::<u64>().ok();
    let (year, month, day) = (number("Year")?, number("Month")?, number("Day")?);
    let (hour, minute, second) = (number("Hour")?, number("Minute")?, number("Second")?);
    let is_valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_valid {
        return None;
    }
    // As in `timestamp`: years begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let in_year = (153 * month + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + in_year - 719_468;
    Some(Duration::from_secs(
        days * 86_400 + hour * 3600 + minute * 60 + second,
    ))
}

/// Why a device refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// It wants credentials, or other ones.
    NotAuthorized,
    /// Anything else, in its words.
    Fault(String),
}

/// Reads an answer: its document, or why there is none.
pub(super) fn answer(status: u16, body: &[u8]) -> Result<Element, Refused> {
    let document = Element::parse(body);
    let fault = document
        .as_ref()
        .ok()
        .and_then(|document| document.find("Fault"));
    if let Some(fault) = fault {
        let words: Vec<&str> = ["Value", "Text", "faultcode", "faultstring"]
            .into_iter()
            .flat_map(|name| fault.all(name))
            .map(|element| element.text.as_str())
            .collect();
        let says = |word: &str| words.iter().any(|w| w.to_ascii_lowercase().contains(word));
        if [
            "notauthorized",
            "not authorized",
            "failedauthentication",
            "unauthorized",
        ]
        .iter()
        .any(|w| says(w))
        {
            return Err(Refused::NotAuthorized);
        }
        // The last one is for people.
        let reason = words.iter().rev().find(|word| !word.is_empty()).copied();
        return Err(Refused::Fault(super::discovery::shown(
            reason.unwrap_or("a fault without a reason"),
        )));
    }
    match (status, document) {
        (401 | 403, _) => Err(Refused::NotAuthorized),
        (200..300, Ok(document)) => Ok(document),
        (200..300, Err(reason)) => Err(Refused::Fault(reason)),
        (status, _) => Err(Refused::Fault(format!("HTTP status {status}"))),
    }
}
