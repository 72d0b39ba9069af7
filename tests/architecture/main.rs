//! The picture in ARCHITECTURE.md, held against the imports in `src`: nothing is imported upwards, and nothing in a circle.

mod graph;
mod picture;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use graph::{Graph, Module};
use picture::Picture;

/// The folders whose code may name str0m.
const CORE: [&str; 2] = ["proto/peer/core", "proto/peer/crypto"];

/// Other files that name str0m, each with the reason. It only becomes shorter.
const ALSO_NAME_STR0M: [(&str, &str); 2] = [
    (
        "testing/fuzz.rs",
        "asks the core's own parser whether it reads what we write for it",
    ),
    (
        "testing/fuzz/dtls.rs",
        "drives the DTLS that the core is given, as the core does",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read_picture() -> Picture {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    Picture::read(&page)
}

fn name(module: &Module) -> String {
    module.join("::")
}

#[test]
fn nothing_is_imported_upwards() {
    let picture = read_picture();
    let graph = Graph::read(&root().join("src"));
    let upwards: Vec<String> = graph
        .edges
        .iter()
        .filter(|((from, to), _)| picture.place(to) < picture.place(from))
        .map(|((_, to), place)| format!("src/{place} imports {}, which is above it", name(to)))
        .collect();
    assert!(
        graph.edges.len() > 500,
        "the source is not understood any more"
    );
    assert!(
        upwards.is_empty(),
        "ARCHITECTURE.md draws these the other way round:\n{}",
        upwards.join("\n")
    );
}

#[test]
fn the_picture_and_the_source_have_the_same_modules() {
    let picture = read_picture();
    let graph = Graph::read(&root().join("src"));
    // The first two levels: layers, and what is in them. Of the program's own layer the first alone.
    let depth = |module: &Module| {
        if module.first().is_some_and(|m| m == "cli" || m == "testing") {
            1
        } else {
            2
        }
    };
    let modules: BTreeSet<String> = graph
        .modules()
        .filter(|module| !module.is_empty())
        .map(|module| name(&module[..depth(module).min(module.len())].to_vec()))
        .collect();
    let drawn: BTreeSet<String> = picture.modules().iter().map(name).collect();
    let missing: Vec<_> = modules.difference(&drawn).collect();
    let gone: Vec<_> = drawn.difference(&modules).collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md does not draw {missing:?}"
    );
    assert!(
        gone.is_empty(),
        "ARCHITECTURE.md draws {gone:?}, which are not in src"
    );
}

#[test]
fn there_are_no_circles() {
    let graph = Graph::read(&root().join("src"));
    let circles = graph.circles().into_iter().map(|circle| {
        let names: Vec<String> = circle.iter().map(name).collect();
        let places = graph.places(&circle).join("\n");
        format!("{names:?} import each other:\n{places}")
    });
    let circles: Vec<String> = circles.collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn only_the_core_names_str0m() {
    let src = root().join("src");
    let files = graph::files(&src);
    let mut named = BTreeSet::new();
    for file in &files {
        let path = file.strip_prefix(&src).unwrap();
        let text = fs::read_to_string(file).unwrap();
        let Some(line) = source::line_of(&text, "str0m") else {
            continue;
        };
        let module = path.with_extension("");
        let is_core = CORE.iter().any(|folder| module.starts_with(folder));
        let is_known = ALSO_NAME_STR0M
            .iter()
            .any(|(known, _)| path == Path::new(known));
        assert!(
            is_core || is_known,
            "src/{}:{line} names str0m: put what is needed of it behind src/proto/peer/core/",
            path.display()
        );
        named.insert(path.to_owned());
    }
    assert!(named.len() > 15, "the source is not understood any more");
    for (known, _) in ALSO_NAME_STR0M {
        assert!(
            named.contains(Path::new(known)),
            "{known} does not name str0m any more: take it off ALSO_NAME_STR0M in tests/architecture/main.rs"
        );
    }
}

#[test]
fn every_path_on_the_page_is_there() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut seen = 0;
    for path in picture::paths(&page) {
        seen += 1;
        assert!(
            root().join(&path).exists(),
            "ARCHITECTURE.md names {path}, which is not there"
        );
    }
    assert!(
        seen > 100,
        "the page is not understood any more: {seen} paths"
    );
}
