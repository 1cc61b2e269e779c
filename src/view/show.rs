//! Makes views, and alone decides what happens to another file at a view's path. Below `views/`, that file is kept in
//! `quarantine/`; at a path of the user's own nothing is moved or replaced, except the very file that was just read.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::copies::{Copies, PrivateCopy};
use super::look::{case_twins, collision, extras, fingerprint_of, has_twin, is_folded, link_to_blob};
use crate::blob::manifest::TreeFile;
use crate::blob::{self, Subject, Touched};
use crate::entry::{LinkMode, Stamp};
use crate::error::{Error, Result};
use crate::fs::atomic::is_link_refusal;
use crate::fs::{Durability, Kind, Meta, Root, Session, link};
use crate::layout;
use crate::threads::{SHARE_FROM, ready_for_rayon};

/// An artifact's files, and where to show them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exhibit<'a> {
    pub(crate) id: &'a str,
    pub(crate) files: &'a [TreeFile],
    /// The path of the file, or of the tree's folder, relative to the root.
    pub(crate) at: &'a Path,
    pub(crate) occupied: Occupied<'a>,
    pub(crate) durability: Durability,
}

/// What to do with another file at a path where a file is to be shown.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Occupied<'a> {
    /// Below `views/`: move it to `quarantine/`, unless it has the blob's bytes.
    Quarantine,
    /// At a path of the user's own: move and replace nothing.
    Refuse,
    /// It is the source that was just read, with one stamp per file: replace it if it is unchanged since.
    Replace(&'a [Option<Stamp>]),
}

impl Occupied<'_> {
    /// What applies at this path, except to a caller that has just read the file there.
    pub(crate) fn at(place: &Path) -> Self {
        if place.starts_with(layout::VIEWS) { Occupied::Quarantine } else { Occupied::Refuse }
    }
}

/// Files that are at paths of views and are not links to blobs: the metadata of each from when it was read in full, and
/// whether it has the right bytes.
pub(crate) type Judged = BTreeMap<PathBuf, (Meta, bool)>;

/// The outcome of [`show`].
#[derive(Debug)]
pub(crate) enum Shown {
    /// All files are in place.
    Whole(View),
    /// The file system refuses a hardlink and there are no copies. They have to be made first, without any lock.
    NeedsCopies,
    /// These files have to be read first, without any lock, because they may have the right bytes.
    NeedsJudgement(Vec<Subject>),
}

/// A view that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The costliest mode that any of its files needed.
    pub(crate) mode: LinkMode,
    /// `None` for a view of hardlinks.
    pub(crate) fingerprint: Option<String>,
}

/// What [`show`] has changed, in all rounds together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Number of names that were made or replaced.
    pub(crate) made: u64,
    /// Bytes of the copies among them.
    pub(crate) copied_bytes: u64,
    /// Number of other files that were moved to `quarantine/`.
    pub(crate) quarantined: u64,
}

/// Shows an artifact's files by hardlinks, or by `copies` if there are any. It adds new names to `touched`. On an
/// overlay, a blob that `touched` does not list as just published is shown by a symlink, because it may be in a lower
/// layer.
pub(crate) fn show(
    root: &Root,
    exhibit: &Exhibit<'_>,
    session: &Session<'_>,
    judged: &Judged,
    mut copies: Option<&mut Copies>,
    touched: &mut Touched,
    tally: &mut Tally,
) -> Result<Shown> {
    let mut mode = LinkMode::Hardlink;
    let mut unjudged = Vec::new();
    let linked = link_free_places(root, exhibit, copies.is_some(), touched);
    let twins = LazyCell::new(|| case_twins(exhibit.files));
    for (number, file) in exhibit.files.iter().enumerate() {
        let copies_up = root.copies_up() && !touched.has_published(&file.digest);
        let place = Place { root, exhibit, session, number, file, copies_up, at: file.below(exhibit.at) };
        place.make_folders(touched, tally)?;
        touched.folder_of(&place.at);
        if linked.get(number) == Some(&true) {
            tally.made += 1;
            continue;
        }
        if let Some(how) = link_to_blob(root, &file.digest, &place.at)? {
            mode = mode.max(how);
            continue;
        }
        let copy = copies.as_deref_mut().and_then(|copies| copies.get_mut(number));
        if let Some(copy) = &copy
            && copy.is_placed(root, &place.at)?
        {
            mode = mode.max(copy.mode);
            continue;
        }
        match place.fill(copy.as_deref(), judged, &|| has_twin(&twins, file), tally)? {
            Filled::Made(how) => {
                tally.made += 1;
                if how == LinkMode::Copy {
                    tally.copied_bytes = tally.copied_bytes.saturating_add(file.size_bytes);
                }
                mode = mode.max(how);
                if let Some(copy) = copy {
                    copy.placed = root.meta(&place.at)?;
                }
            }
            Filled::Kept => mode = mode.max(LinkMode::Copy),
            Filled::NeedsCopy => return Ok(Shown::NeedsCopies),
            Filled::NeedsJudgement => {
                let size_bytes = Some(file.size_bytes);
                unjudged.push(Subject { path: place.at, ..Subject::blob(&file.digest, size_bytes) });
            }
        }
    }
    if !unjudged.is_empty() {
        return Ok(Shown::NeedsJudgement(unjudged));
    }
    if let Some(path) = collision(root, exhibit.files, exhibit.at)? {
        return Err(Error::NameCollision { path: root.absolute(&path) });
    }
    if matches!(exhibit.occupied, Occupied::Quarantine) {
        tally.quarantined += quarantine_extras(root, exhibit)?;
    }
    let fingerprint = fingerprint_of(root, exhibit.files, exhibit.at, mode)?;
    Ok(Shown::Whole(View { mode, fingerprint }))
}

