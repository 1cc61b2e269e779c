//! `catalog show`: everything that is known of one model.

use std::ffi::OsString;

use catalog_core::{Facts, Record};

use crate::app::App;
use crate::args::Models;
use crate::facts;
use crate::failure::Outcome;
use crate::human;
use crate::json::Line;
use crate::pins::lasts;

/// Show everything that is known of models
///
/// Times are local. With --json they are milliseconds since the Unix epoch.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog show llama3
  catalog show 'hf:org/*'
  catalog show sha256:1ef0bef1                # the digest, or the first digits of it
  catalog show \"$(catalog path llama3)\"      # a path below the root, as ps shows it
  catalog show llama3 --json | jq -r .digest")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Models,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open()?;
        let mut is_first = true;
        self.targets.each(app, &catalog, |app, record| {
            let facts = facts::of(&catalog, record);
            if app.json() {
                app.out.json(&Line::model_with(record, None, None, facts.as_ref()));
                return Ok(());
            }
            if !std::mem::take(&mut is_first) {
                app.out.line("");
            }
            print(app, record, facts.as_ref());
            Ok(())
        })
    }
}

fn print(app: &mut App, record: &Record, facts: Option<&Facts>) {
    let mut lines = lines(record);
    lines.extend(facts.into_iter().flat_map(facts::lines));
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 1;
    for (key, value) in &lines {
        let mut line = format!("{:width$} ", format!("{key}:")).into_bytes();
        line.extend_from_slice(&app.out.shown_path(value.as_ref()));
        app.out.line(line);
    }
}

/// The values are `OsString`s, because a path need not be UTF-8.
fn lines(record: &Record) -> Vec<(&'static str, OsString)> {
    let entry = &record.entry;
    let none = || "-".to_owned();
    let never = || "never".to_owned();
    let mut lines: Vec<(_, OsString)> = vec![
        ("id", entry.id.clone().into()),
        ("path", entry.local_path.clone().into()),
        ("digest", entry.digest.map_or_else(none, |digest| digest.to_string()).into()),
        ("size", human::exact_size(record.size_bytes).into()),
        ("files", record.files.to_string().into()),
        ("kind", record.kind.as_str().into()),
        ("state", entry.lifecycle.as_str().into()),
        ("trust", record.trust.as_str().into()),
        ("view", record.view.map_or_else(none, |view| view.as_str().to_owned()).into()),
        ("created", human::moment(record.created_ms).into()),
        ("updated", human::moment(record.updated_ms).into()),
        ("verified", entry.last_verified_ms.map_or_else(never, human::moment).into()),
        ("last used", record.last_used_ms.map_or_else(never, human::moment).into()),
        ("source", record.source.as_ref().map_or_else(none, |source| source.reference.clone()).into()),
    ];
    if let Some(damaged_ms) = record.damaged_ms {
        lines.push(("damaged", format!("found {}", human::moment(damaged_ms)).into()));
    }
    if let Some(stamp) = record.source.as_ref().and_then(|source| source.stamp) {
        let written = u64::try_from(stamp.mtime_ns / 1_000_000).map_or_else(|_| none(), human::moment);
        let file = format!("inode {}, {} bytes, written {written}", stamp.inode, stamp.size_bytes);
        lines.push(("source file", file.into()));
    }
    if let Some(pinned) = record.source.as_ref().and_then(|source| source.pinned.clone()) {
        lines.push(("source version", pinned.into()));
    }
    if let Some(named_by) = record.source.as_ref().and_then(|source| source.named_by.clone()) {
        lines.push(("digests named by", named_by.into()));
    }
    for (digest, document) in &record.documents {
        lines.push(("document", format!("{} ({}), {digest}", document.name, document.kind).into()));
    }
    for attestation in record.signatures() {
        let by = attestation.subject.clone().filter(|subject| !subject.is_empty());
        let key = human::short_digest(&attestation.key);
        let by = by.map_or_else(|| format!("the key {key}"), |subject| format!("{subject}, the key {key}"));
        let by = attestation.issuer.as_ref().map_or_else(|| by.clone(), |issuer| format!("{by}, known to {issuer}"));
        let checked = human::moment(attestation.checked_ms);
        lines.push(("signed by", format!("{by}, checked {checked}").into()));
    }
    for digest in record.needs.iter().filter(|digest| !record.documents.contains_key(*digest)) {
        lines.push(("needs", digest.to_string().into()));
    }
    for (place, seen_ms) in &record.pushed {
        lines.push(("pushed to", format!("{place}, seen {}", human::moment(*seen_ms)).into()));
    }
    for (name, pin) in &record.pins {
        lines.push(("pinned", format!("{name}, since {}, {}", human::moment(pin.created_ms), lasts(pin)).into()));
    }
    lines
}
