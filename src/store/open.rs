//! Opens a root, or creates one.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Store;
use crate::error::{Error, Result};
use crate::fs::{Durability, Root, atomic, lock_file, reserve};
use crate::hint::Hint;
use crate::layout::{self, FORMAT, Thing};

/// The [Cache Directory Tagging Specification](https://bford.info/cachedir/) requires exactly this first line.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # Models that catalog-core keeps here can be staged again. Backup tools skip this directory.\n";

/// The incompatible feature of a store with rules of who must have signed what.
pub(super) const SIGNATURES: &str = "signatures";

/// The content of `store.json`. Members from a later version do not matter, unless `incompatible` lists them.
#[derive(Serialize, Deserialize)]
struct StoreFile {
    format: u64,
    #[serde(default)]
    features: Features,
}

#[derive(Default, Serialize, Deserialize)]
struct Features {
    /// A version that does not know one of these must not touch the store.
    #[serde(default)]
    incompatible: Vec<String>,
    /// A version that does not know one of these can ignore it.
    #[serde(default)]
    compatible: Vec<String>,
}

impl Store {
    /// Opens the store at `path`, creating it if there is none. Opening an existing store writes nothing.
    pub(crate) fn create(path: &Path, others: Others) -> Result<Self> {
        if !is_there(path)? {
            make_root(path)?;
        }
        let root = Root::open(path)?;
        if check_store_file(&root)? {
            return Ok(Store::around(root));
        }
        if others == Others::Refuse {
            check_no_others(&root)?;
        }
        initialise(&root)?;
        Ok(Store { is_new: true, ..Store::around(root) })
    }

    /// Opens the store at `path`; an error if there is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let root = existing_root(path)?;
        if !check_store_file(&root)? {
            return Err(no_catalog(path));
        }
        Ok(Store::around(root))
    }
}

/// What to do with a root that is not a store but contains other files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Fail, because it is probably a mistake.
    Refuse,
    /// Create the store next to them.
    Keep,
}

/// Names in the topmost folder of a new file system, which counts as empty.
const OF_FILE_SYSTEMS: [&str; 2] = ["lost+found", "System Volume Information"];

fn check_no_others(root: &Root) -> Result<()> {
    let is_other = |name: &OsString| {
        layout::classify_in(Path::new(""), name) == Thing::Foreign && OF_FILE_SYSTEMS.iter().all(|own| name != own)
    };
    match root.names(Path::new(""))?.into_iter().find(is_other) {
        Some(name) => Err(Error::RootNotEmpty { root: root.path().to_path_buf(), name }),
        None => Ok(()),
    }
}

/// Opens a folder that may contain a store.
pub(crate) fn existing_root(path: &Path) -> Result<Root> {
    if is_there(path)? { Root::open(path) } else { Err(no_catalog(path)) }
}

/// Whether anything exists at a root's path. A path that cannot be meant as a root is an error, before anything is
/// created there.
fn is_there(path: &Path) -> Result<bool> {
    let invalid = |root: &Path, reason, hint| Err(Error::InvalidRoot { root: root.to_path_buf(), reason, hint });
    let Some(first) = path.components().next() else {
        return invalid(path, "no root is given, and no home directory is known for a default one", Hint::GiveRoot);
    };
    if first.as_os_str().as_encoded_bytes().starts_with(b"~") {
        let reason = "only a shell replaces ~ with a home directory, and none has done so";
        return invalid(path, reason, Hint::WriteRootInFull);
    }
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => match path.ancestors().find(|above| above.is_symlink()) {
            Some(link) if !link.exists() => invalid(link, "it is a symlink that leads nowhere", Hint::FixSymlink),
            _ => Ok(false),
        },
        _ => Ok(true), // if it cannot be accessed, opening it says why
    }
}

pub(crate) fn no_catalog(path: &Path) -> Error {
    Error::NoCatalog { root: path.to_path_buf() }
}

/// The default root: `$XDG_CACHE_HOME/models` if that variable is set and absolute, otherwise `~/.cache/models`.
///
/// Returns an empty path if there is no home directory either (no `HOME`, no entry in the system's list of users);
/// opening that is an [`InvalidRoot`](Error::InvalidRoot) error.
#[must_use]
pub fn default_model_cache_dir() -> PathBuf {
    cache_dir(std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from), std::env::home_dir())
}

/// The [XDG Base Directory Specification](https://specifications.freedesktop.org/basedir-spec/latest/) says to ignore
/// relative paths.
fn cache_dir(xdg: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    let absolute = |path: &PathBuf| path.is_absolute();
    let cache = xdg.filter(absolute).or_else(|| Some(home.filter(absolute)?.join(".cache")));
    cache.map(|cache| cache.join("models")).unwrap_or_default()
}

fn make_root(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755); // never world-writable, whatever the umask
    builder.create(path).map_err(|e| Error::io("create the catalog's root", path, e))?;
    // Sync the name of the root, and of the folders above it that may be new too.
    for above in path.ancestors().skip(1).take(3).filter(|above| !above.as_os_str().is_empty()) {
        if let Ok(folder) = Root::open(above) {
            // It may fail: a folder that is not ours need not be syncable.
            let _ = folder.sync_dir(Path::new(""));
        }
    }
    Ok(())
}

