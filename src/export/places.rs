//! Where each tool keeps its store, by its environment variables.

use std::env;
use std::path::PathBuf;

use super::options::ExportLayout;
use crate::fs::current_user;

/// The tool's own folder. `None`: the layout has no place of its own, or there is no home directory.
pub(super) fn own(layout: ExportLayout) -> Option<PathBuf> {
    let home = || env::home_dir().filter(|home| home.is_absolute());
    let in_home = |below: &str| Some(home()?.join(below));
    match layout {
        ExportLayout::Hf => hf(),
        ExportLayout::LlamaCpp => variable("LLAMA_CACHE").or_else(hf),
        ExportLayout::Ollama => variable("OLLAMA_MODELS").or_else(|| in_home(".ollama/models")),
        ExportLayout::RamaLama if current_user() == 0 => Some("/var/lib/ramalama".into()),
        ExportLayout::RamaLama => in_home(".local/share/ramalama"),
        ExportLayout::LmStudio => in_home(".lmstudio/models"),
        ExportLayout::ModelScope => variable("MODELSCOPE_CACHE").or_else(|| in_home(".cache/modelscope")),
        ExportLayout::Oci | ExportLayout::Dir => None,
    }
}

fn hf() -> Option<PathBuf> {
    let below = |variable: Option<PathBuf>, below: &str| variable.map(|folder| folder.join(below));
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| below(variable("HF_HOME"), "hub"))
        .or_else(|| below(variable("XDG_CACHE_HOME"), "huggingface/hub"))
        .or_else(|| below(env::home_dir(), ".cache/huggingface/hub"))
        .filter(|folder| folder.is_absolute())
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
