//! `catalog log`: what happened to models.

use std::path::{Path, PathBuf};

use catalog_core::{Error, FsCatalog, LogChain, LogEvent, PrivateKey};
use serde::Serialize;

use crate::app::App;
use crate::args::with_near_ids;
use crate::complete;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::output::Output;
use crate::signer::{read_pem, unusable};
use crate::table::Column;
use crate::write_file;

/// Show what happened to models, and check that the log of it is whole
///
/// The log says where a model came from, when it was checked, and what became of it. Each event is linked to the one before it by a hash. `--verify` follows the links, and ends with exit code 4 if an
/// event was changed or is missing; keep the heads that `--verify --json` prints to show later that nothing before them
/// was changed. Uses are not in the log. Some 3,000 events of each 256th of all ids are kept.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog log
  catalog log hf:org/model
  catalog log --json | jq -r 'select(.what == \"evicted\") | .id'
  catalog log --verify
  catalog log hf:org/model --sign key.pem -o model.log.sig   # an in-toto statement, as a bundle of Sigstore")]
pub(crate) struct Args {
    /// The model: its id also after it was removed, or as other verbs take it [default: all]
    #[arg(value_name = "ID|REF", add = complete::models())]
    model: Option<String>,
    /// Check that the log is whole, and show where it is not; of a model, the chain that its events are in
    #[arg(long, conflicts_with = "sign")]
    verify: bool,
    /// Sign the events of the model with this private key
    #[arg(long, value_name = "PEM", requires = "model", requires = "output")]
    sign: Option<PathBuf>,
    /// Where to write what is signed; `-` is standard output
    #[arg(short, long, value_name = "FILE", requires = "sign")]
    output: Option<PathBuf>,
}

/// A log that was signed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Signed {
    /// The model.
    id: String,
    /// The file.
    statement: String,
    /// The fingerprint of the key.
    key: String,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open()?;
        let id = self.model.as_deref().map(|model| id_of(&catalog, model)).transpose()?;
        if self.verify {
            return verify(&catalog, app, id.as_deref());
        }
        if let (Some(key), Some(output), Some(id)) = (&self.sign, &self.output, &id) {
            return sign(&catalog, app, key, output, id);
        }
        let events = catalog.log(id.as_deref())?;
        if let (Some(model), true) = (&self.model, events.is_empty()) {
            return Err(with_near_ids(Error::not_found(model, catalog.root()), &catalog, app, model));
        }
        if app.json() {
            for event in &events {
                app.out.json(&Line::LogEvent(event));
            }
        } else if events.is_empty() {
            app.note("nothing has happened yet");
        } else {
            let rows: Vec<_> = events.iter().map(|event| row(event, &app.out)).collect();
            app.table(&COLUMNS, &rows, 3);
        }
        Ok(())
    }
}

/// The id that a text stands for, also if it has no entry any more.
fn id_of(catalog: &FsCatalog, text: &str) -> Result<String, Failure> {
    match catalog.find(text)?.as_slice() {
        [one] => Ok(one.entry.id.clone()),
        _ => Ok(text.to_owned()),
    }
}

fn verify(catalog: &FsCatalog, app: &mut App, id: Option<&str>) -> Outcome {
    let chains = catalog.check_log(id)?;
    let problems: usize = chains.iter().map(|chain| chain.problems.len()).sum();
    if app.json() {
        for chain in &chains {
            app.out.json(&Line::LogChain(chain));
        }
    } else {
        let lines =
            chains.iter().flat_map(|LogChain { chain, problems, .. }| problems.iter().map(move |text| (chain, text)));
        lines.for_each(|(chain, text)| app.out.line(format!("broken  {chain}: {text}")));
        if problems == 0 {
            let events = human::count(chains.iter().map(|chain| chain.count).sum::<u64>(), "event");
            app.out.line(format!("good  {events} in {}", human::count(chains.len(), "chain")));
        }
    }
    match problems {
        0 => Ok(()),
        _ => Err(Failure::corrupt(format!("the log is not whole: {}", human::count(problems, "problem")))),
    }
}

fn sign(catalog: &FsCatalog, app: &mut App, key: &Path, output: &Path, id: &str) -> Outcome {
    let with = PrivateKey::from_pem(&read_pem(key, "key")?).map_err(|reason| unusable(key, "key", reason))?;
    let signed = catalog.sign_log(id, &with).map_err(|error| with_near_ids(error, catalog, app, id))?;
    if output == Path::new("-") {
        app.out.line(signed);
        return Ok(());
    }
    let to = write_file::write(output, catalog.root(), &signed, "-o -")?;
    let key = with.public_key().fingerprint().to_string();
    let done = Signed { id: id.to_owned(), statement: to.to_string_lossy().into_owned(), key };
    app.receipt(Line::LogSigned(done), |app| {
        format!("signed the log of {}: {}", app.out.shown(id), to.display()).into_bytes()
    });
    Ok(())
}

const COLUMNS: [Column; 5] = [
    Column::text("WHEN (UTC)", 0),
    Column::text("WHAT", 0),
    Column::text("DIGEST", 2),
    Column::text("ID", 0),
    Column::text("FROM, OR WHY", 1),
];

fn row(event: &LogEvent, out: &Output) -> Vec<String> {
    let source = event.source.as_ref().map(|source| {
        let pinned = source.pinned.as_ref().map(|pinned| format!(" at {pinned}")).unwrap_or_default();
        format!("{}{pinned}", source.reference)
    });
    vec![
        human::utc_minute(event.at_ms),
        event.what.to_string(),
        event.digest.as_ref().map_or_else(|| "-".to_owned(), human::short_digest),
        out.shown(&event.id).into_owned(),
        source.or_else(|| event.note.clone()).map_or_else(|| "-".to_owned(), |text| out.shown(&text).into_owned()),
    ]
}
