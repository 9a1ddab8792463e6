//! As much of JSON Schema as `openapi.yaml` uses, and no more: a keyword it does not know is an error, so that the file
//! cannot promise what is not checked.

use serde_json::Value;

/// Keywords that say something to people only.
const NOTES: [&str; 6] = [
    "description",
    "default",
    "example",
    "examples",
    "contentMediaType",
    "summary",
];

/// Follows a reference within the document.
pub fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref") {
        Some(target) => {
            let pointer = target.as_str().unwrap().strip_prefix('#').unwrap();
            resolve(
                document,
                document
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("{pointer} is nowhere")),
            )
        }
        None => value,
    }
}

/// Holds a value against a schema; says where it first differs.
pub fn check(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let schema = resolve(document, schema);
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            note if NOTES.contains(&note) => true,
            "type" => has_type(rule, value),
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= rule.as_f64().unwrap()),
            "exclusiveMinimum" => value
                .as_f64()
                .is_none_or(|number| number > rule.as_f64().unwrap()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "oneOf" => {
                let fitting = |choice: &&Value| check(document, choice, value, place).is_ok();
                rule.as_array().unwrap().iter().filter(fitting).count() == 1
            }
            "items" => {
                for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, item, &format!("{place}/{position}"))?;
                }
                true
            }
            "properties" | "additionalProperties" => {
                check_members(document, schema, value, place)?;
                true
            }
            unknown => panic!("{place}: the schema uses '{unknown}', which this test cannot check"),
        };
        if !holds {
            return Err(format!("{place}: {value} breaks {keyword}: {rule}"));
        }
    }
    Ok(())
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        unknown => panic!("no type '{unknown}'"),
    };
    rule.as_array()
        .map_or_else(|| is(rule), |names| names.iter().any(is))
}

fn check_members(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    for (name, member) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        match (
            schema.get("properties").and_then(|known| known.get(name)),
            schema.get("additionalProperties"),
        ) {
            (Some(schema), _) => check(document, schema, member, &place)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{place} is not in the schema")),
            (None, Some(schema)) if schema.is_object() => check(document, schema, member, &place)?,
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn the_checker_finds_faults() {
    let document: Value = serde_norway::from_str(
        "{ a: { type: object, required: [x], additionalProperties: false, properties: {
             x: { type: integer, minimum: 0 }, y: { type: array, items: { enum: [p, q] } }, z: { const: 1 } } } }",
    )
    .unwrap();
    for (value, fits) in [
        (r#"{"x":1}"#, true),
        (r#"{"x":1,"y":["p","q"],"z":1}"#, true),
        (r"{}", false),
        (r"[]", false),
        (r#"{"x":-1}"#, false),
        (r#"{"x":1.5}"#, false),
        (r#"{"x":1,"y":["r"]}"#, false),
        (r#"{"x":1,"z":2}"#, false),
        (r#"{"x":1,"w":2}"#, false),
    ] {
        let value = serde_json::from_str(value).unwrap();
        assert_eq!(
            check(&document, &document["a"], &value, "").is_ok(),
            fits,
            "{value}"
        );
    }
}
