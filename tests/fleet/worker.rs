//! The processes of the fleet: each plays its part at random until time is up, and logs what it did.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use catalog_core::{
    CatalogEntry, CatalogStore as _, Digest, Durability, FsCatalog, GcAction, GcPolicy, IngestMode, LifecycleState,
    Record, RemoveOptions, Result,
};
use serde::{Deserialize, Serialize};

use crate::common::{check_artifact, mode_options, options, reference};
use crate::log::{Log, Outcome, What, now_ns};
use crate::rng::Rng;

pub(crate) const ORDERS: &str = "CATALOG_FLEET_ORDERS";

/// A process's instructions, passed in the environment.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) until_ns: u64,
    pub(crate) budget_bytes: u64,
    pub(crate) sources: Vec<Source>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    Stager,
    Resolver,
    Pinner,
    Retirer,
    Remover,
    Collector,
    Lister,
}

/// A file or directory that never changes, and its digest.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
}

/// Ids that any process stages, retires, removes and evicts.
pub(crate) const POOL: usize = 30;
/// Ids that any process stages and no process removes. They are evicted unless a pinner holds them at the moment.
pub(crate) const PINNED_AT_TIMES: usize = 6;
/// Ids that are pinned before the fleet starts. Any process stages new content under them; they are never absent.
pub(crate) const KEPT: usize = 4;

pub(crate) fn kept(number: usize) -> String {
    format!("kept-{number}")
}

pub(crate) fn work(orders: Orders) {
    let log = Log::open(&orders.dir.join("logs").join(&orders.name));
    let rng = Rng::new(orders.seed, &orders.name);
    let catalog = FsCatalog::new(orders.dir.join("root")).unwrap();
    let parent = parent_id();
    let mut worker = Worker { catalog, log, rng, orders, parent, fresh: 0 };
    if worker.orders.role == Role::Pinner {
        worker.drop_old_pins();
    }
    while worker.has_time() {
        worker.step();
    }
}

struct Worker {
    catalog: FsCatalog,
    log: Log,
    rng: Rng,
    orders: Orders,
    parent: u32,
    fresh: u64,
}

impl Worker {
    fn has_time(&self) -> bool {
        now_ns() < self.orders.until_ns && parent_id() == self.parent
    }

    fn step(&mut self) {
        match self.orders.role {
            Role::Stager => self.stage_something(),
            Role::Resolver => self.resolve_something(),
            Role::Pinner => self.pin_something(),
            Role::Retirer => self.retire_something(),
            Role::Remover => self.remove_something(),
            Role::Collector => self.collect(),
            Role::Lister => self.look_around(),
        }
    }

    fn nap(&mut self, at_most_ms: u64) {
        sleep(Duration::from_millis(self.rng.below(at_most_ms)));
    }

    fn violation(&mut self, text: String) {
        self.log.write(What::Violation { text });
    }

    fn begin(&mut self, verb: &str, targets: &[(&str, Option<Digest>)]) {
        let targets = targets.iter().map(|(id, digest)| ((*id).to_owned(), digest.map(|d| d.to_string()))).collect();
        self.log.write(What::Begin { verb: verb.to_owned(), targets });
    }

    /// One logged operation on one id. Any error except "not found" and "busy" is a violation.
    fn act(&mut self, verb: &str, id: &str, run: impl FnOnce(&FsCatalog) -> Result<Outcome>) -> Outcome {
        self.begin(verb, &[(id, None)]);
        let outcome = outcome_of(run(&self.catalog));
        self.end(verb, &[id], vec![outcome.clone()]);
        outcome
    }

    fn end(&mut self, verb: &str, ids: &[&str], outcomes: Vec<Outcome>) {
        for (id, outcome) in ids.iter().zip(&outcomes) {
            if let Outcome::Failed(error) = outcome {
                self.violation(format!("{verb} {id}: {error}"));
            }
        }
        self.log.write(What::End { outcomes });
    }

    /// One operation that gives an id this content.
    fn put(&mut self, verb: &str, id: &str, digest: Digest, run: impl FnOnce(&FsCatalog) -> Result<Digest>) -> Outcome {
        self.begin(verb, &[(id, Some(digest))]);
        let outcome = put_outcome(digest, run(&self.catalog));
        self.end(verb, &[id], vec![outcome.clone()]);
        outcome
    }

