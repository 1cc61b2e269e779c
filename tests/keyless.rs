//! Signatures that Sigstore vouches for. The bundle is a test vector of the OpenSSF Model Signing specification: it was
//! made by others, and its certificate and its entries in the logs are from the public Sigstore.
#![cfg(all(feature = "sigstore", feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;

use catalog_core::{FsCatalog, RuleSigner, SignatureOptions, SignatureReport, SigningIdentity, SigningMethod};
use rstest::rstest;

use common::*;

const VECTOR: &str = include_str!("fixtures/oms-v1.1.0-sigstore.sig");
const NAME: &str = "stefanb@us.ibm.com";
const ISSUER: &str = "https://sigstore.verify.ibm.com/oauth2";

/// A trusted root with nobody in it.
const NO_ROOT: &str = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],
    "certificateAuthorities":[],"ctlogs":[],"timestampAuthorities":[]}"#;

/// A catalog with the model of the vector, whose signature is in the model.
fn signed(host: &Host) -> FsCatalog {
    for name in ["signme-1", "signme-2", "ignore-me"] {
        host.file(&format!("model/{name}"), name);
    }
    host.file("model/model.sig", VECTOR);
    let catalog = host.catalog();
    stage(&catalog, &host.path("model"), "free").unwrap();
    catalog
}

fn verify(catalog: &FsCatalog, identity: SigningIdentity, bundle: &str) -> catalog_core::Result<SignatureReport> {
    catalog.verify_signature("free", &SignatureOptions::new(identity).with_signature(Some(bundle.into())))
}

#[test]
fn an_identity_that_has_signed_is_told_and_recorded() {
    let host = Host::new();
    let catalog = signed(&host);
    let identity = SigningIdentity::new(NAME, ISSUER);
    let report = catalog.verify_signature("free", &SignatureOptions::new(identity.clone())).unwrap();
    let told = report.identity.unwrap();
    assert_eq!((told.name.as_str(), told.issuer.as_str()), (NAME, ISSUER));
    // 2025-10-10, when the certificate of ten minutes was valid.
    assert_eq!(told.logged_ms.unwrap() / 86_400_000, 20_371);
    assert_eq!((report.signed_files, report.unsigned_files, report.recorded), (2, vec!["ignore-me".to_owned()], true));
    let record = catalog.record("free").unwrap().unwrap();
    let [kept] = record.signatures().collect::<Vec<_>>()[..] else { panic!("{record:?}") };
    assert_eq!((kept.method, kept.signer), (SigningMethod::Identity, identity.fingerprint()));
    assert_eq!((kept.subject.as_deref(), kept.issuer.as_deref()), (Some(NAME), Some(ISSUER)));
}

// Red when the name, the provider or the instance of Sigstore is not compared.
#[rstest]
#[case("stefanb@us.ibm.co", ISSUER, None, "\"stefanb@us.ibm.com\" has signed it, and not this identity")]
#[case("STEFANB@us.ibm.com", ISSUER, None, "and not this identity")]
#[case("", ISSUER, None, "and not this identity")]
#[case(NAME, "https://accounts.google.com", None, "knows its signer, and not this issuer")]
#[case(NAME, "", None, "and not this issuer")]
#[case(NAME, ISSUER, Some(NO_ROOT), "Sigstore does not vouch for it")]
#[case(NAME, ISSUER, Some("{}"), "the trusted root cannot be read")]
fn another_identity_is_refused(
    #[case] name: &str,
    #[case] issuer: &str,
    #[case] root: Option<&str>,
    #[case] why: &str,
) {
    let host = Host::new();
    let catalog = signed(&host);
    let identity = SigningIdentity::new(name, issuer).with_trusted_root(root.map(str::to_owned));
    let error = verify(&catalog, identity, VECTOR).unwrap_err();
    assert!(error.is_corrupt() && error.to_string().contains(why), "{error}");
    assert_eq!(catalog.record("free").unwrap().unwrap().signatures().count(), 0);
}

