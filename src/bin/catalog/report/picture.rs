//! The content of the picture of the disk: a tile for each model that is large enough to be seen, one for all others,
//! and one for each thing that is not a model.

use std::cmp::Reverse;

use super::data::{Model, State};
use crate::human;

/// A tile has to be at least a four-hundredth of the picture: on a phone, that is 20 pixels square.
const LEAST_PART: u64 = 400;

/// What bytes on disk are for. Each class has a colour and a pattern of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Only one model needs them.
    Own,
    /// Other models, or files outside the store, have them too.
    Shared,
    /// No model needs them.
    Reclaimable,
    /// Damaged content, or files that were in the way, kept for inspection.
    Quarantine,
    /// None of these: they are being ingested, or are a view that is a copy.
    Other,
}

impl Class {
    pub(super) const ALL: [Class; 5] = [Class::Own, Class::Shared, Class::Reclaimable, Class::Quarantine, Class::Other];

    /// Its name in the style sheet.
    pub(super) fn name(self) -> &'static str {
        match self {
            Class::Own => "own",
            Class::Shared => "shared",
            Class::Reclaimable => "gc",
            Class::Quarantine => "quarantine",
            Class::Other => "other",
        }
    }

    /// The text in the legend.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Class::Own => "only this model needs it",
            Class::Shared => "shared with others, or with files outside the store",
            Class::Reclaimable => "gc can take it, some of it after a grace",
            Class::Quarantine => "in quarantine",
            Class::Other => "being brought in, or a view that is a copy",
        }
    }
}

/// What a tile stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The model with this number in the state.
    Model(usize),
    /// This many models together.
    More(usize),
    /// Something with this name that is not a model.
    Thing(&'static str),
}

/// A part of the picture, before it has a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) what: What,
    pub(super) bytes: u64,
    /// The classes of the first part and of the rest.
    pub(super) classes: (Class, Class),
    pub(super) first_bytes: u64,
}

impl Tile {
    fn of_models(what: What, bytes: u64, own_bytes: u64) -> Tile {
        Tile { what, bytes, classes: (Class::Own, Class::Shared), first_bytes: own_bytes.min(bytes) }
    }

    fn of_thing(name: &'static str, bytes: u64, class: Class) -> Tile {
        Tile { what: What::Thing(name), bytes, classes: (class, class), first_bytes: bytes }
    }
}

/// The tiles, the largest first.
pub(super) fn tiles(state: &State) -> Vec<Tile> {
    let usage = &state.usage;
    let leftover_bytes = state.leftover_bytes();
    let things = [
        Tile::of_thing("unreferenced", usage.unreferenced_bytes, Class::Reclaimable),
        Tile::of_thing("trash", usage.trash_bytes, Class::Reclaimable),
        Tile::of_thing("partials", usage.partial_bytes, Class::Reclaimable),
        Tile::of_thing("leftovers", leftover_bytes, Class::Reclaimable),
        Tile::of_thing("quarantine", usage.quarantine_bytes, Class::Quarantine),
        Tile::of_thing("ingest", usage.ingest_bytes.saturating_sub(leftover_bytes), Class::Other),
        Tile::of_thing("copied views", usage.copied_view_bytes, Class::Other),
    ];
    tiles_of(&state.models, things)
}

fn tiles_of(models: &[Model], things: impl IntoIterator<Item = Tile>) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = things.into_iter().filter(|thing| thing.bytes > 0).collect();
    let all = tiles.iter().map(|thing| thing.bytes).chain(models.iter().map(|model| model.disk_bytes));
    let least = human::sum_bytes(all) / LEAST_PART;
    let is_seen = |model: &Model| model.disk_bytes > 0 && model.disk_bytes >= least;
    let small: Vec<(usize, &Model)> =
        models.iter().enumerate().filter(|(_, model)| model.disk_bytes > 0 && !is_seen(model)).collect();
    let seen = models.iter().enumerate().filter(|(_, model)| is_seen(model));
    tiles.extend(seen.map(|(number, model)| one(number, model)));
    match small.as_slice() {
        [] => {}
        [(number, model)] => tiles.push(one(*number, model)),
        small => tiles.push(Tile::of_models(
            What::More(small.len()),
            human::sum_bytes(small.iter().map(|(_, model)| model.disk_bytes)),
            human::sum_bytes(small.iter().map(|(_, model)| model.exclusive_bytes)),
        )),
    }
    // A stable sort: tiles of equal size keep the order of the table.
    tiles.sort_by_key(|tile| Reverse(tile.bytes));
    tiles
}

fn one(number: usize, model: &Model) -> Tile {
    Tile::of_models(What::Model(number), model.disk_bytes, model.exclusive_bytes)
}
