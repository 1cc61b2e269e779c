//! Stores that are wrong in one way each, which show that the conformance suite notices.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use catalog_core::{CatalogEntry, CatalogStore, Error, LifecycleState, Result, check_id};

/// One way in which a store is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ListIsReversed,
    ListIgnoresCase,
    ListMissesTheLast,
    ListRepeats,
    GetFindsTheNeighbour,
    PutAppends,
    PutKeepsTheFirst,
    PutMerges,
    PutForgetsTheLifecycle,
    PutForgetsTheDigest,
    PutForgetsTheTime,
    PutForgetsThePath,
    PutTakesAnEmptyId,
    PutTakesControlCharacters,
    PutTakesLongIds,
    PutRejectsTheLongestId,
    PutRejectsDots,
    PutFailsWithTheWrongError,
    FailedPutRecords,
    FailedPutRemoves,
    SetStateCreates,
    SetStateNeverFails,
    SetStateFailsWithTheWrongError,
    SetStateForgetsTheDigest,
    SetStateForgetsTheTime,
    SetStateChangesAll,
    DeleteIsAlwaysTrue,
    DeleteIsAlwaysFalse,
    DeleteKeeps,
    DeleteRemovesAll,
    DeleteFailsWhenMissing,
    IdsAreLowerCased,
    IdsAreNormalised,
    IdsLoseTrailingDots,
    IdsLoseBlanks,
    IdsArePercentDecoded,
    IdsAreCut,
    IdsAreResolvedAsPaths,
    IdsAreJoinedWithBackslashes,
    IdsAreUnescaped,
    WritesAreLost,
    EntriesAreTorn,
    DeletesRace,
}
use Fault::*;

impl Fault {
    /// The key under which a store with this fault keeps an id.
    fn key(self, id: &str) -> String {
        match self {
            IdsAreLowerCased => id.to_lowercase(),
            IdsAreNormalised => id.replace("e\u{301}", "é"),
            IdsLoseTrailingDots => id.trim_end_matches('.').into(),
            IdsLoseBlanks => id.trim().into(),
            IdsArePercentDecoded => id.replace("%2e", ".").replace("%2f", "/"),
            IdsAreCut => id.chars().take(255).collect(),
            IdsAreResolvedAsPaths => {
                std::path::Path::new(id).components().collect::<std::path::PathBuf>().to_string_lossy().into()
            }
            IdsAreJoinedWithBackslashes => id.replace('/', "\\"),
            IdsAreUnescaped => id.replace("\\\\", "\\"),
            _ => id.into(),
        }
    }

    /// Whether a store with this fault accepts the id.
    fn takes(self, id: &str) -> bool {
        match self {
            PutTakesAnEmptyId if id.is_empty() => true,
            PutTakesControlCharacters if id.contains(char::is_control) => true,
            PutTakesLongIds if id.len() > 1024 => true,
            PutRejectsTheLongestId if id.len() == 1024 => false,
            PutRejectsDots if id.contains("..") => false,
            _ => !id.is_empty() && id.len() <= 1024 && !id.contains(char::is_control),
        }
    }
}

/// How long a racy store leaves its window open: long enough for another thread to run.
const WINDOW: Duration = Duration::from_millis(1);

/// A store that is correct except for its fault.
pub(super) struct Broken {
    fault: Fault,
    entries: Mutex<BTreeMap<String, CatalogEntry>>,
    appended: Mutex<Vec<CatalogEntry>>,
}

