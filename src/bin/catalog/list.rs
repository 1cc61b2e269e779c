//! `catalog list`: what is here.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use catalog_core::{ArtifactKind, Facts, FsCatalog, LifecycleState, Record, TrustState};
use jiff::Timestamp;

use crate::amount;
use crate::app::App;
use crate::args::{find_all, word};
use crate::complete;
use crate::facts;
use crate::failure::Outcome;
use crate::filter::Filter;
use crate::human;
use crate::json::Line;
use crate::pins::holds;
use crate::table::Column;
use crate::text::visible;

/// List the models that are here
///
/// Prints a line for each model, sorted by id. SIZE is what an engine sees; shared bytes are stored once. A narrow
/// terminal gets fewer columns, and long ids lose their middle. If the output is not a terminal, it is complete,
/// sizes are bytes, and times are UTC. With --quiet, it prints only the ids.
#[derive(clap::Args)]
#[command(visible_alias = "ls")]
#[command(after_help = "Examples:
  catalog list
  catalog list 'hf:org/*' --sort size --limit 10
  catalog list --filter 'size>1GB' --unused-for 30d
  catalog list --state retired -q | xargs -d '\\n' catalog remove
  catalog list --long --json | jq -r 'select(.exclusive_bytes > 1e10) | .id'")]
pub(crate) struct Args {
    /// Only these: ids, references, patterns such as 'hf:org/*', digests or the first digits of one, paths [default:
    /// all]
    #[arg(value_name = "ID|REF|PATTERN", add = complete::models())]
    models: Vec<String>,
    /// Only the models in this state
    #[arg(long, value_parser = word(&STATES, LifecycleState::as_str))]
    state: Option<LifecycleState>,
    /// Only those for which this holds, such as 'size>1GB'; may be given more than once
    ///
    /// Keys are size, files, used, created and verified (how long ago: 12h, 30d), state, trust, kind, pinned and
    /// damaged.
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Filter>,
    /// Only those not used for this long: 12h, 30d, 8w; a model that was never used counts from its creation
    #[arg(long, value_name = "TIME", value_parser = amount::duration)]
    unused_for: Option<Duration>,
    /// The order: id, size (the largest first), used or created (the latest first)
    #[arg(long, value_enum, value_name = "BY", default_value_t, hide_possible_values = true)]
    sort: Sort,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// No more than this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Add digests, files, pins, leases, and the bytes that only this model needs
    #[arg(short, long)]
    long: bool,
}

/// By what models are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    #[default]
    Id,
    Size,
    Used,
    Created,
}

const STATES: [(LifecycleState, &str); 2] =
    [(LifecycleState::Active, "In use or ready for use"), (LifecycleState::Retired, "On their way out")];

impl Args {
    pub(crate) fn run(mut self, app: &mut App) -> Outcome {
        let catalog = app.open()?;
        self.filter.extend(self.unused_for.map(Filter::unused_for));
        let needs_all = app.json() || (self.long && !app.is_quiet());
        let models = self.chosen(app, &catalog, needs_all)?;
        let records = || models.iter().filter_map(|model| model.record.as_deref());
        let more = if self.long { More::of(&catalog, records())? } else { More::default() };
        if app.json() {
            for record in records() {
                app.out.json(&Line::model_with(
                    record,
                    more.exclusive_bytes(record),
                    more.leases(record),
                    more.facts(record),
                ));
            }
        } else if app.is_quiet() {
            for model in &models {
                app.out.line(&*model.id);
            }
        } else if models.is_empty() {
            let (root, command) = (catalog.root().display(), app.command());
            app.note(&match self.has_conditions() {
                true => format!("no model matches; `{command} list` shows all"),
                false => format!("the catalog at {root} is empty; `{command} stage FILE` brings a model in"),
            });
        } else {
            // Each row is made twice, and has to be the same both times.
            let (is_terminal, now) = (app.out.is_terminal(), Timestamp::now());
            app.long_table(&self.columns(), models.iter().map(|model| model.row(&more, is_terminal, now)), 0);
        }
        Ok(())
    }

    fn chosen(&self, app: &App, catalog: &FsCatalog, needs_all: bool) -> Result<Vec<Model>, crate::failure::Failure> {
        let mut chosen = Vec::new();
        let mut take = |record: Record| {
            if self.state.is_none_or(|state| record.entry.lifecycle == state)
                && self.filter.iter().all(|filter| filter.matches(&record))
            {
                chosen.push(Model::of(record, needs_all));
            }
        };
        match self.models.as_slice() {
            [] => catalog.each_record(take)?,
            models => {
                for model in models {
                    find_all(catalog, app, model)?.into_iter().for_each(&mut take);
                }
            }
        }
        chosen.sort_by(|a, b| a.id.cmp(&b.id));
        chosen.dedup_by(|a, b| a.id == b.id);
        match self.sort {
            Sort::Id => {}
            Sort::Size => chosen.sort_by_key(|model| Reverse(model.size_bytes)),
            Sort::Used => chosen.sort_by_key(|model| Reverse(model.last_used_ms)),
            Sort::Created => chosen.sort_by_key(|model| Reverse(model.created_ms)),
        }
        if self.reverse {
            chosen.reverse();
        }
        chosen.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(chosen)
    }

