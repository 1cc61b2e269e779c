//! Rules of who must have signed.

use super::FsCatalog;
use crate::error::Result;
use crate::store::{RuleSigner, SignatureRule};

/// Rules that bind ids to signers. `docs/trust.md` says what a rule asks for, and what it does not.
impl FsCatalog {
    /// The rules of who must have signed which ids, in the order in which they were made.
    pub fn signature_rules(&self) -> Result<Vec<SignatureRule>> {
        self.store.signature_rules()
    }

    /// Adds a signer to the rule for a pattern of ids, durably; makes the rule if there is none. From now on, for every user
    /// of the root, an entry whose id matches is recorded with new content, and handed out, only if one of the rule's
    /// signers has signed that content. If the patterns of several rules match, each must be met. A version that knows
    /// no such rules cannot open the root any more.
    ///
    /// Entries that are here already are handed out once a signature of them is verified.
    ///
    /// ```
    /// # #[cfg(feature = "attest")] {
    /// use catalog_core::{PrivateKey, RuleSigner, SignatureOptions};
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// # let pem = catalog_core::testing::Issued::root(&catalog_core::testing::Wanted::signer("k")).key_pem;
    /// let key = PrivateKey::from_pem(&pem).unwrap();
    /// let signer = key.public_key().into();
    /// catalog.add_signature_rule("llama*", RuleSigner::new(&signer))?;
    /// assert!(catalog.resolve("llama3").unwrap_err().is_unsigned());
    /// let signature = catalog.sign("llama3", &key)?;
    /// catalog.verify_signature("llama3", &SignatureOptions::new(signer).with_signature(Some(signature)))?;
    /// catalog.resolve("llama3")?;
    /// # }
    /// # Ok::<(), catalog_core::Error>(())
    /// ```
    pub fn add_signature_rule(&self, pattern: &str, signer: RuleSigner) -> Result<()> {
        self.store.add_signature_rule(pattern, signer)
    }

    /// Removes the rule for a pattern, durably. Returns `false` if there is none.
    pub fn remove_signature_rule(&self, pattern: &str) -> Result<bool> {
        self.store.remove_signature_rule(pattern)
    }
}
