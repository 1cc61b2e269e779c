#![allow(clippy::disallowed_methods)]

use super::super::fake::{Fake, POINTER, digits};
use super::super::scan;
use super::*;

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const GIT: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Adds a file to a snapshot as huggingface_hub does.
fn add(fake: &Fake, repo: &str, path: &str, etag: &str, bytes: &str) {
    fake.file(&format!("{repo}/blobs/{etag}"), bytes);
    link(fake, repo, path, etag);
}

fn link(fake: &Fake, repo: &str, path: &str, etag: &str) {
    let up = "../".repeat(2 + path.matches('/').count());
    fake.link(&format!("{repo}/snapshots/{COMMIT}/{path}"), format!("{up}blobs/{etag}"));
}

fn bert() -> Fake {
    let fake = Fake::new();
    add(&fake, "models--org--bert", "config.json", GIT, "{}");
    add(&fake, "models--org--bert", "model.safetensors", &digits("weights"), "weights");
    add(&fake, "models--org--bert", "1_Pooling/config.json", &GIT.replace('b', "c"), "[]");
    fake.file("models--org--bert/refs/main", COMMIT);
    fake.file("CACHEDIR.TAG", "Signature").file("datasets--org--bert/refs/main", COMMIT).file("version.txt", "1");
    fake.file(&format!("models--org--bert/.no_exist/{COMMIT}/adapter_config.json"), "");
    fake
}

fn list(sizes: &[(&str, u64)]) -> String {
    let files: Vec<String> =
        sizes.iter().map(|(path, size)| format!(r#""{path}": {{"size": {size}, "blob_id": "x"}}"#)).collect();
    format!(r#"{{"format_version": 1, "files": {{{}}}}}"#, files.join(", "))
}

#[test]
fn a_snapshot_is_a_tree_under_its_commit_and_its_refs() {
    let fake = bert();
    for (name, at) in [("v1.0", COMMIT), ("old", GIT), ("refs/pr/1", COMMIT), ("refs", COMMIT)] {
        if name != "refs" {
            fake.file(&format!("models--org--bert/refs/{name}"), format!("{at}\n"));
        }
    }
    assert_eq!(
        fake.lines(Tool::Hf),
        [format!(
            "hf:org/bert@{COMMIT} = hf:org/bert = hf:org/bert@v1.0 tree bert \
             [1_Pooling/config.json:2 config.json:2 model.safetensors:7]"
        )]
    );
    let found = &scan(Tool::Hf, &fake.root).unwrap().models[0];
    assert_eq!(found.pinned.as_deref(), Some(COMMIT));
    let locks = fake.root.join(".locks/models--org--bert");
    assert_eq!(found.files[1].lock.as_deref(), Some(locks.join(format!("{GIT}.lock")).as_path()));
}

// Red when the claim is the name of the file at the end of all symlinks: that is the hash of Xet.
#[test]
fn the_name_of_the_repositorys_own_blob_is_the_claim() {
    let fake = bert();
    let blob = fake.root.join("models--org--bert/blobs").join(digits("weights"));
    std::fs::remove_file(&blob).unwrap();
    let xet = "ee".repeat(32);
    fake.file(&format!("blobs/ee/{xet}"), "weights").file("blobs/ee/x.incomplete", "");
    fake.link(&format!("models--org--bert/blobs/{}", digits("weights")), format!("../../blobs/ee/{xet}"));
    let claim = format!("model.safetensors sha256 {} hardlink", &digits("weights")[..4]);
    let claims = fake.claims(Tool::Hf);
    assert_eq!(claims, ["1_Pooling/config.json git cccc hardlink", "config.json git bbbb hardlink", &claim]);
    assert_eq!(fake.lines(Tool::Hf)[1], "- blobs/ee/x.incomplete: an unfinished download");
}

#[test]
fn a_snapshot_of_real_files_has_no_claims() {
    let fake = Fake::new();
    for name in ["config.json", "model.safetensors"] {
        fake.file(&format!("models--a--b/snapshots/{COMMIT}/{name}"), "x");
    }
    assert_eq!(fake.claims(Tool::Hf), ["config.json none hardlink", "model.safetensors none hardlink"]);
}

// Red when a list is taken as complete because all its names are there.
#[test]
fn the_list_of_a_commit_shows_whether_all_is_there() {
    let all = [("config.json", 2), ("model.safetensors", 7), ("1_Pooling/config.json", 2)];
    let with_list = |json: &str| {
        let fake = bert();
        fake.file(&format!("models--org--bert/trees/{COMMIT}.json"), json);
        fake.lines(Tool::Hf)
    };
    assert!(with_list(&list(&all))[0].contains(" whole tree bert"));
    // Without the further file the model can be used, and without its own list nothing is known.
    for json in [list(&[all[0], all[1], all[2], ("tf_model.h5", 3)]), "{}".into(), list(&all).replace(": 1,", ": 2,")] {
        assert!(with_list(&json)[0].contains("hf:org/bert tree bert"), "{json}");
    }
    assert_eq!(
        with_list(&list(&[all[0], ("model.safetensors", 8)])),
        [format!("- models--org--bert/snapshots/{COMMIT}: model.safetensors: 7 bytes of it are there, its list has 8")]
    );
}

#[test]
fn what_is_missing_is_said() {
    let repo = "models--a--b";
    let snapshot = |make: &dyn Fn(&Fake)| {
        let fake = Fake::new();
        make(&fake);
        let lines = fake.lines(Tool::Hf);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].rsplit_once(&format!("{COMMIT}: ")).unwrap_or_else(|| panic!("{lines:?}")).1.to_owned()
    };
    let index = r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "../x.safetensors"}}"#;
    let said = snapshot(&|fake| {
        add(fake, repo, "config.json", GIT, "{}");
        add(fake, repo, "model.safetensors.index.json", &digits("i"), index);
        add(fake, repo, "m-1.safetensors", &digits("1"), "1");
    });
    assert_eq!(said, "model.safetensors.index.json names 2 files that are not there");
    let said = snapshot(&|fake| {
        add(fake, repo, "config.json", GIT, "{}");
        fake.file(&format!("{repo}/trees/{COMMIT}.json"), list(&[("config.json", 2), ("a", 1), ("b", 1)]));
    });
    assert_eq!(said, "1 of 3 files of its list are there");
    assert_eq!(snapshot(&|fake| add(fake, repo, "config.json", GIT, "{}")), "no model file in it");
    assert_eq!(snapshot(&|fake| add(fake, repo, "m.safetensors", GIT, "x")), "no config.json in it");
    let said = snapshot(&|fake| {
        add(fake, repo, "config.json", GIT, "{}");
        link(fake, repo, "model.safetensors", &digits("absent"));
    });
    assert_eq!(said, "an unfinished download: model.safetensors is not there");
    let said = snapshot(&|fake| {
        add(fake, repo, "config.json", GIT, "{}");
        add(fake, repo, "m-00002-of-00002.safetensors", &digits("2"), "2");
    });
    assert_eq!(said, "1 of 2 parts of m.safetensors");
}

