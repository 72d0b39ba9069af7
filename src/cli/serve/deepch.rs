//! The `config.json` of RTSPtoWebRTC and RTSPtoWeb, as settings of ours.

use std::fmt::Write;

use looprtc::proto::ice::IceServer;
use looprtc::server::compat::names::{shown_url, stream_name};
use serde_json::{Map, Value};

use super::setting::{array, quoted};
use super::settings::check_ice_server;

/// Their port if they name none.
const PORT: &str = ":8083";

/// A configuration that was converted.
#[derive(Debug)]
pub struct Converted {
    /// Our configuration file. It has passwords, unless they were to be hidden.
    pub toml: String,
    /// Parts that are left out or mean something else here; sentences for people, without passwords.
    pub notes: Vec<String>,
}

/// Returns `true` if the text of a configuration file is JSON. TOML never begins with a brace.
pub fn is_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('{')
}

/// Converts their configuration to ours.
///
/// # Errors
///
/// Returns a sentence if it is not JSON of that form.
pub fn convert(text: &str, hides_secrets: bool) -> Result<Converted, String> {
    let text = text.trim_start_matches('\u{feff}');
    let root: Value = serde_json::from_str(text).map_err(|e| format!("this is not JSON: {e}"))?;
    let root = root.as_object().ok_or("the file is not a JSON object")?;
    let mut out = Writer {
        hides_secrets,
        ..Writer::default()
    };
    let empty = Map::new();
    let object = |key: &str| match root.get(key) {
        None | Some(Value::Null) => Ok(&empty),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(format!("{key} is not a JSON object")),
    };
    let (server, streams) = (object("server")?, object("streams")?);
    let defaults = object("channel_defaults")?;
    for key in root.keys() {
        if !["server", "streams", "channel_defaults"].contains(&key.as_str()) {
            out.note(format!("{key}: an unknown section, left out"));
        }
    }
    out.server(server);
    for (id, stream) in streams {
        out.stream(id, stream, defaults)?;
    }
    Ok(out.finish())
}

#[derive(Debug, Default)]
struct Writer {
    hides_secrets: bool,
    settings: String,
    ice_servers: String,
    sources: String,
    notes: Vec<String>,
}