    fn handle(&mut self) -> FsCatalog {
        let durability = if self.rng.below(10) == 0 { Durability::Full } else { Durability::Relaxed };
        self.catalog.clone().with_durability(durability)
    }

    fn source(&mut self) -> Source {
        self.rng.pick(&self.orders.sources).clone()
    }

    /// Any id that several processes work on.
    fn shared_id(&mut self) -> String {
        match self.rng.below(10) {
            0 => kept(self.rng.below(KEPT as u64) as usize),
            1 | 2 => self.pinned_id(),
            _ => self.pool_id(),
        }
    }

    fn pool_id(&mut self) -> String {
        format!("pool-{}", self.rng.below(POOL as u64))
    }

    fn pinned_id(&mut self) -> String {
        format!("pinned-{}", self.rng.below(PINNED_AT_TIMES as u64))
    }

    fn stage_something(&mut self) {
        match self.rng.below(10) {
            0..=3 => {
                let (id, source, catalog) = (self.shared_id(), self.source(), self.handle());
                self.put("stage", &id, source.digest, |_| {
                    catalog.stage(&reference(&source.path), &options(&id)).map(|receipt| receipt.digest)
                });
            }
            4 | 5 => self.stage_fresh(),
            6 => self.stage_batch(),
            7 => self.put_file(),
            _ => self.own_entry(),
        }
    }

    /// Stages content that was never there before, in each way.
    fn stage_fresh(&mut self) {
        let size = 1 << (10 + self.rng.below(9));
        let content = self.rng.bytes(size);
        let path = self.orders.dir.join("fresh").join(format!("{}-{}-{}", self.orders.name, now_ns(), self.fresh));
        self.fresh += 1;
        fs::write(&path, &content).unwrap();
        let modes = [IngestMode::Auto, IngestMode::Auto, IngestMode::Copy, IngestMode::Link, IngestMode::Move];
        let (id, catalog, mode) = (self.shared_id(), self.handle(), *self.rng.pick(&modes));
        self.put("stage", &id, Digest::sha256_of(&content), |_| {
            catalog.stage(&reference(&path), &mode_options(&id, mode)).map(|receipt| receipt.digest)
        });
        let _ = fs::remove_file(&path);
    }

    fn stage_batch(&mut self) {
        let mut ids: Vec<String> = (0..4).map(|_| self.pool_id()).collect();
        ids.sort();
        ids.dedup();
        let sources: Vec<Source> = ids.iter().map(|_| self.source()).collect();
        let targets: Vec<(&str, Option<Digest>)> =
            ids.iter().zip(&sources).map(|(id, source)| (id.as_str(), Some(source.digest))).collect();
        self.begin("stage", &targets);
        let items: Vec<_> =
            ids.iter().zip(&sources).map(|(id, source)| (reference(&source.path), options(id))).collect();
        let results = self.handle().stage_many(&items);
        let outcomes = results
            .into_iter()
            .zip(&sources)
            .map(|(result, source)| put_outcome(source.digest, result.map(|receipt| receipt.digest)))
            .collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        self.end("stage", &ids, outcomes);
    }

    fn put_file(&mut self) {
        let (id, source, catalog) = (self.shared_id(), self.source(), self.handle());
        let entry = CatalogEntry {
            id: id.clone(),
            local_path: source.path.clone(),
            lifecycle: LifecycleState::Active,
            digest: Some(source.digest),
            last_verified_ms: None,
        };
        self.put("put", &id, source.digest, |_| catalog.put(&entry).map(|()| source.digest));
    }

