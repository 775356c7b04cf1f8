//! What the types' schemas need before they are a CRD's.

use schemars::Schema;
use schemars::transform::transform_subschemas;
use serde_json::{Map, Value, json};

/// Puts a type's schema into the shape that a CRD wants, all the way down.
///
/// Optional fields are absent rather than null: `vip: null` is then a type error that the API server names,
/// instead of a third state that each rule would have to know. Descriptions lose the line breaks of the source,
/// which `kubectl explain` would keep.
pub(crate) fn tidy(schema: &mut Schema) {
    transform_subschemas(&mut tidy, schema);
    let Some(object) = schema.as_object_mut() else { return };
    without_null(object);
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = unwrapped(text);
    }
}

/// Joins the lines of each paragraph and of each list item.
fn unwrapped(text: &str) -> String {
    let mut unwrapped = String::with_capacity(text.len());
    for line in text.lines() {
        let starts_anew = line.is_empty() || line.starts_with("- ") || unwrapped.ends_with('\n');
        match unwrapped.is_empty() {
            true => {}
            false if starts_anew => unwrapped.push('\n'),
            false => unwrapped.push(' '),
        }
        unwrapped.push_str(line.trim_start());
    }
    unwrapped
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| *choice != json!({"type": "null"}));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (name, value) in only {
                // The field's own description is nearer to the reader than its type's.
                object.entry(name).or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn paragraphs_and_list_items_become_one_line_each() {
        let text = "One\nparagraph.\n\nAnother:\n\n- an\n  item\n- an item\n\nThe end.";
        assert_eq!(unwrapped(text), "One paragraph.\n\nAnother:\n\n- an item\n- an item\n\nThe end.");
    }
}
