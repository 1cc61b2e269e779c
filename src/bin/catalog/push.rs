//! `catalog push`: gives models to a registry or a bucket.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog_core::{ArtifactKind, ModelRef, PushOptions, PushReceipt};

use crate::app::App;
use crate::args::find_all;
use crate::complete;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::interrupt::cancel_on_signal;
use crate::json::Line;
use crate::net::Net;
use crate::progress::Progress;

/// Push models to an OCI registry or an S3 bucket
///
/// It pushes what is stored, under the same digests, so other tools can read it, and another catalog can stage it
/// with `catalog stage TARGET`. It does not send what is there. An interrupted push resumes when it is repeated, even
/// within a large file if the other end still has the upload. It uses the logins of skopeo, podman and docker, and
/// the credentials of the AWS tools.
///
/// Several models go below a TARGET that ends in `/`, each into a repository with the name of its id. In a bucket, a
/// prefix holds an image layout, in which each model has its NAME, or else its id.
#[derive(clap::Args)]
#[command(override_usage = "catalog push [OPTIONS] <ID|REF>... <TARGET>\n       catalog push [OPTIONS] --all <TARGET>")]
#[command(after_help = "Examples:
  catalog push llama3 oci://registry.example.org/models/llama3:8b --allow-net registry.example.org
  catalog push llama3 oci://registry.example.org/models/llama3 --tag 8b --tag stable
  catalog push --all oci://registry.example.org/models/ --dry-run
  catalog push llama3 s3://models/team --allow-net models.s3.eu-central-1.amazonaws.com")]
pub(crate) struct Args {
    /// The models, and last where they are pushed: `oci://HOST[:PORT]/NAME[:TAG]` or `s3://BUCKET/PREFIX[#NAME]`
    #[arg(value_name = "ID|REF|TARGET", required = true)]
    #[arg(add = complete::models())]
    args: Vec<String>,
    /// Every model that is here
    #[arg(long)]
    all: bool,
    /// A further name of this version at the target; may be given more than once
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Ask what is there, and say what would be sent
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    net: Net,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let Some((text, models)) = self.args.split_last() else { return Ok(()) };
        match (self.all, models) {
            (false, []) => {
                return Err(usage(&format!("{text} is the target; name the models before it, or use --all")));
            }
            (true, [_, ..]) => return Err(usage("--all is every model; name none, or leave it out")),
            _ if self.net.is_offline() => return Err(usage("a push asks a server; leave --offline out")),
            _ => {}
        }
        let target = ModelRef::parse(text)?;
        if matches!(target, ModelRef::File { .. }) {
            return Err(usage(&format!(
                "{text} is no registry and no bucket; the target comes last, as oci://… or s3://…"
            )));
        }
        let progress = Arc::new(Progress::new(app));
        let cancel = cancel_on_signal();
        let catalog = self.net.apply(app.open_with_locks()?, &cancel)?;
        let options = PushOptions::default()
            .with_tags(self.tag)
            .with_dry_run(self.dry_run)
            .with_cancel(cancel)
            .with_observer(progress.clone());

        let (mut ids, mut first) = (Vec::new(), None);
        if self.all {
            // What is only registered has nothing to push.
            let records = catalog.records()?.into_iter().filter(|record| record.kind != ArtifactKind::Registered);
            ids.extend(records.map(|record| record.entry.id));
        }
        for model in models {
            match find_all(&catalog, app, model) {
                Ok(records) => ids.extend(records.into_iter().map(|record| record.entry.id)),
                Err(failure) => drop(first.get_or_insert(app.tell(Some(model), &failure))),
            }
        }
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        let mut tell = |result: catalog_core::Result<PushReceipt>| {
            progress.clear();
            match result {
                Ok(receipt) => app.receipt(Line::Pushed(&receipt), |app| words(&receipt, app)),
                Err(error) => drop(first.get_or_insert(app.tell(None, &error.into()))),
            }
            app.out.flush();
        };
        match (ids.as_slice(), self.all || ids.len() > 1) {
            ([id], false) => tell(catalog.push(id.as_str(), &target, &options)),
            (ids, _) => catalog.push_many(ids, &target, &options, &mut tell)?,
        }
        first.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
    }
}

fn usage(text: &str) -> Failure {
    Failure::usage(text.to_owned())
}

fn words(receipt: &PushReceipt, app: &App) -> Vec<u8> {
    let sent = match (receipt.dry_run, receipt.pushed_bytes) {
        (_, 0) => "nothing to send, all of it is there".to_owned(),
        (true, bytes) => format!("{} to send", human::size(bytes)),
        (false, bytes) => format!("{} sent", human::size(bytes)),
    };
    let there = match (receipt.pushed_bytes, receipt.skipped_bytes) {
        (0, _) | (_, 0) => String::new(),
        (_, bytes) => format!(", {} was there", human::size(bytes)),
    };
    let seconds = receipt.elapsed.as_secs_f64();
    let time = if seconds < 1.0 { String::new() } else { format!(", {seconds:.1} s") };
    let done = if receipt.dry_run { "would push" } else { "pushed" };
    format!("{done} {}: {sent}{there}{time}\n  {}", app.out.shown(&receipt.id), app.out.shown(&receipt.reference),)
        .into_bytes()
}