impl Writer {
    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn set(&mut self, key: &str, value: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.settings, "{key} = {value}");
    }

    fn secret(&self, secret: &str) -> String {
        match self.hides_secrets {
            true => quoted("***"),
            false => quoted(secret),
        }
    }

    fn server(&mut self, server: &Map<String, Value>) {
        let text = |key: &str| server.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_set = |key: &str| server.get(key).and_then(Value::as_bool).unwrap_or_default();
        let is_secure = is_set("https");
        let port = match (is_secure, text("https_port"), text("http_port")) {
            (true, "", _) => ":443",
            (true, port, _) => port,
            (false, _, "") => PORT,
            (false, _, port) => port,
        };
        let password = text("http_password");
        let is_token = !password.is_empty() && password.bytes().all(|b| b.is_ascii_graphic());
        let has_login = !text("http_login").is_empty() && !password.is_empty();
        match (has_login, is_token) {
            (true, true) => {
                self.set("listen", &quoted(everywhere(port)));
                let token = self.secret(password);
                self.set("token", &token);
                self.set("admin-token", &token);
                self.note(
                    "http_password is the token now, also for watching, which needed none: as password of any user, \
                     as ?token= or as bearer token"
                        .into(),
                );
            }
            (true, false) => {
                self.set(
                    "listen",
                    &quoted(everywhere(port).replace("0.0.0.0", "127.0.0.1")),
                );
                self.note(
                    "http_password has signs that a token cannot have: the server listens for this machine only, \
                     until there is a token"
                        .into(),
                );
            }
            (false, _) => {
                self.set("listen", &quoted(everywhere(port)));
                self.set("open", "true");
                self.note(
                    "there is no http_password: anybody may watch, as before (open = true). Streams are changed by \
                     whoever has the admin-token, which is to be set"
                        .into(),
                );
            }
        }
        self.set("deepch", "true");
        for feature in ["testcard", "rooms", "calls"] {
            self.set(feature, "false");
        }
        if is_secure {
            self.set("certificate", &quoted(text("https_cert")));
            self.set("key", &quoted(text("https_key")));
            if !text("http_port").is_empty() {
                self.note("http_port: there is one port, the one of HTTPS".into());
            }
        }
        self.peers(server);
        self.left_out(server);
    }

    /// Sets ports, addresses and ICE servers.
    fn peers(&mut self, server: &Map<String, Value>) {
        let port = server.get("webrtc_port_min").and_then(Value::as_u64);
        if let Some(port) = port.filter(|port| (1..=65_535).contains(port)) {
            self.set("udp-port", &port.to_string());
            self.note(format!(
                "webrtc_port_min, webrtc_port_max: all viewers share the UDP port {port}"
            ));
        }
        let external = texts(server.get("ice_candidates"));
        if !external.is_empty() {
            self.set("external", &array(&external));
        }
        let text = |key: &str| server.get(key).and_then(Value::as_str).unwrap_or_default();
        for url in texts(server.get("ice_servers")) {
            let (user, password) = (text("ice_username"), text("ice_credential"));
            let is_turn = url.starts_with("turn");
            let ice_server = match is_turn {
                true => IceServer::turn(&url, user, password),
                false => IceServer::stun(&url),
            };
            if let Err(why) = check_ice_server(&ice_server) {
                self.note(format!("ice_servers: left out, {why}"));
                continue;
            }
            let secret = self.secret(password);
            let servers = &mut self.ice_servers;
            // Writing to a text cannot fail.
            let _ = writeln!(servers, "\n[[ice-servers]]\nurls = {}", array(&[url]));
            if is_turn {
                let user = quoted(user);
                let _ = writeln!(servers, "username = {user}\ncredential = {secret}");
            }
        }
    }

    /// Names what has no counterpart.
    fn left_out(&mut self, server: &Map<String, Value>) {
        for (key, value) in server {
            let is_off = matches!(value, Value::Null | Value::Bool(false))
                || value.as_str().is_some_and(str::is_empty);
            let why = match key.as_str() {
                "http_port" | "https" | "https_port" | "https_cert" | "https_key"
                | "http_login" | "http_password" | "ice_servers" | "ice_username"
                | "ice_credential" | "ice_candidates" | "webrtc_port_min" | "webrtc_port_max" => {
                    continue;
                }
                _ if is_off => continue,
                "debug" | "log_level" | "http_debug" => {
                    "the log is set by RUST_LOG, for example RUST_LOG=info"
                }
                "http_demo" | "http_dir" | "http_auth" => "the pages are looprtc's own",
                "https_auto_tls" | "https_auto_tls_name" => {
                    "certificates are not fetched: give certificate and key, or let a proxy do TLS (docs/proxies.md)"
                }
                "rtsp_port" => "streams are not served by RTSP",
                "token" => {
                    let is_enabled = value.get("enable").and_then(Value::as_bool);
                    if is_enabled != Some(true) {
                        continue;
                    }
                    "no other server is asked whether a token is good: set token, and give that one to viewers"
                }
                _ => "an unknown key, left out",
            };
            self.note(format!("server.{key}: {why}"));
        }
    }

    fn stream(
        &mut self,
        id: &str,
        stream: &Value,
        defaults: &Map<String, Value>,
    ) -> Result<(), String> {
        let stream = stream
            .as_object()
            .ok_or_else(|| format!("the stream {id:?} is not a JSON object"))?;
        match stream.get("channels") {
            None => self.channel((id, "0"), stream, true),
            Some(Value::Object(channels)) => {
                for (channel, value) in channels {
                    let own = value.as_object().ok_or_else(|| {
                        format!("the channel {channel:?} of {id:?} is not a JSON object")
                    })?;
                    self.channel((id, channel), &merged(own, defaults), false);
                }
                for key in stream
                    .keys()
                    .filter(|key| !["name", "channels", "status"].contains(&key.as_str()))
                {
                    self.note(format!("streams.{id}.{key}: an unknown key, left out"));
                }
            }
            Some(_) => {
                return Err(format!(
                    "channels of the stream {id:?} is not a JSON object"
                ));
            }
        }
        Ok(())
    }

    /// Adds a source. `is_old`: of RTSPtoWebRTC, whose streams have audio unless they say otherwise.
    fn channel(&mut self, (id, channel): (&str, &str), value: &Map<String, Value>, is_old: bool) {
        let is_set = |key: &str| value.get(key).and_then(Value::as_bool).unwrap_or_default();
        let url = value.get("url").and_then(Value::as_str).unwrap_or_default();
        let scheme = url
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let place = format!("streams.{id}, channel {channel}");
        if !["rtsp", "rtsps"].contains(&scheme.as_str()) {
            let url = shown_url(url);
            return self.note(format!(
                "{place}: left out, {url:?} is no rtsp:// or rtsps:// URL"
            ));
        }
        for key in value.keys() {
            let known = [
                "url",
                "name",
                "on_demand",
                "disable_audio",
                "audio",
                "debug",
                "status",
                "insecure_skip_verify",
            ];
            if !known.contains(&key.as_str()) {
                self.note(format!("{place}: {key} is an unknown key, left out"));
            }
        }
        let has_audio = match is_old {
            true => !is_set("disable_audio"),
            false => is_set("audio"),
        };
        let flags = [
            ("insecure", is_set("insecure_skip_verify")),
            ("audio=off", !has_audio),
            ("always", !is_set("on_demand")),
        ];
        let flags: Vec<&str> = flags
            .into_iter()
            .filter(|(_, on)| *on)
            .map(|(flag, _)| flag)
            .collect();
        let mut source = match self.hides_secrets {
            true => shown_url(url),
            // A # can only be in a password; ours stands before the options.
            false => url.replace('#', "%23"),
        };
        if !flags.is_empty() {
            source += &format!("#{}", flags.join("&"));
        }
        let name = stream_name(id, channel);
        // Writing to a text cannot fail.
        let _ = writeln!(self.sources, "{} = {}", quoted(name), quoted(source));
    }

    fn finish(self) -> Converted {
        let Self {
            settings,
            ice_servers,
            sources,
            notes,
            ..
        } = self;
        let toml = format!(
            "# The configuration of `looprtc serve`, made of a config.json by `looprtc import`.\n\
             # It has passwords of cameras: keep it to yourself.\n\n\
             {settings}{ice_servers}\n[sources]\n{sources}"
        );
        Converted { toml, notes }
    }
}

