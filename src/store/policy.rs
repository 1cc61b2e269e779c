//! Rules that bind ids to signers: in `store.json`, for everyone who uses the root.
//!
//! The rules bind patterns of ids to signers. An entry whose id matches is recorded with new content, and handed out,
//! only with an [`Attestation`] of its content for each rule that matches. This module compares fingerprints; whoever
//! makes an attestation has verified a signature.
//!
//! A version that knew nothing of the rules would not ask for signatures, so a store with rules has an incompatible
//! feature. Rules that cannot be read are an error, and never no rules.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::open::SIGNATURES;
use super::{Exclusive, Store};
use crate::digest::Digest;
use crate::entry::{Attestation, SigningIdentity, SigningMethod, Stamp, check_id};
use crate::error::{Error, Result};
use crate::layout;
use crate::pattern::Pattern;

/// The member of `store.json` that contains the rules.
const RULES: &str = "signatures";

/// A rule: each entry whose id matches the pattern must be signed by one of these signers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SignatureRule {
    /// The pattern of ids: `*` matches any text, `/` included.
    pub pattern: String,
    /// One of them must have signed.
    pub signers: Vec<RuleSigner>,
}

/// A signer of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RuleSigner {
    /// Whether it is a key, a list of authorities or an identity.
    pub method: SigningMethod,
    /// The fingerprint of the key, of each certificate, or of the identity.
    pub fingerprints: Vec<Digest>,
    /// The key or the certificates; empty for an identity.
    pub pem: String,
    /// The identity, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SigningIdentity>,
    /// Check certificates for the moment from which that of the signer is valid.
    #[serde(default)]
    pub at_signing_time: bool,
    /// Accept files that are not signed.
    #[serde(default)]
    pub allow_unsigned_files: bool,
}

impl RuleSigner {
    /// Whether this signer would accept what was verified, which is not looked at again.
    fn accepts(&self, attestation: &Attestation) -> bool {
        self.method == attestation.method
            && self.fingerprints.contains(&attestation.signer)
            && (self.at_signing_time || !attestation.at_signing_time)
            && (self.allow_unsigned_files || !attestation.with_unsigned_files)
    }
}

/// The rules of a store.
#[derive(Debug, Default)]
pub(crate) struct SignaturePolicy {
    rules: Vec<(Pattern, SignatureRule)>,
}

impl SignaturePolicy {
    /// The rules that an id must meet: all of them.
    pub(crate) fn rules_of<'p>(&'p self, id: &str) -> impl Iterator<Item = &'p SignatureRule> {
        let matches = self.rules.iter().filter(move |(pattern, _)| pattern.matches(id));
        matches.map(|(_, rule)| rule).collect::<Vec<_>>().into_iter()
    }

    /// An error unless each rule is met by a signature of this content.
    pub(crate) fn check(&self, id: &str, digest: Option<Digest>, attested: &[Attestation]) -> Result<()> {
        let unmet = |rule: &&SignatureRule| !is_met(&rule.signers, digest, attested);
        match self.rules_of(id).find(unmet) {
            None => Ok(()),
            Some(rule) => Err(Error::Unsigned {
                id: id.to_owned(),
                pattern: Some(rule.pattern.clone()),
                reason: "no good signature of its content by a trusted signer is recorded".into(),
            }),
        }
    }
}

/// Whether one of these signers has signed this content.
pub(crate) fn is_met(signers: &[RuleSigner], digest: Option<Digest>, attested: &[Attestation]) -> bool {
    let mut of_content = attested.iter().filter(|attestation| Some(attestation.digest) == digest);
    of_content.any(|attestation| signers.iter().any(|signer| signer.accepts(attestation)))
}

/// The rules as they were last read, and of which `store.json`.
#[derive(Debug, Default)]
pub(crate) struct CachedPolicy(RwLock<Option<(Stamp, Arc<SignaturePolicy>)>>);

