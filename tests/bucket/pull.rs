//! What others have put there arrives unchanged, and only once.

use std::fs;
use std::sync::Arc;

use catalog_core::{
    ArtifactKind, Client, Cx, Digest, Error, Expected, NetError, ReadAt as _, RemoteReader, S3Source, Source as _,
    StageOptions, UsedMode,
};

use crate::common::{Host, noise};
use crate::seaweed::Seaweed;
use crate::{catalog_of, quick, reference, user};

/// In parts of 5 MiB, the smallest that S3 accepts.
const MULTIPART: &str = "
from boto3.s3.transfer import TransferConfig
s.upload_file(a[2], a[0], a[1], Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))";

// Red when a key is escaped differently from how it is signed, when an object in parts is not read as a whole, or when
// unchanged content is fetched again.
#[test]
fn a_file_of_each_kind() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let catalog = catalog_of(&host, &weed);
    let large = noise((21 << 20) + 5, 1);
    let path = host.file("large", &large);
    weed.python(MULTIPART, &["bucket", "m/large.gguf", path.to_str().unwrap()]);
    weed.put("bucket", "m/a b+c=é%41~'(d)#?.gguf", b"small", "");
    weed.put("bucket", "m/empty", b"", "");
    for (key, name, bytes) in [
        ("m/large.gguf", "large.gguf", &large[..]),
        ("m/a%20b+c=%C3%A9%2541~'(d)%23%3F.gguf", "a b+c=é%41~'(d)#?.gguf", b"small"),
        ("m/empty", "empty", b""),
    ] {
        let reference = reference(&format!("s3://bucket/{key}"));
        let receipt = catalog.stage(&reference, &StageOptions::default()).unwrap();
        assert_eq!((receipt.kind, receipt.digest), (ArtifactKind::File, Digest::sha256_of(bytes)), "{key}");
        assert_eq!(receipt.local_path.file_name().unwrap(), name);
        assert_eq!(receipt.fetched_bytes, bytes.len() as u64);
        let again = catalog.stage(&reference, &StageOptions::default()).unwrap();
        assert_eq!((again.mode, again.fetched_bytes), (UsedMode::Unchanged, 0), "{key}");
    }
    weed.put("bucket", "m/empty", b"now", "");
    let moved = catalog.stage(&reference("s3://bucket/m/empty"), &StageOptions::default()).unwrap();
    assert_eq!((moved.digest, moved.replaced), (Digest::sha256_of(b"now"), Some(Digest::sha256_of(b""))));
}

// Red when one page is taken for the whole list, when a pattern is compared with the whole key, or when a folder marker
// becomes a file.
#[test]
fn a_tree_of_several_pages() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    // A page has at most a thousand keys.
    let script = "for i in range(1005): s.put_object(Bucket='bucket', Key=f't/part/{i:04}', Body=b'%d' % i)
s.put_object(Bucket='bucket', Key='t/', Body=b'')
s.put_object(Bucket='bucket', Key='t/part/', Body=b'')
s.put_object(Bucket='bucket', Key='tt', Body=b'')";
    weed.python(script, &[]);
    let catalog = catalog_of(&host, &weed);
    let tree = reference("s3://bucket/t/");
    let receipt = catalog.stage(&tree, &StageOptions::default()).unwrap();
    assert_eq!((receipt.kind, receipt.files), (ArtifactKind::Tree, 1005));
    assert_eq!(fs::read(receipt.local_path.join("part/1004")).unwrap(), b"1004");
    assert_eq!(receipt.local_path.file_name().unwrap(), "t");
    assert_eq!(catalog.stage(&tree, &StageOptions::default()).unwrap().mode, UsedMode::Unchanged);

    let some = StageOptions::default().with_selection(vec!["part/000*".into()], vec!["*5".into()]);
    let receipt = catalog.stage(&tree, &some.with_id(Some("some".into()))).unwrap();
    assert_eq!(receipt.files, 9);
    for (reference, include, is_not_found) in [("s3://bucket/none/", "*", true), ("s3://bucket/t/", "t/*", false)] {
        let options = StageOptions::default().with_id(Some("none".into())).with_selection(vec![include.into()], vec![]);
        let error = catalog.stage(&crate::reference(reference), &options).unwrap_err();
        assert_eq!(error.is_not_found(), is_not_found, "{error}");
    }
    weed.put("bucket", "t/part/0003", b"three", "");
    let moved = catalog.stage(&tree, &StageOptions::default()).unwrap();
    assert_eq!(fs::read(moved.local_path.join("part/0003")).unwrap(), b"three");
}

