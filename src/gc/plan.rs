//! Makes a plan: from facts to steps, without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::entries::EntryFacts;
use super::facts::{BlobFacts, Facts, TrashFacts};
use super::references::References;
use super::{GcAction, GcKept, GcPlan, GcPolicy, GcReason, GcStep};
use crate::sum::SumBytes;

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time in the future counts as now, so that nothing is removed because a clock was set back.
fn is_older_than(now_ms: u64, ms: u64, limit: Duration) -> bool {
    now_ms.saturating_sub(ms) >= millis(limit)
}

/// Returns why the policy evicts an entry whether or not there is room; `None` if it does not.
fn expiry(entry: EntryFacts<'_>, policy: &GcPolicy, now_ms: u64) -> Option<GcReason> {
    let is_past = |since_ms, limit: Option<Duration>| limit.is_some_and(|limit| is_older_than(now_ms, since_ms, limit));
    if entry.retired_ms().is_some_and(|since_ms| is_past(since_ms, policy.retired_after)) {
        return Some(GcReason::RetiredTooLong);
    }
    // A registered path has nothing to free.
    (entry.digest().is_some() && is_past(entry.idle_since_ms(now_ms), policy.max_idle)).then_some(GcReason::IdleTooLong)
}

/// Whether the entry was staged or used within the grace period.
fn is_young(entry: EntryFacts<'_>, policy: &GcPolicy, now_ms: u64) -> bool {
    !policy.grace.is_zero() && !is_older_than(now_ms, entry.used_ms(now_ms), policy.grace)
}

/// Whether an eviction planned for this reason is still due, given the entry's current state.
pub(crate) fn is_due(entry: EntryFacts<'_>, reason: &GcReason, policy: &GcPolicy, now_ms: u64) -> bool {
    entry.pin().is_none()
        && match reason {
            GcReason::RoomNeeded => !is_young(entry, policy, now_ms),
            _ => expiry(entry, policy, now_ms).is_some(),
        }
}

/// Returns why an entry is in use; `None` if it is not.
pub(crate) type UsedBy<'a> = dyn FnMut(EntryFacts<'_>) -> Option<GcReason> + 'a;

/// Decides what to remove. Calls `used_by` only for entries that would be evicted.
pub(crate) fn make_plan(facts: &Facts, policy: &GcPolicy, used_by: &mut UsedBy<'_>) -> GcPlan {
    let mut planner = Planner::new(facts, policy);
    planner.take_leftovers();
    planner.take_unreferenced();
    planner.take_expired(used_by);
    planner.make_room(used_by);
    planner.finish()
}

/// Number of bytes that the policy still demands in the current state.
pub(crate) fn shortfall(facts: &Facts, policy: &GcPolicy) -> u64 {
    Planner::new(facts, policy).missing_bytes()
}

struct Planner<'a> {
    facts: &'a Facts,
    policy: &'a GcPolicy,
    /// How many entries need each blob, not counting those to be evicted.
    references: References<'a>,
    evicted: BTreeSet<&'a str>,
    kept: BTreeMap<&'a str, GcKept>,
    steps: Vec<GcStep>,
    /// Blobs in `trash/` within their grace period, oldest first.
    young_trash: Vec<&'a TrashFacts>,
    used_bytes: u64,
    freed_bytes: u64,
}

impl<'a> Planner<'a> {
    fn new(facts: &'a Facts, policy: &'a GcPolicy) -> Self {
        let mut references = References::none(&facts.blobs);
        facts.entries.iter().flat_map(EntryFacts::blobs).for_each(|digest| references.add(digest));
        let blobs = facts.blobs.facts().map(|blob| blob.bytes);
        let trash = facts.trash.iter().map(|trash| trash.bytes);
        // They count as used because `freed_bytes` counts their removal; otherwise that removal would make room twice.
        let leftovers = facts.leftovers.iter().map(|(_, bytes)| *bytes);
        let partials = facts.partials.iter().map(|partial| partial.bytes);
        let used_bytes = blobs.chain(trash).chain(leftovers).chain(partials).chain([facts.other_bytes]).sum_bytes();
        Planner {
            facts,
            policy,
            references,
            evicted: BTreeSet::new(),
            kept: BTreeMap::new(),
            steps: Vec::new(),
            young_trash: Vec::new(),
            used_bytes,
            freed_bytes: 0,
        }
    }

    fn is_older_than(&self, ms: u64, limit: Duration) -> bool {
        is_older_than(self.facts.now_ms, ms, limit)
    }

