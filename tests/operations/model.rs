//! The expected result of each operation, kept in maps.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{files, is_tree};
use super::{Expected, Operation, Takes};

/// What a store must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<u8, Entry>,
    /// The content that each lease holds, whatever happens to its entry.
    pub(crate) leases: BTreeMap<u8, u8>,
    plan: Option<Plan>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) content: u8,
    pub(crate) retired: bool,
    pub(crate) pins: BTreeSet<u8>,
}

#[derive(Clone, Debug)]
struct Plan {
    takes: Takes,
    /// With the content that they had when the plan was made.
    entries: BTreeMap<u8, u8>,
}

/// What an operation returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// An error for which `is_not_found` holds, or `None`.
    NotFound,
    /// The content does not match the given digest.
    Refused,
    /// Content, and whether it is retired.
    Shown(u8, bool),
    Deleted(bool),
    /// It is pinned, so it stays.
    Pinned,
    /// This many entries were evicted.
    Collected(u64),
}

impl Model {
    pub(crate) fn apply(&mut self, operation: &Operation) -> Answer {
        match *operation {
            Operation::Stage { id, content } => self.put(id, content, false),
            Operation::Put { digest: Expected::Wrong, .. } => Answer::Refused,
            Operation::Put { id, content, retired, .. } => self.put(id, content, retired),
            Operation::PutBack { id, retired } | Operation::SetState { id, retired } => {
                self.edit(id, |entry| entry.retired = retired)
            }
            Operation::Get { id } | Operation::Path { id } => match self.entries.get(&id) {
                Some(entry) => Answer::Shown(entry.content, entry.retired),
                None => Answer::NotFound,
            },
            Operation::Delete { id } if self.entries.get(&id).is_some_and(|entry| !entry.pins.is_empty()) => {
                Answer::Pinned
            }
            Operation::Delete { id } => Answer::Deleted(self.entries.remove(&id).is_some()),
            Operation::Pin { id, pin } => self.edit(id, |entry| entry.pins.extend([pin])),
            Operation::Unpin { id, pin } => self.edit(id, |entry| entry.pins.retain(|other| *other != pin)),
            Operation::Lease { id, lease } => match self.entries.get(&id) {
                Some(entry) => {
                    self.leases.insert(lease, entry.content);
                    Answer::Done
                }
                None => {
                    self.leases.remove(&lease);
                    Answer::NotFound
                }
            },
            Operation::Unlease { lease } => {
                self.leases.remove(&lease);
                Answer::Done
            }
            Operation::Plan { takes, .. } => {
                let due = self.entries.iter().filter(|(_, entry)| self.is_due(entry, takes));
                self.plan = Some(Plan { takes, entries: due.map(|(id, entry)| (*id, entry.content)).collect() });
                Answer::Done
            }
            Operation::Execute => self.execute(),
            Operation::AgeShards => Answer::Done,
        }
    }

    fn put(&mut self, id: u8, content: u8, retired: bool) -> Answer {
        let pins = self.entries.remove(&id).map(|old| old.pins).unwrap_or_default();
        self.entries.insert(id, Entry { content, retired, pins });
        Answer::Done
    }

    fn edit(&mut self, id: u8, edit: impl FnOnce(&mut Entry)) -> Answer {
        let Some(entry) = self.entries.get_mut(&id) else { return Answer::NotFound };
        edit(entry);
        Answer::Done
    }

    fn is_due(&self, entry: &Entry, takes: Takes) -> bool {
        // A lease of a file keeps its blob open, and a tree with an open file is in use, whoever has opened it.
        let is_open_in =
            |leased: u8| !is_tree(leased) && files(entry.content).iter().any(|file| file.1 == files(leased)[0].1);
        let is_leased = self.leases.values().any(|leased| *leased == entry.content || is_open_in(*leased));
        let is_meant = match takes {
            Takes::Nothing => false,
            Takes::Retired => entry.retired,
            Takes::Idle => true,
        };
        is_meant && entry.pins.is_empty() && !is_leased
    }

    fn execute(&mut self) -> Answer {
        // The plan is kept: executing it twice does nothing the second time.
        let Some(plan) = self.plan.clone() else { return Answer::Collected(0) };
        let is_taken = |id: &u8, content: &u8| {
            self.entries.get(id).is_some_and(|entry| entry.content == *content && self.is_due(entry, plan.takes))
        };
        let taken: Vec<u8> =
            plan.entries.iter().filter(|(id, content)| is_taken(id, content)).map(|(id, _)| *id).collect();
        taken.iter().for_each(|id| drop(self.entries.remove(id)));
        Answer::Collected(taken.len() as u64)
    }

    /// Whether a lease is on a file, so that its bytes can be mapped.
    pub(crate) fn maps(&self, lease: u8) -> bool {
        self.leases.get(&lease).is_some_and(|content| !is_tree(*content))
    }
}