/// Links the files of a large tree whose places are free. Returns whether each now has its link; all that stands in the
/// way, and every error, is left to [`show`].
fn link_free_places(root: &Root, exhibit: &Exhibit<'_>, has_copies: bool, touched: &mut Touched) -> Vec<bool> {
    let Exhibit { files, at, .. } = exhibit;
    let is_own = matches!(exhibit.occupied, Occupied::Quarantine) && at.starts_with(layout::VIEWS);
    if files.len() < SHARE_FROM || !is_own || has_copies || root.copies_up() {
        return Vec::new();
    }
    let places: Vec<PathBuf> = files.iter().map(|file| file.below(at)).collect();
    if places.iter().any(|place| touched.make_parents(root, place).is_err()) {
        return Vec::new();
    }
    ready_for_rayon();
    let link = |(file, place): (&TreeFile, &PathBuf)| root.link(&layout::blob(&file.digest), place).is_ok();
    files.par_iter().zip(&places).with_min_len(8).map(link).collect()
}

/// One file of an exhibit, and its place.
struct Place<'a> {
    root: &'a Root,
    exhibit: &'a Exhibit<'a>,
    session: &'a Session<'a>,
    number: usize,
    file: &'a TreeFile,
    /// Whether a hardlink of the blob might first copy all of it and detach its other names.
    copies_up: bool,
    at: PathBuf,
}

/// The outcome for one place.
enum Filled {
    /// It now has a new link to the blob, or a copy.
    Made(LinkMode),
    /// A separate file that has the right bytes stays.
    Kept,
    NeedsCopy,
    NeedsJudgement,
}

