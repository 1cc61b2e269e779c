//! Rules of who must have signed: no way leads around them.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;
use std::path::PathBuf;

use catalog_core::testing::{Issued, Wanted};
use catalog_core::{
    CatalogEntry, CatalogStore as _, Digest, Doctor, DocumentKind, FindingKind, FsCatalog, LifecycleState, ModelRef,
    NewDocument, PrivateKey, Roots, RuleSigner, SignatureOptions, StageOptions, TrustState, TrustedSigner,
};
use rstest::rstest;

use common::typed::{done, failed, ids};
use common::*;

const CONTENT: &[u8] = b"GGUF and weights";

fn key(name: &str) -> PrivateKey {
    PrivateKey::from_pem(&Issued::root(&Wanted::signer(name)).key_pem).unwrap()
}

fn trusted(name: &str) -> TrustedSigner {
    key(name).public_key().into()
}

/// A catalog whose ids `signed/…` must be signed by the key "a", and two models under other ids.
struct Ruled {
    host: Host,
    catalog: FsCatalog,
    /// The signature of `CONTENT` by "a".
    signature: Vec<u8>,
}

impl Ruled {
    fn new() -> Self {
        let host = Host::new();
        let catalog = host.catalog();
        stage(&catalog, &host.file("m.gguf", CONTENT), "free").unwrap();
        stage(&catalog, &host.file("other.gguf", "other"), "other").unwrap();
        let signature = catalog.sign("free", &key("a")).unwrap();
        catalog.add_signature_rule("signed/*", RuleSigner::new(&trusted("a"))).unwrap();
        Ruled { host, catalog, signature }
    }

    fn model(&self) -> PathBuf {
        self.host.path("m.gguf")
    }

    fn stage(&self, id: &str, signature: Option<&[u8]>) -> catalog_core::Result<()> {
        let options = options(id).with_signature(signature.map(<[u8]>::to_vec));
        self.catalog.stage(&reference(&self.model()), &options).map(drop)
    }

    fn verify(&self, id: &str, signer: TrustedSigner, signature: &[u8]) {
        let options = SignatureOptions::new(signer).with_signature(Some(signature.to_vec()));
        assert!(self.catalog.verify_signature(id, &options).unwrap().recorded);
    }

    #[track_caller]
    fn assert_refused<T: std::fmt::Debug>(&self, result: catalog_core::Result<T>, id: &str) {
        let error = result.unwrap_err();
        assert!(error.is_unsigned(), "{error}");
        assert!(self.catalog.get(id).unwrap().is_none(), "{id} was recorded");
    }
}

// Red when a stage records what the rules do not allow, or leaves its bytes.
#[test]
fn only_what_a_trusted_signer_has_signed_is_staged() {
    let ruled = Ruled::new();
    let before = blobs(&ruled.host.root());
    ruled.assert_refused(ruled.stage("signed/m", None), "signed/m");
    let other = ruled.catalog.sign("free", &key("b")).unwrap();
    ruled.assert_refused(ruled.stage("signed/m", Some(&other)), "signed/m");
    ruled.assert_refused(ruled.stage("signed/m", Some(b"{}")), "signed/m");
    let of_other = ruled.catalog.sign("other", &key("a")).unwrap();
    ruled.assert_refused(ruled.stage("signed/m", Some(&of_other)), "signed/m");
    assert_eq!(blobs(&ruled.host.root()), before);

    ruled.stage("signed/m", Some(&ruled.signature)).unwrap();
    let record = ruled.catalog.resolve("signed/m").unwrap();
    let [attested] = record.signatures().collect::<Vec<_>>()[..] else { panic!("{record:?}") };
    assert_eq!(attested.key, key("a").public_key().fingerprint());
    assert_eq!((attested.pattern.as_deref(), record.trust), (Some("signed/*"), TrustState::Verified));
    // The bundle is kept, and needed by the record.
    assert_eq!(record.needs.iter().collect::<Vec<_>>(), [&attested.bundle]);
    assert_eq!(fs::read(blob_path(&ruled.host.root(), &attested.bundle)).unwrap(), ruled.signature);
    // One that is given has to hold, whatever is recorded.
    assert!(ruled.stage("signed/m", Some(&other)).unwrap_err().is_unsigned());
    // Staged again, it needs no signature: its content has one.
    ruled.stage("signed/m", None).unwrap();
    drop(ruled.catalog.lease("signed/m").unwrap());
    assert_sound(&ruled.host.root());
}