// Red when a part of the bundle is believed without its proof.
#[test]
fn a_bundle_that_was_changed_is_refused() {
    let host = Host::new();
    let catalog = signed(&host);
    let bundle: serde_json::Value = serde_json::from_str(VECTOR).unwrap();
    let entry = "/verificationMaterial/tlogEntries/0";
    let changed = |place: &str, change: &dyn Fn(&str) -> String| {
        let mut bundle = bundle.clone();
        let value = bundle.pointer_mut(place).unwrap();
        let text = change(value.as_str().unwrap());
        assert_ne!(value.as_str().unwrap(), text, "{place}");
        *value = text.into();
        (place.to_owned(), bundle.to_string())
    };
    // Another letter in the middle, so that it is still base64.
    let letter = |text: &str| {
        let (at, other) = (text.len() / 2, if text.as_bytes()[text.len() / 2] == b'A' { "B" } else { "A" });
        format!("{}{other}{}", &text[..at], &text[at + 1..])
    };
    let other = |text: &'static str| move |_: &str| text.to_owned();
    let cases = [
        changed("/dsseEnvelope/payload", &letter),
        changed("/dsseEnvelope/signatures/0/sig", &letter),
        changed("/verificationMaterial/certificate/rawBytes", &letter),
        changed(&format!("{entry}/integratedTime"), &other("1760060000")),
        changed(&format!("{entry}/inclusionPromise/signedEntryTimestamp"), &letter),
        changed(&format!("{entry}/canonicalizedBody"), &letter),
        changed(&format!("{entry}/inclusionProof/rootHash"), &letter),
        changed(&format!("{entry}/inclusionProof/hashes/0"), &letter),
        changed(&format!("{entry}/logId/keyId"), &letter),
    ];
    for (place, text) in cases {
        let error = verify(&catalog, SigningIdentity::new(NAME, ISSUER), &text).unwrap_err();
        assert!(error.is_corrupt(), "{place}: {error}");
    }
    verify(&catalog, SigningIdentity::new(NAME, ISSUER), &bundle.to_string()).unwrap();
}

// Red when Sigstore's word is enough, whatever the files are.
#[test]
fn the_files_must_be_those_that_were_signed() {
    let host = Host::new();
    let catalog = signed(&host);
    host.file("model/signme-2", "signme-3");
    stage(&catalog, &host.path("model"), "free").unwrap();
    let error = verify(&catalog, SigningIdentity::new(NAME, ISSUER), VECTOR).unwrap_err();
    assert!(error.to_string().contains("\"signme-2\" has other bytes than were signed"), "{error}");
}

// Red when a rule takes another identity, or the same one of another Sigstore, for its own.
#[test]
fn rules_ask_for_identities() {
    let host = Host::new();
    let catalog = signed(&host);
    let rule = |pattern, identity: SigningIdentity| {
        catalog.add_signature_rule(pattern, RuleSigner::new(&identity.into())).unwrap();
    };
    let mine = SigningIdentity::new(NAME, ISSUER);
    rule("ibm/*", mine.clone());
    rule("other/*", SigningIdentity::new("someone@example.org", ISSUER));
    stage(&catalog, &host.path("model"), "ibm/m").unwrap();
    drop(catalog.resolve("ibm/m").unwrap());
    assert!(stage(&catalog, &host.path("model"), "other/m").unwrap_err().is_unsigned());
    // What was found by the keys of one Sigstore says nothing of another one.
    verify(&catalog, mine.clone(), VECTOR).unwrap();
    rule("free", mine.with_trusted_root(Some(NO_ROOT.into())));
    assert!(catalog.resolve("free").unwrap_err().is_unsigned());
    // A handle that reads the rules from disk finds the same.
    let again = host.catalog();
    drop(again.resolve("ibm/m").unwrap());
    assert!(again.resolve("free").unwrap_err().is_unsigned());
    assert_sound(&host.root());
}

#[test]
fn the_command_verifies_and_asks_for_identities() {
    let host = Host::new();
    drop(signed(&host));
    let text = |args: &[&str]| {
        let mut command = host.command();
        command.args(args).args(["--identity", NAME, "--issuer", ISSUER]);
        let output = run(command);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = text(&["verify-signature", "free"]);
    assert_eq!(said, format!("good  free: 2 files signed by {NAME}, known to {ISSUER}\n"));
    text(&["stage", "model", "--id", "asked", "--require-signature"]);
    let mut other = host.command();
    other.args(["stage", "model", "--id", "other", "--identity", "someone@example.org", "--issuer", ISSUER]);
    assert_eq!(other.output().unwrap().status.code(), Some(6));
    assert!(text(&["policy", "add", "ibm/*"]).contains(&format!("ibm/*  {NAME} known to {ISSUER}")));
    fs::write(host.path("root.json"), NO_ROOT).unwrap();
    let mut private = host.command();
    private.args(["verify-signature", "free", "--identity", NAME, "--issuer", ISSUER, "--trusted-root", "root.json"]);
    assert_eq!(private.output().unwrap().status.code(), Some(4));
    // Red when a rule is made that nobody can meet, for want of a root that can be read.
    fs::write(host.path("root.json"), "{}").unwrap();
    for verb in [["policy", "add", "x"].as_slice(), &["verify-signature", "free"]] {
        let mut unusable = host.command();
        unusable.args(verb).args(["--identity", NAME, "--issuer", ISSUER, "--trusted-root", "root.json"]);
        let output = unusable.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("the trusted root cannot be read"), "{output:?}");
    }
    let mut show = host.command();
    show.args(["show", "free"]);
    let show = String::from_utf8(run(show).stdout).unwrap();
    assert!(show.contains(NAME) && show.contains(ISSUER), "{show}");
}
