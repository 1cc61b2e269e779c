//! The signed log of a model, judged by PyPI `securesystemslib` (the envelope) and `in-toto-attestation` (the statement).

use std::fs;
use std::process::Command;

use crate::common::{fixture, run};
use crate::place::{Place, Ran};
use crate::venv::signing;

const JUDGE: &str = r#"
import json, sys
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from in_toto_attestation.v1.statement import Statement
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2

bundle = json.load(open(sys.argv[1]))
key = SSlibKey.from_crypto(load_pem_public_key(open(sys.argv[2], "rb").read()), keyid="k")
envelope = Envelope.from_dict({**bundle["dsseEnvelope"], "signatures": [{**s, "keyid": "k"} for s in bundle["dsseEnvelope"]["signatures"]]})
envelope.verify([key], 1)
statement = json_format.Parse(envelope.payload, statement_pb2.Statement())
Statement.copy_from_pb(statement).validate()
events = json_format.MessageToDict(statement.predicate)["events"]
print(statement.subject[0].name, statement.subject[0].digest["sha256"], *(event["what"] for event in events))
"#;

// Red when the payload or the type of what is signed is another one, or when the statement is none of in-toto.
#[test]
fn the_log_of_a_model_is_an_in_toto_statement() {
    let Some(tools) = signing() else { return };
    let place = Place::new();
    place.done(&["stage", fixture().to_str().unwrap(), "--id", "m", "--mode", "copy"]);
    place.done(&["verify", "m"]);
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    for words in [
        vec!["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &path("key")],
        vec!["ec", "-in", &path("key"), "-pubout", "-out", &path("pub")],
        vec!["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &path("other")],
        vec!["ec", "-in", &path("other"), "-pubout", "-out", &path("other.pub")],
    ] {
        let mut command = Command::new("openssl");
        command.args(words);
        run(command);
    }
    place.done(&["remove", "m"]);
    place.done(&["log", "m", "--sign", &path("key"), "-o", &path("log.sig")]);
    let judge = |signed: &str, key: &str| {
        let mut command = place.program(&tools.join("python"));
        Ran::of(&command.args(["-c", JUDGE, &path(signed), &path(key)]).output().unwrap())
    };
    let said = judge("log.sig", "pub");
    let digest = catalog_core::Digest::sha256_of(&fs::read(fixture()).unwrap()).to_hex();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.out.trim(), format!("m {digest} staged verified removed"));
    assert_ne!(judge("log.sig", "other.pub").code, 0);
}
