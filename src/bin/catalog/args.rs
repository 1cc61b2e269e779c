//! Arguments that several verbs take.

/// One model that is in the catalog.
#[derive(clap::Args)]
pub(crate) struct OneModel {
    /// The model's id, or the reference that it was staged from
    #[arg(value_name = "ID|REF")]
    pub(crate) model: String,
}

/// One or more models that are in the catalog.
#[derive(clap::Args)]
pub(crate) struct Models {
    /// The models' ids, or the references that they were staged from
    #[arg(value_name = "ID|REF", required = true)]
    pub(crate) models: Vec<String>,
}
