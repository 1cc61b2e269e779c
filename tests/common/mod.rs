//! What the integration tests share: a host for each, the invariants of any store, and guards that clean up.
#![allow(dead_code)] // each test file uses some of it
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

pub(crate) mod memory;
pub(crate) mod mount;
#[path = "../../src/skip.rs"]
mod skip;
pub(crate) mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use catalog_core::{
    ArtifactKind, CatalogEntry, Digest, FsCatalog, IngestMode, LifecycleState, ModelRef, Record, Result, StageOptions,
    StageReceipt,
};
use serde_json::Value;
pub(crate) use skip::skip;
use tempfile::TempDir;
use walkdir::WalkDir;

pub(crate) const FIXTURE_SHA256: &str = "1ef0bef1eb6c8ec311d53e18138501725116d829ab11914a811d72812a5253cd";

/// A user who owns nothing here.
pub(crate) const NOBODY: u32 = 65_534;

pub(crate) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama-q8_0.gguf")
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

pub(crate) fn has_tool(name: &str) -> bool {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&dirs).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(name).exists())
}

/// A directory of its own: a root, and a place for the files to stage.
pub(crate) struct Host {
    pub(crate) dir: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        Host { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn catalog(&self) -> FsCatalog {
        FsCatalog::new(self.root()).unwrap()
    }

    /// Writes a file whose modification time is long ago, so that its stamp can be trusted.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_mtime(&path, long_ago());
        path
    }

    /// The `catalog` command on this host's root, with a home that is not the user's.
    pub(crate) fn command(&self) -> Command {
        let mut command = catalog_command();
        command.current_dir(self.dir.path());
        command.env("CATALOG_ROOT", self.root()).env("HOME", self.path("home"));
        command
    }
}

pub(crate) fn catalog_command() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("catalog"));
    command.env_remove("XDG_CACHE_HOME").env("LC_ALL", "C");
    command
}

/// Bytes that no file system can compress or share among themselves.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_123)
}

pub(crate) fn set_mtime(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

pub(crate) fn inode_of(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

pub(crate) fn options(id: &str) -> StageOptions {
    StageOptions::default().with_id(Some(id.to_owned()))
}

pub(crate) fn mode_options(id: &str, mode: IngestMode) -> StageOptions {
    let mut options = options(id);
    options.mode = mode;
    options
}

pub(crate) fn reference(path: &Path) -> ModelRef {
    ModelRef::File { path: path.to_path_buf() }
}

pub(crate) fn stage(catalog: &FsCatalog, source: &Path, id: &str) -> Result<StageReceipt> {
    catalog.stage(&reference(source), &options(id))
}

pub(crate) fn stage_as(catalog: &FsCatalog, source: &Path, id: &str, mode: IngestMode) -> Result<StageReceipt> {
    catalog.stage(&reference(source), &mode_options(id, mode))
}

pub(crate) fn entry(id: &str, local_path: impl Into<PathBuf>) -> CatalogEntry {
    CatalogEntry {
        id: id.into(),
        local_path: local_path.into(),
        lifecycle: LifecycleState::Active,
        digest: None,
        last_verified_ms: None,
    }
}

pub(crate) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    root.join("blobs/sha256").join(&hex[..2]).join(hex)
}

pub(crate) fn outboard_path(root: &Path, digest: &Digest, ending: &str) -> PathBuf {
    let hex = digest.to_hex();
    root.join("outboards/sha256").join(&hex[..2]).join(format!("{hex}.{ending}"))
}

pub(crate) fn shard_path(root: &Path, id: &str) -> PathBuf {
    root.join("index").join(format!("{}.json", &Digest::sha256_of(id.as_bytes()).to_hex()[..2]))
}

/// Holds the lock of an id's shard, as a slow writer would.
pub(crate) fn hold_shard(root: &Path, id: &str) -> File {
    let name = root.join("locks/index").join(shard_path(root, id).file_stem().unwrap());
    let held = File::options().create(true).append(true).open(name).unwrap();
    held.lock().unwrap();
    held
}

/// Waits until another thread or process has made `is_so` true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(300), "it does not come to it that {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Every file below `folder`, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    entries.filter(|entry| !entry.file_type().is_dir()).map(walkdir::DirEntry::into_path).collect()
}

/// The names of the files in `blobs/`, each of 64 hex digits.
pub(crate) fn blobs(root: &Path) -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    files_below(&root.join("blobs")).into_iter().map(name).collect()
}

/// The invariants of any store that no process is working on.
#[track_caller]
pub(crate) fn assert_sound(root: &Path) {
    for blob in files_below(&root.join("blobs")) {
        let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(Digest::sha256_of(&fs::read(&blob).unwrap()).to_hex(), name, "a blob is not its name");
        assert_eq!(blob.parent().unwrap().file_name().unwrap().to_str().unwrap(), &name[..2]);
        assert_eq!(mode_of(&blob), 0o444, "{}", blob.display());
    }
    assert_no_debris(root);
}

