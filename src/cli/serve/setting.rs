//! A setting of `looprtc serve`: its names, its help, and access to its value from texts. [`super::table`] has all of them.

use std::ops::RangeInclusive;

use looprtc::proto::ice::IceServer;

use super::settings::{self, Secret, Settings};

/// A key of the configuration file.
pub struct Setting {
    /// The section that contains it; empty for none.
    pub section: &'static str,
    pub key: &'static str,
    /// Explanation in `contrib/looprtc.toml`, one item per line; empty if the explanation of the previous key covers
    /// this one.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "contrib/looprtc.toml is made of it, by a test")
    )]
    pub about: &'static [&'static str],
    /// Value suggested by `contrib/looprtc.toml` if there is no default.
    #[cfg_attr(not(test), allow(dead_code, reason = "see above"))]
    pub example: &'static str,
    /// `None` if it can be set in the configuration file only.
    pub option: Option<CliOption>,
    pub kind: Kind,
}

/// An option of the command line.
pub struct CliOption {
    pub name: &'static str,
    /// Name of the value; empty for a flag.
    pub value: &'static str,
    pub help: &'static str,
    pub heading: Heading,
}

/// Section of the help text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heading {
    Door,
    Peers,
    Turn,
    Features,
}

impl Heading {
    pub const ALL: [Self; 4] = [Self::Door, Self::Peers, Self::Turn, Self::Features];

    pub fn text(self) -> &'static str {
        match self {
            Self::Door => "Pages, WHIP and WHEP",
            Self::Peers => "Peers",
            Self::Turn => "TURN server in the same process, for viewers behind strict firewalls",
            Self::Features => "Features",
        }
    }
}

/// Type of a setting, and access to its value.
pub enum Kind {
    /// The option enables it.
    Flag(fn(&mut Settings) -> &mut bool),
    /// The option disables it.
    On(fn(&mut Settings) -> &mut bool),
    Number {
        range: RangeInclusive<i64>,
        get: fn(&Settings) -> i64,
        /// Called with a number in the range.
        set: fn(&mut Settings, i64),
    },
    Text(fn(&mut Settings) -> &mut Option<String>),
    /// A secret, which is not printed.
    Secret(fn(&mut Settings) -> &mut Option<Secret>),
    Parsed {
        get: fn(&Settings) -> Option<String>,
        set: fn(&mut Settings, &str) -> Result<(), String>,
    },
    List {
        get: fn(&Settings) -> Vec<String>,
        /// Replaces all elements.
        set: fn(&mut Settings, &[String]) -> Result<(), ListError>,
    },
    /// ICE servers: texts, or sections of the file.
    IceServers,
}

/// Position of the invalid text in its list, and the error.
pub type ListError = (usize, String);

impl Setting {
    /// Returns its value in the syntax of the configuration file; `None` if it is not set, or a secret.
    pub fn to_toml(&self, settings: &Settings) -> Option<String> {
        // Fields can be accessed by `&mut` only.
        let mut copy = settings.clone();
        match &self.kind {
            Kind::Flag(field) | Kind::On(field) => Some(field(&mut copy).to_string()),
            Kind::Number { get, .. } => Some(get(settings).to_string()),
            Kind::Text(field) => field(&mut copy).as_ref().map(quoted),
            Kind::Parsed { get, .. } => get(settings).map(quoted),
            Kind::List { get, .. } => Some(array(&get(settings))),
            Kind::Secret(_) | Kind::IceServers => None,
        }
    }

    /// Returns the help text of its option, with the default if the text lacks it.
    pub fn help(&self, option: &CliOption) -> String {
        let default = match &self.kind {
            _ if option.help.contains("[default") => None,
            Kind::Number { get, .. } => Some(get(&Settings::default()).to_string()),
            Kind::Parsed { get, .. } => get(&Settings::default()),
            Kind::List { get, .. } => {
                Some(get(&Settings::default()).join(" and ")).filter(|all| !all.is_empty())
            }
            _ => None,
        };
        match default {
            Some(default) => format!("{} [default: {default}]", option.help),
            None => option.help.to_owned(),
        }
    }

    /// Checks the text of its option.
    ///
    /// # Errors
    ///
    /// Returns a description of valid values.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let mut scratch = Settings::default();
        match &self.kind {
            Kind::Number { range, .. } => number(range, text).map(|_| ()),
            Kind::Parsed { set, .. } => set(&mut scratch, text),
            Kind::List { set, .. } => set(&mut scratch, &[text.to_owned()]).map_err(|(_, why)| why),
            // Checked when it is applied: an error must not print an ICE server with its password.
            _ => Ok(()),
        }
    }

    /// Applies texts of its option that were [checked](Self::check); none for a flag.
    pub fn apply(&self, settings: &mut Settings, texts: &[String]) -> Result<(), String> {
        let text = texts.first().map(String::as_str).unwrap_or_default();
        match &self.kind {
            Kind::Flag(field) => *field(settings) = true,
            Kind::On(field) => *field(settings) = false,
            Kind::Number { range, set, .. } => set(settings, number(range, text)?),
            Kind::Text(field) => *field(settings) = Some(text.to_owned()),
            Kind::Secret(field) => *field(settings) = Some(Secret(text.to_owned())),
            Kind::Parsed { set, .. } => set(settings, text)?,
            Kind::List { set, .. } => set(settings, texts).map_err(|(_, why)| why)?,
            Kind::IceServers => {
                let servers = texts.iter().map(|text| settings::ice_server(text));
                settings.gateway.ice_servers = servers.collect::<Result<Vec<IceServer>, _>>()?;
            }
        }
        Ok(())
    }

    /// Resets it to its default, if that is empty.
    pub fn clear(&self, settings: &mut Settings) {
        match &self.kind {
            Kind::Flag(field) => *field(settings) = false,
            Kind::Text(field) => *field(settings) = None,
            Kind::Secret(field) => *field(settings) = None,
            _ => {}
        }
    }
}

/// Parses a number in this range.
fn number(range: &RangeInclusive<i64>, text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(number) if number < *range.start() => {
            Err(format!("expected a number of at least {}", range.start()))
        }
        Ok(number) if number > *range.end() => {
            Err(format!("expected a number of at most {}", range.end()))
        }
        parsed => parsed.map_err(|error: std::num::ParseIntError| error.to_string()),
    }
}

/// Quotes a text. TOML's basic strings have the same escapes as JSON's.
pub fn quoted(value: impl ToString) -> String {
    serde_json::Value::from(value.to_string()).to_string()
}

/// Formats a list of texts.
pub fn array(values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(quoted).collect();
    format!("[{}]", values.join(", "))
}
