//! What the names of files in tools' stores mean.

/// A part of a model that was split: `<base>-00001-of-00003.<ending>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// The path without the numbers and the ending.
    pub(super) base: &'a str,
    pub(super) number: u32,
    pub(super) count: u32,
    /// `gguf`, `safetensors`, …
    pub(super) ending: &'a str,
}

/// Parses the path of a part. The numbers start at 1 and have five digits.
pub(super) fn part(path: &str) -> Option<Part<'_>> {
    let (stem, ending) = path.rsplit_once('.')?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let (number, count) = (five_digits(number)?, five_digits(count)?);
    let is_part = !base.is_empty() && !base.ends_with('/') && (1..=count).contains(&number);
    is_part.then_some(Part { base, number, count, ending })
}

fn five_digits(text: &str) -> Option<u32> {
    let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

pub(super) fn is_gguf(path: &str) -> bool {
    has_ending(path, &["gguf"])
}

/// Whether it is a file of weights, by its ending.
pub(super) fn is_weights(path: &str) -> bool {
    const ENDINGS: [&str; 12] =
        ["gguf", "safetensors", "bin", "pt", "pth", "onnx", "h5", "msgpack", "ckpt", "tflite", "nemo", "dduf"];
    has_ending(path, &ENDINGS)
}

fn has_ending(path: &str, endings: &[&str]) -> bool {
    let ending = file_name(path).rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| endings.iter().any(|one| one.eq_ignore_ascii_case(ending)))
}

/// Whether it is left over from a download that did not end, or that has not ended yet.
pub(super) fn is_leftover(name: &str) -> bool {
    let endings = [".incomplete", ".partial", "-partial", ".downloadInProgress", ".part"];
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    endings.iter().any(|ending| name.ends_with(ending))
        || name.rsplit_once("-partial-").is_some_and(|(_, number)| is_number(number))
        || name.starts_with("incomplete-")
        || name == "._____temp"
}

/// The text with a `-` for each character that a plain file name does not have.
pub(super) fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+') { c } else { '-' };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a/b-00002-of-00003.gguf", Some(("a/b", 2, 3, "gguf")))]
    #[case("b-00001-of-00001.safetensors", Some(("b", 1, 1, "safetensors")))]
    #[case::zero("b-00000-of-00003.gguf", None)]
    #[case::beyond("b-00004-of-00003.gguf", None)]
    #[case::four_digits("b-0001-of-0003.gguf", None)]
    #[case::a_sign("b-+0001-of-00003.gguf", None)]
    #[case::no_base("-00001-of-00003.gguf", None)]
    #[case::no_base_in_a_folder("a/-00001-of-00003.gguf", None)]
    #[case::whole("b.gguf", None)]
    fn parts(#[case] path: &str, #[case] is: Option<(&str, u32, u32, &str)>) {
        let is = is.map(|(base, number, count, ending)| Part { base, number, count, ending });
        assert_eq!(part(path), is);
    }

    #[rstest]
    #[case("0123.incomplete", true)]
    #[case("sha256-00.partial", true)]
    #[case("sha256-00-partial", true)]
    #[case("sha256-00-partial-12", true)]
    #[case("m.gguf.downloadInProgress", true)]
    #[case("incomplete-m.gguf", true)]
    #[case("._____temp", true)]
    #[case("m.gguf", false)]
    #[case("m-partial-results.gguf", false)]
    fn leftovers(#[case] name: &str, #[case] is: bool) {
        assert_eq!(is_leftover(name), is);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(.|[-/.0-9of]){0,30}") {
            let _ = (part(&text), is_weights(&text), is_leftover(&text));
            let plain = plain(&text);
            prop_assert!(!plain.contains('/') && !plain.chars().any(char::is_control));
        }
    }
}