impl Place<'_> {
    /// Makes the folders above the place. Below `views/`, files that are in the way go to `quarantine/`.
    fn make_folders(&self, touched: &mut Touched, tally: &mut Tally) -> Result<()> {
        let Err(error) = touched.make_parents(self.root, &self.at) else { return Ok(()) };
        let may_move = matches!(self.exhibit.occupied, Occupied::Quarantine);
        let mut moved = 0;
        for above in self.at.ancestors().skip(1).filter(|above| may_move && above.components().count() > 1) {
            if let Ok(Some(meta)) = self.root.meta(above)
                && meta.kind != Kind::Dir
            {
                moved += u64::from(self.quarantine(above, &meta)?);
            }
        }
        if moved == 0 {
            return Err(error);
        }
        tally.quarantined += moved;
        touched.make_parents(self.root, &self.at)
    }

    /// `has_twin` is called only if something is at the place, because it looks at all names of the tree.
    fn fill(
        &self,
        copy: Option<&PrivateCopy>,
        judged: &Judged,
        has_twin: &dyn Fn() -> bool,
        tally: &mut Tally,
    ) -> Result<Filled> {
        if let Some(filled) = self.give_name(copy)? {
            return Ok(filled);
        }
        // It is gone again: the next round will find the place free.
        let Some(there) = self.root.meta(&self.at)? else { return Ok(Filled::NeedsJudgement) };
        // Two names of the same tree collide, so nothing is moved.
        if has_twin() && is_folded(self.root, self.exhibit.files, self.exhibit.at, &self.at)? {
            return Err(Error::NameCollision { path: self.root.absolute(&self.at) });
        }
        let has_right_bytes = match judged.get(&self.at) {
            _ if there.kind != Kind::File || there.size_bytes != self.file.size_bytes => Some(false),
            Some((then, is_good)) if then.same_inode(&there) && then.stamp() == there.stamp() => Some(*is_good),
            _ => None,
        };
        match (self.exhibit.occupied, has_right_bytes) {
            (Occupied::Replace(stamps), _) => {
                let read = stamps.get(self.number).copied().flatten();
                match read == Some(there.stamp()) {
                    true => self.replace(copy, &there)?.ok_or_else(|| self.changed()),
                    false => Err(self.changed()),
                }
            }
            (_, None) => Ok(Filled::NeedsJudgement),
            (Occupied::Refuse, Some(true)) => Ok(Filled::Kept),
            (Occupied::Refuse, Some(false)) => {
                Err(Error::Occupied { id: self.exhibit.id.to_owned(), path: self.root.absolute(&self.at) })
            }
            // If hardlinks are refused or cost a copy, it is as good as a new file.
            (Occupied::Quarantine, Some(true)) if copy.is_some() || self.copies_up => Ok(Filled::Kept),
            (Occupied::Quarantine, Some(true)) => Ok(self.replace(None, &there)?.unwrap_or(Filled::NeedsJudgement)),
            (Occupied::Quarantine, Some(false)) => {
                tally.quarantined += u64::from(self.quarantine(&self.at, &there)?);
                Ok(self.give_name(copy)?.unwrap_or(Filled::NeedsJudgement))
            }
        }
    }

    /// Gives the blob, or the copy, the name of this place. `None`: something is there already.
    fn give_name(&self, copy: Option<&PrivateCopy>) -> Result<Option<Filled>> {
        let blob = &self.file.digest;
        let (done, result) = match copy {
            Some(copy) => (Filled::Made(copy.mode), self.root.rename_new(&copy.path, &self.at)),
            None if self.copies_up && matches!(self.exhibit.occupied, Occupied::Quarantine) => {
                let link = self.root.symlink(&layout::blob_from(&self.at, blob), &self.at);
                (Filled::Made(LinkMode::Symlink), link)
            }
            None if self.copies_up => return Ok(self.root.meta(&self.at)?.is_none().then_some(Filled::NeedsCopy)),
            None => (Filled::Made(LinkMode::Hardlink), self.root.link(&layout::blob(blob), &self.at)),
        };
        match result {
            Ok(()) => Ok(Some(done)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            // An earlier round put the copy in place, and since then it was removed or replaced.
            Err(e) if copy.is_some() && e.kind() == io::ErrorKind::NotFound => {
                Ok(if self.root.meta(&self.at)?.is_some() { None } else { Some(Filled::NeedsCopy) })
            }
            Err(e) if copy.is_none() && is_link_refusal(&e) => Ok(Some(Filled::NeedsCopy)),
            Err(e) => Err(self.root.fail("link the view", &self.at, e)),
        }
    }

    fn changed(&self) -> Error {
        let detail = "it was written to before its view was made".into();
        Error::SourceChanged { path: self.root.absolute(&self.at), detail }
    }

    /// Replaces the file `there` with the blob, or the copy, in one step. `None`: another file is there by now.
    fn replace(&self, copy: Option<&PrivateCopy>, there: &Meta) -> Result<Option<Filled>> {
        if let Some(copy) = copy {
            return Ok(link::replace(self.root, &copy.path, &self.at, there)?.then_some(Filled::Made(copy.mode)));
        }
        if self.copies_up {
            return Ok(Some(Filled::NeedsCopy));
        }
        let private = self.session.next_name();
        match self.root.link(&layout::blob(&self.file.digest), &private) {
            Ok(()) => {}
            Err(e) if is_link_refusal(&e) => return Ok(Some(Filled::NeedsCopy)),
            Err(e) => return Err(self.root.fail("link the view", &self.at, e)),
        }
        let replaced = link::replace(self.root, &private, &self.at, there);
        let removed = self.root.remove_file(&private);
        Ok((replaced? && removed.is_ok()).then_some(Filled::Made(LinkMode::Hardlink)))
    }

    fn quarantine(&self, path: &Path, found: &Meta) -> Result<bool> {
        blob::quarantine(self.root, &self.file.digest, path, found, self.exhibit.durability)
    }
}

