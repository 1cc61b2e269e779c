//! What each user may access.

use catalog_core::{Error, NetError, S3Options, StageOptions};

use crate::common::Host;
use crate::seaweed::{KEY, SECRET, Seaweed};
use crate::{catalog, reference};

fn stage(rules: &[&str], options: S3Options, text: &str) -> Result<(), Error> {
    let host = Host::new();
    catalog(&host, rules, options).stage(&reference(text), &StageOptions::default()).map(drop)
}

// Red when a request goes unsigned, or when the server's reason for a refusal is not passed on.
#[test]
fn keys() {
    let Some(weed) = Seaweed::single() else { return };
    weed.put("bucket", "a", b"a", "");
    weed.put("open", "a", b"a", "");
    weed.put("open", "t/a", b"a", "");
    let at = || S3Options::default().with_endpoint(&weed.endpoint()).unwrap();
    let rule = weed.host();
    let as_user = |key: &str, secret: &str, text: &str| stage(&[&rule], at().with_credentials(key, secret, None), text);
    as_user(KEY, SECRET, "s3://bucket/a").unwrap();
    // A user without a key gets what is public.
    stage(&[&rule], at(), "s3://open/a").unwrap();
    stage(&[&rule], at(), "s3://open/t/").unwrap();
    let error = stage(&[&rule], at(), "s3://bucket/a").unwrap_err();
    assert!(error.is_denied() && error.to_string().contains("without credentials"), "{error}");
    for (key, secret, code) in
        [(KEY, "WRONGSECRET", "SignatureDoesNotMatch"), ("AKWRONG", SECRET, "InvalidAccessKeyId")]
    {
        for text in ["s3://bucket/a", "s3://bucket/t/"] {
            let error = as_user(key, secret, text).unwrap_err();
            let text = error.to_string();
            assert!(error.is_denied() && text.contains(code), "{text}");
            assert!(!text.contains(secret) && !text.contains("without credentials"), "{text}");
        }
    }
    for (text, code) in
        [("s3://bucket/none", "NoSuchKey"), ("s3://none-here/a", "NoSuchBucket"), ("s3://none-here/a/", "NoSuchBucket")]
    {
        let error = as_user(KEY, SECRET, text).unwrap_err();
        assert!(error.is_not_found() && error.to_string().contains(code), "{error}");
    }
    for rules in [&[][..], &["127.0.0.1:1"]] {
        let error = stage(rules, at().with_credentials(KEY, SECRET, None), "s3://bucket/a").unwrap_err();
        assert!(error.is_refused(), "{error}");
    }
}

// Red when the exit codes of the command differ from the documentation.
#[test]
fn what_the_command_says() {
    let Some(weed) = Seaweed::single() else { return };
    weed.put("bucket", "a", b"a", "");
    let run = |rule: &str, secret: &str, text: &str| {
        let host = Host::new();
        let mut command = host.command();
        command.args(["stage", text, "--retries", "0", "--allow-net", rule]);
        command.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", secret);
        let output = command.env("AWS_ENDPOINT_URL", weed.endpoint()).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains(secret), "{text}");
        (output.status.code(), text)
    };
    let rule = weed.host();
    assert_eq!(run(&rule, SECRET, "s3://bucket/a").0, Some(0));
    assert_eq!(run(&rule, "WRONGSECRET", "s3://bucket/a").0, Some(8));
    assert_eq!(run(&rule, SECRET, "s3://bucket/none").0, Some(3));
    assert_eq!(run(&rule, SECRET, "s3://bucket/..").0, Some(2));
    let (code, text) = run("127.0.0.1:1", SECRET, "s3://bucket/a");
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains(&format!("--allow-net {rule}")), "{text}");
}

// Red when a wrong region is reported without the region that the server names.
#[test]
fn another_region() {
    let error = |status: &'static str, headers: &'static str, body: &'static str| {
        let server = crate::wire::Server::new(move |asked, stream| {
            let body = if asked.head.starts_with("HEAD ") { "" } else { body };
            crate::wire::send(stream, &crate::wire::answer(status, headers, body.as_bytes()));
        });
        let options = S3Options::default().with_endpoint(&server.url("")).unwrap();
        stage(&[&server.rule()], options, "s3://bucket/a").unwrap_err()
    };
    let moved = "<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message></Error>";
    let malformed =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>x</Message><Region>eu-west-1</Region></Error>";
    for error in [
        error("301 Moved Permanently", "x-amz-bucket-region: eu-west-1\r\n", moved),
        error("400 Bad Request", "", malformed),
    ] {
        assert!(matches!(&error, Error::Net { source: NetError::Status { .. }, .. }), "{error}");
        assert!(error.to_string().contains("set AWS_REGION=eu-west-1"), "{error}");
    }
}