    /// The whole life of an entry that no other process changes: after each step it is what this process made it.
    fn own_entry(&mut self) {
        let id = format!("own-{}-{}", self.orders.name, self.rng.below(2));
        let mut staged = self.source();
        // A collection can evict the entry between staging and pinning.
        loop {
            if !self.has_time() {
                return;
            }
            let outcome = self.stage_own(&id, &staged);
            if outcome == Outcome::Busy {
                continue;
            }
            if self.act("pin", &id, |catalog| catalog.pin(&id, "own", None).map(|_| Outcome::Done)) == Outcome::Done {
                break;
            }
        }
        self.expect_content(&id, Some(staged.digest));
        if self.rng.below(2) == 0 {
            let next = self.source();
            if self.stage_own(&id, &next) == Outcome::Busy {
                return;
            }
            staged = next;
            self.expect_content(&id, Some(staged.digest));
        }
        if self.rng.below(3) == 0 {
            let state = LifecycleState::Retired;
            self.act("retire", &id, |catalog| catalog.set_state(&id, state).map(|()| Outcome::Done));
            self.expect_content(&id, Some(staged.digest));
        }
        if self.rng.below(3) > 0 && self.remove(&id) == Outcome::Removed {
            self.begin("get", &[(&id, None)]);
            match self.catalog.get(&id) {
                Ok(None) => {}
                other => self.violation(format!("{id} was removed by its only user, and get says {other:?}")),
            }
            self.log.write(What::End { outcomes: vec![Outcome::Done] });
        }
    }

    fn stage_own(&mut self, id: &str, source: &Source) -> Outcome {
        let catalog = self.handle();
        self.put("stage", id, source.digest, |_| {
            catalog.stage(&reference(&source.path), &options(id)).map(|receipt| receipt.digest)
        })
    }

    /// Checks that a pinned id is there and reads right, and has this content if `digest` is given.
    fn expect_content(&mut self, id: &str, digest: Option<Digest>) {
        self.begin("lease", &[(id, None)]);
        let outcome = match self.catalog.lease(id) {
            Ok(lease) => {
                if digest.is_some() && lease.entry().digest != digest {
                    let found = lease.entry().digest;
                    self.violation(format!("{id} should be {digest:?} and is {found:?}"));
                }
                self.check_record(lease.record(), "pinned and leased");
                Outcome::Done
            }
            Err(error) if error.is_busy() => Outcome::Busy,
            Err(error) => Outcome::Failed(format!("it is pinned, and {error}")),
        };
        self.end("lease", &[id], vec![outcome]);
    }

    fn check_record(&mut self, record: &Record, what: &str) {
        if let Err(reason) = check_artifact(self.catalog.root(), record) {
            let id = &record.entry.id;
            self.violation(format!("{id} is {what}, and {reason}"));
        }
    }

    fn resolve_something(&mut self) {
        let id = match self.rng.below(8) {
            0 => format!("own-stager-{}-{}", self.rng.below(4), self.rng.below(2)),
            _ => self.shared_id(),
        };
        if self.rng.below(3) == 0 {
            self.read_without_lease(&id);
        } else {
            self.read_with_lease(&id);
        }
    }

