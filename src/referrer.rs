//! A document beside the manifest of a model, as a referrer: a manifest that names the document and, as its subject, the
//! manifest of the model. The OCI image specification 1.1 defines it, so other tools find and read it.
//!
//! Nothing in it depends on time or machine: the same document of the same model is the same referrer.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::oci;

/// The content of the empty configuration.
pub(crate) const CONFIG: &[u8] = b"{}";

/// More than any document of a model has. A larger one would have to be read in parts.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// The annotation of a referrer with the kind of its document.
pub(crate) const KIND: &str = "org.catalog-core.document.kind";

/// The types that other tools give to a bill of materials and to a signature.
const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// The type of any other document.
const DOCUMENT: &str = "application/vnd.catalog-core.document.v1";

/// The referrer of a document that a user has attached to the model with this manifest.
pub(crate) fn of_document(subject: &[u8], name: &str, kind: &str, document: &[u8]) -> Vec<u8> {
    // A tool that pulls it writes the layer to a file with this name.
    let layer = [("annotations", json!({ oci::TITLE: name }))];
    let more = [("annotations", json!({ oci::TITLE: name, KIND: kind }))];
    encode(subject, media_type(kind, document), document, layer, more)
}

/// The referrer of a document without a name.
#[cfg(feature = "oci")]
pub(crate) fn of_type(subject: &[u8], media_type: &str, document: &[u8]) -> Vec<u8> {
    encode(subject, media_type, document, [], [])
}

fn encode<const N: usize>(
    subject: &[u8],
    media_type: &str,
    document: &[u8],
    of_layer: [(&str, Value); N],
    more: [(&str, Value); N],
) -> Vec<u8> {
    let members = [
        ("schemaVersion", json!(2)),
        ("mediaType", json!(oci::MANIFEST)),
        ("artifactType", json!(media_type)),
        ("config", named(oci::EMPTY, CONFIG, [])),
        ("layers", json!([named(media_type, document, of_layer)])),
        ("subject", named(oci::MANIFEST, subject, [])),
    ];
    object(members.into_iter().chain(more)).to_string().into_bytes()
}

/// A descriptor of these bytes.
fn named<'n>(media_type: &str, bytes: &[u8], more: impl IntoIterator<Item = (&'n str, Value)>) -> Value {
    let (digest, size_bytes) = (json!(Digest::sha256_of(bytes)), json!(bytes.len()));
    object([("mediaType", json!(media_type)), ("digest", digest), ("size", size_bytes)].into_iter().chain(more))
}

fn object<'n>(members: impl IntoIterator<Item = (&'n str, Value)>) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// The entry of a referrer in a list of manifests: it repeats the type and the annotations, so that a reader of the list
/// can choose.
pub(crate) fn descriptor(referrer: &[u8]) -> Value {
    let mut known: Map<String, Value> = serde_json::from_slice(referrer).unwrap_or_default();
    let more = ["artifactType", "annotations"].into_iter().filter_map(|member| Some((member, known.remove(member)?)));
    named(oci::MANIFEST, referrer, more)
}

/// What a referrer says about its document.
#[cfg(feature = "oci")]
pub(crate) struct Described {
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) media_type: String,
    pub(crate) document: Digest,
}

/// Reads a referrer of a manifest. `None`: it is none, or belongs to another manifest.
#[cfg(feature = "oci")]
pub(crate) fn read(referrer: &[u8], subject: &str) -> Option<Described> {
    let referrer: Value = serde_json::from_slice(referrer).ok()?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let is_of_it = text(referrer.get("subject")?, "digest").as_deref() == Some(subject);
    let layer = referrer.get("layers")?.as_array()?.first().filter(|_| is_of_it)?;
    let annotation = |name| referrer.get("annotations").and_then(|annotations| text(annotations, name));
    let (name, kind) = (annotation(oci::TITLE), annotation(KIND));
    Some(Described {
        name,
        kind,
        media_type: text(layer, "mediaType")?,
        document: text(layer, "digest")?.parse().ok()?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    bom_format: Option<String>,
    #[serde(default)]
    media_type: Option<String>,
}

/// A document has the type of other tools only if it says itself what it is.
fn media_type(kind: &str, document: &[u8]) -> &'static str {
    let head: Option<Head> = serde_json::from_slice(document).ok();
    match (kind, head) {
        ("sbom", Some(head)) if head.bom_format.as_deref() == Some("CycloneDX") => CYCLONEDX,
        ("signature", Some(head)) if head.media_type.as_deref() == Some(SIGSTORE_BUNDLE) => SIGSTORE_BUNDLE,
        _ => DOCUMENT,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // Red when the word of a user is taken for the format of the bytes.
    #[rstest]
    #[case("sbom", r#"{"bomFormat": "CycloneDX", "components": []}"#, CYCLONEDX)]
    #[case("sbom", r#"{"spdxVersion": "SPDX-2.3"}"#, DOCUMENT)]
    #[case("sbom", "no JSON", DOCUMENT)]
    #[case("doc", r#"{"bomFormat": "CycloneDX"}"#, DOCUMENT)]
    #[case("signature", r#"{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}"#, SIGSTORE_BUNDLE)]
    #[case("signature", r#"{"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"}"#, DOCUMENT)]
    #[case("a word of a later version", "", DOCUMENT)]
    fn a_document_says_what_it_is(#[case] kind: &str, #[case] document: &str, #[case] expected: &str) {
        assert_eq!(media_type(kind, document.as_bytes()), expected);
    }

    #[test]
    fn a_list_repeats_type_and_annotations() {
        let referrer = of_document(b"manifest", "b.json", "doc", b"text");
        let entry = descriptor(&referrer);
        assert_eq!(entry["digest"], Digest::sha256_of(&referrer).to_string());
        assert_eq!((&entry["artifactType"], &entry["annotations"][oci::TITLE]), (&DOCUMENT.into(), &"b.json".into()));
        assert_eq!(descriptor(b"no JSON")["size"], 7);
    }
}
