//! The command.

use super::*;

use serde_json::Value;

fn lines(output: &std::process::Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_verb_exports_lists_syncs_and_removes() {
    let (host, catalog) = host();
    let json = |words: &[&str]| {
        let mut command = host.command();
        command.arg("--json").arg("export").args(words);
        lines(&run(command))
    };
    let done = json(&["hf:org/*", "--as", "lmstudio", "--to", "lm"]);
    assert_eq!(
        (&done[0]["type"], &done[0]["way"], &done[0]["copied_bytes"]),
        (&"exported".into(), &"hardlink".into(), &0.into())
    );
    let done = json(&["file", "--as", "ollama", "--to", "ollama", "--repo", "tiny:q8"]);
    assert_eq!(done[0]["name"], "tiny:q8");
    let listed = json(&["--list"]);
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|line| line["type"] == "export" && line["state"] == "whole"), "{listed:?}");
    assert_eq!(json(&["--list", "--as", "ollama"]).len(), 1);
    assert_eq!(json(&["--list", "--to", "lm"]).len(), 1);
    fs::remove_file(host.path("lm/org/model/config.json")).unwrap();
    let synced = json(&["--sync"]);
    assert!(synced.iter().any(|line| line["state"] == "incomplete" && line["action"] == "made"), "{synced:?}");
    // An id that is no longer in the catalog still has its export.
    catalog.remove("file").unwrap();
    let removed = json(&["--remove", "file"]);
    assert_eq!((&removed[0]["type"], &removed[0]["removed_files"]), (&"export_removed".into(), &3.into()));
    json(&["--remove", "hf:org/*", "--as", "lmstudio"]);
    assert!(json(&["--list"]).is_empty());
    assert_eq!(names(&host.path("lm")).len() + names(&host.path("ollama")).len(), 0);
}

#[test]
fn one_that_fails_does_not_stop_the_others() {
    let (host, _catalog) = host();
    let mut command = host.command();
    command.args(["export", "hf:org/model", "nothing", "file", "--as", "ollama", "--to", "ollama"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("nothing") && words.contains("it has no GGUF file"), "{words}");
    assert!(host.path("ollama/manifests/registry.ollama.ai/library/file/latest").exists());
    for (words, code) in [
        (&["export"][..], 2),
        (&["export", "file"], 2),
        (&["export", "file", "--as", "oci"], 2),
        (&["export", "file", "hf:org/model", "--as", "dir", "--to", "d", "--repo", "x"], 2),
        (&["export", "--list", "file"], 2),
        (&["export", "file", "--as", "lmstudio", "--to", "d", "--repo", "../x"], 2),
        (&["export", "--remove", "hf:org/model", "--as", "hf"], 3),
        (&["export", "file", "--as", "lmstudio", "--to", "d"], 1),
    ] {
        assert_eq!(host.command().args(words).output().unwrap().status.code(), Some(code), "{words:?}");
    }
}

#[test]
fn remove_says_which_exports_stay() {
    let (host, _catalog) = host();
    run({
        let mut command = host.command();
        command.args(["export", "file", "--as", "dir", "--to", "plain"]);
        command
    });
    let mut command = host.command();
    command.args(["remove", "file"]);
    let words = String::from_utf8(run(command).stdout).unwrap();
    assert!(words.contains("its export as dir in ") && words.contains("catalog export --remove"), "{words}");
}

#[test]
fn the_tools_own_place_is_found_by_its_variables() {
    let (host, _catalog) = host();
    for (variable, layout, at) in [
        ("HF_HUB_CACHE", "hf", "place/models--org--model/refs/main"),
        ("HF_HOME", "hf", "place/hub/models--org--model/refs/main"),
        ("LLAMA_CACHE", "llamacpp", "place/models--org--model/refs/main"),
        ("MODELSCOPE_CACHE", "modelscope", "place/models/org--model/snapshots/master/config.json"),
    ] {
        let mut command = host.command();
        for other in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "LLAMA_CACHE", "XDG_CACHE_HOME"] {
            command.env_remove(other);
        }
        command.args(["export", "hf:org/model", "--as", layout]).env(variable, host.path("place"));
        run(command);
        assert!(host.path(at).exists(), "{variable}");
        fs::remove_dir_all(host.path("place")).unwrap();
    }
}
