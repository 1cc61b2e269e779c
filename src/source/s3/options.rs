//! Where buckets are, and with which credentials: set by the program, or by the environment like that of the AWS tools.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqsign_aws_v4::Credential;
use url::Url;

use super::environment::Environment;
use super::profile::Profile;
use crate::error::{Error, Result};
use crate::net::endpoint;

/// The characters that signatures leave unescaped in a path.
pub(super) const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The region of servers other than AWS, and the default if none is configured.
const DEFAULT_REGION: &str = "us-east-1";

/// Where buckets are, and with which credentials. The default is AWS in `us-east-1` without credentials: only public
/// objects can be read.
///
/// ```
/// # use catalog_core::S3Options;
/// let options = S3Options::default()
///     .with_endpoint("https://s3.example.org")?
///     .with_credentials("AKEXAMPLE", "secret", None);
/// assert!(!format!("{options:?}").contains("secret"));
/// # Ok::<(), catalog_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    endpoint: Option<Url>,
    region: Option<String>,
    path_style: Option<bool>,
    pub(super) who: Who,
}

/// Which credentials to use.
#[derive(Clone, Default)]
pub(super) enum Who {
    /// None: anonymous access.
    #[default]
    Anybody,
    /// Given by the program.
    Given(Credential),
    /// Those found in the environment, in a profile, or on this machine when a bucket is first contacted.
    Found(Environment),
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Who::Anybody => "Anybody",
            Who::Given(_) => "Given(…)",
            Who::Found(_) => "Found(…)",
        })
    }
}

impl S3Options {
    /// Reads the environment: `AWS_ENDPOINT_URL_S3`, otherwise `AWS_ENDPOINT_URL`; `AWS_REGION`, otherwise
    /// `AWS_DEFAULT_REGION`; otherwise the profile that `AWS_PROFILE` names, in `AWS_CONFIG_FILE` or `~/.aws/config`.
    /// Credentials are searched for when a bucket is first contacted: in the environment, in the profile, by a web
    /// identity, in a container, and by the machine's metadata (IMDSv2). Requests of this search need a rule in the
    /// policy like all others, and no program is run.
    pub fn from_env() -> Result<Self> {
        from(Environment::of_process())
    }

    /// Contacts another server. The URL may have a path.
    pub fn with_endpoint(self, url: &str) -> Result<Self> {
        self.endpoint_of(url, "the endpoint of S3")
    }

    /// Sets the region of the buckets.
    pub fn with_region(self, region: &str) -> Result<Self> {
        self.region_of(region, "the region of S3")
    }

    /// Whether the bucket is the first component of the path, and not the first label of the host. By default it is if
    /// the server is not AWS, or if the bucket's name contains a dot.
    #[must_use]
    pub fn with_path_style(mut self, path_style: bool) -> Self {
        self.path_style = Some(path_style);
        self
    }

    /// Sets the credentials: a key, its secret, and the session token of a temporary key.
    #[must_use]
    pub fn with_credentials(
        mut self,
        key: impl Into<String>,
        secret: impl Into<String>,
        session_token: Option<String>,
    ) -> Self {
        let (access_key_id, secret_access_key) = (key.into(), secret.into());
        self.who = Who::Given(Credential { access_key_id, secret_access_key, session_token, expires_in: None });
        self
    }

    /// Uses no credentials, whatever the environment contains.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.who = Who::Anybody;
        self
    }

    pub(super) fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(DEFAULT_REGION)
    }

    /// The URL of a bucket or of an object in it. Neither name can change the rest of the URL.
    pub(super) fn url(&self, bucket: &str, key: &str) -> Result<Url> {
        let fail = |reason: String| Error::InvalidNetSetting { what: "the endpoint of S3".into(), reason };
        let is_path = self.path_style.unwrap_or(self.endpoint.is_some() || bucket.contains('.'));
        let mut url = match &self.endpoint {
            Some(url) => url.clone(),
            None => {
                let region = self.region();
                let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                Url::parse(&format!("https://s3.{region}.{suffix}/")).map_err(|e| fail(e.to_string()))?
            }
        };
        let mut path = url.path().trim_end_matches('/').to_owned();
        if is_path {
            path.push('/');
            path.push_str(bucket);
        } else {
            let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|e| fail(format!("the bucket cannot be a label of the host: {e}")))?;
        }
        path.push('/');
        path.extend(utf8_percent_encode(key, &ESCAPED));
        url.set_path(&path);
        // The URL that is signed must be the one that is sent.
        if url.path() != path {
            return Err(fail("the key of the object cannot be written in a URL".into()));
        }
        Ok(url)
    }

    fn endpoint_of(mut self, text: &str, what: &str) -> Result<Self> {
        let url = endpoint(text).map_err(|reason| Error::InvalidNetSetting { what: what.into(), reason })?;
        self.endpoint = Some(url);
        Ok(self)
    }

    fn region_of(mut self, region: &str, what: &str) -> Result<Self> {
        let is_of_names = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=63).contains(&region.len()) || !region.bytes().all(is_of_names) || region.starts_with('-') {
            let reason = "it is not the name of a region, such as eu-central-1".into();
            return Err(Error::InvalidNetSetting { what: what.into(), reason });
        }
        self.region = Some(region.to_owned());
        Ok(self)
    }
}