// Red when detaching a document takes the bundle of a recorded signature away.
#[test]
fn a_bundle_that_was_attached_too_stays_when_it_is_detached() {
    let ruled = Ruled::new();
    ruled.stage("signed/m", Some(&ruled.signature)).unwrap();
    let bundle = Digest::sha256_of(&ruled.signature);
    let document = NewDocument::new(DocumentKind::Signature, "m.sig", ruled.signature.clone());
    ruled.catalog.attach("signed/m", &document).unwrap();
    assert!(ruled.catalog.detach("signed/m", "m.sig").unwrap());
    assert_eq!(ruled.catalog.record("signed/m").unwrap().unwrap().needs, [bundle].into());
    assert!(blob_path(&ruled.host.root(), &bundle).exists());
}

// Red when a model counts as verified although a signature says nothing about some of its files.
#[test]
fn a_signature_of_some_files_does_not_make_a_model_verified() {
    let ruled = Ruled::new();
    let tree = ruled.host.path("tree");
    ruled.host.file("tree/m.gguf", CONTENT);
    stage(&ruled.catalog, &tree, "before").unwrap();
    let signature = ruled.catalog.sign("before", &key("a")).unwrap();
    ruled.host.file("tree/more.json", "{}");
    stage(&ruled.catalog, &tree, "after").unwrap();
    let given = SignatureOptions::new(trusted("a")).with_signature(Some(signature.clone()));
    let report = ruled.catalog.verify_signature("after", &given.with_allow_unsigned_files(true)).unwrap();
    assert_eq!(report.unsigned_files, ["more.json"]);
    let trust = |id: &str| ruled.catalog.record(id).unwrap().unwrap().trust;
    assert_eq!(trust("after"), TrustState::Warned);

    let lenient = RuleSigner::new(&trusted("a")).with_allow_unsigned_files(true);
    ruled.catalog.add_signature_rule("lenient/*", lenient).unwrap();
    let options = options("lenient/m").with_signature(Some(signature));
    drop(ruled.catalog.stage(&reference(&tree), &options).unwrap());
    assert_eq!(trust("lenient/m"), TrustState::Warned);
}

// Red when the signature that a tree brings is not found, or does not cover its files.
#[test]
fn a_tree_brings_its_signature() {
    let ruled = Ruled::new();
    let tree = ruled.host.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::copy(ruled.model(), tree.join("m.gguf")).unwrap();
    let of_tree = |id: &str| ruled.catalog.stage(&reference(&tree), &options(id)).map(drop);
    of_tree("plain").unwrap();
    let signature = ruled.catalog.sign("plain", &key("a")).unwrap();
    ruled.assert_refused(of_tree("signed/t"), "signed/t");
    fs::write(tree.join("model.sig"), &signature).unwrap();
    of_tree("signed/t").unwrap();
    let record = ruled.catalog.resolve("signed/t").unwrap();
    assert!(record.needs.is_empty(), "the signature is a file of the tree");
    // Other files in it make it other content.
    fs::write(tree.join("more.json"), "{}").unwrap();
    assert!(of_tree("signed/t").unwrap_err().is_unsigned());
    assert_eq!(ruled.catalog.resolve("signed/t").unwrap().entry.digest, record.entry.digest);
    // A signer who is trusted to leave files out.
    let lenient = RuleSigner::new(&trusted("a")).with_allow_unsigned_files(true);
    ruled.catalog.add_signature_rule("signed/*", lenient).unwrap();
    of_tree("signed/t").unwrap();
    ruled.catalog.resolve("signed/t").unwrap();
    // What was accepted so counts for nothing without that.
    ruled.catalog.add_signature_rule("signed/*", RuleSigner::new(&trusted("a"))).unwrap();
    assert!(ruled.catalog.resolve("signed/t").unwrap_err().is_unsigned());
}

