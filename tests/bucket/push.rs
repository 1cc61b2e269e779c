//! A push writes an image layout that other tools read, and sends nothing twice.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use catalog_core::{Digest, FsCatalog, PushOptions, PushReceipt, StageOptions};
use serde_json::Value;

use crate::common::{Host, Running, blob_path, has_tool, noise, set_mtime, skip, wait_until};
use crate::seaweed::{KEY, SECRET, Seaweed};
use crate::{catalog_of, reference};

/// More than one request may carry.
const LARGE_BYTES: usize = (65 << 20) + 7;

/// The part size of an upload in parts.
const PART_BYTES: u64 = 16 << 20;

/// Copies everything below a prefix to a folder, as `aws s3 sync` does.
const SYNC: &str = "
for page in s.get_paginator('list_objects_v2').paginate(Bucket=a[0], Prefix=a[1]):
    for o in page.get('Contents', []):
        to = os.path.join(a[2], o['Key'][len(a[1]):])
        os.makedirs(os.path.dirname(to), exist_ok=True)
        s.download_file(a[0], o['Key'], to)";

fn stage(host: &Host, catalog: &FsCatalog, path: &str, bytes: &[u8]) -> Digest {
    let options = StageOptions::default().with_id(path.to_owned());
    catalog.stage(&host.file(path, bytes).into(), &options).unwrap().digest
}

/// A catalog with a tree in which some files have the same bytes, and a single file that the tree also contains.
fn filled(host: &Host, weed: &Seaweed) -> FsCatalog {
    let (catalog, large) = (catalog_of(host, weed), noise(LARGE_BYTES, 1));
    for (name, bytes) in [
        ("tree/a.safetensors", &large[..]),
        ("tree/sub/b.json", &noise(300, 2)),
        ("tree/sub/same.json", &noise(300, 2)),
        ("tree/empty", b""),
    ] {
        host.file(name, bytes);
    }
    catalog.stage(&host.path("tree").into(), &StageOptions::default().with_id("tree".to_owned())).unwrap();
    stage(host, &catalog, "one.gguf", &large);
    catalog
}

