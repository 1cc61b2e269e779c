//! Signatures of models, judged by PyPI `model-signing`: it verifies ours, and we verify its.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{fixture, run};
use crate::place::{Place, Ran};
use crate::venv::signing;

const CURVES: [&str; 3] = ["prime256v1", "secp384r1", "secp521r1"];

impl Place {
    pub(crate) fn judge(&self, words: &[&str]) -> Ran {
        let mut command = self.program(&signing().unwrap().join("model_signing"));
        Ran::of(&command.args(words).output().unwrap())
    }

    /// A new pair of keys: the paths of the private and the public one.
    fn keys(&self, name: &str, curve: &str) -> (String, String) {
        let path = |ending: &str| self.path(&format!("{name}.{ending}")).to_str().unwrap().to_owned();
        let (private, public) = (path("pem"), path("pub"));
        let openssl = |words: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(words);
            run(command);
        };
        openssl(&["ecparam", "-name", curve, "-genkey", "-noout", "-out", &private]);
        openssl(&["ec", "-in", &private, "-pubout", "-out", &public]);
        (private, public)
    }

    /// A tree with a file that no signature covers.
    pub(crate) fn tree(&self) -> PathBuf {
        let tree = self.path("tree");
        fs::create_dir_all(tree.join("sub")).unwrap();
        fs::copy(fixture(), tree.join("model.gguf")).unwrap();
        fs::write(tree.join("sub/é b.json"), "{}").unwrap();
        fs::write(tree.join(".gitattributes"), "x").unwrap();
        tree
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

// Red when the payload, the hash of a curve, the order of the files or their names are others.
#[test]
fn each_verifies_the_others_signatures() {
    if signing().is_none() {
        return;
    }
    let place = Place::new();
    let tree = place.tree();
    place.done(&["stage", text(&tree), "--id", "tree", "--mode", "copy"]);
    place.done(&["stage", text(&fixture()), "--id", "file", "--mode", "copy"]);
    let (ours, theirs) = (place.path("ours.sig"), place.path("theirs.sig"));
    for curve in CURVES {
        let (private, public) = place.keys(curve, curve);
        let other = place.keys("other", curve).1;
        for id in ["tree", "file"] {
            let shown = place.shown(id);
            place.done(&["sign", id, "--key", &private, "-o", text(&ours)]);
            let words = ["verify", "key", "--signature", text(&ours), "--public_key", &public, text(&shown)];
            let said = place.judge(&words);
            assert_eq!(said.code, 0, "{curve} {id}: {said:?}");

            let words = ["sign", "key", "--private_key", &private, "--signature", text(&theirs), text(&shown)];
            let said = place.judge(&words);
            assert_eq!(said.code, 0, "{curve} {id}: {said:?}");
            for signature in [&ours, &theirs] {
                let verify =
                    |key: &str| place.catalog(&["verify-signature", id, "--key", key, "--signature", text(signature)]);
                let verified = verify(&public);
                assert_eq!(verified.code, 0, "{curve} {id}: {verified:?}");
                assert_eq!(verify(&other).code, 4, "{curve} {id}: another key");
            }
        }
    }
    // It holds for the files that were signed, and for no others.
    let (_, public) = place.keys("last", CURVES[0]);
    let verify =
        |id: &str, key: &str| place.catalog(&["verify-signature", id, "--key", key, "--signature", text(&theirs)]);
    assert_eq!(verify("tree", &public).code, 4);
    fs::write(tree.join("sub/é b.json"), "{ }").unwrap();
    fs::write(tree.join("more.json"), "{}").unwrap();
    place.done(&["stage", text(&tree), "--id", "changed", "--mode", "copy"]);
    let (private, public) = place.keys("of the tree", CURVES[0]);
    place.done(&["sign", "tree", "--key", &private, "-o", text(&ours)]);
    let refused = place.catalog(&["verify-signature", "changed", "--key", &public, "--signature", text(&ours)]);
    assert_eq!(refused.code, 4);
    assert!(refused.err.contains("more.json") && refused.err.contains("other bytes"), "{refused:?}");
}

#[test]
fn a_signature_within_the_model() {
    if signing().is_none() {
        return;
    }
    let place = Place::new();
    let tree = place.tree();
    let (private, public) = place.keys("k", CURVES[0]);
    let signature = tree.join("model.sig");
    let said = place.judge(&["sign", "key", "--private_key", &private, "--signature", text(&signature), text(&tree)]);
    assert_eq!(said.code, 0, "{said:?}");
    place.done(&["stage", text(&tree), "--id", "tree", "--mode", "copy"]);
    let verified = place.done(&["verify-signature", "tree", "--key", &public]);
    assert!(verified.err.contains(".gitattributes is not signed"), "{verified:?}");
    assert_eq!(verified.lines()[0]["signed_files"], 2);
}
