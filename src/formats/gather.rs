//! Gathers the facts of a model from its headers and the small files beside them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::card::Card;
use super::complete;
use super::config::Config;
use super::facts::{Completeness, Facts, ModelFormat, ModelRole, PartCount, TensorCount};
use super::files::{ModelFiles, part_of, shown};
use super::ggml::{file_type_name, is_of};
use super::gguf::Gguf;
use super::headers::{self, Header, Weights};
use super::safetensors::SafeTensors;
use crate::error::Result;

/// The facts of a model.
pub(crate) fn facts_of(files: &ModelFiles<'_>) -> Result<Facts> {
    let weights = headers::read(files)?;
    let config = Config::of(files)?;
    let mut facts = match largest(&weights) {
        (Some(Found::Gguf(parts)), other_models) => Facts { other_models, ..of_gguf(&parts) },
        (Some(Found::SafeTensors(files)), _) => of_safetensors(&files, config.as_ref()),
        (None, _) => Facts::default(),
    };
    facts.parts = facts.parts.or_else(|| parts_of(files));
    if facts.format == Some(ModelFormat::Safetensors) {
        facts.role = Some(if files.has("adapter_config.json") { ModelRole::Adapter } else { ModelRole::Model });
    }
    let card = Card::of(files)?;
    facts.license = facts.license.or(card.license);
    if facts.base_models.is_empty() {
        facts.base_models = card.base_models;
    }
    if facts.languages.is_empty() {
        facts.languages = card.languages;
    }
    let check = complete::check(files, &weights, config.as_ref())?;
    facts.missing = check.missing();
    facts.completeness = match (facts.missing.is_empty(), check.is_known) {
        (false, _) => Completeness::Incomplete,
        (true, true) => Completeness::Complete,
        (true, false) => Completeness::Unknown,
    };
    Ok(facts)
}

/// The headers of one model.
enum Found<'w> {
    /// Its parts, the first one first.
    Gguf(Vec<(&'w Weights, &'w Gguf)>),
    SafeTensors(Vec<(&'w Weights, &'w SafeTensors)>),
}

/// The largest model, and the number of others. A projector, an adapter and the like only count if nothing else is
/// there.
fn largest(weights: &[Weights]) -> (Option<Found<'_>>, u64) {
    let mut sets: BTreeMap<&str, Vec<(&Weights, &Gguf)>> = BTreeMap::new();
    let mut safetensors = Vec::new();
    for file in weights {
        match &file.header {
            Header::Gguf(header) => {
                let name = part_of(&file.path).map_or(file.path.as_str(), |((stem, _), ..)| stem);
                sets.entry(name).or_default().push((file, header));
            }
            Header::SafeTensors(header) => safetensors.push((file, header)),
            Header::Broken(_) | Header::Unknown => {}
        }
    }
    let bytes =
        |set: &[(&Weights, &Gguf)]| set.iter().fold(0, |sum: u64, (file, _)| sum.saturating_add(file.size_bytes));
    let is_model = |set: &[(&Weights, &Gguf)]| set.iter().all(|(_, header)| role_of(header) == ModelRole::Model);
    let models = sets.values().filter(|set| is_model(set)).count() as u64;
    let mut sets: Vec<_> = sets.into_values().collect();
    sets.sort_by_key(|set| Reverse((is_model(set), bytes(set))));
    let largest = match sets.into_iter().next() {
        Some(mut set) => {
            // In a tree, the first part comes first by its name.
            set.sort_by_key(|(file, _)| file.place);
            Some(Found::Gguf(set))
        }
        None if safetensors.is_empty() => None,
        None => Some(Found::SafeTensors(safetensors)),
    };
    (largest, models.saturating_sub(1))
}

fn role_of(header: &Gguf) -> ModelRole {
    match (header.text("general.type"), header.text("general.architecture")) {
        (Some("mmproj"), _) | (_, Some("clip")) => ModelRole::Projector,
        (Some("adapter"), _) => ModelRole::Adapter,
        (Some("imatrix"), _) => ModelRole::Imatrix,
        // A part of a split model need not have tensors.
        _ if header.tensors == 0 && !header.has("split.count") => ModelRole::Vocabulary,
        _ => ModelRole::Model,
    }
}

fn of_gguf(parts: &[(&Weights, &Gguf)]) -> Facts {
    // Only the first part has values about the model.
    let Some((file, first)) = parts.first() else { return Facts::default() };
    let text = |key: &str| first.text(key).and_then(shown);
    let sizes = parts.iter().map(|(file, header)| (file.size_bytes, header.needed_bytes));
    let (weight_bytes, needed_bytes) =
        sizes.fold((0, 0), |sum: (u64, u64), size| (sum.0.saturating_add(size.0), sum.1.saturating_add(size.1)));
    let types = types(parts.iter().map(|(_, header)| &header.types));
    let total = first.number("split.count").filter(|total| *total > 1);
    Facts {
        format: Some(ModelFormat::Gguf),
        entry: Some(file.path.clone()),
        role: Some(role_of(first)),
        name: text("general.name"),
        architecture: text("general.architecture"),
        parameters: sum(parts.iter().map(|(_, header)| header.parameters)),
        size_label: text("general.size_label"),
        quantization: quantization(first, &types),
        context_length: first.of_architecture("context_length"),
        embedding_length: first.of_architecture("embedding_length"),
        layers: first.of_architecture("block_count"),
        experts: first.of_architecture("expert_count").filter(|experts| *experts > 0),
        experts_used: first.of_architecture("expert_used_count").filter(|experts| *experts > 0),
        vocabulary: first.list_length("tokenizer.ggml.tokens").or(first.of_architecture("vocab_size")),
        tokenizer: text("tokenizer.ggml.model"),
        chat_template: first.has("tokenizer.chat_template"),
        license: text("general.license.name").or(text("general.license")),
        base_models: base_models(first),
        languages: first.list("general.languages").iter().filter_map(|language| shown(language)).collect(),
        tensors: parts.iter().fold(0, |sum: u64, (_, header)| sum.saturating_add(header.tensors)),
        dtypes: types,
        parts: total.map(|total| PartCount { present: parts.len() as u64, total }),
        needed_bytes: Some(needed_bytes),
        weight_bytes,
        ..Facts::default()
    }
}

