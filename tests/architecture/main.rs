//! The picture in ARCHITECTURE.md, held against the imports in `src`: nothing is imported upwards, and nothing in a circle.

mod graph;
mod picture;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use graph::{Graph, Module};
use picture::Picture;

/// Circles there are still: they only become fewer. Each is named by the modules in it.
const KNOWN_CIRCLES: [&[&str]; 1] = [&[
    "proto::peer::channel_config",
    "proto::peer::channels",
    "proto::peer::config",
    "proto::peer::error",
    "proto::peer::state",
    "proto::peer::tracks",
]];

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
fn there_are_no_circles_but_those_that_are_known() {
    let graph = Graph::read(&root().join("src"));
    let circles = graph.circles();
    let mut members = BTreeSet::new();
    for circle in &circles {
        let names: Vec<String> = circle.iter().map(name).collect();
        let is_known = KNOWN_CIRCLES
            .iter()
            .any(|known| names.iter().all(|n| known.contains(&n.as_str())));
        assert!(
            is_known,
            "{names:?} import each other:\n{}",
            graph.places(circle).join("\n")
        );
        members.extend(names);
    }
    for known in KNOWN_CIRCLES.iter().copied().flatten() {
        assert!(
            members.contains(*known),
            "{known} is in no circle any more: take it off KNOWN_CIRCLES in tests/architecture/main.rs"
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
