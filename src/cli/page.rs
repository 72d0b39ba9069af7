//! The text below the options in help and man pages: notes, examples, exit status.

/// Text of a command's page: shown by `--help`, and as separate sections in a man page.
pub struct Page {
    /// The command in a few sentences.
    pub about: &'static str,
    /// Notes, in whole sentences.
    pub notes: &'static [&'static str],
    /// Command lines, each with its purpose (may be empty).
    pub examples: &'static [(&'static str, &'static str)],
    /// Exit statuses with their meanings.
    pub exit: &'static [(&'static str, &'static str)],
}

/// Exit statuses of most commands.
pub const EXIT: &[(&str, &str)] = &[
    ("0", "success"),
    ("1", "failure; the last line says what failed and why"),
    ("2", "the command line is wrong"),
];

impl Page {
    /// Returns the text below the options of `--help`.
    pub fn help(&self) -> String {
        let mut text = String::new();
        for note in self.notes {
            text += &format!("{note}\n");
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        text += "Examples:\n";
        // The purpose is beside the command if there is room, and above it otherwise.
        let lines = self.examples.iter().flat_map(|(c, _)| c.lines());
        let width = lines.map(|line| line.chars().count()).max().unwrap_or(0);
        let beside = (self.examples.iter()).all(|(_, what)| width + what.chars().count() <= 92);
        for (command, what) in self.examples {
            let command = command.replace('\n', "\n    ");
            match (what.is_empty(), beside) {
                (true, _) => text += &format!("  {command}\n"),
                (false, true) => text += &format!("  {command:width$}    {what}\n"),
                (false, false) => text += &format!("  # {what}\n  {command}\n"),
            }
        }
        text += "\nExit status:\n";
        for (status, when) in self.exit {
            text += &format!("  {status}  {when}\n");
        }
        text.pop();
        text
    }
}
