//! A check leaves the page cache as it was: engines work on what is in memory.

use std::os::fd::AsRawFd as _;
use std::process::Command;

use super::*;
use crate::common::{has_tool, mount, skip};

const SIZE: u64 = 24 * MIB + 100; // more than one part

/// How many requests the device of a file has served.
fn requests(path: &Path) -> u64 {
    let device = fs::metadata(path).unwrap().dev();
    let counts = format!("/sys/dev/block/{}:{}/stat", rustix::fs::major(device), rustix::fs::minor(device));
    fs::read_to_string(counts).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

// Red when a check touches pages that nobody has asked for: the kernel then reads each of them alone.
#[test]
fn a_check_reads_in_large_requests() {
    const SIZE: u64 = 64 * MIB;
    let Some(mounted) = mount::image(200, &["mkfs.ext4", "-q"], "loop") else { return };
    let catalog = FsCatalog::new(mounted.path().join("root")).unwrap();
    let file = mounted.path().join("m.gguf");
    fs::write(&file, noise(73, SIZE)).unwrap();
    let blob = blob(&catalog, &stage(&catalog, &file, "m").unwrap().digest);
    forget(&blob);
    let before = requests(&blob);
    let report = catalog.verify("m", &VerifyOptions::default()).unwrap();
    assert!(matches!(report.outcome, VerificationOutcome::Pass { .. }), "{report:?}");
    let served = requests(&blob) - before;
    assert!((SIZE / (4 * MIB)..SIZE / (64 << 10)).contains(&served), "{served} requests");
}

/// How many bytes of a file are in memory.
fn resident_bytes(path: &Path) -> u64 {
    let output =
        Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn forget(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    assert!(file.as_raw_fd() >= 0);
}

// Red when the pages that were read are not dropped, and when pages that were in memory before are dropped too.
#[test]
fn what_was_not_in_memory_is_not_afterwards_and_what_was_stays() {
    if !has_tool("fincore") {
        return skip("fincore is not installed");
    }
    // Next to the test program: the usual temporary folder may be a file system in memory.
    let dir = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let host = Host { dir };
    let catalog = catalog(&host);
    let cold = add(&host, &catalog, "cold", &noise(70, SIZE));
    let warm = add(&host, &catalog, "warm", &noise(71, SIZE));
    let damaged = add(&host, &catalog, "damaged", &noise(72, SIZE));
    rot(&blob(&catalog, &damaged), |file| flip(file, 9 * MIB));
    let [cold, warm, damaged] = [cold, warm, damaged].map(|digest| blob(&catalog, &digest));
    for path in [&cold, &damaged] {
        forget(path);
        if resident_bytes(path) > 0 {
            return skip("this file system keeps everything in memory");
        }
    }
    fs::read(&warm).unwrap();
    let whole = resident_bytes(&warm);
    assert!(whole >= SIZE, "{whole}");

    for words in [["verify", "--all"].as_slice(), &["verify", "--all", "--sha256"]] {
        let ran = run(&host, words);
        assert_eq!((ran.code, ran.objects.len()), (4, 3), "{}", ran.errors);
        assert_eq!(resident_bytes(&cold), 0, "{words:?}");
        assert_eq!(resident_bytes(&warm), whole, "{words:?}");
        let [kept] = quarantined(&catalog).try_into().unwrap();
        assert_eq!(resident_bytes(&kept), 0, "{words:?}");
    }
}
