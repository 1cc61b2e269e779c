//! A home with the stores of several tools, and a catalog beside them, on one file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::mount::{self, Mounted};
use crate::common::{set_mode, skip};

/// No command here needs a minute. One that hangs ends, and fails its test.
const LIMIT: [&str; 3] = ["timeout", "--kill-after=5", "180"];

pub(crate) struct Place {
    at: PathBuf,
    _keep: Keep,
}

#[allow(dead_code)] // kept until it is dropped
enum Keep {
    Folder(TempDir),
    Mount(Mounted),
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = TempDir::new().unwrap();
        Place::in_folder(dir.path().to_owned(), Keep::Folder(dir))
    }

    /// On a new file system of its own. `None`, after printing the reason, if it cannot be mounted.
    pub(crate) fn on(mkfs: &[&str]) -> Option<Place> {
        let mounted = mount::image(512, mkfs, "loop")?;
        Some(Place::in_folder(mounted.path().to_owned(), Keep::Mount(mounted)))
    }

    fn in_folder(at: PathBuf, keep: Keep) -> Place {
        let place = Place { at, _keep: keep };
        set_mode(&place.at, 0o755);
        fs::create_dir(place.path("home")).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// Where each tool has its store by default, below the home.
    pub(crate) fn hf(&self) -> PathBuf {
        self.path("home/.cache/huggingface/hub")
    }

    pub(crate) fn ollama(&self) -> PathBuf {
        self.path("home/.ollama/models")
    }

    pub(crate) fn lmstudio(&self) -> PathBuf {
        self.path("home/.lmstudio/models")
    }

    pub(crate) fn modelscope(&self) -> PathBuf {
        self.path("home/.cache/modelscope")
    }

    /// Root's own default is outside the home, so RamaLama and the catalog get this one by its variable.
    pub(crate) fn ramalama(&self) -> PathBuf {
        self.path("home/.local/share/ramalama")
    }

    /// A program that knows nothing of this machine but this home, and ends within the limit.
    pub(crate) fn program(&self, program: &Path) -> Command {
        self.program_as(&[], program)
    }

    /// The same behind other words, such as those of `setpriv`.
    pub(crate) fn program_as(&self, before: &[&str], program: &Path) -> Command {
        let mut command = Command::new(LIMIT[0]);
        command.args(&LIMIT[1..]).args(before).arg(program).current_dir(&self.at).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
        command.env("HOME", self.path("home")).env("RAMALAMA_STORE", self.ramalama());
        command
    }

    /// Runs `catalog --json` on this root.
    pub(crate) fn catalog(&self, words: &[&str]) -> Ran {
        let mut command = self.program(assert_cmd::cargo::cargo_bin!("catalog"));
        command.arg("--root").arg(self.root()).arg("--json").args(words);
        Ran::of(&command.output().unwrap())
    }

    /// The same, and it must succeed.
    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> Ran {
        let ran = self.catalog(words);
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran
    }

    /// The ids in the catalog.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.done(&["list"]).values("id")
    }

    /// Where a model is.
    pub(crate) fn shown(&self, id: &str) -> PathBuf {
        self.done(&["path", id]).values("local_path").remove(0).into()
    }

    /// Checks that every blob of the catalog is what its name says, by the catalog and without it.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        self.done(&["verify", "--all"]);
        crate::common::assert_sound(&self.root());
    }

    /// Bytes in use on the file system, once everything is written.
    pub(crate) fn used_bytes(&self) -> u64 {
        crate::common::run({
            let mut sync = Command::new("sync");
            sync.arg("--file-system").arg(&self.at);
            sync
        });
        let about = rustix::fs::statvfs(&self.at).unwrap();
        (about.f_blocks - about.f_bfree) * about.f_frsize
    }
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The JSON lines on standard output.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}"))).collect()
    }

    /// The strings under this key, in all lines.
    pub(crate) fn values(&self, key: &str) -> Vec<String> {
        self.lines().iter().filter_map(|line| line[key].as_str()).map(str::to_owned).collect()
    }
}

/// Whether a command that the tests need is installed; prints the reason if it is not.
pub(crate) fn has(tool: &str) -> bool {
    let has = crate::common::has_tool(tool);
    if !has {
        skip(&format!("{tool} is not installed"));
    }
    has
}
