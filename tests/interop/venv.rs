//! Where `.ci/run` installs the tools.

use std::path::{Path, PathBuf};

use crate::common::{runs_all, skip};

/// A version of huggingface_hub: each major version has its own layout or commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hf {
    V0_36,
    V1_1,
    V2_4,
}

impl Hf {
    /// `None`, after printing the reason, if it is not installed.
    pub(crate) fn bin(self) -> Option<PathBuf> {
        bin(match self {
            Hf::V0_36 => "interop-hf-0.36",
            Hf::V1_1 => "interop-hf-1.1",
            Hf::V2_4 => "interop-hf-2.4",
        })
    }

    /// Whether `hf cache` has `ls`, `prune`, `rm` and `verify`.
    pub(crate) fn has_commands(self) -> bool {
        self != Hf::V0_36
    }
}

/// Everything else: RamaLama, ModelScope, llama.cpp, transformers, and what makes the models.
pub(crate) fn tools() -> Option<PathBuf> {
    bin("interop-tools")
}

/// PyPI `model-signing`.
pub(crate) fn signing() -> Option<PathBuf> {
    bin("interop-signing")
}

/// PyPI `cyclonedx-python-lib`.
pub(crate) fn cyclonedx() -> Option<PathBuf> {
    bin("interop-bom")
}

/// The folder of the models that packages bring.
pub(crate) fn models() -> Option<PathBuf> {
    bin("interop-models").map(|bin| bin.parent().unwrap().join("lib"))
}

fn bin(name: &str) -> Option<PathBuf> {
    if !runs_all() {
        println!("left out without CATALOG_TEST_ALL: the tools of others take minutes");
        return None;
    }
    let bin = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join(name).join("bin");
    if bin.join("python").exists() {
        return Some(bin);
    }
    skip(&format!("target/{name} is not there"));
    None
}