#[track_caller]
pub(crate) fn assert_no_debris(root: &Path) {
    let ingest: Vec<_> = WalkDir::new(root.join("ingest")).min_depth(1).into_iter().map(Result::unwrap).collect();
    assert!(ingest.is_empty(), "{ingest:?}");
    let temporary: Vec<_> =
        files_below(root).into_iter().filter(|path| path.extension().is_some_and(|e| e == "tmp")).collect();
    assert!(temporary.is_empty(), "{temporary:?}");
}

/// Asserts that the entry shows the bytes of its digest at its path.
#[track_caller]
pub(crate) fn assert_readable(catalog: &FsCatalog, id: &str, content: &[u8]) {
    let record = catalog.record(id).unwrap().unwrap_or_else(|| panic!("{id} is not there"));
    assert_eq!(fs::read(&record.entry.local_path).unwrap(), content, "{id}");
    assert_eq!(record.entry.digest, Some(Digest::sha256_of(content)), "{id}");
}

/// Checks that an artifact reads right at its path: a file's bytes hash to its digest; a tree's manifest hashes to the
/// tree's digest, and its files to the digests in the manifest.
pub(crate) fn check_artifact(root: &Path, record: &Record) -> std::result::Result<(), String> {
    let digest = record.entry.digest.ok_or("it has no digest")?;
    if record.kind == ArtifactKind::File {
        return check_file(&record.entry.local_path, &digest);
    }
    let manifest = blob_path(root, &digest);
    check_file(&manifest, &digest)?;
    for (path, digest) in manifest_files(&fs::read(&manifest).map_err(|e| e.to_string())?) {
        check_file(&record.entry.local_path.join(path), &digest)?;
    }
    Ok(())
}

fn check_file(path: &Path, digest: &Digest) -> std::result::Result<(), String> {
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let actual = Digest::sha256_of(&bytes);
    if actual == *digest { Ok(()) } else { Err(format!("{} is {actual} and not {digest}", path.display())) }
}

/// The files that a tree's manifest names, with their paths.
pub(crate) fn manifest_files(manifest: &[u8]) -> Vec<(String, Digest)> {
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let file = |layer: &Value| {
        let path = layer["annotations"]["org.cncf.model.filepath"].as_str().unwrap();
        (path.to_owned(), layer["digest"].as_str().unwrap().parse().unwrap())
    };
    layers.map(file).collect()
}

/// Every blob that a record needs.
pub(crate) fn blobs_of(root: &Path, record: &Record) -> BTreeSet<String> {
    let mut needed: BTreeSet<String> = record.needs.iter().map(Digest::to_hex).collect();
    let Some(digest) = record.entry.digest else { return needed };
    needed.insert(digest.to_hex());
    if record.kind == ArtifactKind::Tree {
        let manifest = fs::read(blob_path(root, &digest)).unwrap();
        needed.extend(manifest_files(&manifest).iter().map(|(_, digest)| digest.to_hex()));
    }
    needed
}

/// Everything in a store that a collection without grace should have removed, if no process is working on it.
pub(crate) fn debris(catalog: &FsCatalog) -> Vec<String> {
    let root = catalog.root();
    let records = catalog.records().unwrap();
    let needed: BTreeSet<String> = records.iter().flat_map(|record| blobs_of(root, record)).collect();
    let mut found = Vec::new();
    let mut unless = |path: PathBuf, is_right: bool| {
        if !is_right {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    };
    for path in files_below(root) {
        let is_temporary = path.extension().is_some_and(|ending| ending == "tmp");
        unless(path, !is_temporary);
    }
    for folder in ["ingest", "trash", "quarantine"] {
        for entry in WalkDir::new(root.join(folder)).min_depth(1) {
            unless(entry.unwrap().into_path(), false);
        }
    }
    for folder in ["blobs", "outboards"] {
        for path in files_below(&root.join(folder)) {
            let name = path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
            unless(path, needed.contains(&name));
        }
    }
    for view in WalkDir::new(root.join("views")).min_depth(1).max_depth(2) {
        let path = view.unwrap().into_path();
        let is_named = records.iter().any(|record| record.entry.local_path.starts_with(&path));
        unless(path, is_named);
    }
    found
}

/// The bytes that all blobs take on disk.
pub(crate) fn blob_bytes(root: &Path) -> u64 {
    files_below(&root.join("blobs")).iter().map(|path| fs::metadata(path).unwrap().blocks() * 512).sum()
}

/// Everything that `ls -lR` could show of a folder, times included. If two listings are equal, nothing was written in
/// between.
pub(crate) fn listing(folder: &Path) -> BTreeMap<PathBuf, String> {
    let describe = |entry: walkdir::DirEntry| {
        let m = entry.path().symlink_metadata().unwrap();
        let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        let what = format!("{:?}", (m.mode(), m.ino(), m.nlink(), m.uid(), m.gid(), m.size(), times));
        (entry.into_path(), what)
    };
    WalkDir::new(folder).into_iter().map(|entry| describe(entry.unwrap())).collect()
}

/// Rewrites the entries of a shard, with the matching checksum.
pub(crate) fn edit_shard(root: &Path, id: &str, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    let path = shard_path(root, id);
    let mut shard: Value = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).unwrap(),
        Err(_) => serde_json::json!({"generation": 0, "entries": {}}),
    };
    edit(shard["entries"].as_object_mut().unwrap());
    let entries = shard["entries"].to_string();
    let checksum = blake3::hash(entries.as_bytes()).to_hex();
    let generation = shard["generation"].as_u64().unwrap() + 1;
    let text =
        format!(r#"{{"format":1,"generation":{generation},"checksum":"blake3:{checksum}","entries":{entries}}}"#);
    fs::write(&path, text).unwrap();
}

