//! How tests report that they are skipped: unit tests, and by `#[path]` the tests in `tests/`.

use std::io::Write as _;

/// Reports why a test is skipped. It fails the test if `CATALOG_TEST_NO_SKIP` promises that everything the tests need
/// is installed.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CATALOG_TEST_NO_SKIP").is_none(), "skipped, and CATALOG_TEST_NO_SKIP is set: {why}");
    // Not `println`, which the test harness hides if the test passes.
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}
