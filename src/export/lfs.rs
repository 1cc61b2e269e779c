//! Which files of a repository the Hugging Face Hub keeps in LFS: their blobs are named by SHA-256, all others by git's
//! SHA-1.

use crate::pattern::Pattern;

/// The Hub refuses larger files outside LFS.
pub(super) const LARGE_BYTES: u64 = 10 << 20;

/// The largest `.gitattributes` that is read.
pub(super) const MAX_ATTRIBUTES_BYTES: u64 = 1 << 20;

/// What the `.gitattributes` of a new repository on the Hub has, with GGUF files.
const USUAL: &str = "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gguf *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack \
                     *.npy *.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors \
                     saved_model/* *.tar.* *.tar *.tflite *.tgz *.wasm *.xz *.zip *.zst *tfevents*";

/// The rules of one repository.
pub(super) struct Rules(Vec<(Pattern, bool, bool)>);

impl Rules {
    /// From the `.gitattributes` of the repository; without one, the usual ones.
    pub(super) fn of(attributes: Option<&[u8]>) -> Self {
        let Some(attributes) = attributes else {
            return Rules(USUAL.split_whitespace().map(|pattern| rule(pattern, true)).collect());
        };
        let text = String::from_utf8_lossy(attributes);
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        Rules(lines.filter_map(line).collect())
    }

    /// The last rule that matches decides.
    pub(super) fn is_lfs(&self, path: &str, size_bytes: u64) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let matches =
            |(pattern, of_whole, _): &&(Pattern, bool, bool)| pattern.matches(if *of_whole { path } else { name });
        size_bytes >= LARGE_BYTES || self.0.iter().rev().find(matches).is_some_and(|(.., is_lfs)| *is_lfs)
    }
}

fn line(line: &str) -> Option<(Pattern, bool, bool)> {
    let mut words = line.split_whitespace();
    let pattern = words.next()?;
    let mut is_lfs = words.filter_map(|word| match word {
        "filter=lfs" => Some(true),
        "-filter" | "!filter" => Some(false),
        other if other.starts_with("filter=") => Some(false),
        _ => None,
    });
    Some(rule(pattern, is_lfs.next_back()?))
}

/// A pattern with a slash is one for the whole path; `**` is no different from `*` here, which also matches slashes.
fn rule(pattern: &str, is_lfs: bool) -> (Pattern, bool, bool) {
    let of_whole = pattern.trim_end_matches('/').contains('/');
    (Pattern::parse(&pattern.trim_start_matches('/').replace("/**/*", "/*").replace("**/", "*")), of_whole, is_lfs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_rules() {
        let rules = Rules::of(None);
        for lfs in ["a.safetensors", "sub/a.gguf", "pytorch_model.bin", "spiece.model", "saved_model/x/y"] {
            assert!(rules.is_lfs(lfs, 1), "{lfs}");
        }
        for plain in ["config.json", "README.md", ".gitattributes", "sub/tokenizer.json"] {
            assert!(!rules.is_lfs(plain, LARGE_BYTES - 1), "{plain}");
            assert!(rules.is_lfs(plain, LARGE_BYTES), "{plain}");
        }
    }

    // Red when the first rule that matches decides, or the rules of the repository are added to the usual ones.
    #[test]
    fn the_rules_of_a_repository() {
        let rules = Rules::of(Some(
            b"# mine\n*.bin filter=lfs diff=lfs merge=lfs -text\nsmall.bin -filter\ntokenizer.json filter=lfs\nsub/** filter=lfs\n*.md text\n",
        ));
        for (path, is_lfs) in [
            ("a.bin", true),
            ("small.bin", false),
            ("tokenizer.json", true),
            ("x/tokenizer.json", true),
            ("sub/a.txt", true),
            ("a.safetensors", false),
            ("README.md", false),
        ] {
            assert_eq!(rules.is_lfs(path, 1), is_lfs, "{path}");
        }
    }
}
