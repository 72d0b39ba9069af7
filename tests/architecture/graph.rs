//! Graph of the imports, and its circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::source::{self, Source};

/// The path of a module from the crate's root.
pub type Module = Vec<String>;

/// How far a re-export of a re-export is followed.
const MAX_REEXPORTS: usize = 8;

/// The modules of `src`, each a file, and the imports between them.
pub struct Graph {
    sources: BTreeMap<Module, Source>,
    /// For each pair, where the first names the second.
    pub edges: BTreeMap<(Module, Module), String>,
}

impl Graph {
    /// Reads all files below a folder.
    pub fn read(root: &Path) -> Self {
        let mut texts = BTreeMap::new();
        for file in files(root) {
            let path = file.strip_prefix(root).expect("it was found there");
            let text = fs::read_to_string(&file).expect("source is text");
            // `lib.rs` and `main.rs` are both the root of a crate; what they name lies below them.
            texts.insert(source::module_of(path), (path.display().to_string(), text));
        }
        Self::new(&texts)
    }

    /// Takes the name and the text of each module's file.
    pub fn new(texts: &BTreeMap<Module, (String, String)>) -> Self {
        let mut sources: BTreeMap<Module, Source> = texts
            .iter()
            .map(|(module, (_, text))| (module.clone(), source::read(text, module)))
            .collect();
        let for_tests: Vec<Module> = sources
            .iter()
            .flat_map(|(module, source)| source.test_modules.iter().map(move |name| (module, name)))
            .map(|(module, name)| [module.as_slice(), std::slice::from_ref(name)].concat())
            .filter(|module| module[..] != ["testing"])
            .collect();
        sources.retain(|module, _| !for_tests.iter().any(|test| module.starts_with(test)));
        let edges = BTreeMap::new();
        let mut graph = Self { sources, edges };
        for (module, (file, _)) in texts {
            let Some(source) = graph.sources.get(module) else {
                continue;
            };
            let imports = source.imports.iter().map(|i| (&i.path, i.line));
            let named = imports.chain(source.paths.iter().map(|(path, line)| (path, *line)));
            let found: Vec<_> = named
                .map(|(path, line)| (graph.resolve(path, 0), format!("{file}:{line}")))
                .collect();
            for (target, place) in found {
                // A module and those inside it are one thing: they see each other's private items as well.
                if !module.starts_with(&target) && !target.starts_with(module) {
                    graph.edges.entry((module.clone(), target)).or_insert(place);
                }
            }
        }
        graph
    }

    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.sources.keys()
    }

    /// Returns the module that a path leads to, through re-exports.
    fn resolve(&self, path: &[String], followed: usize) -> Module {
        let is_module = |length: &usize| self.sources.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_module).unwrap_or(0);
        let (module, rest) = path.split_at(length);
        if let (Some(name), Some(source)) = (rest.first(), self.sources.get(module))
            && followed < MAX_REEXPORTS
            && let Some(import) = source.imports.iter().find(|i| i.name == *name)
        {
            let through = [&import.path, &rest[1..]].concat();
            return self.resolve(&through, followed + 1);
        }
        module.to_vec()
    }

    /// Returns the circles: groups of modules, files or folders side by side, in which each reaches each other. Every
    /// circle of files is also one of what lies side by side where their paths part.
    pub fn circles(&self) -> Vec<Vec<Module>> {
        let mut between: BTreeMap<Module, BTreeMap<Module, BTreeSet<Module>>> = BTreeMap::new();
        for (from, to) in self.edges.keys() {
            let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            let side_by_side = between.entry(from[..shared].to_vec()).or_default();
            let targets = side_by_side.entry(from[..=shared].to_vec()).or_default();
            targets.insert(to[..=shared].to_vec());
        }
        let mut circles = Vec::new();
        for edges in between.values() {
            let mut seen = BTreeSet::new();
            for module in edges.keys() {
                let circle: Vec<Module> = reached(edges, module)
                    .into_iter()
                    .filter(|other| reached(edges, other).contains(module))
                    .collect();
                if circle.len() > 1 && seen.insert(circle.clone()) {
                    circles.push(circle);
                }
            }
        }
        circles
    }

    /// Returns the places at which members of a circle name each other.
    pub fn places(&self, circle: &[Module]) -> Vec<String> {
        let within = |module: &Module| circle.iter().position(|m| module.starts_with(m));
        self.edges
            .iter()
            .filter_map(|((from, to), place)| {
                let (a, b) = (within(from)?, within(to)?);
                (a != b).then(|| format!("{place} names {}", to.join("::")))
            })
            .collect()
    }
}

fn reached(edges: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![from];
    while let Some(module) = ahead.pop() {
        for next in edges.get(module).into_iter().flatten() {
            if reached.insert(next.clone()) {
                ahead.push(next);
            }
        }
    }
    reached
}

/// Returns the files of Rust below a folder, but for those that hold tests.
pub fn files(root: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    files_below(root, &mut files);
    files
}

fn files_below(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        let stem = path.file_stem().unwrap_or_default();
        if stem == "tests" {
            continue;
        }
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str) -> Module {
        path.split("::").map(String::from).collect()
    }

    fn graph(files: &[(&str, &str)]) -> Graph {
        let text =
            |path: &str, text: &str| (module(path), (format!("{path}.rs"), text.to_string()));
        Graph::new(
            &files
                .iter()
                .map(|(path, source)| text(path, source))
                .collect(),
        )
    }

    #[test]
    fn a_circle_is_found_through_re_exports_and_between_folders() {
        let files = [
            ("a", "pub mod x; pub use self::x::X;"),
            ("a::x", "use crate::b::Y; pub struct X;"),
            ("b", "mod y; mod z; pub use self::y::Y;"),
            ("b::y", "pub struct Y;"),
            ("b::z", "fn f(x: crate::a::X) {}"),
            ("c", "use crate::a::X; use std::fmt;"),
        ];
        let found = graph(&files);
        let edge = (module("b::z"), module("a::x"));
        assert_eq!(
            found.edges.get(&edge).map(String::as_str),
            Some("b::z.rs:1")
        );
        assert_eq!(found.circles(), [[module("a"), module("b")]]);
        assert_eq!(found.places(&[module("a"), module("b")]).len(), 2);
        assert!(graph(&files[..4]).circles().is_empty());
    }

    #[test]
    fn a_module_and_what_is_inside_it_are_no_circle_and_tests_are_left_out() {
        let files = [
            (
                "a",
                "mod x; use self::x::X; struct A; #[cfg(test)] mod cases;",
            ),
            (
                "a::x",
                "use super::A; #[cfg(test)] mod tests { use crate::b::B; }",
            ),
            ("a::cases", "use crate::b::B;"),
            ("b", "use crate::a::A;"),
        ];
        let found = graph(&files);
        assert!(found.circles().is_empty());
        assert!(!found.modules().any(|m| *m == module("a::cases")));
    }
}
