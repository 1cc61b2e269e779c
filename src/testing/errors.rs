//! A sample of every error, for tests of their messages: other crates cannot construct them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::{Digest, DigestError};
use crate::error::{Error, HubProblem, NetError, Refused};
use crate::hint::{Collection, Hint};

fn path(name: &str) -> PathBuf {
    format!("/srv/models/{name}").into()
}

fn system(action: &'static str, kind: io::ErrorKind) -> Error {
    // Only the kind, because the text of the system differs between systems.
    Error::Io { action, path: path("index/3f.json"), source: Arc::new(kind.into()) }
}

fn net(source: NetError) -> Error {
    Error::Net { url: "https://models.example.org/acme/tiny.gguf".into(), source }
}

fn hub(problem: HubProblem) -> Error {
    let page = "https://models.example.org/acme/tiny".into();
    net(NetError::Hub { problem, page, request_id: Some("Root=1-abc".into()) })
}

/// At least one sample of every variant of [`Error`](enum@crate::Error).
#[must_use]
pub fn error_samples() -> Vec<Error> {
    let id = || "llama3".to_owned();
    let not_utf8 = "it is not UTF-8, which the index needs";
    vec![
        DigestError::new("sha256:1ef0", "there are not exactly 64 hex digits").into(),
        Error::InvalidRef { input: "ftp://host/a".into(), reason: "`ftp://` is not supported; write a path".into() },
        Error::InvalidId { id: "a\nb".into(), reason: "it has a control character" },
        Error::Ambiguous { text: "1ef0bef1".into(), ids: vec![id(), "llama3-8b".into()] },
        Error::Ambiguous { text: "1ef0bef1".into(), ids: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec() },
        Error::InvalidPath { path: path("a.gguf"), reason: not_utf8, hint: Hint::Rename },
        Error::NotFound { id: id(), root: path("") },
        Error::NotStaged { id: id(), path: path("views/llama3/1ef0bef1eb6c8ec311d53e18138501725116d829/llama3.gguf") },
        Error::SourceMissing { path: path("a.gguf") },
        Error::NoCatalog { root: path("") },
        Error::InvalidRoot { root: path("link"), reason: "it is a symlink that leads nowhere", hint: Hint::FixSymlink },
        Error::InvalidRoot { root: "".into(), reason: "no home directory is known", hint: Hint::GiveRoot },
        Error::InvalidRoot {
            root: "~/models".into(),
            reason: "nothing has replaced the ~",
            hint: Hint::WriteRootInFull,
        },
        Error::RootNotEmpty { root: path(""), name: "notes.txt".into() },
        Error::NoFetcher { scheme: "hf".into(), reference: "hf:org/repo/a.gguf".into() },
        Error::Push {
            id: "m".into(),
            url: "https://r.example/v2/m/blobs/uploads/".into(),
            source: Box::new(NetError::malformed("it does not say where to upload")),
        },
        Error::NoSink { scheme: "hf".into(), target: "hf:org/repo".into() },
        Error::NotPushable { id: "m".into(), reason: "its name is not one that other tools can read" },
        Error::InvalidExport { value: "../x".into(), reason: "a repository is written as ORG/NAME".into() },
        Error::NotExportable { id: "m".into(), layout: "ollama", reason: "it has no GGUF file".into() },
        Error::ExportInTheWay { path: path("hub/blobs/1ef0"), reason: "another file is there; remove it".into() },
        Error::UnsupportedFileType { path: path("a.gguf"), kind: "FIFO" },
        Error::SourceChanged { path: path("a.gguf"), detail: "it was written to".into() },
        Error::SourceInUse { path: path("a.gguf"), reason: "process 7 (curl) has it open for writing".into() },
        Error::LinkLeadsOut { link: path("tree/a.gguf"), target: path("blobs/a.gguf") },
        Error::UnusableTree { path: path("tree"), reason: "there is no file in it" },
        Error::NameCollision { path: path("views/llama3/1ef0bef1eb6c8ec311d53e18138501725116d829/llama3/Config.json") },
        Error::ReservedPath { path: path("blobs/a.gguf") },
        Error::PathEscapesRoot { path: path("../a.gguf"), root: path("") },
        Error::DamagedCache { path: path("blobs/9f86d081"), named: "0".repeat(40), actual: "1".repeat(40) },
        Error::DigestMismatch {
            path: path("a.gguf"),
            expected: Digest::sha256_of(b"expected"),
            actual: Digest::sha256_of(b"actual"),
        },
        Error::Unsigned { id: id(), pattern: Some("llama*".into()), reason: "this key has not signed it".into() },
        Error::Unsigned { id: id(), pattern: None, reason: "no signature was given".into() },
        Error::BadSignature { id: id(), reason: "\"a.gguf\" is not signed".into() },
        Error::Incomplete { id: id(), missing: vec!["a-00002-of-00003.gguf is missing".into()] },
        Error::CorruptIndex { path: path("index/3f.json"), reason: "its checksum does not match its entries".into() },
        Error::CorruptBlob { path: path("blobs/sha256/1e/1ef0"), reason: "its bytes do not match its name".into() },
        Error::Damaged { id: "llama3".into(), path: path("views/llama3-0/1ef0/a.gguf") },
        Error::Occupied { id: id(), path: path("mine/llama3.gguf") },
        Error::NoGoodSource {
            path: path("blobs/sha256/1e/1ef0"),
            range: 0..1 << 20,
            tried: vec!["/backup/a.gguf".into()],
        },
        Error::NoGoodSource { path: path("blobs/sha256/1e/1ef0"), range: 0..0, tried: vec![] },
        Error::UnsupportedFormat { path: path("store.json"), found: "format 2".into(), supported: "format 1".into() },
        Error::Busy {
            what: "index shard 3f",
            path: path("locks/index/3f"),
            waited: Duration::from_secs(30),
            holder: None,
        },
        Error::Busy {
            what: "the store",
            path: path("locks/store"),
            waited: Duration::from_secs(30),
            holder: Some("process 4711 (catalog)".into()),
        },
        Error::Pinned { id: id(), pins: vec!["default".into(), "pool-7".into()] },
        Error::DocumentExists { id: id(), name: "bom.json".into(), same_bytes: None },
        Error::DocumentExists { id: id(), name: "bom.json".into(), same_bytes: Some("sbom.json".into()) },
        Error::IdTaken { id: id(), new_id: "llama3-8b".into(), has_same_content: false },
        Error::IdTaken { id: id(), new_id: "llama3-8b".into(), has_same_content: true },
        Error::NoRoom {
            root: path(""),
            needed_bytes: 40,
            available_bytes: 30,
            evictable_bytes: 5,
            young_bytes: 7,
            quarantine_bytes: 3,
            collection: Some(Collection { max_bytes: Some(60), min_free_bytes: None, without_grace: true }),
        },
        Error::InvalidLimit { root: path(""), name: "max_bytes", value: "0".into() },
        Error::LocksDoNothing { root: path("") },
        net(NetError::Refused(Refused::Host {
            origin: "https://models.example.org".into(),
            purpose: "a model",
            rule: "models.example.org".into(),
        })),
        net(NetError::Refused(Refused::Address {
            host: "models.example.org".into(),
            address: [10, 0, 0, 5].into(),
            kind: "a private address",
            rule: "10.0.0.5".into(),
        })),
        net(NetError::Refused(Refused::Machine {
            origin: "https://models.example.org".into(),
            path: "/etc/catalog/net.toml".into(),
        })),
        net(NetError::Refused(Refused::Scheme { scheme: "ftp".into() })),
        net(NetError::Refused(Refused::UserInfo)),
        net(NetError::Refused(Refused::NotAHost { host: "a;b".into() })),
        net(NetError::Refused(Refused::Downgrade { origin: "http://models.example.org".into() })),
        net(NetError::Refused(Refused::TooManyRedirects { limit: 5 })),
        net(NetError::Refused(Refused::FileTooLarge { size_bytes: 40, limit_bytes: 30 })),
        net(NetError::Refused(Refused::NoDigest)),
        net(NetError::Denied {
            status: 403,
            reason: Some("Access to model acme/tiny is restricted".into()),
            page: Some("https://models.example.org/acme/tiny".into()),
            request_id: Some("Root=1-abc".into()),
        }),
        net(NetError::NotFound { status: 404, reason: None, request_id: None }),
        net(NetError::Status { status: 451, reason: Some("not here".into()), request_id: None }),
        net(NetError::changed("it had 5 bytes and has 6")),
        net(NetError::NoRanges),
        net(NetError::NoModel { detail: "a layer is an archive".into() }),
        net(NetError::NoSize),
        net(NetError::TooLarge { what: "the response", limit_bytes: 1 << 20 }),
        net(NetError::malformed("2 bytes came as the range 0 to 3")),
        net(NetError::Untrusted { detail: "invalid peer certificate: UnknownIssuer".into() }),
        net(NetError::Unreachable { attempts: 6, detail: "the connection ended early".into() }),
        net(NetError::WrongGitBlob { expected: "0".repeat(40), found: "1".repeat(40) }),
        hub(HubProblem::GatedWithoutToken),
        hub(HubProblem::NotGranted),
        hub(HubProblem::NoRepository { had_token: false }),
        hub(HubProblem::NoRepository { had_token: true }),
        hub(HubProblem::BadToken),
        hub(HubProblem::NoRevision { revision: "v2".into() }),
        hub(HubProblem::NoFile { path: "tiny.gguf".into() }),
        hub(HubProblem::NothingSelected),
        hub(HubProblem::Disabled),
        hub(HubProblem::Denied { status: 403, reason: Some("not from there".into()) }),
        Error::InvalidNetRule { rule: "ftp://a".into(), reason: "only http and https are supported".into() },
        Error::InvalidNetSetting { what: "/etc/catalog/net.toml".into(), reason: "allow is set twice".into() },
        Error::Offline { reference: "hf:org/repo".into() },
        Error::Cancelled { what: "reading /srv/models/a.gguf".into() },
        Error::SyncFailed { path: path("index"), source: Arc::new(io::ErrorKind::Other.into()) },
        system("read", io::ErrorKind::NotFound),
        system("create", io::ErrorKind::PermissionDenied),
        system("write", io::ErrorKind::StorageFull),
        system("write", io::ErrorKind::QuotaExceeded),
        system("sync", io::ErrorKind::ReadOnlyFilesystem),
        system("list", io::ErrorKind::NotADirectory),
        system("write", io::ErrorKind::FileTooLarge),
    ]
}