impl Store {
    /// The current rules. One `stat` shows whether `store.json` has changed.
    pub(crate) fn signature_policy(&self) -> Result<Arc<SignaturePolicy>> {
        let stamp = self.root.peek(layout::STORE_JSON.as_ref())?.map(|meta| meta.stamp());
        let cached = self.policy.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, policy)) = cached.as_ref().filter(|(of, _)| Some(*of) == stamp) {
            return Ok(policy.clone());
        }
        drop(cached);
        let read_began = SystemTime::now();
        let before = self.root.peek(layout::STORE_JSON.as_ref())?;
        let rules = self.signature_rules()?;
        let rules = rules.into_iter().map(|rule| (Pattern::parse(&rule.pattern), rule)).collect();
        let policy = Arc::new(SignaturePolicy { rules });
        // A file so young that a change in the same tick of the clock would not show is read again.
        let lasting = before.filter(|meta| !meta.is_racy(read_began)).map(|meta| (meta.stamp(), policy.clone()));
        *self.policy.0.write().unwrap_or_else(PoisonError::into_inner) = lasting;
        Ok(policy)
    }

    /// The rules as they are on disk.
    pub(crate) fn signature_rules(&self) -> Result<Vec<SignatureRule>> {
        let mut members = self.read_store_json()?;
        let has_feature = has_feature(&members);
        match members.remove(RULES) {
            Some(rules) => serde_json::from_value(rules).map_err(|e| self.store_json_error(&e)),
            None if !has_feature => Ok(Vec::new()),
            None => {
                let path = self.root.absolute(layout::STORE_JSON.as_ref());
                Err(Error::CorruptIndex { path, reason: "its rules of who must have signed are lost".into() })
            }
        }
    }

    /// Adds a signer to the rule for a pattern, which is made if there is none.
    pub(crate) fn add_signature_rule(&self, pattern: &str, signer: RuleSigner) -> Result<()> {
        check_id(pattern)?;
        self.change_signature_rules(|rules| {
            let who = |signer: &RuleSigner| (signer.method, signer.fingerprints.clone());
            match rules.iter_mut().find(|rule| rule.pattern == pattern) {
                None => rules.push(SignatureRule { pattern: pattern.to_owned(), signers: vec![signer] }),
                Some(rule) => {
                    rule.signers.retain(|other| who(other) != who(&signer));
                    rule.signers.push(signer);
                }
            }
        })
    }

    /// Removes the rule for a pattern. `false`: there is none.
    pub(crate) fn remove_signature_rule(&self, pattern: &str) -> Result<bool> {
        self.change_signature_rules(|rules| {
            let before = rules.len();
            rules.retain(|rule| rule.pattern != pattern);
            rules.len() < before
        })
    }

    /// Changes the rules durably.
    fn change_signature_rules<T>(&self, change: impl FnOnce(&mut Vec<SignatureRule>) -> T) -> Result<T> {
        let store_lock = Exclusive::lock(self)?;
        let mut rules = self.signature_rules()?;
        let changed = change(&mut rules);
        let mut members = self.read_store_json()?;
        set_feature(&mut members, !rules.is_empty());
        members.remove(RULES);
        if !rules.is_empty() {
            let rules = serde_json::to_value(&rules).map_err(|e| self.store_json_error(&e))?;
            members.insert(RULES.to_owned(), rules);
        }
        self.replace_store_json(&store_lock, &members)?;
        Ok(changed)
    }
}

const FEATURES: &str = "features";
const INCOMPATIBLE: &str = "incompatible";

fn has_feature(members: &Map<String, Value>) -> bool {
    let incompatible = members.get(FEATURES).and_then(|features| features.get(INCOMPATIBLE)).and_then(Value::as_array);
    incompatible.is_some_and(|features| features.iter().any(|feature| feature == SIGNATURES))
}

fn set_feature(members: &mut Map<String, Value>, is_set: bool) {
    let features = members.entry(FEATURES).or_insert_with(|| Value::Object(Map::new()));
    let Some(features) = features.as_object_mut() else { return };
    let list = features.entry(INCOMPATIBLE).or_insert_with(|| Value::Array(Vec::new()));
    let Some(list) = list.as_array_mut() else { return };
    list.retain(|feature| feature != SIGNATURES);
    if is_set {
        list.push(SIGNATURES.into());
    }
}