#[test]
fn the_gguf_files_of_a_part_of_a_repository_are_models() {
    let fake = Fake::new();
    let repo = "models--a--b";
    add(&fake, repo, "README.md", GIT, "#");
    add(&fake, repo, "q4.gguf", &digits("q4"), "q4");
    for part in
        ["q8/m-00001-of-00002.gguf", "q8/m-00002-of-00002.gguf", "q2-00001-of-00003.gguf", "q2-00003-of-00003.gguf"]
    {
        add(&fake, repo, part, &digits(part), part);
    }
    link(&fake, repo, "q5.gguf", &digits("absent"));
    fake.file(&format!("{repo}/refs/main"), COMMIT).file(&format!("{repo}/refs/v1"), COMMIT);
    assert_eq!(
        fake.lines(Tool::Hf),
        [
            format!("hf:a/b@{COMMIT}/q4.gguf = hf:a/b/q4.gguf = hf:a/b@v1/q4.gguf whole file q4.gguf [:2]"),
            format!(
                "hf:a/b@{COMMIT}/q8/m = hf:a/b/q8/m = hf:a/b@v1/q8/m whole tree m \
                 [m-00001-of-00002.gguf:24 m-00002-of-00002.gguf:24]"
            ),
            format!("- {repo}/snapshots/{COMMIT}/q2-00001-of-00003.gguf: 2 of 3 parts of a split GGUF"),
            format!("- {repo}/snapshots/{COMMIT}/q5.gguf: an unfinished download"),
        ]
    );
}

#[test]
fn beside_a_gguf_the_rest_is_said_to_be_incomplete() {
    let fake = Fake::new();
    add(&fake, "models--a--b", "config.json", GIT, "{}");
    add(&fake, "models--a--b", "m.gguf", &digits("x"), "x");
    link(&fake, "models--a--b", "model.safetensors", &digits("absent"));
    let lines = [
        format!("hf:a/b@{COMMIT}/m.gguf whole file m.gguf [:1]"),
        format!("- models--a--b/snapshots/{COMMIT}: an unfinished download: model.safetensors is not there"),
    ];
    assert_eq!(fake.lines(Tool::Hf), lines);
}

