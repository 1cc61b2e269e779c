//! The `catalog` command as scripts and people meet it: output, JSON keys, exit codes, and what it leaves behind.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use catalog_core::Digest;
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const FIXTURE_SHA256: &str = "1ef0bef1eb6c8ec311d53e18138501725116d829ab11914a811d72812a5253cd";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama-q8_0.gguf")
}

/// A host of its own: a root, a home, and a directory for the files to stage.
struct Host {
    dir: TempDir,
}

/// The result of one run of the command.
struct Run {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Host {
    fn new() -> Self {
        Host { dir: TempDir::new().unwrap() }
    }

    fn with_fixture_as(id: &str) -> Self {
        let host = Host::new();
        host.stage(&fixture(), id);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn command(&self) -> Command {
        let mut command = Command::new(cargo_bin!("catalog"));
        command.current_dir(self.dir.path());
        command.env("CATALOG_ROOT", self.root());
        command.env("HOME", self.path("home")).env("XDG_CACHE_HOME", self.path("cache"));
        command.env("TZ", "UTC").env("LC_ALL", "C");
        command
    }

    fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        let mut command = self.command();
        command.args(args);
        Run::of(command)
    }

    /// Runs a command line whose words contain no blanks.
    fn words(&self, line: &str) -> Run {
        self.run(line.split_whitespace())
    }

    fn stage(&self, source: &Path, id: &str) -> Value {
        self.run([OsStr::new("stage"), source.as_ref(), "--json".as_ref(), "--id".as_ref(), id.as_ref()]).json_line()
    }

    fn ids(&self) -> Vec<String> {
        let list = self.words("list --json").json_lines();
        list.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The index file that holds this id.
    fn shard(&self, id: &str) -> PathBuf {
        self.root().join("index").join(format!("{}.json", &Digest::sha256_of(id.as_bytes()).to_hex()[..2]))
    }

    fn files_under(&self, folder: &str) -> Vec<PathBuf> {
        walkdir::WalkDir::new(self.root().join(folder))
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| !entry.file_type().is_dir())
            .map(walkdir::DirEntry::into_path)
            .collect()
    }
}

impl Run {
    fn of(command: Command) -> Self {
        // Only a hang can take this long.
        let output = assert_cmd::Command::from_std(command).timeout(Duration::from_secs(30)).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        // The first stage on each host prints this note; tests/roots.rs checks it.
        let is_other = |line: &&str| !(line.contains("made a new catalog at ") && line.contains("note"));
        Run {
            code: output.status.code().expect("it ends by itself, and not by a signal"),
            stdout: output.stdout,
            stderr: stderr.split_inclusive('\n').filter(is_other).collect(),
        }
    }

    #[track_caller]
    fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }

    /// One error line, this exit code, and nothing on standard output.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.stderr);
        assert_eq!(self.text(), "");
        assert!(self.stderr.starts_with("error: ") && self.stderr.lines().count() == 1, "{}", self.stderr);
        self.stderr
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn json_line(self) -> Value {
        let mut lines = self.done().json_lines();
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }
}

/// The keys in the order in which they are written, which `Value` does not keep.
fn keys(json: &str) -> Vec<String> {
    let object: Value = serde_json::from_str(json).unwrap();
    let mut keys: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| json.find(&format!("\"{key}\":")));
    keys
}

#[test]
fn a_model_is_staged_found_and_removed() {
    let host = Host::new();
    let staged = host.stage(&fixture(), "tiny");
    assert_eq!(staged["digest"], format!("sha256:{FIXTURE_SHA256}"));
    assert_eq!((&staged["size"], &staged["size_bytes"]), (&122_688.into(), &122_688.into()));
    assert_eq!(staged["deduplicated"], false);

    let path = host.words("path tiny").done();
    assert_eq!(path.stderr, "");
    let path = PathBuf::from(path.text().strip_suffix('\n').unwrap());
    assert!(path.ends_with("tiny-llama-q8_0.gguf") && path.starts_with(host.root()), "{}", path.display());
    assert_eq!(fs::read(&path).unwrap(), fs::read(fixture()).unwrap());
    let blob = fs::metadata(host.root().join("blobs/sha256/1e").join(FIXTURE_SHA256)).unwrap();
    let view = fs::metadata(&path).unwrap();
    assert_eq!((view.ino(), view.mode() & 0o777), (blob.ino(), 0o444));

    let removed = host.words("remove tiny --json").json_line();
    assert_eq!(removed["removed"], true);
    assert_eq!(removed["bytes_reclaimed"], 122_688);
    assert_eq!(removed["blobs_removed"], 1);
    assert!(host.ids().is_empty());
    assert!(host.files_under("blobs").is_empty());
    host.words("path tiny").failed(3);
}

