//! `catalog du`: what the models take, and what keeping them once saves.

use catalog_core::{DiskUsage, EntryUsage};
use serde::Serialize;

use crate::advice::with_root;
use crate::app::App;
use crate::failure::Outcome;
use crate::human;
use crate::json::Line;
use crate::table::{self, Column};

/// Show what the models take on disk, and what storing them once saves
///
/// On a terminal, it draws a bar for each of the largest models: only this model needs the full part, and removing
/// the model would free it; other models share the light part. Elsewhere it prints a table of all models and one of
/// the sums, in bytes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog du
  catalog du --all | less
  catalog du --json | jq -r 'select(.exclusive_bytes > 1e10) | .id'")]
pub(crate) struct Args {
    /// Show all models on a terminal, too
    #[arg(long)]
    all: bool,
}

/// What follows if a folder cannot be read.
pub(crate) const NOT_COUNTED: &str = "its bytes are not counted";

/// What fits a screen with the sums above it and the prompt below.
const ROWS: usize = 20;

/// The sums of `du`, in bytes on disk but for `logical_bytes`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Summary {
    /// All models, as engines see them.
    logical_bytes: u64,
    /// What the store takes for them.
    physical_bytes: u64,
    /// The part of that which files outside the store share: removing it frees nothing.
    shared_bytes: u64,
    /// What storing equal files once saves.
    saved_bytes: u64,
    /// Views that are copies, because they could not be links.
    copied_view_bytes: u64,
    /// What `gc` has taken and keeps for its grace.
    trash_bytes: u64,
    /// Damaged files.
    quarantine_bytes: u64,
    /// What is being brought in, or was left by a process that died.
    ingest_bytes: u64,
    /// Interrupted copies and fetches, which the next `stage` resumes.
    partial_bytes: u64,
    /// Lock files.
    lock_bytes: u64,
    /// Blobs that no model needs.
    unreferenced_bytes: u64,
    /// Copies that exports have made in other tools' folders, outside the store.
    export_bytes: u64,
    /// Number of models.
    entries: usize,
    /// Number of blobs.
    blobs: u64,
}

impl From<&DiskUsage> for Summary {
    fn from(usage: &DiskUsage) -> Self {
        Summary {
            logical_bytes: usage.logical_bytes,
            physical_bytes: usage.physical_bytes,
            shared_bytes: usage.shared_bytes,
            saved_bytes: usage.saved_bytes,
            copied_view_bytes: usage.copied_view_bytes,
            trash_bytes: usage.trash_bytes,
            quarantine_bytes: usage.quarantine_bytes,
            ingest_bytes: usage.ingest_bytes,
            partial_bytes: usage.partial_bytes,
            lock_bytes: usage.lock_bytes,
            unreferenced_bytes: usage.unreferenced_bytes,
            export_bytes: usage.export_bytes,
            entries: usage.entries.len(),
            blobs: usage.blobs,
        }
    }
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open()?;
        let usage = catalog.disk_usage()?;
        app.note_unreadable(catalog.root(), &usage.unreadable, NOT_COUNTED);
        if app.json() {
            print_json(app, &usage);
        } else if app.out.is_terminal() {
            self.print_chart(app, &usage);
        } else {
            print_numbers(app, &usage);
        }
        Ok(())
    }

    fn print_chart(&self, app: &mut App, usage: &DiskUsage) {
        let columns = [Column::text("", 0), Column::number("", 0), Column::text("", 1)];
        let sums = sums(usage, &app.command());
        let rows = sums.into_iter().map(|(name, bytes, meaning)| vec![name.to_owned(), human::size(bytes), meaning]);
        let rows: Vec<_> = rows.collect();
        app.table(&columns, &rows, 0);
        let rows = if self.all { usage.entries.len() } else { ROWS.min(usage.entries.len()) };
        let (shown, rest) = usage.entries.split_at(rows);
        if !shown.is_empty() {
            let chart = chart(shown, app);
            app.out.line("");
            for line in chart {
                app.out.line(line);
            }
        }
        if !rest.is_empty() {
            let bytes = human::size(human::sum_bytes(rest.iter().map(|entry| entry.size_bytes)));
            app.out.line(format!("and {} more, together {bytes}; --all shows them", rest.len()));
        }
    }
}

fn print_json(app: &mut App, usage: &DiskUsage) {
    for entry in &usage.entries {
        app.out.json(&Line::Usage(entry));
    }
    app.out.json(&Line::UsageSummary(Summary::from(usage)));
}