    fn has_conditions(&self) -> bool {
        !self.models.is_empty() || self.state.is_some() || !self.filter.is_empty() || self.limit.is_some()
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            Column::text("ID", 0),
            Column::number("SIZE", 0),
            Column::text("STATE", 4),
            Column::text("TRUST", 2),
            Column::text("KIND", 5),
            Column::text("LAST USED", 1),
        ];
        if self.long {
            columns.extend(facts::COLUMNS);
            columns.extend([
                Column::number("EXCLUSIVE", 3),
                Column::number("LEASES", 4),
                Column::number("FILES", 6),
                Column::text("DIGEST", 7),
                Column::text("PINS", 3),
            ]);
        }
        columns
    }
}

/// What a line of the table needs of a model. A catalog may have a million, so this is small.
struct Model {
    id: Box<str>,
    size_bytes: u64,
    last_used_ms: Option<u64>,
    created_ms: u64,
    lifecycle: LifecycleState,
    /// `None`: it is damaged.
    trust: Option<TrustState>,
    kind: ArtifactKind,
    /// All that is known of it, if that is to be printed.
    record: Option<Box<Record>>,
}

impl Model {
    fn of(record: Record, with_record: bool) -> Self {
        Model {
            id: record.entry.id.as_str().into(),
            size_bytes: record.size_bytes,
            last_used_ms: record.last_used_ms,
            created_ms: record.created_ms,
            lifecycle: record.entry.lifecycle,
            trust: record.damaged_ms.is_none().then_some(record.trust),
            kind: record.kind,
            record: with_record.then(|| Box::new(record)),
        }
    }

    fn row(&self, more: &More, is_terminal: bool, now: Timestamp) -> Vec<String> {
        let shown = |text: &str| if is_terminal { visible(text).into_owned() } else { text.to_owned() };
        let size = |bytes: u64| if is_terminal { human::size(bytes) } else { bytes.to_string() };
        let used = |ms| if is_terminal { human::last_used(ms, now) } else { human::utc(ms) };
        let mut row = vec![
            shown(&self.id),
            size(self.size_bytes),
            self.lifecycle.as_str().to_owned(),
            self.trust.map_or("DAMAGED", TrustState::as_str).to_owned(),
            self.kind.as_str().to_owned(),
            self.last_used_ms.map_or_else(|| "never".to_owned(), used),
        ];
        if let Some(record) = &self.record {
            let pins = record.pins.iter().filter(|(_, pin)| holds(pin));
            let pins: Vec<_> = pins.map(|(name, _)| shown(name)).collect();
            let digest = record.entry.digest.map(|digest| match is_terminal {
                true => human::short_digest(&digest),
                false => digest.to_string(),
            });
            let none = || "-".to_owned();
            row.extend(facts::row(more.facts(record), is_terminal));
            row.extend([
                more.exclusive_bytes(record).map_or_else(none, size),
                more.leases(record).map_or_else(none, |leases| leases.to_string()),
                record.files.to_string(),
                digest.unwrap_or_else(none),
                if pins.is_empty() { none() } else { pins.join(",") },
            ]);
        }
        row
    }
}

/// What `--long` adds: it looks at every blob, at every process, and into the headers of the models.
#[derive(Default)]
struct More {
    is_known: bool,
    exclusive_bytes: BTreeMap<String, u64>,
    leases: BTreeMap<String, u64>,
    facts: BTreeMap<String, Facts>,
}

impl More {
    fn of<'r>(catalog: &FsCatalog, records: impl Iterator<Item = &'r Record>) -> catalog_core::Result<Self> {
        let usage = catalog.disk_usage()?.entries.into_iter();
        let exclusive_bytes = usage.map(|entry| (entry.id, entry.exclusive_bytes)).collect();
        let mut leases = BTreeMap::new();
        for id in catalog.leases()?.into_iter().filter_map(|holder| holder.id) {
            *leases.entry(id).or_default() += 1;
        }
        let known = records.filter_map(|record| Some((record.entry.id.clone(), facts::of(catalog, record)?)));
        Ok(More { is_known: true, exclusive_bytes, leases, facts: known.collect() })
    }

    fn exclusive_bytes(&self, record: &Record) -> Option<u64> {
        self.exclusive_bytes.get(&record.entry.id).copied()
    }

    fn facts(&self, record: &Record) -> Option<&Facts> {
        self.facts.get(&record.entry.id)
    }

    /// How many processes hold it.
    fn leases(&self, record: &Record) -> Option<u64> {
        self.is_known.then(|| self.leases.get(&record.entry.id).copied().unwrap_or(0))
    }
}