// Red when a rule concerns only what is staged after it.
#[test]
fn what_was_here_before_a_rule_is_given_out_once_it_is_verified() {
    let ruled = Ruled::new();
    ruled.catalog.add_signature_rule("fr*", RuleSigner::new(&trusted("a"))).unwrap();
    let lease = ruled.catalog.lease("free");
    assert!(lease.unwrap_err().is_unsigned());
    let path: PathBuf = ruled.catalog.resolve("other").unwrap().entry.local_path;
    assert!(path.exists());
    assert!(ruled.catalog.resolve("free").unwrap_err().is_unsigned());
    assert!(ruled.catalog.ensure(&reference(&ruled.model()), &options("free")).unwrap_err().is_unsigned());
    // A signature by somebody else is recorded, and is no answer.
    let other = ruled.catalog.sign("free", &key("b")).unwrap();
    ruled.verify("free", trusted("b"), &other);
    assert!(ruled.catalog.resolve("free").unwrap_err().is_unsigned());
    ruled.verify("free", trusted("a"), &ruled.signature);
    ruled.catalog.resolve("free").unwrap();
    // Another handle, which has read the rules and the record before.
    assert_eq!(ruled.catalog.record("free").unwrap().unwrap().signatures().count(), 2);
    // Without the rule, nobody asks.
    assert!(ruled.catalog.remove_signature_rule("fr*").unwrap());
    assert!(!ruled.catalog.remove_signature_rule("fr*").unwrap());
}

// Red when a signature of the content before counts for the content now.
#[test]
fn new_content_needs_a_new_signature() {
    let ruled = Ruled::new();
    ruled.stage("signed/m", Some(&ruled.signature)).unwrap();
    let other = reference(&ruled.host.path("other.gguf"));
    assert!(ruled.catalog.stage(&other, &options("signed/m")).unwrap_err().is_unsigned());
    assert_readable(&ruled.catalog, "signed/m", CONTENT);
    // As if an older version had given it other content.
    let digest = ruled.catalog.record("other").unwrap().unwrap().entry.digest.unwrap();
    edit_shard(&ruled.host.root(), "signed/m", |entries| {
        entries["signed/m"]["digest"] = digest.to_string().into();
    });
    assert!(ruled.host.catalog().resolve("signed/m").unwrap_err().is_unsigned());
}

/// A way by which an id gets content.
type Way = fn(&Ruled) -> catalog_core::Result<()>;

const NEW: &str = "signed/new";

// Red when a way by which an id gets content does not ask.
#[rstest]
#[case::stage(|ruled: &Ruled| ruled.stage(NEW, None))]
#[case::ensure(|ruled: &Ruled| ruled.catalog.ensure(&reference(&ruled.model()), &options(NEW)).map(drop))]
#[case::stage_from(|ruled: &Ruled| ruled.catalog.stage_from(CONTENT, NEW, &StageOptions::default()).map(drop))]
#[case::put(|ruled: &Ruled| ruled.catalog.put(&entry(NEW, ruled.model())))]
#[case::put_many(|ruled: &Ruled| ruled.catalog.put_many(&[entry(NEW, ruled.model())]))]
#[case::put_in_place(|ruled: &Ruled| {
    fs::create_dir_all(ruled.host.root().join("own")).unwrap();
    fs::copy(ruled.model(), ruled.host.root().join("own/m")).unwrap();
    ruled.catalog.put(&entry(NEW, "own/m"))
})]
#[case::register(|ruled: &Ruled| ruled.catalog.put(&entry(NEW, "later/m")))]
#[case::rename(|ruled: &Ruled| ruled.catalog.rename("free", NEW).map(drop))]
#[case::tag(|ruled: &Ruled| ruled.catalog.tag("free", NEW).map(drop))]
fn no_way_leads_around_a_rule(#[case] way: Way) {
    let ruled = Ruled::new();
    ruled.assert_refused(way(&ruled), NEW);
    // It was not lost on the way.
    ruled.catalog.resolve("free").unwrap();
}

// Red when what was verified does not go with the content to another id.
#[test]
fn a_verified_model_can_be_renamed() {
    let ruled = Ruled::new();
    ruled.verify("free", trusted("a"), &ruled.signature);
    ruled.catalog.tag("free", "signed/tagged").unwrap();
    ruled.catalog.rename("signed/tagged", "signed/renamed").unwrap();
    ruled.catalog.resolve("signed/renamed").unwrap();
    ruled.catalog.set_state("signed/renamed", LifecycleState::Retired).unwrap();
    assert!(ruled.catalog.delete("signed/renamed").unwrap());
}

