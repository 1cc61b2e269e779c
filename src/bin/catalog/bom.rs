//! `catalog bom`: bills of materials.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use catalog_core::{BomOptions, Key};
use serde::Serialize;

use crate::app::App;
use crate::args::OneModel;
use crate::failure::{Failure, Outcome};
use crate::json::Line;
use crate::write_file;

/// Seconds since the Unix epoch, as reproducible builds set it.
const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// Print the bill of materials of a model: CycloneDX 1.6
///
/// It says what the model is, by its stored digests and the headers of its files: digests, sizes, parameters, types of
/// tensors, the source and its commit, the licence and the base models that the model names. It reads no weights. The same
/// model under the same id gives the same bytes, in any root.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog bom llama3 > llama3.cdx.json
  catalog bom hf:org/model --timestamp -o model.cdx.json
  catalog bom llama3 | jq -r '.metadata.component.licenses[].license'")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    /// Where to write it; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Say when it was made: now, or at the SOURCE_DATE_EPOCH of the environment, which counts without this option too
    #[arg(long)]
    timestamp: bool,
}

/// A bill of materials that was written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Written {
    /// The model.
    id: String,
    /// The file, absolute.
    bom: String,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let options = BomOptions::default().with_timestamp_ms(self.timestamp_ms()?);
        let catalog = app.open()?;
        let record = self.target.found(catalog.resolve(Key::typed(&self.target.model)), &catalog, app)?;
        let id = record.entry.id;
        let text = catalog.bom(id.as_str(), &options)?;
        if self.output == Path::new("-") {
            app.out.raw(text.as_bytes());
            return Ok(());
        }
        let to = write_file::write(&self.output, catalog.root(), text.as_bytes(), "-o -")?;
        app.receipt(Line::BomWritten(Written { id, bom: to.to_string_lossy().into_owned() }), |app| {
            format!("wrote the bill of materials of {}: {}", app.out.shown(&self.target.model), to.display())
                .into_bytes()
        });
        Ok(())
    }

    fn timestamp_ms(&self) -> Result<Option<u64>, Failure> {
        match std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
            Some(text) => match text.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1000)) {
                Some(ms) => Ok(Some(ms)),
                None => Err(Failure::usage(format!("could not use {VARIABLE}={text:?}: it is no number of seconds"))),
            },
            None => {
                let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                Ok(self.timestamp.then(|| u64::try_from(now()).unwrap_or_default()))
            }
        }
    }
}
