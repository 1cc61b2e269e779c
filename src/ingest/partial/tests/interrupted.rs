//! Kills and power cuts.

use super::*;

/// Tries every length that a journal can have been cut to, with whole and torn records.
///
/// A killed process has written the bytes of every record; bytes without a record can be anything. Red when a group
/// without a record is believed, when recorded bytes are copied again, or when SHA-256 resumes from anywhere but its
/// last recorded state.
#[test]
fn after_a_kill_at_any_moment_only_what_is_not_recorded_is_read_again() {
    let bench = Bench::new();
    bench.leave_complete();
    let (journal, data) = (std::fs::read(bench.journal()).unwrap(), std::fs::read(bench.data()).unwrap());
    let identity = bench.identity();
    let records = journal.len() / journal::RECORD_BYTES;
    assert!(records > 22 && journal.len().is_multiple_of(journal::RECORD_BYTES));
    for whole in 0..=records {
        for torn in [0, 1 + whole % 63] {
            let length = (whole * journal::RECORD_BYTES + torn).min(journal.len());
            let cut = &journal[..length];
            let held: Vec<Option<_>> = journal::Content::read(cut, &identity, SIZE_BYTES as u64)
                .map_or_else(|| vec![None; from(0).len()], |content| content.values);
            // Bytes without a record may be partly written, or not at all.
            let mut left = data.clone();
            for (number, _) in held.iter().enumerate().filter(|(_, value)| value.is_none()) {
                let range = group_range(number, SIZE_BYTES as u64);
                left[range.start as usize..range.end as usize].fill(0xee);
            }
            // The published file is gone together with its partial.
            let folder = bench.root.absolute(&bench.what().folder());
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(JOURNAL), cut).unwrap();
            std::fs::write(folder.join(DATA), &left).unwrap();
            retell(&folder, &identity);
            let missing: Vec<u64> = (0..).zip(&held).filter(|(_, value)| value.is_none()).map(|(n, _)| n).collect();
            bench.assert_goes_on(&missing, &format!("{whole} records and {torn} bytes"));
        }
    }
}

/// Makes the journal belong to the file that is there now: it was written for another inode.
fn retell(folder: &Path, identity: &journal::Identity) {
    write_writer(&folder.join(JOURNAL), identity, writer_of(&folder.join(DATA)));
}

fn writer_of(data: &Path) -> journal::Writer {
    journal::Writer::of(&std::fs::File::open(data).unwrap()).unwrap().unwrap()
}

/// Makes the journal one from before a reboot.
fn start_anew(bench: &Bench) {
    write_writer(&bench.journal(), &bench.identity(), journal::Writer([7; 32]));
}

fn write_writer(journal: &Path, identity: &journal::Identity, writer: journal::Writer) {
    let mut text = std::fs::read(journal).unwrap();
    if let Some(second) = text.as_chunks_mut::<{ journal::RECORD_BYTES }>().0.get_mut(1) {
        *second = Fact::Writer(writer).encode(identity, 1);
    }
    std::fs::write(journal, text).unwrap();
}

/// Red when the journal is not cut behind its last valid record: once the bad one is overwritten, those behind it would
/// count again, and describe bytes that are not there.
#[test]
fn what_was_recorded_behind_a_bad_record_never_counts() {
    let bench = Bench::new();
    bench.leave_complete();
    let mut journal = std::fs::read(bench.journal()).unwrap();
    let fifth = journal.as_chunks::<{ journal::RECORD_BYTES }>().0.iter().position(|record| {
        record[0] == b'G' && record[8] == 5 // the number of the group
    });
    journal[fifth.unwrap() * journal::RECORD_BYTES + 20] ^= 1;
    std::fs::write(bench.journal(), journal).unwrap();
    for group in from(5) {
        damage(&bench.data(), group * MIB);
    }
    // Copy one chunk again, so that records overwrite the bad one.
    let session = Session::begin(&bench.root).unwrap();
    bench.ingest(&session, &bench.served(Fault::Broken(8 * MIB))).unwrap_err();
    bench.assert_goes_on(&from(8), "behind a bad record");
}

