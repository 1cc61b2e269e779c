//! `catalog report`: the numbers are those of the store, the page is whole, it runs only its own script, and it loads
//! nothing.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::typed::{done, failed, stderr};
use common::*;
use serde_json::Value;

/// An id that closes every element it could be written into, and contains a bidi override.
const HOSTILE: &str = "</title></style></textarea><script>document.title='ran'</script>\"'><img src=x onerror=document.title='ran'><img src=http://ran.example/x>\u{202e}gpj";

const MIB: usize = 1 << 20;

fn add(host: &Host, id: &str, content: &[u8]) {
    let file = host.file("model.gguf", content);
    done(host, &["stage", file.to_str().unwrap(), "--id", id]);
}

/// Edits a record as if its model had been staged and used long ago, so that it can be evicted.
fn age(host: &Host, id: &str, ms: u64) {
    edit_shard(&host.root(), id, |entries| {
        for key in ["created_ms", "updated_ms", "last_used_ms", "last_verified_ms"] {
            entries[id][key] = ms.into();
        }
    });
}

/// Two models that share their bytes, one that is pinned, one that is retired, one that is damaged and therefore in
/// quarantine, one whose id is hostile, and an unreferenced blob.
fn store() -> Host {
    let host = Host::new();
    add(&host, "shared/a", &noise(2 * MIB, 1));
    add(&host, "shared/b", &noise(2 * MIB, 1));
    for (number, id) in ["pinned", "retired", "damaged", HOSTILE, "gone"].into_iter().enumerate() {
        add(&host, id, &noise(MIB, 10 + number as u64));
    }
    done(&host, &["pin", "pinned", "--as", "<b>who</b>"]);
    done(&host, &["retire", "retired"]);
    edit_shard(&host.root(), "gone", |entries| drop(entries.remove("gone")));
    let path = done(&host, &["path", "damaged"]);
    let path = Path::new(path.trim_end());
    set_mode(path, 0o644);
    fs::write(path, noise(MIB, 99)).unwrap();
    failed(&host, &["verify", "damaged"], 4);
    for (number, id) in ["shared/a", "shared/b", "pinned", "retired", HOSTILE].into_iter().enumerate() {
        age(&host, id, 1_700_000_000_000 + number as u64 * 86_400_000);
    }
    host
}

