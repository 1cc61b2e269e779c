//! Adopting models that a scan could have found.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::entry::{ArtifactKind, TrustState};
use crate::git_blob::git_blob_sha1;
use crate::{CatalogStore as _, Digest, FsCatalog, IngestMode, UsedMode};

const COMMIT: &str = "21ce430da072336fe5bcdf2682d84dc28caa3baf";
const WEIGHTS: &[u8] = b"GGUF and weights";
const CONFIG: &[u8] = b"{\"model_type\": \"bert\"}\n";

/// A store of another tool beside a catalog, on one file system.
struct Host {
    dir: tempfile::TempDir,
    catalog: FsCatalog,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path().join("root")).unwrap();
        fs::create_dir_all(dir.path().join("hub/.locks/models--tiny--bert")).unwrap();
        fs::create_dir_all(dir.path().join("hub/models--tiny--bert/blobs")).unwrap();
        Host { dir, catalog }
    }

    fn hub(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("hub")
    }

    /// Writes a file of the tool that says what it is.
    fn file(&self, path: &str, bytes: &[u8], claim: Claim) -> FoundFile {
        let etag = match claim {
            Claim::Sha256(digest) => digest.to_hex(),
            Claim::GitBlobSha1(sha1) => hex::encode(sha1),
        };
        let source = self.hub().join("models--tiny--bert/blobs").join(&etag);
        fs::write(&source, bytes).unwrap();
        FoundFile {
            path: path.into(),
            source,
            size_bytes: bytes.len() as u64,
            claim: Some(claim),
            sharing: Sharing::Hardlink,
            lock: Some(self.hub().join(format!(".locks/models--tiny--bert/{etag}.lock"))),
        }
    }

    fn model(&self) -> Found {
        let files = vec![
            self.file("config.json", CONFIG, Claim::GitBlobSha1(git_blob_sha1(CONFIG))),
            self.file("model.gguf", WEIGHTS, Claim::Sha256(Digest::sha256_of(WEIGHTS))),
        ];
        Found {
            tool: Tool::Hf,
            id: format!("hf:tiny/bert@{COMMIT}"),
            also: vec!["hf:tiny/bert".into()],
            pinned: Some(COMMIT.into()),
            kind: ArtifactKind::Tree,
            name: "bert".into(),
            files,
            is_whole: true,
        }
    }

    fn adopt(&self, model: &Found, options: &AdoptOptions) -> crate::Result<AdoptReceipt> {
        self.catalog.adopt(std::slice::from_ref(model), options).pop().unwrap()
    }
}

