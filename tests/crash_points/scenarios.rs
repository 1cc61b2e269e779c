//! The operations in which steps fail.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use catalog_core::{
    CatalogStore as _, Digest, DocumentKind, Durability, FsCatalog, GcPolicy, LifecycleState, LocalSource, ModelRef,
    NewDocument, Policy, RepairOptions, Result, Sources, VerificationOutcome, VerifyOptions, adopt,
};

use crate::common::{blob_path, long_ago, mode_options, options, reference, set_mode, set_mtime, stage};
use crate::server::{Server, part, send};

/// One operation on a store that holds `kept`, a file, and `tree`, a directory of two.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What else is in the store before.
    pub(crate) prepare: fn(&FsCatalog, &Path),
    pub(crate) act: fn(&FsCatalog, &Path) -> Result<()>,
    /// Whether the operation is done. Panics if it is done in part.
    pub(crate) is_done: fn(&FsCatalog, &Path) -> bool,
    /// Whether the operation may leave files in `quarantine/`.
    pub(crate) leaves_quarantine: bool,
    /// Only every so many steps are made to fail. More than 1 if the operation has many similar steps that take long.
    pub(crate) every: usize,
}

/// More than one group of an outboard, so that its list is written too.
const LARGE_BYTES: usize = (1 << 20) + 1000;

pub(crate) fn file(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    set_mtime(&path, long_ago());
    path
}

fn large(seed: u8) -> Vec<u8> {
    (0..LARGE_BYTES).map(|i| (i % 251) as u8 ^ seed).collect()
}

/// Large enough for a copy that outlives its process.
static HUGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![7; (64 << 20) + 1000];
    for (number, mib) in bytes.chunks_mut(1 << 20).enumerate() {
        mib[0] = number as u8;
    }
    bytes
});

/// Large enough for a fetch that outlives its process.
static FETCHED: LazyLock<Vec<u8>> = LazyLock::new(|| HUGE[..(9 << 20) + 1000].to_vec());

static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::new(|asked, stream| send(stream, &part(asked, &FETCHED, "ETag: \"one\"\r\n"))));

pub(crate) fn base(dir: &Path) -> FsCatalog {
    let catalog = FsCatalog::new(dir.join("root")).unwrap().with_durability(Durability::Relaxed);
    stage(&catalog, &file(dir, "kept.gguf", "kept"), "kept").unwrap();
    file(dir, "tree/a.gguf", "a of the tree");
    file(dir, "tree/sub/b.gguf", "b of the tree");
    stage(&catalog, &dir.join("tree"), "tree").unwrap();
    catalog
}

fn nothing(_: &FsCatalog, _: &Path) {}

fn holds(catalog: &FsCatalog, id: &str, content: &[u8]) -> bool {
    let Some(record) = catalog.record(id).unwrap() else { return false };
    let digest = record.entry.digest.unwrap();
    if digest != Digest::sha256_of(content) {
        return false;
    }
    assert!(fs::read(&catalog.resolve(id).unwrap().entry.local_path).unwrap() == content, "{id} has other bytes");
    true
}

