//! `catalog login` and `catalog logout`: skopeo reads what they write, and they keep what skopeo has written.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::access::filled;
use crate::common::{Host, has_tool, mode_of, skip};
use crate::server::{Registry, skopeo};

/// The command on a host with its own file of logins.
struct User {
    host: Host,
    rules: String,
}

impl User {
    fn new(registries: &[&Registry]) -> Self {
        let rules: Vec<_> = registries.iter().flat_map(|registry| registry.ports()).collect();
        User { host: Host::new(), rules: rules.join(",") }
    }

    fn file(&self) -> PathBuf {
        self.host.path("logins/auth.json")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command();
        command.args(arguments).env("REGISTRY_AUTH_FILE", self.file()).env("CATALOG_ALLOW_NET", &self.rules);
        command
    }

    fn login(&self, place: &str, stdin: &str, more: &[&str]) -> Output {
        let mut command = self.command(&[&["login", place, "--password-stdin", "--retries", "0"], more].concat());
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        // The command may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn logs_in(&self, place: &str, stdin: &str, more: &[&str]) -> String {
        let output = self.login(place, stdin, more);
        let said = said(&output);
        assert!(output.status.success() && !said.contains("secret"), "{said}");
        said
    }

    fn auths(&self) -> Vec<String> {
        let file: Value = serde_json::from_str(&fs::read_to_string(self.file()).unwrap()).unwrap();
        file["auths"].as_object().unwrap().keys().cloned().collect()
    }

    /// The exit code of a stage that uses the stored logins.
    fn stages(&self, reference: &str) -> Option<i32> {
        self.command(&["stage", reference, "--retries", "0"]).output().unwrap().status.code()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether skopeo gets access with the logins in a file.
fn skopeo_reads(file: &Path, registry: &Registry, name: &str) -> bool {
    let image = format!("docker://{}/{name}", registry.host());
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--raw", "--tls-verify=false", &image]).env("REGISTRY_AUTH_FILE", file);
    command.output().unwrap().status.success()
}

// Red when a login is stored untested, when others may read the file, or when skopeo cannot read it.
#[test]
fn a_login_is_tried_and_written() {
    for registry in [Registry::with_password(), Registry::with_tokens()] {
        let Some(registry) = filled(registry, &["private/a"]) else { return };
        let user = User::new(&[&registry]);
        let (place, reference) = (registry.host(), registry.reference("private/a"));
        assert_eq!(user.stages(&reference), Some(8));
        let wrong = user.login(&place, "wrong\n", &["-u", "user"]);
        assert_eq!(wrong.status.code(), Some(8), "{wrong:?}");
        assert!(!user.file().exists() && !said(&wrong).contains("wrong"), "{wrong:?}");
        user.logs_in(&place, "secret\n", &["-u", "user"]);
        assert_eq!((mode_of(&user.file()), mode_of(user.file().parent().unwrap())), (0o600, 0o700));
        assert!(skopeo_reads(&user.file(), &registry, "private/a"));
        assert_eq!(user.stages(&reference), Some(0));
        // The file names the user by now. A wrong password does not replace the right one.
        assert_eq!(user.login(&place, "wrong", &[]).status.code(), Some(8));
        user.logs_in(&place, "secret", &[]);
        assert!(skopeo_reads(&user.file(), &registry, "private/a"));
        // Offline, no server is asked; the login is only for a part of the registry.
        user.command(&["logout", &place]).output().unwrap();
        user.logs_in(&format!("{place}/private"), "secret\r\n", &["-u", "user", "--offline"]);
        assert_eq!(user.auths(), [format!("{place}/private")]);
        assert!(skopeo_reads(&user.file(), &registry, "private/a"));
    }
}

// Red when the file is rewritten with only what this command knows about it.
#[test]
fn what_skopeo_has_written_stays() {
    let Some(first) = filled(Registry::with_password(), &["a"]) else { return };
    let Some(second) = filled(Registry::with_tokens(), &["private/a"]) else { return };
    let user = User::new(&[&first, &second]);
    let file = user.file();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    for registry in [&first, &second] {
        let login = ["login", "--tls-verify=false", "-u", "user", "-p", "secret", "--authfile", file.to_str().unwrap()];
        skopeo(&[&login[..], &[&registry.host()]].concat());
    }
    let before = fs::read_to_string(&file).unwrap();
    user.logs_in(&second.host(), "nonsense", &["-u", "another", "--offline"]);
    assert!(skopeo_reads(&file, &first, "a") && !skopeo_reads(&file, &second, "private/a"));
    assert_eq!(user.auths().len(), 2);
    user.logs_in(&second.host(), "secret", &["-u", "user"]);
    assert!(skopeo_reads(&file, &first, "a") && skopeo_reads(&file, &second, "private/a"));
    let (before, after): (Value, Value) =
        (serde_json::from_str(&before).unwrap(), serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap());
    assert_eq!(before, after);
    // Each tool removes what the other has written.
    skopeo(&["logout", "--authfile", file.to_str().unwrap(), &second.host()]);
    assert_eq!(user.auths(), [first.host()]);
    let output = user.command(&["logout", &first.host(), "--json"]).output().unwrap();
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &receipt["removed"]), (Some(0), &Value::Bool(true)));
    assert!(user.auths().is_empty());
    let output = user.command(&["logout", &first.host()]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("had no login"), "{output:?}");
}

// Red when a server is asked without a rule, or when an open registry seems to have checked the login.
#[test]
fn what_is_said_of_a_login() {
    let Some(registry) = Registry::open() else { return };
    let user = User::new(&[&registry]);
    let open = user.logs_in(&registry.host(), "secret", &["-u", "user"]);
    assert!(open.contains("is open to everybody"), "{open}");
    let refused = user.login("registry.example", "secret", &["-u", "user"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert_eq!(user.auths(), [registry.host()]);
    // The helper is not run; the output says that other tools run it.
    fs::write(user.file(), r#"{"credHelpers": {"helped.example": "nonesuch"}}"#).unwrap();
    let helped = user.logs_in("helped.example", "secret", &["-u", "user", "--offline"]);
    assert!(helped.contains("docker-credential-nonesuch is set for helped.example"), "{helped}");
    user.logs_in("docker.io", "secret", &["-u", "user", "--offline"]);
    assert_eq!(user.auths(), ["helped.example", "https://index.docker.io/v1/"]);
}

#[test]
fn how_a_login_is_not_given() {
    let user = User::new(&[]);
    for (place, stdin, more) in [
        ("https://a.example", "secret", &["-u", "user"] as &[&str]),
        ("a.example", "", &["-u", "user"]),
        ("a.example", "\n", &["-u", "user"]),
        ("a.example", "secret", &[]),
        ("a.example", "secret", &["-u", "a:b"]),
    ] {
        let output = user.login(place, stdin, &[more, &["--offline"]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!said(&output).contains("secret"), "{output:?}");
    }
    let output = user.command(&["login", "a.example", "-u", "user"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("--password-stdin"), "{output:?}");
    assert!(!user.file().exists());
    if !has_tool("script") {
        return skip("this needs script, of bsdutils");
    }
    // On a terminal, everybody would see what is typed.
    let program = user.command(&[]).get_program().to_str().unwrap().to_owned();
    let line = format!("{program} login a.example -u user --password-stdin --offline");
    let mut terminal = Command::new("script");
    let output = terminal.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("a terminal would show it"), "{output:?}");
}
