//! The environment, and the options that it results in.

#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::fs;

use rstest::rstest;
use tempfile::TempDir;

use super::*;

fn of(variables: &[(&str, &str)]) -> Result<HfOptions> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    read(&Environment(&|name| variables.get(name).map(OsString::from)))
}

fn token(variables: &[(&str, &str)]) -> Option<String> {
    of(variables).unwrap().token.map(|token| token.0)
}

#[rstest]
#[case::none(&[], None)]
#[case::first(&[("HF_TOKEN", "a"), ("HUGGING_FACE_HUB_TOKEN", "b")], Some("a"))]
#[case::second(&[("HUGGING_FACE_HUB_TOKEN", "b")], Some("b"))]
#[case::empty(&[("HF_TOKEN", ""), ("HUGGING_FACE_HUB_TOKEN", "b")], Some("b"))]
#[case::blank(&[("HF_TOKEN", " \n"), ("HUGGING_FACE_HUB_TOKEN", "b")], Some("b"))]
#[case::around(&[("HF_TOKEN", " a\r\n")], Some("a"))]
#[case::not_by_itself(&[("HF_TOKEN", "a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")], None)]
#[case::by_itself(&[("HF_TOKEN", "a"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")], Some("a"))]
fn tokens_of_variables(#[case] variables: &[(&str, &str)], #[case] found: Option<&str>) {
    assert_eq!(token(variables).as_deref(), found);
}

#[test]
fn tokens_of_files() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (folder, text) in [("home/.cache/huggingface", "by-home\n"), ("xdg/huggingface", "by-xdg"), ("hf", "by-hf")] {
        fs::create_dir_all(at(folder)).unwrap();
        fs::write(at(folder) + "/token", text).unwrap();
    }
    fs::write(at("file"), "by-path").unwrap();
    let (home, xdg, hf, file) = (at("home"), at("xdg"), at("hf"), at("file"));
    let mut variables = vec![("HOME", home.as_str())];
    let expect = |variable: (&'static str, &str), found: &str| {
        let all: Vec<_> = variables.iter().copied().chain([variable]).collect();
        assert_eq!(token(&all).as_deref(), Some(found));
    };
    expect(("X", ""), "by-home");
    expect(("HF_HOME", "~/.cache/huggingface"), "by-home");
    expect(("XDG_CACHE_HOME", &xdg), "by-xdg");
    expect(("HF_HOME", &hf), "by-hf");
    expect(("HF_TOKEN_PATH", &file), "by-path");
    expect(("HF_TOKEN", "by-name"), "by-name");
    variables.push(("HF_TOKEN_PATH", "/nonexistent/token"));
    assert_eq!(token(&variables), None);
}

// Red when the token is used unchecked: what follows the line break would become a separate header. Also red when the
// error or `Debug` repeats it.
#[rstest]
#[case("secret\nx-other: 1")]
#[case("secret\r\nx-other: 1")]
#[case("secret x")]
#[case("secret\0")]
#[case("secrét")]
fn a_token_that_is_none(#[case] text: &str) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, text).unwrap();
    let by_file = of(&[("HF_TOKEN_PATH", file.to_str().unwrap())]);
    for result in [of(&[("HF_TOKEN", text)]), by_file, HfOptions::default().with_token(text)] {
        let error = result.unwrap_err();
        let words = format!("{error} {error:?}");
        assert!(words.contains("one word of ASCII") && !words.contains("secr"), "{words}");
    }
}

#[test]
fn a_token_file_that_is_none() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "a".repeat(5000)).unwrap();
    let error = of(&[("HF_TOKEN_PATH", file.to_str().unwrap())]).unwrap_err();
    assert!(error.to_string().ends_with("it is larger than 4096 bytes"), "{error}");
    of(&[("HF_TOKEN_PATH", dir.path().to_str().unwrap())]).unwrap_err();
}

#[test]
fn nobody_prints_a_token() {
    let options = of(&[("HF_TOKEN", "hf_secret")]).unwrap();
    assert!(!format!("{options:?}").contains("secret"));
    let source = crate::source::HfSource::new(options);
    assert!(!format!("{source:?}").contains("secret"));
}

// Red when the origins are not compared.
#[rstest]
#[case("https://huggingface.co/a", true)]
#[case("https://huggingface.co:443/a", true)]
#[case("http://huggingface.co/a", false)]
#[case("https://huggingface.co:444/a", false)]
#[case("https://cdn.huggingface.co/a", false)]
#[case("https://huggingface.co.example/a", false)]
fn whom_the_token_goes_to(#[case] url: &str, #[case] is: bool) {
    let options = HfOptions::default().with_token("a").unwrap();
    assert_eq!(!options.headers(&Url::parse(url).unwrap()).is_empty(), is);
}

#[rstest]
#[case(&[], false)]
#[case(&[("HF_HUB_OFFLINE", "1")], true)]
#[case(&[("HF_HUB_OFFLINE", "true")], true)]
#[case(&[("HF_HUB_OFFLINE", "On")], true)]
#[case(&[("HF_HUB_OFFLINE", "0")], false)]
#[case(&[("HF_HUB_OFFLINE", "2")], false)]
#[case(&[("HF_HUB_OFFLINE", "no"), ("TRANSFORMERS_OFFLINE", "YES")], true)]
fn offline(#[case] variables: &[(&str, &str)], #[case] is: bool) {
    assert_eq!(of(variables).unwrap().is_offline(), is);
}

#[rstest]
#[case("https://hub.example.org", "https://hub.example.org/api/models")]
#[case("https://hub.example.org/", "https://hub.example.org/api/models")]
#[case("http://127.0.0.1:8080/mirror/", "http://127.0.0.1:8080/mirror/api/models")]
fn endpoints(#[case] endpoint: &str, #[case] url: &str) {
    let options = of(&[("HF_ENDPOINT", endpoint)]).unwrap();
    let built = options.url(["api", "models"]);
    assert_eq!(built.as_str(), url);
    assert_eq!(options.below_endpoint(&built), "api/models");
}

#[rstest]
#[case("hub.example.org", "it is not a URL")]
#[case("ftp://hub.example.org", "only https:// and http://")]
#[case("https://user:secret@hub.example.org", "more in it than")]
#[case("https://hub.example.org?secret", "more in it than")]
fn no_endpoints(#[case] endpoint: &str, #[case] problem: &str) {
    let error = of(&[("HF_ENDPOINT", endpoint)]).unwrap_err().to_string();
    assert!(error.starts_with("could not use HF_ENDPOINT: ") && error.contains(problem), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn what_is_special_in_a_url_is_escaped() {
    let url = HfOptions::default().url(["a", "b c?d#e%2f", "ü", "x\\y"]);
    assert_eq!(url.as_str(), "https://huggingface.co/a/b%20c%3Fd%23e%252f/%C3%BC/x%5Cy");
}
