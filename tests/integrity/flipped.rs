//! One flipped byte: its group is named, and the repair reads nothing else from the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use catalog_core::{Digest, LocalSource, ReadAt, RepairOptions, RepairSource, Result};

use super::*;
use crate::common::assert_readable;

const SIZE: u64 = 100_000_000; // its last group is not full

/// A source that counts the bytes read from it.
struct Counted {
    inner: LocalSource,
    read_bytes: Arc<AtomicU64>,
}

struct CountedRead {
    inner: Box<dyn ReadAt>,
    read_bytes: Arc<AtomicU64>,
}

impl RepairSource for Counted {
    fn open(&self, digest: &Digest, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        let read_bytes = self.read_bytes.clone();
        Ok(self.inner.open(digest, path)?.map(|inner| Box::new(CountedRead { inner, read_bytes }) as Box<dyn ReadAt>))
    }
}

impl ReadAt for CountedRead {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.inner.read_exact_at(offset, buffer)
    }
}

fn offsets(size_bytes: u64) -> [u64; 5] {
    [
        0,              // the first byte
        GROUP - 1,      // just before the edge of a group
        GROUP,          // just behind it
        size_bytes / 2, // in a group in the middle
        size_bytes - 1, // in the last group
    ]
}

// Red when a group's value is computed without its offset (every group but the first is then bad), when damage is
// reported as a part of 8 MiB and not as a group, and when the whole blob is read from the source and not only the bad
// group.
#[test]
fn a_flipped_byte_is_named_by_its_group_and_repaired_by_reading_that_group() {
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(1, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    let backup = host.file("backup.gguf", &bytes);
    for offset in offsets(SIZE) {
        let group = group_of(offset, SIZE);
        rot(&blob(&catalog, &digest), |file| flip(file, offset));

        let report = check(&catalog, "m");
        assert_eq!(bad_ranges(&report), std::slice::from_ref(&group), "{offset}");
        assert!(report.bad[0].quarantined && report.bad[0].path.is_empty() && report.bad[0].digest == digest);
        assert!(catalog.resolve("m").unwrap_err().is_corrupt());
        // A check of the file in quarantine says the same.
        assert_eq!(bad_ranges(&check(&catalog, "m")), std::slice::from_ref(&group), "{offset}");

        let read_bytes = Arc::new(AtomicU64::new(0));
        let source = Counted { inner: LocalSource::new(&backup), read_bytes: read_bytes.clone() };
        let options = RepairOptions::default().with_from(vec![Arc::new(source)]);
        let repaired = catalog.repair("m", &options).unwrap();
        let length = group.end - group.start;
        assert_eq!(read_bytes.load(Ordering::Relaxed), length, "{offset}");
        assert_eq!((repaired.files, repaired.repaired_bytes, repaired.source_bytes), (1, length, length));
        assert_eq!(repaired.shown, ["m"]);

        assert!(fs::read(blob(&catalog, &digest)).unwrap() == bytes, "{offset}");
        assert_readable(&catalog, "m", &bytes);
        catalog.resolve("m").unwrap();
        assert!(passes(&check(&catalog, "m")));
        // The damaged file is kept. It is good where the next one will be bad, so remove it.
        let [kept] = quarantined(&catalog).try_into().unwrap();
        fs::remove_file(kept).unwrap();
    }
}

#[test]
fn the_command_says_the_same_with_its_exit_codes() {
    const SIZE: u64 = 3 * GROUP + 7;
    let host = Host::new();
    let catalog = catalog(&host);
    let bytes = noise(2, SIZE);
    let digest = add(&host, &catalog, "m", &bytes);
    let backup = host.file("backup.gguf", &bytes);
    for offset in offsets(SIZE) {
        let group = group_of(offset, SIZE);
        rot(&blob(&catalog, &digest), |file| flip(file, offset));
        let verified = run(&host, &["verify", "m"]);
        assert_eq!(verified.code, 4, "{}", verified.errors);
        let report = verified.object();
        assert_eq!(json_ranges(report), std::slice::from_ref(&group));
        assert_eq!((&report["outcome"], &report["quarantined"]), (&"fail".into(), &true.into()));
        assert_eq!(report["digest"], digest.to_string());
        assert!(verified.errors.contains("catalog repair m"), "{}", verified.errors);

        for verb in ["path", "lease"] {
            let refused = run(&host, &[verb, "m"]);
            assert_eq!((refused.code, refused.objects.len()), (4, 0), "{verb}: {}", refused.errors);
            assert!(refused.errors.contains("repair"), "{}", refused.errors);
        }

        let repaired = run(&host, &["repair", "m", "--from", backup.to_str().unwrap()]);
        assert_eq!(repaired.code, 0, "{}", repaired.errors);
        assert_eq!(repaired.object()["source_bytes"], group.end - group.start);
        assert_eq!(repaired.object()["repaired_bytes"], group.end - group.start);
        let path = run(&host, &["path", "m"]);
        assert_eq!(path.code, 0, "{}", path.errors);
        assert!(fs::read(path.object()["local_path"].as_str().unwrap()).unwrap() == bytes);
        assert!(fs::read(blob(&catalog, &digest)).unwrap() == bytes);
        let [kept] = quarantined(&catalog).try_into().unwrap();
        fs::remove_file(kept).unwrap();
    }
    let whole = run(&host, &["repair", "m"]);
    assert_eq!((whole.code, &whole.object()["repaired_files"]), (0, &0.into()), "there was nothing to repair");
}

// Red when neighbouring groups are reported one by one.
#[test]
fn damage_in_several_places_is_told_as_ranges() {
    const SIZE: u64 = 20 * GROUP; // in three parts, so that several threads find the damage
    let host = Host::new();
    let catalog = catalog(&host);
    let digest = add(&host, &catalog, "m", &noise(3, SIZE));
    rot(&blob(&catalog, &digest), |file| [18, 3, 7, 8, 9].iter().for_each(|number| flip(file, number * GROUP + 5)));
    let expected = [3 * GROUP..4 * GROUP, 7 * GROUP..10 * GROUP, 18 * GROUP..19 * GROUP];
    assert_eq!(bad_ranges(&check(&catalog, "m")), expected);
}
