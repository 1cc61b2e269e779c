//! A blob that its owner truncates while another user reads it.

use std::os::unix::process::ExitStatusExt as _;

use catalog_core::Digest;

use super::common::{blob_path, has_tool, skip, wait_until};
use super::*;

/// The reader waits after each read, before it hashes the bytes, so that the truncation falls into that time.
// Red when a check maps another user's blob: it ends with SIGBUS.
#[test]
fn a_blob_that_its_owner_cuts_ends_no_check() {
    if !has_tool("strace") {
        return skip("strace is not installed");
    }
    let Some(place) = Place::new(0o755) else { return };
    let bytes: Vec<u8> = (0..16 << 20).map(|at: u32| (at >> 12) as u8).collect();
    place.does(ANN, &["stage", &place.file("a.gguf", &bytes), "--id", "a"]);
    let blob = blob_path(&place.host.root(), &Digest::sha256_of(&bytes));
    // At this rate, the last part is read a second after the first.
    for args in ["verify a --sha256 --rate 8MB/s", "verify a --rate 8MB/s", "path a"] {
        fs::write(&blob, &bytes).unwrap(); // root can; the new time makes `path` read the blob
        let mut check = place.command_as(READER, "strace");
        check.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=madvise,pread64:delay_exit=300000"]);
        check.arg(place.host.command().get_program()).args(args.split(' ')).stderr(std::process::Stdio::null());
        let mut check = check.spawn().unwrap();
        let of_strace = format!("/proc/{0}/task/{0}/children", check.id());
        let has_opened = || {
            let children = fs::read_to_string(&of_strace).unwrap_or_default();
            let folders = children.split_whitespace().map(|child| format!("/proc/{child}/fd"));
            let mut all = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
            all.any(|one| fs::read_link(one.path()).is_ok_and(|path| path == blob))
        };
        wait_until("it reads the blob", || has_opened() || check.try_wait().unwrap().is_some());
        std::thread::sleep(std::time::Duration::from_millis(100));
        fs::File::options().write(true).open(&blob).unwrap().set_len(4096).unwrap();
        let status = check.wait().unwrap();
        assert_eq!(status.signal(), None, "{args:?}");
        // `path` has no rate. 3: it had read everything, and then the size differed; 0: it was faster.
        let expected: &[i32] = if args == "path a" { &[4, 3, 0] } else { &[4] };
        assert!(status.code().is_some_and(|code| expected.contains(&code)), "{args:?}: {status:?}");
    }
}

// Red when bytes that were read because mapping failed are read again because the blob is another user's.
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
    // If another thread's call interrupts a call in the log, its result is on a separate line.
    let answers = calls.lines().filter(|call| call.contains("pread64")).filter_map(|call| call.rsplit_once("= "));
    let read_bytes: usize = answers.map(|(_, bytes)| bytes.parse::<usize>().unwrap()).sum();
    assert_eq!(read_bytes, bytes.len(), "{calls}");
}
