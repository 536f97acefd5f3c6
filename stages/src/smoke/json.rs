//! Compares JSON with what is expected of it: objects may have more keys than were named.

use serde_json::Value;

/// The first place at which two values differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Such as `$.items[0].name`.
    pub(super) path: String,
    /// As JSON.
    pub(super) expected: String,
    /// As JSON, or `nothing`.
    pub(super) found: String,
}

/// Returns the first place at which what was found is not what is expected.
pub(super) fn first_difference(expected: &Value, found: &Value) -> Option<Difference> {
    differs_at("$", expected, found)
}

fn differs_at(path: &str, expected: &Value, found: &Value) -> Option<Difference> {
    let differs = || {
        let (expected, found) = (expected.to_string(), found.to_string());
        Some(Difference { path: path.to_owned(), expected, found })
    };
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(key, expected)| {
            let path = format!("{path}.{key}");
            match found.get(key) {
                Some(found) => differs_at(&path, expected, found),
                None => Some(Difference { path, expected: expected.to_string(), found: "nothing".into() }),
            }
        }),
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs
                .into_iter()
                .find_map(|(nth, (expected, found))| differs_at(&format!("{path}[{nth}]"), expected, found))
        }
        // 1 and 1.0 are one number to people.
        (Value::Number(a), Value::Number(b)) if a == b || a.as_f64() == b.as_f64() => None,
        (expected, found) if expected == found => None,
        _ => differs(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(expected: Value, found: Value, difference: Option<(&str, &str, &str)>) {
        let said = first_difference(&expected, &found);
        let said =
            said.as_ref().map(|said| (said.path.as_str(), said.expected.as_str(), said.found.as_str()));
        assert_eq!(said, difference);
    }

    #[test]
    fn more_keys_than_named_are_no_difference() {
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 1.0, "c": 2}, "d": []}), None);
        check(json!({}), json!({"a": 1}), None);
    }

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        check(
            json!({"items": [{"name": "a"}]}),
            json!({"items": [{"name": "b"}]}),
            Some(("$.items[0].name", "\"a\"", "\"b\"")),
        );
        check(json!({"a": {"b": 1}}), json!({"a": {}}), Some(("$.a.b", "1", "nothing")));
        check(json!([1]), json!([1, 2]), Some(("$", "[1]", "[1,2]")));
        check(json!({"a": null}), json!({"a": false}), Some(("$.a", "null", "false")));
        check(json!("1"), json!(1), Some(("$", "\"1\"", "1")));
    }
}
