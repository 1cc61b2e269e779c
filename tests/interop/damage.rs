//! Stores that are not as they should be.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rstest::rstest;

use crate::common::{files_below, fixture};
use crate::hub::Hub;
use crate::place::Place;
use crate::tree::{assert_same, tree};
use crate::venv::Hf;

/// The blob behind a file of a repository's snapshot.
fn blob(place: &Place, repository: &str, file: &str) -> PathBuf {
    let folder = place.hf_does(Hf::V2_4, None, &["offline", repository]);
    fs::canonicalize(PathBuf::from(folder.trim()).join(file)).unwrap()
}

// huggingface_hub itself only looks at the size, so nobody has noticed before. Red when the SHA-256, or the hash of a git
// blob, is not compared.
/// A place whose Hugging Face cache has these repositories.
fn downloaded(repositories: &[&str]) -> Option<Place> {
    Hf::V2_4.bin()?;
    let hub = Hub::start()?;
    let place = Place::new();
    for repository in repositories {
        place.hf_does(Hf::V2_4, Some(&hub), &["download", repository]);
    }
    Some(place)
}

#[rstest]
#[case::sha256("model.safetensors")]
#[case::git_sha1("config.json")]
fn a_damaged_blob(#[case] file: &str) {
    let Some(place) = downloaded(&["tiny/bert", "tiny/sharded"]) else { return };
    let damaged = blob(&place, "tiny/bert", file);
    File::options().write(true).open(&damaged).unwrap().write_all_at(b"\0", 30).unwrap();
    let before = tree(&place.hf());
    let ran = place.catalog(&["adopt", "hf"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("the cache is damaged"), "{ran:?}");
    assert!(ran.err.contains(damaged.file_name().unwrap().to_str().unwrap()), "{ran:?}");
    let ids = place.ids();
    assert!(ids.iter().any(|id| id.starts_with("hf:tiny/sharded")), "{ids:?}");
    assert!(!ids.iter().any(|id| id.starts_with("hf:tiny/bert")), "{ids:?}");
    assert_same(&before, &tree(&place.hf()));
    place.assert_sound();
}

#[test]
fn unfinished_downloads_and_pointers_are_listed() {
    let Some(place) = downloaded(&["tiny/bert", "tiny/sharded"]) else { return };
    // A download of one file stopped; the link to the other is there already.
    fs::remove_file(blob(&place, "tiny/sharded", "model-00002-of-00002.safetensors")).unwrap();
    let blobs = place.hf().join("models--tiny--bert/blobs");
    fs::write(blobs.join(format!("{}.incomplete", "ab".repeat(32))), "half").unwrap();
    fs::write(blobs.join(format!("{}.0123abcd.incomplete", "cd".repeat(32))), "half").unwrap();
    // What git without its extension for large files leaves, and what LM Studio and Ollama leave of a download.
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 5\n", "0".repeat(64));
    for (file, text) in [("tiny/a/pointer.gguf", pointer.as_str()), ("tiny/a/downloading.gguf.partial", "half")] {
        let path = place.lmstudio().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir_all(place.ollama().join("blobs")).unwrap();
    fs::create_dir_all(place.ollama().join("manifests")).unwrap();
    fs::write(place.ollama().join(format!("blobs/sha256-{}-partial", "ef".repeat(32))), "half").unwrap();

    let before = tree(&place.path("home"));
    let ran = place.done(&["adopt", "auto"]);
    assert_same(&before, &tree(&place.path("home")));
    let ids = place.ids();
    assert!(ids.iter().all(|id| id.starts_with("hf:tiny/bert")), "{ids:?}");
    let said = ran.out + &ran.err;
    for left_out in
        ["tiny--sharded", &"ab".repeat(32), &"cd".repeat(32), "pointer.gguf", "downloading", &"ef".repeat(32)]
    {
        assert!(said.contains(left_out), "{left_out} is not listed: {said}");
    }
    place.assert_sound();
}

// A store that anybody can write to must not lead the catalog to other files.
#[test]
fn links_that_lead_out_of_a_cache() {
    let Some(place) = downloaded(&["tiny/bert"]) else { return };
    let secret = place.path("secret");
    fs::write(&secret, "a password").unwrap();
    let folder = place.hf_does(Hf::V2_4, None, &["offline", "tiny/bert"]);
    let readme = PathBuf::from(folder.trim()).join("README.md");
    fs::remove_file(&readme).unwrap();
    symlink(&secret, &readme).unwrap();
    place.done(&["stage", fixture().to_str().unwrap(), "--id", "first", "--mode", "copy"]);
    place.catalog(&["adopt", "hf"]);
    let found = files_below(&place.path("root"));
    assert!(!found.iter().any(|file| fs::read(file).is_ok_and(|bytes| bytes == b"a password")), "{found:?}");
    assert_eq!(place.ids(), ["first"]);
}

// A blob gets its name when it is whole, so a cache that is in use is never damaged: whatever is adopted is right, and
// nobody is told otherwise.
#[test]
fn a_cache_that_changes_while_it_is_read() {
    if Hf::V2_4.bin().is_none() {
        return;
    }
    let Some(hub) = Hub::start() else { return };
    let place = Place::new();
    for words in [["tiny/bert", "main"], ["tiny/bert", "v1"], ["tiny/wide", "main"]] {
        place.hf_does(Hf::V2_4, Some(&hub), &["download", words[0], words[1]]);
    }
    let repository = place.hf().join("models--tiny--bert");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also after a panic: the scope waits for the thread.
        let _stop = SetOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                take_away_and_bring_back(&repository, &place.path("home/elsewhere"));
            }
        });
        for _ in 0..40 {
            let ran = place.catalog(&["adopt", "hf"]);
            // What is gone when it is read is an error of its model, but never damage.
            assert!([0, 1, 3].contains(&ran.code), "{ran:?}");
            for id in place.ids() {
                place.done(&["remove", &id]);
            }
        }
    });
    place.done(&["adopt", "hf"]);
    place.assert_sound();
    assert!(place.ids().len() >= 3, "{:?}", place.ids());
}

struct SetOnDrop<'s>(&'s AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What `hf cache rm` and the next download do to blobs and snapshots: removed one by one, and there again by renames.
fn take_away_and_bring_back(repository: &Path, elsewhere: &Path) {
    let files = files_below(&repository.join("blobs"));
    let links = files_below(&repository.join("snapshots"));
    fs::create_dir_all(elsewhere).unwrap();
    for (number, file) in files.iter().chain(&links).enumerate() {
        let kept = elsewhere.join(number.to_string());
        if file.is_symlink() {
            symlink(fs::read_link(file).unwrap(), &kept).unwrap();
            fs::remove_file(file).unwrap();
        } else {
            fs::copy(file, &kept).unwrap();
            fs::remove_file(file).unwrap();
        }
        thread::yield_now();
        fs::rename(kept, file).unwrap();
    }
}
