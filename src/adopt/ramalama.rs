//! RamaLama.
//!
//! ```text
//! store/<transport>/<organisation>/<name>/refs/<tag>.json              the files of a model
//! store/<transport>/<organisation>/<name>/blobs/sha256-<64 hex>        a file
//! store/<transport>/<organisation>/<name>/snapshots/<hash>/<file>      a second name of the blob
//! ```
//!
//! Old versions wrote `refs/<tag>` without an ending: the hash of the snapshot, then the name of each file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::found::{Claim, Found, FoundFile, Sharing};
use super::names;
use super::reader::{Entry, MAX_JSON_BYTES, Problem, Reader, parse, shown};
use crate::digest::Digest;
use crate::entry::ArtifactKind;

/// The transports by which a model can come, as the folders are named.
pub(super) const TRANSPORTS: [&str; 8] =
    ["huggingface", "ollama", "modelscope", "oci", "rlcr", "file", "http", "https"];

#[derive(Deserialize)]
struct Ref {
    hash: String,
    files: Vec<RefFile>,
}

#[derive(Deserialize)]
struct RefFile {
    /// The name of the blob. Empty in a ref of an old version.
    hash: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The folder with the transports in the base folder that the tool is configured with.
pub(super) fn store(dir: &Path) -> PathBuf {
    let below = dir.join("store");
    if below.is_dir() { below } else { dir.to_path_buf() }
}

pub(super) fn scan(reader: &mut Reader) {
    let root = reader.root();
    for transport in reader.list(&store(&root)).into_iter().filter(Entry::is_folder) {
        let mut folders = vec![(transport.path, String::new())];
        while let Some((dir, path)) = folders.pop() {
            let entries = reader.list(&dir);
            let is_model = entries.iter().any(|entry| entry.name == "refs" && entry.is_folder());
            if is_model {
                scan_model(reader, &dir, &transport.name, &path);
            }
            for entry in entries.into_iter().filter(Entry::is_folder) {
                if !is_model || !matches!(entry.name.as_str(), "refs" | "blobs" | "snapshots") {
                    let path = if path.is_empty() { entry.name } else { format!("{path}/{}", entry.name) };
                    folders.push((entry.path, path));
                }
            }
        }
    }
}

fn scan_model(reader: &mut Reader, dir: &Path, transport: &str, path: &str) {
    let refs: Vec<Entry> = reader.list(&dir.join("refs")).into_iter().filter(|entry| !entry.is_folder()).collect();
    for entry in &refs {
        let tag = entry.name.strip_suffix(".json").unwrap_or(&entry.name);
        // RamaLama replaces an old ref by a new one, and reads the new one if both are there.
        let is_old = tag == entry.name;
        if is_old && refs.iter().any(|other| other.name == format!("{tag}.json")) {
            continue;
        }
        match found(reader, dir, entry, transport, id(transport, path, tag)) {
            Ok(found) => reader.add(&entry.path, found),
            Err(reason) => reader.skip(&entry.path, reason),
        }
    }
    for blob in reader.list(&dir.join("blobs")) {
        if names::is_leftover(&blob.name) {
            reader.skip(blob.path, "an unfinished download");
        }
    }
}

/// The id as `ramalama ls` prints it.
fn id(transport: &str, path: &str, tag: &str) -> String {
    let (shown, slashes) = match transport {
        "huggingface" => ("hf", "://"),
        "file" => ("file", ":///"),
        other => (other, "://"),
    };
    let leaves_latest_out = tag == "latest" && !matches!(transport, "ollama" | "oci");
    let tag = if leaves_latest_out { String::new() } else { format!(":{tag}") };
    format!("ramalama:{shown}{slashes}{path}{tag}")
}

fn found(reader: &Reader, dir: &Path, entry: &Entry, transport: &str, id: String) -> Result<Found, String> {
    let bytes = reader.read(&entry.path, MAX_JSON_BYTES).map_err(|problem| format!("its ref: {problem}"))?;
    let parsed = if entry.name.ends_with(".json") { parse(&bytes) } else { old_ref(&bytes) };
    let parsed: Ref = parsed.map_err(|problem| format!("its ref: {problem}"))?;
    let mut files = Vec::new();
    for file in &parsed.files {
        match found_file(reader, dir, &parsed.hash, file, transport) {
            Ok(file) => files.push(file),
            Err(Problem::Missing) => {}
            Err(problem @ Problem::LeadsOut(_)) => return Err(problem.to_string()),
            Err(problem) => return Err(format!("{}: {problem}", shown(&file.name))),
        }
    }
    if files.len() != parsed.files.len() {
        return Err(format!("{} of {} files of its list are there", files.len(), parsed.files.len()));
    }
    if !files.iter().any(|file| names::is_weights(&file.path)) {
        return Err("no model file in it".to_owned());
    }
    let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (kind, name) = match files.as_mut_slice() {
        [file] => (ArtifactKind::File, names::file_name(&std::mem::take(&mut file.path)).to_owned()),
        _ => (ArtifactKind::Tree, names::plain(&folder)),
    };
    Ok(Found { tool: reader.tool(), id, also: Vec::new(), pinned: None, kind, name, files, is_whole: true })
}

fn old_ref(bytes: &[u8]) -> Result<Ref, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::Other("it is not UTF-8".to_owned()))?;
    let mut lines = text.lines().map(str::trim);
    let hash = lines.next().unwrap_or_default().to_owned();
    let file = |line: &str| {
        let (name, kind) = line.split_once("---").unwrap_or((line, ""));
        let kind = match kind {
            "model" => "gguf",
            "chat" => "chat_template",
            other => other,
        };
        RefFile { hash: String::new(), name: name.to_owned(), kind: kind.to_owned() }
    };
    Ok(Ref { hash, files: lines.take_while(|line| !line.is_empty()).map(file).collect() })
}