/// The machine rebooted: nothing was synced, so anything may be gone.
///
/// Red when the boot id is not compared: lost bytes would be hashed as they are and published. Red when a SHA-256 state
/// behind a lost group is believed.
#[test]
fn after_a_power_cut_each_group_is_held_against_its_chaining_value() {
    let last = from(0).len() as u64 - 1;
    for gone in [vec![], vec![0], vec![3], vec![15], vec![16], vec![last], vec![2, 3, 17], from(0)] {
        let bench = Bench::new();
        bench.leave_complete();
        start_anew(&bench);
        for group in &gone {
            damage(&bench.data(), group * MIB + 77);
        }
        bench.assert_goes_on(&gone, &format!("{gone:?} are gone"));
    }
}

/// The result of a group's check is recorded: a second interruption without a reboot costs no second check, and nothing
/// is believed that the check has not covered.
#[test]
fn what_was_checked_after_a_power_cut_is_believed_from_then_on() {
    let bench = Bench::new();
    bench.leave_complete();
    start_anew(&bench);
    damage(&bench.data(), 5 * MIB);
    damage(&bench.data(), 11 * MIB);
    let session = Session::begin(&bench.root).unwrap();
    bench.ingest(&session, &bench.served(Fault::Broken(11 * MIB))).unwrap_err();
    let text = std::fs::read(bench.journal()).unwrap();
    let content = journal::Content::read(text.as_slice(), &bench.identity(), SIZE_BYTES as u64).unwrap();
    assert_eq!(content.writer, writer_of(&bench.data()));
    assert!(content.values[5].is_some() && content.values[11].is_none());
    bench.assert_goes_on(&[11], "after a second interruption");
}

/// A root that was copied while a partial was filled has the journal, and perhaps not the bytes. An equal inode number
/// does not make a file the original: the number is reused once the original is gone.
#[test]
fn a_copy_of_a_partial_is_not_believed() {
    for gives_number_back in [false, true] {
        let bench = Bench::new();
        bench.leave_complete();
        let data = std::fs::read(bench.data()).unwrap();
        let other = bench.data().with_file_name("other");
        if gives_number_back {
            std::fs::remove_file(bench.data()).unwrap();
        }
        std::fs::write(&other, data).unwrap();
        std::fs::rename(other, bench.data()).unwrap();
        damage(&bench.data(), 9 * MIB);
        bench.assert_goes_on(&[9], "a copy");
    }
}

fn damage(data: &Path, at: u64) {
    let mut bytes = std::fs::read(data).unwrap();
    bytes[at as usize] ^= 1;
    // In place, so that it stays the same file.
    make_writable(data);
    let mut file = std::fs::File::options().write(true).open(data).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
}

fn make_writable(data: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The connection breaks repeatedly: each attempt resumes where the previous one ended.
#[test]
fn attempts_add_up() {
    let bench = Bench::new();
    let session = Session::begin(&bench.root).unwrap();
    let mut asked_bytes = 0;
    for at in [1, 5, 6, 13, 18] {
        let served = bench.served(Fault::Broken(at * MIB));
        bench.ingest(&session, &served).unwrap_err();
        asked_bytes += served.asked_bytes();
        assert_eq!(bench.root.names(Path::new(layout::PARTIALS)).unwrap().len(), 1);
    }
    let served = bench.served(Fault::Nothing);
    let sealed = bench.ingest(&session, &served).unwrap();
    assert_eq!(sealed.digest(), bench.digest());
    asked_bytes += served.asked_bytes();
    // Each failed attempt requested one chunk in vain.
    let chunk = crate::hash::CHUNK_BYTES as u64;
    assert!(asked_bytes <= SIZE_BYTES as u64 + 5 * chunk, "{asked_bytes}");
}