// Red when the digest of a registered path, whose bytes nobody has read, stands for its bytes.
#[test]
fn a_registered_path_is_never_signed() {
    let ruled = Ruled::new();
    ruled.stage("signed/m", Some(&ruled.signature)).unwrap();
    let digest = ruled.catalog.get("signed/m").unwrap().unwrap().digest;
    let registered = CatalogEntry { digest, ..entry("signed/m", "later/m") };
    assert!(ruled.catalog.put(&registered).unwrap_err().is_unsigned());
    // What was verified of the content before does not speak for it.
    ruled.verify("free", trusted("a"), &ruled.signature);
    ruled.catalog.put(&CatalogEntry { digest, ..entry("free", "later/m") }).unwrap();
    fs::create_dir_all(ruled.host.root().join("later")).unwrap();
    fs::write(ruled.host.root().join("later/m"), "evil").unwrap();
    ruled.catalog.add_signature_rule("free", RuleSigner::new(&trusted("a"))).unwrap();
    assert!(ruled.catalog.resolve("free").unwrap_err().is_unsigned());
}

// Red when one rule of several is enough, or when one signer of a rule is not.
#[test]
fn every_rule_is_met_by_one_of_its_signers() {
    let ruled = Ruled::new();
    ruled.catalog.add_signature_rule("*/m", RuleSigner::new(&trusted("b"))).unwrap();
    let error = ruled.stage("signed/m", Some(&ruled.signature)).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("\"*/m\"") && error.contains("has signed it, and not this one"), "{error}");
    ruled.verify("free", trusted("a"), &ruled.signature);
    ruled.assert_refused(ruled.catalog.tag("free", "signed/m"), "signed/m");
    // Either key of the second rule.
    ruled.catalog.add_signature_rule("*/m", RuleSigner::new(&trusted("a"))).unwrap();
    ruled.stage("signed/m", Some(&ruled.signature)).unwrap();
    ruled.catalog.resolve("signed/m").unwrap();
    let rules = ruled.catalog.signature_rules().unwrap();
    assert_eq!(rules.iter().map(|rule| rule.signers.len()).collect::<Vec<_>>(), [1, 2]);
}

// Red when certificates are not bound to the roots of the rule, or when a lenient clock counts for a strict rule.
#[test]
fn certificates_count_for_their_roots_and_clock() {
    let ruled = Ruled::new();
    let root = Issued::root(&Wanted::authority("root"));
    let expired = root.issue(&Wanted { years: (2021, 2022), ..Wanted::signer("expired") });
    let roots = || Roots::from_pem(&root.pem).unwrap();
    let key = PrivateKey::from_pem(&expired.key_pem).unwrap().with_certificates(&expired.pem).unwrap();
    let signature = ruled.catalog.sign("free", &key).unwrap();
    ruled.catalog.add_signature_rule("free", RuleSigner::new(&roots().into())).unwrap();
    ruled.verify("free", roots().with_at_signing_time(true).into(), &signature);
    assert!(ruled.catalog.resolve("free").unwrap_err().is_unsigned());
    let lenient = RuleSigner::new(&roots().with_at_signing_time(true).into());
    ruled.catalog.add_signature_rule("free", lenient).unwrap();
    ruled.catalog.resolve("free").unwrap();
    let other = Roots::from_pem(&Issued::root(&Wanted::authority("other")).pem).unwrap();
    ruled.catalog.remove_signature_rule("free").unwrap();
    ruled.catalog.add_signature_rule("free", RuleSigner::new(&other.with_at_signing_time(true).into())).unwrap();
    assert!(ruled.catalog.resolve("free").unwrap_err().is_unsigned());
}

// Red when a caller's demand is not met before anything is recorded.
#[test]
fn a_caller_asks_for_a_signature() {
    let ruled = Ruled::new();
    let (model, id) = (reference(&ruled.model()), "any");
    let stage = |options: StageOptions| ruled.catalog.stage(&model, &options).map(drop);
    let by = |name: &str| options(id).with_signers(vec![trusted(name)]);
    ruled.assert_refused(stage(options(id).with_require_signature(true)), id);
    ruled.assert_refused(stage(by("a")), id);
    ruled.assert_refused(stage(by("b").with_signature(ruled.signature.clone())), id);
    stage(by("a").with_signature(ruled.signature.clone())).unwrap();
    // What is recorded will do, and only for whom it is recorded.
    stage(by("a")).unwrap();
    assert!(stage(by("b")).unwrap_err().is_unsigned());
    assert!(ruled.catalog.stage(&ModelRef::from(ruled.model()), &by("a")).is_ok());
}