#[test]
fn the_keys_of_the_json() {
    let host = Host::new();
    let fixture = fixture();
    let fixture = fixture.to_str().unwrap();
    let model = "model id digest local_path size_bytes lifecycle trust last_verified_ms last_used_ms damaged damaged_ms kind \
                 files view source needs attested created_ms updated_ms retired_ms pins pushed size";
    for (line, expected) in [
        (
            vec!["stage", fixture, "--id", "tiny"],
            "staged id digest local_path kind size_bytes files mode view replaced deduplicated stored_bytes copied_bytes resumed_bytes \
             fetched_bytes pinned view_copied_bytes unshared completeness missing unmoved elapsed_ms size",
        ),
        (vec!["list"], model),
        (vec!["show", "tiny"], &format!("{model} facts")),
        (vec!["path", "tiny"], "path id local_path"),
        (
            vec!["verify", "tiny"],
            "verified id digest outcome reason bad_ranges quarantined files bytes_read elapsed_ms",
        ),
        (
            vec!["repair", "tiny"],
            "repaired id repaired_files repaired_bytes source_bytes shown quarantined_files occupied",
        ),
        (vec!["retire", "tiny"], "lifecycle id lifecycle"),
        (vec!["activate", "tiny"], "lifecycle id lifecycle"),
        (vec!["hash", fixture], "hash path digest size_bytes"),
        (vec!["remove", "tiny"], "removed id removed bytes_reclaimed shared_bytes blobs_removed kept exports"),
    ] {
        let run = host.run([&["--json"], &line[..]].concat()).done();
        let text = run.text().strip_suffix('\n').unwrap();
        let (kind, expected) = expected.split_once(' ').unwrap();
        assert_eq!(keys(text).join(" "), format!("type {expected}"), "{line:?}");
        assert!(text.starts_with(&format!("{{\"type\":\"{kind}\",")), "{text}");
        assert_eq!(run.stderr, "", "{line:?}");
    }
}

#[test]
fn the_id_of_a_file_is_its_reference() {
    let host = Host::new();
    let file = host.file("models/a.gguf", b"a");
    let staged = host.words("stage models/a.gguf --json").json_line();
    assert_eq!(staged["id"], format!("file:{}", fs::canonicalize(&file).unwrap().display()));
    for reference in ["models/a.gguf", file.to_str().unwrap(), staged["id"].as_str().unwrap()] {
        let found = host.run(["path", reference, "--json"]).json_line();
        assert_eq!(found["local_path"], staged["local_path"], "{reference}");
    }
}

#[test]
fn what_a_person_reads_after_stage_leads_on() {
    let host = Host::new();
    host.file("a.gguf", b"a");
    let run = host.run(["stage", "a.gguf", "--id", "my model"]).done();
    let path = host.run(["path", "my model"]).done();
    let [first, second] = run.text().lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(first.starts_with("staged my model: 1 B, sha256:ca978112ca1b, "), "{first}");
    assert_eq!(second, format!("  catalog path 'my model'  ->  {}", path.text().trim_end()));

    let again = host.run(["stage", "a.gguf", "--id", "other"]).done();
    assert!(again.text().contains("nothing stored, its bytes are here already"), "{}", again.text());

    // The suggested command must find the same catalog.
    let elsewhere = host.words("stage a.gguf --id a --root elsewhere").done();
    assert!(elsewhere.text().contains("\n  catalog --root elsewhere path a  ->  "), "{}", elsewhere.text());
}

