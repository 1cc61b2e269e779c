//! One round of a commit, as far as it is possible under the lock: publishes the blobs of all units, then shows their
//! files. Names are made on all cores, since a batch makes tens of thousands of them.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::chores::{Chore, as_settled};
use super::commit::{Progress, Unit};
use super::guard::Part;
use super::{Shared, Store};
use crate::blob::{Published, Sealed};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{Meta, Session, current_user};
use crate::layout;
use crate::threads::{SHARE_FROM, cores, ready_for_rayon};
use crate::view::{Exhibit, Shown};

/// What is missing, or why a unit failed in this round.
pub(super) struct Round {
    pub(super) chores: Vec<(usize, Chore)>,
    /// Units that failed. If the lock was lost, they are tried again.
    pub(super) failed: Vec<(usize, Error)>,
}

/// Publishes and shows all open units, each on its own.
pub(super) fn publish_and_show(
    shared: &mut Shared<'_>,
    session: &Session<'_>,
    units: &mut [Unit<'_, '_>],
    progress: &mut [Progress],
    settled: &BTreeMap<Digest, Meta>,
    store: &Store,
) -> Round {
    let mut round = Round { chores: Vec::new(), failed: Vec::new() };
    let mut blobs = Vec::new();
    let mut works: Vec<Work<'_>> = Vec::new();
    for (number, (unit, progress)) in units.iter_mut().zip(progress).enumerate() {
        if progress.result.is_some() {
            continue;
        }
        progress.view = None;
        match (unit.is_due)() {
            Ok(true) => {}
            Ok(false) => {
                progress.result = Some(Ok(None));
                continue;
            }
            Err(error) => {
                round.failed.push((number, error));
                continue;
            }
        }
        blobs.extend(unit.blobs.iter_mut().enumerate().map(|(place, sealed)| (works.len(), place, sealed)));
        works.push(Work { number, exhibit: unit.exhibit, progress, chores: Vec::new(), failed: None });
    }
    for (work, place, digest, published) in publish(shared, blobs) {
        let Some(work) = works.get_mut(work) else { continue };
        if let Err(error) = published.and_then(|published| work.published(store, settled, place, digest, published)) {
            work.failed.get_or_insert(error);
        }
    }
    // A place of the user's own may be that of several units, and one at a time they see what the others have done.
    let (own, theirs): (Vec<_>, Vec<_>) = works
        .iter_mut()
        .filter(|work| work.failed.is_none() && work.chores.is_empty())
        .partition(|work| work.exhibit.is_some_and(|exhibit| exhibit.at.starts_with(layout::VIEWS)));
    on_all_cores(shared, own, |part, work| work.show(part, session, store));
    one_by_one(shared, theirs, |part, work| work.show(part, session, store));
    for Work { number, chores, failed, .. } in works {
        round.chores.extend(chores.into_iter().filter(|_| failed.is_none()).map(|chore| (number, chore)));
        round.failed.extend(failed.map(|error| (number, error)));
    }
    round
}

/// A unit in one round.
struct Work<'w> {
    number: usize,
    exhibit: Option<Exhibit<'w>>,
    progress: &'w mut Progress,
    chores: Vec<Chore>,
    failed: Option<Error>,
}

impl Work<'_> {
    /// Notes the outcome of publishing its blob with this number.
    fn published(
        &mut self,
        store: &Store,
        settled: &BTreeMap<Digest, Meta>,
        place: usize,
        digest: Digest,
        published: Published,
    ) -> Result<()> {
        match published {
            // Note the owner of the file that was judged, not of the file that has the name by now.
            Published::New { owner } => {
                self.progress.stored.insert(digest);
                self.progress.note_owner(store, owner);
            }
            Published::Existing { owner } => self.progress.note_owner(store, owner),
            Published::Doubtful => match as_settled(store, settled.get(&digest), &digest)? {
                Some(meta) => self.progress.note_owner(store, meta.owner),
                None => self.chores.push(Chore::Check(digest)),
            },
            Published::Unsynced => self.chores.push(Chore::Sync(place)),
        }
        Ok(())
    }

    fn show(&mut self, part: &mut Part<'_>, session: &Session<'_>, store: &Store) {
        let Some(exhibit) = &self.exhibit else { return };
        let Progress { judged, copies, tally, .. } = &mut *self.progress;
        match part.show(session, exhibit, judged, copies.as_mut(), tally) {
            Ok(Shown::Whole(view)) => {
                self.progress.view = Some(view);
                if self.progress.tally.made > 0 {
                    self.progress.note_owner(store, current_user());
                }
            }
            Ok(Shown::NeedsCopies) => self.chores.push(Chore::Copy),
            Ok(Shown::NeedsJudgement(subjects)) => self.chores.push(Chore::Judge(subjects)),
            Err(error) => self.failed = Some(error),
        }
    }
}

