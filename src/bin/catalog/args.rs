//! Arguments that several verbs take.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use catalog_core::{CatalogStore as _, Check, Error, FsCatalog, Record, UnknownWord};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::app::App;
use crate::complete;
use crate::failure::{Failure, Outcome};
use crate::progress::Progress;
use crate::text::shell_word;

/// One model that is in the catalog.
#[derive(clap::Args)]
pub(crate) struct OneModel {
    /// The model's id, the reference that it was staged from, its digest or the first digits of it, or a path below
    /// the root
    #[arg(value_name = "ID|REF", add = complete::models())]
    pub(crate) model: String,
}

impl OneModel {
    /// Returns what was looked up, or an error that also suggests similar ids.
    pub(crate) fn found<T>(
        &self,
        found: catalog_core::Result<T>,
        catalog: &FsCatalog,
        app: &App,
    ) -> Result<T, Failure> {
        found.map_err(|error| with_near_ids(error, catalog, app, &self.model))
    }
}

/// One model, and another id for it.
#[derive(clap::Args)]
pub(crate) struct NewId {
    #[command(flatten)]
    pub(crate) target: OneModel,
    /// The new id
    #[arg(value_name = "NEW-ID")]
    pub(crate) new_id: String,
}

/// Where a catalog may be made.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Init {
    /// If there is no catalog, make one even in a directory that is not empty
    #[arg(long)]
    init: bool,
}

impl Init {
    pub(crate) fn open(self, root: &Path) -> catalog_core::Result<FsCatalog> {
        if self.init { FsCatalog::init(root) } else { FsCatalog::new(root) }
    }
}

/// Whether a model is checked before its path is given out.
#[derive(clap::Args)]
pub(crate) struct Unchecked {
    /// Give out the path even if the files have changed since their last check, without checking them again
    #[arg(long)]
    unchecked: bool,
}

impl Unchecked {
    /// The catalog, set to check models before it gives them out unless the option says not to. It reports long checks.
    pub(crate) fn apply(&self, catalog: FsCatalog, app: &App) -> FsCatalog {
        let catalog = catalog.with_check(if self.unchecked { Check::Never } else { Check::IfChanged });
        catalog.with_observer(Progress::of_a_check(app))
    }
}

/// One or more models that are in the catalog.
#[derive(clap::Args)]
pub(crate) struct Models {
    /// Ids, references, patterns such as 'hf:org/*', digests or the first digits of one, or paths below the root
    #[arg(value_name = "ID|REF|PATTERN", required = true, add = complete::models())]
    pub(crate) models: Vec<String>,
}

impl Models {
    /// Does `work` once for each model that the arguments stand for, as [`App::each`] does.
    pub(crate) fn each(
        &self,
        app: &mut App,
        catalog: &FsCatalog,
        mut work: impl FnMut(&mut App, &Record) -> Outcome,
    ) -> Outcome {
        let mut done = BTreeSet::new();
        app.each(named(&self.models), |app, model| {
            let mut found = find_all(catalog, app, model)?;
            found.retain(|record| done.insert(record.entry.id.clone()));
            match found.as_slice() {
                [one] => work(app, one),
                many => app.each(many.iter().map(|record| (&record.entry.id, record)), &mut work),
            }
        })
    }
}

/// Returns all records that the text stands for, at least one.
pub(crate) fn find_all(catalog: &FsCatalog, app: &App, text: &str) -> Result<Vec<Record>, Failure> {
    let found = catalog.find(text)?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(with_near_ids(Error::not_found(text, catalog.root()), catalog, app, text)),
    }
}

/// The error. If nothing was found, it also suggests similar ids.
pub(crate) fn with_near_ids(error: Error, catalog: &FsCatalog, app: &App, text: &str) -> Failure {
    let near = match &error {
        Error::NotFound { .. } => near_ids(catalog, text),
        _ => Vec::new(),
    };
    if near.is_empty() {
        return error.into();
    }
    let near: Vec<String> = near.iter().map(|id| shell_word(id)).collect();
    let hint = format!("did you mean {}? `{} list` shows what is here", near.join(" or "), app.command());
    Failure::not_found(error.to_string()).with_hint(hint)
}

/// Up to three ids that a person may have meant: those that contain the text, and those with a similar spelling.
fn near_ids(catalog: &FsCatalog, text: &str) -> Vec<String> {
    const IS_NEAR: f64 = 0.85;
    let text = text.to_lowercase();
    let likeness = |id: &str| {
        let id = id.to_lowercase();
        let name = id.rsplit(['/', ':']).next().unwrap_or_default();
        let holds = text.chars().count() >= 3 && id.contains(&text);
        let spelt = strsim::jaro_winkler(&id, &text).max(strsim::jaro_winkler(name, &text));
        if holds { spelt.max(IS_NEAR) } else { spelt }
    };
    let ids = catalog.list().unwrap_or_default().into_iter().map(|entry| (likeness(&entry.id), entry.id));
    let mut near: Vec<(f64, String)> = ids.filter(|(likeness, _)| *likeness >= IS_NEAR).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().map(|(_, id)| id).take(3).collect()
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