pub(crate) fn has_entries(root: &Root) -> Result<bool> {
    let index = root.names(Path::new(layout::INDEX))?;
    Ok(index.iter().any(|name| Path::new(name).extension().is_some_and(|ending| ending == "json")))
}

/// Whether there is a store here that this version can work with.
pub(crate) fn check_store_file(root: &Root) -> Result<bool> {
    let name = Path::new(layout::STORE_JSON);
    let path = || root.absolute(name);
    let read = || root.read(name, layout::MAX_STORE_JSON_BYTES);
    let text = match read()? {
        Some(text) => text,
        None if !has_entries(root)? => return Ok(false),
        // Another process may have created the store and staged something between the two looks.
        None => read()?.ok_or_else(|| {
            let reason = "it is missing, though the index has entries".into();
            Error::CorruptIndex { path: path(), reason }
        })?,
    };
    let store: StoreFile = serde_json::from_slice(&text)
        .map_err(|e| Error::CorruptIndex { path: path(), reason: format!("it is not a store description: {e}") })?;
    let needs = |found| Error::UnsupportedFormat { path: path(), found, supported: format!("format {FORMAT}") };
    if store.format != u64::from(FORMAT) {
        return Err(needs(format!("format {}", store.format)));
    }
    match store.features.incompatible.iter().find(|feature| *feature != SIGNATURES) {
        Some(feature) => Err(needs(format!("the feature {feature:?}"))),
        None => Ok(true),
    }
}

/// Creates the folders first and `store.json` last, so a store with a `store.json` is complete. Two processes may do
/// this at the same time.
fn initialise(root: &Root) -> Result<()> {
    for folder in layout::FOLDERS {
        for changed in root.make_dirs(Path::new(folder))? {
            root.sync_dir(&changed)?;
        }
    }
    lock_file::make_probe(root, &layout::lock_probe())?;
    write_tag(root)?;
    reserve::make_if_it_fits(root);
    write_store_file(root)
}

/// Writes `CACHEDIR.TAG`.
pub(crate) fn write_tag(root: &Root) -> Result<()> {
    atomic::replace(root, Path::new(layout::CACHEDIR_TAG), CACHEDIR_TAG.as_bytes(), Durability::Full)
}

/// Whether `CACHEDIR.TAG` has the signature that backup tools look for.
pub(crate) fn has_tag(root: &Root) -> Result<bool> {
    let signature = CACHEDIR_TAG.lines().next().unwrap_or_default().as_bytes();
    let text = root.read_start(Path::new(layout::CACHEDIR_TAG), signature.len() as u64)?;
    Ok(text.is_some_and(|text| text == signature))
}

/// Writes a `store.json` without limits.
pub(crate) fn write_store_file(root: &Root) -> Result<()> {
    let store = StoreFile { format: u64::from(FORMAT), features: Features::default() };
    let name = Path::new(layout::STORE_JSON);
    let mut text = serde_json::to_vec(&store).map_err(|e| root.fail("encode", name, e.into()))?;
    text.push(b'\n');
    atomic::replace(root, name, &text, Durability::Full)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_in_the_users_cache() {
        let home = || Some(PathBuf::from("/home/u"));
        assert_eq!(cache_dir(Some("/x".into()), home()), Path::new("/x/models"));
        assert_eq!(cache_dir(Some("x".into()), home()), Path::new("/home/u/.cache/models"));
        assert_eq!(cache_dir(Some("".into()), home()), Path::new("/home/u/.cache/models"));
        assert_eq!(cache_dir(None, None), Path::new(""));
        assert_eq!(cache_dir(Some("x".into()), Some("h".into())), Path::new(""));
    }

    fn with_store_json(text: &str) -> Error {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("store.json"), text).unwrap();
        let error = Store::create(dir.path(), Others::Refuse).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something was written");
        Store::open(dir.path()).unwrap_err();
        error
    }

    #[test]
    fn a_newer_store_is_refused_and_left_alone() {
        assert!(matches!(with_store_json(r#"{"format":2}"#), Error::UnsupportedFormat { .. }));
        let newer = with_store_json(r#"{"format":1,"features":{"incompatible":["packs"]}}"#);
        assert!(newer.to_string().contains("packs"), "{newer}");
        for damaged in ["", "null", "{", r#"{"format":"1"}"#, r#"{"format":1}x"#] {
            assert!(with_store_json(damaged).is_corrupt(), "{damaged}");
        }
    }

    #[test]
    fn what_a_newer_version_calls_compatible_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        Store::create(dir.path(), Others::Refuse).unwrap();
        let text = r#"{"format":1,"features":{"compatible":["notes"]},"later":[1]}"#;
        std::fs::write(dir.path().join("store.json"), text).unwrap();
        Store::create(dir.path(), Others::Refuse).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("store.json")).unwrap(), text);
    }

    #[test]
    fn a_store_that_lost_its_description_is_not_taken_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        Store::create(dir.path(), Others::Refuse).unwrap();
        std::fs::write(dir.path().join("index/00.json"), "").unwrap();
        std::fs::remove_file(dir.path().join("store.json")).unwrap();
        assert!(Store::create(dir.path(), Others::Refuse).unwrap_err().is_corrupt());
    }
}
