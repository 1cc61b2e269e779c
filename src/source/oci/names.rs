//! The name of a model's repository, if the user has not given one.

/// The longest name of a repository that registries accept, with room for what precedes it.
const MOST_BYTES: usize = 200;

/// Name and tag of a repository for an id: `org/repo:3f2a` for `hf:Org/Repo@3f2a`. `None`: no valid character is left.
pub(super) fn of_id(id: &str) -> Option<String> {
    let id = match id.split_once(':') {
        Some(("hf" | "file" | "http" | "https" | "s3" | "oci", rest)) => rest,
        _ => id,
    };
    let (name, tag) = id.rsplit_once(['@', ':']).filter(|(_, tag)| !tag.contains('/')).unwrap_or((id, ""));
    let parts: Vec<String> = name.split('/').map(part).filter(|part| !part.is_empty()).collect();
    let name = parts.join("/");
    if name.is_empty() || name.len() > MOST_BYTES {
        return None;
    }
    let tag: String =
        tag.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).take(128).collect();
    let tag = tag.trim_start_matches(['.', '-']);
    Some(if tag.is_empty() { name } else { format!("{name}:{tag}") })
}

/// One component of a name: lower-case letters and digits, with one `.`, `_` or `-` between them.
fn part(text: &str) -> String {
    let mut part = String::new();
    let mut between = None;
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            part.extend(between.take().filter(|_| !part.is_empty()));
            part.push(c);
        } else {
            between = Some(match (between, c) {
                (Some(known @ ('.' | '_')), _) => known,
                (_, '.' | '_') => c,
                _ => '-',
            });
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::source::oci::image::Image;

    #[rstest]
    #[case("llama3", Some("llama3"))]
    #[case("llama3:8b", Some("llama3:8b"))]
    #[case("hf:Org/Repo-GGUF@3f2a", Some("org/repo-gguf:3f2a"))]
    #[case("hf:org/repo/sub/A__b.gguf", Some("org/repo/sub/a_b.gguf"))]
    #[case("file:/Models/My model (1).gguf", Some("models/my-model-1.gguf"))]
    #[case("oci://127.0.0.1:5000/a/b@sha256:12", Some("127.0.0.1-5000/a/b-sha256:12"))]
    #[case("..", None)]
    #[case("日本", None)]
    fn what_a_repository_is_called(#[case] id: &str, #[case] name: Option<&str>) {
        assert_eq!(of_id(id).as_deref(), name);
        if let Some(name) = name {
            Image::parse(&format!("oci://a.example/{name}")).unwrap();
        }
    }
}
