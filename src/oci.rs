//! Media types and annotations of the OCI image specification and of the CNCF model specification (ModelPack).

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of a list of manifests.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The media type of a file without meaning.
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The annotation of a manifest in an index with its tag.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation of a layer with its file name. Tools that do not know the model specification use this one.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";

/// The file that identifies an image layout, and its content.
pub(crate) const LAYOUT: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);

/// The artifact type of a model's manifest.
pub(crate) const MODEL: &str = "application/vnd.cncf.model.manifest.v1+json";

pub(crate) const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";

/// The media type of a file as it is.
pub(crate) const MODEL_WEIGHT_RAW: &str = "application/vnd.cncf.model.weight.v1.raw";

/// The annotation of a layer with its file's path in the tree.
pub(crate) const MODEL_FILE_PATH: &str = "org.cncf.model.filepath";