#[test]
fn bytes_are_stored_once() {
    let host = Host::with_fixture_as("one");
    let two = host.stage(&fixture(), "two");
    assert_eq!((&two["deduplicated"], &two["stored_bytes"]), (&true.into(), &0.into()));

    let removed = host.words("remove one").done();
    assert!(removed.text().starts_with("removed one: nothing reclaimed\n"), "{}", removed.text());
    assert!(removed.text().contains("\n  kept sha256:1ef0bef1eb6c, 122.7 kB: "), "{}", removed.text());
    let removed = host.words("remove two --json").json_line();
    assert_eq!((&removed["blobs_removed"], &removed["kept"]), (&1.into(), &Value::Array(vec![])));
}

#[rstest]
#[case::copy("copy", true)]
#[case::link("link", true)]
#[case::moved("move", false)]
fn the_mode_that_was_asked_for_is_the_mode_that_was_used(#[case] mode: &str, #[case] source_stays: bool) {
    let host = Host::new();
    let file = host.file("a.gguf", b"a");
    let staged = host.run(["stage", "a.gguf", "--json", "--mode", mode]).json_line();
    assert_eq!(staged["mode"], mode);
    assert_eq!(file.exists(), source_stays);
}

#[test]
fn a_directory_is_one_model() {
    let host = Host::new();
    host.file("model/config.json", b"{}");
    host.file("model/part/a.safetensors", b"a");
    let staged = host.words("stage model --id m --json").json_line();
    assert_eq!((&staged["kind"], &staged["files"], &staged["size"]), (&"tree".into(), &2.into(), &3.into()));
    let path = PathBuf::from(staged["local_path"].as_str().unwrap());
    assert_eq!(fs::read(path.join("part/a.safetensors")).unwrap(), b"a");
}

#[test]
fn lifecycle() {
    let host = Host::with_fixture_as("tiny");
    host.stage(&fixture(), "other");
    assert_eq!(host.words("retire tiny").done().text(), "retired tiny\n");
    assert_eq!(host.words("list --state retired --json").json_line()["id"], "tiny");
    assert_eq!(host.words("list --state active --json").json_line()["id"], "other");

    // A retired model still resolves.
    let path = host.words("path tiny").done();
    assert!(path.stderr.starts_with("note: tiny is retired; "), "{}", path.stderr);
    assert_eq!(host.words("path tiny --quiet").done().stderr, "");

    assert_eq!(host.words("activate tiny --json").json_line()["lifecycle"], "active");
    assert_eq!(host.words("path tiny").done().stderr, "");
}

#[test]
fn list_and_show_for_people() {
    let host = Host::with_fixture_as("tiny");
    // This id looks like another one, and programs receive it unchanged.
    let deceptive = "tiny\u{202e}x";
    let long = "x".repeat(1024);
    host.stage(&fixture(), deceptive);
    host.stage(&fixture(), &long);
    let list = host.words("list").done();
    let lines: Vec<_> = list.text().lines().collect();
    assert_eq!(lines.len(), 4, "one line a model, and the heading");
    assert!(lines[0].starts_with("ID ") && lines[0].contains(" SIZE "), "{}", lines[0]);
    let columns: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(columns, ["tiny", "122688", "active", "warned", "file", "never"], "a program can read it");
    assert!(lines[2].starts_with(deceptive) && lines[3].starts_with(&long));
    assert_eq!(host.ids(), ["tiny", deceptive, &long]);

    let show = host.words("show tiny").done();
    for line in [
        "id:               tiny\n",
        &format!("digest:           sha256:{FIXTURE_SHA256}\n"),
        "size:             122.7 kB (122688 bytes)\n",
        "state:            active\n",
        "view:             hardlink\n",
        "architecture:     llama\n",
        "completeness:     complete\n",
    ] {
        assert!(show.text().contains(line), "{}", show.text());
    }
}

#[test]
fn an_empty_catalog_says_how_to_begin() {
    let host = Host::with_fixture_as("tiny");
    host.words("remove tiny").done();
    let list = host.words("list").done();
    assert_eq!(list.text(), "");
    assert!(list.stderr.contains("catalog stage FILE"), "{}", list.stderr);
    assert_eq!(host.words("list --quiet").done().stderr, "");
}

