//! The steps of a collection, of the second half of remove, and of the sweep after a failed stage.

use super::model::*;
use super::steps::Step;

impl Step {
    /// Gathers the facts without a lock. Everything planned here is checked again when it is executed.
    pub(super) fn plan(&self, s: &State, p: &mut Process, evict: u8) {
        p.roots = s.record;
        let needed = needed(&p.roots);
        for content in 0..CONTENTS as u8 {
            let at = usize::from(content);
            p.stray_blobs |= if s.blob[at] != 0 && !has(needed, content) { bit(content) } else { 0 };
            p.old_trash |= if s.trash[at] != 0 { bit(content) } else { 0 };
        }
        for id in 0..IDS as u8 {
            let record = s.record[usize::from(id)];
            p.evict[usize::from(id)] = if has(evict, id) { record } else { 0 };
            let strays = (0..CONTENTS as u8).filter(|content| s.view[view_of(id, *content)] != 0);
            p.stray_views[usize::from(id)] =
                strays.filter(|content| record != content + 1).fold(0, |all, content| all | bit(content));
        }
        for owner in 0..PROCESSES as u8 {
            let is_dead = s.ingest[usize::from(owner)] != 0 && s.session[usize::from(owner)] == 0;
            p.leftovers |= if is_dead { bit(owner) } else { 0 };
        }
        p.pc = Pc::SweepGate;
    }

    pub(super) fn is_leased(&self, s: &State, content: u8) -> bool {
        self.off != Off::LeaseTest && s.lock_of(content).is_some_and(|lock| s.is_locked(lock, self.me))
    }

    /// `Sweep::block_leases`: prevents new leases.
    pub(super) fn claim(&self, s: &mut State, p: &Process, content: u8) -> bool {
        let Some(lock) = s.lock_of(content) else { return !has(p.orphans, content) };
        if self.is_leased(s, content) {
            return false;
        }
        s.exclusive[lock] = self.me + 1;
        true
    }

    /// `Sweep::remove_stray_view` of `views/<id>/<content>`. Returns whether there was anything to do. It keeps what it
    /// claims.
    pub(super) fn remove_view(&self, s: &mut State, p: &Process, id: u8, content: u8) -> bool {
        if s.view[view_of(id, content)] == 0 || p.roots[usize::from(id)] == content + 1 {
            return false;
        }
        let is_free = match self.off {
            Off::LeasedView => !has(p.orphans, content),
            _ => s.lock_of(content).is_none() || self.claim(s, p, content),
        };
        if is_free {
            s.view[view_of(id, content)] = 0;
        }
        is_free
    }

    /// `Sweep::remove_blob`. Returns whether there was anything to do.
    pub(super) fn remove_blob(&self, s: &mut State, p: &mut Process, content: u8) -> bool {
        if has(needed(&p.roots) | p.orphans, content) || s.lock_of(content).is_none() || !self.claim(s, p, content) {
            return false;
        }
        let at = usize::from(content);
        s.trash[at] = std::mem::take(&mut s.blob[at]);
        s.trasher[at] = self.me + 1;
        p.doomed |= bit(content);
        true
    }

