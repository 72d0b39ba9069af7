//! Output of `--print-config`.

use std::fmt::Write;

use looprtc::server::streams::SourceConfig;

use super::setting::{Kind, array, quoted};
use super::settings::Settings;
use super::table;

impl Settings {
    /// Returns the settings in the form of a configuration file. Secrets are omitted, with a note.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for setting in table::SETTINGS {
            if setting.section != section {
                section = setting.section;
                let _ = writeln!(text, "\n[{section}]");
            }
            if let Some(value) = setting.to_toml(self) {
                let _ = writeln!(text, "{} = {value}", setting.key);
            }
            match &setting.kind {
                Kind::Secret(field) if field(&mut self.clone()).is_some() => {
                    let _ = writeln!(text, "# {} is given, and not shown", setting.key);
                }
                Kind::IceServers => self.write_ice_servers(&mut text),
                _ => {}
            }
        }
        text += "\n[sources]\n";
        for (name, url) in &self.sources {
            let _ = match shown(url) {
                Ok(url) => writeln!(text, "{} = {}", quoted(name), quoted(&url)),
                Err(about) => writeln!(
                    text,
                    "# {} = {} has a password, and is not shown",
                    quoted(name),
                    quoted(&about)
                ),
            };
        }
        text
    }

    fn write_ice_servers(&self, text: &mut String) {
        for server in &self.gateway.ice_servers {
            let urls = array(&server.urls);
            let _ = writeln!(text, "\n[[ice-servers]]\nurls = {urls}");
            if !server.username.is_empty() {
                let _ = writeln!(text, "username = {}", quoted(&server.username));
                *text += "# credential is given, and not shown\n";
            }
        }
    }
}

/// Returns the text form of a source, or its description if there may be a secret in the text.
fn shown(url: &str) -> Result<String, String> {
    let is_camera = ["rtsp:", "rtsps:"]
        .iter()
        .any(|s| url.to_ascii_lowercase().starts_with(s));
    let (address, _) = url.split_once('#').unwrap_or((url, ""));
    let about = url
        .parse::<SourceConfig>()
        .map(|s| s.to_string())
        .unwrap_or_default();
    match is_camera && (url.contains('@') || !about.ends_with(address)) || url.contains("#token=") {
        true => Err(about),
        false => Ok(url.to_owned()),
    }
}