#[test]
fn quiet_receipts_are_silent_and_data_is_not() {
    let host = Host::new();
    host.file("a.gguf", b"a");
    for (line, is_silent) in [
        ("stage a.gguf --id a -q", true),
        ("stage a.gguf --id a -q --json", false),
        ("list -q", false),
        ("show a -q", false),
        ("path a -q", false),
        ("hash a.gguf -q", false),
        ("retire a -q", true),
        ("activate a -q", true),
        ("remove a -q", true),
    ] {
        let run = host.words(line).done();
        assert_eq!((run.text().is_empty(), run.stderr.as_str()), (is_silent, ""), "{line}");
    }
    assert!(host.words("path a -q").failed(3).contains("\"a\""));
}

#[test]
fn options_for_every_verb_go_before_and_after_it_and_beat_the_environment() {
    let host = Host::new();
    host.file("a.gguf", b"a");
    host.words("--root other stage a.gguf --id a").done();
    assert!(host.path("other/store.json").exists() && !host.root().exists());
    host.words("list --root other --json").json_line();
    host.words("--json --root other list").json_line();
}

#[test]
fn without_a_root_it_is_in_the_users_cache() {
    let host = Host::new();
    host.file("a.gguf", b"a");
    let mut command = host.command();
    command.env_remove("CATALOG_ROOT").args(["stage", "a.gguf"]);
    Run::of(command).done();
    assert!(host.path("cache/models/store.json").exists());
}

#[rstest]
#[case("list")]
#[case("path x")]
#[case("show x")]
#[case("retire x")]
#[case("activate x")]
#[case("remove x")]
#[case("stage ftp://x hf:")]
fn only_stage_makes_a_root_and_only_for_something(#[case] line: &str) {
    let host = Host::new();
    let run = host.words(line);
    assert_eq!(run.code, if line.starts_with("stage") { 2 } else { 3 }, "{}", run.stderr);
    assert!(!host.root().exists());
    assert!(line.starts_with("stage") || run.stderr.contains("catalog stage"), "{}", run.stderr);
}

#[test]
fn each_argument_is_done_and_the_code_is_that_of_the_first_that_failed() {
    let host = Host::new();
    host.file("a", b"a");
    host.file("b", b"b");
    let run = host.words("stage a ftp://x missing hf:o/r b --json");
    let errors: Vec<Value> = run.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let errors: Vec<_> = errors.iter().filter(|line| line["type"] == "error").collect();
    let kinds: Vec<_> = errors.iter().map(|line| (&line["id"], &line["error"]["kind"])).collect();
    assert_eq!(run.code, 2);
    assert_eq!(
        serde_json::json!(kinds),
        serde_json::json!([["ftp://…", "usage"], ["missing", "not_found"], ["hf:o/r", "refused"]])
    );
    assert_eq!((&errors[1]["error"]["hint"], errors[1].as_object().unwrap().len()), (&"check the path".into(), 3));
    let digests: Vec<_> = run.json_lines().iter().map(|staged| staged["digest"].clone()).collect();
    assert_eq!(digests, [b"a", b"b"].map(|bytes| Value::from(Digest::sha256_of(bytes).to_string())));
    assert_eq!(host.words("stage missing ftp://x a").code, 3);

    for verb in ["retire", "activate"] {
        let run = host.run([verb, "a", "missing", "", "b", "--json"]);
        assert_eq!((run.code, run.json_lines().len()), (3, 2), "{verb}: {}", run.stderr);
    }
    assert_eq!(host.run(["hash", "a", "missing", "b"]).text().lines().count(), 2);
    let run = host.run(["remove", "", "missing", "a", "b", "--json"]);
    assert_eq!((run.code, run.json_lines().len()), (2, 2), "{}", run.stderr);
    assert!(host.ids().is_empty());
}

