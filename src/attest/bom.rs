//! A bill of materials: what a model is, and which files it has.
//!
//! The same content under the same id gives the same bytes, in any root and at any time: nothing in it depends on the
//! machine or the clock. What only the model's maker says is told apart from what was counted or hashed: `declared`
//! licences, ancestors, the architecture, and the properties below `catalog:stated:`.

use std::time::Duration;

use p256::pkcs8::der::DateTime;

use super::cyclonedx::{
    Component, Document, ExternalReference, Hash, License, LicenseChoice, Metadata, ModelCard, ModelParameters,
    Pedigree, Property, Tools,
};
use super::origin::{self, Origin};
use super::spdx;
use crate::digest::Digest;
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::facts::{self, StoredFile};
use crate::formats::Facts;
use crate::model_ref::is_commit;
use crate::store::Store;

/// How a bill of materials is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BomOptions {
    /// When it is made, in milliseconds since the Unix epoch. `None`: it says nothing of that, and is the same each
    /// time.
    pub timestamp_ms: Option<u64>,
}

impl BomOptions {
    /// Sets [`timestamp_ms`](BomOptions::timestamp_ms).
    #[must_use]
    pub fn with_timestamp_ms(mut self, timestamp_ms: impl Into<Option<u64>>) -> Self {
        self.timestamp_ms = timestamp_ms.into();
        self
    }
}

/// Makes the bill of materials of an entry; see [`FsCatalog::bom`](crate::FsCatalog::bom).
pub(crate) fn bom(store: &Store, record: &Record, options: &BomOptions) -> Result<String> {
    let id = &record.entry.id;
    let digest = record.entry.digest.filter(|_| record.kind != ArtifactKind::Registered);
    let not_staged = || Error::NotStaged { id: id.clone(), path: record.entry.local_path.clone() };
    let digest = digest.ok_or_else(not_staged)?;
    let files = facts::files(store, record)?;
    let facts = facts::facts(store, record)?;
    let document = Document {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: serial_number(digest, id),
        version: 1,
        metadata: Metadata {
            timestamp: options.timestamp_ms.and_then(timestamp),
            tools: Tools {
                components: [Component {
                    kind: "application",
                    name: env!("CARGO_PKG_NAME").into(),
                    version: Some(env!("CARGO_PKG_VERSION").into()),
                    ..Component::default()
                }],
            },
            component: model(record, digest, &facts),
        },
        components: if record.kind == ArtifactKind::Tree { files.iter().map(file).collect() } else { Vec::new() },
    };
    let fail = |e: serde_json::Error| Error::io("describe", record.entry.local_path.clone(), std::io::Error::from(e));
    Ok(serde_json::to_string_pretty(&document).map_err(fail)? + "\n")
}

/// A UUID of version 8, which is made from whatever its maker likes.
fn serial_number(digest: Digest, id: &str) -> String {
    let hash = Digest::sha256_of(format!("catalog bom\0{digest}\0{id}").as_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0b11 << 62) | 8 << 76 | 0b10 << 62;
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default().to_owned());
    format!("urn:uuid:{}", parts.join("-"))
}

fn model(record: &Record, digest: Digest, facts: &Facts) -> Component {
    let source = record.source.as_ref();
    let origin = source.map(Origin::of).unwrap_or_default();
    // The tag of a web server names no version to anybody else.
    let is_version = |pinned: &String| is_commit(pinned) || pinned.parse::<Digest>().is_ok();
    let pinned = source.and_then(|source| source.pinned.clone()).filter(is_version);
    Component {
        kind: "machine-learning-model",
        bom_ref: Some(digest.to_string()),
        group: origin.group.clone(),
        name: origin.name.clone().unwrap_or_else(|| name_of(&record.entry.id)),
        version: Some(pinned.unwrap_or_else(|| digest.to_string())),
        hashes: vec![hash(digest)],
        licenses: facts.license.iter().map(|name| license(name)).collect(),
        purl: origin.purl,
        pedigree: ancestors(facts),
        external_references: origin
            .url
            .into_iter()
            .map(|url| ExternalReference { kind: "distribution", url })
            .collect(),
        model_card: facts
            .architecture
            .clone()
            .map(|model_architecture| ModelCard { model_parameters: ModelParameters { model_architecture } }),
        properties: properties(record, facts),
    }
}