/// Everything about the files below a folder, apart from modes and change times.
fn state(folder: &Path) -> Vec<(PathBuf, u64, i64, Vec<u8>)> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let meta = entry.metadata().unwrap();
            (entry.path().to_path_buf(), meta.ino(), meta.mtime_nsec(), fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_model_is_found_under_all_its_ids_and_takes_no_room() {
    let host = Host::new();
    let model = host.model();
    let before = state(&host.hub());
    let plan = host.catalog.plan_adopt(std::slice::from_ref(&model), &AdoptOptions::default()).remove(0).unwrap();
    let adopted = host.adopt(&model, &AdoptOptions::default()).unwrap();
    assert!(matches!(adopted.staged.mode, UsedMode::Link | UsedMode::Reflink), "{adopted:?}");
    assert_eq!((adopted.new_bytes, plan.new_bytes, plan.is_here), (0, 0, false));
    assert_eq!(adopted.also, ["hf:tiny/bert"]);
    for id in [model.id.as_str(), "hf:tiny/bert"] {
        let record = host.catalog.record(id).unwrap().unwrap();
        assert_eq!(record.trust, TrustState::Claimed);
        assert_eq!(fs::read(record.entry.local_path.join("model.gguf")).unwrap(), WEIGHTS);
        let source = record.source.unwrap();
        assert_eq!((source.reference.as_str(), source.pinned.as_deref()), (id, Some(COMMIT)));
        let [event] = &host.catalog.log(Some(id)).unwrap()[..] else { panic!("one thing has happened to {id}") };
        let from = event.source.as_ref().unwrap();
        assert_eq!((event.what, from.pinned.as_deref()), (crate::LogEventKind::Adopted, Some(COMMIT)));
        assert_eq!(from.named_by.as_deref(), Some("the store of hf"));
    }
    assert_eq!(state(&host.hub()), before, "nothing of the tool is changed");

    // The second time, no file is opened: the version is the same.
    let again = host.catalog.plan_adopt(std::slice::from_ref(&model), &AdoptOptions::default()).remove(0).unwrap();
    assert!(again.is_here && again.new_bytes == 0);
    let mut other = model.clone();
    for file in &mut other.files {
        file.source = host.hub().join("other");
        fs::write(&file.source, vec![0; file.size_bytes as usize]).unwrap();
    }
    assert_eq!(host.adopt(&other, &AdoptOptions::default()).unwrap().staged.mode, UsedMode::Unchanged);
}

// Red when only stamps are compared: each new link sets the change time of the inode.
#[test]
fn a_file_without_a_version_that_is_hardlinked_is_not_read_again() {
    let host = Host::new();
    let mut model = Found { pinned: None, also: Vec::new(), ..host.model() };
    model.files.iter_mut().for_each(|file| file.claim = None);
    let first = host.adopt(&model, &AdoptOptions::default()).unwrap();
    assert_eq!(host.catalog.record(&model.id).unwrap().unwrap().trust, TrustState::Warned);
    if first.staged.mode == UsedMode::Link {
        let plan = host.catalog.plan_adopt(std::slice::from_ref(&model), &AdoptOptions::default()).remove(0).unwrap();
        assert!(plan.is_here, "the plan knows it too");
        assert_eq!(host.adopt(&model, &AdoptOptions::default()).unwrap().staged.mode, UsedMode::Unchanged);
        // Another inode is read.
        fs::remove_file(&model.files[1].source).unwrap();
        fs::write(&model.files[1].source, b"gguf and weights").unwrap();
        let changed = host.adopt(&model, &AdoptOptions::default()).unwrap();
        assert!(changed.staged.replaced.is_some(), "{changed:?}");
    }
}

// Red when only a model with a version has a claim.
#[test]
fn a_model_without_a_version_whose_digests_are_named_is_claimed() {
    let host = Host::new();
    let model = Found { pinned: None, ..host.model() };
    host.adopt(&model, &AdoptOptions::default()).unwrap();
    let record = host.catalog.record(&model.id).unwrap().unwrap();
    assert_eq!(
        (record.trust, record.source.unwrap().named_by.as_deref()),
        (TrustState::Claimed, Some("the store of hf"))
    );
}

// Red when the first file that has vanished ends the whole plan.
#[test]
fn a_plan_of_what_has_vanished_does_not_stop_the_others() {
    let host = Host::new();
    let gone = Found { id: "gone".into(), ..host.model() };
    let gone = Found {
        files: gone.files.into_iter().map(|file| FoundFile { source: host.hub().join("no"), ..file }).collect(),
        ..gone
    };
    let plans = host.catalog.plan_adopt(&[gone, host.model()], &AdoptOptions::default());
    assert!(plans[0].as_ref().unwrap_err().to_string().contains("was removed"), "{plans:?}");
    assert!(plans[1].is_ok());
}

// Red when the claim is not checked. Each of both kinds.
#[test]
fn a_file_that_is_not_what_its_name_says_is_refused_and_the_rest_goes_on() {
    for number in [0, 1] {
        let host = Host::new();
        let (bad, elsewhere) = (host.model(), Host::new());
        let good = Found { id: "hf:tiny/other".into(), also: Vec::new(), ..elsewhere.model() };
        let source = &bad.files[number].source;
        let mut bytes = fs::read(source).unwrap();
        bytes[3] ^= 1;
        fs::write(source, &bytes).unwrap();
        let results = host.catalog.adopt(&[bad.clone(), good], &AdoptOptions::default());
        let error = results[0].as_ref().unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("the cache is damaged"), "{error}");
        assert!(error.to_string().contains(&source.display().to_string()), "{error}");
        assert!(results[1].is_ok(), "{:?}", results[1]);
        assert!(host.catalog.record(&bad.id).unwrap().is_none());
        assert_eq!(fs::read(source).unwrap(), bytes);
    }
}

// Red when the path is opened with its symlinks: the file of someone else would become readable to everybody.
#[test]
fn a_file_that_has_become_a_symlink_is_not_followed() {
    let host = Host::new();
    let mut model = host.model();
    let secret = host.dir.path().join("secret");
    fs::write(&secret, WEIGHTS).unwrap();
    model.files[1].claim = None;
    fs::remove_file(&model.files[1].source).unwrap();
    symlink(&secret, &model.files[1].source).unwrap();
    let error = host.adopt(&model, &AdoptOptions::default()).unwrap_err();
    assert!(error.to_string().contains("symlink"), "{error}");
    assert!(host.catalog.list().unwrap().is_empty());
}

// Red when `Sharing` is not looked at: the tool may write into the file.
#[test]
fn a_tool_that_writes_into_its_files_never_shares_their_inodes() {
    let host = Host::new();
    let mut model = host.model();
    model.files.iter_mut().for_each(|file| file.sharing = Sharing::Reflink);
    let adopted = host.adopt(&model, &AdoptOptions::default().with_dedupe(true)).unwrap();
    assert!(matches!(adopted.staged.mode, UsedMode::Copy | UsedMode::Reflink), "{adopted:?}");
    fs::write(&model.files[1].source, b"other bytes here").unwrap();
    assert_eq!(fs::read(adopted.staged.local_path.join("model.gguf")).unwrap(), WEIGHTS);
}