#[test]
fn options_of_one_reference_are_refused_for_several() {
    let host = Host::new();
    let digest = format!("sha256:{EMPTY_SHA256}");
    for [option, value] in [["--id", "x"], ["--digest", &digest]] {
        let error = host.run(["stage", "a", "b", option, value]).failed(2);
        assert!(error.contains(option), "{error}");
    }
    assert!(!host.root().exists());
}

/// Small and large files, so that lanes are refilled and some are left over at the end.
#[test]
fn every_kernel_gives_the_same_hashes() {
    let host = Host::new();
    let names: Vec<String> = (0..70).map(|i| format!("{i}.gguf")).collect();
    for (i, name) in names.iter().enumerate() {
        host.file(name, &vec![i as u8; i * i * 37]);
    }
    let hashes = |kernel| {
        let mut command = host.command();
        command.arg("hash").args(&names).env("CATALOG_HASH_KERNEL", kernel);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let expected: Vec<_> =
        (0..70).map(|i| format!("{}  {i}.gguf\n", Digest::sha256_of(&vec![i as u8; i * i * 37]).to_hex())).collect();
    for kernel in ["avx512", "sha-ni", "portable", "something else"] {
        assert_eq!(hashes(kernel), expected.concat(), "{kernel}");
    }
}

#[test]
fn hashes_are_those_of_coreutils() {
    let host = Host::new();
    host.file("empty", b"");
    host.file("back\\slash", b"");
    host.file("new\nline", b"");
    let run = host.run(["hash", "empty", "back\\slash", "new\nline"]).done();
    let expected = [
        format!("{EMPTY_SHA256}  empty"),
        format!("\\{EMPTY_SHA256}  back\\\\slash"),
        format!("\\{EMPTY_SHA256}  new\\nline"),
    ];
    assert_eq!(run.text().lines().collect::<Vec<_>>(), expected);

    let blake3 = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(host.words("hash empty --blake3").done().text(), format!("{blake3}  empty\n"));
    let json = host.words("hash empty --blake3 --json").json_line();
    assert_eq!((&json["digest"], &json["size_bytes"]), (&format!("blake3:{blake3}").into(), &0.into()));
    assert!(!host.root().exists());

    host.words("hash missing").failed(3);
    host.words("hash .").failed(1);
}

#[test]
fn names_need_not_be_utf_8() {
    let host = Host::new();
    let name = OsStr::from_bytes(b"\xff.gguf");
    fs::write(host.dir.path().join(name), b"").unwrap();
    let run = host.run([OsStr::new("hash"), name]).done();
    assert_eq!(run.stdout, [EMPTY_SHA256.as_bytes(), b"  \xff.gguf\n"].concat());

    let error = host.run([OsStr::new("hash"), OsStr::from_bytes(b"\xfe\n")]).failed(3);
    assert!(error.contains("\u{fffd}\\n"), "{error}");
}

#[test]
fn a_missing_source() {
    let host = Host::new();
    let error = host.words("stage missing.gguf").failed(3);
    assert!(error.contains("missing.gguf"), "{error}");
    let dangling = host.path("dangling");
    symlink("nowhere", &dangling).unwrap();
    host.words("stage dangling").failed(3);
}

// Red when something is allowed that no rule names, or when the error does not end with what would allow it.
#[rstest]
#[case("hf:org/repo/file.gguf", "huggingface.co")]
#[case("https://models.example:8443/file.gguf", "models.example:8443")]
#[case("oci://registry.example:5000/acme/tiny:v1", "registry.example:5000")]
#[case("s3://bucket/file.gguf", "bucket.s3.us-east-1.amazonaws.com")]
#[case("http://models.example/file.gguf", "http://models.example")]
fn a_reference_that_no_rule_allows(#[case] reference: &str, #[case] rule: &str) {
    let error = Host::new().run(["stage", reference]).failed(6);
    assert!(error.trim_end().ends_with(&format!("--allow-net {rule}")), "{error}");
}

#[test]
fn what_is_neither_a_file_nor_a_directory_is_refused_at_once() {
    let host = Host::new();
    let made = Command::new("mkfifo").arg(host.path("fifo")).status().unwrap();
    assert!(made.success());
    let _socket = UnixListener::bind(host.path("socket")).unwrap();
    for source in ["fifo", "socket", "/dev/null"] {
        let error = host.run(["stage", source]).failed(1);
        assert!(error.contains(source), "{error}");
    }
    assert!(host.ids().is_empty());
}

#[test]
fn an_empty_file_is_a_file() {
    let host = Host::new();
    let empty = host.file("empty", b"");
    let staged = host.stage(&empty, "empty");
    assert_eq!((&staged["size"], &staged["digest"]), (&0.into(), &format!("sha256:{EMPTY_SHA256}").into()));
    assert_eq!(fs::read(staged["local_path"].as_str().unwrap()).unwrap(), b"");
}

#[rstest]
#[case::empty(String::new())]
#[case::control("a\nb".into())]
#[case::too_long("x".repeat(1025))]
fn text_that_cannot_be_an_id(#[case] id: String) {
    let host = Host::new();
    host.file("a", b"a");
    host.run(["stage", "a", "--id", &id]).failed(2);
    host.words("stage a --id a").done();
    for verb in ["path", "show", "retire", "activate", "remove"] {
        // An argument that is too long for an id may still be a path.
        let expected = if id.len() > 1024 { [2, 3].as_slice() } else { &[2] };
        let run = host.run([verb, &id]);
        assert!(expected.contains(&run.code), "{verb}: {} {}", run.code, run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{verb}: {}", run.stderr);
    }
    assert_eq!(host.ids(), ["a"]);
}

#[rstest]
#[case("")]
#[case(EMPTY_SHA256)]
#[case("sha256:1ef0")]
#[case("sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
#[case("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")]
fn text_that_is_not_a_digest(#[case] digest: &str) {
    let host = Host::new();
    host.file("a", b"a");
    host.run(["stage", "a", "--digest", digest]).failed(2);
    assert!(!host.root().exists());
}

#[test]
fn content_that_is_not_what_it_was_said_to_be() {
    let host = Host::new();
    host.file("a", b"a");
    let error = host.run(["stage", "a", "--id", "a", "--digest", &format!("sha256:{EMPTY_SHA256}")]).failed(4);
    assert!(error.contains(EMPTY_SHA256) && error.contains(&Digest::sha256_of(b"a").to_hex()), "{error}");
    assert!(host.ids().is_empty());
    for folder in ["ingest", "blobs", "views"] {
        assert!(host.files_under(folder).is_empty(), "{folder}");
    }

    let staged = host.run(["stage", "a", "--id", "a", "--digest", &Digest::sha256_of(b"a").to_string()]);
    staged.done();
    assert_eq!(host.words("show a --json").json_line()["trust"], "verified");
}

#[test]
fn a_root_that_is_a_file() {
    let host = Host::new();
    host.file("a", b"a");
    host.file("root", b"precious");
    host.words("stage a").failed(1);
    host.words("list").failed(1);
    assert_eq!(fs::read(host.root()).unwrap(), b"precious");
}

#[test]
fn a_root_of_a_newer_format() {
    let host = Host::with_fixture_as("tiny");
    let store = host.root().join("store.json");
    let mut content: Value = serde_json::from_slice(&fs::read(&store).unwrap()).unwrap();
    content["format"] = 2.into();
    fs::write(&store, content.to_string()).unwrap();
    for line in ["list", "path tiny", "remove tiny", "stage a --id a"] {
        host.file("a", b"a");
        let error = host.words(line).failed(1);
        assert!(error.contains("store.json"), "{line}: {error}");
    }
    assert_eq!(fs::read_to_string(&store).unwrap(), content.to_string());
}

#[rstest]
#[case::truncated(|text: &str| text[..text.len() / 2].to_owned())]
#[case::emptied(|_: &str| String::new())]
#[case::garbage(|_: &str| "not json".to_owned())]
#[case::checksum_of_something_else(flip_checksum)]
fn a_damaged_shard_is_never_taken_for_an_empty_one(#[case] damage: fn(&str) -> String) {
    let host = Host::with_fixture_as("tiny");
    let shard = host.shard("tiny");
    let damaged = damage(&fs::read_to_string(&shard).unwrap());
    fs::write(&shard, &damaged).unwrap();
    let source = fixture();
    for args in [
        &["list"] as &[_],
        &["path", "tiny"],
        &["show", "tiny"],
        &["retire", "tiny"],
        &["remove", "tiny"],
        &["stage", source.to_str().unwrap(), "--id", "tiny"],
    ] {
        let error = host.run(args).failed(4);
        assert!(error.contains(shard.file_name().unwrap().to_str().unwrap()), "{args:?}: {error}");
    }
    assert_eq!(fs::read_to_string(&shard).unwrap(), damaged);
}

fn flip_checksum(text: &str) -> String {
    let (before, after) = text.split_once("blake3:").unwrap();
    let digit = if after.starts_with('0') { '1' } else { '0' };
    format!("{before}blake3:{digit}{}", &after[1..])
}

#[test]
fn a_tree_with_a_symlink_that_leads_out() {
    let host = Host::new();
    host.file("tree/a", b"a");
    host.file("outside", b"b");
    symlink("../outside", host.path("tree/link")).unwrap();
    let error = host.words("stage tree --id t").failed(1);
    assert!(error.contains("--follow-links"), "{error}");
    assert!(host.ids().is_empty());

    let staged = host.words("stage tree --id t --follow-links --json").json_line();
    assert_eq!(staged["files"], 2);
    let link = Path::new(staged["local_path"].as_str().unwrap()).join("link");
    assert!(link.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(link).unwrap(), b"b");
}

#[test]
fn a_tree_with_a_loop() {
    let host = Host::new();
    host.file("tree/a", b"a");
    symlink(".", host.path("tree/loop")).unwrap();
    for line in ["stage tree --id t", "stage tree --id t --follow-links"] {
        let error = host.words(line).failed(1);
        assert!(error.contains("tree"), "{error}");
    }
    assert!(host.ids().is_empty());
}

#[test]
fn an_entry_whose_file_is_gone() {
    let host = Host::with_fixture_as("tiny");
    let path = host.words("path tiny").done();
    fs::remove_file(path.text().trim_end()).unwrap();
    let error = host.words("path tiny").failed(3);
    assert!(error.contains(path.text().trim_end()), "{error}");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_the_work_is_done() {
    let host = Host::with_fixture_as("tiny");
    for line in ["list", "list --json", "path tiny", "--help", "completions bash", "man", "remove tiny"] {
        let mut command = host.command();
        command.args(line.split(' ')).stdout(File::options().write(true).open("/dev/full").unwrap());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        let said = "could not write to standard output: ";
        let is_json = line.ends_with("--json");
        let begins = if is_json { format!("\"message\":\"{said}") } else { format!("error: {said}") };
        assert!(stderr.contains(&begins) && stderr.lines().count() == 1, "{line}: {stderr}");
    }
    assert!(host.ids().is_empty());
}

#[test]
fn a_reader_that_has_left_is_no_error() {
    let host = Host::with_fixture_as("tiny");
    host.stage(&fixture(), "other");
    for line in ["list", "list --json", "path tiny", "--help", "completions bash", "man", "remove tiny other"] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = host.command().args(line.split(' ')).stdout(Stdio::from(writer)).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &[][..]), "{line}");
    }
    assert!(host.ids().is_empty());
}