    fn step(&mut self, action: GcAction, reason: GcReason, bytes: u64, at_once: bool) {
        self.steps.push(GcStep { action, reason, bytes, at_once });
        if at_once {
            self.freed_bytes = self.freed_bytes.saturating_add(bytes);
        }
    }

    fn take_leftovers(&mut self) {
        for (path, bytes) in &self.facts.leftovers {
            self.step(GcAction::RemoveLeftover { path: path.clone() }, GcReason::DeadOwner, *bytes, true);
        }
        // During its grace period, a process that stages the same file can resume it.
        for partial in &self.facts.partials {
            if self.is_older_than(partial.changed_ms, self.policy.grace) {
                let action = GcAction::RemoveLeftover { path: partial.path.clone() };
                self.step(action, GcReason::GraceOver, partial.bytes, true);
            }
        }
        for quarantined in &self.facts.quarantined {
            if self.policy.quarantine_after.is_some_and(|limit| self.is_older_than(quarantined.since_ms, limit)) {
                let action = GcAction::RemoveQuarantined { path: quarantined.path.clone() };
                self.step(action, GcReason::QuarantinedTooLong, quarantined.bytes, true);
            }
        }
        let mut trash: Vec<&TrashFacts> = self.facts.trash.iter().collect();
        trash.sort_by_key(|trash| trash.blob.trashed_ms);
        for trash in trash {
            if self.is_older_than(trash.blob.trashed_ms, self.policy.grace) {
                let action = GcAction::EmptyTrash { digest: trash.blob.digest };
                self.step(action, GcReason::GraceOver, trash.bytes, true);
            } else {
                self.young_trash.push(trash);
            }
        }
    }

    fn take_unreferenced(&mut self) {
        for view in self.facts.views.iter().filter(|view| !view.is_leased) {
            if self.is_older_than(view.changed_ms, self.policy.grace) {
                self.step(GcAction::RemoveView { path: view.path.clone() }, GcReason::Unreferenced, 0, true);
            }
        }
        let at_once = self.policy.grace.is_zero();
        for (digest, blob) in self.facts.blobs.iter() {
            if self.references.of(digest) == 0 && !self.facts.held.contains(digest) {
                let action = GcAction::RemoveBlob { digest: *digest };
                self.step(action, GcReason::Unreferenced, blob.bytes, at_once);
            }
        }
    }

    fn take_expired(&mut self, used_by: &mut UsedBy<'_>) {
        for entry in self.facts.entries.iter() {
            let Some(reason) = expiry(entry, self.policy, self.facts.now_ms) else { continue };
            match self.protection(entry, used_by) {
                Some(protection) => self.keep(entry, protection),
                None => self.evict(entry, reason, self.policy.grace.is_zero()),
            }
        }
    }

    /// What protects an entry from any policy.
    fn protection(&self, entry: EntryFacts<'_>, used_by: &mut UsedBy<'_>) -> Option<GcReason> {
        match entry.pin() {
            Some(name) => Some(GcReason::Pinned(name.to_owned())),
            None => used_by(entry),
        }
    }

    fn keep(&mut self, entry: EntryFacts<'a>, reason: GcReason) {
        self.kept.insert(entry.id, GcKept { id: entry.id.to_owned(), reason, bytes: entry.size_bytes() });
    }

    fn evict(&mut self, entry: EntryFacts<'a>, reason: GcReason, at_once: bool) {
        let mut bytes = entry.view_bytes();
        for digest in entry.blobs() {
            if self.references.release(digest) == 0 && !self.facts.held.contains(digest) {
                bytes = bytes.saturating_add(self.facts.blobs.get(digest).map_or(0, |blob| blob.bytes));
            }
        }
        self.evicted.insert(entry.id);
        let action = GcAction::EvictEntry { id: entry.id.to_owned(), digest: entry.digest().copied() };
        self.step(action, reason, bytes, at_once);
    }

    /// Number of bytes that the policy still demands, if what these steps put into `trash/` stays there.
    fn missing_bytes(&self) -> u64 {
        let over =
            self.policy.max_bytes.map_or(0, |max| self.used_bytes.saturating_sub(self.freed_bytes).saturating_sub(max));
        let short = self.facts.space.zip(self.policy.min_free).map_or(0, |(space, min_free)| {
            let free = space.available_bytes.saturating_add(self.freed_bytes);
            min_free.bytes_of(space.total_bytes).saturating_sub(free)
        });
        over.max(short)
    }

