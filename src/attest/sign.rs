//! Signs a model.

use super::bundle::Bundle;
use super::keys::PrivateKey;
use super::statement::{IGNORED, Signed};
use super::verify::{IN_TREE, names};
use crate::entry::{ArtifactKind, Record};
use crate::error::{Error, Result};
use crate::facts;
use crate::store::Store;

/// Signs the digests of an entry; see [`FsCatalog::sign`](crate::FsCatalog::sign).
pub(crate) fn sign(store: &Store, record: &Record, key: &PrivateKey) -> Result<Vec<u8>> {
    let stored = facts::files(store, record)?;
    if stored.is_empty() {
        return Err(Error::NotStaged { id: record.entry.id.clone(), path: record.entry.local_path.clone() });
    }
    let name = record.entry.local_path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut signed = Signed {
        files: names(record.kind, stored.into_iter().map(|file| (file.path, file.digest))),
        ignored: Vec::new(),
    };
    if record.kind == ArtifactKind::Tree {
        // A signature does not sign itself, nor what it will replace.
        signed.files.remove(IN_TREE);
        let is_ignored =
            |name: &String| IGNORED.iter().any(|path| name == path || name.starts_with(&format!("{path}/")));
        signed.files.retain(|name, _| !is_ignored(name));
        signed.ignored = IGNORED.iter().copied().chain([IN_TREE]).map(str::to_owned).collect();
    }
    let fail = |e: serde_json::Error| Error::io("sign", record.entry.local_path.clone(), std::io::Error::from(e));
    let statement = signed.encode(&name.unwrap_or_default()).map_err(fail)?;
    Bundle::sign(&statement, key).map_err(fail)
}