fn damage(catalog: &FsCatalog) {
    let blob = blob_path(catalog.root(), &Digest::sha256_of(&large(7)));
    set_mode(&blob, 0o644);
    let mut bytes = large(7);
    bytes[1 << 20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    set_mode(&blob, 0o444);
}

fn document(content: &str) -> NewDocument {
    NewDocument::new(DocumentKind::Doc, "d", content)
}

/// Whether `kept` has a document with this content. What a record says that it has is there, and is needed.
fn is_attached(catalog: &FsCatalog, content: &str) -> bool {
    let record = catalog.record("kept").unwrap().unwrap();
    assert!(record.documents.keys().eq(&record.needs), "{record:?}");
    let bytes = catalog.document("kept", "d").unwrap();
    assert_eq!(bytes.is_some(), !record.documents.is_empty());
    bytes.as_deref() == Some(content.as_bytes())
}

fn small_batch(dir: &Path) -> Vec<(catalog_core::ModelRef, catalog_core::StageOptions)> {
    let name = |number: usize| format!("batch/{number}.gguf");
    (0..9).map(|n| (reference(&dir.join(name(n))), options(&format!("batch-{n}")))).collect()
}

/// Events of a shard that move out of it with the next few.
fn fill_log(catalog: &FsCatalog, id: &str) {
    let shard = crate::common::shard_path(catalog.root(), id);
    while fs::metadata(&shard).unwrap().len() < 31_000 {
        catalog.pin(id, &"x".repeat(200), None).unwrap();
        catalog.unpin(id, None).unwrap();
    }
    let moved_out = fs::read_dir(catalog.root().join("log")).unwrap().count();
    assert!(moved_out == 0 && fs::metadata(&shard).unwrap().len() < 32_500);
}

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "retire where the log is long",
        prepare: |catalog, _| fill_log(catalog, "kept"),
        act: |catalog, _| {
            catalog.set_state("kept", LifecycleState::Retired)?;
            catalog.pin("kept", &"y".repeat(1000), None)?;
            catalog.pin("kept", &"z".repeat(1000), None).map(drop)
        },
        is_done: |catalog, _| {
            let record = catalog.record("kept").unwrap().unwrap();
            record.entry.lifecycle == LifecycleState::Retired && record.pins.len() == 2
        },
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage a file",
        prepare: |_, dir| drop(file(dir, "new.gguf", large(1))),
        act: |catalog, dir| stage(catalog, &dir.join("new.gguf"), "new").map(drop),
        is_done: |catalog, _| holds(catalog, "new", &large(1)),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage a large file",
        prepare: |_, dir| drop(file(dir, "huge.gguf", &*HUGE)),
        act: |catalog, dir| {
            // A copy rather than a clone, where the file system could clone.
            let options = mode_options("huge", catalog_core::IngestMode::Copy);
            catalog.stage(&reference(&dir.join("huge.gguf")), &options).map(drop)
        },
        is_done: |catalog, _| holds(catalog, "huge", &HUGE),
        leaves_quarantine: false,
        every: 7,
    },
    Scenario {
        name: "stage from a server",
        prepare: nothing,
        act: |catalog, _| {
            let policy = Policy::default().allow(&SERVER.rule())?;
            let catalog = catalog.clone().with_sources(Sources::new(policy)?.with_connections(1).http());
            let reference = ModelRef::parse(&SERVER.url("/model.gguf"))?;
            catalog.stage(&reference, &options("fetched")).map(drop)
        },
        is_done: |catalog, _| holds(catalog, "fetched", &FETCHED),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage from a reader",
        prepare: nothing,
        act: |catalog, _| {
            let options = catalog_core::StageOptions::default().with_digest(Digest::sha256_of(&large(8)));
            catalog.stage_from(&large(8)[..], "piped", &options).map(drop)
        },
        is_done: |catalog, _| holds(catalog, "piped", &large(8)),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage a file into a store without a reserve",
        prepare: |catalog, dir| {
            fs::remove_file(catalog.root().join("store.reserve")).unwrap();
            file(dir, "new.gguf", "new");
        },
        act: |catalog, dir| stage(catalog, &dir.join("new.gguf"), "new").map(drop),
        is_done: |catalog, _| holds(catalog, "new", b"new"),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage a file with --mode move",
        prepare: nothing,
        act: |catalog, dir| {
            if !dir.join("moved.gguf").exists() && catalog.record("new")?.is_none() {
                file(dir, "moved.gguf", large(5));
            }
            match dir.join("moved.gguf").exists() {
                true => catalog
                    .stage(&reference(&dir.join("moved.gguf")), &mode_options("new", catalog_core::IngestMode::Move))
                    .map(drop),
                false => Ok(()),
            }
        },
        is_done: |catalog, dir| {
            let is_done = holds(catalog, "new", &large(5));
            // Wherever it died, the bytes still exist.
            assert!(
                is_done || !dir.join("moved.gguf").exists() || fs::read(dir.join("moved.gguf")).unwrap() == large(5)
            );
            is_done
        },
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage bytes that are here",
        prepare: |_, dir| drop(file(dir, "same.gguf", "kept")),
        act: |catalog, dir| stage(catalog, &dir.join("same.gguf"), "same").map(drop),
        is_done: |catalog, _| holds(catalog, "same", b"kept"),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage bytes that are in the trash",
        prepare: |catalog, dir| {
            stage(catalog, &file(dir, "gone.gguf", "gone"), "gone").unwrap();
            catalog.set_state("gone", LifecycleState::Retired).unwrap();
            let policy = GcPolicy::default().with_retired_after(Some(std::time::Duration::ZERO));
            assert_eq!(catalog.gc(&policy).unwrap().trashed, 1);
        },
        act: |catalog, dir| stage(catalog, &dir.join("gone.gguf"), "again").map(drop),
        is_done: |catalog, _| holds(catalog, "again", b"gone"),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage new content under an id",
        prepare: |catalog, dir| {
            stage(catalog, &file(dir, "old.gguf", "old content"), "changed").unwrap();
            file(dir, "new.gguf", "new content");
        },
        act: |catalog, dir| stage(catalog, &dir.join("new.gguf"), "changed").map(drop),
        is_done: |catalog, _| {
            let is_new = holds(catalog, "changed", b"new content");
            assert!(is_new || holds(catalog, "changed", b"old content"), "neither the old nor the new");
            is_new
        },
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage a tree",
        prepare: |_, dir| {
            file(dir, "new/x.gguf", "x of the new tree");
            file(dir, "new/y/z.gguf", "a of the tree");
        },
        act: |catalog, dir| stage(catalog, &dir.join("new"), "new").map(drop),
        is_done: |catalog, _| match catalog.record("new").unwrap() {
            None => false,
            Some(_) => {
                let at = catalog.resolve("new").unwrap().entry.local_path;
                assert_eq!(fs::read(at.join("x.gguf")).unwrap(), b"x of the new tree");
                assert_eq!(fs::read(at.join("y/z.gguf")).unwrap(), b"a of the tree");
                true
            }
        },
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "stage a batch",
        prepare: |_, dir| (0..9).for_each(|n| drop(file(dir, &format!("batch/{n}.gguf"), format!("file {n}")))),
        act: |catalog, dir| {
            let results = catalog.stage_many(&small_batch(dir));
            results.into_iter().try_for_each(|result| result.map(drop))
        },
        is_done: |catalog, _| {
            let held = (0..9).map(|n| holds(catalog, &format!("batch-{n}"), format!("file {n}").as_bytes()));
            held.collect::<Vec<_>>().iter().all(|held| *held)
        },
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "register a path",
        prepare: nothing,
        act: |catalog, _| catalog.put(&crate::common::entry("later", "models/later.gguf")),
        is_done: |catalog, _| catalog.record("later").unwrap().is_some(),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "retire",
        prepare: |catalog, dir| drop(stage(catalog, &file(dir, "r.gguf", "r"), "r").unwrap()),
        act: |catalog, _| catalog.set_state("r", LifecycleState::Retired),
        is_done: |catalog, _| catalog.get("r").unwrap().unwrap().lifecycle == LifecycleState::Retired,
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "pin",
        prepare: |catalog, dir| drop(stage(catalog, &file(dir, "p.gguf", "p"), "p").unwrap()),
        act: |catalog, _| catalog.pin("p", "pool", None).map(drop),
        is_done: |catalog, _| !catalog.record("p").unwrap().unwrap().pins.is_empty(),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "tag",
        prepare: nothing,
        act: |catalog, _| catalog.tag("tree", "second").map(drop),
        is_done: |catalog, _| catalog.record("second").unwrap().is_some(),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "rename",
        prepare: |catalog, dir| {
            stage(catalog, &file(dir, "o.gguf", "old"), "old").unwrap();
            catalog.pin("old", "pool", None).unwrap();
        },
        act: |catalog, _| match catalog.record("old")? {
            Some(_) => catalog.rename("old", "new").map(drop),
            None => Ok(()),
        },
        is_done: |catalog, _| {
            let (is_new, is_old) = (holds(catalog, "new", b"old"), holds(catalog, "old", b"old"));
            assert!(is_new || is_old, "neither the old nor the new");
            for id in ["old", "new"] {
                let record = catalog.record(id).unwrap();
                assert!(record.is_none_or(|record| record.pins.contains_key("pool")), "{id} has lost its pin");
            }
            is_new && !is_old
        },
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "attach a document",
        prepare: nothing,
        act: |catalog, _| catalog.attach("kept", &document("new")).map(drop),
        is_done: |catalog, _| is_attached(catalog, "new"),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "replace a document",
        prepare: |catalog, _| drop(catalog.attach("kept", &document("old")).unwrap()),
        act: |catalog, _| catalog.attach("kept", &document("new").with_replace(true)).map(drop),
        is_done: |catalog, _| {
            let is_new = is_attached(catalog, "new");
            assert!(is_new || is_attached(catalog, "old"), "neither the old nor the new");
            is_new
        },
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "detach a document",
        prepare: |catalog, _| drop(catalog.attach("kept", &document("old")).unwrap()),
        act: |catalog, _| catalog.detach("kept", "d").map(drop),
        is_done: |catalog, _| !is_attached(catalog, "old"),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "set a limit",
        prepare: nothing,
        act: |catalog, _| catalog.change_config(|limits| limits.max_bytes = Some(1 << 40)).map(drop),
        is_done: |catalog, _| catalog.config().unwrap().max_bytes.is_some(),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "remove a tree",
        prepare: |catalog, dir| {
            file(dir, "t/own.gguf", "own");
            file(dir, "t/shared.gguf", "kept");
            stage(catalog, &dir.join("t"), "t").unwrap();
        },
        act: |catalog, _| catalog.delete("t").map(drop),
        is_done: |catalog, _| catalog.record("t").unwrap().is_none(),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "collect",
        prepare: |catalog, dir| {
            for id in ["x", "y"] {
                stage(catalog, &file(dir, id, large(id.as_bytes()[0])), id).unwrap();
                catalog.set_state(id, LifecycleState::Retired).unwrap();
            }
            // A leftover of a process that died.
            fs::create_dir_all(catalog.root().join("ingest/0123456789abcdef")).unwrap();
            fs::write(catalog.root().join("ingest/0123456789abcdef/0"), "half").unwrap();
        },
        act: |catalog, _| {
            let policy = GcPolicy::default()
                .with_retired_after(Some(std::time::Duration::ZERO))
                .with_grace(std::time::Duration::ZERO);
            match catalog.gc(&policy)?.failed.into_iter().next() {
                Some(failure) => Err(failure.error),
                None => Ok(()),
            }
        },
        is_done: |catalog, _| catalog.record("x").unwrap().is_none() && catalog.record("y").unwrap().is_none(),
        leaves_quarantine: false,
        every: 1,
    },
    Scenario {
        name: "take damage out of service",
        prepare: |catalog, dir| {
            stage(catalog, &file(dir, "bad.gguf", large(7)), "bad").unwrap();
            fs::remove_file(dir.join("bad.gguf")).unwrap();
            damage(catalog);
        },
        act: |catalog, _| {
            let report = catalog.verify("bad", &VerifyOptions::default())?;
            assert!(matches!(report.outcome, VerificationOutcome::Fail { .. }), "damage was called good");
            // If the report says that the damage is not out of service, the operation is not complete.
            match report.bad.iter().any(|bad| bad.quarantined) {
                true => Ok(()),
                false => Err(catalog.resolve("bad").expect_err("damage was given out")),
            }
        },
        is_done: |catalog, _| {
            // In any state, damage is never given out.
            catalog.resolve("bad").expect_err("damage was given out");
            catalog.record("bad").unwrap().unwrap().damaged_ms.is_some()
        },
        leaves_quarantine: true,
        every: 1,
    },
    Scenario {
        name: "repair",
        prepare: |catalog, dir| {
            stage(catalog, &file(dir, "bad.gguf", large(7)), "bad").unwrap();
            damage(catalog);
        },
        act: |catalog, dir| {
            let from: std::sync::Arc<dyn catalog_core::RepairSource> =
                std::sync::Arc::new(LocalSource::new(dir.join("bad.gguf")));
            catalog.repair("bad", &RepairOptions::default().with_from(vec![from])).map(drop)
        },
        is_done: |catalog, _| match catalog.resolve("bad") {
            Ok(record) => {
                assert_eq!(fs::read(record.entry.local_path).unwrap(), large(7), "damage was given out");
                true
            }
            Err(_) => false,
        },
        leaves_quarantine: true,
        every: 1,
    },
    Scenario {
        name: "adopt, and replace the tool's copy",
        prepare: |catalog, dir| {
            stage(catalog, &file(dir, "here.gguf", large(9)), "here").unwrap();
            file(dir, "lmstudio/acme/tiny/here.gguf", large(9));
            file(dir, "lmstudio/acme/tiny/new.gguf", large(10));
        },
        act: |catalog, dir| {
            let found = adopt::scan(adopt::Tool::LmStudio, &dir.join("lmstudio"))?;
            let options = adopt::AdoptOptions::default().with_dedupe(true);
            catalog.adopt(&found.models, &options).into_iter().try_for_each(|adopted| adopted.map(drop))
        },
        is_done: |catalog, dir| {
            for (name, seed) in [("here", 9), ("new", 10)] {
                let theirs = dir.join(format!("lmstudio/acme/tiny/{name}.gguf"));
                assert_eq!(fs::read(theirs).unwrap(), large(seed), "the tool's own file has other bytes");
            }
            let ids = ["lmstudio:acme/tiny/here.gguf", "lmstudio:acme/tiny/new.gguf"];
            holds(catalog, ids[0], &large(9)) && holds(catalog, ids[1], &large(10))
        },
        leaves_quarantine: false,
        every: 3,
    },
];