/// Returns an address to listen at: theirs is every one of the machine if only a port is given.
fn everywhere(port: &str) -> String {
    match port.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None if port.bytes().all(|b| b.is_ascii_digit()) => format!("0.0.0.0:{port}"),
        None => port.to_owned(),
    }
}

/// Returns a channel over the defaults. As there, a default takes the place of what is empty or false.
fn merged(channel: &Map<String, Value>, defaults: &Map<String, Value>) -> Map<String, Value> {
    let mut all = channel.clone();
    for (key, default) in defaults {
        let is_zero = match channel.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Number(number)) => number.as_f64() == Some(0.0),
            Some(_) => false,
        };
        if is_zero {
            all.insert(key.clone(), default.clone());
        }
    }
    all
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array);
    let texts = all.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{
        "server": { "http_port": ":8083", "ice_servers": ["stun:stun.example.org"], "webrtc_port_min": 50000,
                    "webrtc_port_max": 50100 },
        "streams": {
            "hall": { "url": "rtsp://user:s3cr#t@192.0.2.7/1", "on_demand": false, "disable_audio": true },
            "film": { "url": "rtmp://x:s3cret@192.0.2.8/a" }
        } }"#;

    const NEW: &str = r#"{
        "server": { "http_login": "demo", "http_password": "s3cret", "http_port": "127.0.0.1:80", "rtsp_port": ":5541",
                    "ice_servers": ["turn:192.0.2.1"], "ice_username": "u", "ice_credential": "s3cret",
                    "ice_candidates": ["198.51.100.1"], "http_demo": true, "debug": false, "speed": 9,
                    "token": { "enable": true, "backend": "http://x" } },
        "streams": { "front door": { "name": "Front", "channels": {
            "0": { "name": "main", "url": "rtsp://192.0.2.7/1", "on_demand": true, "audio": true },
            "1": { "name": "sub", "url": "rtsps://192.0.2.7/2", "on_demand": false, "color": "blue" } } } },
        "channel_defaults": { "on_demand": true, "insecure_skip_verify": true } }"#;

    #[test]
    fn rtsp_to_webrtc() {
        let Converted { toml, notes } = convert(OLD, false).unwrap();
        for line in [
            "listen = \"0.0.0.0:8083\"",
            "open = true",
            "deepch = true",
            "udp-port = 50000",
            "urls = [\"stun:stun.example.org\"]",
            "\"hall\" = \"rtsp://user:s3cr%23t@192.0.2.7/1#audio=off&always\"",
        ] {
            assert!(toml.lines().any(|l| l == line), "{line}\n{toml}");
        }
        assert!(!toml.contains("rtmp"));
        let notes = notes.join("\n");
        assert!(
            notes.contains("rtmp://192.0.2.8/a") && !notes.contains("s3cret"),
            "{notes}"
        );
        let hidden = convert(OLD, true).unwrap();
        assert!(!hidden.toml.contains("s3cr"), "{}", hidden.toml);
    }

    #[test]
    fn rtsp_to_web() {
        let Converted { toml, notes } = convert(NEW, false).unwrap();
        for line in [
            "listen = \"127.0.0.1:80\"",
            "token = \"s3cret\"",
            "admin-token = \"s3cret\"",
            "external = [\"198.51.100.1\"]",
            "credential = \"s3cret\"",
            "\"front--20door\" = \"rtsp://192.0.2.7/1#insecure\"",
            // `false` cannot override a default of `true`.
            "\"front--20door--ch1\" = \"rtsps://192.0.2.7/2#insecure&audio=off\"",
        ] {
            assert!(toml.lines().any(|l| l == line), "{line}\n{toml}");
        }
        let notes = notes.join("\n");
        for word in [
            "rtsp_port",
            "http_demo",
            "server.token",
            "server.speed: an unknown",
            "color",
        ] {
            assert!(notes.contains(word), "{word}: {notes}");
        }
        assert!(
            !notes.contains("debug") && !notes.contains("s3cret"),
            "{notes}"
        );
        let hidden = convert(NEW, true).unwrap();
        assert!(!hidden.toml.contains("s3cret"), "{}", hidden.toml);
    }

    #[test]
    fn what_is_no_such_file() {
        for (text, word) in [
            ("{", "JSON"),
            ("[]", "object"),
            ("{\"streams\":[]}", "streams"),
            ("{\"streams\":{\"a\":1}}", "\"a\""),
            ("{\"streams\":{\"a\":{\"channels\":1}}}", "channels"),
        ] {
            let error = convert(text, false).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(is_json("\u{feff} \n{") && !is_json("listen = 'x'"));
        assert!(convert("{}", false).is_ok());
    }
}
