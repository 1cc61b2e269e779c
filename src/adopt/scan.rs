//! Scans the store of one tool.

use std::io;
use std::path::Path;

use super::found::{Scan, Tool};
use super::reader::Reader;
use super::tool_of::hf_cache;
use super::{docker, hf, llamacpp, lmstudio, modelscope, ollama, ramalama};
use crate::error::{Error, Result};

/// Finds the models in a tool's store. Nothing is hashed, written or locked, and no symlink is followed out of the
/// store.
///
/// Fails if `dir` is no directory or cannot be read. Everything else that is wrong concerns one model, which is
/// [skipped](Scan::skipped).
pub fn scan(tool: Tool, dir: &Path) -> Result<Scan> {
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
        Tool::Oci => return Err(Error::io("scan", dir, io::Error::from(io::ErrorKind::Unsupported))),
    }
    Ok(reader.into_scan())
}
