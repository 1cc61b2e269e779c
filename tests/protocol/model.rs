//! The parts of the model: contents, ids, processes and their steps, and everything that is on disk or locked.

/// Contents: two files, a tree of both, and a tree that shares the first of them. A set of contents is a mask.
pub(super) const A: u8 = 0;
pub(super) const B: u8 = 1;
pub(super) const AB: u8 = 2;
pub(super) const JUST_A: u8 = 3;
pub(super) const CONTENTS: usize = 4;

/// The files that a view of this content shows.
pub(super) fn files(content: u8) -> u8 {
    [bit(A), bit(B), bit(A) | bit(B), bit(A)][usize::from(content)]
}

/// The blobs that a record of this content needs: its files, and a tree's manifest.
pub(super) fn blobs(content: u8) -> u8 {
    files(content) | bit(content)
}

pub(super) fn bit(number: u8) -> u8 {
    1 << number
}

pub(super) fn has(mask: u8, number: u8) -> bool {
    mask & bit(number) != 0
}

/// The first member of a mask at or after `from`.
pub(super) fn next(mask: u8, from: u8) -> Option<u8> {
    (from..8).find(|number| has(mask, *number))
}

/// Ids.
pub(super) const X: u8 = 0;
pub(super) const Y: u8 = 1;
pub(super) const IDS: usize = 2;

pub(super) const PROCESSES: usize = 4;
/// The inodes of each content: the initial one, and one that each process can bring.
pub(super) const INODES: usize = 1 + PROCESSES;