impl Broken {
    pub(super) fn new(fault: Fault) -> Self {
        Broken { fault, entries: Mutex::default(), appended: Mutex::default() }
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<String, CatalogEntry>) -> T) -> T {
        change(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn invalid(&self, id: &str) -> Error {
        match self.fault {
            PutFailsWithTheWrongError => self.missing(id),
            _ => check_id("").expect_err("it is empty"),
        }
    }

    fn missing(&self, id: &str) -> Error {
        match self.fault {
            SetStateFailsWithTheWrongError => check_id("").expect_err("it is empty"),
            _ => Error::not_found(id, "nowhere"),
        }
    }
}

impl CatalogStore for Broken {
    fn get(&self, id: &str) -> Result<Option<CatalogEntry>> {
        let key = self.fault.key(id);
        Ok(self.with(|entries| match self.fault {
            GetFindsTheNeighbour => entries.range(key..).next().map(|(_, entry)| entry.clone()),
            _ => entries.get(&key).cloned(),
        }))
    }

    fn put(&self, entry: &CatalogEntry) -> Result<()> {
        let (key, mut new) = (self.fault.key(&entry.id), entry.clone());
        if !self.fault.takes(&entry.id) {
            match self.fault {
                FailedPutRecords => self.with(|entries| entries.insert("half".into(), new)),
                FailedPutRemoves => self.with(|entries| entries.pop_first().map(|(_, entry)| entry)),
                _ => None,
            };
            return Err(self.invalid(&entry.id));
        }
        match self.fault {
            PutForgetsTheLifecycle => new.lifecycle = LifecycleState::Active,
            PutForgetsTheDigest => new.digest = None,
            PutForgetsTheTime => new.last_verified_ms = None,
            PutForgetsThePath => new.local_path = "models".into(),
            _ => {}
        }
        let old = match self.fault {
            PutKeepsTheFirst => self.with(|entries| Some(entries.entry(key).or_insert(new).clone())),
            PutMerges => self.with(|entries| {
                let old = entries.get(&key);
                new.digest = new.digest.or_else(|| old?.digest);
                entries.insert(key, new)
            }),
            WritesAreLost => {
                let mut copy = self.with(|entries| entries.clone());
                sleep(WINDOW);
                let old = copy.insert(key, new);
                self.with(|entries| *entries = copy);
                old
            }
            EntriesAreTorn => {
                let path = new.local_path.clone();
                self.with(|entries| entries.entry(key.clone()).or_insert_with(|| new.clone()).local_path = path);
                sleep(WINDOW);
                self.with(|entries| entries.insert(key, new))
            }
            _ => self.with(|entries| entries.insert(key, new)),
        };
        if self.fault == PutAppends {
            self.appended.lock().unwrap_or_else(PoisonError::into_inner).extend(old);
        }
        Ok(())
    }

    fn set_state(&self, id: &str, state: LifecycleState) -> Result<()> {
        let key = self.fault.key(id);
        self.with(|entries| {
            if self.fault == SetStateChangesAll {
                entries.values_mut().for_each(|entry| entry.lifecycle = state);
            }
            match (entries.get_mut(&key), self.fault) {
                (Some(entry), _) => {
                    entry.lifecycle = state;
                    match self.fault {
                        SetStateForgetsTheDigest => entry.digest = None,
                        SetStateForgetsTheTime => entry.last_verified_ms = None,
                        _ => {}
                    }
                }
                (None, SetStateNeverFails) => {}
                (None, SetStateCreates) => {
                    let new = CatalogEntry {
                        id: id.into(),
                        local_path: "models".into(),
                        lifecycle: state,
                        digest: None,
                        last_verified_ms: None,
                    };
                    entries.insert(key, new);
                    return Err(self.missing(id));
                }
                (None, _) => return Err(self.missing(id)),
            }
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<CatalogEntry>> {
        let mut listed: Vec<_> = self.with(|entries| entries.values().cloned().collect());
        listed.extend(self.appended.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        listed.sort_by(|a, b| a.id.cmp(&b.id));
        match self.fault {
            ListIsReversed => listed.reverse(),
            ListIgnoresCase => listed.sort_by_key(|entry| entry.id.to_lowercase()),
            ListMissesTheLast => drop(listed.pop()),
            ListRepeats => listed.extend(listed.last().cloned()),
            _ => {}
        }
        Ok(listed)
    }

    fn delete(&self, id: &str) -> Result<bool> {
        let key = self.fault.key(id);
        let found = self.with(|entries| entries.contains_key(&key));
        match self.fault {
            DeletesRace => sleep(WINDOW),
            DeleteKeeps => return Ok(found),
            DeleteRemovesAll => self.with(|entries| entries.clear()),
            DeleteFailsWhenMissing if !found => return Err(self.missing(id)),
            _ => {}
        }
        let removed = self.with(|entries| entries.remove(&key).is_some());
        Ok(match self.fault {
            DeleteIsAlwaysTrue => true,
            DeleteIsAlwaysFalse => false,
            DeletesRace | DeleteRemovesAll => found,
            _ => removed,
        })
    }
}
