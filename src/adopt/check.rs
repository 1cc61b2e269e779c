//! Checks of what was found: nothing leaves a scanner that a store could not take.

use std::collections::BTreeSet;
use std::path::Path;

use super::found::{Found, Scan, Skipped, Tool};
use super::reader::shown;
use crate::blob::manifest::{MAX_FILES, is_tree_path};
use crate::entry::{ArtifactKind, check_id};

impl Found {
    /// Sorts the files, and drops further ids that cannot be ids. Returns why the model cannot be one.
    pub(super) fn check(&mut self) -> Result<(), String> {
        check_id(&self.id).map_err(|_| "its name cannot be an id".to_owned())?;
        self.also.retain(|id| check_id(id).is_ok() && *id != self.id);
        self.also.sort_unstable();
        self.also.dedup();
        if !is_tree_path(&self.name) || self.name.contains('/') {
            return Err(format!("{:?} cannot be the name of a file", shown(&self.name)));
        }
        self.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        match (self.kind, self.files.as_slice()) {
            (_, []) => Err("no file in it".to_owned()),
            (ArtifactKind::File, [file]) if file.path.is_empty() => Ok(()),
            (ArtifactKind::Tree, files) if files.len() <= MAX_FILES => {
                paths_fit(files.iter().map(|file| file.path.as_str()))
            }
            _ => Err("it has more files than one model can have".to_owned()),
        }
    }
}

/// Whether sorted paths can be the files of one folder.
fn paths_fit<'a>(paths: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for path in paths {
        if !is_tree_path(path) {
            return Err(format!("it names a file {:?}, which could lead out of its folder", shown(path)));
        }
        if !seen.insert(path) {
            return Err(format!("it names {:?} twice", shown(path)));
        }
    }
    for path in &seen {
        let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        if let Some(folder) = folders.into_iter().find(|folder| seen.contains(folder)) {
            return Err(format!("it names {:?} both as a file and as a folder", shown(folder)));
        }
    }
    Ok(())
}

impl Scan {
    /// Sorts, and leaves each id to one model. A model's own id comes before the further id of another one.
    pub(super) fn finish(&mut self, tool: Tool) {
        self.models.sort_by(|a, b| a.id.cmp(&b.id));
        let mut taken: BTreeSet<String> = self.models.iter().map(|model| model.id.clone()).collect();
        let mut last: Option<String> = None;
        let mut models = Vec::with_capacity(self.models.len());
        for mut model in std::mem::take(&mut self.models) {
            if last.as_ref() == Some(&model.id) {
                let path = model.files.first().map_or(Path::new(""), |file| &file.source).to_path_buf();
                self.skipped.push(Skipped { tool, path, reason: format!("another model is {}", shown(&model.id)) });
                continue;
            }
            model.also.retain(|id| taken.insert(id.clone()));
            last = Some(model.id.clone());
            models.push(model);
        }
        self.models = models;
        self.skipped.sort_by(|a, b| (&a.path, &a.reason).cmp(&(&b.path, &b.reason)));
        self.skipped.dedup();
    }
}
