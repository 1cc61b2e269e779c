//! Signatures by certificates, judged by PyPI `model-signing`: it verifies ours, and we verify its.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::run;
use crate::hub::script;
use crate::place::{Place, Ran};
use crate::signatures::text;
use crate::venv::signing;

const CURVES: [&str; 3] = ["P-256", "P-384", "P-521"];

/// The certificates of one curve.
struct Certificates(PathBuf);

impl Certificates {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.pem"))
    }

    /// The chain of one signer.
    fn chain(&self, signer: &str) -> PathBuf {
        let chain = self.path(&format!("{signer}-chain"));
        let parts = [signer, "middle"].map(|name| fs::read_to_string(self.path(name)).unwrap());
        fs::write(&chain, parts.concat()).unwrap();
        chain
    }
}

impl Place {
    fn certificates(&self) -> PathBuf {
        let out = self.path("certificates");
        let mut python = self.program(&signing().unwrap().join("python"));
        python.arg(script("mkcerts.py")).arg(&out);
        run(python);
        out
    }

    fn judged(&self, verb: &str, words: &[(&str, &Path)], model: &Path) -> Ran {
        let words = words.iter().flat_map(|(option, path)| [*option, text(path)]);
        let words: Vec<&str> = [verb, "certificate"].into_iter().chain(words).chain([text(model)]).collect();
        self.judge(&words)
    }

    fn verify(&self, signature: &Path, roots: &Path, more: &[&str]) -> Ran {
        let words = ["verify-signature", "tree", "--signature", text(signature), "--cert", text(roots)];
        self.catalog(&[&words, more].concat())
    }
}

// Red when a curve, a hash of an authority or the order of the chain is read or written otherwise.
#[test]
fn each_verifies_the_others_chains() {
    if signing().is_none() {
        return;
    }
    let place = Place::new();
    let tree = place.tree();
    place.done(&["stage", text(&tree), "--id", "tree", "--mode", "copy"]);
    let (shown, made) = (place.shown("tree"), place.certificates());
    let (ours, theirs) = (place.path("ours.sig"), place.path("theirs.sig"));
    for curve in CURVES {
        let of = Certificates(made.join(curve));
        let (key, root) = (of.path("key"), of.path("root"));
        place.done(&["sign", "tree", "--key", text(&key), "--certs", text(&of.chain("good")), "-o", text(&ours)]);
        let words = [("--signature", ours.as_path()), ("--certificate_chain", &root)];
        let said = place.judged("verify", &words, &shown);
        assert_eq!(said.code, 0, "{curve}: {said:?}");

        let (good, middle) = (of.path("good"), of.path("middle"));
        let words = [
            ("--private_key", key.as_path()),
            ("--signing_certificate", &good),
            ("--certificate_chain", &middle),
            ("--signature", &theirs),
        ];
        let said = place.judged("sign", &words, &shown);
        assert_eq!(said.code, 0, "{curve}: {said:?}");
        for signature in [&ours, &theirs] {
            let verified = place.verify(signature, &root, &[]);
            assert_eq!(verified.code, 0, "{curve}: {verified:?}");
            assert!(verified.out.contains("CN=models, O=Example"), "{verified:?}");
            let other = made.join(CURVES.iter().find(|other| **other != curve).unwrap()).join("root.pem");
            assert_eq!(place.verify(signature, &other, &[]).code, 4, "{curve}: another root");
        }
        // The verdict on each certificate, and that of the peer.
        for (signer, now, then, peer) in [
            ("expired", 4, 0, 0),
            ("usage", 0, 0, 0),
            // A certificate of a web server says for what it is, and that is not signing.
            ("web", 4, 4, 0),
        ] {
            let chain = of.chain(signer);
            place.done(&["sign", "tree", "--key", text(&key), "--certs", text(&chain), "-o", text(&ours)]);
            let codes = [
                place.verify(&ours, &root, &[]).code,
                place.verify(&ours, &root, &["--at-signing-time"]).code,
                place.judged("verify", &[("--signature", &ours), ("--certificate_chain", &root)], &shown).code,
            ];
            assert_eq!(codes, [now, then, peer], "{curve} {signer}");
        }
        // An authority in the middle is enough for us, and not for the peer.
        assert_eq!(place.verify(&theirs, &middle, &[]).code, 0);
        let words = [("--signature", theirs.as_path()), ("--certificate_chain", &middle)];
        assert_ne!(place.judged("verify", &words, &shown).code, 0);
    }
}

// Red when a signature by certificates passes for one by a key, or the other way round.
#[test]
fn keys_and_certificates_do_not_stand_for_each_other() {
    if signing().is_none() {
        return;
    }
    let place = Place::new();
    let tree = place.tree();
    place.done(&["stage", text(&tree), "--id", "tree", "--mode", "copy"]);
    let of = Certificates(place.certificates().join(CURVES[0]));
    let (key, root, public) = (of.path("key"), of.path("root"), of.path("public"));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["ec", "-in", text(&key), "-pubout", "-out", text(&public)]);
    run(openssl);
    let signature = place.path("tree.sig");
    let verify_key =
        || place.catalog(&["verify-signature", "tree", "--signature", text(&signature), "--key", text(&public)]);
    place.done(&["sign", "tree", "--key", text(&key), "--certs", text(&of.chain("good")), "-o", text(&signature)]);
    let refused = verify_key();
    assert!(refused.code == 4 && refused.err.contains("certificates vouch"), "{refused:?}");
    place.done(&["sign", "tree", "--key", text(&key), "-o", text(&signature)]);
    assert_eq!(verify_key().code, 0);
    let refused = place.verify(&signature, &root, &[]);
    assert!(refused.code == 4 && refused.err.contains("a key vouches"), "{refused:?}");
    // The chain of another key does not sign.
    let other = Certificates(of.0.with_file_name(CURVES[1])).chain("good");
    let words = ["sign", "tree", "--key", text(&key), "--certs", text(&other), "-o", text(&signature)];
    assert_eq!(place.catalog(&words).code, 2);
}
