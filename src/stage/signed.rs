//! Whether an artifact is signed by whom the rules of the store, or the caller, ask for, before it is recorded.

use super::StageOptions;
use super::artifact::Artifact;
use crate::attest::{self, Checked, TrustedSigner};
use crate::blob::Sealed;
use crate::entry::{ArtifactKind, Attestation, Record};
use crate::error::{Error, Result};
use crate::fs::Session;
use crate::ingest;
use crate::store::{RuleSigner, Store, is_met};

/// What the caller asks for.
#[derive(Clone, Default)]
pub(super) struct Asked {
    signature: Option<Vec<u8>>,
    signers: Vec<RuleSigner>,
    is_required: bool,
}

/// Signers, one of whom must have signed, and the pattern of the rule that says so.
struct Demand<'d> {
    pattern: Option<&'d str>,
    signers: &'d [RuleSigner],
}

impl Asked {
    pub(super) fn of(options: &StageOptions) -> Self {
        Asked {
            signature: options.signature.clone(),
            signers: options.signers.iter().map(RuleSigner::new).collect(),
            is_required: options.require_signature || options.signature.is_some() || !options.signers.is_empty(),
        }
    }

    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }
}

/// Verifies what the rules of the id and the caller ask for. Returns what is to be recorded. A signature that is no file
/// of the artifact becomes a blob of its own.
pub(super) fn check<'r>(store: &Store, session: &Session<'r>, artifact: &mut Artifact<'r>) -> Result<Vec<Attestation>> {
    let (id, asked) = (&artifact.item.id, &artifact.item.asked);
    let policy = store.signature_policy()?;
    let mut demands: Vec<Demand<'_>> = policy
        .rules_of(id)
        .map(|rule| Demand { pattern: Some(rule.pattern.as_str()), signers: &rule.signers })
        .collect();
    if !asked.signers.is_empty() {
        demands.push(Demand { pattern: None, signers: &asked.signers });
    }
    if demands.is_empty() {
        let reason = "a signature is asked for, and neither a rule nor the caller says by whom";
        return if asked.is_required { Err(unsigned(id, None, reason.into())) } else { Ok(Vec::new()) };
    }
    let known = match &asked.signature {
        Some(_) => Vec::new(), // this one has to hold
        None => store.record(id)?.map(|record| record.attested).unwrap_or_default(),
    };
    let bundle = match &asked.signature {
        Some(bytes) => Some(bytes.clone()),
        None => own_signature(store, artifact)?,
    };
    let files = attest::names(artifact.item.kind, artifact.tree.iter().map(|file| (file.path.clone(), file.digest)));
    let at = asked.signature.is_none().then_some(attest::IN_TREE);
    let mut attested: Vec<Attestation> = Vec::new();
    for Demand { pattern, signers } in demands {
        let is_met = |attested: &[Attestation]| is_met(signers, Some(artifact.digest), attested);
        if is_met(&known) || is_met(&attested) {
            continue;
        }
        let refused = |reason: String| unsigned(id, pattern, reason);
        let bundle = bundle.as_ref().ok_or_else(|| refused(none_of(artifact.item.kind).into()))?;
        let checked = by_one_of(signers, |signer, allow| attest::hold(bundle, signer, allow, &files, at));
        attested.push(checked.map_err(refused)?.attestation(artifact.digest, bundle, pattern));
    }
    if let Some(bytes) = artifact.item.asked.signature.take().filter(|_| !attested.is_empty()) {
        artifact.incoming.push(ingest::ingest_bytes(session, bytes, store.durability())?);
    }
    Ok(attested)
}

/// An error unless what is here already is signed by whom the caller asks for, as far as it is recorded.
pub(super) fn check_held(asked: &Asked, record: &Record) -> Result<()> {
    match asked.is_required && !is_met(&asked.signers, record.entry.digest, &record.attested) {
        true => Err(unsigned(&record.entry.id, None, "it is here, and no signature by this signer is recorded".into())),
        false => Ok(()),
    }
}

fn unsigned(id: &str, pattern: Option<&str>, reason: String) -> Error {
    Error::Unsigned { id: id.to_owned(), pattern: pattern.map(str::to_owned), reason }
}

fn none_of(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Tree => "it has no file model.sig, and no signature was given",
        _ => "no signature was given",
    }
}

/// The first signer who has signed. The error has each one's reason.
fn by_one_of(
    signers: &[RuleSigner],
    hold: impl Fn(&TrustedSigner, bool) -> Result<Checked, String>,
) -> Result<Checked, String> {
    let mut reasons: Vec<String> = Vec::new();
    for signer in signers {
        let held = signer.trusted().map_err(str::to_owned);
        match held.and_then(|trusted| hold(&trusted, signer.allow_unsigned_files)) {
            Ok(checked) => return Ok(checked),
            Err(reason) if reasons.contains(&reason) => {}
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.join("; "))
}

/// The signature that a tree brings.
fn own_signature(store: &Store, artifact: &Artifact<'_>) -> Result<Option<Vec<u8>>> {
    let is_it = |path: &str| artifact.item.kind == ArtifactKind::Tree && path == attest::IN_TREE;
    let Some(place) = artifact.tree.iter().position(|file| is_it(&file.path)) else { return Ok(None) };
    let Some(name) = artifact.incoming.get(place).map(Sealed::name) else { return Ok(None) };
    store.root.read(name, attest::MAX_BYTES)
}