#[test]
fn packagers_need_no_root() {
    let host = Host::new();
    assert!(host.words("man").done().text().contains("EXIT STATUS"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(host.run(["completions", shell]).done().text().contains("catalog"), "{shell}");
    }
    host.words("man --dir share/man1").done();
    for page in ["catalog.1", "catalog-stage.1", "catalog-remove.1", "catalog-config-set.1"] {
        assert!(host.path("share/man1").join(page).exists(), "{page}");
    }
    host.file("taken", b"");
    host.words("man --dir taken").failed(1);
    assert!(!host.root().exists() && !host.path("cache").exists());
}

#[test]
fn help_and_usage() {
    let host = Host::new();
    let version = host.words("--version").done();
    assert_eq!(version.text(), format!("catalog {}\n", env!("CARGO_PKG_VERSION")));
    let help = host.words("--help").done();
    for code in 0..=5 {
        assert!(help.text().contains(&format!("\n  {code}  ")), "{}", help.text());
    }
    for line in [
        "",
        "unknown",
        "stage",
        "path",
        "path a b",
        "list --state gone",
        "stage a --mode teleport",
        "hash",
        "completions tcsh",
    ] {
        let run = host.words(line);
        assert_eq!((run.code, run.text()), (2, ""), "{line}: {}", run.stderr);
        assert!(!run.stderr.is_empty(), "{line}");
    }
}

// Red when a hint leaves the root out: pasted, it would work on another catalog.
#[test]
fn what_to_do_is_a_command_that_can_be_pasted() {
    let host = Host::new();
    let other = host.path("other root");
    let at = |line: &str| {
        let mut command = host.command();
        command.arg("--root").arg(&other).args(line.split_whitespace());
        Run::of(command)
    };
    let command = format!("`catalog --root '{}'", other.display());
    assert!(at("list").failed(3).contains(&format!("there is none; {command} stage FILE` makes one")));
    host.file("m.gguf", b"m");
    at("stage m.gguf --id m --quiet").done();
    let error = at("show x").failed(3);
    assert!(
        error.contains("no such entry; ") && error.ends_with(&format!("{command} list` shows what is here\n")),
        "{error}"
    );
    // A root from the environment is left out of hints.
    host.stage(&host.path("m.gguf"), "m");
    assert!(host.words("show x").failed(3).ends_with("; `catalog list` shows what is here\n"));
}

#[test]
fn what_is_said_of_partials() {
    let host = Host::new();
    host.words("partials").failed(3);
    host.words("config set max_bytes 1GB").done();
    assert_eq!(host.words("partials").done().stderr, "note: there are no partials\n");
    let error = host.words("partials --remove 0123").failed(3);
    assert!(error.contains("\"0123\": there is no such key"), "{error}");
    // An interrupted copy, as a kill leaves it: without its journal, nobody knows what it is a copy of.
    let folder = host.root().join("partials").join("0".repeat(32));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("data"), vec![1; 5000]).unwrap();
    let listed = host.words("partials").done().text().to_owned();
    assert!(listed.starts_with(&"0".repeat(32)) && listed.contains("of something that cannot be read"), "{listed}");
    let json = host.words("partials --json").done().json_line();
    assert_eq!((&json["state"], &json["bytes_done"]), (&"dead".into(), &0.into()));
    let removed = host.words("partials --remove --json").done().json_line();
    assert!(removed["disk_bytes"].as_u64().unwrap() > 0 && !folder.exists(), "{removed}");
}

