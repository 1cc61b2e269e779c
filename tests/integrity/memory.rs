//! Memory does not grow with the size of a blob.

use std::process::Stdio;

use catalog_core::IngestMode;

use super::*;
use crate::common::memory::peak_kb;
use crate::common::{Running, mode_options, reference};

// Red when a whole blob is read into memory; and for mapped memory, when a whole blob is mapped.
#[test]
fn a_check_of_a_large_blob_takes_little_memory() {
    let host = Host::new();
    let catalog = catalog(&host);
    // This takes no disk space: only the size is set. The file is moved, so that it stays sparse.
    let size = 1 << 30;
    let file = host.path("sparse");
    File::create(&file).unwrap().set_len(size + 1).unwrap();
    catalog.stage(&reference(&file), &mode_options("m", IngestMode::Move)).unwrap();
    for words in [["verify", "m"].as_slice(), &["verify", "--sha256", "m"]] {
        let checking = host.command().args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (peak, status) = peak_kb(&mut Running(checking), ["RssAnon:", "VmRSS:"]);
        assert!(status.success() && peak[0] > 0, "{words:?}");
        assert!(peak[0] < 64 << 10, "{words:?}: {} kB of private memory", peak[0]);
        // Each thread maps a part of 8 MiB; the whole file would be 1 GiB.
        assert!(peak[1] < 512 << 10, "{words:?}: {} kB with what is mapped", peak[1]);
    }
}