fn skopeo(args: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The names, and the digest that each one means.
fn names(weed: &Seaweed, prefix: &str) -> Vec<(String, String)> {
    let text = weed.python(
        "print(s.get_object(Bucket='bucket', Key=a[0])['Body'].read().decode())",
        &[&format!("{prefix}index.json")],
    );
    let index: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name = |manifest: &Value| {
        (text(&manifest["annotations"]["org.opencontainers.image.ref.name"]), text(&manifest["digest"]))
    };
    let mut names: Vec<_> = index["manifests"].as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

// Red when a push makes a new manifest instead of sending the stored one, when it leaves out the configuration, or when
// it sends a blob that is there.
#[test]
fn others_read_what_was_pushed() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let catalog = filled(&host, &weed);
    let target = reference("s3://bucket/models");
    let options = PushOptions::default().with_tags(["v1".to_owned()]);
    let plan = catalog.push("tree", &target, &options.clone().with_dry_run(true)).unwrap();
    assert_eq!(weed.python("print(s.list_objects_v2(Bucket='bucket')['KeyCount'])", &[]).trim(), "0");
    let pushed = catalog.push("tree", &target, &options).unwrap();
    assert_eq!((plan.pushed_bytes, plan.pushed_blobs), (pushed.pushed_bytes, 4), "three files and the configuration");
    let tree = catalog.record("tree").unwrap().unwrap();
    assert_eq!(Some(pushed.manifest), tree.entry.digest);
    assert_eq!(tree.pushed.keys().collect::<Vec<_>>(), ["s3://bucket/models"]);
    let manifest = pushed.manifest.to_string();
    let name = |name: &str| (name.to_owned(), manifest.clone());
    assert_eq!(names(&weed, "models/"), [name("tree"), name("tree:v1")]);

    let again = catalog.push("tree", &target, &options).unwrap();
    assert_eq!((again.pushed_bytes, again.requests), (0, 3));
    // The tree contains the same file: only the configuration and the manifest are new.
    let one = catalog.push("one.gguf", &reference("s3://bucket/models/#one"), &PushOptions::default()).unwrap();
    assert!(one.pushed_bytes < 1000 && one.skipped_bytes == LARGE_BYTES as u64, "{one:?}");
    assert_eq!(names(&weed, "models/").len(), 3);
    if !has_tool("skopeo") {
        return skip("this needs skopeo");
    }
    let (copy, dir) = (host.path("copy"), host.path("dir"));
    weed.python(SYNC, &["bucket", "models/", copy.to_str().unwrap()]);
    for (name, digest) in [("tree", pushed.manifest), ("tree:v1", pushed.manifest), ("one", one.manifest)] {
        let place = format!("oci:{}:{name}", copy.display());
        assert_eq!(Digest::sha256_of(&skopeo(&["inspect", "--raw", &place])), digest, "{name}");
        let _ = fs::remove_dir_all(&dir);
        skopeo(&["copy", &place, &format!("dir:{}", dir.display())]);
    }
    let blob = dir.join(Digest::sha256_of(&noise(LARGE_BYTES, 1)).to_hex());
    assert!(fs::read(blob).unwrap() == noise(LARGE_BYTES, 1));
}

// Red when the index is overwritten without checking whether others have changed it since it was read.
#[test]
fn many_at_once_all_have_their_names() {
    let Some(weed) = Seaweed::single() else { return };
    let hosts: Vec<Host> = (0..6).map(|_| Host::new()).collect();
    let push = |(number, host): (usize, &Host)| -> PushReceipt {
        let catalog = catalog_of(host, &weed);
        let id = format!("model-{number}");
        stage(host, &catalog, &id, &noise(2000, number as u64));
        catalog
            .push(id.as_str(), &reference("s3://bucket/m"), &PushOptions::default().with_tags(["t".to_owned()]))
            .unwrap()
    };
    let receipts: Vec<PushReceipt> = thread::scope(|scope| {
        let threads: Vec<_> = hosts.iter().enumerate().map(|host| scope.spawn(move || push(host))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let named =
        |receipt: &PushReceipt| ["", ":t"].map(|tag| (format!("{}{tag}", receipt.id), receipt.manifest.to_string()));
    let mut expected: Vec<_> = receipts.iter().flat_map(named).collect();
    expected.sort();
    assert_eq!(names(&weed, "m/"), expected);
}

fn push_command(host: &Host, weed: &Seaweed, id: &str, more: &[&str]) -> Command {
    let mut command = host.command();
    command.args(["--json", "push", id, "s3://bucket/kills", "--allow-net", &weed.host()]).args(more);
    command.env("AWS_ENDPOINT_URL", weed.endpoint()).env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET);
    command
}

/// How many whole parts the server holds for unfinished uploads. SeaweedFS lists a part that was sent twice two times.
fn parts(weed: &Seaweed) -> u64 {
    let script = "
for u in s.list_multipart_uploads(Bucket='bucket').get('Uploads', []):
    parts = s.list_parts(Bucket='bucket', Key=u['Key'], UploadId=u['UploadId']).get('Parts', [])
    print(len({p['PartNumber'] for p in parts if p['Size'] == int(a[0])}))";
    weed.python(script, &[&PART_BYTES.to_string()]).lines().map(|line| line.parse::<u64>().unwrap()).sum()
}

fn uploads(weed: &Seaweed) -> usize {
    let script = "print(len(s.list_multipart_uploads(Bucket='bucket').get('Uploads', [])))";
    weed.python(script, &[]).trim().parse().unwrap()
}

// Red when an upload starts from the beginning, when a wrong part is accepted, or when a part that is there is sent
// again.
#[test]
fn a_killed_push_sends_the_rest() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let bytes = noise(9 * PART_BYTES as usize + 1000, 5);
    stage(&host, &host.catalog(), "large", &bytes);
    let mut slow = push_command(&host, &weed, "large", &["--limit-rate", "24MB/s"]);
    let child = Running(slow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until("some parts are there", || parts(&weed) >= 3);
    drop(child); // SIGKILL
    // Corrupt one of the parts.
    let script = "
u = s.list_multipart_uploads(Bucket='bucket')['Uploads'][0]
p = s.list_parts(Bucket='bucket', Key=u['Key'], UploadId=u['UploadId'])['Parts'][0]
s.upload_part(Bucket='bucket', Key=u['Key'], UploadId=u['UploadId'], PartNumber=p['PartNumber'], Body=b'x' * p['Size'],
    ChecksumAlgorithm='SHA256')";
    weed.python(script, &[]);
    // A part that had fully arrived when the sender was killed may only show up a moment later.
    let mut there = 0;
    wait_until("no more parts come", || {
        let before = there;
        there = parts(&weed);
        thread::sleep(std::time::Duration::from_millis(500));
        there == before
    });
    assert!((3..9).contains(&there), "{there}");
    let output = push_command(&host, &weed, "large", &[]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    let configuration = 1000; // at most
    let rest = bytes.len() as u64 - (there - 1) * PART_BYTES;
    let pushed = receipt["pushed_bytes"].as_u64().unwrap();
    assert!((rest..rest + configuration).contains(&pushed), "{there} parts: {pushed} sent, {rest} missing");
    assert_eq!(uploads(&weed), 0);
    let script = "import hashlib
print(hashlib.sha256(s.get_object(Bucket='bucket', Key=a[0])['Body'].read()).hexdigest())";
    let digest = Digest::sha256_of(&bytes).to_hex();
    assert_eq!(weed.python(script, &[&format!("kills/blobs/sha256/{digest}")]).trim(), digest);
}

/// Flips a bit of a blob as a disk would, without a trace in its metadata.
fn rot(root: &Path, digest: &Digest) {
    let path = blob_path(root, digest);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    set_mtime(&path, before);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
}

// Red when what is read is not compared with its digest before it counts as pushed: for a large one, the server does
// not know the digest either.
#[test]
fn bytes_that_have_rotted_are_not_pushed() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let catalog = catalog_of(&host, &weed);
    for (id, length) in [("small", 2000), ("large", LARGE_BYTES)] {
        let digest = stage(&host, &catalog, id, &noise(length, 6));
        rot(&host.root(), &digest);
        let error = catalog.push(id, &reference("s3://bucket/rot"), &PushOptions::default()).unwrap_err();
        println!("{error}");
        let key = format!("rot/blobs/sha256/{}", digest.to_hex());
        let count = "print(s.list_objects_v2(Bucket='bucket', Prefix=a[0])['KeyCount'])";
        assert_eq!(weed.python(count, &[&key]).trim(), "0", "{id}: {error}");
        assert_eq!(uploads(&weed), 0, "{id}");
        if id == "large" {
            assert!(error.is_corrupt(), "{error}");
        }
    }
}

// Red when an object there is trusted by its name although its size or checksum is wrong, or when it cannot be
// replaced.
#[test]
fn what_is_there_and_wrong_is_replaced() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let catalog = catalog_of(&host, &weed);
    for (id, length, wrong) in [("small", 2000, 1999), ("sum", 2000, 2000), ("large", LARGE_BYTES, 5)] {
        let bytes = noise(length, 7);
        let digest = stage(&host, &catalog, id, &bytes);
        let key = format!("{id}/blobs/sha256/{}", digest.to_hex());
        weed.put("bucket", &key, &noise(wrong, 8), "ChecksumAlgorithm='SHA256'");
        let pushed = catalog.push(id, &reference(&format!("s3://bucket/{id}")), &PushOptions::default()).unwrap();
        assert!(pushed.pushed_bytes >= length as u64, "{id}");
        let script = "import hashlib
print(hashlib.sha256(s.get_object(Bucket='bucket', Key=a[0])['Body'].read()).hexdigest())";
        assert_eq!(weed.python(script, &[&key]).trim(), digest.to_hex(), "{id}");
    }
}

// Red when a push continues although the index is not ours, or although it lacks permission.
#[test]
fn pushes_that_are_refused() {
    let Some(weed) = Seaweed::single() else { return };
    let host = Host::new();
    let catalog = catalog_of(&host, &weed);
    stage(&host, &catalog, "a", &noise(2000, 9));
    let push = |target: &str, tags: &[&str]| {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        catalog.push("a", &reference(target), &PushOptions::default().with_tags(tags)).unwrap_err()
    };
    weed.put("bucket", "other/index.json", b"{\"mine\": true}", "");
    let error = push("s3://bucket/other", &[]);
    assert!(error.to_string().contains("not an index of version 2"), "{error}");
    let script = "print(s.get_object(Bucket='bucket', Key='other/index.json')['Body'].read().decode())";
    assert_eq!(weed.python(script, &[]).trim(), "{\"mine\": true}");
    let other = Digest::sha256_of(b"");
    assert!(push(&format!("s3://bucket/a#{other}"), &[]).is_invalid_input());
    assert!(push("s3://bucket/a", &["no tag"]).is_invalid_input());
    assert!(push("s3://bucket/a?versionId=x", &[]).is_invalid_input());
    assert!(push("s3://none-here/a", &[]).is_not_found());
    let error = crate::catalog(&host, &[&weed.host()], crate::user(&weed.endpoint()).anonymous());
    let error = error.push("a", &reference("s3://open/a"), &PushOptions::default()).unwrap_err();
    assert!(error.is_denied(), "{error}");
    // Each of several models gets a name, and no two get the same.
    stage(&host, &catalog, "hf:Org/b", &noise(2000, 10));
    let mut results = Vec::new();
    let ids = ["a", "hf:Org/b"];
    catalog
        .push_many(&ids, &reference("s3://bucket/fleet/"), &PushOptions::default(), &mut |result| results.push(result))
        .unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(names(&weed, "fleet/").iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ids);
}
