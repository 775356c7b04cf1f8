//! YAML as a tree whose every node knows its place in the file.
//!
//! The tree stands between the YAML parser and the typed objects, because an object's types know neither where a
//! value stood nor which fields they passed over.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, Options, Spanned, UserMessageFormatter};

/// Nodes of one document; the text itself is bounded by [`super::MAX_FILE_BYTES`].
const MAX_NODES: usize = 4_000_000;
/// Levels of nesting. The deepest field of our kinds, inside a `List`, is at level 9.
const MAX_DEPTH: usize = 24;
/// Parser events that aliases may add to a document: anchors save typing, they must not multiply.
const MAX_ALIAS_EVENTS: usize = 100_000;

/// A place in a file; both count from 1, 0 when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

/// A value and its place. For an alias that is where the alias stands, not what it refers to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// A YAML value in the terms of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) node: Node,
}

impl Node {
    /// The value under a key, if this is a mapping that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }
}

impl Value {
    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Signed(value) => format!("the number {value}"),
            Self::Unsigned(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(value) => format!("the string {value:?}"),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// Something that is not YAML, or not YAML of this size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) message: String,
}

/// The documents of a file, one at a time, so that only one tree is in memory. Empty documents are left out.
///
/// After a fault inside a document (a key given twice, say) the next document follows; after broken syntax
/// nothing does.
pub(super) fn documents(mut bytes: &[u8], mut each: impl FnMut(Result<Node, SyntaxError>)) {
    for document in serde_saphyr::read_with_options::<_, Spanned<Value>>(&mut bytes, options()) {
        each(document.map(Node::from).map_err(|error| SyntaxError {
            at: error.location().map(Position::from).unwrap_or_default(),
            message: one_line(&error),
        }));
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIAS_EVENTS,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        // YAML 1.2: a label whose value is `on` or `no` is a string.
        strict_booleans: true,
        with_snippet: false,
    }
}

/// The parser's words without the place: a finding has its own fields for that.
fn one_line(error: &serde_saphyr::Error) -> String {
    let formatter = UserMessageFormatter;
    let error = error.without_snippet();
    serde_saphyr::MessageFormatter::format_message(&formatter, error).replace(['\n', '\r'], " ")
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { at: spanned.referenced.into(), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value that JSON has too")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Signed(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        Err(E::custom(format!("the number {value} needs more than 64 bits")))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        Err(E::custom(format!("the number {value} needs more than 64 bits")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Value>>()? {
            list.push(item.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(key) = map.next_key::<Spanned<Key>>()? {
            let Key(name) = key.value;
            let node = map.next_value::<Spanned<Value>>()?.into();
            entries.push(Entry { key: name, key_at: key.referenced.into(), node });
        }
        // The parser compares keys as YAML does: 1 and "1" differ there, and are one key here.
        let mut keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        keys.sort_unstable();
        if let Some((twice, _)) = keys.iter().zip(keys.iter().skip(1)).find(|(one, next)| one == next) {
            return Err(A::Error::custom(format!("the key {twice:?} is given twice")));
        }
        Ok(Value::Map(entries))
    }
}

/// A mapping's key: always text, as in JSON.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Node, SyntaxError>> {
        let mut all = Vec::new();
        documents(text.as_bytes(), |document| all.push(document));
        all
    }

    fn good(text: &str) -> Vec<Node> {
        read(text).into_iter().map(|document| document.expect("the test's YAML is good")).collect()
    }

    fn only_error(text: &str) -> SyntaxError {
        read(text).into_iter().find_map(Result::err).expect("the test's YAML is bad")
    }

    fn at(line: u64, column: u64) -> Position {
        Position { line, column }
    }

