//! XML documents of devices, as a tree, tolerantly and within limits.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// Maximum size of a document, in bytes. A device with 16 profiles sends some 100 KiB.
pub const MAX_DOCUMENT: usize = 512 << 10;

/// Maximum number of elements of a document.
const MAX_ELEMENTS: usize = 20_000;

/// Maximum depth of elements.
const MAX_DEPTH: usize = 40;

/// An element. Names are without their prefixes: devices choose these as they like, and no two names that are read here
/// differ by their namespace alone.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub name: String,
    /// Text directly inside, without white space around it.
    pub text: String,
    /// The attribute `token`, which ONVIF has for references.
    pub token: Option<String>,
    pub children: Vec<Element>,
}

impl Element {
    /// Parses a document. Ends that do not match, ampersands that are not escaped and a missing end are tolerated.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        if document.len() > MAX_DOCUMENT {
            return Err(format!("a document of {} bytes", document.len()));
        }
        let text = String::from_utf8_lossy(document);
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
        let config = reader.config_mut();
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        config.allow_dangling_amp = true;
        let mut tree = Tree::default();
        loop {
            match reader.read_event() {
                Ok(Event::Start(start)) => tree.open(&start)?,
                Ok(Event::Empty(start)) => {
                    tree.open(&start)?;
                    tree.close();
                }
                Ok(Event::End(_)) => tree.close(),
                Ok(Event::Text(text)) => tree.push(&text.into_inner()),
                Ok(Event::CData(text)) => tree.push(&text.into_inner()),
                Ok(Event::GeneralRef(reference)) => match reference.resolve_char_ref() {
                    Ok(Some(character)) => tree.push(character.encode_utf8(&mut [0; 4])),
                    _ => {
                        let name = reference.into_inner();
                        tree.push(resolve_predefined_entity(&name).unwrap_or_default());
                    }
                },
                Ok(Event::Eof) => break,
                Ok(_) => {}
                Err(error) if tree.count == 0 => return Err(format!("no XML: {error}")),
                // What has been read is of use.
                Err(_) => break,
            }
        }
        tree.finish()
    }

    /// Returns the first element of this name inside this one, at any depth.
    pub fn find(&self, name: &str) -> Option<&Self> {
        self.all(name).next()
    }

    /// Returns the text of the first element of this name inside this one, unless it is empty.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        let text = self.find(name)?.text.as_str();
        (!text.is_empty()).then_some(text)
    }

    /// Iterates over the elements of this name inside this one, at any depth, in the order of the document.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Self> + use<'a, 'n> {
        let mut stack: Vec<&Self> = self.children.iter().rev().collect();
        let each = std::iter::from_fn(move || {
            let next = stack.pop()?;
            stack.extend(next.children.iter().rev());
            Some(next)
        });
        each.filter(move |element| element.name == name)
    }
}

/// A document that is being read: the open elements, outermost first.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
    count: usize,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), String> {
        self.count += 1;
        if self.count > MAX_ELEMENTS || self.open.len() >= MAX_DEPTH {
            return Err("a document of too many elements, or too deep".into());
        }
        let name = start.local_name().into_inner().to_owned();
        // Without the check for duplicates, whose work is quadratic.
        let mut attributes = start.attributes();
        let attributes = attributes.with_checks(false).filter_map(Result::ok);
        let token = attributes
            .take(32)
            .find(|a| a.key.local_name().into_inner() == "token");
        let token = token.map(|a| unescape(&a.value));
        self.open.push(Element {
            name,
            token,
            ..Element::default()
        });
        Ok(())
    }

    fn close(&mut self) {
        let Some(mut element) = self.open.pop() else {
            return;
        };
        element.text = element.text.trim().to_owned();
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => {
                self.root.get_or_insert(element);
            }
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(element) = self.open.last_mut() {
            element.text.push_str(text);
        }
    }

    fn finish(mut self) -> Result<Element, String> {
        while !self.open.is_empty() {
            self.close();
        }
        self.root
            .ok_or_else(|| "a document without an element".into())
    }
}

/// Replaces the five entities that XML has by itself.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let entity = after.split_once(';').filter(|(name, _)| name.len() <= 4);
        match entity.and_then(|(name, after)| Some((resolve_predefined_entity(name)?, after))) {
            Some((character, after)) => {
                out.push_str(character);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out + rest
}

/// Escapes text for an element or attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // Not allowed in XML 1.0, escaped or not.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => {}
            c => out.push(c),
        }
    }
    out
}
