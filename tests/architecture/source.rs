//! Reads Rust source text as far as imports need it: `use` trees, inline paths, `mod` lines, `#[cfg(test)]`.

use std::path::Path;

/// Modules named by one source file.
#[derive(Debug, Default)]
pub struct Source {
    /// Names that `use` brings into scope, with the path behind each; `*` for a glob.
    pub imports: Vec<Import>,
    /// Paths written in place that begin with `crate`, `self`, `super` or the crate's name, with their lines.
    pub paths: Vec<(Vec<String>, usize)>,
    /// Modules in files of their own that only tests have.
    pub test_modules: Vec<String>,
}

/// A name that `use` brings into scope.
#[derive(Debug)]
pub struct Import {
    pub name: String,
    pub path: Vec<String>,
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// `::`
    Path,
    Mark(char),
}

/// Returns the module path of a file below `src`: `driver/udp.rs` and `driver/udp/mod.rs` are both `driver::udp`.
pub fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts
}

/// Reads the text of the file that is `module`. Code for tests alone is left out: tests may use everything.
pub fn read(text: &str, module: &[String]) -> Source {
    let mut source = Source::default();
    let tokens = without_tests(tokens(text), &mut source.test_modules);
    let mut inner: Vec<(String, usize)> = Vec::new();
    let (mut depth, mut at) = (0, 0);
    while at < tokens.len() {
        let scope = || {
            let names = inner.iter().map(|(name, _)| name.clone());
            module.iter().cloned().chain(names).collect::<Vec<_>>()
        };
        let line = tokens[at].1;
        match &tokens[at].0 {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => {
                depth -= 1;
                inner.retain(|(_, opened_at)| *opened_at <= depth);
            }
            Token::Word(word) if word == "mod" => {
                let name = tokens.get(at + 1).map(|t| &t.0);
                let opens = tokens.get(at + 2).map(|t| &t.0) == Some(&Token::Mark('{'));
                if let (Some(Token::Word(name)), true) = (name, opens) {
                    inner.push((name.clone(), depth + 1));
                }
            }
            Token::Word(word) if word == "use" => {
                at = use_tree(&tokens, at + 1, &[], &scope(), &mut source.imports);
                continue;
            }
            Token::Word(word) if is_root(word) && !follows_path(&tokens, at) => {
                let (path, next) = path_at(&tokens, at);
                if path.len() > 1 {
                    source.paths.push((absolute(&path, &scope()), line));
                }
                at = next;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    source
}

/// Returns the first line whose code names this crate or module, tests included. Comments and strings do not count.
pub fn line_of(text: &str, name: &str) -> Option<usize> {
    let tokens = tokens(text).into_iter();
    let mut named = tokens.filter(|(token, _)| *token == Token::Word(name.into()));
    named.next().map(|(_, line)| line)
}

fn is_root(word: &str) -> bool {
    ["crate", "self", "super", "looprtc"].contains(&word)
}

fn follows_path(tokens: &[(Token, usize)], at: usize) -> bool {
    at > 0 && tokens[at - 1].0 == Token::Path
}

/// Returns the path that begins at `at`, and the position behind it.
fn path_at(tokens: &[(Token, usize)], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some((Token::Word(word), _)) = tokens.get(at) {
        path.push(word.clone());
        if tokens.get(at + 1).map(|t| &t.0) != Some(&Token::Path) {
            return (path, at + 1);
        }
        at += 2;
    }
    (path, at)
}

/// Returns the path from the crate's root. A path of another crate looks like one of a module inside this one, and is
/// told apart when no such module is found.
fn absolute(path: &[String], scope: &[String]) -> Vec<String> {
    let mut base = match path[0].as_str() {
        "crate" | "looprtc" => return path[1..].to_vec(),
        "self" | "super" => scope.to_vec(),
        _ => return [scope, path].concat(),
    };
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "self" => {}
            "super" => {
                base.pop();
            }
            _ => break,
        }
        rest = after;
    }
    base.extend_from_slice(rest);
    base
}

/// Reads what follows `use`, up to its end, and returns the position there.
fn use_tree(
    tokens: &[(Token, usize)],
    mut at: usize,
    before: &[String],
    scope: &[String],
    imports: &mut Vec<Import>,
) -> usize {
    let mut path = before.to_vec();
    let mut alias = None;
    let line = tokens.get(at).map_or(0, |t| t.1);
    while let Some((token, _)) = tokens.get(at) {
        match token {
            Token::Word(word) if word == "as" => {
                if let Some((Token::Word(name), _)) = tokens.get(at + 1) {
                    alias = Some(name.clone());
                }
                at += 1;
            }
            Token::Word(word) => path.push(word.clone()),
            Token::Mark('*') => path.push("*".into()),
            Token::Mark('{') => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t.0 != Token::Mark('}')) {
                    at = use_tree(tokens, at, &path, scope, imports);
                    if tokens.get(at).is_some_and(|t| t.0 == Token::Mark(',')) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Token::Path => {}
            Token::Mark(_) => break,
        }
        at += 1;
    }
    // `a::{self}` brings in `a`.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if let Some(last) = path.last() {
        let name = alias.unwrap_or_else(|| last.clone());
        let path = absolute(&path, scope);
        imports.push(Import { name, path, line });
    }
    at
}