// Red when damaged rules count as none, or when a version that knows none can open the store.
#[test]
fn rules_that_cannot_be_read_are_no_permission() {
    let ruled = Ruled::new();
    let store_json = ruled.host.root().join("store.json");
    let good = fs::read_to_string(&store_json).unwrap();
    assert!(good.contains(r#""incompatible":["signatures"]"#), "{good}");
    let lost = good.split(r#","signatures":"#).next().unwrap().to_owned() + "}";
    for damaged in [good.replace(r#""signers":["#, r#""signers":[1,"#), lost, "x".into(), String::new()] {
        fs::write(&store_json, &damaged).unwrap();
        let error = ruled.catalog.resolve("free").unwrap_err();
        assert!(error.is_corrupt(), "{damaged}: {error}");
        assert!(ruled.stage("signed/m", None).is_err());
        assert!(ruled.catalog.get("signed/m").unwrap().is_none());
    }
    fs::write(&store_json, &good).unwrap();
    ruled.catalog.resolve("free").unwrap();
    // Settings and rules leave each other alone.
    ruled.catalog.change_config(|config| config.max_bytes = Some(1 << 30)).unwrap();
    ruled.assert_refused(ruled.stage("signed/m", None), "signed/m");
    ruled.catalog.remove_signature_rule("signed/*").unwrap();
    let none = fs::read_to_string(&store_json).unwrap();
    assert!(none.contains(r#""incompatible":[]"#) && none.contains("1073741824"), "{none}");
    ruled.stage("signed/m", None).unwrap();
}

// Red when a handle keeps the rules that it has read first.
#[test]
fn a_rule_holds_for_handles_that_are_open() {
    let ruled = Ruled::new();
    let other = ruled.host.catalog();
    other.resolve("free").unwrap();
    ruled.catalog.add_signature_rule("free", RuleSigner::new(&trusted("a"))).unwrap();
    assert!(other.resolve("free").unwrap_err().is_unsigned());
    ruled.catalog.remove_signature_rule("free").unwrap();
    other.resolve("free").unwrap();
}

// Red when removing, checking or repairing asks for a signature, or an export gives out what is not signed.
#[test]
fn the_rest_works_as_ever() {
    let ruled = Ruled::new();
    ruled.catalog.add_signature_rule("free", RuleSigner::new(&trusted("a"))).unwrap();
    let findings = Doctor::open(ruled.host.root()).unwrap().examine().unwrap();
    let of_store = findings.iter().filter(|finding| finding.kind != FindingKind::ModelIncomplete);
    assert_eq!(of_store.count(), 0, "{findings:?}");
    ruled.catalog.set_state("free", LifecycleState::Retired).unwrap();
    ruled.catalog.rename("free", "freed").unwrap();
    ruled.catalog.resolve("freed").unwrap();
    ruled.catalog.add_signature_rule("freed", RuleSigner::new(&trusted("a"))).unwrap();
    assert!(ruled.catalog.delete("freed").unwrap());
}

// Red when a model of another tool is taken in without a signature.
#[rstest]
#[case::by_name("lmstudio")]
#[case::by_commit("hf")]
fn what_is_adopted_is_signed(#[case] tool: &str) {
    let host = Host::new();
    let commit = "0123456789012345678901234567890123456789";
    let folder = match tool {
        "hf" => format!("cache/models--me--tiny/snapshots/{commit}"),
        _ => "cache/me/tiny".into(),
    };
    let folder = host.path(&folder);
    fs::create_dir_all(&folder).unwrap();
    if tool == "hf" {
        let repository = host.path("cache/models--me--tiny");
        fs::create_dir_all(repository.join("blobs")).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), commit).unwrap();
        let blob = Digest::sha256_of(&fs::read(fixture()).unwrap()).to_hex();
        fs::copy(fixture(), repository.join("blobs").join(&blob)).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{blob}"), folder.join("tiny.gguf")).unwrap();
    } else {
        fs::copy(fixture(), folder.join("tiny.gguf")).unwrap();
    }
    let signer = Issued::root(&Wanted::signer("a"));
    host.file("key.pem", &signer.key_pem);
    host.file("key.pub", key("a").public_key().to_pem());
    let pattern = format!("{tool}:*");
    done(&host, &["policy", "add", &pattern, "--key", "key.pub", "--init"]);
    let adopt = ["adopt", tool, "cache", "--json"];
    assert!(failed(&host, &adopt, 6).contains("signature"));
    assert_eq!(ids(&host, &[]), [""; 0]);
    // Adopted before the rule, it is found unchanged, and still not given out.
    done(&host, &["policy", "remove", &pattern]);
    done(&host, &adopt);
    done(&host, &["policy", "add", &pattern, "--key", "key.pub"]);
    failed(&host, &adopt, 6);
    for id in ids(&host, &[]) {
        failed(&host, &["path", &id], 6);
        failed(&host, &["export", &id, "--as", "dir", "--to", "out"], 6);
        done(&host, &["sign", &id, "--key", "key.pem", "-o", "m.sig"]);
        done(&host, &["verify-signature", &id, "--key", "key.pub", "--signature", "m.sig"]);
        done(&host, &["path", &id]);
    }
    done(&host, &adopt);
}

#[test]
fn the_command() {
    let host = Host::new();
    let root = Issued::root(&Wanted::authority("root"));
    let signer = root.issue(&Wanted::signer("models"));
    host.file("key.pem", &signer.key_pem);
    host.file("chain.pem", &signer.pem);
    host.file("roots.pem", &root.pem);
    host.file("key.pub", PrivateKey::from_pem(&signer.key_pem).unwrap().public_key().to_pem());
    let model = host.file("m.gguf", CONTENT);
    let model = model.to_str().unwrap();
    done(&host, &["stage", model, "--id", "free"]);
    done(&host, &["policy", "add", "prod/*", "--cert", "roots.pem"]);
    assert!(done(&host, &["policy", "list"]).starts_with("prod/*  certificates from sha256:"));
    assert!(done(&host, &["policy", "list", "--json"]).contains(r#""type":"signature_rule""#));
    let said = failed(&host, &["stage", model, "--id", "prod/m"], 6);
    assert!(said.contains("no signature was given") && said.contains("\"prod/*\""), "{said}");
    done(&host, &["sign", "free", "--key", "key.pem", "-o", "key.sig"]);
    failed(&host, &["stage", model, "--id", "prod/m", "--signature", "key.sig"], 6);
    done(&host, &["sign", "free", "--key", "key.pem", "--certs", "chain.pem", "-o", "m.sig"]);
    done(&host, &["stage", model, "--id", "prod/m", "--signature", "m.sig"]);
    done(&host, &["path", "prod/m"]);
    let shown = done(&host, &["show", "prod/m"]);
    assert!(shown.contains("signed by:") && shown.contains("CN=models, the key sha256:"), "{shown}");
    assert!(done(&host, &["show", "prod/m", "--json"]).contains(r#""method":"certificate""#));

    done(&host, &["policy", "add", "free", "--key", "key.pub"]);
    let said = failed(&host, &["path", "free"], 6);
    assert!(said.contains("verify-signature free"), "{said}");
    failed(&host, &["stage", model, "--id", "new", "--key", "key.pub"], 6);
    let said = failed(&host, &["stage", model, "--id", "new", "--require-signature"], 6);
    assert!(said.contains("its signer with --key or --cert"), "{said}");
    failed(&host, &["tag", "free", "prod/n"], 6);
    done(&host, &["verify-signature", "free", "--key", "key.pub", "--signature", "key.sig"]);
    done(&host, &["path", "free"]);
    failed(&host, &["policy", "add", "x"], 2);
    failed(&host, &["policy", "remove", "x"], 3);
    done(&host, &["policy", "remove", "free"]);
    done(&host, &["policy", "remove", "prod/*"]);
    assert_eq!(done(&host, &["policy", "list"]), "");
}

// Red when a build that cannot check Sigstore's signatures believes them, or makes rules that it cannot meet.
#[cfg(not(feature = "sigstore"))]
#[test]
fn without_its_feature_sigstore_is_not_believed() {
    let ruled = Ruled::new();
    let identity = catalog_core::SigningIdentity::new("stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2");
    let vector = include_bytes!("fixtures/oms-v1.1.0-sigstore.sig");
    let options = SignatureOptions::new(identity).with_signature(Some(vector.to_vec()));
    let error = ruled.catalog.verify_signature("free", &options).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains("lacks the feature `sigstore`"), "{error}");
    let said = failed(&ruled.host, &["policy", "add", "x", "--identity", "a", "--issuer", "b"], 2);
    assert!(said.contains("--features sigstore"), "{said}");
}
