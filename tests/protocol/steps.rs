//! The steps of a commit (stage, failed or not, and doctor's rebuild), of lease, and of the first half of remove.

use std::cell::Cell;

use super::model::*;

/// One step of one process. `Ok(false)`: the process has to wait.
pub(super) struct Step {
    pub(super) off: Off,
    pub(super) sessions: bool,
    pub(super) me: u8,
    pub(super) role: Role,
    /// The step that was really taken: a step that has nothing to do is merged with the next one.
    pub(super) did: Cell<Pc>,
}

impl Step {
    pub(super) fn run(&self, s: &mut State, p: &mut Process) -> Result<bool, String> {
        self.did.set(p.pc);
        match (p.pc, self.role) {
            (Pc::Done | Pc::Dead, _) => return Ok(false),
            (_, Role::Stage(id, content)) => return self.stage(s, p, id, content),
            (Pc::Begin | Pc::Gate | Pc::Store | Pc::Due | Pc::Show | Pc::Record | Pc::Finish, Role::Rebuild(id)) => {
                return self.rebuild(s, p, id);
            }
            (Pc::Record, Role::FailedStage(id, content)) => {
                // Its session ends with the files it has ingested; a sweep takes back what it has stored.
                s.drop_locks(self.me);
                s.ingest[usize::from(self.me)] = 0;
                let is_whole = s.record[usize::from(id)] == content + 1;
                p.stray_views[usize::from(id)] = if is_whole { 0 } else { bit(content) };
                let is_any = p.stray_blobs != 0 || p.stray_views != [0; IDS];
                (p.pc, p.at) = (if is_any { Pc::SweepGate } else { Pc::Done }, 0);
            }
            (
                Pc::Begin | Pc::LockSession | Pc::Ingest | Pc::Gate | Pc::Store | Pc::Restore | Pc::Publish | Pc::Show,
                Role::FailedStage(id, content),
            ) => return self.stage(s, p, id, content),
            (_, Role::Lease(id)) => return Ok(self.lease(s, p, id)),
            (Pc::Begin, Role::Remove(id)) => p.pc = if s.record[usize::from(id)] == 0 { Pc::Done } else { Pc::Gate },
            (Pc::Gate | Pc::Store, _) => return Ok(self.lock_for_commit(s, p, Pc::TakeOut)),
            (Pc::TakeOut, Role::Remove(id)) => {
                p.roots = s.record;
                p.root = std::mem::take(&mut s.record[usize::from(id)]);
                p.roots[usize::from(id)] = 0;
                s.store_shared &= !bit(self.me);
                p.pc = if p.root == 0 { Pc::Done } else { Pc::SweepGate };
            }
            (Pc::Begin, Role::Gc { evict, .. }) => self.plan(s, p, evict),
            _ => return Ok(self.sweep(s, p)),
        }
        Ok(true)
    }

    /// Waits for the store lock shared, behind any process that waits for it exclusive.
    pub(super) fn lock_for_commit(&self, s: &mut State, p: &mut Process, then: Pc) -> bool {
        if self.off == Off::StoreLock {
            (p.pc, p.at) = (then, 0);
        } else if p.pc == Pc::Gate {
            if s.gate_exclusive != 0 {
                return false;
            }
            s.gate_shared |= bit(self.me);
            p.pc = Pc::Store;
        } else {
            if s.store_exclusive != 0 {
                return false;
            }
            s.store_shared |= bit(self.me);
            s.gate_shared &= !bit(self.me);
            (p.pc, p.at) = (then, 0);
        }
        true
    }