/// The protections of the protocol. Each can be taken out alone; its comment names the test of the real code that is
/// then red.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Off {
    Nothing,
    /// `Shared::lock` and `Exclusive::lock`: `tests/leases.rs`,
    /// `nothing_is_collected_between_a_blob_that_is_found_and_its_record`.
    StoreLock,
    /// `Sweep::begin` uses the roots that the plan has seen, and does not read them again: `tests/leases.rs`,
    /// `what_was_staged_after_the_plan_stays`.
    RootsReadAgain,
    /// `blob::block_leases` takes leased blobs: `tests/leases.rs`, `a_lease_that_comes_after_the_plan_holds` and most
    /// others.
    LeaseTest,
    /// `lease::take` does not check that the name still leads to the inode that it has locked: `tests/leases.rs`,
    /// `a_lease_is_on_the_blob_that_is_there_when_it_is_given`.
    InodeCompared,
    /// `lease::lease` does not read the record again once it has the lock: `tests/leases.rs`,
    /// `a_lease_is_not_given_on_what_was_removed_while_it_was_waited_for`.
    RecordReadAgain,
    /// `Store::leased_orphans` does not read leased blobs as manifests: `tests/leases.rs`,
    /// `a_leased_tree_keeps_its_files_whatever_becomes_of_its_id_and_of_trees_that_share_them`.
    LeasedManifest,
    /// `Sweep::remove_stray_view` only keeps the views of leased blobs that no record needs: `tests/leases.rs`,
    /// `a_leased_view_stays_when_another_entry_has_the_same_bytes`.
    LeasedView,
    /// `Run::remove_leftover` does not hold the lock on a dead session's folder until the folder is gone:
    /// `src/fs/session.rs`, `nobody_begins_in_a_folder_that_is_taken_for_dead`.
    SessionHeld,
    /// `show_again` does not check under the lock that the entry is still the one it looked at:
    /// `src/repair/show_again.rs`, `an_entry_that_is_gone_by_then_is_not_shown`.
    DueUnderLock,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// `stage` of a content under an id.
    Stage(u8, u8),
    /// The same, but its record cannot be written, and one sweep takes back what it has stored.
    FailedStage(u8, u8),
    /// `doctor --repair` of an id's view.
    Rebuild(u8),
    /// `lease` of an id, then its drop.
    Lease(u8),
    /// `remove` of an id.
    Remove(u8),
    /// `plan_gc` and `execute_gc`, this many times, with a policy that evicts these ids. With a grace, stray views
    /// stay, and blobs stay in the trash.
    Gc { evict: u8, rounds: u8, grace: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pc {
    Begin,
    // stage, whether it fails or not; rebuild from `Gate` on
    LockSession,
    Ingest,
    // stage, and the first half of remove
    Gate,
    Store,
    // rebuild
    Due,
    // stage
    Restore,
    Publish,
    Show,
    Record,
    Finish,
    // lease
    Open,
    Flock,
    SameInode,
    RecordAgain,
    IsThere,
    Held,
    // the first half of remove
    TakeOut,
    // every sweep
    SweepGate,
    SweepStore,
    Orphans,
    // gc
    Leftover,
    RemoveLeftover,
    StrayViews,
    StrayBlobs,
    EvictClaim,
    EvictRecord,
    // remove
    RemoveClaim,
    // both
    Views,
    Blobs,
    Unlock,
    Empty,
    EmptyOld,
    // all
    Done,
    Dead,
}

/// The code that a step stands for.
pub(super) fn code(pc: Pc, role: Role) -> &'static str {
    match (pc, role) {
        (Pc::Begin, Role::Stage(..) | Role::FailedStage(..)) => "makes its folder (fs::Session::begin)",
        (Pc::Begin, Role::Lease(_)) => "reads the record (lease::lease)",
        (Pc::Begin, Role::Rebuild(_)) => "reads the record, checks its blobs (Doctor::rebuild_view)",
        (Pc::Begin, Role::Remove(_)) => "finds the record (gc::remove)",
        (Pc::Begin, Role::Gc { .. }) => "plans (gc::plan_gc)",
        (Pc::LockSession, _) => "locks its folder (fs::Session::begin)",
        (Pc::Ingest, _) => "ingests bytes (ingest::ingest_all)",
        (Pc::Gate | Pc::SweepGate, _) => "takes the gate (guard::lock_store)",
        (Pc::Store, _) => "takes the store shared (Shared::lock)",
        (Pc::Due, _) => "looks whether the entry is as it was (commit::attempt, show_again::is_as_looked_at)",
        (Pc::Restore, _) => "moves a blob back from trash (Shared::publish, remove::restore)",
        (Pc::Publish, _) => "publishes a blob, or finds it (Shared::publish)",
        (Pc::Show, _) => "shows a file (Shared::show)",
        (Pc::Record, Role::FailedStage(..)) => "cannot write the record, lets the store go (Commit::record)",
        (Pc::Record, _) => "writes the record (Shared::record)",
        (Pc::Finish, _) => "lets the store go and returns (store::commit)",
        (Pc::Open, _) => "opens the blob (lease::take)",
        (Pc::Flock, _) => "locks it shared (lease::take)",
        (Pc::SameInode, _) => "compares inodes (lease::take)",
        (Pc::RecordAgain, _) => "reads the record again (lease::lease)",
        (Pc::IsThere, _) => "looks for the view, and returns (Store::ensure_usable)",
        (Pc::Held, _) => "drops its lease (Lease)",
        (Pc::TakeOut, _) => "takes the record out, lets the store go (Store::edit)",
        (Pc::SweepStore, _) => "takes the store exclusive, reads the roots (Sweep::begin)",
        (Pc::Orphans, _) => "asks for a lease on a blob without a record (Store::leased_orphans)",
        (Pc::Leftover, _) => "looks whether a session is dead (Run::remove_leftover)",
        (Pc::RemoveLeftover, _) => "removes its folder (Run::remove_leftover)",
        (Pc::StrayViews, _) => "removes a view without a record (Sweep::remove_stray_view)",
        (Pc::StrayBlobs, _) => "puts a blob without a record into trash (Sweep::remove_blob)",
        (Pc::EvictClaim, _) => "keeps leases off an entry's root blob (Run::evict, Sweep::block_leases)",
        (Pc::EvictRecord, _) => "takes its record out (Run::evict, Sweep::record)",
        (Pc::RemoveClaim, _) => "keeps leases off the root blob (remove::reclaim, Sweep::block_leases)",
        (Pc::Views, _) => "removes a view of the entry (Sweep::remove_views)",
        (Pc::Blobs, _) => "puts a blob of the entry into trash (Sweep::remove_blob)",
        (Pc::Unlock, _) => "lets the blobs and the store go (Sweep::finish)",
        (Pc::Empty, _) => "removes for good what it has trashed (Sweep::finish, blob::empty_trash)",
        (Pc::EmptyOld, _) => "removes for good what was in trash (Run::empty_trash)",
        (Pc::Done | Pc::Dead, _) => "has ended",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) pc: Pc,
    /// The position in a loop.
    pub(super) at: u8,
    /// The leased inode, or the removed content, plus one.
    pub(super) root: u8,
    pub(super) inode: u8,
    /// The records as the sweep has read them, without those that it has removed.
    pub(super) roots: [u8; IDS],
    /// Leased contents without a record.
    pub(super) orphans: u8,
    /// Contents that this sweep has put into the trash.
    pub(super) doomed: u8,
    /// What the plan has seen: records to evict, blobs without a record, trash, sessions, views by id. For a stage that
    /// fails: the blobs that it has stored, and its view.
    pub(super) evict: [u8; IDS],
    pub(super) stray_blobs: u8,
    pub(super) old_trash: u8,
    pub(super) leftovers: u8,
    pub(super) stray_views: [u8; IDS],
    pub(super) rounds: u8,
}

