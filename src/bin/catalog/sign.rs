//! `catalog sign`: signatures of models.

use std::path::{Path, PathBuf};

use catalog_core::{Key, PrivateKey};
use serde::Serialize;

use crate::app::App;
use crate::args::OneModel;
use crate::failure::Outcome;
use crate::json::Line;
use crate::signer::{read_pem, unusable};
use crate::write_file;

/// Sign a model with a key, without reading it
///
/// The signature is one of OpenSSF Model Signing 1.0, over the digests that the catalog has. `model_signing verify key`
/// verifies it, and so does `catalog verify-signature`; with --certs, `model_signing verify certificate` does. It covers the
/// files of the model and not its id.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  openssl ecparam -name prime256v1 -genkey -noout -out key.pem
  openssl ec -in key.pem -pubout -out key.pub
  catalog sign llama3 --key key.pem -o llama3.sig
  catalog verify-signature llama3 --key key.pub --signature llama3.sig")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    /// The private key: a PEM file, not encrypted, with an ECDSA key on P-256, P-384 or P-521
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// Certificates that vouch for the key: a PEM file, first that of the key, then each authority's above the one before
    #[arg(long, value_name = "PEM")]
    certs: Option<PathBuf>,
    /// Where to write the signature; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// A signature that was written.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Done {
    /// The model.
    id: String,
    /// The file.
    signature: String,
    /// The fingerprint of the key.
    key: String,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let text = read_pem(&self.key, "key")?;
        let mut key = PrivateKey::from_pem(&text).map_err(|reason| unusable(&self.key, "key", reason))?;
        if let Some(certs) = &self.certs {
            let text = read_pem(certs, "certificates")?;
            key = key.with_certificates(&text).map_err(|reason| unusable(certs, "certificates", reason))?;
        }
        let catalog = app.open()?;
        let signed = catalog.sign(Key::typed(&self.target.model), &key);
        let signature = self.target.found(signed, &catalog, app)?;
        let record = catalog.record(Key::typed(&self.target.model))?;
        let id = record.map_or_else(|| self.target.model.clone(), |record| record.entry.id);
        if self.output == Path::new("-") {
            app.out.line(signature);
            return Ok(());
        }
        let to = write_file::write(&self.output, catalog.root(), &signature, "-o -")?;
        let fingerprint = key.public_key().fingerprint();
        let done = Done { id, signature: to.to_string_lossy().into_owned(), key: fingerprint.to_string() };
        app.receipt(Line::Signed(done), |app| {
            let key = format!("sha256:{fingerprint:.12x}");
            format!("signed {} with the key {key}: {}", app.out.shown(&self.target.model), to.display()).into_bytes()
        });
        Ok(())
    }
}
