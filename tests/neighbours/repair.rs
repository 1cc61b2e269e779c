//! What `doctor --repair` does not touch, whoever runs it.

use std::os::unix::fs::MetadataExt as _;

use super::common::{blob_path, has_tool, mode_of, outboard_path, shard_path, skip};
use super::*;
use catalog_core::Digest;

const SECRET: &[u8] = b"a key";

/// A file of this user that nobody else can read.
fn secret(place: &Place, name: &str, owner: u32, mode: u32) -> PathBuf {
    let path = place.host.file(name, SECRET);
    set_mode(&path, mode);
    chown(&path, Some(owner), Some(owner)).unwrap();
    path
}

/// Runs the repair as the superuser.
fn repair(place: &Place) -> Output {
    place.host.command().args(["doctor", "--repair"]).output().unwrap()
}

// Red when doctor adds mode bits to another owner's file, to a blob whose bytes it has not checked, or to a lock file
// that has content or another name: each makes somebody's key public.
#[test]
fn somebodys_file_that_was_put_into_the_store_keeps_its_mode() {
    for of_root in [0o755, 0o2775] {
        let Some(place) = Place::new(of_root) else { return };
        place.does(ANN, &["stage", &place.file("a.gguf", "a"), "--id", "a"]);
        let root = place.host.root();
        let digest = Digest::sha256_of(b"what it is not");
        let its_own = Digest::sha256_of(SECRET);
        let shard = shard_path(&root, "an id");
        let places = [
            blob_path(&root, &digest),
            blob_path(&root, &its_own),
            outboard_path(&root, &its_own, "json"),
            root.join("locks/index/00"),
            root.join("locks/fetch/0123456789abcdef0123456789abcdef"),
            shard,
        ];
        for owner in [0, BOB] {
            for (is_link, mode) in [(true, 0o600), (false, 0o400)] {
                for at in &places {
                    // The superuser's own file is a good blob if it is named after the digest of its bytes.
                    if owner == 0 && at == &places[1] {
                        continue;
                    }
                    let secret = secret(&place, "secret", owner, mode);
                    let _ = fs::remove_file(at);
                    fs::create_dir_all(at.parent().unwrap()).unwrap();
                    let inode = fs::metadata(&secret).unwrap().ino();
                    if is_link { fs::hard_link(&secret, at) } else { fs::rename(&secret, at) }.unwrap();
                    repair(&place);
                    let holds = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.ino() == inode);
                    let mut kept = super::common::files_below(&root).into_iter().chain([secret]).filter(holds);
                    let kept = kept.next().unwrap_or_else(|| panic!("{} is gone", at.display()));
                    assert_eq!(mode_of(&kept) & 0o077, 0, "{of_root:o}, of {owner}: {}", at.display());
                    assert!(owner == 0 || mode_of(&kept) == mode, "{of_root:o}, of {owner}: {}", at.display());
                    assert_eq!(fs::read(&kept).unwrap(), SECRET);
                    let _ = fs::remove_file(at);
                }
            }
        }
    }
}

// Red when the advice does not name the user, or when the superuser makes the change.
#[test]
fn only_its_owner_opens_a_blob() {
    let Some(place) = Place::new(0o755) else { return };
    place.does(ANN, &["stage", &place.file("a.gguf", "a"), "--id", "a"]);
    let blob = blob_path(&place.host.root(), &Digest::sha256_of(b"a"));
    set_mode(&blob, 0o400);
    let told = repair(&place);
    let words = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(words.contains(&format!("as the user {ANN}")) && told.status.code() == Some(1), "{told:?}");
    assert_eq!(mode_of(&blob), 0o400);
    place.does(ANN, &["doctor", "--repair"]);
    assert_eq!(mode_of(&blob), 0o444);
    // Taking bits away harms nobody.
    set_mode(&blob, 0o644);
    repair(&place);
    assert_eq!(mode_of(&blob), 0o444);
}

// Red when the result of `chmod` is believed: FAT and some network file systems report success and do nothing.
#[test]
fn a_mode_that_the_file_system_does_not_take_is_not_said_to_be_set() {
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let host = Host::new();
    super::common::stage(&host.catalog(), &host.file("a.gguf", "a"), "a").unwrap();
    let blob = blob_path(&host.root(), &Digest::sha256_of(b"a"));
    set_mode(&blob, 0o644);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fchmod:retval=0"]);
    strace.arg(host.command().get_program()).args(["doctor", "--repair"]).env("CATALOG_ROOT", host.root());
    let told = strace.output().unwrap();
    let words = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(words.contains("not repaired") && !words.contains("it is 0444 now"), "{told:?}");
    assert_eq!(told.status.code(), Some(1));
}
