//! The files of a model, as this module sees them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::excerpt::excerpt;
use crate::read_at::ReadAt;

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelFile {
    /// The path in the model, with `/` as separator. If the model is one file, its name.
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
}

/// All files of a model.
pub(crate) struct ModelFiles<'f> {
    files: &'f [ModelFile],
    open: &'f dyn Fn(usize) -> Result<Box<dyn ReadAt>>,
    places: BTreeMap<&'f str, usize>,
    folders: OnceCell<BTreeSet<&'f str>>,
}

impl<'f> ModelFiles<'f> {
    /// `open` opens a file by its place in the list.
    pub(crate) fn new(files: &'f [ModelFile], open: &'f dyn Fn(usize) -> Result<Box<dyn ReadAt>>) -> Self {
        let places = files.iter().enumerate().map(|(place, file)| (file.path.as_str(), place)).collect();
        ModelFiles { files, open, places, folders: OnceCell::new() }
    }

    pub(super) fn all(&self) -> &'f [ModelFile] {
        self.files
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// Whether a file is in this folder, or below it.
    pub(super) fn has_folder(&self, folder: &str) -> bool {
        let above = |file: &'f ModelFile| file.path.match_indices('/').filter_map(|(at, _)| file.path.get(..at));
        self.folders.get_or_init(|| self.files.iter().flat_map(above).collect()).contains(folder)
    }

    pub(super) fn open(&self, place: usize) -> Result<Box<dyn ReadAt>> {
        (self.open)(place)
    }

    /// The first bytes of a file, at most so many.
    pub(super) fn start(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(&place) = self.places.get(path) else { return Ok(None) };
        let file = self.open(place)?;
        let mut bytes = vec![0; usize::try_from(file.size_bytes().min(max_bytes)).unwrap_or(0)];
        file.read_exact_at(0, &mut bytes).map_err(|e| Error::of_reader(file.name(), e))?;
        Ok(Some(bytes))
    }

    /// A small JSON document. `None` if there is no such file, or if it is something else.
    pub(super) fn json<T: DeserializeOwned>(&self, path: &str, max_bytes: u64) -> Result<Option<T>> {
        let bytes = self.start(path, max_bytes)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// A text from a file, fit to be shown: no control characters, which could steer a terminal, and not long.
pub(super) fn shown(text: &str) -> Option<String> {
    let plain: String = text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(400).collect();
    (!plain.is_empty()).then(|| excerpt(&plain))
}

/// The folder of a path, with a slash at its end; empty for a file at the top.
pub(super) fn folder(path: &str) -> &str {
    path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default()
}

/// `STEM-00002-of-00003.ENDING`: the name without the number, the number, and how many there are.
pub(super) fn part_of(path: &str) -> Option<((&str, &str), u64, u64)> {
    let (rest, ending) = path.rsplit_once('.')?;
    let (rest, total) = rest.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse().ok()).flatten();
    let (number, total): (u64, u64) = (digits(number)?, digits(total)?);
    (number >= 1 && number <= total && !stem.is_empty()).then_some(((stem, ending), number, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_their_names() {
        assert_eq!(part_of("sub/m-00002-of-00003.gguf"), Some((("sub/m", "gguf"), 2, 3)));
        for other in ["m.gguf", "m-2-of-3.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "-00001-of-00001.x"]
        {
            assert_eq!(part_of(other), None, "{other}");
        }
    }

    // Red when control characters are kept: the name of a model could rewrite a terminal.
    #[test]
    fn a_text_is_made_fit_to_be_shown() {
        assert_eq!(shown(" a\x1b[2Jb\n "), Some("a\u{fffd}[2Jb".into()));
        assert_eq!(shown("\n"), None);
        assert!(shown(&"x".repeat(10_000)).unwrap().chars().count() < 200);
    }
}
