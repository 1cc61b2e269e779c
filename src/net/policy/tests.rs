use rstest::rstest;

use super::*;

fn policy(rules: &str) -> Policy {
    Policy::default().allow_list(rules).unwrap()
}

fn url(policy: &Policy, text: &str) -> Result<(), String> {
    policy.check_url(&Url::parse(text).unwrap(), Some(Purpose::Origin)).map_err(said)
}

/// What is wrong, and the rule that would help.
fn said(refused: Refused) -> String {
    refused.rule().map_or_else(|| refused.to_string(), |rule| format!("{refused}; add {rule}"))
}

fn address(policy: &Policy, host: &str, text: &str) -> Result<(), String> {
    policy.check_address(host, text.parse().unwrap()).map_err(said)
}

#[test]
fn nothing_is_allowed_by_default() {
    let error = url(&Policy::default(), "https://a.example/x").unwrap_err();
    assert_eq!(error, "no rule allows https://a.example for a model; add a.example");
    assert!(Policy::default().is_empty() && !policy("hf").is_empty());
    assert!(policy(" , ").is_empty());
}

#[rstest]
#[case("ftp://a.example/x", "`ftp:` is not supported")]
#[case("file:///etc/passwd", "`file:` is not supported")]
#[case("https://user@a.example/", "a user name or password")]
#[case("https://:secret@a.example/", "a user name or password")]
#[case("https://a.example;reboot/", "is not the name of a host")]
#[case("http://a.example/", "add http://a.example")]
#[case("https://a.example:444/", "add a.example:444")]
#[case("https://127.0.0.1/", "add 127.0.0.1")]
#[case("https://0x7f.1:81/", "add 127.0.0.1:81")]
#[case("https://1.1.1.1/", "add 1.1.1.1")]
fn the_first_gate(#[case] text: &str, #[case] problem: &str) {
    let error = url(&policy("a.example"), text).unwrap_err();
    assert!(error.contains(problem), "{error}");
}

#[test]
fn the_second_gate() {
    let one = policy("a.example");
    address(&one, "a.example", "1.1.1.1:443").unwrap();
    let error = address(&one, "a.example", "[::ffff:10.0.0.5]:443").unwrap_err();
    assert_eq!(
        error,
        "a.example has the address ::ffff:10.0.0.5, which is a private address, and no rule names it; add 10.0.0.5"
    );
    address(&policy("a.example 10.0.0.0/8"), "a.example", "10.0.0.5:443").unwrap();
    address(&policy("localhost"), "localhost", "127.0.0.1:80").unwrap();
}

// Red when a machine's file adds to the rules instead of taking away.
#[test]
fn the_machine_only_narrows() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("net.toml");
    let narrowed = |rules: &str, text: &str| {
        fs_write(&file, text);
        policy(rules).narrow(&file).unwrap()
    };
    let by = format!("https://a.example is not allowed on this machine, according to {}", file.display());
    assert!(url(&narrowed("", "allow = [\"a.example\"]"), "https://a.example/").unwrap_err().contains("no rule"));
    url(&narrowed("a.example b.example", "allow = [\"a.example\"]"), "https://a.example/").unwrap();
    assert_eq!(url(&narrowed("a.example", "allow = [\"b.example\"]"), "https://a.example/").unwrap_err(), by);
    assert_eq!(url(&narrowed("a.example", "deny = [\"a.example\"]"), "https://a.example/").unwrap_err(), by);
    let ports = narrowed("a.example:444 http://a.example", "deny = [\"a.example\"]");
    assert!(url(&ports, "https://a.example:444/").is_err() && url(&ports, "http://a.example/").is_err());
    let net = narrowed("a.example 10.0.0.0/8", "allow = [\"a.example\"]");
    assert!(address(&net, "a.example", "10.0.0.5:443").unwrap_err().contains("on this machine"));
    address(&net, "a.example", "1.1.1.1:443").unwrap();
    assert!(address(&narrowed("a.example", "deny = [\"1.1.0.0/16\"]"), "a.example", "1.1.1.1:443").is_err());
    // Two files deny what either of them denies.
    let both = narrowed("a.example", "allow = [\"a.example\"]").narrow(write(&dir, "deny = [\"a.example\"]")).unwrap();
    assert!(url(&both, "https://a.example/").is_err());
    assert!(policy("hf").narrow(dir.path().join("missing")).unwrap_err().to_string().contains("No such file"));
}

fn write(dir: &tempfile::TempDir, text: &str) -> std::path::PathBuf {
    let path = dir.path().join("second.toml");
    fs_write(&path, text);
    path
}

#[allow(clippy::disallowed_methods)]
fn fs_write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

// Red when every error counts as "not there": the administrator's list would be ignored silently.
#[test]
fn a_file_that_cannot_be_looked_at_is_an_error() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("net.toml");
    assert!(policy("a.example").narrow_if_there(&file).unwrap().machine.is_empty());
    fs_write(&file, "allow = []");
    assert_eq!(policy("a.example").narrow_if_there(&file).unwrap().machine.len(), 1);
    // A path component is not a directory. Missing permission behaves the same way.
    policy("a.example").narrow_if_there(&file.join("net.toml")).unwrap_err();
}
