//! The facts of a model, for a person.

use std::ffi::OsString;

use catalog_core::{Completeness, Facts, FsCatalog, ModelRole, Record};

use crate::human;
use crate::table::Column;

/// What is known of a model by its bytes. `None` if nothing is, or if they cannot be read.
pub(crate) fn of(catalog: &FsCatalog, record: &Record) -> Option<Facts> {
    let facts = catalog.facts(record.entry.id.as_str());
    facts.inspect_err(|error| tracing::warn!(id = record.entry.id, %error, "could not read the headers")).ok()
}

/// In `list --long`.
pub(crate) const COLUMNS: [Column; 5] = [
    Column::text("ARCH", 2),
    Column::number("PARAMS", 2),
    Column::text("QUANT", 2),
    Column::number("CTX", 4),
    Column::text("SET", 3),
];

/// The cells of these columns.
pub(crate) fn row(facts: Option<&Facts>, is_terminal: bool) -> [String; 5] {
    let none = || "-".to_owned();
    let Some(facts) = facts else { return std::array::from_fn(|_| none()) };
    let parameters = |number: u64| if is_terminal { parameters(facts, number) } else { number.to_string() };
    [
        facts.architecture.clone().unwrap_or_else(none),
        facts.parameters.map_or_else(none, parameters),
        facts.quantization.clone().unwrap_or_else(none),
        facts.context_length.map_or_else(none, |tokens| tokens.to_string()),
        set(facts).unwrap_or_else(none),
    ]
}

/// `3 of 3`, `2 of 3!`, or `incomplete!`.
fn set(facts: &Facts) -> Option<String> {
    let mark = if facts.completeness == Completeness::Incomplete { "!" } else { "" };
    match facts.parts {
        Some(parts) => Some(format!("{} of {}{mark}", parts.present, parts.total)),
        None => (!mark.is_empty()).then(|| "incomplete!".to_owned()),
    }
}

/// Such as `135M`, or `≥1.2B`.
fn parameters(facts: &Facts, number: u64) -> String {
    let least = if facts.parameters_are_minimum { "≥" } else { "" };
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K")];
    match units.into_iter().find(|(unit, _)| number >= *unit) {
        None => format!("{least}{number}"),
        Some((unit, letter)) => {
            let tenths = (u128::from(number) * 10 + u128::from(unit) / 2) / u128::from(unit);
            match tenths {
                100.. => format!("{least}{}{letter}", (tenths + 5) / 10),
                _ if tenths % 10 == 0 => format!("{least}{}{letter}", tenths / 10),
                _ => format!("{least}{}.{}{letter}", tenths / 10, tenths % 10),
            }
        }
    }
}

/// The lines of `show`.
pub(crate) fn lines(facts: &Facts) -> Vec<(&'static str, OsString)> {
    let mut lines: Vec<(&'static str, OsString)> = Vec::new();
    let mut add = |key, value: Option<String>| lines.extend(value.map(|value| (key, value.into())));
    let role = facts.role.filter(|role| *role != ModelRole::Model);
    add("format", facts.format.map(|format| format.to_string()));
    add("role", role.map(|role| role.to_string()));
    add("name", facts.name.clone());
    add("architecture", facts.architecture.clone());
    add("parameters", facts.parameters.map(|number| format!("{} ({number})", parameters(facts, number))));
    add("quantization", facts.quantization.clone());
    add("context length", facts.context_length.map(|tokens| human::count(tokens, "token")));
    add("layers", facts.layers.map(|layers| layers.to_string()));
    add("embedding length", facts.embedding_length.map(|length| length.to_string()));
    add(
        "experts",
        facts.experts.map(|experts| match facts.experts_used {
            Some(used) => format!("{experts}, {used} of them used"),
            None => experts.to_string(),
        }),
    );
    add("vocabulary", facts.vocabulary.map(|tokens| human::count(tokens, "token")));
    add("tokenizer", facts.tokenizer.clone());
    add("chat template", facts.format.map(|_| if facts.chat_template { "yes" } else { "no" }.to_owned()));
    add("license", facts.license.clone());
    add("base models", list(&facts.base_models));
    add("languages", list(&facts.languages));
    add(
        "tensors",
        facts.format.map(|_| {
            let types = facts.dtypes.iter().map(|(name, count)| format!("{} {name}", count.tensors));
            let types: Vec<String> = types.collect();
            match types.is_empty() {
                true => facts.tensors.to_string(),
                false => format!("{}: {}", facts.tensors, types.join(", ")),
            }
        }),
    );
    add("parts", facts.parts.map(|parts| format!("{} of {}", parts.present, parts.total)));
    add("other models", (facts.other_models > 0).then(|| facts.other_models.to_string()));
    add("bytes needed", facts.needed_bytes.map(|bytes| format!("{bytes} of {} there", facts.weight_bytes)));
    add("completeness", facts.format.map(|_| facts.completeness.to_string()));
    for missing in &facts.missing {
        add("missing", Some(missing.clone()));
    }
    lines
}

fn list(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_parameters() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (134_515_008, "135M"),
            (8_030_261_248, "8B"),
            (1_235_814_400, "1.2B"),
            (70_553_706_496, "71B"),
            (671_026_419_200, "671B"),
            (1_000_000, "1M"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(parameters(&Facts::default(), number), text);
        }
    }
}