/// The reference as a bill of materials shows it: only the last name of a local path.
fn name_of(id: &str) -> String {
    match id.contains("://") {
        true => origin::public(id),
        false if id.starts_with("file:") => id.rsplit('/').next().unwrap_or(id).to_owned(),
        false => id.to_owned(),
    }
}

fn hash(digest: Digest) -> Hash {
    Hash { alg: "SHA-256", content: digest.to_hex() }
}

fn license(name: &str) -> LicenseChoice {
    let id = spdx::id_of(name);
    let name = id.is_none().then(|| name.to_owned());
    LicenseChoice { license: License { id, name, acknowledgement: "declared" } }
}

fn ancestors(facts: &Facts) -> Option<Pedigree> {
    let model =
        |name: &String| Component { kind: "machine-learning-model", name: name.clone(), ..Component::default() };
    let ancestors: Vec<Component> = facts.base_models.iter().map(model).collect();
    (!ancestors.is_empty()).then_some(Pedigree { ancestors })
}

fn properties(record: &Record, facts: &Facts) -> Vec<Property> {
    let mut all = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        all.extend(value.map(|value| Property { name: format!("catalog:{name}"), value }));
    };
    add("kind", Some(record.kind.to_string()));
    add("files", Some(record.files.to_string()));
    add("size_bytes", Some(record.size_bytes.to_string()));
    add("trust", Some(record.trust.to_string()));
    add("digests_named_by", record.source.as_ref().and_then(|source| source.named_by.clone()));
    add("format", facts.format.map(|format| format.to_string()));
    add("role", facts.role.map(|role| role.to_string()));
    add("parameters", facts.parameters.map(|number| number.to_string()));
    add("parameters_are_minimum", facts.parameters_are_minimum.then(|| "true".to_owned()));
    add("tensors", facts.format.map(|_| facts.tensors.to_string()));
    for (name, count) in &facts.dtypes {
        add(&format!("dtype:{name}:tensors"), Some(count.tensors.to_string()));
        add(&format!("dtype:{name}:values"), Some(count.values.to_string()));
    }
    add("completeness", facts.format.map(|_| facts.completeness.to_string()));
    for missing in &facts.missing {
        add("missing", Some(missing.clone()));
    }
    add("stated:name", facts.name.clone());
    add("stated:size_label", facts.size_label.clone());
    add("stated:quantization", facts.quantization.clone());
    add("stated:context_length", facts.context_length.map(|tokens| tokens.to_string()));
    for language in &facts.languages {
        add("stated:language", Some(language.clone()));
    }
    all
}

fn file(file: &StoredFile) -> Component {
    Component {
        kind: "file",
        bom_ref: Some(format!("file:{}", file.path)),
        name: file.path.clone(),
        hashes: vec![hash(file.digest)],
        properties: vec![Property { name: "catalog:size_bytes".into(), value: file.size_bytes.to_string() }],
        ..Component::default()
    }
}

/// RFC 3339, in UTC and whole seconds. `None`: after the year 9999.
fn timestamp(ms: u64) -> Option<String> {
    DateTime::from_unix_duration(Duration::from_secs(ms / 1000)).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_a_uuid_of_content_and_id() {
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::sha256_of(bytes));
        let number = serial_number(a, "m");
        assert_eq!(number, serial_number(a, "m"));
        assert!(number != serial_number(b, "m") && number != serial_number(a, "n"));
        assert_eq!((number.len(), number.get(23..24), number.starts_with("urn:uuid:")), (45, Some("8"), true));
        assert!(number.get(28..29).is_some_and(|variant| "89ab".contains(variant)), "{number}");
    }

    #[test]
    fn times() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds * 1000 + 999).as_deref(), Some(text));
        }
        assert_eq!(timestamp(u64::MAX), None);
    }

    #[test]
    fn a_name_without_the_paths_of_this_machine() {
        assert_eq!(name_of("file:/home/user/m.gguf"), "m.gguf");
        assert_eq!(name_of("https://user:secret@a.example/m?secret"), "https://a.example/m");
        assert_eq!(name_of("llama3:8b"), "llama3:8b");
    }
}
