//! Operations on a store with two handles, and their expected results. Shared by `fuzz/fuzz_targets/operations.rs`, the
//! replay of its corpus, and `tests/state_machine.rs`.
//!
//! [`Model`] says what each operation returns and which entries exist afterwards; [`Stores`] executes it on a root.
//!
//! Red when a handle keeps what it has read of a shard without checking whether the shard has changed
//! (`Index::cached`), when an eviction is not checked again before it is executed (`Run::evict`), or when a sweep does
//! not know the files of leased trees (`Store::leased_orphans`).
#![allow(dead_code)] // each user needs some of it
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod content;
mod model;
mod stores;

pub(crate) use content::CONTENTS;
pub(crate) use model::{Answer, Model};
pub(crate) use stores::Stores;

/// Few, so that most operations meet an entry. The first two are in the same shard.
pub(crate) const IDS: [&str; 5] = ["d", "j", "hf:org/repo", "..", "e\u{301}"];
pub(crate) const LEASES: u8 = 2;
pub(crate) const PINS: u8 = 2;

/// One call. Ids, contents, leases and pins are numbers.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// `stage` of a file or tree that was just written; each id always has the same path.
    Stage {
        id: u8,
        content: u8,
    },
    /// `put` of the same, with or without a digest, which may be wrong.
    Put {
        id: u8,
        content: u8,
        retired: bool,
        digest: Expected,
    },
    /// `put` of what `get` returned, with this lifecycle.
    PutBack {
        id: u8,
        retired: bool,
    },
    Get {
        id: u8,
    },
    /// `resolve`, like the command `path`.
    Path {
        id: u8,
    },
    SetState {
        id: u8,
        retired: bool,
    },
    Delete {
        id: u8,
    },
    Pin {
        id: u8,
        pin: u8,
    },
    Unpin {
        id: u8,
        pin: u8,
    },
    /// Replaces the lease with this number, if there is one.
    Lease {
        id: u8,
        lease: u8,
    },
    Unlease {
        lease: u8,
    },
    /// `plan_gc`; replaces an earlier plan.
    Plan {
        takes: Takes,
        at_once: bool,
    },
    /// `execute_gc` of the current plan, however old it is.
    Execute,
    /// Makes the shards so old that the caches trust them, as in a restored or moved root.
    AgeShards,
}

/// The digest that a `put` gives for the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    Right,
    Wrong,
}

/// Which entries a plan takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Retired,
    Idle,
}

/// The entry point of fuzzing: three bytes are an operation, and the highest bit of the first one chooses the handle.
/// Returns whether there was an operation.
pub(crate) fn fuzz_operations(bytes: &[u8]) -> bool {
    const AT_MOST: usize = 48;
    let steps: Vec<_> =
        bytes.chunks_exact(3).take(AT_MOST).map(|step| (usize::from(step[0] >> 7), decode(step))).collect();
    if steps.is_empty() {
        return false;
    }
    let mut stores = Stores::new();
    let mut model = Model::default();
    for (handle, operation) in &steps {
        let expected = model.apply(operation);
        let answer = stores.apply(*handle, operation);
        assert_eq!(answer, expected, "{operation:?} through handle {handle}, of {steps:?}");
    }
    stores.check(&model);
    stores.finish(&model);
    true
}

fn decode(step: &[u8]) -> Operation {
    let id = step[1] % IDS.len() as u8;
    let (retired, pin, lease) = (step[2] & 1 == 1, step[2] % PINS, step[2] % LEASES);
    let content = step[2] % CONTENTS;
    match step[0] & 0x0f {
        0 | 1 => Operation::Stage { id, content },
        2 | 3 => {
            let digest = [Expected::Nothing, Expected::Right, Expected::Wrong][usize::from(step[1] / 64) % 3];
            Operation::Put { id, content, retired: step[2] >= 128, digest }
        }
        4 => Operation::PutBack { id, retired },
        5 => Operation::Get { id },
        6 => Operation::Path { id },
        7 => Operation::SetState { id, retired },
        8 => Operation::Delete { id },
        9 => Operation::Pin { id, pin },
        10 => Operation::Unpin { id, pin },
        11 => Operation::Lease { id, lease },
        12 => Operation::Unlease { lease },
        13 => {
            let takes = [Takes::Nothing, Takes::Retired, Takes::Idle][usize::from(step[1]) % 3];
            Operation::Plan { takes, at_once: retired }
        }
        14 => Operation::Execute,
        _ => Operation::AgeShards,
    }
}