#[test]
fn rules_of_the_network_are_kept_and_checked() {
    let host = Host::new();
    let set = host.run(["config", "set", "allow_net", "hf, models.example:8443"]).done();
    assert_eq!(set.text(), "allow_net is hf,models.example:8443\n");
    for wrong in ["", "ftp://models.example", "hf,a..b"] {
        host.run(["config", "set", "allow_net", wrong]).failed(2);
    }
    assert_eq!(host.words("config get allow_net").done().text(), "hf,models.example:8443\n");
    let error = host.words("stage https://models.example/a --retries 0").failed(6);
    assert!(error.contains("--allow-net models.example"), "{error}");
    assert_eq!(host.words("config unset allow_net --json").done().json_line()["value"], Value::Null);
}

// Red when an error names the whole reference.
#[test]
fn what_is_secret_in_a_reference_is_not_said() {
    let host = Host::new();
    for (words, code) in [("--offline", 7), ("--allow-net other.example", 6)] {
        let words = format!("stage https://user:secret@models.example/a?X-Signature=secret --retries 0 {words}");
        let error = host.words(&words).failed(code);
        assert!(error.contains("models.example/a?…") && !error.contains("secret"), "{error}");
        let json = host.words(&format!("{words} --json"));
        assert!(json.stderr.contains("models.example/a?…") && !json.stderr.contains("secret"), "{}", json.stderr);
    }
    let error = host.words("stage ftp://user:secret@models.example/a?X-Signature=secret").failed(2);
    assert!(!error.contains("secret"), "{error}");
}
