//! The JSON of a camera, as programs send it and as the file keeps it.

use std::fmt;

use serde_json::Value;

/// Maximum length of a URL, in bytes.
pub(super) const MAX_URL: usize = 2048;

/// Maximum length of a user name and of a password, in bytes.
pub(super) const MAX_SECRET: usize = 512;

/// A field with an invalid value, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// The field, for example `url`; empty if the whole is invalid.
    pub field: &'static str,
    /// The fault and its remedy, without secrets.
    pub why: String,
}

impl Invalid {
    pub(super) fn new(field: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { field, why }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            "" => f.write_str(&self.why),
            field => write!(f, "{field}: {}", self.why),
        }
    }
}

/// The fields of a camera that were given; an empty text stands for none. `Debug` shows the name only: others may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub name: Option<String>,
    pub url: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub sub: Option<String>,
    pub audio: Option<bool>,
    pub transport: Option<String>,
    pub always: Option<bool>,
    pub insecure: Option<bool>,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fields")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Fields {
    /// Reads a JSON object. `null` is an empty text, or a field that is not given.
    ///
    /// # Errors
    ///
    /// Returns all fields that are unknown, of another type or too long.
    pub fn read(json: &[u8]) -> Result<Self, Vec<Invalid>> {
        let value = match serde_json::from_slice(json) {
            Ok(Value::Object(value)) => value,
            Ok(_) => return Err(vec![Invalid::new("", "expected a JSON object")]),
            Err(error) => return Err(vec![Invalid::new("", format!("not JSON: {error}"))]),
        };
        let mut fields = Self::default();
        let mut wrong = Vec::new();
        for (key, value) in value {
            if let Err(invalid) = fields.set(&key, value) {
                wrong.push(invalid);
            }
        }
        match wrong.is_empty() {
            true => Ok(fields),
            false => Err(wrong),
        }
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), Invalid> {
        match key {
            "name" => self.name = Some(text("name", value, MAX_SECRET)?),
            "url" => self.url = Some(text("url", value, MAX_URL)?),
            "user" => self.user = Some(text("user", value, MAX_SECRET)?),
            "password" => self.password = Some(text("password", value, MAX_SECRET)?),
            "sub" => self.sub = Some(text("sub", value, MAX_URL)?),
            "audio" => self.audio = flag("audio", &value)?,
            "transport" => self.transport = Some(text("transport", value, MAX_SECRET)?),
            "always" => self.always = flag("always", &value)?,
            "insecure" => self.insecure = flag("insecure", &value)?,
            // So that what was shown can be sent back.
            "hasPassword" => {}
            other => {
                let known = "name, url, user, password, sub, audio, transport, always and insecure";
                let why = format!("{other:.40?} is not a field of a camera; there are {known}");
                return Err(Invalid::new("", why));
            }
        }
        Ok(())
    }
}

fn text(field: &'static str, value: Value, most: usize) -> Result<String, Invalid> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) if text.len() <= most => Ok(text),
        Value::String(_) => Err(Invalid::new(field, format!("has at most {most} bytes"))),
        _ => Err(Invalid::new(field, "expected a text")),
    }
}

fn flag(field: &'static str, value: &Value) -> Result<Option<bool>, Invalid> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        _ => Err(Invalid::new(field, "expected true or false")),
    }
}
