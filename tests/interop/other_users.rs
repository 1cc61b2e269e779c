//! Caches that belong to somebody else, or that nobody can write to.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

use walkdir::WalkDir;

use crate::common::{NOBODY, as_nobody, files_below, inode_of, mount, set_mode};
use crate::hub::Hub;
use crate::place::{Place, Ran};
use crate::tree::{Tree, assert_same, tree};
use crate::venv::Hf;

/// A user who needs no account.
const ANN: u32 = 61_001;

fn downloaded() -> Option<Place> {
    Hf::V2_4.bin()?;
    let hub = Hub::start()?;
    let place = Place::new();
    for repository in ["tiny/bert", "tiny/llama"] {
        place.hf_does(Hf::V2_4, Some(&hub), &["download", repository]);
    }
    Some(place)
}

/// Modes and owners, which another user's cache must keep.
fn owners(place: &Place) -> Vec<(u32, u32)> {
    let entries = WalkDir::new(place.hf()).sort_by_file_name().into_iter();
    entries.map(|entry| entry.unwrap().path().symlink_metadata().unwrap()).map(|m| (m.mode(), m.uid())).collect()
}

// A hardlink of a file of another user is refused (`fs.protected_hardlinks`), and its mode cannot be changed.
#[test]
fn a_cache_of_another_user() {
    let Some(setpriv) = as_nobody() else { return };
    let Some(place) = downloaded() else { return };
    for entry in WalkDir::new(place.path("home")) {
        let path = entry.unwrap().into_path();
        lchown(&path, Some(ANN), Some(ANN)).unwrap();
        if !path.is_symlink() {
            set_mode(&path, if path.is_dir() { 0o755 } else { 0o644 });
        }
    }
    let hidden = place.hf().join("models--tiny--bert/blobs");
    let hidden = fs::read_dir(hidden).unwrap().next().unwrap().unwrap().path();
    set_mode(&hidden, 0o600);
    fs::create_dir(place.root()).unwrap();
    lchown(place.root(), Some(NOBODY), Some(NOBODY)).unwrap();
    let (before, owned) = (tree(&place.hf()), owners(&place));

    let mut adopt = place.program_as(&setpriv, assert_cmd::cargo::cargo_bin!("catalog"));
    adopt.arg("--root").arg(place.root()).args(["--json", "adopt", "hf"]);
    let ran = Ran::of(&adopt.output().unwrap());
    assert_same(&before, &tree(&place.hf()));
    assert_eq!(owned, owners(&place));
    // The one that it may not read is named, and does not stop the other.
    assert!((ran.out.clone() + &ran.err).contains("tiny/bert"), "{ran:?}");
    let ids = place.ids();
    assert!(ids.iter().any(|id| id.starts_with("hf:tiny/llama")), "{ids:?} {ran:?}");
    assert!(!ids.iter().any(|id| id.starts_with("hf:tiny/bert")), "{ids:?} {ran:?}");
    place.assert_sound();
    let inodes = |folder: &Path| files_below(folder).iter().map(|file| inode_of(file)).collect::<BTreeSet<u64>>();
    assert!(
        inodes(&place.root().join("blobs")).is_disjoint(&inodes(&place.hf())),
        "an inode of another user is shared"
    );
}

#[test]
fn a_cache_that_is_read_only() {
    let Some(place) = downloaded() else { return };
    let Some(read_only) = mount::read_only_bind(&place.hf()) else { return };
    let before: Tree = tree(&place.hf());
    let owned = owners(&place);
    place.done(&["adopt", read_only.path().to_str().unwrap()]);
    assert_same(&before, &tree(&place.hf()));
    assert_eq!(owned, owners(&place));
    assert!(place.ids().len() >= 2, "{:?}", place.ids());
    place.assert_sound();
}
