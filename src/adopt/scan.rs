//! Scans the store of one tool.

use std::path::Path;

use super::found::{Scan, Tool};
use super::reader::Reader;
use super::tool_of::hf_cache;
use super::{docker, hf, llamacpp, lmstudio, modelscope, oci, ollama, ramalama};
use crate::error::{Error, Result};
use crate::hint::Hint;

/// Finds the models in a tool's store. Nothing is hashed, written or locked, and no symlink is followed out of the
/// store.
///
/// Fails if `dir` is no directory or cannot be read. Everything else that is wrong concerns one model, which is
/// [skipped](Scan::skipped).
pub fn scan(tool: Tool, dir: &Path) -> Result<Scan> {
    if tool == Tool::Oci && dir.is_file() {
        let reason = "it is an archive; unpack it with `tar xf`, and give the directory";
        return Err(Error::InvalidPath { path: dir.to_path_buf(), reason, hint: Hint::GiveDirectory });
    }
    let (cache, only) = hf_cache(dir);
    let root = if matches!(tool, Tool::Hf | Tool::LlamaCpp) { &cache } else { dir };
    let mut reader = Reader::open(tool, root)?;
    match tool {
        Tool::Hf => hf::scan(&mut reader, &only),
        Tool::LlamaCpp => llamacpp::scan(&mut reader, &only),
        Tool::Ollama => ollama::scan(&mut reader),
        Tool::RamaLama => ramalama::scan(&mut reader),
        Tool::LmStudio => lmstudio::scan(&mut reader),
        Tool::ModelScope => modelscope::scan(&mut reader),
        Tool::Docker => docker::scan(&mut reader),
        Tool::Oci => oci::scan(&mut reader),
    }
    Ok(reader.into_scan())
}
