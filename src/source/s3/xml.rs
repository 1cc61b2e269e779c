//! XML responses of S3: the objects below a prefix, and errors.

use quick_xml::de::from_str;
use serde::Deserialize;

use crate::excerpt::excerpt;

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    #[serde(default)]
    pub(super) contents: Vec<Object>,
    /// Required, because every page has it and no other document does. Otherwise any document would pass for an empty
    /// list.
    pub(super) is_truncated: bool,
    pub(super) next_continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) size: u64,
    #[serde(rename = "ETag")]
    pub(super) etag: Option<String>,
    #[serde(default)]
    pub(super) checksum_algorithm: Vec<String>,
}

impl Object {
    /// The tag as a header has it: in lists, some servers omit the quotation marks.
    pub(super) fn tag(&self) -> Option<String> {
        let tag = self.etag.as_deref().map(str::trim).filter(|tag| !tag.is_empty())?;
        Some(if tag.starts_with('"') { tag.to_owned() } else { format!("\"{tag}\"") })
    }

    /// Whether a request for the object alone may return its SHA-256.
    pub(super) fn may_have_sha256(&self) -> bool {
        self.checksum_algorithm.iter().any(|name| name == "SHA256")
    }
}

/// Why a request was refused.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    /// Where the bucket is, if it is in another region.
    pub(super) region: Option<String>,
}

/// A multipart upload that has begun.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Begun {
    pub(super) upload_id: String,
}

/// The parts of an upload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parts {
    #[serde(default, rename = "Part")]
    pub(super) parts: Vec<Part>,
    pub(super) is_truncated: bool,
    pub(super) next_part_number_marker: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Part {
    #[serde(rename = "PartNumber")]
    pub(super) number: u32,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    #[serde(rename = "Size")]
    pub(super) size: u64,
    #[serde(rename = "ChecksumSHA256")]
    pub(super) sha256: Option<String>,
}

/// A completed upload. Errors come with a success status.
#[derive(Debug, Deserialize)]
pub(super) struct Completed {
    #[serde(rename = "ETag")]
    pub(super) etag: String,
}

/// The body of a request to complete an upload: number, tag and base64 SHA-256 of each part.
pub(super) fn completing<'p>(parts: impl Iterator<Item = (u32, &'p str, &'p str)>) -> String {
    let part = |(number, etag, sha256): (u32, &str, &str)| {
        let etag = quick_xml::escape::escape(etag);
        format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><ChecksumSHA256>{sha256}</ChecksumSHA256></Part>"
        )
    };
    format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.map(part).collect::<String>())
}

pub(super) fn page(bytes: &[u8]) -> Result<Page, String> {
    read(bytes)
}

/// `None`: it gives no reason.
pub(super) fn refusal(bytes: &[u8]) -> Option<Refusal> {
    let refusal: Refusal = read(bytes).ok()?;
    (!refusal.code.is_empty()).then_some(refusal)
}

impl Refusal {
    /// The text for an error message.
    pub(super) fn text(&self) -> String {
        let plain = |text: &str| excerpt(text.chars().filter(|c| !c.is_control()).collect::<String>().trim());
        match (plain(&self.code), plain(&self.message)) {
            (code, message) if message.is_empty() => code,
            (code, message) => format!("{code}: {message}"),
        }
    }
}

pub(super) fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    from_str(text).map_err(|e| excerpt(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix>
            <Contents><Key>p/a&amp;b c</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;x&quot;</ETag>
            <ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumAlgorithm>SHA256</ChecksumAlgorithm><Size>5</Size>
            <Owner><ID>o</ID></Owner></Contents>
            <Contents><Key>p/b</Key><ETag>y</ETag><Size>0</Size></Contents>
            <IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>"#;
        let page = page(text.as_bytes()).unwrap();
        let facts = |object: &Object| (object.key.clone(), object.size, object.tag(), object.may_have_sha256());
        let objects: Vec<_> = page.contents.iter().map(facts).collect();
        let tag = |text: &str| Some(text.to_owned());
        assert_eq!(objects, [("p/a&b c".into(), 5, tag("\"x\""), true), ("p/b".into(), 0, tag("\"y\""), false)]);
        assert_eq!((page.is_truncated, page.next_continuation_token.as_deref()), (true, Some("t")));
    }

    // Red when a document that is not a list counts as an empty one.
    #[test]
    fn what_is_no_page() {
        for text in ["", "<html/>", "<Error><Code>x</Code></Error>", "{}", "<ListBucketResult><IsTruncated>maybe"] {
            page(text.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn why_something_is_not_given() {
        let text = "<Error><Code>PermanentRedirect</Code><Message>Use\nit</Message><Region>eu-west-1</Region></Error>";
        let found = refusal(text.as_bytes()).unwrap();
        assert_eq!((found.text().as_str(), found.region.as_deref()), ("PermanentRedirect: Useit", Some("eu-west-1")));
        for text in ["", "<Error/>", "<Error><Message>a</Message></Error>", "<html><body>no"] {
            assert_eq!(refusal(text.as_bytes()), None, "{text}");
        }
    }
}
