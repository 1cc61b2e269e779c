//! Arguments that several verbs take.

use std::path::Path;
use std::str::FromStr;

use catalog_core::{Check, Error, FsCatalog, Key, Record, UnknownWord};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::app::App;
use crate::progress::Progress;

/// One model that is in the catalog.
#[derive(clap::Args)]
pub(crate) struct OneModel {
    /// The model's id, or the reference that it was staged from
    #[arg(value_name = "ID|REF")]
    pub(crate) model: String,
}

/// Where a catalog may be made.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Init {
    /// If there is no catalog, make one also in a directory that has other things in it
    #[arg(long)]
    init: bool,
}

impl Init {
    pub(crate) fn open(self, root: &Path) -> catalog_core::Result<FsCatalog> {
        if self.init { FsCatalog::init(root) } else { FsCatalog::new(root) }
    }
}

/// Whether a model is looked at before its path is given out.
#[derive(clap::Args)]
pub(crate) struct Unchecked {
    /// Give the path out also when the files were changed since they were checked last, without checking them again
    #[arg(long)]
    unchecked: bool,
}

impl Unchecked {
    /// The catalog, which checks before it gives out, unless that is not wanted, and says so when that takes long.
    pub(crate) fn apply(&self, catalog: FsCatalog, app: &App) -> FsCatalog {
        let catalog = catalog.with_check(if self.unchecked { Check::Never } else { Check::IfChanged });
        catalog.with_observer(Progress::of_a_check(app))
    }
}

/// The record of what a person typed: an id that exists, or the reference that it was staged from.
pub(crate) fn find(catalog: &FsCatalog, text: &str) -> catalog_core::Result<Record> {
    catalog.record(Key::typed(text))?.ok_or_else(|| Error::not_found(text, catalog.root()))
}

/// One or more models that are in the catalog.
#[derive(clap::Args)]
pub(crate) struct Models {
    /// The models' ids, or the references that they were staged from
    #[arg(value_name = "ID|REF", required = true)]
    pub(crate) models: Vec<String>,
}

/// Arguments, each as it was given and as it is used.
pub(crate) fn named(args: &[String]) -> impl Iterator<Item = (&String, &String)> {
    args.iter().map(|arg| (arg, arg))
}

/// Reads one of the library's words, and shows all of them in the help, each with what it means.
pub(crate) fn word<T>(
    all: &[(T, &'static str)],
    as_str: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> + use<T>
where
    T: Copy + FromStr<Err = UnknownWord> + Send + Sync + 'static,
{
    let values = all.iter().map(|(value, meaning)| PossibleValue::new(as_str(*value)).help(*meaning));
    PossibleValuesParser::new(values.collect::<Vec<_>>()).try_map(|text| text.parse::<T>())
}
