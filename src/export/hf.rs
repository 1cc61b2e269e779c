//! The layout of the Hugging Face cache.
//!
//! ```text
//! CACHEDIR.TAG
//! .locks/models--ORG--NAME/ETAG.lock      locked while the blob is written
//! models--ORG--NAME/
//!   blobs/ETAG                            64 hex digits: SHA-256; 40 hex digits: git's SHA-1
//!   snapshots/COMMIT/PATH                 a relative symlink to the blob
//!   trees/COMMIT.json                     the list of files, as huggingface_hub 2 writes it
//!   refs/main                             COMMIT, without a line break
//! ```

use serde_json::{Map, Value, json};

use super::artifact::Artifact;
use super::lfs::{self, Rules};
use super::names::{invalid, repo};
use super::options::ExportOptions;
use super::plan::{Content, Linking, Plan, Role};
use crate::digest::Digest;
use crate::error::Result;
use crate::git_blob::git_blob_sha1;
use crate::model_ref::is_commit;

const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # Models that catalog has exported here, or that huggingface_hub has fetched. Backup tools skip this directory.\n";

pub(super) fn plan(artifact: &Artifact<'_>, options: &ExportOptions) -> Result<Plan> {
    let repo = repo(artifact.record(), options)?;
    let no_repo = || artifact.cannot(options.layout, "its repository is not known; name it, as ORG/NAME");
    let repo = repo.ok_or_else(no_repo)?;
    let commit = match &options.revision {
        Some(asked) if is_commit(asked) => asked.clone(),
        Some(asked) => return Err(invalid(asked, "a commit has exactly 40 lowercase hex digits")),
        None => repo.commit.clone().unwrap_or_else(|| made_up(&artifact.digest)),
    };
    let folder = format!("models--{}--{}", repo.org, repo.name);
    let snapshot = format!("{folder}/snapshots/{commit}");
    let main =
        if artifact.is_file() { format!("{snapshot}/{}", repo.path_of("", &artifact.name)) } else { snapshot.clone() };
    let mut plan = Plan::new(repo.id(), main, Linking::Yes);
    plan.revision = Some(commit.clone());

    let attributes = artifact.files.iter().find(|file| file.path == ".gitattributes" && repo.path.is_empty());
    let attributes = attributes.map(|file| artifact.small(file, lfs::MAX_ATTRIBUTES_BYTES)).transpose()?;
    let rules = Rules::of(attributes.as_deref());
    let (mut pointers, mut tree) = (Vec::new(), Map::new());
    for file in &artifact.files {
        let path = repo.path_of(&file.path, &artifact.name);
        let sha256 = file.digest.to_hex();
        let is_lfs = rules.is_lfs(&path, file.size_bytes);
        // The list names git's hash also for files in LFS, where it is that of the pointer file.
        let git = match is_lfs {
            true => git_blob_sha1(pointer_file(&sha256, file.size_bytes).as_bytes()),
            false => git_blob_sha1(&artifact.small(file, lfs::LARGE_BYTES)?),
        };
        let git = hex::encode(git);
        let mut listed = Map::from_iter([("size".into(), json!(file.size_bytes)), ("blob_id".into(), json!(git))]);
        if is_lfs {
            listed.insert("lfs_sha256".into(), json!(sha256));
            listed.insert("lfs_size".into(), json!(file.size_bytes));
        }
        let etag = if is_lfs { sha256 } else { git };
        let content = Content::Blob { digest: file.digest, size_bytes: file.size_bytes };
        if let Some(blob) = plan.push(format!("{folder}/blobs/{etag}"), content, Role::Part) {
            blob.lock = Some(format!(".locks/{folder}/{etag}.lock"));
        }
        let up = "../".repeat(path.matches('/').count());
        pointers.push((format!("{snapshot}/{path}"), format!("{up}../../blobs/{etag}")));
        tree.insert(path, Value::Object(listed));
    }
    for (at, to) in pointers {
        plan.push(at, Content::Pointer(to), Role::HeadIfFree);
    }
    // A list of a part of the repository would say that the rest does not exist.
    let has_patterns = artifact.record().source.as_ref().is_some_and(|source| source.fingerprint.is_some());
    let is_known = repo.commit.as_ref() == Some(&commit) && !has_patterns || commit == made_up(&artifact.digest);
    if repo.path.is_empty() && !artifact.is_file() && is_known {
        let list = json!({ "format_version": 1, "files": tree });
        let bytes = serde_json::to_vec(&list).map_err(|e| artifact.cannot(options.layout, e.to_string()))?;
        if let Some(list) = plan.push(format!("{folder}/trees/{commit}.json"), Content::Bytes(bytes), Role::IfFree) {
            list.mode = 0o600;
        }
    }
    plan.push(format!("{folder}/refs/main"), Content::Bytes(commit.into_bytes()), Role::Branch);
    plan.push("CACHEDIR.TAG".into(), Content::Bytes(TAG.to_vec()), Role::IfFree);
    Ok(plan)
}

/// A commit that the repository does not have. The tool works with it offline, and fetches the true list online.
fn made_up(digest: &Digest) -> String {
    format!("{:.40x}", Digest::sha256_of(format!("exported by catalog: {digest}").as_bytes()))
}

/// What git has in place of a file in LFS.
fn pointer_file(sha256: &str, size_bytes: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size_bytes}\n")
}
