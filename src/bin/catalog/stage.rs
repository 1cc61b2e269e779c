//! `catalog stage`: brings models in.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use catalog_core::{Cancel, Error, IngestMode, ModelRef, StageOptions, StageReceipt, UsedMode, Wait, check_id};

use crate::amount;
use crate::app::App;
use crate::args::{Init, word};
use crate::complete;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::id_from::IdFrom;
use crate::interrupt::cancel_on_signal;
use crate::json::Line;
use crate::net::Net;
use crate::progress::Progress;
use crate::signer::{Signer, read_signature};
use crate::sums::Sums;
use crate::text::argument;

/// Bring models in, from files, directories and servers, and give each an id
///
/// Stores the content, once for all names that it has, and makes the path that an engine opens. Makes the catalog if
/// there is none. When it has ended, the model survives a power cut. The source stays as it is, except with `--mode
/// link` and `--mode move`.
///
/// `-` is standard input. Nothing tells a stream that was cut off from one that has ended, so give its `--digest` if you know it.
///
/// If another process stages the same reference, this one waits for it, and then has nothing left to do. If `catalog
/// config` has set limits, models that were not used for long are evicted to make room.
///
/// A REF is a path, `file:/path`, `https://…`, `http://…`, `hf:org/repo[@revision][/path]` on the Hugging Face Hub,
/// `oci://host/name[:tag]` in a registry, or in a bucket `s3://bucket/key`, `s3://bucket/prefix/`, or
/// `s3://bucket/prefix#name` for what was pushed there. It contacts only servers that `--allow-net`,
/// CATALOG_ALLOW_NET or `catalog config set allow_net` allow. What it fetches is right, or it is not there. An
/// interrupted fetch resumes when the same reference is staged again.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog stage ./llama3-8b.gguf --id llama3
  catalog stage --follow-links ~/.cache/huggingface/hub/models--org--repo/snapshots/3f2a/
  catalog stage /models/*.gguf --mode move --id-from name
  catalog stage --sums SHA256SUMS
  curl -sSf https://models.example.org/llama3.gguf | catalog stage - --id llama3 --digest sha256:1ef0…
  catalog stage hf:org/repo --include '*Q4_K_M*.gguf' --allow-net hf
  catalog stage https://models.example.org/llama3.gguf --allow-net models.example.org
  catalog stage s3://models/llama3/ --allow-net models.s3.eu-central-1.amazonaws.com")]
pub(crate) struct Args {
    /// The files, directories and references to bring in; - is standard input, and needs --id
    #[arg(value_name = "REF", required_unless_present = "sums", add = complete::references())]
    refs: Vec<OsString>,
    /// The id for the model [default: the reference itself, for example file:/models/a.gguf]
    #[arg(long)]
    id: Option<String>,
    /// What ids are made of: reference, path (what was typed), file (the last part) or name (the last part without
    /// .gguf)
    #[arg(long, value_enum, value_name = "WHAT", default_value_t, hide_possible_values = true, conflicts_with = "id")]
    id_from: IdFrom,
    /// Refuse content with another digest
    #[arg(long, value_name = "sha256:HEX")]
    digest: Option<String>,
    /// Refuse content that differs from this list, as sha256sum writes it; without a REF, stage all files in the list
    #[arg(long, value_name = "FILE", conflicts_with = "digest")]
    sums: Option<PathBuf>,
    /// How the bytes get into the store
    #[arg(long, value_parser = word(&MODES, IngestMode::as_str), default_value_t = IngestMode::Auto)]
    mode: IngestMode,
    /// Refuse a model of which something is missing, such as a part or the tokenizer
    #[arg(long)]
    require_complete: bool,
    /// Refuse a model without a good signature: by --key or --cert, or else by a signer of the policy's rules for its id
    #[arg(long)]
    require_signature: bool,
    #[command(flatten)]
    signer: Signer,
    /// The signature, which is kept with the model [default: the file model.sig of a directory]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// How long to wait for another process that stages the same reference: never, forever, or a time such as 90s,
    /// 15m, 2h
    #[arg(long, value_name = "TIME", value_parser = amount::wait, default_value = "forever")]
    wait: Wait,
    /// In a directory, follow symlinks that lead out of it
    #[arg(long)]
    follow_links: bool,
    /// Take only files of a repository that match this; may be given more than once
    ///
    /// `*` also crosses `/`, and `dir/` means all that is below it, as in the Hub's own tools.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Take no files that match this; may be given more than once
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    #[command(flatten)]
    init: Init,
    #[command(flatten)]
    net: Net,
}

/// Standard input, as a reference.
const STDIN: &str = "-";

const MODES: [(IngestMode, &str); 6] = [
    (IngestMode::Auto, "A reflink where the file system can, else a copy"),
    (IngestMode::Reflink, "A clone that shares its blocks with the source until one of the two is written"),
    (IngestMode::Copy, "A copy"),
    (IngestMode::Share, "A reflink, else a second name as with link, else a copy; for files that nothing writes into"),
    (
        IngestMode::Link,
        "A second name of the source, which becomes read-only; only when all may read it and nothing can still write to it",
    ),
    (IngestMode::Move, "The source itself, which is then gone; only when nothing can still write to it"),
];

impl Args {
    pub(crate) fn run(mut self, app: &mut App) -> Outcome {
        let sums = self.sums.as_deref().map(Sums::read).transpose()?;
        if let Some(sums) = sums.as_ref().filter(|_| self.refs.is_empty()) {
            self.refs = sums.files();
        }
        self.check_that_options_fit_the_refs()?;
        let progress = Arc::new(Progress::new(app));
        let cancel = cancel_on_signal();
        let options = self.options(progress.clone(), &cancel)?;
        if self.refs == [STDIN] {
            if sums.is_some() {
                return Err(Failure::usage("could not find standard input in --sums: it has no name")
                    .with_hint("--digest says what it should be"));
            }
            return self.stage_stdin(app, &options, &progress);
        }

        let mut ids = BTreeMap::new();
        let parsed: Vec<_> = self.refs.iter().map(|text| self.item(text, sums.as_ref(), &options, &mut ids)).collect();
        let items: Vec<_> = parsed.iter().flatten().cloned().collect();
        let receipts = if items.is_empty() {
            Vec::new()
        } else {
            let catalog = app.open_or_create(self.init)?;
            app.note_unknown_room(&catalog);
            let is_remote = |(reference, _): &(ModelRef, _)| !matches!(reference, ModelRef::File { .. });
            let catalog = if items.iter().any(is_remote) { self.net.apply(catalog, &cancel)? } else { catalog };
            catalog.stage_many(&items)
        };
        progress.clear();

        let mut receipts = receipts.into_iter();
        let names: Vec<String> = self.refs.iter().map(|text| name(text)).collect();
        app.each(names.iter().zip(names.iter().zip(parsed)), |app, (name, parsed)| {
            parsed?;
            let receipt = receipts.next().expect("stage_many returns a result for each item");
            let receipt = receipt.map_err(|error| Failure::of(error, "stage", name, &app.command()))?;
            app.receipt(Line::staged(&receipt), |app| words(&receipt, app));
            app.out.flush(); // before the errors
            tell_of_missing(app, &receipt);
            told_of_unmoved(app, &receipt)
        })
    }

    fn check_that_options_fit_the_refs(&self) -> Outcome {
        if self.refs.len() > 1 && self.refs.iter().any(|text| text == STDIN) {
            return Err(Failure::usage("could not stage standard input together with other references")
                .with_hint("stage it alone; ./- is a file of that name"));
        }
        for (option, is_given) in [
            ("--id", self.id.is_some()),
            ("--digest", self.digest.is_some()),
            ("--signature", self.signature.is_some()),
        ] {
            if is_given && self.refs.len() > 1 {
                return Err(Failure::usage(format!(
                    "could not use {option} for {} references: it belongs to one; stage them one at a time",
                    self.refs.len()
                )));
            }
        }
        Ok(())
    }

    /// Stages standard input while it arrives.
    fn stage_stdin(&self, app: &mut App, options: &StageOptions, progress: &Progress) -> Outcome {
        let Some(id) = &self.id else {
            return Err(
                Failure::usage("could not stage standard input: it has no name").with_hint("give it an id with --id")
            );
        };
        let catalog = app.open_or_create(self.init)?;
        app.note_unknown_room(&catalog);
        let receipt = catalog.stage_from(io::stdin().lock(), id, options);
        progress.clear();
        let receipt = receipt?;
        app.receipt(Line::staged(&receipt), |app| words(&receipt, app));
        app.out.flush();
        tell_of_missing(app, &receipt);
        Ok(())
    }

    /// What one argument asks for. `ids` has those of the arguments before it.
    fn item(
        &self,
        text: &OsStr,
        sums: Option<&Sums>,
        options: &StageOptions,
        ids: &mut BTreeMap<String, OsString>,
    ) -> Result<(ModelRef, StageOptions), Failure> {
        let reference = parse(text)?;
        let mut options = options.clone();
        if let Some(sums) = sums {
            options = options.with_digest(sums.digest_of(text)?);
        }
        if let Some(id) = self.id_from.id(text, &reference) {
            check_id(&id)?;
            if let Some(other) = ids.insert(id.clone(), text.to_owned()).filter(|other| other != text) {
                let (text, other) = (text.to_string_lossy(), other.to_string_lossy());
                return Err(Failure::usage(format!("could not stage {text} as {id:?}: {other} has the same id"))
                    .with_hint("--id gives one of them another id"));
            }
            options = options.with_id(id);
        }
        Ok((reference, options))
    }

    fn options(&self, progress: Arc<Progress>, cancel: &Cancel) -> Result<StageOptions, Failure> {
        if let Some(id) = &self.id {
            check_id(id)?;
        }
        let digest = self.digest.as_deref().map(str::parse).transpose().map_err(Error::from)?;
        Ok(StageOptions::default()
            .with_id(self.id.clone())
            .with_digest(digest)
            .with_mode(self.mode)
            .with_require_complete(self.require_complete)
            .with_require_signature(self.require_signature)
            .with_signers(self.signer.read()?.into_iter().collect())
            .with_signature(self.signature.as_deref().map(read_signature).transpose()?)
            .with_follow_links(self.follow_links)
            .with_wait(self.wait)
            .with_selection(self.include.clone(), self.exclude.clone())
            .with_offline(self.net.is_offline())
            .with_cancel(cancel.clone())
            .with_observer(progress))
    }
}

/// What is typed, without what may be secret in a URL.
fn name(text: &OsStr) -> String {
    match parse(text) {
        Ok(ModelRef::Url { url }) => ModelRef::Url { url }.shown(),
        Ok(_) => text.to_string_lossy().into_owned(),
        // Any part of it may be secret.
        Err(_) => match text.to_string_lossy().split_once("://") {
            Some((scheme, _)) => format!("{scheme}://…"),
            None => text.to_string_lossy().into_owned(),
        },
    }
}

fn parse(text: &OsStr) -> catalog_core::Result<ModelRef> {
    match text.to_str() {
        Some(text) => ModelRef::parse(text),
        // Only paths can be something else than UTF-8.
        None => Ok(ModelRef::File { path: PathBuf::from(text) }),
    }
}

/// An engine would fail with such a model, or load it without a word and answer nonsense.
fn tell_of_missing(app: &App, receipt: &StageReceipt) {
    if !receipt.missing.is_empty() {
        app.note(&format!("{} is incomplete: {}", app.out.shown(&receipt.id), receipt.missing.join("; ")));
    }
}

/// If the source is still there after a move, the move is done only in part.
fn told_of_unmoved(app: &App, receipt: &StageReceipt) -> Outcome {
    let failures = receipt.unmoved.iter().map(|source| {
        let path = source.path.display();
        Failure::failed(format!("could not remove {path}: {}; its bytes are staged as {:?}", source.reason, receipt.id))
    });
    let exits: Vec<_> = failures.map(|failure| app.tell(Some(&receipt.id), &failure)).collect();
    exits.into_iter().next().map_or(Ok(()), |exit| Err(Failure::Told(exit)))
}

/// How the bytes came in, as far as they are new.
fn how(receipt: &StageReceipt) -> String {
    let how = match receipt.mode {
        UsedMode::Unchanged => return "unchanged since it was last staged".to_owned(),
        UsedMode::Reflink => "reflinked",
        UsedMode::Copy => "copied",
        UsedMode::Fetch => "fetched",
        UsedMode::Link => "linked",
        UsedMode::Move => "moved",
        other => other.as_str(),
    };
    let mut words = match (receipt.deduplicated, receipt.view_copied_bytes) {
        (true, 0) => "nothing stored, its bytes are here already".to_owned(),
        (true, _) => "its bytes are here already".to_owned(),
        (false, _) if receipt.stored_bytes < receipt.size_bytes => {
            format!("{how}, {} of it new, the rest is here already", human::size(receipt.stored_bytes))
        }
        (false, _) => how.to_owned(),
    };
    if receipt.view_copied_bytes > 0 {
        words.push_str(&format!(", {} copied for its path", human::size(receipt.view_copied_bytes)));
    }
    words
}

/// What was stored, and on a second line the command that prints its path, with the path.
fn words(receipt: &StageReceipt, app: &App) -> Vec<u8> {
    let how = how(receipt);
    let replaced = match &receipt.replaced {
        Some(digest) => format!(", in the place of {}", human::short_digest(digest)),
        None => String::new(),
    };
    let resumed = match receipt.resumed_bytes {
        0 => String::new(),
        bytes => format!(" ({} of it by an earlier attempt)", human::size(bytes)),
    };
    let seconds = receipt.elapsed.as_secs_f64();
    let time = if seconds < 1.0 { String::new() } else { format!(", {seconds:.1} s") };
    let mut words = format!(
        "staged {}: {}, {}, {how}{resumed}{replaced}{time}\n  {} path {}  ->  ",
        app.out.shown(&receipt.id),
        human::size_of_files(receipt.size_bytes, receipt.files),
        human::short_digest(&receipt.digest),
        app.command(),
        app.out.shown(&argument(&receipt.id)),
    )
    .into_bytes();
    words.extend_from_slice(&app.out.shown_path(&receipt.local_path));
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{Cli, Verb};

    #[test]
    fn every_mode_is_there() {
        assert_eq!(MODES.map(|(mode, _)| mode), *IngestMode::ALL);
    }

    #[test]
    fn an_option_of_one_reference_is_a_usage_error_for_several() {
        for (line, is_usage_error) in [
            ("catalog stage a", false),
            ("catalog stage a b", false),
            ("catalog stage a --id x --digest sha256:00", false),
            ("catalog stage a b --id x", true),
            ("catalog stage --digest sha256:00 a b", true),
        ] {
            let Ok(Cli { verb: Verb::Stage(args), .. }) = Cli::try_parse_from(line.split(' ')) else {
                panic!("{line} is well formed for clap");
            };
            assert_eq!(args.check_that_options_fit_the_refs().is_err(), is_usage_error, "{line}");
        }
    }
}
