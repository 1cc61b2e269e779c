//! An OCI image layout: the manifest and the files as they are stored, under the same digests.
//!
//! ```text
//! oci-layout
//! blobs/sha256/HEX      the files, the configuration, and last the manifest; the documents, each with a referrer
//! index.json            the manifest under its tag, with the id as an annotation, and its referrers
//! ```

use std::collections::BTreeMap;

use super::artifact::Artifact;
use super::index::{self, Entry};
use super::names::{invalid, is_word, to_word};
use super::options::ExportOptions;
use super::plan::{Content, Linking, Plan, Role};
use crate::digest::Digest;
use crate::documents;
use crate::entry::ArtifactKind;
use crate::error::Result;
use crate::oci;
use crate::referrer;
use crate::store::Packaged;

pub(super) fn plan(artifact: &Artifact<'_>, options: &ExportOptions) -> Result<Plan> {
    let id = artifact.id();
    let tag = match options.repo.as_deref() {
        Some(asked) if is_word(asked) => asked.to_owned(),
        Some(asked) => return Err(invalid(asked, "a tag is one word of letters, digits, `.`, `_` and `-`")),
        None => to_word(id.rsplit_once('/').map_or(id, |(_, last)| last)),
    };
    let cannot = |reason: &'static str| artifact.cannot(options.layout, reason);
    let package = Packaged::of(artifact.store, artifact.record(), &cannot)?;
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.to_hex());
    let mut plan = Plan::new(tag.clone(), path(&package.digest), Linking::Yes);
    plan.push(oci::LAYOUT.0.into(), Content::Bytes(oci::LAYOUT.1.into()), Role::IfFree);
    for file in &package.files {
        plan.blob(path(&file.digest), file.digest, file.size_bytes, Role::Part);
    }
    let size_bytes = package.manifest.len() as u64;
    let mut referrers = BTreeMap::new();
    for document in documents::read(artifact.store, artifact.record()) {
        let document = document?;
        let referrer = referrer::of_document(&package.manifest, document.name, document.kind, &document.bytes);
        plan.blob(path(&document.digest), document.digest, document.bytes.len() as u64, Role::Part);
        referrers.insert(Digest::sha256_of(&referrer), referrer);
    }
    plan.push(path(&Digest::sha256_of(&package.config)), Content::Bytes(package.config), Role::Part);
    match artifact.record().kind {
        ArtifactKind::Tree => plan.blob(path(&package.digest), package.digest, size_bytes, Role::Part),
        _ => drop(plan.push(path(&package.digest), Content::Bytes(package.manifest), Role::Part)),
    }
    if !referrers.is_empty() {
        plan.push(path(&Digest::sha256_of(referrer::CONFIG)), Content::Bytes(referrer::CONFIG.into()), Role::Part);
    }
    let descriptors = referrers.iter().map(|(digest, referrer)| (*digest, referrer::descriptor(referrer))).collect();
    for (digest, referrer) in referrers {
        plan.push(path(&digest), Content::Bytes(referrer), Role::Part);
    }
    let entry = Entry { id: id.to_owned(), tag, digest: package.digest, size_bytes, referrers: descriptors };
    plan.push(index::NAME.into(), Content::Entry(entry), Role::Head);
    Ok(plan)
}
