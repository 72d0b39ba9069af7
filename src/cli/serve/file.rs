//! The configuration file in TOML; `contrib/looprtc.toml` explains every key.

use std::fmt;
use std::io::Read as _;
use std::ops::RangeInclusive;

use looprtc::proto::ice::IceServer;
use toml_span::value::{Table, ValueInner};
use toml_span::{Span, Value};

use super::cameras;
use super::setting::{Kind, Setting};
use super::settings::{self, Secret, Settings};
use super::table::SETTINGS;

/// Maximum size of the file, in bytes.
const MAX_FILE: usize = 1 << 20;

/// The keys of an `[[ice-servers]]` section.
const SERVER_KEYS: &[&str] = &["urls", "username", "credential"];

/// An error in the file, with its line.
#[derive(Debug, PartialEq)]
pub struct FileError {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// Reads a text file, of whatever file type.
pub fn load(path: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let most = MAX_FILE as u64;
    let read = std::fs::File::open(path)?
        .take(most + 1)
        .read_to_string(&mut text)?;
    if read as u64 > most {
        let why = "a configuration file has at most 1,048,576 bytes";
        return Err(std::io::Error::other(why));
    }
    Ok(text)
}

/// Applies a file to the settings.
pub fn read(text: &str, settings: &mut Settings) -> Result<(), FileError> {
    let reader = Reader { text };
    let mut document = toml_span::parse(text).map_err(|error| {
        let what = error.kind.to_string();
        reader.error(error.span, format!("this is not TOML: {what}"))
    })?;
    let mut table = reader.table(&mut document, "the file")?;
    let mut known = keys("");
    known.extend(["sources", "cameras", "turn"]);
    reader.check_keys(&table, &known, "")?;
    reader.section("", &mut table, settings)?;
    if let Some(mut turn) = take(&mut table, "turn") {
        let mut table = reader.table(&mut turn, "turn")?;
        reader.check_keys(&table, &keys("turn"), "turn")?;
        // A section for the server enables it, unless it says otherwise.
        settings.turn.enabled = true;
        reader.section("turn", &mut table, settings)?;
    }
    if let Some(mut sources) = take(&mut table, "sources") {
        reader.sources(&mut sources, settings)?;
    }
    if let Some(mut cameras) = take(&mut table, "cameras") {
        reader.cameras(&mut cameras, settings)?;
    }
    Ok(())
}

/// Returns the keys of a section.
fn keys(section: &str) -> Vec<&'static str> {
    let settings = SETTINGS.iter().filter(|s| s.section == section);
    settings.map(|setting| setting.key).collect()
}

struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    fn section(
        &self,
        section: &str,
        table: &mut Table<'_>,
        settings: &mut Settings,
    ) -> Result<(), FileError> {
        for setting in SETTINGS.iter().filter(|s| s.section == section) {
            if let Some(value) = take(table, setting.key) {
                self.setting(setting, value, settings)?;
            }
        }
        Ok(())
    }

    fn setting(
        &self,
        setting: &Setting,
        value: Value<'_>,
        settings: &mut Settings,
    ) -> Result<(), FileError> {
        let key = setting.key;
        match &setting.kind {
            Kind::Flag(field) | Kind::On(field) => *field(settings) = self.flag(value, key)?,
            Kind::Number { range, set, .. } => set(settings, self.number(value, key, range)?),
            Kind::Text(field) => *field(settings) = Some(self.string(value, key)?),
            Kind::Secret(field) => *field(settings) = Some(Secret(self.string(value, key)?)),
            Kind::Parsed { set, .. } => {
                let span = value.span;
                let text = self.string(value, key)?;
                let set = set(settings, &text);
                set.map_err(|what| self.error(span, format!("{key} {text:?}: {what}")))?;
            }
            Kind::List { set, .. } => {
                let (spans, texts): (Vec<_>, Vec<_>) = self.list(value, key)?.into_iter().unzip();
                set(settings, &texts).map_err(|(at, what)| {
                    let (span, text) = (spans[at], &texts[at]);
                    self.error(span, format!("{key} {text:?}: {what}"))
                })?;
            }
            Kind::IceServers => settings.gateway.ice_servers = self.ice_servers(value)?,
        }
        Ok(())
    }

    fn ice_servers(&self, mut servers: Value<'_>) -> Result<Vec<IceServer>, FileError> {
        let span = servers.span;
        let ValueInner::Array(servers) = servers.take() else {
            return Err(self.error(
                span,
                "ice-servers: expected [[ice-servers]] sections, or a list of URLs",
            ));
        };
        let read = servers.into_iter().map(|server| self.ice_server(server));
        read.collect()
    }

    fn ice_server(&self, mut value: Value<'_>) -> Result<IceServer, FileError> {
        let span = value.span;
        let mut server = IceServer::default();
        if value.as_str().is_some() {
            server.urls = vec![self.string(value, "ice-servers")?];
        } else {
            let mut table = self.table(&mut value, "ice-servers")?;
            self.check_keys(&table, SERVER_KEYS, "ice-servers")?;
            if let Some(urls) = take(&mut table, "urls") {
                let urls = self.list(urls, "urls")?.into_iter();
                server.urls = urls.map(|(_, url)| url).collect();
            }
            for (key, to) in [
                ("username", &mut server.username),
                ("credential", &mut server.credential),
            ] {
                if let Some(value) = take(&mut table, key) {
                    *to = self.string(value, key)?;
                }
            }
            if server.urls.is_empty() {
                return Err(self.error(
                    span,
                    "an ICE server needs urls, for example [\"stun:stun.example.org\"]",
                ));
            }
        }
        settings::check_ice_server(&server).map_err(|what| self.error(span, what))?;
        Ok(server)
    }

    fn sources(&self, value: &mut Value<'_>, settings: &mut Settings) -> Result<(), FileError> {
        for (key, value) in self.table(value, "sources")? {
            let span = value.span;
            let url = self.string(value, &key.name)?;
            settings::check_source(&key.name, &url).map_err(|what| self.error(span, what))?;
            settings.sources.insert(key.name.into_owned(), url);
        }
        Ok(())
    }

    fn cameras(&self, value: &mut Value<'_>, settings: &mut Settings) -> Result<(), FileError> {
        for (name, mut section) in self.table(value, "cameras")? {
            let span = section.span;
            let name = name.name.into_owned();
            let table = self.table(&mut section, &format!("cameras.{name}"))?;
            let text =
                cameras::text(&name, span, table).map_err(|(at, what)| self.error(at, what))?;
            settings::check_source(&name, &text).map_err(|what| self.error(span, what))?;
            if settings.sources.insert(name.clone(), text).is_some() {
                let what = format!("{name} is in [sources] and in [cameras]; a name is there once");
                return Err(self.error(span, what));
            }
        }
        Ok(())
    }

    fn table<'v>(&self, value: &mut Value<'v>, what: &str) -> Result<Table<'v>, FileError> {
        match value.take() {
            ValueInner::Table(table) => Ok(table),
            other => Err(self.wanted(value.span, what, "a section", &other)),
        }
    }

    fn string(&self, mut value: Value<'_>, key: &str) -> Result<String, FileError> {
        match value.take() {
            ValueInner::String(text) => Ok(text.into_owned()),
            other => Err(self.wanted(value.span, key, "a text in quotes", &other)),
        }
    }

    fn flag(&self, mut value: Value<'_>, key: &str) -> Result<bool, FileError> {
        match value.take() {
            ValueInner::Boolean(flag) => Ok(flag),
            other => Err(self.wanted(value.span, key, "true or false", &other)),
        }
    }

    fn number(
        &self,
        mut value: Value<'_>,
        key: &str,
        range: &RangeInclusive<i64>,
    ) -> Result<i64, FileError> {
        match value.take() {
            ValueInner::Integer(number) if range.contains(&number) => Ok(number),
            ValueInner::Integer(number) => {
                let (least, most) = (range.start(), range.end());
                let what =
                    format!("{key}: expected a number from {least} to {most}, found {number}");
                Err(self.error(value.span, what))
            }
            other => Err(self.wanted(value.span, key, "a number", &other)),
        }
    }

    /// Returns the texts of a list, each with its position.
    fn list(&self, mut value: Value<'_>, key: &str) -> Result<Vec<(Span, String)>, FileError> {
        match value.take() {
            ValueInner::Array(values) => {
                let text = |value: Value<'_>| Ok((value.span, self.string(value, key)?));
                values.into_iter().map(text).collect()
            }
            // A single one needs no brackets.
            ValueInner::String(text) => Ok(vec![(value.span, text.into_owned())]),
            other => Err(self.wanted(
                value.span,
                key,
                "a list, for example [\"…\", \"…\"]",
                &other,
            )),
        }
    }

    /// Refuses unknown keys, and suggests similar ones.
    fn check_keys(
        &self,
        table: &Table<'_>,
        known: &[&str],
        section: &str,
    ) -> Result<(), FileError> {
        let unknown = table.keys().find(|key| !known.contains(&&*key.name));
        let Some(key) = unknown else { return Ok(()) };
        let place = match section {
            "" => String::new(),
            section => format!(" in [{section}]"),
        };
        let hint = match nearest(&key.name, known) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known are {}", known.join(", ")),
        };
        let what = format!("unknown key {:?}{place}; {hint}", key.name);
        Err(self.error(key.span, what))
    }

    fn wanted(&self, span: Span, key: &str, expected: &str, found: &ValueInner<'_>) -> FileError {
        let found = found.type_str();
        self.error(span, format!("{key}: expected {expected}, found {found}"))
    }

    fn error(&self, span: Span, what: impl Into<String>) -> FileError {
        let before = self
            .text
            .as_bytes()
            .get(..span.start)
            .unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let what = what.into();
        FileError { line, what }
    }
}

