//! Whether all of a model is there, by what its own files say belongs to it.
//!
//! Engines differ in what they do if something is missing. Some load a model with a vocabulary of five words, or with
//! random weights, and say nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::config::{self, Config};
use super::files::{ModelFiles, folder, part_of, shown};
use super::headers::{Header, Weights};
use crate::error::Result;

/// The index of a model with a hundred thousand tensors has 12 MB.
const MAX_INDEX_BYTES: u64 = 64 << 20;
const MAX_MODULES_BYTES: u64 = 1 << 20;
/// How many names are told of one kind.
const FEW: usize = 8;

/// What was found out.
#[derive(Default)]
pub(super) struct Check {
    /// Whether something says what belongs to the model.
    pub(super) is_known: bool,
    /// Files and folders that are not there at all.
    absent: BTreeSet<String>,
    /// What else is wrong.
    wrong: Vec<String>,
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    metadata: IndexMetadata,
    weight_map: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct IndexMetadata {
    #[serde(default)]
    total_size: Option<f64>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(default, rename = "type")]
    kind: String,
}

pub(super) fn check(files: &ModelFiles<'_>, weights: &[Weights], config: Option<&Config>) -> Result<Check> {
    let mut check = Check::default();
    check.headers(weights);
    check.parts(files, weights);
    for file in files.all().iter().filter(|file| file.path.ends_with(".safetensors.index.json")) {
        check.index(files, weights, &file.path)?;
    }
    check.transformers(files, weights, config);
    check.modules(files)?;
    Ok(check)
}

impl Check {
    /// All that is missing or wrong, for humans.
    pub(super) fn missing(&self) -> Vec<String> {
        let names = self.absent.iter().filter_map(|name| shown(name));
        let mut missing: Vec<String> = names.take(FEW).map(|name| format!("{name} is missing")).collect();
        if self.absent.len() > FEW {
            missing.push(format!("{} more files are missing", self.absent.len() - FEW));
        }
        missing.extend(self.wrong.iter().take(FEW).cloned());
        if self.wrong.len() > FEW {
            missing.push(format!("{} more files are wrong", self.wrong.len() - FEW));
        }
        missing
    }

    fn find(&mut self, what: String) {
        self.is_known = true;
        self.wrong.push(what);
    }

    /// Every tensor lies within its file.
    fn headers(&mut self, weights: &[Weights]) {
        for file in weights {
            let needed_bytes = match &file.header {
                Header::Gguf(header) => header.needed_bytes,
                Header::SafeTensors(header) => header.needed_bytes,
                Header::Unknown => continue,
                Header::Broken(reason) => {
                    self.find(format!("{} {reason}", path(&file.path)));
                    continue;
                }
            };
            self.is_known = true;
            if file.size_bytes < needed_bytes {
                self.find(format!("{} has {} of {needed_bytes} bytes", path(&file.path), file.size_bytes));
            }
        }
    }

    /// Every part of a split file is there, and is the part that its name says.
    fn parts(&mut self, files: &ModelFiles<'_>, weights: &[Weights]) {
        let mut sets: BTreeMap<((&str, &str), u64), BTreeSet<u64>> = BTreeMap::new();
        for file in files.all() {
            if let Some((name, number, total)) = part_of(&file.path) {
                sets.entry((name, total)).or_default().insert(number);
            }
        }
        for (((stem, ending), total), numbers) in &sets {
            self.is_known = true;
            let absent = (1..=*total).filter(|number| !numbers.contains(number));
            self.absent.extend(absent.map(|number| format!("{stem}-{number:05}-of-{total:05}.{ending}")));
        }
        let mut tensors: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for file in weights {
            let Header::Gguf(header) = &file.header else { continue };
            let named = part_of(&file.path);
            let total = header.number("split.count").filter(|total| *total > 1);
            let number = header.number("split.no").map(|number| number.saturating_add(1));
            match (named, total) {
                (None, None) => {}
                (None, Some(total)) => {
                    let number = number.unwrap_or(0);
                    self.find(format!("{} is part {number} of {total}, which its name must say", path(&file.path)));
                }
                (Some((_, named, of)), Some(total)) if number != Some(named) || of != total => {
                    let number = number.unwrap_or(0);
                    self.find(format!("{} is part {number} of {total} by its header", path(&file.path)));
                }
                (Some((name, ..)), _) => {
                    let counts = tensors.entry(name).or_default();
                    counts.0 = counts.0.saturating_add(header.tensors);
                    counts.1 = counts.1.max(header.number("split.tensors.count").unwrap_or(0));
                }
            }
        }
        if self.absent.is_empty() && self.wrong.is_empty() {
            for ((stem, _), (there, total)) in tensors {
                if total > 0 && there != total {
                    self.find(format!("{} has {there} of {total} tensors", path(stem)));
                }
            }
        }
    }

