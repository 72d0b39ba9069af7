//! Consistency of bodies, targets, seeds, dictionaries and the README.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::BODIES;
use super::*;

fn directory(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns the names of a directory's files, without their common extension.
fn names(path: &str, extension: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(directory(path)).unwrap();
    let names = files.map(|f| f.unwrap().file_name().into_string().unwrap());
    names
        .map(|name| name.strip_suffix(extension).expect(&name).to_owned())
        .collect()
}

/// Returns the initial inputs of a fuzzer: its seeds, and files of the tests.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    if let Ok(seeds) = std::fs::read_dir(directory("fuzz/seeds").join(target)) {
        files.extend(seeds.map(|f| f.unwrap().path()));
    }
    let more = std::fs::read_to_string(directory("fuzz/more-seeds")).unwrap();
    for line in more.lines().filter(|l| !l.starts_with('#')) {
        let (name, pattern) = line.split_once(' ').expect(line);
        let (path, ending) = pattern.split_once('*').expect(line);
        if name != target {
            continue;
        }
        for file in std::fs::read_dir(directory(path)).unwrap() {
            let path = file.unwrap().path();
            if path.to_str().is_some_and(|p| p.ends_with(ending)) {
                files.push(path);
            }
        }
    }
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

#[test]
fn all_have_what_they_need_and_nothing_is_left_over() {
    let bodies: BTreeSet<String> = BODIES.iter().map(|b| b.0.to_owned()).collect();
    assert_eq!(names("fuzz/targets", ".rs"), bodies);
    let seeds = names("fuzz/seeds", "");
    let seeds: BTreeSet<_> = seeds.into_iter().filter(|s| s != "SOURCES.md").collect();
    assert!(seeds.is_subset(&bodies), "{:?}", &seeds - &bodies);
    let dictionaries = names("fuzz/dictionaries", ".dict");
    assert!(
        dictionaries.is_subset(&bodies),
        "{:?}",
        &dictionaries - &bodies
    );
    let manifest = std::fs::read_to_string(directory("fuzz/Cargo.toml")).unwrap();
    let readme = std::fs::read_to_string(directory("fuzz/README.md")).unwrap();
    for name in &bodies {
        let target = directory("fuzz/targets").join(format!("{name}.rs"));
        let target = std::fs::read_to_string(target).unwrap();
        assert!(target.contains(&format!("fuzz::{name}(data)")), "{name}");
        assert!(
            manifest.contains(&format!("\nname = \"{name}\"\n")),
            "{name}"
        );
        assert!(
            readme.contains(&format!("\n| `{name}` | ")),
            "README: {name}"
        );
        assert!(!inputs(name).is_empty(), "{name} has no seeds");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), bodies.len());
    for row in readme.split("\n| `").skip(1) {
        let name = row.split('`').next().unwrap();
        assert!(bodies.contains(name), "README: {name}");
    }
}

/// libFuzzer would refuse an invalid one only at runtime: a line is `"…"`, with \\, \" and \xNN escapes.
#[test]
fn dictionaries_can_be_read() {
    for name in names("fuzz/dictionaries", ".dict") {
        let path = directory("fuzz/dictionaries").join(format!("{name}.dict"));
        let text = std::fs::read_to_string(path).unwrap();
        for line in text
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let inner = line.strip_prefix('"').and_then(|l| l.strip_suffix('"'));
            let mut rest = inner.unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(!rest.is_empty() && rest.is_ascii(), "{name}: {line}");
            while let Some((before, after)) = rest.split_once('\\') {
                assert!(!before.contains('"'), "{name}: {line}");
                let hex = |t: &str| u8::from_str_radix(t, 16).is_ok();
                rest = match after.as_bytes().first() {
                    Some(b'\\' | b'"') => &after[1..],
                    Some(b'x') if after.get(1..3).is_some_and(hex) => &after[3..],
                    _ => panic!("{name}: {line}"),
                };
            }
            assert!(!rest.contains('"'), "{name}: {line}");
        }
    }
}

/// Runs all bodies over all initial inputs, and over each of them truncated and changed at a few places.
#[test]
fn seeds() {
    let mut rng = Rng::new(5);
    for (name, body) in BODIES {
        let inputs = inputs(name);
        println!("{name}: {} inputs", inputs.len());
        for input in inputs {
            body(&input);
            for _ in 0..4 {
                let mut changed = input.clone();
                let at = rng.below(input.len() as u64) as usize;
                match changed.get_mut(at) {
                    Some(byte) if rng.chance(0.8) => *byte = rng.next_u64() as u8,
                    _ => changed.truncate(at),
                }
                body(&changed);
            }
        }
    }
}

/// A small part of the work of a fuzzer, so that no change to the library breaks a target.
#[test]
fn bodies_take_anything() {
    let mut rng = Rng::new(7);
    for (name, body) in BODIES {
        println!("{name}");
        body(&[]);
        for length in [1, 3, 20, 60, 200] {
            let data: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
            body(&data);
        }
    }
}
