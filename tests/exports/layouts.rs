//! The names of each layout.

use super::*;

use catalog_core::{Digest, ExportWay, LinkMode};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Digest::sha256_of(bytes).to_hex()
}

/// `git hash-object`.
const GIT_OF_CONFIG: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

#[test]
fn hf_has_blobs_pointers_a_branch_and_the_list() {
    let (host, catalog) = host();
    for layout in [ExportLayout::Hf, ExportLayout::LlamaCpp] {
        let receipt = export(&host, &catalog, layout).unwrap();
        let to = to(&host, layout);
        let weights = sha256(b"weights");
        let content = content(&to);
        let repo = "models--org--model";
        let blob = |etag: &str| content.get(&format!("{repo}/blobs/{etag}")).cloned();
        assert_eq!(blob(&weights).as_deref(), Some("weights"), "the Hub keeps it in LFS");
        assert_eq!(blob(GIT_OF_CONFIG).as_deref(), Some("{}"), "git keeps it");
        let pointer = |path: &str| content.get(&format!("{repo}/snapshots/{COMMIT}/{path}")).cloned().unwrap();
        assert_eq!(pointer("config.json"), format!("-> ../../blobs/{GIT_OF_CONFIG}"));
        assert_eq!(pointer("model.safetensors"), format!("-> ../../blobs/{weights}"));
        assert!(pointer("sub/README.md").starts_with("-> ../../../blobs/"));
        assert_eq!(fs::read(to.join(repo).join("refs/main")).unwrap(), COMMIT.as_bytes(), "without a line break");
        assert!(content["CACHEDIR.TAG"].starts_with("Signature: 8a477f597d28d172789f06886806bc55"));
        // A list for a commit that the export was only told about would say that nothing else exists.
        assert!(!to.join(repo).join("trees").exists());
        assert_eq!(receipt.path, to.join(repo).join("snapshots").join(COMMIT));
        assert_eq!((receipt.way, receipt.copied_bytes), (ExportWay::Hardlink, 0));
        let lock = to.join(format!(".locks/{repo}/{weights}.lock"));
        assert!(lock.exists(), "the blob was written under the lock of the tool");
    }
}

#[test]
fn without_a_commit_one_is_made_up_and_the_list_is_whole() {
    let (host, catalog) = host();
    let options = options_for(&host, ExportLayout::Hf).with_revision(None);
    catalog.export("hf:org/model", &options).unwrap();
    let repo = to(&host, ExportLayout::Hf).join("models--org--model");
    let commit = fs::read_to_string(repo.join("refs/main")).unwrap();
    assert!(commit.len() == 40 && repo.join("snapshots").join(&commit).join("config.json").exists(), "{commit}");
    let list = json(&repo.join(format!("trees/{commit}.json")));
    assert_eq!(mode_of(&repo.join(format!("trees/{commit}.json"))), 0o600);
    assert_eq!(list["format_version"], 1);
    assert_eq!(list["files"]["config.json"], serde_json::json!({"size": 2, "blob_id": GIT_OF_CONFIG}));
    let weights = &list["files"]["model.safetensors"];
    assert_eq!((&weights["lfs_sha256"], &weights["lfs_size"]), (&sha256(b"weights").into(), &7.into()));
    assert_eq!(list["files"].as_object().unwrap().len(), 3);
}

#[test]
fn one_file_of_a_repository_has_its_path_there() {
    let (host, catalog) = host();
    stage(&catalog, &fixture(), "hf:org/gguf/q8/tiny.gguf").unwrap();
    catalog.export("hf:org/gguf/q8/tiny.gguf", &options_for(&host, ExportLayout::Hf)).unwrap();
    let snapshot = to(&host, ExportLayout::Hf).join("models--org--gguf/snapshots").join(COMMIT);
    assert_eq!(fs::read(snapshot.join("q8/tiny.gguf")).unwrap(), fs::read(fixture()).unwrap());
}

#[test]
fn ollama_has_blobs_and_a_manifest() {
    let (host, catalog) = host();
    let options = options_for(&host, ExportLayout::Ollama).with_repo("me/tiny:q8".to_owned());
    let receipt = catalog.export("file", &options).unwrap();
    let to = to(&host, ExportLayout::Ollama);
    let manifest = json(&to.join("manifests/registry.ollama.ai/me/tiny/q8"));
    assert_eq!((receipt.name.as_str(), &manifest["schemaVersion"]), ("me/tiny:q8", &2.into()));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0]["mediaType"], "application/vnd.ollama.image.model");
    assert_eq!(layers[0]["digest"], format!("sha256:{FIXTURE_SHA256}"));
    let config = manifest["config"]["digest"].as_str().unwrap().replace(':', "-");
    let config = json(&to.join("blobs").join(config));
    assert_eq!((&config["model_format"], &config["model_family"]), (&"gguf".into(), &"llama".into()));
    assert_eq!((&config["file_type"], &config["model_families"][0]), (&"Q8_0".into(), &"llama".into()));
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{FIXTURE_SHA256}"));
    assert_eq!(names(&to).len(), 3);
}