    /// Every tensor of an index is in the file that it names.
    fn index(&mut self, files: &ModelFiles<'_>, weights: &[Weights], at: &str) -> Result<()> {
        let Some(index) = files.json::<Index>(at, MAX_INDEX_BYTES)? else {
            self.find(format!("{} is damaged", path(at)));
            return Ok(());
        };
        self.is_known = true;
        let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, file) in &index.weight_map {
            by_file.entry(file).or_default().push(tensor);
        }
        let headers: BTreeMap<&str, &Header> =
            weights.iter().map(|weights| (weights.path.as_str(), &weights.header)).collect();
        let mut data_bytes: u64 = 0;
        let mut are_all_known = true;
        for (file, tensors) in by_file {
            let file = format!("{}{file}", folder(at));
            let Some(Header::SafeTensors(header)) = headers.get(file.as_str()) else {
                are_all_known = false;
                if !files.has(&file) {
                    self.absent.insert(file);
                }
                continue;
            };
            data_bytes = data_bytes.saturating_add(header.data_bytes);
            let lacks = |tensor: &&&str| header.names.binary_search_by(|name| name.as_str().cmp(tensor)).is_err();
            let lacking: Vec<String> = tensors.iter().filter(lacks).filter_map(|tensor| shown(tensor)).collect();
            if let Some(first) = lacking.first() {
                let more = if lacking.len() > 1 { format!(" and {} more", lacking.len() - 1) } else { String::new() };
                self.find(format!("{} lacks the tensor {first}{more}", path(&file)));
            }
        }
        let total_bytes = index.metadata.total_size.unwrap_or(0.0);
        if are_all_known && total_bytes > data_bytes as f64 {
            self.find(format!("{} names {total_bytes} bytes of tensors, and {data_bytes} are there", path(at)));
        }
        Ok(())
    }

    /// What transformers needs beside the weights.
    fn transformers(&mut self, files: &ModelFiles<'_>, weights: &[Weights], config: Option<&Config>) {
        let has_weights = weights.iter().any(|file| file.path.ends_with(".safetensors") && !file.path.contains('/'));
        let Some(config) = config else {
            let has_others = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"];
            let is_other = ["adapter_config.json", "params.json", "model_index.json", "modules.json"];
            if has_weights && files.has("config.json") {
                self.find("config.json is damaged".into());
            } else if has_weights
                && has_others.iter().any(|name| files.has(name))
                && !is_other.iter().any(|name| files.has(name))
            {
                self.find("config.json is missing".into());
            }
            return;
        };
        if config.is_model() && has_weights && config.is_of_text() && !config::has_tokenizer(files) {
            self.find(
                "its tokenizer is missing: there is no tokenizer.json, tokenizer.model, vocab.txt or the like".into(),
            );
        }
    }

    /// What sentence-transformers needs.
    fn modules(&mut self, files: &ModelFiles<'_>) -> Result<()> {
        if !files.has("modules.json") {
            return Ok(());
        }
        let Some(modules) = files.json::<Vec<Module>>("modules.json", MAX_MODULES_BYTES)? else {
            self.find("modules.json is damaged".into());
            return Ok(());
        };
        self.is_known = true;
        // This one has no files.
        let modules = modules.iter().filter(|module| !module.path.is_empty() && !module.kind.ends_with("Normalize"));
        let absent = modules.filter(|module| !files.has_folder(module.path.trim_end_matches('/')));
        self.absent.extend(absent.map(|module| format!("{}/", module.path.trim_end_matches('/'))));
        Ok(())
    }
}

/// A path, fit to be shown.
fn path(path: &str) -> String {
    shown(path).unwrap_or_default()
}