// Red when `real` does not compare with the root: the bytes outside would be taken in.
#[test]
fn nothing_outside_the_cache_is_found() {
    let fake = Fake::new();
    let at = |repo: &str, name: &str| format!("models--a--{repo}/snapshots/{COMMIT}/{name}");
    fake.link(&at("absolute", "m.gguf"), fake.outside());
    fake.link(&at("relative", "m.gguf"), "../../../../outside.gguf");
    fake.link(&at("circle", "m.gguf"), "m.gguf");
    fake.fifo(&at("fifo", "m.gguf")).file(&at("pointer", "m.gguf"), POINTER).file(&at("empty", "m.gguf"), "");
    fake.link(&at("folder", "m.gguf"), ".");
    let outside = fake.root.with_file_name("models--a--repo");
    std::fs::create_dir_all(outside.join("snapshots")).unwrap();
    fake.link("models--a--repo", outside);
    // Above and below the blobs of the repository.
    fake.file(&at("blobs", "../../blobs/x/y"), "x").link(&at("blobs", "m.gguf"), "../../blobs/x/y");
    let said = |repo: &str, reason: &str| format!("- {}: {reason}", at(repo, "m.gguf"));
    let blobs = format!("hf:a/blobs@{COMMIT}/m.gguf whole file m.gguf [:1]");
    assert_eq!(
        fake.lines(Tool::Hf),
        [
            blobs,
            said("absolute", "a symlink leads out of the cache"),
            said("circle", "its symlinks lead in a circle"),
            said("empty", "an empty file"),
            said("fifo", "it is no regular file"),
            said("folder", "it is a folder"),
            said("pointer", "a Git LFS pointer, not the file itself"),
            said("relative", "a symlink leads out of the cache"),
            "- models--a--repo: a symlink leads out of the cache".into(),
        ]
    );
    assert_eq!(fake.claims(Tool::Hf), [" none hardlink"]);
}

#[test]
fn what_cannot_be_a_reference_is_skipped() {
    let fake = Fake::new();
    for repo in ["models--gpt2", "models--a--b--c", "models--a--b.git", "models----x"] {
        add(&fake, repo, "m.gguf", GIT, "x");
    }
    fake.file(&format!("models--a--b/snapshots/{COMMIT}/b\\x.gguf"), "x");
    fake.file("models--a--b/snapshots/a b/m.gguf", "x");
    let lines = fake.lines(Tool::Hf);
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("- ")), "{lines:#?}");
    assert!(lines.contains(&"- models--gpt2: the repository has no organisation".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"- models--a--b--c: no reference: the repository has `--` or `..` in it".to_owned()));
}

#[test]
fn hostile_lists_and_names() {
    use std::os::unix::ffi::OsStrExt as _;
    let fake = bert();
    let list = format!("models--org--bert/trees/{COMMIT}.json");
    for json in [
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        "\u{1}".into(),
        r#"{"format_version": 1, "files": {"../x": {"size": -1}}}"#.into(),
    ] {
        assert!(fake.file(&list, json).lines(Tool::Hf)[0].contains("hf:org/bert tree bert"));
    }
    std::fs::File::create(fake.path(&list)).unwrap().set_len(1 << 30).unwrap();
    std::fs::File::create(fake.path("models--org--bert/refs/main")).unwrap().set_len(1 << 40).unwrap();
    fake.fifo("models--org--bert/refs/v1");
    assert!(fake.lines(Tool::Hf)[0].starts_with(&format!("hf:org/bert@{COMMIT} tree bert")));
    let strange = std::ffi::OsStr::from_bytes(b"a\xff");
    std::fs::write(fake.root.join("models--org--bert/snapshots").join(COMMIT).join(strange), "x").unwrap();
    std::fs::write(fake.root.join(strange), "x").unwrap();
    let lines = fake.lines(Tool::Hf);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with(": its name is not UTF-8"), "{lines:?}");
    assert!(lines[1].ends_with(&format!("{COMMIT}: a name in it is not UTF-8")), "{lines:?}");
}

#[test]
fn one_repository_or_one_snapshot_can_be_scanned() {
    let fake = bert();
    add(&fake, "models--org--other", "m.gguf", GIT, "x");
    let repo = fake.root.join("models--org--bert");
    for path in [repo.clone(), repo.join(SNAPSHOTS).join(COMMIT)] {
        let scan = scan(Tool::Hf, &path).unwrap();
        assert_eq!(scan.models.len(), 1, "{scan:?}");
        assert_eq!(super::super::tool_of(&path), Some(Tool::Hf));
    }
    assert_eq!(scan(Tool::Hf, &fake.root).unwrap().models.len(), 2);
    assert!(scan(Tool::Hf, &fake.root.join("absent")).unwrap_err().is_not_found());
    assert!(scan(Tool::Hf, &fake.root.join("CACHEDIR.TAG")).is_err());
}
