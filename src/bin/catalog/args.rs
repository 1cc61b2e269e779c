//! Arguments that several verbs take.

use catalog_core::{Check, FsCatalog};

/// One model that is in the catalog.
#[derive(clap::Args)]
pub(crate) struct OneModel {
    /// The model's id, or the reference that it was staged from
    #[arg(value_name = "ID|REF")]
    pub(crate) model: String,
}

/// Whether a model is looked at before its path is given out.
#[derive(clap::Args)]
pub(crate) struct Unchecked {
    /// Give the path out also when the files were changed since they were checked last, without checking them again
    #[arg(long)]
    unchecked: bool,
}

impl Unchecked {
    pub(crate) fn apply(&self, catalog: FsCatalog) -> FsCatalog {
        catalog.with_check(if self.unchecked { Check::Never } else { Check::IfChanged })
    }
}

/// One or more models that are in the catalog.
#[derive(clap::Args)]
pub(crate) struct Models {
    /// The models' ids, or the references that they were staged from
    #[arg(value_name = "ID|REF", required = true)]
    pub(crate) models: Vec<String>,
}
