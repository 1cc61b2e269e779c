//! `catalog verify-signature`: whether a signature of a model holds.

use std::path::PathBuf;

use catalog_core::{Key, SignatureOptions};

use crate::app::App;
use crate::args::OneModel;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::signer::{Signer, read_signature};

/// Verify a signature of a model, without reading the model
///
/// Reads signatures of OpenSSF Model Signing 1.0 by a key (--key), by certificates (--cert) or by an identity that Sigstore
/// vouches for (--identity), such as those of `catalog sign` and `model_signing sign`. Every file of the model must be signed and be the one that was signed; the exit code is 4 otherwise. What the signer
/// left out is told. A signature covers files, and no name: one of an older model holds for the older files. That it holds is
/// recorded, with the signature, for `show` and for the rules of `catalog policy`.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["key", "cert", "identity"])))]
#[command(after_help = "Examples:
  catalog verify-signature llama3 --key key.pub --signature llama3.sig
  catalog verify-signature hf:org/model --key key.pub      # with the model's own model.sig
  catalog verify-signature llama3 --cert roots.pem --signature llama3.sig
  catalog verify-signature hf:org/model --identity ci@example.org --issuer https://accounts.example.org")]
pub(crate) struct Args {
    #[command(flatten)]
    target: OneModel,
    #[command(flatten)]
    signer: Signer,
    /// The signature [default: the file model.sig of the model]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Accept files that are not signed
    #[arg(long)]
    allow_unsigned_files: bool,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let signer = self.signer.read()?.ok_or_else(|| Failure::usage("could not verify without a signer"))?;
        let signature = self.signature.as_deref().map(read_signature).transpose()?;
        let catalog = app.open()?;
        let options = SignatureOptions::new(signer)
            .with_signature(signature)
            .with_allow_unsigned_files(self.allow_unsigned_files);
        let verified = catalog.verify_signature(Key::typed(&self.target.model), &options);
        let report = self.target.found(verified, &catalog, app)?;
        for file in &report.unsigned_files {
            app.note(&format!("{} is not signed", app.out.shown(file)));
        }
        if !report.recorded {
            app.note("it is not recorded that the signature holds: the root could not be written");
        }
        app.receipt(Line::SignatureVerified(&report), |app| {
            let (id, key) = (app.out.shown(&report.id), human::short_digest(&report.key));
            let by = match (&report.certificate, &report.identity) {
                (None, None) => format!("the key {key}"),
                (None, Some(identity)) => {
                    format!("{}, known to {}", app.out.shown(&identity.name), app.out.shown(&identity.issuer))
                }
                (Some(certificate), _) if certificate.subject.is_empty() => format!("a certificate of the key {key}"),
                (Some(certificate), _) => app.out.shown(&certificate.subject).to_string(),
            };
            format!("good  {id}: {} signed by {by}", human::count(report.signed_files, "file")).into_bytes()
        });
        Ok(())
    }
}