pub(super) const IDLE: Process = Process {
    pc: Pc::Begin,
    at: 0,
    root: 0,
    inode: 0,
    roots: [0; IDS],
    orphans: 0,
    doomed: 0,
    evict: [0; IDS],
    stray_blobs: 0,
    old_trash: 0,
    leftovers: 0,
    stray_views: [0; IDS],
    rounds: 0,
};

/// Everything on disk and every lock. A number that may be missing is stored plus one; 0 means none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The inode that a blob's name refers to.
    pub(super) blob: [u8; CONTENTS],
    /// The inode in the trash, and the process that put it there, which stands for the time in its name.
    pub(super) trash: [u8; CONTENTS],
    pub(super) trasher: [u8; CONTENTS],
    /// Locks on the inodes of blobs: a mask of processes, and one process.
    pub(super) shared: [u8; CONTENTS * INODES],
    pub(super) exclusive: [u8; CONTENTS * INODES],
    /// The content that each id has.
    pub(super) record: [u8; IDS],
    /// The files that each id shows, of each content.
    pub(super) view: [u8; IDS * CONTENTS],
    /// The private folder of each process (none, empty, with files in it), and the process that has locked it.
    pub(super) ingest: [u8; PROCESSES],
    pub(super) session: [u8; PROCESSES],
    pub(super) gate_shared: u8,
    pub(super) gate_exclusive: u8,
    pub(super) store_shared: u8,
    pub(super) store_exclusive: u8,
    pub(super) kills_left: u8,
    pub(super) processes: [Process; PROCESSES],
}

pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) off: Off,
    pub(super) roles: Vec<Role>,
    pub(super) records: [Option<u8>; IDS],
    /// Blobs without a record.
    pub(super) stray_blobs: u8,
    pub(super) trash: u8,
    pub(super) kills: u8,
    /// Whether creating a session's folder takes separate steps.
    pub(super) sessions: bool,
}

impl Scenario {
    pub(super) fn new(name: &'static str, records: [Option<u8>; IDS], roles: &[Role]) -> Self {
        let roles = roles.to_vec();
        Scenario { name, off: Off::Nothing, roles, records, stray_blobs: 0, trash: 0, kills: 1, sessions: false }
    }

    pub(super) fn without(mut self, off: Off) -> Self {
        self.off = off;
        self
    }

    pub(super) fn start(&self) -> State {
        let mut state = State {
            blob: [0; CONTENTS],
            trash: [0; CONTENTS],
            trasher: [0; CONTENTS],
            shared: [0; CONTENTS * INODES],
            exclusive: [0; CONTENTS * INODES],
            record: [0; IDS],
            view: [0; IDS * CONTENTS],
            ingest: [0; PROCESSES],
            session: [0; PROCESSES],
            gate_shared: 0,
            gate_exclusive: 0,
            store_shared: 0,
            store_exclusive: 0,
            kills_left: self.kills,
            processes: [Process { pc: Pc::Done, ..IDLE }; PROCESSES],
        };
        for (process, role) in state.processes.iter_mut().zip(&self.roles) {
            let rounds = if let Role::Gc { rounds, .. } = role { *rounds } else { 0 };
            *process = Process { rounds, ..IDLE };
        }
        let mut here = self.stray_blobs;
        for (id, content) in self.records.iter().enumerate() {
            if let Some(content) = *content {
                state.record[id] = content + 1;
                state.view[view_of(id as u8, content)] = files(content);
                here |= blobs(content);
            }
        }
        for content in 0..CONTENTS as u8 {
            state.blob[usize::from(content)] = u8::from(has(here, content));
            state.trash[usize::from(content)] = u8::from(has(self.trash, content));
        }
        state
    }
}

pub(super) fn view_of(id: u8, content: u8) -> usize {
    usize::from(id) * CONTENTS + usize::from(content)
}
