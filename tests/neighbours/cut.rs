//! A blob that its owner cuts while another user reads it.

use std::os::unix::process::ExitStatusExt as _;

use catalog_core::Digest;

use super::common::{blob_path, has_tool, skip, wait_until};
use super::*;

// Red when a check maps a blob of another user: it ends with SIGBUS, since hashing takes longer than reading in.
#[test]
fn a_blob_that_its_owner_cuts_ends_no_check() {
    let Some(place) = Place::new(0o755) else { return };
    let bytes: Vec<u8> = (0..64 << 20).map(|at: u32| (at >> 12) as u8).collect();
    place.does(ANN, &["stage", &place.file("a.gguf", &bytes), "--id", "a"]);
    let blob = blob_path(&place.host.root(), &Digest::sha256_of(&bytes));
    let mut was_cut = false;
    for args in [&["verify", "a", "--sha256"][..], &["verify", "a"], &["path", "a"]] {
        for _ in 0..3 {
            fs::write(&blob, &bytes).unwrap(); // root can; its time is another one now, so that `path` reads it
            let mut verify = place.command_as(READER, place.host.command().get_program());
            let mut verify = verify.args(args).stderr(std::process::Stdio::null()).spawn().unwrap();
            let descriptors = format!("/proc/{}/fd", verify.id());
            let has_opened = || {
                let all = fs::read_dir(&descriptors).into_iter().flatten().flatten();
                all.filter_map(|one| fs::read_link(one.path()).ok()).any(|path| path == blob)
            };
            wait_until("it reads the blob", || has_opened() || verify.try_wait().unwrap().is_some());
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::File::options().write(true).open(&blob).unwrap().set_len(4096).unwrap();
            let status = verify.wait().unwrap();
            assert_eq!(status.signal(), None, "{args:?}");
            // 0: it was faster; 3: it had checked all, and then the file had another size.
            assert!([Some(4), Some(3), Some(0)].contains(&status.code()), "{args:?}: {status:?}");
            was_cut |= !status.success();
        }
    }
    assert!(was_cut, "each check was faster");
}

// Red when what was read since it cannot be mapped is read once more since it is another user's.
#[test]
fn a_blob_that_cannot_be_mapped_is_read_once() {
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let Some(place) = Place::new(0o755) else { return };
    let bytes: Vec<u8> = (0..9 << 20).map(|at: u32| (at >> 12) as u8).collect();
    place.does(ANN, &["stage", &place.file("a.gguf", &bytes), "--id", "a"]);
    let blob = blob_path(&place.host.root(), &Digest::sha256_of(&bytes));
    let log = place.file("log", "");
    set_mode(Path::new(&log), 0o666);
    let mut verify = place.command_as(READER, "strace");
    verify
        .args(["-f", "-qq", "-e", "trace=mmap,pread64", "-e", "inject=mmap:error=ENODEV", "-o", &log])
        .arg("-P")
        .arg(blob);
    run({
        verify.arg(place.host.command().get_program()).args(["verify", "a"]);
        verify
    });
    let calls = fs::read_to_string(log).unwrap();
    assert!(calls.contains("ENODEV"), "{calls}");
    // A call that is interrupted by another thread's has its answer on a line of its own.
    let answers = calls.lines().filter(|call| call.contains("pread64")).filter_map(|call| call.rsplit_once("= "));
    let read_bytes: usize = answers.map(|(_, bytes)| bytes.parse::<usize>().unwrap()).sum();
    assert_eq!(read_bytes, bytes.len(), "{calls}");
}