type PublishedBlob = (usize, usize, Digest, Result<Published>);

/// Publishes the blobs. Each comes with the numbers of its unit and of its place in it.
fn publish(shared: &mut Shared<'_>, blobs: Vec<(usize, usize, &mut Sealed<'_>)>) -> Vec<PublishedBlob> {
    // The second of two files with the same bytes has to find the stamp of the first, or it would be checked in full.
    let mut seen = BTreeSet::new();
    let (first, again): (Vec<_>, Vec<_>) = blobs.into_iter().partition(|(.., sealed)| seen.insert(sealed.digest()));
    let publish = |part: &mut Part<'_>, (unit, place, sealed): (usize, usize, &mut Sealed<'_>)| {
        (unit, place, sealed.digest(), part.publish(sealed))
    };
    let mut published = on_all_cores(shared, first, publish);
    published.extend(one_by_one(shared, again, publish));
    published
}

/// Does each piece of work, on all cores if there are many.
fn on_all_cores<T: Send, R: Send>(
    shared: &mut Shared<'_>,
    work: Vec<T>,
    each: impl Fn(&mut Part<'_>, T) -> R + Sync,
) -> Vec<R> {
    if work.len() < SHARE_FROM {
        return one_by_one(shared, work, each);
    }
    ready_for_rayon();
    let share = work.len().div_ceil(4 * cores());
    let guard = &*shared;
    let done: Vec<_> = work
        .into_par_iter()
        .with_min_len(share)
        .fold(
            || (Vec::new(), guard.part()),
            |(mut done, mut part), work| {
                done.push(each(&mut part, work));
                (done, part)
            },
        )
        .map(|(done, part)| (done, part.made()))
        .collect();
    done.into_iter()
        .flat_map(|(done, made)| {
            shared.take(made);
            done
        })
        .collect()
}

fn one_by_one<T, R>(shared: &mut Shared<'_>, work: Vec<T>, each: impl Fn(&mut Part<'_>, T) -> R) -> Vec<R> {
    let mut part = shared.part();
    let done = work.into_iter().map(|work| each(&mut part, work)).collect();
    let made = part.made();
    shared.take(made);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FsCatalog;
    use crate::blob::sealed;
    use crate::fs::Durability;

    // Red when files with the same bytes are published at the same time: the second finds a blob without a stamp, and
    // the whole batch begins another round to check it in full.
    #[test]
    fn files_with_the_same_bytes_need_no_check() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = FsCatalog::new(dir.path()).unwrap().with_durability(Durability::Relaxed);
        let store = catalog.store();
        let session = Session::begin(&store.root).unwrap();
        // Two cores that each begin a half come to the same bytes at the same time, again and again.
        const HALF: usize = 20 * SHARE_FROM;
        let bytes = |number: usize| (number % HALF).to_string().into_bytes();
        let ids: Vec<String> = (0..2 * HALF).map(|number| number.to_string()).collect();
        let mut blobs: Vec<_> =
            (0..ids.len()).map(|number| [sealed(&session, &bytes(number), Durability::Relaxed)]).collect();
        let unit = |(id, blobs)| Unit { id, blobs, exhibit: None, is_due: &|| Ok(true), record: None };
        let mut units: Vec<Unit<'_, '_>> =
            ids.iter().map(String::as_str).zip(blobs.iter_mut().map(|blobs| &mut blobs[..])).map(unit).collect();
        let mut progress: Vec<Progress> = units.iter().map(|_| Progress::default()).collect();
        let mut shared = Shared::lock(store).unwrap();
        let nothing = BTreeMap::new();
        let round = publish_and_show(&mut shared, &session, &mut units, &mut progress, &nothing, store);
        assert_eq!((round.chores.len(), round.failed.len()), (0, 0));
        assert_eq!(progress.iter().map(|progress| progress.stored.len()).sum::<usize>(), HALF);
    }
}
