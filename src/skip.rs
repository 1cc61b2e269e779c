//! How tests say that they do nothing here: unit tests, and by `#[path]` those in `tests/`.

use std::io::Write as _;

/// Says why a test does nothing here. Where everything that the tests need is installed, that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CATALOG_TEST_NO_SKIP").is_none(), "skipped, and CATALOG_TEST_NO_SKIP is set: {why}");
    // Not `println`, which the test harness keeps to itself when the test passes.
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}
