//! Judges a folder of files as the Hugging Face Hub has them: whether it is a complete model, and which GGUF files in it
//! are models of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::found::{Claim, FoundFile, Sharing};
use super::names::{self, Part};
use super::reader::{Problem, Reader, parse, shown};
use crate::entry::ArtifactKind;
use crate::words::counted;

const CONFIGS: [&str; 4] = ["config.json", "modules.json", "model_index.json", "params.json"];
const INDEX: &str = ".safetensors.index.json";

/// A file of a folder.
#[derive(Debug)]
pub(super) struct Seen {
    /// Its path below the folder, with `/` between the parts.
    pub(super) path: String,
    pub(super) at: PathBuf,
    pub(super) file: Result<FoundFile, Problem>,
}

/// A GGUF file, or all parts of one that was split.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gguf {
    /// Its path below the folder; for a split one, without the numbers and the ending.
    pub(super) path: String,
    /// Its first file.
    pub(super) at: PathBuf,
    pub(super) kind: ArtifactKind,
    pub(super) files: Vec<FoundFile>,
}

impl Gguf {
    /// A name for its view.
    pub(super) fn name(&self) -> String {
        names::file_name(&self.path).to_owned()
    }
}

impl Seen {
    /// Looks at a file that has no claim and no lock.
    pub(super) fn look(reader: &Reader, path: String, at: PathBuf) -> Self {
        let file = Self::found(reader, &path, &at, None);
        Seen { path, at, file }
    }

    pub(super) fn found(reader: &Reader, path: &str, at: &Path, claim: Option<Claim>) -> Result<FoundFile, Problem> {
        let real = reader.model_file(at, path)?;
        let sharing = Sharing::Hardlink;
        Ok(FoundFile {
            path: path.into(),
            source: real.source,
            size_bytes: real.size_bytes,
            claim,
            sharing,
            lock: None,
        })
    }
}

/// The first file that is there and cannot be used.
pub(super) fn unusable(seen: &[Seen]) -> Option<String> {
    seen.iter().find_map(|seen| match &seen.file {
        Err(problem @ Problem::LeadsOut(_)) => Some(problem.to_string()),
        Err(Problem::Other(text)) => Some(format!("{}: {text}", shown(&seen.path))),
        Ok(_) | Err(Problem::Missing) => None,
    })
}

/// Returns why the files are no complete model that can be used as a folder; `None` if they are one.
pub(super) fn incomplete(reader: &Reader, seen: &[Seen]) -> Option<String> {
    if let Some(reason) = unusable(seen) {
        return Some(reason);
    }
    if let Some(missing) = seen.iter().find(|seen| seen.file.is_err()) {
        return Some(format!("an unfinished download: {} is not there", shown(&missing.path)));
    }
    let paths: BTreeSet<&str> = seen.iter().map(|seen| seen.path.as_str()).collect();
    for index in seen.iter().filter(|seen| seen.path.ends_with(INDEX)) {
        if let Err(reason) = index_is_complete(reader, index, &paths) {
            return Some(format!("{} {reason}", shown(&index.path)));
        }
    }
    for ((base, ending, count), numbers) in sets(seen) {
        if numbers.len() as u64 != u64::from(count) {
            return Some(parts_missing(numbers.len(), count, base, ending));
        }
    }
    if !paths.iter().any(|path| names::is_weights(path)) {
        return Some("no model file in it".to_owned());
    }
    let has_config = CONFIGS.iter().any(|name| paths.contains(name));
    (!has_config).then(|| "no config.json in it".to_owned())
}

fn parts_missing(there: usize, count: u32, base: &str, ending: &str) -> String {
    match ending {
        "gguf" => format!("{there} of {count} parts of a split GGUF"),
        _ => format!("{there} of {count} parts of {}.{ending}", shown(base)),
    }
}

/// The numbers of the parts that are there, by the base, the ending and the count of the set.
fn sets(seen: &[Seen]) -> BTreeMap<(&str, &str, u32), BTreeSet<u32>> {
    let mut sets: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
    for Part { base, number, count, ending } in seen.iter().filter_map(|seen| names::part(&seen.path)) {
        sets.entry((base, ending, count)).or_default().insert(number);
    }
    sets
}

/// The index of a model with hundreds of experts has a line for each matrix of each of them.
const MAX_INDEX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: Files,
}

/// The values of a map from tensors to files. The tensors are not kept, because there may be a million.
struct Files(BTreeSet<String>);

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Files;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensors to files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files, A::Error> {
                let mut files = BTreeSet::new();
                while let Some((IgnoredAny, file)) = map.next_entry()? {
                    files.insert(file);
                }
                Ok(Files(files))
            }
        }
        deserializer.deserialize_map(Values)
    }
}

/// The error is to be read after the name of the index.
fn index_is_complete(reader: &Reader, index: &Seen, paths: &BTreeSet<&str>) -> Result<(), String> {
    let read = reader.read(&index.at, MAX_INDEX_BYTES).and_then(|json| parse(&json));
    let Index { weight_map: Files(names) } = read.map_err(|problem| format!("cannot be used: {problem}"))?;
    let folder = index.path.strip_suffix(names::file_name(&index.path)).unwrap_or_default();
    let missing = names.iter().filter(|name| !paths.contains(format!("{folder}{name}").as_str())).count();
    match missing {
        0 => Ok(()),
        missing => Err(format!("names {} not there", counted(missing as u64, "file that is", "files that are"))),
    }
}

/// Returns each GGUF file and each split GGUF that is complete, and where there is one that is not, with the reason.
pub(super) fn ggufs(seen: Vec<Seen>) -> (Vec<Gguf>, Vec<(PathBuf, String)>) {
    let (mut models, mut skipped) = (Vec::new(), Vec::new());
    let mut sets: BTreeMap<(String, u32), BTreeMap<u32, Seen>> = BTreeMap::new();
    for one in seen.into_iter().filter(|seen| names::is_gguf(&seen.path)) {
        if let Some(Part { base, number, count, .. }) = names::part(&one.path) {
            sets.entry((base.to_owned(), count)).or_default().insert(number, one);
            continue;
        }
        match one.file {
            Ok(file) => {
                let files = vec![FoundFile { path: String::new(), ..file }];
                models.push(Gguf { path: one.path, at: one.at, kind: ArtifactKind::File, files });
            }
            Err(Problem::Missing) => skipped.push((one.at, "an unfinished download".to_owned())),
            Err(problem) => skipped.push((one.at, problem.to_string())),
        }
    }
    for ((base, count), parts) in sets {
        let Some(at) = parts.values().next().map(|first| first.at.clone()) else { continue };
        match all_parts(&base, count, parts) {
            Ok(files) => models.push(Gguf { path: base, at, kind: ArtifactKind::Tree, files }),
            Err(reason) => skipped.push((at, reason)),
        }
    }
    (models, skipped)
}

fn all_parts(base: &str, count: u32, parts: BTreeMap<u32, Seen>) -> Result<Vec<FoundFile>, String> {
    let there = parts.values().filter(|seen| !matches!(seen.file, Err(Problem::Missing))).count();
    if there as u64 != u64::from(count) {
        return Err(parts_missing(there, count, base, "gguf"));
    }
    parts
        .into_values()
        .map(|seen| match seen.file {
            Ok(file) => Ok(FoundFile { path: names::file_name(&seen.path).to_owned(), ..file }),
            Err(problem) => Err(problem.to_string()),
        })
        .collect()
}
