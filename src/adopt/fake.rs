//! Stores for tests, and scans as text.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

use super::{Claim, Scan, Sharing, Tool, scan};
use crate::digest::Digest;

/// A directory in which a test makes the store of a tool.
pub(super) struct Fake {
    /// Has something beside the store, which no scan may reach.
    dir: tempfile::TempDir,
    pub(super) root: PathBuf,
}

impl Fake {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("store");
        fs::create_dir(&root).unwrap();
        fs::write(root.with_file_name("outside.gguf"), "secret").unwrap();
        Fake { dir, root }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(super) fn file(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(path), bytes).unwrap();
        self
    }

    #[cfg(unix)]
    pub(super) fn link(&self, path: &str, target: impl AsRef<Path>) -> &Self {
        std::os::unix::fs::symlink(target, self.path(path)).unwrap();
        self
    }

    #[cfg(unix)]
    pub(super) fn fifo(&self, path: &str) -> &Self {
        let status = std::process::Command::new("mkfifo").arg(self.path(path)).status().unwrap();
        assert!(status.success());
        self
    }

    /// The file beside the store.
    pub(super) fn outside(&self) -> PathBuf {
        self.dir.path().join("outside.gguf")
    }

    /// Each model and each skipped path as a line, without the path of the store. Checks that nothing leads out.
    pub(super) fn lines(&self, tool: Tool) -> Vec<String> {
        let scan = scan(tool, &self.root).unwrap();
        self.check(&scan);
        let models = scan.models.iter().map(|model| {
            let also: String = model.also.iter().map(|id| format!(" = {id}")).collect();
            let whole = if model.is_whole { "whole " } else { "" };
            let files: Vec<String> =
                model.files.iter().map(|file| format!("{}:{}", file.path, file.size_bytes)).collect();
            format!("{}{also} {whole}{} {} [{}]", model.id, model.kind, model.name, files.join(" "))
        });
        let skipped = scan.skipped.iter().map(|skipped| {
            let path = skipped.path.strip_prefix(&self.root).unwrap_or(&skipped.path);
            format!("- {}: {}", path.display(), skipped.reason)
        });
        models.chain(skipped).collect()
    }

    fn check(&self, scan: &Scan) {
        for file in scan.models.iter().flat_map(|model| &model.files) {
            assert_eq!(file.source.canonicalize().unwrap(), file.source);
            assert!(file.source.starts_with(&self.root), "{file:?}");
            assert!(file.source.symlink_metadata().unwrap().is_file(), "{file:?}");
            assert!(!file.path.split('/').any(|part| part == ".."), "{file:?}");
        }
    }

    /// The path, claim and sharing of each file of each model.
    pub(super) fn claims(&self, tool: Tool) -> Vec<String> {
        let scan = scan(tool, &self.root).unwrap();
        let files = scan.models.iter().flat_map(|model| &model.files);
        files
            .map(|file| {
                let claim = match file.claim {
                    Some(Claim::Sha256(digest)) => format!("sha256 {digest:.4x}"),
                    Some(Claim::GitBlobSha1(bytes)) => format!("git {}", hex::encode(&bytes[..2])),
                    None => "none".into(),
                };
                let sharing = if file.sharing == Sharing::Hardlink { "hardlink" } else { "reflink" };
                format!("{} {claim} {sharing}", file.path)
            })
            .collect()
    }
}

/// The digest of bytes, as digits.
pub(super) fn digits(bytes: impl AsRef<[u8]>) -> String {
    Digest::sha256_of(bytes.as_ref()).to_hex()
}

pub(super) const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n";