fn found_file(
    reader: &Reader,
    dir: &Path,
    snapshot: &str,
    file: &RefFile,
    transport: &str,
) -> Result<FoundFile, Problem> {
    // Ollama models come without an ending.
    let is_bare = file.kind == "gguf" && !names::is_weights(&file.name);
    let path = if is_bare { format!("{}.gguf", file.name) } else { file.name.clone() };
    let hash = file.hash.replace(':', "-");
    let in_snapshot = || dir.join("snapshots").join(snapshot.replace(':', "-")).join(&file.name);
    let at = if hash.is_empty() { in_snapshot() } else { dir.join("blobs").join(&hash) };
    let real = match reader.model_file(&at, &path) {
        Err(Problem::Missing) => reader.model_file(&in_snapshot(), &path),
        other => other,
    }?;
    // A symlink inside the store could lead into the folder of another model.
    let own = reader.real(dir)?;
    if !real.source.starts_with(&own) {
        return Err(Problem::LeadsOut("model's folder"));
    }
    let claim = claim(transport, file, &hash);
    let sharing = if is_written_in_place(transport, file) { Sharing::Reflink } else { Sharing::Hardlink };
    Ok(FoundFile { path, source: real.source, size_bytes: real.size_bytes, claim, sharing, lock: None })
}

/// Whether RamaLama may open the finished file to write into it: what it copies from a path or a URL at each pull, and
/// templates that it converts.
fn is_written_in_place(transport: &str, file: &RefFile) -> bool {
    matches!(transport, "file" | "http" | "https")
        || file.kind == "chat_template"
        || names::file_name(&file.name).starts_with("chat_template")
}