/// Splits source text into words and marks, each with its line. Comments are left out, strings are empty words.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &text[at..];
        let length = match bytes[at] {
            b'/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => comment(rest),
            b'"' => string(rest, &mut found, line),
            b'\'' => character(rest),
            b'r' | b'b' if raw_string(rest).is_some() => {
                let (prefix, length) = raw_string(rest).unwrap_or_default();
                let inside = rest[prefix..length].to_string();
                found.push((Token::Word(format!("\"{inside}")), line));
                length
            }
            b':' if rest.starts_with("::") => {
                found.push((Token::Path, line));
                2
            }
            c if c.is_ascii_alphanumeric() || c == b'_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let word = &rest[..end.unwrap_or(rest.len())];
                found.push((Token::Word(word.into()), line));
                word.len()
            }
            c => {
                if !c.is_ascii_whitespace() {
                    found.push((Token::Mark(char::from(c)), line));
                }
                rest.chars().next().map_or(1, char::len_utf8)
            }
        };
        line += rest.as_bytes()[..length]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        at += length;
    }
    found
}

/// Returns the length of a block comment, which may hold others.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Reads a string, which becomes a word that begins with `"`, and returns its length.
fn string(rest: &str, found: &mut Vec<(Token, usize)>, line: usize) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    let end = at.min(bytes.len());
    found.push((Token::Word(format!("\"{}", &rest[1..end])), line));
    (at + 1).min(bytes.len())
}

/// Returns the length of a character literal, or of the mark of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((second, _))) => {
            let end = rest[second + 1..].find('\'');
            end.map_or(rest.len(), |end| second + 1 + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

/// Returns where the inside of a raw or byte string begins, and its whole length.
fn raw_string(rest: &str) -> Option<(usize, usize)> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end)?;
    let prefix = rest.len() - inside.len();
    Some((prefix, prefix + length + end.len()))
}

/// Leaves out items for tests alone: `#[cfg(test)]`, and what the feature `testing` adds. Takes the names of modules
/// among them.
fn without_tests(tokens: Vec<(Token, usize)>, modules: &mut Vec<String>) -> Vec<(Token, usize)> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].0 == Token::Mark('#')
            && tokens.get(at + 1).map(|t| &t.0) == Some(&Token::Mark('['))
        {
            let end = group_end(&tokens, at + 1);
            if is_for_tests(&tokens[at + 2..end - 1]) {
                at = item_end(&tokens, end);
                let item = &tokens[end..at];
                let mut names = item.iter().skip_while(|t| t.0 != Token::Word("mod".into()));
                if let (Some(_), Some((Token::Word(name), _))) = (names.next(), names.next())
                    && item.last().is_some_and(|t| t.0 == Token::Mark(';'))
                {
                    modules.push(name.clone());
                }
            } else {
                at = end;
            }
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

fn is_for_tests(attribute: &[(Token, usize)]) -> bool {
    let word = |text: &str| Token::Word(text.into());
    let has = |text: &str| attribute.iter().any(|t| t.0 == word(text));
    has("cfg") && (has("test") || has("\"testing")) && !has("not")
}

/// Returns the position behind the item that begins at `at`: behind its block or its semicolon.
fn item_end(tokens: &[(Token, usize)], mut at: usize) -> usize {
    while let Some((token, _)) = tokens.get(at) {
        match token {
            Token::Mark('{') => return group_end(tokens, at),
            Token::Mark('(' | '[') => at = group_end(tokens, at),
            Token::Mark(';' | ',') => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Returns the position behind the bracket that closes the one at `at`.
fn group_end(tokens: &[(Token, usize)], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some((token, _)) = tokens.get(at) {
        at += 1;
        match token {
            Token::Mark('{' | '(' | '[') => depth += 1,
            Token::Mark('}' | ')' | ']') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(path: &str) -> Vec<String> {
        path.split("::").map(String::from).collect()
    }

    #[test]
    fn imports_and_inline_paths_are_found_and_tests_are_not() {
        let text = r##"
            //! use crate::comment;
            use std::io::{self, Read};
            pub use crate::a::{b::{C, D as E}, self, f::*};
            /* use crate::block; */
            const TEXT: &str = "use crate::string;";
            const RAW: &str = r#"use crate::raw;"#;
            fn f<'a>(x: &'a super::g::H) -> char { let c = '"'; crate::i::j(self.k); 'x' }
            #[cfg(test)]
            mod tests { use crate::hidden::Thing; }
            #[cfg(feature = "server")]
            mod inner { fn f() { super::super::l::m(); looprtc::n::o() } }
        "##;
        let source = read(text, &words("x::y"));
        let imports: Vec<_> = source
            .imports
            .iter()
            .map(|i| (i.name.as_str(), i.path.join("::")))
            .collect();
        let expected = [
            ("io", "x::y::std::io"),
            ("Read", "x::y::std::io::Read"),
            ("C", "a::b::C"),
            ("E", "a::b::D"),
            ("a", "a"),
            ("*", "a::f::*"),
        ];
        let expected = expected.map(|(name, path)| (name, path.to_string()));
        assert_eq!(imports, expected);
        let paths: Vec<_> = source
            .paths
            .iter()
            .map(|(p, line)| (p.join("::"), *line))
            .collect();
        let expected = ["x::g::H", "i::j", "x::l::m", "n::o"];
        assert_eq!(
            paths.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(),
            expected
        );
        assert_eq!((paths[0].1, paths[3].1), (8, 12));
    }

    #[test]
    fn a_name_is_found_in_code_alone() {
        let text = "//! other\n/* other */\nconst A: &str = \"other\";\nfn f(x: &other::X) {}\n";
        assert_eq!(line_of(text, "other"), Some(4));
        assert_eq!(line_of(text, "othe"), None);
        let in_tests = "#[cfg(test)]\nmod tests {\n    use other::X;\n}\n";
        assert_eq!(line_of(in_tests, "other"), Some(3));
    }
}
