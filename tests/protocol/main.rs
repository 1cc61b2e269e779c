//! A small model of the protocol in docs/concurrency.md, and every interleaving of its steps.
//!
//! Each step of the model is one that other processes can see: a lock taken, a name made or removed, a record read or
//! written. `code` in `model.rs` names the function in `src/` that a step stands for. All promises are checked after
//! every step (`state.rs`). A process may be killed before any of its steps; its locks are then gone, and its private
//! files stay. When all processes have ended, one more collection has to leave nothing behind.
//!
//! The explorer (`explore.rs`) is our own rather than `stateright`, which brings 40 crates, an HTTP server among them.
//! All that is needed here is a breadth-first search.
//!
//! Each protection has a switch. With all of them on, no scenario loses anything; with one off, a scenario does, and
//! the test prints the shortest way there (`cargo test --test protocol -- --nocapture`). Taking the same protection out
//! of the code turns the tests red that its switch names; see `Off`.
//!
//! Not in the model: the single flight (no process waits for `locks/fetch` while it holds another lock), shards (each
//! is changed under its own lock, in one step), quarantine, copies on file systems without hardlinks, power cuts.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod explore;
mod model;
mod state;
mod steps;
mod sweep;

use explore::{Found, explore};
use model::*;

#[track_caller]
fn assert_safe(scenario: &Scenario) {
    match explore(scenario) {
        Found::Nothing(states) => println!("{}: {states} states, no loss", scenario.name),
        Found::Loss { why, trace } => panic!("{why}\n{trace}"),
    }
}

/// Asserts that the scenario loses something without its protection, and prints the shortest way there.
#[track_caller]
fn assert_lost(scenario: &Scenario) {
    match explore(scenario) {
        Found::Nothing(states) => panic!("{}: {states} states, and no loss without {:?}", scenario.name, scenario.off),
        Found::Loss { why, trace } => println!("without {:?}, {why}\n{trace}", scenario.off),
    }
}

const GC: Role = Role::Gc { evict: 0, rounds: 1, grace: false };
const EVICT_ALL: Role = Role::Gc { evict: 0b11, rounds: 1, grace: false };
const EVICT_TO_TRASH: Role = Role::Gc { evict: 0b11, rounds: 1, grace: true };

/// A blob that exists is needed again while it is being removed.
fn found_again() -> Scenario {
    let roles = [Role::Stage(Y, A), Role::Remove(X), EVICT_ALL];
    Scenario::new("a blob is found again while its last entry goes", [Some(A), None], &roles)
}

fn stray_blob() -> Scenario {
    let roles = [Role::Stage(X, A), Role::Stage(Y, A), GC];
    let stray_blobs = blobs(A);
    Scenario { stray_blobs, ..Scenario::new("two stage a blob that nothing needs yet", [None, None], &roles) }
}

fn from_trash() -> Scenario {
    let roles = [Role::Stage(X, A), Role::Stage(Y, A), EVICT_ALL];
    Scenario { trash: blobs(A), kills: 2, ..Scenario::new("two stage a blob that is in trash", [None, None], &roles) }
}

fn to_trash_and_back() -> Scenario {
    let roles = [Role::Stage(X, AB), Role::Lease(X), EVICT_TO_TRASH, GC];
    Scenario::new("a tree is evicted to trash, and back", [Some(AB), None], &roles)
}

fn leased_and_staged_anew() -> Scenario {
    let roles = [Role::Lease(X), Role::Remove(X), Role::Stage(X, A), Role::Gc { evict: 0b01, rounds: 1, grace: false }];
    Scenario::new("an entry is leased, removed, staged anew and evicted", [Some(A), None], &roles)
}

fn leased_tree() -> Scenario {
    let roles = [Role::Lease(X), Role::Remove(X), EVICT_ALL];
    Scenario::new("a leased tree shares a file with an entry that goes", [Some(AB), Some(JUST_A)], &roles)
}

fn leased_view() -> Scenario {
    let roles = [Role::Lease(X), Role::Remove(X), GC];
    Scenario::new("two entries of one blob, the leased one goes", [Some(A), Some(A)], &roles)
}

fn leased_and_given_new_content() -> Scenario {
    let roles = [Role::Lease(X), Role::Stage(X, A), EVICT_ALL];
    Scenario::new("a leased tree is given new content", [Some(AB), None], &roles)
}

fn tree_staged_anew() -> Scenario {
    let roles = [Role::Lease(X), Role::Stage(X, AB), Role::Gc { evict: 0b01, rounds: 1, grace: false }];
    Scenario::new("a tree is evicted and staged anew while it is leased", [Some(AB), None], &roles)
}

fn two_gcs() -> Scenario {
    let roles = [EVICT_ALL, EVICT_ALL, Role::Stage(X, AB)];
    Scenario { kills: 2, ..Scenario::new("two gcs and a tree", [Some(AB), Some(JUST_A)], &roles) }
}