    fn read_with_lease(&mut self, id: &str) {
        self.begin("lease", &[(id, None)]);
        let outcome = match self.catalog.lease(id) {
            Ok(lease) => {
                let record = lease.record().clone();
                let path = &record.entry.local_path;
                let inode = |path: &Path| fs::metadata(path).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).ok();
                let before = inode(path);
                self.check_record(&record, "leased");
                if let (Ok(map), Some(digest)) = (lease.map(), record.entry.digest)
                    && Digest::sha256_of(&map) != digest
                {
                    self.violation(format!("{id} is leased, and its map has other bytes"));
                }
                match self.rng.below(40) {
                    0 => sleep(Duration::from_millis(1000 + self.rng.below(2000))),
                    1..=20 => self.nap(60),
                    _ => {}
                }
                self.check_record(&record, "leased for a while");
                if before.is_none() || inode(path) != before {
                    self.violation(format!("{id} is leased, and {} is another inode", path.display()));
                }
                drop(lease);
                Outcome::Done
            }
            Err(error) => outcome_of(Err(error)),
        };
        self.end("lease", &[id], vec![outcome]);
    }

    /// The entry may disappear at any moment; if its file can be opened, it has the right bytes.
    fn read_without_lease(&mut self, id: &str) {
        self.begin("resolve", &[(id, None)]);
        let outcome = match self.catalog.resolve(id) {
            Ok(record) => {
                if record.kind == catalog_core::ArtifactKind::File
                    && let Ok(bytes) = fs::read(&record.entry.local_path)
                    && Some(Digest::sha256_of(&bytes)) != record.entry.digest
                {
                    self.violation(format!("{id} was resolved and could be read, and has other bytes"));
                }
                Outcome::Done
            }
            // If there is no such entry, the id was parsed as a reference.
            Err(error) => outcome_of(Err(error)),
        };
        self.end("resolve", &[id], vec![outcome]);
    }

    /// Drops the pins of a killed process with this name.
    fn drop_old_pins(&mut self) {
        for number in 0..PINNED_AT_TIMES {
            let id = format!("pinned-{number}");
            self.unpin(&id);
        }
    }

    fn unpin(&mut self, id: &str) {
        let name = self.orders.name.clone();
        self.act("unpin", id, |catalog| catalog.unpin(id, Some(&name)).map(|_| Outcome::Done));
    }

    fn pin_something(&mut self) {
        if self.rng.below(3) == 0 {
            let id = kept(self.rng.below(KEPT as u64) as usize);
            self.expect_content(&id, None);
            return;
        }
        let (id, name, handle) = (self.pinned_id(), self.orders.name.clone(), self.handle());
        let lifetime = (self.rng.below(2) == 0).then_some(Duration::from_secs(600));
        let outcome = self.act("pin", &id, |_| handle.pin(&id, &name, lifetime).map(|_| Outcome::Done));
        if outcome == Outcome::Done {
            for _ in 0..self.rng.below(6) {
                self.nap(80);
                self.expect_content(&id, None);
            }
            self.unpin(&id);
        } else {
            self.nap(10);
        }
    }

    fn retire_something(&mut self) {
        let id = if self.rng.below(3) == 0 { self.pinned_id() } else { self.pool_id() };
        let state = if self.rng.below(3) == 0 { LifecycleState::Active } else { LifecycleState::Retired };
        let handle = self.handle();
        self.act("retire", &id, |_| handle.set_state(&id, state).map(|()| Outcome::Done));
        self.nap(30);
    }

    fn remove_something(&mut self) {
        let id = self.pool_id();
        self.remove(&id);
        self.nap(60);
    }

    fn remove(&mut self, id: &str) -> Outcome {
        let (handle, forced) = (self.handle(), RemoveOptions::default().with_force(true));
        self.act("remove", id, |_| {
            Ok(if handle.remove_with(id, &forced)?.is_some() { Outcome::Removed } else { Outcome::Absent })
        })
    }

    fn collect(&mut self) {
        let policy = GcPolicy::default()
            .with_max_bytes(Some(self.orders.budget_bytes + self.rng.below(2) * self.orders.budget_bytes))
            .with_retired_after((self.rng.below(2) == 0).then_some(Duration::ZERO))
            .with_grace(Duration::from_millis(if self.rng.below(3) == 0 { 300 } else { 0 }));
        let handle = self.handle();
        self.begin("gc", &[]);
        let outcome = match handle.plan_gc(&policy) {
            Ok(plan) => {
                let ids = plan.steps.iter().filter_map(|step| match &step.action {
                    GcAction::EvictEntry { id, .. } => Some(id.clone()),
                    _ => None,
                });
                self.log.write(What::Planned { ids: ids.collect() });
                outcome_of(handle.execute_gc(&plan).map(|_| Outcome::Done))
            }
            Err(error) => outcome_of(Err(error)),
        };
        self.end("gc", &["the store"], vec![outcome]);
        self.nap(60);
    }

    fn look_around(&mut self) {
        let outcome = self.act("list", "the store", |catalog| {
            let entries = catalog.list()?;
            let in_order = entries.windows(2).all(|pair| pair[0].id < pair[1].id);
            Ok(if in_order { Outcome::Done } else { Outcome::Failed("it is not in order".into()) })
        });
        if outcome == Outcome::Done {
            self.act("du", "the store", |catalog| catalog.disk_usage().map(|_| Outcome::Done));
        }
        self.nap(60);
    }
}

fn outcome_of(result: Result<Outcome>) -> Outcome {
    match result {
        Ok(outcome) => outcome,
        Err(error) if error.is_busy() => Outcome::Busy,
        Err(error) if error.is_not_found() => Outcome::Absent,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Bringing something in cannot end with "not found": everything it needs is outside the store.
fn put_outcome(expected: Digest, result: Result<Digest>) -> Outcome {
    match result {
        Ok(digest) if digest == expected => Outcome::Put(digest.to_string()),
        Ok(digest) => Outcome::Failed(format!("it is {digest} and not {expected}")),
        Err(error) if error.is_busy() => Outcome::Busy,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
