//! Names of models in Ollama: `[[HOST/]NAMESPACE/]MODEL[:TAG]`.

pub(crate) const DEFAULT_HOST: &str = "registry.ollama.ai";
pub(crate) const DEFAULT_NAMESPACE: &str = "library";
pub(crate) const DEFAULT_TAG: &str = "latest";

/// The name as `ollama list` prints it.
pub(crate) fn short_name(host: &str, namespace: &str, model: &str, tag: &str) -> String {
    let is = |name: &str, default: &str| name.eq_ignore_ascii_case(default);
    match (is(host, DEFAULT_HOST), is(namespace, DEFAULT_NAMESPACE)) {
        (true, true) => format!("{model}:{tag}"),
        (true, false) => format!("{namespace}/{model}:{tag}"),
        (false, _) => format!("{host}/{namespace}/{model}:{tag}"),
    }
}
