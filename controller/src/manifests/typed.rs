//! From the tree to the API's types: a serde deserializer that reports places, paths and fields it passed over.
//!
//! Types accept unknown fields, because the API server prunes them. A file has no such warning, so here every
//! field that a type ignores becomes a finding.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Entry, Node, Position, Value};

/// Something wrong at one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: Position,
    /// The field's path, from the document's root.
    pub(super) field: String,
    pub(super) message: String,
}

/// The way from the document's root to a field.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => write!(f, "{key}"),
            Self::Key(parent, key) => {
                let plain =
                    key.chars().all(|letter| letter.is_alphanumeric() || letter == '_' || letter == '-');
                if plain { write!(f, "{parent}.{key}") } else { write!(f, "{parent}[{key:?}]") }
            }
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads a node as a `T`. Fields that `T` does not know are faults, but do not stop the reading.
pub(super) fn read<T: DeserializeOwned>(node: &Node, path: &Path<'_>, faults: &mut Vec<Fault>) -> Option<T> {
    let unknown = RefCell::new(Vec::new());
    let result = T::deserialize(Reader { node, path, passed_over: None, unknown: &unknown });
    faults.append(&mut unknown.into_inner());
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push(error.into_fault());
            None
        }
    }
}

/// An unknown field's fault, with the fields that are known at its place.
pub(super) fn unknown_field(entry: &Entry, path: &Path<'_>, known: &[&str]) -> Fault {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Fault {
        at: entry.key_at,
        field: Path::Key(path, &entry.key).to_string(),
        message: format!("unknown field; known here: {known}"),
    }
}

/// An error on its way up: the innermost reader adds the place.
#[derive(Debug)]
struct ReadError {
    message: String,
    place: Option<(Position, String)>,
}

impl ReadError {
    fn at(mut self, position: Position, path: &Path<'_>) -> Self {
        self.place.get_or_insert_with(|| (position, path.to_string()));
        self
    }

    fn into_fault(self) -> Fault {
        let (at, field) = self.place.unwrap_or_default();
        Fault { at, field, message: self.message }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), place: None }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { message: format!("the field `{field}` is missing"), place: None }
    }
}

/// What a struct does not know about one of its entries.
#[derive(Clone, Copy)]
struct PassedOver<'a> {
    entry: &'a Entry,
    parent: &'a Path<'a>,
    known: &'a [&'a str],
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
    /// Set for the value of a struct's field: what to report if the struct ignores it.
    passed_over: Option<PassedOver<'a>>,
    unknown: &'a RefCell<Vec<Fault>>,
}

impl Reader<'_> {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V, fields: Option<&[&str]>) -> Result<V::Value, ReadError> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate(), reader: self }),
            Value::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: None, fields, reader: self })
            }
        };
        result.map_err(|error| error.at(self.node.at, self.path))
    }

    fn refuse(self, expected: &str) -> ReadError {
        ReadError { message: format!("this is {}, not {expected}", self.node.value.describe()), place: None }
            .at(self.node.at, self.path)
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.visit(visitor, None)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.node.value == Value::Null {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Map(_) => self.visit(visitor, Some(fields)),
            // serde would also take a list for a struct, field by field; no manifest means that.
            _ => Err(self.refuse("a mapping")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Text(word) => {
                visitor.visit_enum(Word(word)).map_err(|error| error.at(self.node.at, self.path))
            }
            _ => Err(self.refuse("one of the words that this field takes")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if let Some(PassedOver { entry, parent, known }) = self.passed_over {
            self.unknown.borrow_mut().push(unknown_field(entry, parent, known));
        }
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    reader: Reader<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = Path::Index(self.reader.path, index);
        seed.deserialize(Reader { node, path: &path, passed_over: None, unknown: self.reader.unknown })
            .map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a, 'f> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
    /// The fields of the struct that is read; none for a map.
    fields: Option<&'f [&'f str]>,
    reader: Reader<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        for entry in self.entries.by_ref() {
            let known = self.fields.is_some_and(|fields| fields.contains(&entry.key.as_str()));
            if known && entry.node.value == Value::Null {
                // As in Kubernetes, a known field that is null is a field left out.
                continue;
            }
            self.value = Some(entry);
            let key: StrDeserializer<'_, ReadError> = entry.key.as_str().into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        let entry = self.value.take().expect("serde asks for a value only after its key");
        let parent = self.reader.path;
        let path = Path::Key(parent, &entry.key);
        seed.deserialize(Reader {
            node: &entry.node,
            path: &path,
            passed_over: self.fields.map(|known| PassedOver { entry, parent, known }),
            unknown: self.reader.unknown,
        })
    }
}

/// An enum's value: a word without content.
struct Word<'a>(&'a str);

impl<'de> EnumAccess<'de> for Word<'_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let word: StrDeserializer<'_, ReadError> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, ReadError> {
        Err(serde::de::Error::invalid_type(Unexpected::UnitVariant, &"a word with content"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, ReadError> {
        Err(serde::de::Error::invalid_type(Unexpected::UnitVariant, &"a word with content"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, ReadError> {
        Err(serde::de::Error::invalid_type(Unexpected::UnitVariant, &"a word with content"))
    }
}

#[cfg(test)]
#[path = "typed_tests.rs"]
mod tests;