/// What adopting a model of Ollama gives.
#[test]
fn a_model_of_ollama_gets_its_manifest_back() {
    let host = Host::new();
    let catalog = host.catalog();
    let gguf = fs::read(fixture()).unwrap();
    host.file("m/llama3-8b.gguf", &gguf);
    host.file("m/template.txt", "{{ .Prompt }}");
    host.file("m/params.json", "{}");
    host.file("m/license.txt", "one");
    host.file("m/license-2.txt", "two");
    let ids: Vec<String> = [b"{{ .Prompt }}", &gguf[..], b"two", b"one", b"{}"]
        .iter()
        .map(|bytes| Digest::sha256_of(bytes).to_string())
        .collect();
    let config = serde_json::json!({"model_format": "gguf", "rootfs": {"type": "layers", "diff_ids": ids}}).to_string();
    host.file("m/ollama.json", &config);
    stage(&catalog, &host.path("m"), "ollama:llama3:8b").unwrap();
    catalog.export("ollama:llama3:8b", &options_for(&host, ExportLayout::Ollama)).unwrap();
    let to = to(&host, ExportLayout::Ollama);
    let manifest = json(&to.join("manifests/registry.ollama.ai/library/llama3/8b"));
    assert_eq!(manifest["config"]["digest"], format!("sha256:{}", sha256(config.as_bytes())));
    let digests: Vec<&str> =
        manifest["layers"].as_array().unwrap().iter().map(|l| l["digest"].as_str().unwrap()).collect();
    assert_eq!(digests, ids, "in the order of the configuration");
    let kinds: Vec<&str> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["mediaType"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    assert_eq!(kinds, ["template", "model", "license", "license", "params"]);
}

#[test]
fn what_ollama_cannot_have_is_refused() {
    let (host, catalog) = host();
    host.file("two/a.gguf", "GGUF a");
    host.file("two/b.gguf", "GGUF b");
    host.file("not.gguf", "no gguf");
    for (path, reason) in
        [("model", "it has no GGUF file"), ("two", "several GGUF files"), ("not.gguf", "not a GGUF file")]
    {
        stage(&catalog, &host.path(path), path).unwrap();
        let error = catalog.export(path, &options_for(&host, ExportLayout::Ollama)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    assert!(exports(&catalog).is_empty() && !to(&host, ExportLayout::Ollama).exists());
}

#[test]
fn ramalama_has_a_reference_and_second_names() {
    let (host, catalog) = host();
    export(&host, &catalog, ExportLayout::RamaLama).unwrap();
    let model = to(&host, ExportLayout::RamaLama).join("store/huggingface/org/model");
    let reference = json(&model.join("refs/latest.json"));
    let hash = reference["hash"].as_str().unwrap();
    assert!(hash.starts_with("sha256-") && reference["version"] == "v1.0.1", "{reference}");
    assert_eq!(reference["path"], model.join("refs/latest.json").to_str().unwrap());
    let weights =
        reference["files"].as_array().unwrap().iter().find(|file| file["name"] == "model.safetensors").unwrap();
    assert_eq!(
        (&weights["type"], &weights["hash"]),
        (&"safetensor".into(), &format!("sha256-{}", sha256(b"weights")).into())
    );
    let (blob, name) =
        (model.join("blobs").join(weights["hash"].as_str().unwrap()), model.join("snapshots").join(hash));
    assert_eq!(inode_of(&blob), inode_of(&name.join("model.safetensors")));
    assert!(is_a_blob(&host.root(), &blob));
}

#[test]
fn folders_have_the_files() {
    let (host, catalog) = host();
    for (layout, folder) in [
        (ExportLayout::LmStudio, "org/model"),
        (ExportLayout::ModelScope, "models/org--model/snapshots/master"),
        (ExportLayout::Dir, "model"),
    ] {
        let receipt = export(&host, &catalog, layout).unwrap();
        let folder = to(&host, layout).join(folder);
        assert_eq!(receipt.path, folder);
        assert_eq!(names(&to(&host, layout)).len(), 3);
        assert_eq!(fs::read(folder.join("sub/README.md")).unwrap(), b"read me");
        let is_link = layout != ExportLayout::Dir;
        assert_eq!(is_a_blob(&host.root(), &folder.join("model.safetensors")), is_link, "{layout}");
    }
    // Anybody may write into a plain folder, without harm to the catalog.
    let file = to(&host, ExportLayout::Dir).join("model/model.safetensors");
    assert_eq!(mode_of(&file), 0o644);
    fs::write(&file, "WEIGHTS").unwrap();
    assert_eq!(catalog.resolve("hf:org/model").unwrap().view, Some(LinkMode::Hardlink));
    assert_sound(&host.root());
    catalog.export("file", &options_for(&host, ExportLayout::Dir)).unwrap();
    assert_eq!(
        fs::read(to(&host, ExportLayout::Dir).join("tiny-llama-q8_0.gguf")).unwrap(),
        fs::read(fixture()).unwrap()
    );
}

#[test]
fn an_image_layout_has_what_is_stored() {
    let (host, catalog) = host();
    let options = options_for(&host, ExportLayout::Oci);
    let mut done = 0;
    catalog
        .export_many(&["hf:org/model", "file"], &options, &mut |_, result| done += usize::from(result.is_ok()))
        .unwrap();
    assert_eq!(done, 2);
    let to = to(&host, ExportLayout::Oci);
    assert_eq!(json(&to.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&to.join("index.json"));
    let manifests = index["manifests"].as_array().unwrap();
    let tags: Vec<&str> =
        manifests.iter().map(|m| m["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap()).collect();
    assert_eq!(tags, ["model", "file"]);
    assert_eq!(manifests[0]["annotations"]["org.catalog-core.id"], "hf:org/model");
    let digest = catalog.resolve("hf:org/model").unwrap().entry.digest.unwrap();
    assert_eq!(manifests[0]["digest"], digest.to_string(), "the manifest as it is stored");
    for manifest in manifests {
        let blob = |value: &Value| to.join("blobs/sha256").join(&value["digest"].as_str().unwrap()["sha256:".len()..]);
        let text = fs::read(blob(manifest)).unwrap();
        assert_eq!(manifest["size"], text.len());
        let manifest: Value = serde_json::from_slice(&text).unwrap();
        for named in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
            assert_eq!(named["digest"], Digest::sha256_of(&fs::read(blob(named)).unwrap()).to_string());
        }
    }
    assert!(is_a_blob(&host.root(), &to.join("blobs/sha256").join(FIXTURE_SHA256)));
}

#[test]
fn an_archive_has_the_same_and_is_the_same_each_time() {
    let (host, catalog) = host();
    let archive = host.dir.path().canonicalize().unwrap().join("both.tar");
    let options = ExportOptions::new(ExportLayout::Oci).with_to(archive.clone());
    let all = |options: &ExportOptions| {
        let mut receipts = Vec::new();
        catalog
            .export_many(&["file", "hf:org/model"], options, &mut |_, result| receipts.push(result.unwrap()))
            .unwrap();
        receipts
    };
    assert_eq!(all(&options).len(), 2);
    let bytes = fs::read(&archive).unwrap();
    fs::create_dir(host.path("untarred")).unwrap();
    let mut tar = std::process::Command::new("tar");
    tar.args(["xf", archive.to_str().unwrap(), "-C"]).arg(host.path("untarred"));
    run(tar);
    all(&options_for(&host, ExportLayout::Oci));
    assert_eq!(content(&host.path("untarred")), content(&to(&host, ExportLayout::Oci)));
    let again = ExportOptions::new(ExportLayout::Oci).with_to(host.path("again.tar"));
    all(&again);
    assert!(fs::read(host.path("again.tar")).unwrap() == bytes, "nothing in it depends on time or place");
    // Two exports of one archive know of each other.
    assert!(exports(&catalog).iter().all(|export| export.state == ExportState::Whole));
    let key = |id: &str| {
        let exports = exports(&catalog);
        exports.into_iter().find(|export| export.id == id && export.to == archive).unwrap().key
    };
    let removal = catalog.remove_export(&key("file")).unwrap().unwrap();
    assert!(archive.exists() && removal.kept[0].contains("another export needs it"), "{removal:?}");
    catalog.remove_export(&key("hf:org/model")).unwrap().unwrap();
    assert!(!archive.exists());
}

/// Some tools remove what a symlink leads to.
// Red when any layout makes a symlink to a blob or to a view.
#[test]
fn no_layout_has_a_symlink_into_the_store() {
    let (host, catalog) = host();
    let root = host.root().canonicalize().unwrap();
    let mut symlinks = 0;
    for layout in ExportLayout::ALL.iter().copied() {
        export(&host, &catalog, layout).unwrap();
        let to = to(&host, layout);
        for path in files_below(&to) {
            if path.is_symlink() {
                symlinks += 1;
                assert!(fs::read_link(&path).unwrap().is_relative(), "{}", path.display());
                let real = path.canonicalize().unwrap();
                assert!(real.starts_with(&to) && !real.starts_with(&root), "{}", path.display());
                assert!(!real.is_symlink());
            }
        }
        assert!(!to.canonicalize().unwrap().starts_with(&root));
    }
    assert_eq!(symlinks, 6, "those of the two caches of the Hub's layout");
    assert_sound(&host.root());
}