fn report(host: &Host, args: &[&str]) -> Vec<Value> {
    let lines = done(host, &[&["report", "--json"], args].concat());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_objects_have_the_numbers_of_the_store() {
    let host = store();
    let lines = report(&host, &[]);
    let last = lines.last().unwrap();
    assert_eq!(last["type"], "report");
    assert_eq!(lines.len(), 6 + 1, "a line for each model, and the report");
    let du = done(&host, &["du", "--json"]);
    let mut sums: Value = serde_json::from_str(du.lines().last().unwrap()).unwrap();
    sums.as_object_mut().unwrap().remove("type");
    assert_eq!(last["usage"], sums);
    assert_eq!(last["root"], host.root().to_str().unwrap());
    assert_eq!((last["retired"].as_u64(), last["pinned"].as_u64()), (Some(1), Some(1)));
    assert_eq!(last["damaged"], serde_json::json!(["damaged"]));
    assert_eq!(last["oldest_verified_ms"], 1_700_000_000_000_u64);
    assert_eq!(last["reclaimable_bytes"], sums["unreferenced_bytes"]);
    assert!(sums["unreferenced_bytes"].as_u64() >= Some(MIB as u64));
    let exclusive: BTreeMap<&str, u64> = lines[..6]
        .iter()
        .map(|line| (line["id"].as_str().unwrap(), line["exclusive_bytes"].as_u64().unwrap()))
        .collect();
    assert_eq!((exclusive["shared/a"], exclusive["shared/b"]), (0, 0));
    assert!(exclusive["retired"] >= MIB as u64);
}

#[test]
fn what_would_go_first_is_planned_by_the_limits_or_for_half() {
    let host = store();
    let ids = |plan: &Value, of: &str| -> Vec<String> {
        let all = plan[of].as_array().unwrap().iter();
        all.filter_map(|one| one["id"].as_str()).map(str::to_owned).collect()
    };
    let last = report(&host, &[]).pop().unwrap();
    let (limits, half) = (&last["plans"][0], &last["plans"][1]);
    assert_eq!((limits["asked"].as_str(), half["asked"].as_str()), (Some("limits"), Some("half")));
    assert_eq!(ids(limits, "steps"), [""; 0], "the store has no limit");
    assert_eq!(half["max_bytes"].as_u64().unwrap(), half["used_bytes"].as_u64().unwrap() / 2);
    assert!(ids(half, "steps").contains(&"retired".to_owned()), "{half}");
    assert!(!ids(half, "steps").contains(&"pinned".to_owned()), "{half}");

    done(&host, &["config", "set", "max_bytes", "1MB"]);
    let last = report(&host, &[]).pop().unwrap();
    assert_eq!(last["plans"].as_array().unwrap().len(), 1, "the limits take models already");
    assert_eq!(last["plans"][0]["max_bytes"], 1_000_000);
    assert!(ids(&last["plans"][0], "kept").contains(&"pinned".to_owned()), "{last}");
    assert!(last["plans"][0]["shortfall_bytes"].as_u64() > Some(0));
    // A report removes nothing.
    assert_eq!(done(&host, &["list", "-q"]).lines().count(), 6);
}

#[test]
fn the_words_fit_a_screen_and_have_the_same_numbers() {
    let host = store();
    let words = done(&host, &["report"]);
    assert!(words.lines().count() <= 20, "{words}");
    let line = |name: &str| {
        let line = words.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {words}")).to_owned()
    };
    assert!(line("models:").contains("6: 1 retired, 1 pinned, 1 damaged"), "{words}");
    assert!(line("limits:").ends_with("none"), "{words}");
    assert!(line("gc would take:").contains("no model"), "{words}");
    assert!(line("first to go:").contains("retired"), "{words}");
    assert!(line("damaged:").ends_with("1: damaged"), "{words}");
}

/// The page, written to a file.
fn page(host: &Host) -> String {
    let path = host.path("report.html");
    done(host, &["report", "--html", path.to_str().unwrap()]);
    fs::read_to_string(path).unwrap()
}

// Red when `Html::text` does not escape.
#[test]
fn what_comes_from_outside_is_text() {
    let host = store();
    let page = page(&host);
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert_eq!(page.matches("<style").count(), 1);
    assert!(!page.contains("<img") && !page.contains("<b>") && !page.contains('\u{202e}'));
    assert!(page.contains("&lt;script&gt;document.title=&#39;ran&#39;&lt;/script&gt;"));
    assert!(page.contains("\\u{202e}gpj") && page.contains("&lt;b&gt;who&lt;/b&gt;"));
    // Nothing is loaded: no address of anything that is not in the page.
    for (attribute, only) in [("href=\"", "#"), ("src=\"", "none"), ("url(", "#")] {
        for after in page.split(attribute).skip(1) {
            assert!(after.starts_with(only), "{attribute}{}", &after[..after.len().min(60)]);
        }
    }
    assert!(page.contains("content=\"default-src &#39;none&#39;; style-src &#39;sha256-"), "{}", &page[..600]);
    assert!(!page.contains("unsafe-inline"));
}

#[test]
fn the_page_has_every_part() {
    let host = store();
    let page = page(&host);
    for id in ["shared/a", "shared/b", "pinned", "retired", "damaged"] {
        assert!(page.contains(&format!("<bdi class=\"id\">{id}</bdi>")), "{id} has no row");
    }
    // Each class of bytes has its pattern in the legend, and a rectangle.
    for class in ["own", "shared", "gc", "quarantine"] {
        assert!(page.matches(&format!("<rect class=\"{class}\"")).count() > 3, "{class}");
    }
    assert!(!page.contains("<rect class=\"other\""), "nothing is being brought in");
    for part in
        ["<html lang=\"en\">", "1 model is damaged", "If room were needed", "DAMAGED", "never checked", "</html>"]
    {
        assert!(page.contains(part), "{part}");
    }
    // A row and its rectangle link to each other, in each of the three pictures.
    for picture in ["wide", "middle", "narrow"] {
        assert!(page.contains(&format!("id=\"{picture}-0\" href=\"#model-0\"")), "{picture}");
        assert!(page.contains(&format!("href=\"#{picture}-0\"")), "{picture}");
    }
    assert!(page.contains(&format!("catalog {}", env!("CARGO_PKG_VERSION"))));
    assert_eq!(done(&host, &["report", "--html", "-"]).matches("<tr id=").count(), 6);
}

// Red when the page is written in place: a reader that has the old file open then sees the new text.
#[test]
fn a_page_is_replaced_as_a_whole() {
    let host = Host::new();
    add(&host, "m", b"content");
    let path = host.file("site/index.html", "old");
    let mut before = fs::File::open(&path).unwrap();
    let link = host.path("link.html");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    done(&host, &["report", "--html", link.to_str().unwrap()]);
    let read = std::io::read_to_string(&mut before).unwrap();
    assert!(read == "old", "whoever reads it still has the old one, and not {} bytes", read.len());
    assert!(fs::read_to_string(&path).unwrap().ends_with("</html>\n"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(host.path("site")).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(mode_of(&path) & 0o444, 0o444 & !umask());

    for (place, hint) in [
        (host.root().join("report.html"), "outside"),
        (host.path("site"), "--html -"),
        ("/dev/null".into(), "--html -"),
    ] {
        let said = failed(&host, &["report", "--html", place.to_str().unwrap()], 2);
        assert!(said.contains(hint), "{said}");
    }
    failed(&host, &["report", "--json", "--html", "-"], 2);
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(mask.trim(), 8).unwrap()
}

#[test]
fn an_empty_store_and_a_huge_one_have_pages() {
    let host = Host::new();
    host.catalog();
    let empty = page(&host);
    assert!(empty.contains("the store is empty") && empty.contains("There is none.") && !empty.contains("<rect"));
    // A record may claim any size.
    add(&host, "m", b"content");
    let stored = |id: &str| {
        let text: Value = serde_json::from_slice(&fs::read(shard_path(&host.root(), id)).unwrap()).unwrap();
        text["entries"][id].clone()
    };
    let mut record = stored("m");
    record["size_bytes"] = u64::MAX.into();
    let long = "x".repeat(1024);
    for id in ["largest", long.as_str()] {
        edit_shard(&host.root(), id, |entries| drop(entries.insert(id.to_owned(), record.clone())));
    }
    let page = page(&host);
    assert!(page.contains("title=\"18446744073709551615 bytes\"") && page.contains(&long));
}

/// Ten thousand records: the picture groups them, and the table has them all.
#[test]
fn many_small_models_are_one_rectangle() {
    let host = Host::new();
    add(&host, "large", &noise(4 * MIB, 1));
    add(&host, "small", b"s");
    let text: Value = serde_json::from_slice(&fs::read(shard_path(&host.root(), "small")).unwrap()).unwrap();
    let record = text["entries"]["small"].clone();
    let mut shards: BTreeMap<std::path::PathBuf, Vec<String>> = BTreeMap::new();
    for id in (0..10_000).map(|number| format!("m{number}")) {
        shards.entry(shard_path(&host.root(), &id)).or_default().push(id);
    }
    for ids in shards.values() {
        edit_shard(&host.root(), &ids[0], |entries| {
            entries.extend(ids.iter().map(|id| (id.clone(), record.clone())));
        });
    }
    let page = page(&host);
    assert_eq!(page.matches("<tr id=\"model-").count(), 10_002);
    assert!(!page.contains("NaN"));
    assert_eq!(page.matches("class=\"tile\"").count() % 3, 0, "three pictures");
    assert!(page.matches("class=\"tile\"").count() < 30, "{}", page.matches("class=\"tile\"").count());
}

#[test]
fn a_root_that_nobody_may_write_to_has_a_report() {
    let Some(nobody) = as_nobody() else { return skip("this needs root and setpriv") };
    let host = store();
    set_mode(host.dir.path(), 0o755);
    let before = listing(&host.root());
    let binary = assert_cmd::cargo::cargo_bin!("catalog");
    let mut command = Command::new(nobody[0]);
    command.args(&nobody[1..]).arg(binary).args(["report", "--html", "-"]).env("CATALOG_ROOT", host.root());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.ends_with(b"</html>\n"));
    assert_eq!(listing(&host.root()), before);
}

/// The DOM that headless Chromium makes from the page with this fragment. All its requests to servers go to a proxy,
/// and none of them may come from the page.
fn dom(host: &Host, page: &Path, fragment: &str) -> String {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let through = format!("--proxy-server=http://{}", proxy.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(String::new()));
    let asked_here = Arc::clone(&asked);
    // The thread ends with the test.
    std::thread::spawn(move || {
        for connection in proxy.incoming() {
            let mut request = [0; 4096];
            let length = connection.unwrap().read(&mut request).unwrap_or(0);
            *asked_here.lock().unwrap() += &String::from_utf8_lossy(&request[..length]);
        }
    });
    let profile = format!("--user-data-dir={}", host.path("profile").display());
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", &profile, &through, "--dump-dom"])
        .arg(format!("file://{}{fragment}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    // Chromium logs a violation of the policy or an error in the script as a message of the console.
    assert!(!stderr(&output).contains("CONSOLE"), "{}", stderr(&output));
    // The browser makes requests of its own.
    let asked = asked.lock().unwrap();
    assert!(!asked.contains("ran.example"), "{asked}");
    String::from_utf8(output.stdout).unwrap()
}

/// The ids in the table, from top to bottom.
fn rows(dom: &str) -> Vec<&str> {
    let table = dom.split_once("<table id=\"all\">").expect("the table is there").1;
    let ids = table.split("<bdi class=\"id\">").skip(1);
    ids.map(|after| after.split_once("</bdi>").unwrap().0).collect()
}

// Red when `Html::text` does not escape: the policy refuses to run it, and says so.
#[test]
fn a_browser_runs_the_pages_own_script_alone() {
    if !has_tool("chromium") {
        return skip("this needs chromium");
    }
    let host = store();
    page(&host);
    let path = host.path("report.html");
    let plain = dom(&host, &path, "");
    assert_eq!(rows(&plain).len(), 6);
    assert!(plain.contains("<button type=\"button\">Size</button>"), "the script has run");
    assert!(!plain.contains("<title>ran"), "{plain}");
    assert_eq!(plain.matches("<script").count(), 1);
    assert!(rows(&plain).iter().any(|id| id.contains("&lt;script&gt;") && id.contains("\\u{202e}")), "{plain}");

    let by_id = dom(&host, &path, "#sort=id");
    let mut sorted = rows(&by_id);
    assert!(by_id.contains("data-key=\"id\" data-sort=\"text\" aria-sort=\"ascending\""), "{by_id}");
    assert_eq!(&sorted[1..], ["damaged", "pinned", "retired", "shared/a", "shared/b"]);
    let reverse = dom(&host, &path, "#sort=-id");
    sorted.reverse();
    assert_eq!(rows(&reverse), sorted);
    // `path` has just used the damaged model.
    let used = dom(&host, &path, "#sort=-used");
    let order: Vec<&str> = rows(&used).into_iter().filter(|id| !id.contains("gpj")).collect();
    assert_eq!(order, ["shared/a", "shared/b", "pinned", "retired", "damaged"]);
}
