//! `catalog verify-signature`: whether a signature of a model holds.

use std::fs;
use std::path::PathBuf;

use catalog_core::{Key, PublicKey, SignatureOptions};

use crate::app::App;
use crate::args::OneModel;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::sign::{read_key, unusable};

/// Verify a signature of a model, without reading the model
///
/// Reads signatures of OpenSSF Model Signing 1.0 by a key, such as those of `catalog sign` and `model_signing sign key`.
/// Every file of the model must be signed and be the one that was signed; the exit code is 4 otherwise. What the signer
/// left out is told. A signature covers files, and no name: one of an older model holds for the older files.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog verify-signature llama3 --key key.pub --signature llama3.sig
  catalog verify-signature hf:org/model --key key.pub      # with the model's own model.sig")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    /// The public key that must have signed: a PEM file
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The signature [default: the file model.sig of the model]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Accept files that are not signed
    #[arg(long)]
    allow_unsigned_files: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let key = PublicKey::from_pem(&read_key(&self.key)?).map_err(|reason| unusable(&self.key, reason))?;
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => {
                    Failure::not_found(format!("could not find the signature {}", path.display()))
                }
                _ => Failure::failed(format!("could not read the signature {}: {e}", path.display())),
            })
        };
        let signature = self.signature.as_ref().map(read).transpose()?;
        let catalog = app.open()?;
        let options =
            SignatureOptions::new(key).with_signature(signature).with_allow_unsigned_files(self.allow_unsigned_files);
        let verified = catalog.verify_signature(Key::typed(&self.target.model), &options);
        let report = self.target.found(verified, &catalog, app)?;
        for file in &report.unsigned_files {
            app.note(&format!("{} is not signed", app.out.shown(file)));
        }
        app.receipt(Line::SignatureVerified(&report), |app| {
            let (id, key) = (app.out.shown(&report.id), human::short_digest(&report.key));
            format!("good  {id}: {} signed by the key {key}", human::count(report.signed_files, "file")).into_bytes()
        });
        Ok(())
    }
}
