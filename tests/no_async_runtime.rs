//! No async runtime is a dependency of this crate, with any combination of features, including build and test
//! dependencies.

use std::process::Command;

/// Runtimes and their executors.
const BANNED: [&str; 6] = [
    "tokio",
    "async-std",
    "smol",
    "async-io",
    "async-executor",
    "futures-executor",
];

const FEATURES: [&[&str]; 7] = [
    &[],
    &["--no-default-features"],
    &["--no-default-features", "--features", "rust-crypto"],
    &["--no-default-features", "--features", "aws-lc"],
    &["--no-default-features", "--features", "openssl"],
    &[
        "--no-default-features",
        "--features",
        "signaling,rust-crypto",
    ],
    &["--all-features"],
];

/// Returns the banned package names among these.
fn found<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.filter(|name| BANNED.contains(name)).collect()
}

#[test]
fn cargo_tree_has_no_async_runtime() {
    for features in FEATURES {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--prefix=none", "--edges=normal,build,dev"])
            .arg("--format={p}")
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs: it is running this test");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo tree {features:?}: {errors}");
        let names = || {
            let first_words = text.lines().map(|line| line.split(' ').next());
            first_words.map(Option::unwrap_or_default)
        };
        assert!(
            names().any(|name| name == "str0m"),
            "cargo tree is not understood any more:\n{text}"
        );
        assert!(
            found(names()).is_empty(),
            "{features:?}: {:?}",
            found(names())
        );
    }
}

/// `cargo tree` lists this machine's target; the lock file has the dependencies of every target.
#[test]
fn the_lock_file_has_no_async_runtime() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock");
    let text = std::fs::read_to_string(path).expect("Cargo.lock is kept in the repository");
    let names = || {
        let names = text.lines().filter_map(|line| line.strip_prefix("name = "));
        names.map(|name| name.trim_matches('"'))
    };
    assert!(
        names().any(|name| name == "mio"),
        "Cargo.lock is not understood any more"
    );
    assert!(found(names()).is_empty(), "{:?}", found(names()));
}

#[test]
fn a_runtime_would_be_found() {
    assert_eq!(found(["mio", "tokio", "smoltcp"].into_iter()), ["tokio"]);
}
