//! `catalog policy`: who must have signed which models.

use catalog_core::{RuleSigner, SignatureRule, SigningMethod};
use clap::Subcommand;
use serde::Serialize;

use crate::app::App;
use crate::args::Init;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;
use crate::signer::Signer;

/// Say who must have signed which models
///
/// A rule binds ids to signers. From then on, for all who use the root, a model whose id matches is recorded, and given out
/// by `path` and `lease`, only if one of the rule's signers has signed its files; the exit code is 6 otherwise. If several
/// rules match, each must be met. `stage` takes the signature from --signature, or from the file model.sig of the model. A
/// model that was here before is given out once `verify-signature` has found a good signature of it.
///
/// Versions that know no rules cannot open a root that has some.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog policy add 'hf:ibm-granite/*' --cert roots.pem
  catalog policy add 'prod/*' --key release.pub
  catalog policy add 'prod/*' --key second.pub          # either of the two
  catalog policy add 'hf:org/*' --identity ci@example.org --issuer https://accounts.example.org
  catalog policy list
  catalog policy remove 'prod/*'")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Add a signer to the rule for a pattern of ids; one of its signers must have signed
    #[command(group(clap::ArgGroup::new("who").required(true).args(["key", "cert", "identity"])))]
    Add {
        /// Ids: `*` matches any text, `/` included
        pattern: String,
        #[command(flatten)]
        signer: Signer,
        /// Accept files that are not signed
        #[arg(long)]
        allow_unsigned_files: bool,
        #[command(flatten)]
        init: Init,
    },
    /// List the rules
    List,
    /// Remove the rule for a pattern, with all its signers
    Remove {
        /// The pattern, as `list` prints it
        pattern: String,
    },
}

/// A rule that was removed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Removed {
    /// The pattern.
    pattern: String,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        match self.what {
            What::Add { pattern, signer, allow_unsigned_files, init } => {
                let signer = signer.read()?.ok_or_else(|| Failure::usage("could not add a rule without a signer"))?;
                let catalog = app.open_or_create(init)?;
                let signer = RuleSigner::new(&signer).with_allow_unsigned_files(allow_unsigned_files);
                catalog.add_signature_rule(&pattern, signer)?;
                let rules = catalog.signature_rules()?;
                if let Some(rule) = rules.into_iter().find(|rule| rule.pattern == pattern) {
                    app.receipt(Line::SignatureRule(&rule), |app| lines(app, &rule).join("\n").into_bytes());
                }
                Ok(())
            }
            What::List => {
                for rule in app.open()?.signature_rules()? {
                    if app.json() {
                        app.out.json(&Line::SignatureRule(&rule));
                    } else {
                        lines(app, &rule).into_iter().for_each(|line| app.out.line(line));
                    }
                }
                Ok(())
            }
            What::Remove { pattern } => {
                if !app.open_with_locks()?.remove_signature_rule(&pattern)? {
                    return Err(Failure::not_found(format!("could not find a rule for {pattern:?}")));
                }
                let said = format!("removed the rule for {}", app.out.shown(&pattern));
                app.receipt(Line::SignatureRuleRemoved(Removed { pattern }), |_| said.into_bytes());
                Ok(())
            }
        }
    }
}

/// One line for each signer.
fn lines(app: &App, rule: &SignatureRule) -> Vec<String> {
    let words = |signer: &RuleSigner| {
        let names = || signer.fingerprints.iter().map(human::short_digest).collect::<Vec<_>>().join(", ");
        let who = match (signer.method, &signer.identity) {
            (SigningMethod::Key, _) => format!("key {}", names()),
            (_, None) => format!("certificates from {}", names()),
            (_, Some(identity)) => {
                let private = if identity.trusted_root.is_some() { "  a trusted root of its own" } else { "" };
                format!("{} known to {}{private}", app.out.shown(&identity.name), app.out.shown(&identity.issuer))
            }
        };
        let mut words = vec![app.out.shown(&rule.pattern).into_owned(), who];
        words.extend(signer.at_signing_time.then(|| "at signing time".to_owned()));
        words.extend(signer.allow_unsigned_files.then(|| "unsigned files allowed".to_owned()));
        words.join("  ")
    };
    rule.signers.iter().map(words).collect()
}
