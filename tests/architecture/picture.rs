//! Reads the picture in ARCHITECTURE.md: layers between horizontal lines, from top to bottom, and their modules.
//!
//! A line of a layer that names folders or files of `src` begins with one blank; a line that names modules in it with
//! three, as `   sockets, udp    what they do`. All other lines are prose.

use crate::graph::Module;

/// The modules that are drawn, from top to bottom.
#[derive(Debug, Default)]
pub struct Picture {
    modules: Vec<(Module, Place)>,
}

/// Where something is drawn: the number of its layer, and of its place within the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(usize, usize);

impl Picture {
    /// Takes the whole page; the picture is its first block of code.
    pub fn read(page: &str) -> Self {
        let mut picture = Self::default();
        let (mut layer, mut folder) = (0, Vec::new());
        let lines = page.lines().skip_while(|line| *line != "```").skip(1);
        for line in lines.take_while(|line| *line != "```") {
            if line.trim_start().starts_with('─') {
                layer += 1;
                folder.clear();
                continue;
            }
            for module in layer_folders(line) {
                folder.clone_from(&module);
                picture.modules.push((module, Place(layer, 0)));
            }
            for name in names(line).filter(|_| !folder.is_empty()) {
                let place = Place(layer, picture.modules.len());
                picture
                    .modules
                    .push(([&folder[..], &[name]].concat(), place));
            }
        }
        picture
    }

    /// Returns the place of a module: that of the innermost one drawn around it. What is drawn nowhere is at the very top.
    pub fn place(&self, module: &Module) -> Place {
        let around = self.modules.iter().filter(|(m, _)| module.starts_with(m));
        let innermost = around.max_by_key(|(m, _)| m.len());
        innermost.map_or(Place(0, 0), |(_, place)| *place)
    }

    pub fn modules(&self) -> Vec<Module> {
        self.modules
            .iter()
            .map(|(module, _)| module.clone())
            .collect()
    }
}

/// Returns the folders and files of `src` at the beginning of a line.
fn layer_folders(line: &str) -> impl Iterator<Item = Module> {
    let words = line.split_whitespace();
    let is_path = |word: &&str| word.ends_with('/') || word.ends_with(".rs");
    let is_line = line.starts_with(' ') && !line.starts_with("  ");
    words
        .take_while(is_path)
        .filter_map(|word| word.strip_prefix("src/"))
        .filter(move |word| is_line && *word != "main.rs")
        .map(|word| {
            vec![
                word.trim_end_matches('/')
                    .trim_end_matches(".rs")
                    .to_string(),
            ]
        })
}

/// Returns the modules that a line begins with.
fn names(line: &str) -> impl Iterator<Item = String> {
    let inside = line
        .strip_prefix("   ")
        .filter(|rest| !rest.starts_with(' '));
    let list = inside
        .and_then(|rest| rest.split("  ").next())
        .unwrap_or_default();
    let is_name = |name: &str| {
        let name = name.strip_suffix('/').unwrap_or(name);
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')
    };
    let names: Vec<&str> = list.split(", ").collect();
    let is_list = names.iter().all(|name| is_name(name));
    let names = if is_list { names } else { Vec::new() };
    let names: Vec<String> = names
        .iter()
        .map(|name| name.trim_end_matches('/').into())
        .collect();
    names.into_iter()
}

/// Returns the paths in code spans of a page that begin at the repository's root, with `{a,b}` written out. A name
/// behind another path in the same cell, as `source/config.rs`, is not looked at.
pub fn paths(page: &str) -> Vec<String> {
    let spans = page.split('`').skip(1).step_by(2);
    let roots = [
        "src/",
        "tests/",
        "docs/",
        "contrib/",
        "examples/",
        "benches/",
        "fuzz/",
    ];
    spans
        .filter(|span| {
            roots.iter().any(|root| span.starts_with(root)) && !span.contains([' ', '*'])
        })
        .flat_map(|span| match (span.find('{'), span.find('}')) {
            (Some(open), Some(close)) => {
                let (before, after) = (&span[..open], &span[close + 1..]);
                let names = span[open + 1..close].split(',');
                names.map(|name| format!("{before}{name}{after}")).collect()
            }
            _ => vec![span.to_string()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text\n```\n src/top/  src/main.rs   prose\n   first/   prose, more\n ────\n src/low/\n   a, b/    prose\n             more prose\n   (prose)\n     deeper  prose\n```\n";

    fn module(path: &str) -> Module {
        path.split("::").map(String::from).collect()
    }

    #[test]
    fn layers_and_modules_have_their_places() {
        let picture = Picture::read(PAGE);
        let drawn: Vec<String> = picture.modules().iter().map(|m| m.join("::")).collect();
        assert_eq!(drawn, ["top", "top::first", "low", "low::a", "low::b"]);
        let place = |path| picture.place(&module(path));
        assert!(place("top::first::x") < place("low"));
        assert!(place("low::a") < place("low::b::y"));
        assert_eq!(place("low::c"), place("low"));
        assert!(place("unknown") < place("top::first"));
    }

    #[test]
    fn paths_with_alternatives_are_written_out() {
        assert_eq!(
            paths("`src/a/{b,c}.rs` and `d.rs`, `docs/e.md`"),
            ["src/a/b.rs", "src/a/c.rs", "docs/e.md"]
        );
    }
}
