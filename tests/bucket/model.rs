//! A bucket as the origin of models: one host pushes, another stages by name.

use std::fs;

use catalog_core::{
    ArtifactKind, Client, Cx, Digest, Policy, PushOptions, S3Source, Source as _, StageOptions, UsedMode,
};

use crate::common::{Host, noise};
use crate::seaweed::Seaweed;
use crate::{catalog_of, quick, reference, user};

/// Pushes a tree of two files, and a single file, from one host. Returns the digest of the tree.
fn pushed(weed: &Seaweed, seed: u64) -> Digest {
    let host = Host::new();
    let catalog = catalog_of(&host, weed);
    host.file("tree/a.safetensors", noise(9 << 20, seed));
    host.file("tree/sub/b.json", noise(300, seed + 1));
    host.file("one.gguf", noise(5000, 3));
    for path in ["tree", "one.gguf"] {
        catalog.stage(&host.path(path).into(), &StageOptions::default().with_id(path.to_owned())).unwrap();
    }
    let target = reference("s3://bucket/a%20b/models");
    let options = PushOptions::default().with_tags(["v1".to_owned()]);
    catalog.push("one.gguf", &target, &options).unwrap();
    catalog.push("tree", &target, &options).unwrap().manifest
}

// Red when a name is not looked up, when a digest is asked about, when present content is fetched again, or when a
// single file is staged as a tree.
#[test]
fn what_one_host_has_pushed_another_stages() {
    let Some(weed) = Seaweed::single() else { return };
    let digest = pushed(&weed, 1);
    let host = Host::new();
    let catalog = catalog_of(&host, &weed);
    let at = |name: &str| reference(&format!("s3://bucket/a%20b/models#{name}"));
    let stage = |name: &str| catalog.stage(&at(name), &StageOptions::default());
    let tree = stage("tree").unwrap();
    assert_eq!(
        (tree.kind, tree.digest, tree.files),
        (ArtifactKind::Tree, digest, 2),
        "the manifest is the same everywhere"
    );
    assert!(fs::read(tree.local_path.join("a.safetensors")).unwrap() == noise(9 << 20, 1));
    assert_eq!(tree.local_path.file_name().unwrap(), "tree");
    let source = catalog.record(&tree.id).unwrap().unwrap().source.unwrap();
    assert_eq!((source.pinned, source.named_by.as_deref()), (Some(digest.to_string()), Some("127.0.0.1")));
    let one = stage("one.gguf:v1").unwrap();
    assert_eq!((one.kind, one.digest), (ArtifactKind::File, Digest::sha256_of(&noise(5000, 3))));
    assert_eq!(one.local_path.file_name().unwrap(), "one.gguf");
    assert_eq!(stage("tree").unwrap().mode, UsedMode::Unchanged);
    let by_digest = stage(&digest.to_string()).unwrap();
    assert_eq!((by_digest.digest, by_digest.fetched_bytes), (digest, 0));

    let error = stage("none").unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("one.gguf:v1"), "{error}");
    let error = catalog.stage(&reference("s3://bucket/none#a"), &StageOptions::default()).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("index.json"), "{error}");
    // Another version under the same name.
    let second = pushed(&weed, 7);
    let moved = stage("tree").unwrap();
    assert_eq!((moved.digest, moved.replaced), (second, Some(digest)));
    // A digest needs no request.
    let source = S3Source::new(user(&weed.endpoint()));
    assert_eq!(source.fixed(&at(&digest.to_string())), Some(digest.to_string()));
    assert_eq!(source.fixed(&at("tree")), None);
    drop(weed);
    assert_eq!(stage(&digest.to_string()).unwrap().mode, UsedMode::Unchanged);
}

// Red when a manifest or a blob from the bucket is believed without a check, or when a push leaves out the MiB hashes.
#[test]
fn what_the_bucket_has_lost_is_not_stored() {
    let Some(weed) = Seaweed::single() else { return };
    let digest = pushed(&weed, 1);
    let source = S3Source::new(user(&weed.endpoint()));
    let client = Client::new(Policy::default().allow(&weed.host()).unwrap(), quick()).unwrap();
    let cx = Cx::new(&client, &());
    let model = reference("s3://bucket/a%20b/models#tree");
    let listing = source.resolve(&model, &cx).unwrap();
    let large = listing.files.iter().find(|file| file.path == "a.safetensors").unwrap();
    assert_eq!(source.group_values(large, &cx).unwrap().len(), 9);

    let blob = |digest: &Digest| format!("a b/models/blobs/sha256/{}", digest.to_hex());
    let mut bytes = noise(9 << 20, 1);
    bytes[4 << 20] ^= 1;
    weed.put("bucket", &blob(&Digest::sha256_of(&noise(9 << 20, 1))), &bytes, "");
    let host = Host::new();
    let catalog = catalog_of(&host, &weed);
    let error = catalog.stage(&model, &StageOptions::default()).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    weed.put("bucket", &blob(&digest), b"{\"schemaVersion\": 2, \"layers\": []}", "");
    let error = catalog.stage(&model, &StageOptions::default()).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert!(catalog.records().unwrap().is_empty());
}