/// A stage fails and takes back what it has stored, which another process has found in the meantime.
fn stage_that_fails() -> Scenario {
    let roles = [Role::FailedStage(X, AB), Role::Stage(Y, JUST_A), GC];
    Scenario::new("a stage fails after another one has found its blob", [None, None], &roles)
}

fn stage_that_fails_beside_a_lease() -> Scenario {
    let roles = [Role::FailedStage(X, A), Role::Lease(X), Role::Remove(Y), GC];
    Scenario::new("a stage fails over a leased tree", [Some(AB), Some(A)], &roles)
}

fn rebuilt() -> Scenario {
    let roles = [Role::Rebuild(X), Role::Remove(X), Role::Stage(X, B), EVICT_ALL];
    Scenario::new("a view is made anew while its entry goes", [Some(A), None], &roles)
}

fn sessions() -> Scenario {
    let roles = [Role::Stage(X, A), Role::Stage(Y, A), Role::Gc { evict: 0, rounds: 2, grace: false }];
    Scenario { sessions: true, ..Scenario::new("sessions begin while leftovers are removed", [None, None], &roles) }
}

#[test]
fn no_interleaving_loses_anything() {
    for scenario in [
        found_again(),
        stray_blob(),
        from_trash(),
        to_trash_and_back(),
        leased_and_staged_anew(),
        leased_tree(),
        leased_view(),
        leased_and_given_new_content(),
        tree_staged_anew(),
        two_gcs(),
        stage_that_fails(),
        stage_that_fails_beside_a_lease(),
        rebuilt(),
        sessions(),
    ] {
        assert_safe(&scenario);
    }
}

/// Every three processes on every two entries: eleven million states, half a minute with `--release`.
#[test]
#[ignore = "it takes minutes without --release: cargo test --release --test protocol -- --ignored --nocapture"]
fn no_three_processes_lose_anything() {
    let roles = [
        Role::Lease(X),
        Role::Lease(Y),
        Role::Remove(X),
        Role::Stage(X, A),
        Role::Stage(X, AB),
        Role::Stage(Y, JUST_A),
        EVICT_ALL,
        EVICT_TO_TRASH,
    ];
    let contents = [None, Some(A), Some(AB), Some(JUST_A)];
    let mut all = 0;
    for first in 0..roles.len() {
        for second in first..roles.len() {
            for third in second..roles.len() {
                for number in 0..contents.len() * contents.len() {
                    let records = [contents[number % contents.len()], contents[number / contents.len()]];
                    let roles = [roles[first], roles[second], roles[third]];
                    match explore(&Scenario::new("three processes", records, &roles)) {
                        Found::Nothing(states) => all += states,
                        Found::Loss { why, trace } => panic!("{why}, of {records:?}\n{trace}"),
                    }
                }
            }
        }
    }
    println!("{all} states, no loss");
}

#[test]
fn without_the_store_lock_a_blob_is_taken_from_a_commit() {
    assert_lost(&found_again().without(Off::StoreLock));
    assert_lost(&stray_blob().without(Off::StoreLock));
}

#[test]
fn without_reading_the_roots_again_a_new_entry_is_emptied() {
    assert_lost(&stray_blob().without(Off::RootsReadAgain));
}

#[test]
fn without_the_lease_test_a_leased_entry_is_evicted() {
    assert_lost(&leased_tree().without(Off::LeaseTest));
    assert_lost(&leased_view().without(Off::LeaseTest));
}

#[test]
fn without_comparing_inodes_a_lease_is_on_a_file_that_is_gone() {
    assert_lost(&leased_and_staged_anew().without(Off::InodeCompared));
}

#[test]
fn without_reading_the_record_again_a_lease_comes_too_late() {
    assert_lost(&leased_tree().without(Off::RecordReadAgain));
    assert_lost(&tree_staged_anew().without(Off::RecordReadAgain));
}

#[test]
fn without_reading_leased_manifests_a_leased_tree_loses_files() {
    assert_lost(&leased_tree().without(Off::LeasedManifest));
}

#[test]
fn without_asking_for_leases_on_needed_blobs_a_leased_view_goes() {
    assert_lost(&leased_view().without(Off::LeasedView));
}

#[test]
fn without_the_store_lock_a_stage_that_fails_takes_another_ones_blob() {
    assert_lost(&stage_that_fails().without(Off::StoreLock));
}

#[test]
fn without_reading_the_roots_again_a_stage_that_fails_takes_another_ones_blob() {
    assert_lost(&stage_that_fails().without(Off::RootsReadAgain));
}

#[test]
fn without_looking_under_the_lock_a_view_is_made_of_what_is_gone() {
    assert_lost(&rebuilt().without(Off::DueUnderLock));
}

#[test]
fn without_holding_a_dead_session_a_live_one_is_removed() {
    assert_lost(&sessions().without(Off::SessionHeld));
}