fn from(environment: Environment) -> Result<S3Options> {
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, environment.get(name)?)));
    let profile = Profile::read(&environment)?;
    let of_profile = format!("the profile {:?}", environment.profile());
    let mut options = S3Options::default();
    let own = |value| Some((of_profile.as_str(), value));
    if let Some((what, url)) =
        first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]).or_else(|| own(profile.endpoint.as_deref()?))
    {
        options = options.endpoint_of(url, what)?;
    }
    if let Some((what, region)) =
        first(["AWS_REGION", "AWS_DEFAULT_REGION"]).or_else(|| own(profile.region.as_deref()?))
    {
        options = options.region_of(region, what)?;
    }
    options.who = Who::Found(environment);
    Ok(options)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    #[rstest]
    #[case(None, None, "b", "k", "https://b.s3.us-east-1.amazonaws.com/k")]
    #[case(None, Some("cn-north-1"), "b", "k", "https://b.s3.cn-north-1.amazonaws.com.cn/k")]
    #[case(None, None, "a.b", "k", "https://s3.us-east-1.amazonaws.com/a.b/k")]
    #[case(Some("http://127.0.0.1:9"), None, "b", "a b/+%é", "http://127.0.0.1:9/b/a%20b/%2B%25%C3%A9")]
    #[case(Some("https://s3.example/x/"), None, "b", "", "https://s3.example/x/b/")]
    fn where_an_object_is(
        #[case] endpoint: Option<&str>,
        #[case] region: Option<&str>,
        #[case] bucket: &str,
        #[case] key: &str,
        #[case] url: &str,
    ) {
        let options = endpoint.iter().fold(S3Options::default(), |options, url| options.with_endpoint(url).unwrap());
        let options = region.iter().fold(options, |options, region| options.with_region(region).unwrap());
        assert_eq!(options.url(bucket, key).unwrap().as_str(), url);
    }

    #[test]
    fn a_bucket_is_a_label_on_request() {
        let options = S3Options::default().with_endpoint("https://s3.example").unwrap().with_path_style(false);
        assert_eq!(options.url("b", "k").unwrap().as_str(), "https://b.s3.example/k");
        let options = S3Options::default().with_endpoint("http://127.0.0.1").unwrap().with_path_style(false);
        options.url("1", "k").unwrap_err();
    }

    // Red when a request goes to another object than the one it was signed for.
    #[test]
    fn a_key_that_no_url_has() {
        for key in ["..", "a/../b", "."] {
            S3Options::default().url("b", key).unwrap_err();
        }
    }

    // Red when the order of precedence is different.
    #[test]
    fn what_the_environment_says() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("config");
        let text = "[profile lab]\nregion = lab-1\nendpoint_url = http://127.0.0.1:1\n[default]\nregion = home-1\n";
        std::fs::write(&path, text).unwrap();
        let url = |variables: &[(&'static str, &str)]| {
            let all = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
            let config = ("AWS_CONFIG_FILE", path.display().to_string());
            from(all.chain([config]).collect()).map(|options| options.url("b", "k").unwrap().to_string())
        };
        assert_eq!(url(&[]).unwrap(), "https://b.s3.home-1.amazonaws.com/k");
        assert_eq!(url(&[("AWS_DEFAULT_REGION", "r-2")]).unwrap(), "https://b.s3.r-2.amazonaws.com/k");
        assert_eq!(
            url(&[("AWS_DEFAULT_REGION", "r-2"), ("AWS_REGION", "r-1")]).unwrap(),
            "https://b.s3.r-1.amazonaws.com/k"
        );
        assert_eq!(url(&[("AWS_PROFILE", "lab")]).unwrap(), "http://127.0.0.1:1/b/k");
        assert_eq!(
            url(&[("AWS_PROFILE", "lab"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:2")]).unwrap(),
            "http://127.0.0.1:2/b/k"
        );
        let both = [("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:3"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:2")];
        assert_eq!(url(&both).unwrap(), "http://127.0.0.1:3/b/k");
        for (name, value) in
            [("AWS_REGION", "a.example/"), ("AWS_ENDPOINT_URL", "ftp://a"), ("AWS_ENDPOINT_URL", "http://u:p@a")]
        {
            let error = url(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("u:p"), "{error}");
        }
    }
}
