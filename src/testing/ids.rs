//! Ids that look like paths, devices, escapes or each other.

use crate::entry::MAX_ID_BYTES;

/// Ids that every store must accept and keep apart: they look like paths, devices, escapes or each other.
#[must_use]
pub fn accepted_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        // paths that climb, start at a root, a drive or a share, or name a device
        ".",
        "..",
        "../outside",
        "../../outside/secret",
        "../../etc/passwd",
        "/",
        "/abs",
        "//abs",
        "abs",
        "/etc/passwd",
        r"..\..\x",
        r"C:\x",
        "C:/x",
        "C:",
        r"\\unc\share",
        r"\\?\C:\x",
        "CON",
        "con",
        "con.gguf",
        "NUL",
        "COM1",
        "a/b",
        "a//b",
        "a/./b",
        "a/b/",
        "~",
        "~root",
        "-",
        "--help",
        // characters that a file system, a shell or a database may drop or fold
        "a",
        "A",
        "a.",
        "a..",
        "a ",
        " a",
        "a:b",
        "a*",
        "a?",
        "a|b",
        "$HOME",
        "`id`",
        "$(id)",
        ";",
        "%",
        "_",
        "a%",
        "' OR 1=1 --",
        // the same text under some percent-decoding or Unicode folding
        "%2e%2e%2f",
        "%2E%2E%2F",
        "%252e%252e%252f",
        "../",
        "%00",
        "%0a",
        "é",
        "e\u{301}",
        "É",
        "ß",
        "ss",
        "ﬁ",
        "fi",
        "ı",
        "i",
        "I",
        "İ",
        "\u{212a}",
        "k",
        "K",
        "\u{feff}a",
        "a\u{200b}",
        "\u{202e}a",
        "\u{a0}",
        "\u{3000}",
        "\u{fffd}",
        "\u{10ffff}",
        // characters with a meaning in JSON and other notations
        "\"",
        "'",
        "\\",
        "\\\\",
        "\\\"",
        "\\u0061",
        "\\u0000",
        "\\n",
        "{}",
        "[]",
        "null",
        "0",
        "00",
        r#"{"id":"a"}"#,
        r#"","b":{""#,
        "😀",
        "😀😀",
        "hf:org/repo@main/q4.gguf",
        "file:/models/q4.gguf",
        "https://host/a?b#c",
        "index",
        "store.json",
        "blobs/sha256",
        "..prev",
        "views",
        "sha256-../",
    ]
    .map(String::from)
    .into();
    let long = "x".repeat(MAX_ID_BYTES - 1);
    ids.extend([format!("{long}y"), format!("{long}z"), long]); // differ only in their last byte
    ids.push("é".repeat(MAX_ID_BYTES / 2)); // the limit is in bytes, not in characters
    ids.push("/..".repeat(MAX_ID_BYTES / 3));
    ids
}

/// Ids that every store must reject.
#[must_use]
pub fn rejected_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "",
        "\0",
        "a\0",
        "a\0b",
        "\n",
        "a\n",
        "\na",
        "a\r\nb",
        "a\tb",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{80}",
        "a\u{85}",
        "\u{9f}",
    ]
    .map(String::from)
    .into();
    ids.push("x".repeat(MAX_ID_BYTES + 1));
    ids.push("é".repeat(MAX_ID_BYTES / 2) + "x"); // 513 characters
    ids.push("x".repeat(4096)); // the longest path on Linux
    ids
}