// Red when the checksum that the server has is not asked for, or when a checksum over the parts' checksums is taken for
// the object's.
#[test]
fn a_digest_that_the_server_has() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let bytes = noise(6 << 20, 2);
    weed.put("bucket", "known", &bytes, "ChecksumAlgorithm='SHA256'");
    let path = host.file("parts", &bytes);
    let script = "
from boto3.s3.transfer import TransferConfig
s.upload_file(a[0], 'bucket', 'parts', ExtraArgs={'ChecksumAlgorithm': 'SHA256'},
    Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))";
    weed.python(script, &[path.to_str().unwrap()]);
    let source = S3Source::new(user(&weed.endpoint()));
    let client = client(&weed);
    let cx = Cx::new(&client, &());
    let of = |key: &str| {
        let listing = source.resolve(&reference(&format!("s3://bucket/{key}")), &cx).unwrap();
        (listing.files[0].expected, listing.named_by)
    };
    let digest = Digest::sha256_of(&bytes);
    assert_eq!(of("known"), (Expected::Sha256(digest), Some("127.0.0.1".into())));
    assert_eq!(of("parts"), (Expected::Nothing, None));
    // Content that is here by its digest is not fetched again.
    let catalog = catalog_of(&host, &weed);
    catalog.stage(&crate::common::reference(&path), &StageOptions::default()).unwrap();
    let receipt = catalog.stage(&reference("s3://bucket/known"), &StageOptions::default()).unwrap();
    assert_eq!((receipt.digest, receipt.fetched_bytes), (digest, 0));
}

fn client(weed: &Seaweed) -> Client {
    let policy = catalog_core::Policy::default().allow(&weed.host()).unwrap();
    Client::new(policy, quick()).unwrap()
}

// Red when ranges are requested with `If-Range`, which S3 ignores: the answer would be from another version, and only
// its tag would reveal it.
#[test]
fn another_version_in_the_middle() {
    let Some(weed) = Seaweed::single() else { return };
    let (before, after) = (noise(3 << 20, 3), noise(3 << 20, 4));
    weed.put("bucket", "a", &before, "");
    let source = Arc::new(S3Source::new(user(&weed.endpoint())));
    let client = client(&weed);
    let listing = source.resolve(&reference("s3://bucket/a"), &Cx::new(&client, &())).unwrap();
    let reader = RemoteReader::new(source, listing.files[0].clone(), client, Arc::new(())).unwrap();
    let mut buffer = vec![0; 1 << 20];
    reader.read_exact_at(0, &mut buffer).unwrap();
    assert!(buffer == before[..1 << 20]);
    weed.put("bucket", "a", &after, "");
    let error = reader.read_exact_at(1 << 20, &mut buffer).unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert!(
        matches!(error, Error::Net { source: NetError::Changed { detail, .. }, .. } if detail.contains("another version")),
        "{error}"
    );
}

// Red when a version is not requested by its id, or when a fixed version is asked about again.
#[test]
fn versions() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let script = "s.put_bucket_versioning(Bucket='bucket', VersioningConfiguration={'Status': 'Enabled'})
for body in (b'one', b'two'): print(s.put_object(Bucket='bucket', Key='a', Body=body)['VersionId'])";
    let printed = weed.python(script, &[]);
    let versions: Vec<&str> = printed.lines().collect();
    let catalog = catalog_of(&host, &weed);
    for (query, content, pinned) in [
        (String::new(), "two", versions[1]),
        (format!("?versionId={}", versions[0]), "one", versions[0]),
        (format!("?versionId={}", versions[1]), "two", versions[1]),
    ] {
        let reference = reference(&format!("s3://bucket/a{query}"));
        let receipt = catalog.stage(&reference, &StageOptions::default()).unwrap();
        assert_eq!(receipt.digest, Digest::sha256_of(content.as_bytes()), "{query}");
        let source = catalog.record(&receipt.id).unwrap().unwrap().source.unwrap();
        assert_eq!(source.pinned.as_deref(), Some(pinned));
    }
    let fixed = reference(&format!("s3://bucket/a?versionId={}", versions[0]));
    let source = S3Source::new(user(&weed.endpoint()));
    assert_eq!(source.fixed(&fixed).as_deref(), Some(versions[0]));
    assert_eq!(source.fixed(&reference("s3://bucket/a")), None);
    drop(weed);
    assert_eq!(catalog.stage(&fixed, &StageOptions::default()).unwrap().mode, UsedMode::Unchanged);
}