/// The content files that `catalog path` opens to resolve an entry: blobs, by their names, and views. A tree's manifest
/// is left out because it is read every time. Needs strace.
pub(crate) fn content_opened_by_path(root: &Path, id: &str) -> BTreeSet<String> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut path = Command::new("strace");
    path.args(["-f", "-qq", "-e", "trace=open,openat,openat2", "-o"]).arg(log.path());
    path.arg(assert_cmd::cargo::cargo_bin!("catalog")).arg("--root").arg(root).args(["path", id]);
    run(path);
    let log = fs::read_to_string(log.path()).unwrap();
    let record = FsCatalog::open(root).unwrap().record(id).unwrap().unwrap();
    let manifest = record.entry.digest.filter(|_| record.kind == ArtifactKind::Tree).map(|digest| digest.to_hex());
    let content = files_below(&root.join("blobs")).into_iter().chain(files_below(&root.join("views")));
    let names = content.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| Some(name) != manifest.as_ref() && log.contains(&format!("\"{name}\""))).collect()
}

/// A child process that does not outlive the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that has `path` open for appending, but writes nothing.
pub(crate) fn hold_open_for_writing(path: &Path) -> Running {
    let file = File::options().append(true).open(path).unwrap();
    let child = Command::new("sleep").arg("60").stdin(Stdio::null()).stdout(Stdio::from(file)).spawn().unwrap();
    Running(child)
}

/// Runs one test of this test program in a separate process; the environment variable `CATALOG_TEST_CHILD` tells it to
/// play its part. `before` goes in front of the command, such as `setpriv` and its options.
pub(crate) fn child_test(before: &[&str], test: &str) -> Command {
    let me = std::env::current_exe().unwrap();
    let mut words = before.iter().map(std::ffi::OsStr::new).chain([me.as_os_str()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env("CATALOG_TEST_CHILD", test);
    command
}

pub(crate) fn is_child(test: &str) -> bool {
    std::env::var_os("CATALOG_TEST_CHILD").is_some_and(|name| name == test)
}

#[track_caller]
pub(crate) fn run(mut command: Command) -> std::process::Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The `setpriv` words that run a command as [`NOBODY`]; `None`, after printing the reason, if that is not possible.
pub(crate) fn as_nobody() -> Option<Vec<&'static str>> {
    const WORDS: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    if !is_root() || !has_tool("setpriv") {
        skip("this needs root and setpriv");
        return None;
    }
    // The build directory may be below a home that other users cannot enter.
    let me = std::env::current_exe().unwrap();
    let can_run = Command::new(WORDS[0]).args(&WORDS[1..]).arg(me).arg("--list").output().unwrap().status.success();
    if !can_run {
        skip("another user cannot run the programs of this build directory");
        return None;
    }
    Some(WORDS.to_vec())
}

/// Whether every crash point and the tests that take minutes run, as in CI.
pub(crate) fn runs_all() -> bool {
    std::env::var_os("CATALOG_TEST_ALL").is_some()
}

/// The commands in a section of a page, each with the lines that it prints.
pub(crate) fn commands_of(page: &str, heading: &str) -> Vec<(String, Vec<String>)> {
    let readme = fs::read_to_string(page).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with(&format!("{heading}\n"))).unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.split("\n```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => commands.push((command.to_owned(), Vec::new())),
                None => commands.last_mut().unwrap().1.push(line.to_owned()),
            }
        }
    }
    commands
}
