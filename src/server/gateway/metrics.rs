//! Metrics in the Prometheus text format (exposition format 0.0.4).

use std::fmt::{Display, Write};

/// Media type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writer for metrics.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    text: String,
}

/// Labels of a metric.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Metrics {
    /// Writes a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help, [(&[][..], value)]);
    }

    /// Writes a counter. Its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help, [(&[][..], value)]);
    }

    /// Writes a metric with one value per set of labels; nothing if there are none.
    pub fn family<'a, T: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'a>, T)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP looprtc_{name} {help}");
        let _ = writeln!(self.text, "# TYPE looprtc_{name} {kind}");
        for (labels, value) in values {
            let _ = write!(self.text, "looprtc_{name}");
            for (index, (label, text)) in labels.iter().enumerate() {
                let begin = if index == 0 { '{' } else { ',' };
                let _ = write!(self.text, "{begin}{label}=\"{}\"", escaped(text));
            }
            let end = if labels.is_empty() { "" } else { "}" };
            let _ = writeln!(self.text, "{end} {value}");
        }
    }

    /// Returns the text.
    pub fn into_text(self) -> String {
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_prometheus() {
        let mut metrics = Metrics::default();
        metrics.gauge("peers", "Peers now.", 3);
        metrics.counter("datagrams_received_total", "Datagrams read.", 9);
        let names = ["a\"b\\c\n", "d"];
        let labels = names.map(|name| [("stream", name)]);
        let values = labels.iter().zip([1.5, 2.0]);
        metrics.family(
            "viewers",
            "gauge",
            "Viewers.",
            values.map(|(labels, value)| (&labels[..], value)),
        );
        let none: [(Labels<'_>, u8); 0] = [];
        metrics.family("none", "gauge", "Nothing.", none);
        let expected = "\
# HELP looprtc_peers Peers now.
# TYPE looprtc_peers gauge
looprtc_peers 3
# HELP looprtc_datagrams_received_total Datagrams read.
# TYPE looprtc_datagrams_received_total counter
looprtc_datagrams_received_total 9
# HELP looprtc_viewers Viewers.
# TYPE looprtc_viewers gauge
looprtc_viewers{stream=\"a\\\"b\\\\c\\n\"} 1.5
looprtc_viewers{stream=\"d\"} 2
";
        assert_eq!(metrics.into_text(), expected);
    }
}