// Red when a private file is hardlinked: everybody could read it under the tool's own name.
#[test]
fn a_file_that_not_everybody_may_read_is_not_hardlinked() {
    let host = Host::new();
    let model = host.model();
    for file in &model.files {
        fs::set_permissions(&file.source, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let adopted = host.adopt(&model, &AdoptOptions::default()).unwrap();
    if adopted.staged.mode == UsedMode::Copy {
        let why = adopted.staged.unshared.unwrap();
        assert!(why.contains("0600"), "{why}");
        assert_eq!(adopted.new_bytes, (WEIGHTS.len() + CONFIG.len()) as u64);
    }
    for file in &model.files {
        assert_eq!(fs::metadata(&file.source).unwrap().permissions().mode() & 0o777, 0o600);
    }
    host.adopt(&model, &AdoptOptions::default().with_mode(IngestMode::Link)).unwrap();
    let forced = Found { id: "forced".into(), also: Vec::new(), ..model };
    let error = Host::new().adopt(&forced, &AdoptOptions::default().with_mode(IngestMode::Link)).unwrap_err();
    assert!(error.to_string().contains("0600"), "{error}");
}

#[test]
fn dedupe_replaces_the_tools_copy_by_our_inode() {
    let host = Host::new();
    let model = host.model();
    // The store has the bytes already, in inodes of its own.
    host.adopt(&model, &AdoptOptions::default().with_mode(IngestMode::Copy)).unwrap();
    let options = AdoptOptions::default().with_dedupe(true);
    let plan = host.catalog.plan_adopt(std::slice::from_ref(&model), &options).remove(0).unwrap();
    assert!(plan.deduped_bytes > 0);
    let adopted = host.adopt(&model, &options).unwrap();
    assert_eq!(adopted.deduped_bytes, plan.deduped_bytes);
    assert!(adopted.not_deduped.is_empty(), "{adopted:?}");
    for file in &model.files {
        let view = adopted.staged.local_path.join(&file.path);
        assert_eq!(fs::metadata(&view).unwrap().ino(), fs::metadata(&file.source).unwrap().ino());
    }
    assert_eq!(host.adopt(&model, &options).unwrap().deduped_bytes, 0, "there is nothing left to win");
    let names: Vec<_> = fs::read_dir(host.hub()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "no other name is left: {names:?}");
    assert!(fs::read_dir(host.dir.path().join("root/ingest")).unwrap().next().is_none());
}

// Red without the last look: other bytes would be replaced.
#[test]
fn dedupe_leaves_what_has_changed() {
    let host = Host::new();
    let model = host.model();
    host.adopt(&model, &AdoptOptions::default().with_mode(IngestMode::Copy)).unwrap();
    fs::write(&model.files[1].source, b"gguf and weights").unwrap();
    let adopted = host.adopt(&model, &AdoptOptions::default().with_dedupe(true)).unwrap();
    assert_eq!(adopted.not_deduped.len(), 1, "{adopted:?}");
    assert!(adopted.not_deduped[0].contains("has changed"), "{adopted:?}");
    assert_eq!(fs::read(&model.files[1].source).unwrap(), b"gguf and weights");
}

// Red when the lock of one repository is taken for a file that others use too.
#[test]
fn dedupe_leaves_the_folder_that_all_repositories_share() {
    let host = Host::new();
    let mut model = host.model();
    let shared = host.hub().join("blobs/ab");
    fs::create_dir_all(&shared).unwrap();
    fs::rename(&model.files[1].source, shared.join("xet")).unwrap();
    model.files[1].source = shared.join("xet");
    host.adopt(&model, &AdoptOptions::default().with_mode(IngestMode::Copy)).unwrap();
    let before = fs::metadata(&model.files[1].source).unwrap().ino();
    let adopted = host.adopt(&model, &AdoptOptions::default().with_dedupe(true)).unwrap();
    assert!(adopted.not_deduped.iter().any(|kept| kept.contains("all repositories")), "{adopted:?}");
    assert_eq!(fs::metadata(&model.files[1].source).unwrap().ino(), before);
}

// Red when the tool's lock is not taken.
#[test]
fn dedupe_keeps_away_while_the_tool_works_on_a_file() {
    let host = Host::new();
    let model = host.model();
    host.adopt(&model, &AdoptOptions::default().with_mode(IngestMode::Copy)).unwrap();
    let held = fs::File::create(model.files[1].lock.as_ref().unwrap()).unwrap();
    fs2::FileExt::lock_exclusive(&held).unwrap();
    let before = fs::metadata(&model.files[1].source).unwrap().ino();
    let adopted = host.adopt(&model, &AdoptOptions::default().with_dedupe(true)).unwrap();
    assert!(adopted.not_deduped.iter().any(|kept| kept.contains("its tool is working on it")), "{adopted:?}");
    assert_eq!(fs::metadata(&model.files[1].source).unwrap().ino(), before);
}