    pub(super) fn sweep(&self, s: &mut State, p: &mut Process) -> bool {
        self.did.set(p.pc);
        let grace = matches!(self.role, Role::Gc { grace: true, .. });
        match p.pc {
            Pc::SweepGate | Pc::SweepStore if self.off == Off::StoreLock => {
                p.roots = s.record;
                (p.pc, p.at) = (Pc::Orphans, 0);
            }
            Pc::SweepGate if s.gate_shared != 0 || s.gate_exclusive != 0 => return false,
            Pc::SweepGate => {
                s.gate_exclusive = self.me + 1;
                p.pc = Pc::SweepStore;
            }
            Pc::SweepStore if s.store_shared != 0 || s.store_exclusive != 0 => return false,
            Pc::SweepStore => {
                s.store_exclusive = self.me + 1;
                s.gate_exclusive = 0;
                if self.off != Off::RootsReadAgain {
                    p.roots = s.record;
                }
                (p.pc, p.at) = (Pc::Orphans, 0);
            }
            Pc::Orphans => {
                let needed = needed(&p.roots);
                let is_orphan = |blob: &u8| s.blob[usize::from(*blob)] != 0 && !has(needed, *blob);
                if let Some(blob) = (p.at..CONTENTS as u8).find(is_orphan) {
                    if self.is_leased(s, blob) {
                        p.orphans |= if self.off == Off::LeasedManifest { bit(blob) } else { blobs(blob) };
                    }
                    p.at = blob + 1;
                } else {
                    p.at = 0;
                    p.pc = if matches!(self.role, Role::Remove(_)) { Pc::RemoveClaim } else { Pc::Leftover };
                    return self.sweep(s, p);
                }
            }
            Pc::Leftover => {
                let is_dead = |owner: &u8| {
                    let at = usize::from(*owner);
                    has(p.leftovers, *owner) && s.ingest[at] != 0 && s.session[at] == 0
                };
                let Some(owner) = (p.at..PROCESSES as u8).find(is_dead) else {
                    (p.pc, p.at) = (Pc::StrayViews, 0);
                    return self.sweep(s, p);
                };
                if self.off != Off::SessionHeld {
                    s.session[usize::from(owner)] = self.me + 1;
                }
                (p.pc, p.at) = (Pc::RemoveLeftover, owner);
            }
            Pc::RemoveLeftover => {
                s.ingest[usize::from(p.at)] = 0;
                if s.session[usize::from(p.at)] == self.me + 1 {
                    s.session[usize::from(p.at)] = 0;
                }
                (p.pc, p.at) = (Pc::Leftover, p.at + 1);
            }
            Pc::StrayViews => {
                for at in p.at..(IDS * CONTENTS) as u8 {
                    let (id, content) = (at / CONTENTS as u8, at % CONTENTS as u8);
                    let is_planned = !grace && has(p.stray_views[usize::from(id)], content);
                    if is_planned && self.remove_view(s, p, id, content) {
                        s.drop_claims(self.me); // `Sweep::unblock_leases` after each step
                        p.at = at + 1;
                        return true;
                    }
                }
                (p.pc, p.at) = (Pc::StrayBlobs, 0);
                return self.sweep(s, p);
            }
            Pc::StrayBlobs => {
                while let Some(blob) = next(p.stray_blobs, p.at) {
                    p.at = blob + 1;
                    if self.remove_blob(s, p, blob) {
                        s.drop_claims(self.me);
                        return true;
                    }
                }
                (p.pc, p.at) = (Pc::EvictClaim, 0);
                return self.sweep(s, p);
            }
            Pc::EvictClaim => {
                while usize::from(p.at) < IDS {
                    let id = usize::from(p.at);
                    p.at += 1;
                    if let Some(content) = p.evict[id].checked_sub(1) {
                        if !self.claim(s, p, content) {
                            p.evict[id] = 0;
                        }
                        return true;
                    }
                }
                (p.pc, p.at) = (Pc::EvictRecord, 0);
                return self.sweep(s, p);
            }
            Pc::EvictRecord => {
                while usize::from(p.at) < IDS {
                    let id = usize::from(p.at);
                    p.at += 1;
                    if p.evict[id] != 0 && p.evict[id] == s.record[id] {
                        s.record[id] = 0;
                        return true;
                    }
                    p.evict[id] = 0;
                }
                (p.pc, p.at) = (Pc::Views, 0);
                return self.sweep(s, p);
            }
            Pc::RemoveClaim => {
                let is_free = self.claim(s, p, p.root - 1);
                p.pc = if is_free { Pc::Views } else { Pc::Unlock };
            }
            Pc::Views => {
                let Some((id, content)) = self.now(p) else {
                    p.pc = Pc::Unlock;
                    return self.sweep(s, p);
                };
                if matches!(self.role, Role::Gc { .. }) && p.roots[usize::from(id)] == content + 1 {
                    p.roots[usize::from(id)] = 0; // `Roots::release`
                }
                // A leased view stays, and is checked only once.
                while usize::from(p.at) < CONTENTS {
                    p.at += 1;
                    if self.remove_view(s, p, id, p.at - 1) {
                        return true;
                    }
                }
                (p.pc, p.at) = (Pc::Blobs, 0);
                return self.sweep(s, p);
            }
            Pc::Blobs => {
                let Some((id, content)) = self.now(p) else { unreachable!("`Views` has just found one") };
                while let Some(blob) = next(blobs(content), p.at) {
                    p.at = blob + 1;
                    if self.remove_blob(s, p, blob) {
                        return true;
                    }
                }
                p.evict[usize::from(id)] = 0;
                (p.pc, p.at) = if matches!(self.role, Role::Remove(_)) { (Pc::Unlock, 0) } else { (Pc::Views, 0) };
                return self.sweep(s, p);
            }
            Pc::Unlock => {
                s.drop_locks(self.me);
                if grace {
                    (p.doomed, p.old_trash) = (0, 0);
                }
                (p.pc, p.at) = (Pc::Empty, 0);
            }
            Pc::Empty | Pc::EmptyOld => {
                let is_own = p.pc == Pc::Empty;
                while let Some(blob) = next(if is_own { p.doomed } else { p.old_trash }, p.at) {
                    let at = usize::from(blob);
                    p.at = blob + 1;
                    if s.trash[at] != 0 && (!is_own || s.trasher[at] == self.me + 1) {
                        (s.trash[at], s.trasher[at]) = (0, 0);
                        return true;
                    }
                }
                if is_own {
                    (p.pc, p.at) = (Pc::EmptyOld, 0);
                    return self.sweep(s, p);
                }
                let rounds = p.rounds.saturating_sub(1);
                *p = Process { pc: if rounds == 0 { Pc::Done } else { Pc::Begin }, rounds, ..IDLE };
            }
            other => unreachable!("{other:?} is no step of a sweep"),
        }
        true
    }

    /// The entry whose views and blobs are being removed.
    pub(super) fn now(&self, p: &Process) -> Option<(u8, u8)> {
        match self.role {
            Role::Remove(id) => Some((id, p.root.checked_sub(1)?)),
            _ => (0..IDS as u8).find_map(|id| Some((id, p.evict[usize::from(id)].checked_sub(1)?))),
        }
    }
}

pub(super) fn needed(roots: &[u8; IDS]) -> u8 {
    roots.iter().filter_map(|record| record.checked_sub(1)).fold(0, |all, content| all | blobs(content))
}