    #[test]
    fn every_node_and_key_knows_its_place() {
        let documents = good("a: 1\nb:\n  - x\n  - c: true\n---\nd: -2\n");
        let b = documents[0].entry("b").unwrap();
        assert_eq!((b.key_at, b.node.at), (at(2, 1), at(3, 3)));
        let Value::List(items) = &b.node.value else { panic!("a list") };
        assert_eq!((items[0].at, &items[0].value), (at(3, 5), &Value::Text("x".to_owned())));
        let c = items[1].entry("c").unwrap();
        assert_eq!((c.key_at, c.node.at, &c.node.value), (at(4, 5), at(4, 8), &Value::Bool(true)));
        let d = documents[1].entry("d").unwrap();
        assert_eq!((d.key_at, &d.node.value), (at(6, 1), &Value::Signed(-2)), "lines count through the file");
    }

    #[test]
    fn empty_documents_are_left_out_and_an_empty_file_has_none() {
        assert_eq!(good("").len(), 0);
        assert_eq!(good("# only a comment\n").len(), 0);
        assert_eq!(good("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n...\n").len(), 2);
    }

    #[test]
    fn json_is_read_too_with_tabs_and_long_lines() {
        let documents = good("{\n\t\"a\": [1, 2.5, null],\n\t\"b\": {\"c\": \"on\"}\n}\n");
        assert_eq!(documents[0].entry("a").unwrap().node.at.line, 2);
        let long = format!("{{\"a\": \"{}\", \"b\": 1}}", "x".repeat(5000));
        assert_eq!(good(&long)[0].entry("b").unwrap().node.value, Value::Unsigned(1));
    }

    #[test]
    fn words_that_older_yaml_took_for_booleans_are_strings() {
        let documents = good("a: on\nb: no\nc: true\n");
        assert_eq!(documents[0].entry("a").unwrap().node.value, Value::Text("on".to_owned()));
        assert_eq!(documents[0].entry("b").unwrap().node.value, Value::Text("no".to_owned()));
        assert_eq!(documents[0].entry("c").unwrap().node.value, Value::Bool(true));
    }

    #[test]
    fn broken_syntax_names_its_place_and_ends_the_file() {
        let all = read("a: 1\n---\nb: [1, 2\nc: 3\n---\nd: 4\n");
        assert_eq!(all.len(), 2, "{all:?}");
        let error = all[1].clone().expect_err("the second document is broken");
        assert!((3..=5).contains(&error.at.line), "{error:?}");
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
    }

    #[test]
    fn a_key_given_twice_is_an_error_at_the_second_and_the_next_document_is_still_read() {
        let all = read("a: 1\nb: 2\na: 3\n---\nc: 4\n");
        assert_eq!(all[0].as_ref().expect_err("a is given twice").at.line, 3);
        assert_eq!(all[1].as_ref().unwrap().entry("c").unwrap().node.value, Value::Unsigned(4));
        assert!(only_error("1: a\n\"1\": b\n").message.contains("given twice"));
    }

    #[test]
    fn anchors_and_merge_keys_are_followed_and_stand_where_they_are_used() {
        let documents = good("base: &base {x: 1, y: 2}\nuse: *base\nmore: {<<: *base, y: 3}\n");
        let used = &documents[0].entry("use").unwrap().node;
        assert_eq!(used.at.line, 2);
        assert_eq!(used.entry("x").unwrap().node.value, Value::Unsigned(1));
        let more = &documents[0].entry("more").unwrap().node;
        assert_eq!(more.entry("y").unwrap().node.value, Value::Unsigned(3));
        assert_eq!(more.entry("x").unwrap().node.value, Value::Unsigned(1));
    }

    #[test]
    fn aliases_cannot_multiply_without_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let parts = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
        }
        assert!(!only_error(&text).message.is_empty());
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(!only_error(&deep).message.is_empty());
        let block: String = (0..5000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(!only_error(&block).message.is_empty());
    }

    #[test]
    fn bytes_that_are_not_text_are_an_error() {
        let mut all = Vec::new();
        documents(&[b'a', b':', b' ', 0xff, 0xfe, b'\n'], |document| all.push(document));
        assert!(all.iter().any(Result::is_err), "{all:?}");
    }
}
