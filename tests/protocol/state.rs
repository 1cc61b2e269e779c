//! What may follow a state, and what must hold in it.

use std::cell::Cell;

use super::model::*;
use super::steps::Step;

/// The next step of a process.
pub(super) enum Next {
    /// The new state, and what the process has done.
    To(State, Pc),
    /// The process has to wait for another.
    Blocked,
    Ended,
    /// This very step breaks the protocol.
    Broken(String, Pc),
}

impl State {
    pub(super) fn lock_of(&self, content: u8) -> Option<usize> {
        let inode = self.blob[usize::from(content)].checked_sub(1)?;
        Some(usize::from(content) * INODES + usize::from(inode))
    }

    pub(super) fn is_locked(&self, lock: usize, but_by: u8) -> bool {
        self.shared[lock] != 0 || !matches!(self.exclusive[lock], 0) && self.exclusive[lock] != but_by + 1
    }

    pub(super) fn drop_claims(&mut self, me: u8) {
        self.exclusive.iter_mut().filter(|holder| **holder == me + 1).for_each(|holder| *holder = 0);
    }

    /// What the kernel does when a process ends.
    pub(super) fn drop_locks(&mut self, me: u8) {
        self.drop_claims(me);
        self.shared.iter_mut().for_each(|holders| *holders &= !bit(me));
        self.session.iter_mut().filter(|holder| **holder == me + 1).for_each(|holder| *holder = 0);
        self.gate_shared &= !bit(me);
        self.store_shared &= !bit(me);
        for lock in [&mut self.gate_exclusive, &mut self.store_exclusive] {
            if *lock == me + 1 {
                *lock = 0;
            }
        }
    }

    pub(super) fn kill(&self, me: u8) -> Option<State> {
        let process = &self.processes[usize::from(me)];
        let begun = process.pc != Pc::Begin;
        if self.kills_left == 0 || !begun || matches!(process.pc, Pc::Done | Pc::Dead) {
            return None;
        }
        let mut state = self.clone();
        state.drop_locks(me);
        state.kills_left -= 1;
        state.processes[usize::from(me)] = Process { pc: Pc::Dead, ..IDLE };
        Some(state)
    }

    /// The next step of a process: each has at most one.
    pub(super) fn step(&self, scenario: &Scenario, me: u8, role: Role) -> Next {
        let mut state = self.clone();
        let step = Step { off: scenario.off, sessions: scenario.sessions, me, role, did: Cell::new(Pc::Begin) };
        let mut process = state.processes[usize::from(me)];
        match step.run(&mut state, &mut process) {
            Ok(true) => {
                if process.pc == Pc::Done {
                    process = Process { pc: Pc::Done, ..IDLE };
                }
                state.processes[usize::from(me)] = process;
                Next::To(state, step.did.get())
            }
            Ok(false) if matches!(process.pc, Pc::Done | Pc::Dead) => Next::Ended,
            Ok(false) => Next::Blocked,
            Err(why) => Next::Broken(why, step.did.get()),
        }
    }

    /// The promises that hold at every moment.
    pub(super) fn check(&self, roles: &[Role]) -> Result<(), String> {
        let is_whole = |id: u8, content: u8| {
            let mut needed = (0..CONTENTS as u8).filter(|blob| has(blobs(content), *blob));
            needed.all(|blob| self.blob[usize::from(blob)] != 0) && self.view[view_of(id, content)] == files(content)
        };
        for id in 0..IDS as u8 {
            if let Some(content) = self.record[usize::from(id)].checked_sub(1)
                && !is_whole(id, content)
            {
                return Err(format!(
                    "the entry {} is recorded, and not all of it is there",
                    ["x", "y"][usize::from(id)]
                ));
            }
        }
        for (process, role) in self.processes.iter().zip(roles) {
            if let (Pc::Held, Role::Lease(id)) = (process.pc, role)
                && !is_whole(*id, process.root - 1)
            {
                return Err("something was taken of what is leased".into());
            }
        }
        Ok(())
    }

    /// The promises that hold once every process has ended and one more collection has run.
    pub(super) fn check_end(&self) -> Result<(), String> {
        let needed = self.record.iter().filter_map(|record| record.checked_sub(1)).fold(0, |all, c| all | blobs(c));
        let is_debris = |content: u8| self.blob[usize::from(content)] != 0 && !has(needed, content);
        let strays = (0..IDS as u8).flat_map(|id| (0..CONTENTS as u8).map(move |content| (id, content)));
        let stray = |(id, content)| self.view[view_of(id, content)] != 0 && self.record[usize::from(id)] != content + 1;
        let left = [
            ("a private folder", self.ingest != [0; PROCESSES]),
            ("something in trash", self.trash != [0; CONTENTS]),
            ("a blob without a record", (0..CONTENTS as u8).any(is_debris)),
            ("a view without a record", strays.into_iter().any(stray)),
            ("a lock", self.gate_shared | self.gate_exclusive | self.store_shared | self.store_exclusive != 0),
            ("a claim", self.exclusive != [0; CONTENTS * INODES] || self.shared != [0; CONTENTS * INODES]),
        ];
        left.iter().find(|(_, is_left)| *is_left).map_or(Ok(()), |(what, _)| Err(format!("the last gc leaves {what}")))
    }
}
