//! The tools: how their stores are filled, and what they say about them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::run;
use crate::hub::{Hub, models, script};
use crate::place::{Place, Ran};
use crate::venv::{Hf, tools};

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

impl Place {
    /// huggingface_hub of a version, by `stores/hf_cache.py`. Without a Hub, every request fails.
    pub(crate) fn hf_python(&self, version: Hf, hub: Option<&Hub>, words: &[&str]) -> Ran {
        let mut command = self.program(&version.bin().unwrap().join("python"));
        command.arg(script("hf_cache.py")).args(words);
        self.hf_variables(&mut command, hub);
        Ran::of(&command.output().unwrap())
    }

    /// The same, and it must succeed. Returns its standard output.
    #[track_caller]
    pub(crate) fn hf_does(&self, version: Hf, hub: Option<&Hub>, words: &[&str]) -> String {
        let ran = self.hf_python(version, hub, words);
        assert_eq!(ran.code, 0, "{version:?} {words:?}: {ran:?}");
        ran.out
    }

    /// The command `hf cache` of a version.
    #[track_caller]
    pub(crate) fn hf_command(&self, version: Hf, hub: Option<&Hub>, words: &[&str]) -> String {
        let mut command = self.program(&version.bin().unwrap().join("hf"));
        command.arg("cache").args(words);
        self.hf_variables(&mut command, hub);
        let ran = Ran::of(&command.output().unwrap());
        assert_eq!(ran.code, 0, "{version:?} {words:?}: {ran:?}");
        ran.out + &ran.err
    }

    fn hf_variables(&self, command: &mut Command, hub: Option<&Hub>) {
        command.env("HF_HUB_CACHE", self.hf()).env("HF_HOME", self.path("home/.cache/huggingface"));
        command.env("HF_ENDPOINT", hub.map_or(NOWHERE, |hub| &hub.hub)).env("NO_PROXY", "127.0.0.1,localhost");
        for off in ["HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_UPDATE_CHECK", "HF_HUB_DISABLE_PROGRESS_BARS"] {
            command.env(off, "1");
        }
    }

    /// RamaLama, without containers.
    #[track_caller]
    pub(crate) fn ramalama_does(&self, hub: Option<&Hub>, words: &[&str]) -> String {
        let mut command = self.program(&tools().unwrap().join("ramalama"));
        command
            .arg("--nocontainer")
            .arg("--store")
            .arg(self.ramalama())
            .args(words)
            .env("RAMALAMA_CONFIG", "/dev/null");
        self.hf_variables(&mut command, hub);
        String::from_utf8(run(command).stdout).unwrap()
    }

    /// A script of `stores/` that needs the tools. Returns its standard output.
    #[track_caller]
    pub(crate) fn script_does(&self, name: &str, words: &[&str], variables: &[(&str, &Path)]) -> String {
        let mut command = self.program(&tools().unwrap().join("python"));
        command.arg(script(name)).args(words).envs(variables.iter().copied());
        String::from_utf8(run(command).stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn modelscope_does(&self, verb: &str, words: &[&str]) -> String {
        let cache = self.modelscope();
        self.script_does("modelscope_cache.py", &[&[verb, cache.to_str().unwrap()], words].concat(), &[])
    }

    /// Puts a model of the Hub into the store of Ollama.
    pub(crate) fn fill_ollama(&self, name: &str, gguf: &str, more: &[&str]) {
        let gguf = models().unwrap().join(gguf);
        let words = [self.ollama().to_str().unwrap(), name, gguf.to_str().unwrap()].map(str::to_owned);
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.extend(more);
        self.script_does("ollama_store.py", &words, &[]);
    }

    /// Puts a model of the Hub into the folders of LM Studio.
    pub(crate) fn fill_lmstudio(&self, file: &str) {
        let to = self.lmstudio().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(models().unwrap().join(file), to).unwrap();
    }

    /// Every store with models in it: 24 MB of weights five times, two of them different.
    pub(crate) fn fill(&self, hub: &Hub) {
        for repository in ["tiny/wide", "tiny/wide-gguf", "tiny/bert", "tiny/llama"] {
            self.hf_does(Hf::V2_4, Some(hub), &["download", repository]);
        }
        self.ramalama_does(Some(hub), &["pull", "hf://tiny/wide-gguf:F32"]);
        self.ramalama_does(Some(hub), &["pull", "hf://tiny/bert"]);
        self.fill_ollama("wide", "tiny/wide-gguf/wide.F32.gguf", &["--template", "{{ .Prompt }}"]);
        self.fill_lmstudio("tiny/wide-gguf/wide.F32.gguf");
        // Bytes that no other store has: a dry run cannot tell that of files without a digest in their names.
        let source = models().unwrap().join("tiny/sharded");
        self.modelscope_does("make", &["tiny/sharded", source.to_str().unwrap()]);
    }

    /// What every tool says about its own store. Fails if one of them finds it damaged.
    #[track_caller]
    pub(crate) fn opinions(&self, hub: &Hub) -> Vec<String> {
        let source = models().unwrap().join("tiny/sharded");
        let mut said = vec![
            self.hf_does(Hf::V2_4, None, &["scan"]),
            self.ramalama_does(None, &["ls", "--json"]),
            self.ramalama_does(None, &["inspect", "hf://tiny/wide-gguf:F32"]),
            self.modelscope_does("scan", &[]),
            self.modelscope_does("verify", &["tiny/sharded", source.to_str().unwrap()]),
            self.modelscope_does("offline", &["tiny/sharded"]),
            self.script_does("load.py", &["ollama", "wide", "latest"], &[("OLLAMA_MODELS", &self.ollama())]),
        ];
        for repository in ["tiny/wide", "tiny/wide-gguf", "tiny/bert", "tiny/llama"] {
            said.push(self.hf_verifies(Hf::V2_4, hub, repository));
            said.push(self.hf_does(Hf::V2_4, None, &["offline", repository]));
        }
        assert!(said[6].contains("sha256-"), "no blob in the store of Ollama: {}", said[6]);
        assert!(said[4].contains("mismatches=[], missing_paths=[]"), "{}", said[4]);
        said
    }

    /// What `hf cache verify` says. Versions without it say nothing.
    #[track_caller]
    pub(crate) fn hf_verifies(&self, version: Hf, hub: &Hub, repository: &str) -> String {
        if !version.has_commands() {
            return String::new();
        }
        let said = self.hf_command(version, Some(hub), &["verify", repository, "--fail-on-missing-files"]);
        assert!(said.contains("All checksums match"), "{said}");
        said
    }

    /// Downloads again from the Hub, which must not send the bytes of any file.
    #[track_caller]
    pub(crate) fn hf_downloads_nothing(&self, version: Hf, hub: &Hub, repository: &str) -> String {
        hub.forget();
        let folder = self.hf_does(version, Some(hub), &["download", repository]);
        assert_eq!(hub.content_bytes(), 0, "{version:?} downloads {repository} again");
        folder.trim().to_owned()
    }
}
