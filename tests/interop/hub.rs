//! Runs `tests/servers/hub.py` with the small real models until it is dropped.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::common::{fixture, run};
use crate::hub_process::HubProcess;
use crate::venv;

pub(crate) struct Hub(HubProcess);

/// Below the folder of this file.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/stores").join(name)
}

/// The folder that `stores/mkmodels.py` fills. It is made once, and kept for the next run.
pub(crate) fn models() -> Option<&'static Path> {
    static MODELS: OnceLock<Option<PathBuf>> = OnceLock::new();
    MODELS.get_or_init(make_models).as_deref()
}

fn make_models() -> Option<PathBuf> {
    let bin = venv::tools()?;
    let text = fs::read(script("mkmodels.py")).unwrap();
    let of_this_script = blake3::hash(&text).to_hex();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-models-{}", &of_this_script[..8]));
    if !folder.exists() {
        let making = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut make = Command::new(bin.join("python"));
        make.arg(script("mkmodels.py")).arg(making.path().join("models")).arg(fixture());
        run(make);
        // Another process may have been faster.
        let _ = fs::rename(making.path().join("models"), &folder);
    }
    Some(folder)
}

impl Hub {
    /// `None`, after printing the reason, if the tools that make the models are not installed.
    pub(crate) fn start() -> Option<Hub> {
        Some(Hub(HubProcess::start(models()?, &[])))
    }

    /// What `--allow-net` needs to reach it.
    pub(crate) fn rules(&self) -> String {
        self.hosts().join(",")
    }

    /// The bytes of files that it has sent since the last `forget`. Lists, redirects and answers to HEAD do not count.
    pub(crate) fn content_bytes(&self) -> u64 {
        let log = self.log();
        let is_content = |asked: &&Value| {
            let has_body = [200, 206].contains(&asked["status"].as_u64().unwrap());
            let path = asked["path"].as_str().unwrap();
            has_body && (asked["origin"] == "cdn" || path.contains("/resolve"))
        };
        log.iter().filter(is_content).map(|asked| asked["sent"].as_u64().unwrap()).sum()
    }
}

impl Deref for Hub {
    type Target = HubProcess;

    fn deref(&self) -> &HubProcess {
        &self.0
    }
}
