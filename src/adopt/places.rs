//! Where each tool keeps its store: as its own variables say, or else where it does without them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::found::Tool;
use crate::fs::current_user;

/// Returns the stores of this user that are there, each directory once. `env` returns the value of a variable.
///
/// A store that only a configuration file of its tool names is not found.
pub fn places(env: impl Fn(&str) -> Option<OsString>) -> Vec<(Tool, PathBuf)> {
    let root_user = current_user() == 0;
    existing(candidates(&env, Path::new("/"), root_user))
}

/// Where a tool looks: the first of its places that is there, or else the first. `None`: no home directory is known.
pub(crate) fn place_of(tool: Tool) -> Option<PathBuf> {
    let env = |name: &str| std::env::var_os(name);
    // Without a variable of its own, llama.cpp uses the cache of huggingface_hub.
    let tool = match tool {
        Tool::LlamaCpp if env("LLAMA_CACHE").is_none_or(|value| value.is_empty()) => Tool::Hf,
        other => other,
    };
    let all = candidates(&env, Path::new("/"), current_user() == 0).into_iter();
    let own: Vec<PathBuf> = all.filter(|(of, path)| *of == tool && path.is_absolute()).map(|(_, path)| path).collect();
    own.iter().find(|path| path.is_dir()).or(own.first()).cloned()
}

/// Keeps the directories, each under the first tool that names it.
fn existing(candidates: Vec<(Tool, PathBuf)>) -> Vec<(Tool, PathBuf)> {
    let mut seen = BTreeSet::new();
    let is_new = |(_, path): &(Tool, PathBuf)| path.is_dir() && path.canonicalize().is_ok_and(|real| seen.insert(real));
    candidates.into_iter().filter(is_new).collect()
}

fn candidates(env: &impl Fn(&str) -> Option<OsString>, system: &Path, is_root: bool) -> Vec<(Tool, PathBuf)> {
    let home = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let var = |name: &str| {
        let value = PathBuf::from(env(name).filter(|value| !value.is_empty())?);
        match (value.strip_prefix("~"), &home) {
            (Ok(below), Some(home)) => Some(home.join(below)),
            _ => Some(value),
        }
    };
    let in_home = |below: &str| home.as_ref().map(|home| home.join(below));
    let cache = var("XDG_CACHE_HOME").or_else(|| in_home(".cache"));
    let in_cache = |below: &str| cache.as_ref().map(|cache| cache.join(below));

    let hf = var("HF_HUB_CACHE")
        .or_else(|| var("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| var("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| in_cache("huggingface/hub"));
    let llamacpp = var("LLAMA_CACHE").or_else(|| in_cache("llama.cpp"));
    let ollama = var("OLLAMA_MODELS").or_else(|| in_home(".ollama/models"));
    let ramalama = var("RAMALAMA_STORE").or_else(|| match is_root {
        true => Some(system.join("var/lib/ramalama")),
        false => var("XDG_DATA_HOME").or_else(|| in_home(".local/share")).map(|data| data.join("ramalama")),
    });
    let modelscope = var("MODELSCOPE_CACHE").or_else(|| in_home(".cache/modelscope"));
    let docker = var("MODELS_PATH").or_else(|| in_home(".docker/models"));
    let places = [
        (Tool::Hf, hf),
        (Tool::LlamaCpp, llamacpp),
        (Tool::Ollama, ollama),
        // Where its service keeps models on Linux.
        (Tool::Ollama, Some(system.join("usr/share/ollama/.ollama/models"))),
        (Tool::RamaLama, ramalama),
        (Tool::LmStudio, in_home(".lmstudio/models")),
        (Tool::LmStudio, in_home(".cache/lm-studio/models")),
        (Tool::ModelScope, modelscope),
        (Tool::Docker, docker),
    ];
    places.into_iter().filter_map(|(tool, path)| Some((tool, path?))).collect()
}

#[cfg(test)]
#[cfg(unix)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)], is_root: bool) -> Vec<String> {
        let env = |name: &str| vars.iter().find(|(var, _)| *var == name).map(|(_, value)| OsString::from(value));
        let lines = candidates(&env, Path::new("/"), is_root).into_iter();
        lines.map(|(tool, path)| format!("{tool} {}", path.display())).collect()
    }

    #[test]
    fn without_variables_the_defaults_hold() {
        let places = [
            "hf /home/me/.cache/huggingface/hub",
            "llamacpp /home/me/.cache/llama.cpp",
            "ollama /home/me/.ollama/models",
            "ollama /usr/share/ollama/.ollama/models",
            "ramalama /home/me/.local/share/ramalama",
            "lmstudio /home/me/.lmstudio/models",
            "lmstudio /home/me/.cache/lm-studio/models",
            "modelscope /home/me/.cache/modelscope",
            "docker /home/me/.docker/models",
        ];
        assert_eq!(of(&[("HOME", "/home/me"), ("HF_HOME", "")], false), places);
        assert!(of(&[("HOME", "/root")], true).contains(&"ramalama /var/lib/ramalama".to_owned()));
        assert_eq!(of(&[], false), ["ollama /usr/share/ollama/.ollama/models"]);
    }

    #[test]
    fn variables_come_before_the_defaults_in_the_order_of_each_tool() {
        let hf = |vars: &[(&str, &str)]| of(vars, false).remove(0);
        let mut vars = vec![("HOME", "/home/me"), ("XDG_CACHE_HOME", "/xdg")];
        for (var, value, is) in [
            ("", "", "hf /xdg/huggingface/hub"),
            ("HF_HOME", "~/hf", "hf /home/me/hf/hub"),
            ("HUGGINGFACE_HUB_CACHE", "/old", "hf /old"),
            ("HF_HUB_CACHE", "/new", "hf /new"),
        ] {
            vars.push((var, value));
            assert_eq!(hf(&vars), is);
        }
        let vars = [
            ("OLLAMA_MODELS", "/o"),
            ("LLAMA_CACHE", "/l"),
            ("RAMALAMA_STORE", "/r"),
            ("MODELSCOPE_CACHE", "/m"),
            ("MODELS_PATH", "/d"),
        ];
        let is = [
            "llamacpp /l",
            "ollama /o",
            "ollama /usr/share/ollama/.ollama/models",
            "ramalama /r",
            "modelscope /m",
            "docker /d",
        ];
        assert_eq!(of(&vars, true), is);
    }

    // Red when a path is compared as text: the cache of llama.cpp is usually the one of huggingface_hub.
    #[test]
    fn a_directory_comes_once_and_only_if_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (hub, link) = (dir.path().join("hub"), dir.path().join("link"));
        std::fs::create_dir(&hub).unwrap();
        std::os::unix::fs::symlink(&hub, &link).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let file = dir.path().join("file");
        let places = existing(vec![(Tool::Hf, hub.clone()), (Tool::LlamaCpp, link), (Tool::Ollama, file)]);
        assert_eq!(places, [(Tool::Hf, hub.clone())]);
        let env = |name: &str| (name == "HF_HUB_CACHE").then(|| hub.clone().into_os_string());
        assert_eq!(super::places(env).first(), Some(&(Tool::Hf, hub)));
    }
}
