//! A name is looked up even if no thread can be started: see `tests/no_threads.rs`.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use crate::common::{Host, NOBODY, as_nobody, has_tool, set_mode, skip};
use crate::server::{Server, part, send};

// Red when the name is looked up on a thread from `thread::spawn`, which panics.
#[test]
fn a_fetch_needs_no_thread() {
    let Some(words) = as_nobody() else { return };
    if !has_tool("prlimit") {
        return skip("this needs prlimit");
    }
    let server = Server::new(|asked, stream| send(stream, &part(asked, b"some bytes", "ETag: \"one\"\r\n")));
    let host = Host::new();
    set_mode(host.dir.path(), 0o755);
    fs::create_dir(host.root()).unwrap();
    chown(host.root(), Some(NOBODY), Some(NOBODY)).unwrap();
    for name in ["127.0.0.1", "localhost"] {
        let place = format!("{name}:{}", server.port);
        let command = host.command();
        let mut limited = Command::new(words[0]);
        limited.args(&words[1..]).args(["prlimit", "--nproc=1"]).arg(command.get_program());
        limited.args(["stage", &format!("http://{place}/a"), "--allow-net", &place, "--retries", "0"]);
        limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = limited.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{name}: {}: {said}", output.status);
    }
}
