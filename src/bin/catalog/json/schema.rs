//! `docs/json.schema.json` and the tables of `docs/json.md`, made from the types.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Line;

/// If it is set, the tests write the files; otherwise they compare them.
const BLESS: &str = "CATALOG_BLESS";

const BEGIN: &str = "<!-- made from the types -->\n";

fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    generator.into_root_schema_for::<Line<'_>>().to_value()
}

#[track_caller]
fn hold(path: &str, text: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os(BLESS).is_some() {
        fs::write(&file, text).unwrap();
    }
    let is = fs::read_to_string(&file).unwrap_or_default();
    assert!(is == text, "{path} is not what the types say; {BLESS}=1 cargo test --bin catalog json writes it anew");
}

#[test]
fn the_schema_in_the_docs_is_that_of_the_types() {
    hold("docs/json.schema.json", &(serde_json::to_string_pretty(&schema()).unwrap() + "\n"));
}

#[test]
fn the_tables_in_the_docs_are_those_of_the_types() {
    let path = "docs/json.md";
    let page = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (head, _) = page.split_once(BEGIN).expect("the page has the comment after which the tables begin");
    hold(path, &format!("{head}{BEGIN}{}", tables(&schema())));
}

/// A section for each type of line.
fn tables(root: &Value) -> String {
    let mut page = String::new();
    for variant in root["oneOf"].as_array().unwrap() {
        let name = variant["properties"]["type"]["const"].as_str().unwrap();
        write!(page, "\n## `{name}`\n\n{}\n\n", described(variant)).unwrap();
        table(&mut page, root, variant);
    }
    page
}

fn table(page: &mut String, root: &Value, object: &Value) {
    page.push_str("| key | is | means |\n| --- | --- | --- |\n");
    rows(page, root, object, "");
}

fn rows(page: &mut String, root: &Value, object: &Value, prefix: &str) {
    let object = resolved(root, object);
    let required: Vec<&str> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, value) in object["properties"].as_object().into_iter().flatten() {
        if key == "type" && value.get("const").is_some() {
            continue;
        }
        let optional = if required.contains(&key.as_str()) { "" } else { ", if there is one" };
        let means = described(value);
        let means = if means.is_empty() { described(&resolved(root, value)) } else { means };
        writeln!(page, "| `{prefix}{key}` | {}{optional} | {means} |", kind(root, value)).unwrap();
        if let Some((inner, suffix)) = nested(root, value) {
            rows(page, root, &inner, &format!("{prefix}{key}{suffix}"));
        }
    }
    // An object whose keys are part of the line itself.
    for part in object["allOf"].as_array().into_iter().flatten() {
        rows(page, root, part, prefix);
    }
    if object.get("$ref").is_some() {
        let mut alone = object.clone();
        alone.as_object_mut().unwrap().remove("properties");
        let inner = follow(root, &alone);
        rows(page, root, &inner, prefix);
    }
}

/// The object in a value, and what is written between the value's key and a key of the object.
fn nested(root: &Value, value: &Value) -> Option<(Value, &'static str)> {
    let value = not_null(value);
    if let Some(items) = value.get("items") {
        let items = follow(root, items);
        return items.get("properties").is_some().then_some((items, "[]."));
    }
    if let Some(values) = value.get("additionalProperties").filter(|values| values.is_object()) {
        let values = follow(root, values);
        return values.get("properties").is_some().then_some((values, ".NAME."));
    }
    let value = follow(root, &value);
    value.get("properties").is_some().then_some((value, "."))
}

fn kind(root: &Value, value: &Value) -> String {
    let null = if is_nullable(value) { " or null" } else { "" };
    let value = follow(root, &not_null(value));
    let words: Vec<&str> = words(&value).collect();
    if !words.is_empty() {
        return format!("`{}`{null}", words.join("`, `"));
    }
    let name = match &value["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap().to_owned(),
        _ => "any".to_owned(),
    };
    let name = match name.as_str() {
        "array" => format!("list of {}", kind(root, &value["items"])),
        "string" if value.get("pattern").is_some() => "digest".to_owned(),
        "integer" => "number".to_owned(),
        other => other.to_owned(),
    };
    format!("{name}{null}")
}

/// The words that a value can have.
fn words(value: &Value) -> impl Iterator<Item = &str> {
    let listed = value["enum"].as_array().into_iter().flatten();
    let each = value["oneOf"].as_array().into_iter().flatten().map(|one| &one["const"]);
    listed.chain(each).filter_map(Value::as_str)
}

fn is_nullable(value: &Value) -> bool {
    let is_null = |one: &Value| one["type"] == "null";
    value["anyOf"].as_array().is_some_and(|any| any.iter().any(is_null))
        || value["type"].as_array().is_some_and(|types| types.iter().any(|one| one == "null"))
}

fn not_null(value: &Value) -> Value {
    let any = value["anyOf"].as_array();
    any.and_then(|any| any.iter().find(|one| one["type"] != "null")).unwrap_or(value).clone()
}

fn resolved(root: &Value, value: &Value) -> Value {
    match value.get("properties") {
        Some(_) => value.clone(),
        None => follow(root, value),
    }
}

fn follow(root: &Value, value: &Value) -> Value {
    match value["$ref"].as_str() {
        Some(name) => root.pointer(name.trim_start_matches('#')).unwrap().clone(),
        None => value.clone(),
    }
}

fn described(value: &Value) -> String {
    let text = value["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    // A link to another type has no target on this page, so only its text is kept.
    let (mut plain, mut rest) = (String::new(), text.as_str());
    while let Some((before, link)) = rest.split_once("[`") {
        let (name, after) = link.split_once("`]").expect("a link ends");
        let after = after.strip_prefix('(').and_then(|target| Some(target.split_once(')')?.1)).unwrap_or(after);
        write!(plain, "{before}`{name}`").unwrap();
        rest = after;
    }
    plain + rest
}