    /// Empties `trash/` first, then removes at once what these steps would put there, then evicts entries, least
    /// recently used first.
    fn make_room(&mut self, used_by: &mut UsedBy<'_>) {
        for trash in std::mem::take(&mut self.young_trash) {
            if self.missing_bytes() == 0 {
                return;
            }
            let action = GcAction::EmptyTrash { digest: trash.blob.digest };
            self.step(action, GcReason::RoomNeeded, trash.bytes, true);
        }
        let mut missing = self.missing_bytes();
        for step in self.steps.iter_mut().filter(|step| !step.at_once) {
            if missing == 0 {
                break;
            }
            step.at_once = true;
            missing = missing.saturating_sub(step.bytes);
            self.freed_bytes = self.freed_bytes.saturating_add(step.bytes);
        }
        if self.missing_bytes() > 0 {
            self.evict_least_recently_used(used_by);
        }
    }

    fn evict_least_recently_used(&mut self, used_by: &mut UsedBy<'_>) {
        let now_ms = self.facts.now_ms;
        let entries = &self.facts.entries;
        let is_candidate = |entry: EntryFacts<'_>| {
            entry.blobs().next().is_some() && !self.evicted.contains(entry.id) && !self.kept.contains_key(entry.id)
        };
        let mut candidates: Vec<usize> =
            (0..entries.len()).filter(|place| entries.get(*place).is_some_and(is_candidate)).collect();
        // Entries that share bytes with files outside come last. Retired ones come first: someone has declared them
        // unwanted.
        candidates.sort_unstable_by_key(|place| {
            entries.get(*place).map(|entry| {
                let is_here_alone = self.policy.pushed_first && !entry.is_pushed();
                let is_active = entry.retired_ms().is_none();
                (self.shares_outside(entry), is_here_alone, is_active, entry.used_ms(now_ms), entry.id)
            })
        });
        let first = self.steps.len();
        for entry in candidates.into_iter().filter_map(|place| entries.get(place)) {
            if self.missing_bytes() == 0 {
                break;
            }
            let protection = if self.is_worth_nothing(entry) {
                Some(GcReason::SharedOutside)
            } else if is_young(entry, self.policy, now_ms) {
                Some(GcReason::Young)
            } else {
                self.protection(entry, used_by)
            };
            match protection {
                Some(protection) => self.keep(entry, protection),
                None => self.evict(entry, GcReason::RoomNeeded, true),
            }
        }
        self.spare_what_frees_nothing(first);
    }

    /// The blobs that make up an entry's size.
    fn content(&self, entry: EntryFacts<'a>) -> impl Iterator<Item = &'a BlobFacts> {
        let content = entry.blobs().filter(move |digest| entry.manifest() != Some(*digest));
        content.filter_map(|digest| self.facts.blobs.get(digest))
    }

    fn shares_outside(&self, entry: EntryFacts<'a>) -> bool {
        self.content(entry).any(|blob| blob.shared_bytes > 0)
    }

    /// Whether files outside the store share all of its bytes.
    fn is_worth_nothing(&self, entry: EntryFacts<'a>) -> bool {
        entry.view_bytes() == 0 && self.shares_outside(entry) && self.content(entry).all(|blob| blob.bytes == 0)
    }

    /// Spares entries whose bytes are all needed by entries that stay: evicting them would free nothing.
    fn spare_what_frees_nothing(&mut self, first: usize) {
        let evicted = self.facts.entries.iter().filter(|entry| self.evicted.contains(entry.id));
        let by_id: BTreeMap<&str, EntryFacts<'a>> = evicted.map(|entry| (entry.id, entry)).collect();
        let evictions = self.steps.split_off(first);
        for step in evictions {
            let spared = match &step.action {
                GcAction::EvictEntry { id, .. } => by_id.get(id.as_str()).filter(|entry| self.frees_nothing(**entry)),
                _ => None,
            };
            let Some(entry) = spared.copied() else {
                self.steps.push(step);
                continue;
            };
            entry.blobs().for_each(|digest| self.references.add(digest));
            self.evicted.remove(entry.id);
            self.freed_bytes -= step.bytes;
            self.keep(entry, GcReason::Shared);
        }
    }

    fn frees_nothing(&self, entry: EntryFacts<'_>) -> bool {
        entry.view_bytes() == 0 && entry.blobs().all(|digest| self.references.of(digest) > 0)
    }

    fn finish(self) -> GcPlan {
        GcPlan {
            policy: self.policy.clone(),
            used_bytes: self.used_bytes,
            freed_bytes: self.freed_bytes,
            shortfall_bytes: self.missing_bytes(),
            kept: self.kept.into_values().collect(),
            steps: self.steps,
            shared_bytes: self.facts.blobs.facts().map(|blob| blob.shared_bytes).sum_bytes(),
            unreadable: self.facts.unreadable.clone(),
        }
    }
}
