use rstest::rstest;

use super::*;

fn rules(text: &str) -> Vec<Rule> {
    parse(text).unwrap()
}

fn names(rule: &str, url: &str) -> bool {
    let url = Url::parse(url).unwrap();
    rules(rule).iter().any(|rule| rule.names(&url, Some(Purpose::Origin)))
}

#[rstest]
#[case("models.example.org", "https://models.example.org/a")]
#[case("models.example.org", "https://MODELS.example.org:443/a")]
#[case("models.example.org.", "https://models.example.org/a")]
#[case("models.example.org", "https://models.example.org./a")]
#[case("Models.Example.org:8443", "https://models.example.org:8443/")]
#[case("*.example.org", "https://a.example.org/")]
#[case("*.example.org", "https://a.b.example.org/")]
#[case("*.example.org:8443", "https://a.example.org:8443/")]
#[case("http://models.example.org", "http://models.example.org/")]
#[case("https://models.example.org", "https://models.example.org/")]
#[case("bücher.example", "https://xn--bcher-kva.example/")]
#[case("127.0.0.1:8080", "http://127.0.0.1:8080/")]
#[case("127.0.0.1:8080", "https://127.0.0.1:8080/")]
#[case("127.0.0.1:8080", "http://2130706433:8080/")]
#[case("127.0.0.0/8", "http://127.1.2.3/")]
#[case("[::1]:8080", "http://[::1]:8080/")]
#[case("::1", "http://[::1]/")]
#[case("localhost:8080", "http://localhost:8080/")]
#[case("10.0.0.5", "https://10.0.0.5/")]
#[case("10.0.0.0/8", "https://[::ffff:10.0.0.5]/")]
#[case("http://10.0.0.5:81", "http://10.0.0.5:81/")]
// Red when a net is compared as it is written: no address would match, and a machine's `deny` would have no effect.
#[case("::ffff:10.0.0.0/104", "https://10.1.2.3/")]
#[case("::ffff:10.0.0.0/104", "https://[::ffff:10.1.2.3]/")]
#[case("::ffff:0:0/96", "https://10.1.2.3/")]
#[case("hf", "https://huggingface.co/api")]
fn named(#[case] rule: &str, #[case] url: &str) {
    assert!(names(rule, url));
}

#[rstest]
#[case("models.example.org", "http://models.example.org/")]
#[case("models.example.org", "https://models.example.org:8443/")]
#[case("models.example.org", "https://a.models.example.org/")]
#[case("models.example.org:8443", "https://models.example.org/")]
#[case("*.example.org", "https://example.org/")]
#[case("*.example.org", "https://evilexample.org/")]
#[case("http://models.example.org", "https://models.example.org/")]
#[case("127.0.0.1:8080", "http://127.0.0.1:8081/")]
#[case("127.0.0.1:8080", "http://localhost:8080/")]
#[case("localhost:8080", "http://127.0.0.1:8080/")]
#[case("10.0.0.5", "http://10.0.0.5/")]
#[case("::ffff:10.0.0.0/104", "https://11.1.2.3/")]
#[case("0.0.0.0/0", "http://127.0.0.1/")]
#[case("hf", "http://huggingface.co/")]
#[case("hf", "https://huggingface.co.evil.example/")]
// The Hub's stores are only for content that the Hub redirects to.
#[case("hf", "https://cas-bridge.xethub.hf.co/")]
fn not_named(#[case] rule: &str, #[case] url: &str) {
    assert!(!names(rule, url));
}

#[test]
fn the_hubs_stores_are_for_content() {
    for url in ["https://cas-bridge.xethub.hf.co/x", "https://cdn-lfs-us-1.hf.co/x", "https://huggingface.co/x"] {
        let url = Url::parse(url).unwrap();
        assert!(rules("hf").iter().any(|rule| rule.names(&url, Some(Purpose::Content))), "{url}");
    }
}

#[rstest]
#[case("10.0.0.0/8", "a.example", "10.1.2.3:443", true)]
#[case("10.0.0.5", "a.example", "10.0.0.5:9000", true)]
#[case("10.0.0.5:443", "a.example", "10.0.0.5:9000", false)]
#[case("10.0.0.5", "a.example", "[::ffff:10.0.0.5]:443", true)]
#[case("10.0.0.5", "a.example", "10.0.0.6:443", false)]
#[case("a.example", "a.example", "10.0.0.5:443", false)]
#[case("*.example", "a.example", "127.0.0.1:443", false)]
#[case("localhost", "localhost", "127.0.0.1:80", true)]
#[case("localhost", "localhost.", "[::1]:80", true)]
#[case("localhost", "localhost", "10.0.0.5:80", false)]
#[case("localhost", "a.example", "127.0.0.1:80", false)]
#[case("localhost:81", "localhost", "127.0.0.1:80", false)]
fn covered(#[case] rule: &str, #[case] host: &str, #[case] address: SocketAddr, #[case] is: bool) {
    assert_eq!(rules(rule).iter().any(|rule| rule.covers(host, address)), is);
}

#[rstest]
#[case("", "it names no host")]
#[case("https://", "it names no host")]
#[case("ftp://a.example", "only http and https are supported")]
#[case("a.example/models", "more in it than a host and a port")]
#[case("user@a.example", "more in it than a host and a port")]
#[case("a example", "more in it than a host and a port")]
#[case("10.0.0.0/33", "more in it than a host and a port")]
#[case("a.example:", "the port is not a number")]
#[case("a.example:0", "the port is not a number")]
#[case("a.example:+80", "the port is not a number")]
#[case("a.example:65536", "the port is not a number")]
#[case("*", "* can stand only for")]
#[case("a.*.example", "* can stand only for")]
#[case("*.10.0.0.1", "not the name of a host")]
#[case("a..example", "not the name of a host")]
#[case("$(reboot)", "not the name of a host")]
#[case("[::1", "not the name of a host")]
fn rejected(#[case] text: &str, #[case] problem: &str) {
    let error = parse(text).unwrap_err();
    assert!(error.contains(problem) && error.ends_with(FORM), "{error}");
}

#[rstest]
#[case("https://a.example/x?y", "a.example")]
#[case("https://a.example:8443/", "a.example:8443")]
#[case("http://a.example/", "http://a.example")]
#[case("http://127.0.0.1:81/", "127.0.0.1:81")]
#[case("http://[::1]:81/", "[::1]:81")]
#[case("https://[fd00::1]/", "fd00::1")]
#[case("http://[fd00::1]:81/", "http://[fd00::1]:81")]
#[case("http://localhost/", "localhost")]
fn a_suggested_rule_names_the_url(#[case] url: &str, #[case] rule: &str) {
    assert_eq!(rule_for(&Url::parse(url).unwrap()), rule);
    assert!(names(rule, url));
}