/// The models as `list` has them, and the sums.
fn print_numbers(app: &mut App, usage: &DiskUsage) {
    let columns = [Column::text("ID", 0), Column::number("SIZE", 0), Column::number("EXCLUSIVE", 0)];
    let rows: Vec<_> = usage
        .entries
        .iter()
        .map(|entry| vec![entry.id.clone(), entry.size_bytes.to_string(), entry.exclusive_bytes.to_string()])
        .collect();
    app.table(&columns, &rows, 0);
    app.out.line("");
    let sums = sums(usage, &app.command());
    let rows: Vec<_> = sums.into_iter().map(|(name, bytes, _)| vec![name.to_owned(), bytes.to_string()]).collect();
    app.table(&[Column::text("SUM", 0), Column::number("BYTES", 0)], &rows, 0);
}

/// The sums, each with its meaning.
pub(crate) fn sums(usage: &DiskUsage, command: &str) -> [(&'static str, u64, String); 12] {
    let sums = [
        ("logical", usage.logical_bytes, "all models, as engines see them"),
        ("on disk", usage.physical_bytes, "what the store takes for them"),
        ("shared", usage.shared_bytes, "of that, with files outside the store: removing it frees nothing"),
        ("saved", usage.saved_bytes, "by storing equal files once"),
        ("copied views", usage.copied_view_bytes, "paths that could not be links"),
        ("trash", usage.trash_bytes, "taken, and kept for the grace of `catalog gc`"),
        ("quarantine", usage.quarantine_bytes, "damaged, and kept to look at"),
        ("ingest", usage.ingest_bytes, "being brought in, or left by a process that died"),
        ("partials", usage.partial_bytes, "interrupted copies, which the next stage goes on with"),
        ("locks", usage.lock_bytes, "lock files; `catalog gc` takes those that nobody holds"),
        ("unreferenced", usage.unreferenced_bytes, "needed by no model; `catalog gc` takes it"),
        ("exports", usage.export_bytes, "copies in other tools' folders, outside the store (`catalog export --list`)"),
    ];
    sums.map(|(name, bytes, meaning)| (name, bytes, with_root(meaning, command)))
}

/// The bars take the width that the widest id leaves, and at least a third of the terminal.
fn chart(entries: &[EntryUsage], app: &App) -> impl Iterator<Item = String> + use<> {
    const SIZE_COLUMN: usize = 9 + 2;
    let ids: Vec<_> = entries.iter().map(|entry| app.out.shown(&entry.id)).collect();
    let terminal = table::terminal_width().unwrap_or(80);
    let widest = ids.iter().map(|id| id.chars().count()).max().unwrap_or(0);
    let bar_width = terminal.saturating_sub(SIZE_COLUMN + 2 + widest).clamp(terminal / 3, 60.max(terminal / 3));
    let largest = entries.iter().map(|entry| entry.size_bytes).max().unwrap_or(0);
    let rows: Vec<_> = entries
        .iter()
        .zip(ids)
        .map(|(entry, id)| vec![human::size(entry.size_bytes), bar(entry, largest, bar_width), id.into_owned()])
        .collect();
    let columns = [Column::number("", 0), Column::text("", 1), Column::text("", 0)];
    table::lines(&columns, rows.into_iter(), 2, Some(terminal)).collect::<Vec<_>>().into_iter()
}

/// Full blocks for what only this entry needs, light ones for what it shares. A model that is not empty is always
/// visible.
fn bar(entry: &EntryUsage, largest: u64, width: usize) -> String {
    let cells = |bytes: u64| -> usize {
        let scaled = u128::from(bytes) * width as u128 / u128::from(largest.max(1));
        usize::try_from(scaled).unwrap_or(width).min(width)
    };
    let all = cells(entry.size_bytes);
    if all == 0 {
        return if entry.size_bytes == 0 { String::new() } else { "▏".to_owned() };
    }
    // The disk counts whole blocks, and a file may fill its last one only in part.
    let own = cells(entry.exclusive_bytes.min(entry.size_bytes));
    "█".repeat(own) + &"░".repeat(all - own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_what_is_shared_and_hides_nothing() {
        let mut usage = EntryUsage::default();
        for (size, own, largest, shown) in [
            (0, 0, 0, ""),
            (0, 0, 100, ""),
            (1, 1, 100, "▏"),
            (50, 0, 100, "░░░░░"),
            (50, 50, 100, "█████"),
            (100, 30, 100, "███░░░░░░░"),
            (10, 4096, 10, "██████████"), // a block on disk is larger than the file in it
            (u64::MAX, u64::MAX, u64::MAX, "██████████"),
        ] {
            (usage.size_bytes, usage.exclusive_bytes) = (size, own);
            assert_eq!(bar(&usage, largest, 10), shown, "{size} of {largest}");
        }
    }
}