fn take<'v>(table: &mut Table<'v>, key: &str) -> Option<Value<'v>> {
    table.remove(key)
}

/// Returns the known key with the smallest edit distance, if that is small.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|k| (distance(key, k), *k)).min()?;
    (near.0 <= 1 + key.len() / 4).then_some(near.1)
}

/// Returns the edit distance: insertions, deletions and substitutions (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../contrib/looprtc.toml");

    fn settings(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        read(text, &mut settings).map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn the_example_says_the_defaults() {
        let read = settings(EXAMPLE).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Settings::default()));
    }

    /// Text after `#` at the beginning of a line can be uncommented.
    #[test]
    fn the_example_explains_every_key_and_what_it_proposes_is_read() {
        let mut proposed = String::new();
        for line in EXAMPLE.lines() {
            proposed += match line.strip_prefix('#') {
                Some(text) if !text.starts_with(' ') => text,
                _ => line,
            };
            proposed.push('\n');
        }
        let all = settings(&proposed).unwrap();
        assert!(all.token.is_some() && all.turn.ports.is_some(), "{all:?}");
        assert!(!all.sources.is_empty() && !all.gateway.ice_servers.is_empty());
        let document = toml_span::parse(&proposed).unwrap();
        let explained = |pointer: &str| document.pointer(pointer).is_some();
        for key in keys("") {
            assert!(explained(&format!("/{key}")), "{key}");
        }
        for key in keys("turn") {
            assert!(explained(&format!("/turn/{key}")), "turn.{key}");
        }
        for key in SERVER_KEYS {
            assert!(
                explained(&format!("/ice-servers/0/{key}")),
                "ice-servers.{key}"
            );
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let mut all = settings(
            "listen = '[::]:80'\nopen = true\nallow-origins = ['https://a.example']\nexternal = '192.0.2.1'\nice-servers = ['stun:a.example']\n[turn]\n\
             ports = '5-9'\nallow-peers = ['10.0.0.0/8']\n[sources]\na = 'x\"\\y'\n",
        )
        .unwrap();
        assert!(all.turn.enabled);
        let again = settings(&all.to_toml()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{all:?}"));
        all.token = Some(Secret("wonderland".into()));
        all.gateway.ice_servers = vec![IceServer::turn("turn:b.example", "u", "wonderland")];
        assert!(!all.to_toml().contains("wonderland"));
        assert!(!format!("{all:?}").contains("wonderland"));
    }

    #[test]
    fn errors_name_the_line_and_what_to_do() {
        let error = |text: &str| settings(text).unwrap_err();
        assert_eq!(
            error("\nlisen = 'x'"),
            "2: unknown key \"lisen\"; did you mean listen?"
        );
        assert!(error("magic = 1").starts_with("1: unknown key \"magic\"; known are listen, "));
        let text = error("[turn]\n\nport = '5-9'");
        assert_eq!(
            text,
            "3: unknown key \"port\" in [turn]; did you mean ports?"
        );
        assert_eq!(
            error("open = 'yes'"),
            "1: open: expected true or false, found string"
        );
        assert!(error("allow-origins = 'https://a.example/page'").contains("without a path"));
        assert!(error("udp-port = 70000").contains("from 0 to 65535, found 70000"));
        assert!(error("listen = 'here'").starts_with("1: listen \"here\": expected an address"));
        assert!(
            error("a = \n").starts_with("1: this is not TOML"),
            "{}",
            error("a = \n")
        );
        assert!(error("ice-servers = ['turn:a']").contains("needs a username"));
        assert!(error("ice-servers = ['http://a']").contains("stun:"));
        assert!(error("[sources]\n'a b' = 'x'").contains("2: ' ' in the name"));
        assert!(error("[[ice-servers]]\nusername = 'x'").contains("needs urls"));
        assert!(error("open = true\nopen = true").starts_with("2: "));
    }

    #[test]
    fn a_camera_has_a_section() {
        let mut settings = Settings::default();
        let text = "[cameras.yard]\nurl = 'rtsp://cam.lan/1?a=1&b'\nsub = '/2?a=1&b'\nuser = 'admin'\n\
                    password = 'p@ss:/#&?'\naudio = false\nvideo = true\nalways = true\ntransport = 'udp'\n\
                    [cameras.door]\nurl = 'rtsps://door'\n";
        read(text, &mut settings).unwrap();
        assert_eq!(
            settings.sources["yard"],
            "rtsp://admin:p%40ss%3A%2F%23%26%3F@cam.lan/1?a=1&b#always&audio=off&sub=/2?a=1%26b&transport=udp"
        );
        assert_eq!(settings.sources["door"], "rtsps://door");
        // No password is printed.
        let printed = settings.to_toml();
        assert!(
            !printed.contains("p%40") && printed.contains("\n\"door\" = \"rtsps://door\"\n"),
            "{printed}"
        );
        assert!(
            printed.contains("# \"yard\" = \"camera, rtsp://cam.lan/1?a=1&b\""),
            "{printed}"
        );
        for (text, word) in [
            ("[cameras.a]\nuser = 'x'", "1: cameras.a needs url"),
            (
                "[cameras.a]\nurl = 'rtsp://a'\nurls = ''",
                "3: cameras.a.urls is unknown; there are url, sub,",
            ),
            (
                "[cameras.a]\nurl = 'rtsp://a'\naudio = 'off'",
                "3: cameras.a.audio: expected true or false",
            ),
            ("[cameras.a]\nurl = 'rtsp://a#always'", "has a #"),
            ("[cameras.a]\nurl = 'http://a'", "whep:http://a"),
            (
                "[cameras.a]\nurl = 'rtsp://a'\ntransport = 'x'",
                "tcp, udp or multicast",
            ),
            (
                "[sources]\na = 'whip:'\n[cameras.a]\nurl = 'rtsp://a'",
                "once",
            ),
            ("cameras = 1", "a section"),
        ] {
            let error = read(text, &mut Settings::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
