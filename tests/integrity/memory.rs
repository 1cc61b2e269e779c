//! Memory does not grow with the size of a blob.

use std::process::Stdio;
use std::time::Duration;

use catalog_core::IngestMode;

use super::*;
use crate::common::{Running, mode_options, reference};

/// The highest that these lines of `/proc/PID/status` have said, in kB, until the process has ended.
fn peak_kb(mut running: Running, lines: [&str; 2]) -> ([u64; 2], bool) {
    let path = format!("/proc/{}/status", running.0.id());
    let mut peak = [0; 2];
    loop {
        if let Some(status) = running.0.try_wait().unwrap() {
            return (peak, status.success());
        }
        let status = fs::read_to_string(&path).unwrap_or_default();
        for (peak, name) in peak.iter_mut().zip(lines) {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kb = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            *peak = kb.unwrap_or(0).max(*peak);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

// Red when a blob is read into memory as a whole, and, for what is mapped, when it is mapped as a whole.
#[test]
fn a_check_of_a_large_blob_takes_little_memory() {
    let host = Host::new();
    let catalog = catalog(&host);
    // No disk is needed for it: nothing is written but its size. It is moved, so that it stays so.
    let size = 1 << 30;
    let file = host.path("sparse");
    File::create(&file).unwrap().set_len(size + 1).unwrap();
    catalog.stage(&reference(&file), &mode_options("m", IngestMode::Move)).unwrap();
    for words in [["verify", "m"].as_slice(), &["verify", "--sha256", "m"]] {
        let checking = host.command().args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (peak, passed) = peak_kb(Running(checking), ["RssAnon:", "VmRSS:"]);
        assert!(passed && peak[0] > 0, "{words:?}");
        assert!(peak[0] < 64 << 10, "{words:?}: {} kB of private memory", peak[0]);
        // A part of 8 MiB a thread; a whole file would be 1 GiB.
        assert!(peak[1] < 512 << 10, "{words:?}: {} kB with what is mapped", peak[1]);
    }
}