fn of_safetensors(files: &[(&Weights, &SafeTensors)], config: Option<&Config>) -> Facts {
    let types = types(files.iter().map(|(_, header)| &header.types));
    let number = |names: &[&str]| config.and_then(|config| config.number(names));
    let quantized = config.and_then(Config::quantization);
    // Quantizers pack several small values into an integer.
    let is_packed = main_type(&types).is_some_and(|name| matches!(name, "I32" | "U32" | "U8" | "I64"));
    let add = |sum: u64, bytes: u64| sum.saturating_add(bytes);
    Facts {
        format: Some(ModelFormat::Safetensors),
        architecture: config.and_then(Config::architecture),
        parameters: sum(files.iter().map(|(_, header)| header.parameters)),
        parameters_are_minimum: is_packed,
        quantization: quantized.or_else(|| main_type(&types).map(str::to_owned)),
        context_length: number(&["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"]),
        embedding_length: number(&["hidden_size", "n_embd", "d_model", "dim"]),
        layers: number(&["num_hidden_layers", "n_layer", "num_layers", "n_layers"]),
        experts: number(&["num_local_experts", "num_experts", "n_routed_experts"]),
        experts_used: number(&["num_experts_per_tok", "num_experts_per_token"]),
        vocabulary: number(&["vocab_size"]),
        tokenizer: config.and_then(Config::tokenizer),
        chat_template: config.is_some_and(Config::has_template),
        tensors: files.iter().fold(0, |sum, (_, header)| add(sum, header.names.len() as u64)),
        dtypes: types,
        needed_bytes: Some(files.iter().fold(0, |sum, (_, header)| add(sum, header.needed_bytes))),
        weight_bytes: files.iter().fold(0, |sum, (file, _)| add(sum, file.size_bytes)),
        ..Facts::default()
    }
}

fn sum(mut numbers: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    numbers.try_fold(0, |sum: u64, number| sum.checked_add(number?))
}

fn types<'t>(all: impl Iterator<Item = &'t BTreeMap<String, (u64, u64)>>) -> BTreeMap<String, TensorCount> {
    let mut types: BTreeMap<String, TensorCount> = BTreeMap::new();
    for (name, (tensors, values)) in all.flatten() {
        let count = types.entry(name.clone()).or_default();
        count.tensors = count.tensors.saturating_add(*tensors);
        count.values = count.values.saturating_add(*values);
    }
    types
}

/// The type that most values have.
fn main_type(types: &BTreeMap<String, TensorCount>) -> Option<&str> {
    types.iter().max_by_key(|(_, count)| count.values).map(|(name, _)| name.as_str())
}

/// The file type that the header names, unless hardly a tensor is of it: many files have a wrong one, or none.
fn quantization(header: &Gguf, types: &BTreeMap<String, TensorCount>) -> Option<String> {
    let named = header.number("general.file_type").and_then(file_type_name);
    let values = |is_counted: &dyn Fn(&str) -> bool| {
        let counted = types.iter().filter(|(name, _)| is_counted(name));
        counted.fold(0_u64, |sum, (_, count)| sum.saturating_add(count.values))
    };
    let all = values(&|_| true);
    let is_true = |named: &&str| types.is_empty() || values(&|name| is_of(named, name)) >= all / 10;
    // F32 is the number 0, and small tensors have this type in any file.
    let is_plain =
        |named: &&str| !matches!(*named, "F32" | "F16" | "BF16") || main_type(types).is_none_or(|main| main == *named);
    named.filter(is_true).filter(is_plain).map(str::to_owned).or_else(|| main_type(types).map(str::to_owned))
}

fn base_models(header: &Gguf) -> Vec<String> {
    let count = header.number("general.base_model.count").unwrap_or(0).min(16);
    let model = |number: u64| {
        let text = |key: &str| header.text(&format!("general.base_model.{number}.{key}"));
        let url = text("repo_url").map(|url| url.trim_start_matches("https://huggingface.co/").to_owned());
        let named = || {
            let name = text("name")?;
            Some(text("organization").map_or_else(|| name.to_owned(), |organization| format!("{organization}/{name}")))
        };
        url.or_else(named).and_then(|name| shown(&name))
    };
    (0..count).filter_map(model).collect()
}

/// The parts of a model whose files are numbered.
fn parts_of(files: &ModelFiles<'_>) -> Option<PartCount> {
    let mut sets: BTreeMap<((&str, &str), u64), u64> = BTreeMap::new();
    for (name, _, total) in files.all().iter().filter_map(|file| part_of(&file.path)) {
        *sets.entry((name, total)).or_default() += 1;
    }
    let sets = sets.into_iter().filter(|((_, total), _)| *total > 1);
    sets.max_by_key(|(_, present)| *present).map(|((_, total), present)| PartCount { present, total })
}