/// The digest in the name of a blob. For many files, it is the digest of their name instead, and claims nothing: for
/// all of some transports, for files beside the model, and for the parts of a split one.
fn claim(transport: &str, file: &RefFile, hash: &str) -> Option<Claim> {
    let is_named_by_content = matches!(transport, "huggingface" | "ollama" | "oci")
        && matches!(file.kind.as_str(), "gguf" | "mmproj" | "safetensor")
        && names::part(&file.name).is_none_or(|part| part.number == 1);
    let digest = hash.strip_prefix("sha256-").and_then(Digest::from_sha256_hex);
    digest.filter(|_| is_named_by_content).map(Claim::Sha256)
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::Tool;
    use super::super::fake::{Fake, digits};

    /// Adds a ref with files, each `(name, type, hash)`, and their blobs with the bytes `x`.
    fn add(fake: &Fake, model: &str, tag: &str, files: &[(&str, &str, &str)]) {
        let json = files.iter().map(|(name, kind, hash)| {
            fake.file(&format!("store/{model}/blobs/{}", hash.replace(':', "-")), "x");
            format!(r#"{{"hash": "{hash}", "name": "{name}", "type": "{kind}"}}"#)
        });
        add_ref(fake, model, tag, &json.collect::<Vec<_>>().join(","));
    }

    fn add_ref(fake: &Fake, model: &str, tag: &str, files: &str) {
        let json = format!(r#"{{"version": "v1.0.1", "hash": "sha256-s", "path": "/elsewhere", "files": [{files}]}}"#);
        fake.file(&format!("store/{model}/refs/{tag}.json"), json);
    }

    fn sha(bytes: &str) -> String {
        format!("sha256:{}", digits(bytes))
    }

    #[test]
    fn ids_are_what_ramalama_prints() {
        let fake = Fake::new();
        let hash = sha("x");
        for (model, tag) in [
            ("huggingface/tiny/bert", "latest"),
            ("huggingface/tiny/llama", "Q8_0"),
            ("ollama/library/smollm", "latest"),
            ("file/home/me/m.gguf", "latest"),
            ("https/a.example/x/y.gguf", "latest"),
        ] {
            add(&fake, model, tag, &[("m.gguf", "gguf", &hash)]);
        }
        let ids = [
            "file:///home/me/m.gguf",
            "hf://tiny/bert",
            "hf://tiny/llama:Q8_0",
            "https://a.example/x/y.gguf",
            "ollama://library/smollm:latest",
        ];
        assert_eq!(fake.lines(Tool::RamaLama), ids.map(|id| format!("ramalama:{id} whole file m.gguf [:1]")));
        assert_eq!(super::super::tool_of(&fake.root), Some(Tool::RamaLama));
        assert_eq!(super::super::tool_of(&fake.root.join("store")), Some(Tool::RamaLama));
    }

    // Red when the digest of a name is taken as the digest of the bytes: adopting would say that the store is damaged.
    #[test]
    fn only_the_digest_of_bytes_is_a_claim() {
        let fake = Fake::new();
        let hash = sha("x");
        let all = [
            ("m-00001-of-00002.gguf", "gguf", hash.as_str()),
            ("m-00002-of-00002.gguf", "gguf", &sha("m-00002-of-00002.gguf")),
            ("mmproj.gguf", "mmproj", &sha("p")),
            ("chat_template_converted", "chat_template", &sha("t")),
            ("config.json", "other", &sha("config.json")),
            ("model.safetensors", "safetensor", &sha("s")),
        ];
        add(&fake, "huggingface/a/b", "latest", &all);
        add(&fake, "http/a/b", "latest", &all[..1]);
        let claim = |bytes: &str| digits(bytes)[..4].to_owned();
        assert_eq!(
            fake.claims(Tool::RamaLama),
            [
                "chat_template_converted none reflink".to_owned(),
                "config.json none hardlink".into(),
                format!("m-00001-of-00002.gguf sha256 {} hardlink", claim("x")),
                "m-00002-of-00002.gguf none hardlink".into(),
                format!("mmproj.gguf sha256 {} hardlink", claim("p")),
                format!("model.safetensors sha256 {} hardlink", claim("s")),
                " none reflink".into(),
            ]
        );
    }

    #[test]
    fn a_ref_without_an_ending_is_an_old_one() {
        let fake = Fake::new();
        let blob = format!("sha256-{}", digits("x"));
        fake.file("store/ollama/library/m/refs/latest", "sha256:s\nm---model\nchat_template---chat\n");
        fake.file(&format!("store/ollama/library/m/blobs/{blob}"), "x");
        fake.link("store/ollama/library/m/snapshots/sha256-s/m", format!("../../blobs/{blob}"));
        fake.file("store/ollama/library/m/snapshots/sha256-s/chat_template", "t");
        let line = "ramalama:ollama://library/m:latest whole tree m [chat_template:1 m.gguf:1]";
        assert_eq!(fake.lines(Tool::RamaLama), [line]);
    }

    #[test]
    fn what_is_missing_or_hostile_is_skipped() {
        let fake = Fake::new();
        let hash = sha("x");
        add(&fake, "ollama/a/b", "half", &[("m.gguf", "gguf", &hash), ("c.json", "other", &sha("c"))]);
        std::fs::remove_file(fake.root.join(format!("store/ollama/a/b/blobs/sha256-{}", digits("c")))).unwrap();
        add(&fake, "ollama/a/b", "none", &[("config.json", "other", &hash)]);
        let file = |name: &str, hash: &str| format!(r#"{{"name": "{name}", "hash": "{hash}", "type": "gguf"}}"#);
        add_ref(&fake, "ollama/a/b", "up", &format!("{}, {}", file("../m.gguf", &hash), file("n.gguf", &hash)));
        add_ref(&fake, "ollama/a/b", "out", &file("m.gguf", "../../../../../../outside.gguf"));
        add_ref(&fake, "ollama/a/b", "absolute", &file("m.gguf", &fake.outside().display().to_string()));
        add_ref(&fake, "ollama/a/b", "other", &file("m.gguf", &format!("../../c/blobs/{hash}")));
        add(&fake, "ollama/a/c", "fine", &[("m.gguf", "gguf", &hash)]);
        fake.file("store/ollama/a/b/blobs/sha256-0.partial", "").fifo("store/ollama/a/b/refs/fifo.json");
        fake.link("store/ollama/a/circle", "..");
        let at = |tag: &str, reason: &str| format!("- store/ollama/a/b/refs/{tag}.json: {reason}");
        assert_eq!(
            fake.lines(Tool::RamaLama),
            [
                "ramalama:ollama://a/c:fine whole file m.gguf [:1]".to_owned(),
                "- store/ollama/a/b/blobs/sha256-0.partial: an unfinished download".into(),
                at("absolute", "a symlink leads out of the store"),
                at("fifo", "its ref: it is no regular file"),
                at("half", "1 of 2 files of its list are there"),
                at("none", "no model file in it"),
                at("other", "a symlink leads out of the model's folder"),
                at("out", "a symlink leads out of the store"),
                at("up", "it names a file \"../m.gguf\", which could lead out of its folder"),
            ]
        );
    }
}