    pub(super) fn stage(&self, s: &mut State, p: &mut Process, id: u8, content: u8) -> Result<bool, String> {
        let me = usize::from(self.me);
        let has_folder = |s: &State| match s.ingest[me] {
            0 => Err("the private folder of a live operation was removed".to_owned()),
            _ => Ok(()),
        };
        match p.pc {
            Pc::Begin if !self.sessions => {
                (s.ingest[me], s.session[me]) = (2, self.me + 1);
                p.pc = Pc::Gate;
            }
            Pc::Begin => {
                s.ingest[me] = 1;
                p.pc = Pc::LockSession;
            }
            // A collection took the folder for dead and locked or removed it: start again with another one.
            Pc::LockSession if s.session[me] != 0 || s.ingest[me] == 0 => p.pc = Pc::Begin,
            Pc::LockSession => {
                s.session[me] = self.me + 1;
                p.pc = Pc::Ingest;
            }
            Pc::Ingest => {
                has_folder(s)?;
                s.ingest[me] = 2;
                p.pc = Pc::Gate;
            }
            Pc::Gate | Pc::Store => return Ok(self.lock_for_commit(s, p, Pc::Restore)),
            Pc::Restore | Pc::Publish => {
                let Some(blob) = next(blobs(content), p.at) else { unreachable!("the last one leads to `Show`") };
                let at = usize::from(blob);
                if p.pc == Pc::Restore && s.trash[at] != 0 {
                    if s.blob[at] == 0 {
                        s.blob[at] = std::mem::take(&mut s.trash[at]);
                        s.trasher[at] = 0;
                    }
                    p.pc = Pc::Publish;
                    return Ok(true);
                }
                self.did.set(Pc::Publish);
                has_folder(s)?;
                if s.blob[at] == 0 {
                    s.blob[at] = 1 + 1 + self.me;
                    p.stray_blobs |= if matches!(self.role, Role::FailedStage(..)) { bit(blob) } else { 0 };
                }
                let more = next(blobs(content), blob + 1);
                (p.pc, p.at) = more.map_or((Pc::Show, 0), |blob| (Pc::Restore, blob));
            }
            Pc::Show => return self.show(s, p, id, content),
            Pc::Record => {
                s.record[usize::from(id)] = content + 1;
                p.pc = Pc::Finish;
            }
            _ => {
                s.drop_locks(self.me);
                s.ingest[me] = 0;
                p.pc = Pc::Done;
            }
        }
        Ok(true)
    }

    /// Doctor makes an entry's view again: a commit without blobs.
    fn rebuild(&self, s: &mut State, p: &mut Process, id: u8) -> Result<bool, String> {
        let record = s.record[usize::from(id)];
        match p.pc {
            Pc::Begin if record == 0 => p.pc = Pc::Done,
            Pc::Begin => {
                p.root = record;
                p.pc = Pc::Gate;
            }
            Pc::Gate | Pc::Store => return Ok(self.lock_for_commit(s, p, Pc::Due)),
            Pc::Due if self.off != Off::DueUnderLock && record != p.root => p.pc = Pc::Finish,
            Pc::Due => (p.pc, p.at) = (Pc::Show, 0),
            Pc::Show => return self.show(s, p, id, p.root - 1),
            Pc::Record => p.pc = Pc::Finish, // it says the same as before, or belongs to another by now
            _ => {
                s.drop_locks(self.me);
                p.pc = Pc::Done;
            }
        }
        Ok(true)
    }

    fn show(&self, s: &mut State, p: &mut Process, id: u8, content: u8) -> Result<bool, String> {
        let Some(file) = next(files(content), p.at) else { unreachable!("the last one leads to `Record`") };
        if s.blob[usize::from(file)] == 0 {
            return Err("a blob that a commit has found or published was taken from it".into());
        }
        s.view[view_of(id, content)] |= bit(file);
        (p.pc, p.at) = next(files(content), file + 1).map_or((Pc::Record, 0), |file| (Pc::Show, file));
        Ok(true)
    }

    pub(super) fn lease(&self, s: &mut State, p: &mut Process, id: u8) -> bool {
        let lock = usize::from(p.root.saturating_sub(1)) * INODES + usize::from(p.inode.saturating_sub(1));
        let record = s.record[usize::from(id)];
        // Drops the lock and starts again.
        let again = |s: &mut State, p: &mut Process| {
            s.drop_locks(self.me);
            *p = IDLE;
        };
        match p.pc {
            Pc::Begin if record == 0 => p.pc = Pc::Done,
            Pc::Begin => {
                p.root = record;
                p.pc = Pc::Open;
            }
            Pc::Open => {
                p.inode = s.blob[usize::from(p.root - 1)];
                if p.inode == 0 { *p = IDLE } else { p.pc = Pc::Flock }
            }
            Pc::Flock if s.exclusive[lock] != 0 => return false,
            Pc::Flock => {
                s.shared[lock] |= bit(self.me);
                p.pc = if self.off == Off::InodeCompared { Pc::RecordAgain } else { Pc::SameInode };
            }
            Pc::SameInode if s.blob[usize::from(p.root - 1)] != p.inode => again(s, p),
            Pc::SameInode => p.pc = Pc::RecordAgain,
            Pc::RecordAgain if self.off != Off::RecordReadAgain && record != p.root => again(s, p),
            Pc::RecordAgain => p.pc = Pc::IsThere,
            // For a tree, only its folder has to exist.
            Pc::IsThere if s.view[view_of(id, p.root - 1)] == 0 => again(s, p),
            Pc::IsThere => p.pc = Pc::Held,
            _ => {
                s.drop_locks(self.me);
                p.pc = Pc::Done;
            }
        }
        true
    }
}