fn quarantine_extras(root: &Root, exhibit: &Exhibit<'_>) -> Result<u64> {
    let mut moved = 0;
    for (path, meta) in extras(root, exhibit.files, exhibit.at)? {
        moved += u64::from(blob::quarantine_stranger(root, &path, &meta, exhibit.durability)?);
    }
    Ok(moved)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::super::copy;
    use super::*;
    use crate::digest::Digest;

    // Red when it is called before the place is known to be taken: each view of a tree would then build a set of all
    // its names.
    #[test]
    fn whether_a_name_has_a_twin_is_asked_only_where_something_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let digest = Digest::sha256_of(b"model");
        for folder in [Path::new(layout::INGEST), layout::blob(&digest).parent().unwrap(), Path::new("views/m")] {
            root.make_dirs(folder).unwrap();
        }
        std::fs::write(root.absolute(&layout::blob(&digest)), "model").unwrap();
        let session = &Session::begin(&root).unwrap();
        let files = [TreeFile { path: String::new(), digest, size_bytes: 5 }];
        let (at, occupied) = (Path::new("views/m/m"), Occupied::Quarantine);
        let exhibit = &Exhibit { id: "m", files: &files, at, occupied, durability: Durability::Relaxed };
        let place =
            Place { root: &root, exhibit, session, number: 0, file: &files[0], copies_up: false, at: at.to_path_buf() };
        let asked = std::cell::Cell::new(0);
        let has_twin = || asked.replace(asked.get() + 1) > 9;
        for times in [0, 1] {
            place.fill(None, &Judged::new(), &has_twin, &mut Tally::default()).unwrap();
            assert_eq!(asked.get(), times);
        }
    }

    /// The first round has put its copies in place but was not recorded, because its lock file was gone.
    // Red when a copy at its place counts as another file: in place of its source it would count as changed, and
    // elsewhere it would be read once more.
    #[test]
    fn a_second_round_finds_its_own_copies() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.make_dirs(Path::new(layout::INGEST)).unwrap();
        let digest = Digest::sha256_of(b"model");
        root.make_dirs(layout::blob(&digest).parent().unwrap()).unwrap();
        std::fs::write(root.absolute(&layout::blob(&digest)), "model").unwrap();
        let files = [TreeFile { path: String::new(), digest, size_bytes: 5 }];
        for (number, in_place) in [false, true].into_iter().enumerate() {
            let session = Session::begin(&root).unwrap();
            let at = Path::new(if in_place { "mine/m" } else { "views/m/0/m" });
            let mut stamps = Vec::new();
            if in_place {
                root.make_dirs(Path::new("mine")).unwrap();
                std::fs::write(root.absolute(at), "model").unwrap();
                stamps.push(root.meta(at).unwrap().map(|meta| meta.stamp()));
            }
            let occupied = if in_place { Occupied::Replace(&stamps) } else { Occupied::Quarantine };
            let exhibit = Exhibit { id: "m", files: &files, at, occupied, durability: Durability::Relaxed };
            let mut copies = copy(&root, &files, &session, Durability::Relaxed).unwrap();
            let mut tally = Tally::default();
            let mut views = Vec::new();
            for _ in 0..2 {
                let (judged, touched) = (Judged::new(), &mut Touched::default());
                let shown = show(&root, &exhibit, &session, &judged, Some(&mut copies), touched, &mut tally).unwrap();
                let Shown::Whole(view) = shown else { panic!("case {number}: {shown:?}") };
                views.push(view);
            }
            assert_eq!(views[0], views[1]);
            assert_eq!((tally.made, tally.quarantined), (1, 0));
        }
    }

    // Red when a link that could not be made counts as made: the view would show a file that is not the blob's.
    #[test]
    fn in_a_large_tree_what_is_in_the_way_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for folder in [layout::INGEST, layout::QUARANTINE, "views/m/0/sub"] {
            root.make_dirs(Path::new(folder)).unwrap();
        }
        let file = |number: usize| {
            let bytes = format!("blob {number:03}");
            let digest = Digest::sha256_of(bytes.as_bytes());
            root.make_dirs(layout::blob(&digest).parent().unwrap()).unwrap();
            std::fs::write(root.absolute(&layout::blob(&digest)), &bytes).unwrap();
            TreeFile { path: format!("sub/{number:03}"), digest, size_bytes: 8 }
        };
        let files: Vec<TreeFile> = (0..3 * SHARE_FROM).map(file).collect();
        std::fs::write(dir.path().join("views/m/0/sub/007"), "something else").unwrap();
        let session = Session::begin(&root).unwrap();
        let (at, occupied) = (Path::new("views/m/0"), Occupied::Quarantine);
        let exhibit = Exhibit { id: "m", files: &files, at, occupied, durability: Durability::Relaxed };
        let mut tally = Tally::default();
        for _ in 0..2 {
            let (judged, touched) = (Judged::new(), &mut Touched::default());
            let shown = show(&root, &exhibit, &session, &judged, None, touched, &mut tally).unwrap();
            assert!(matches!(shown, Shown::Whole(View { mode: LinkMode::Hardlink, fingerprint: None })), "{shown:?}");
            assert_eq!((tally.made, tally.quarantined), (files.len() as u64, 1));
        }
        for file in &files {
            assert_eq!(link_to_blob(&root, &file.digest, &file.below(at)).unwrap(), Some(LinkMode::Hardlink));
        }
    }
}
