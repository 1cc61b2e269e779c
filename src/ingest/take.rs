//! Ingests a source whose own inode becomes the blob (the modes link, move and share).

use super::{ContentFile, Options};
use crate::blob::{BLOB_MODE, Pending, Sealed, SourceFacts, UsedMode};
use crate::error::{Error, Result};
use crate::fs::source::Foreign;
use crate::fs::{Meta, Session, atomic, current_user, link, writers};
use crate::hash::{BothHasher, read_all};

/// Whether the source keeps its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    Link,
    /// The source is removed once its bytes are recorded.
    Move,
}

/// Takes over the source's inode if nothing speaks against it; otherwise returns the reason.
pub(super) fn share<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    source: &Foreign,
    options: Options<'_>,
) -> Result<std::result::Result<Sealed<'r>, String>> {
    if let Some(reason) = private_mode(source.before()) {
        return Ok(Err(reason));
    }
    match source.check_nobody_writes() {
        Err(Error::SourceInUse { reason, .. }) => return Ok(Err(reason)),
        other => other?,
    }
    let taken = take(session, file, source, Taking::Link, options)?;
    Ok(taken.ok_or_else(|| "it cannot be hardlinked into the root's file system".to_owned()))
}

/// Whether a file's inode can become a blob, as far as its metadata shows.
pub(crate) fn may_be_taken(source: &Meta) -> bool {
    source.owner == current_user() && private_mode(source).is_none()
}

/// Why a file cannot become a blob under all of its names, as far as its metadata shows.
fn private_mode(source: &Meta) -> Option<String> {
    let mode = source.mode;
    (mode & BLOB_MODE != BLOB_MODE).then(|| {
        format!("its mode is {mode:04o}, and as a blob it would be {BLOB_MODE:04o} under every name: everybody could read it")
    })
}

/// Takes over the source's inode. Returns `None` if that needs a link that the file systems do not allow, or if it
/// would make a remaining name readable to others. A move also returns `None` if nothing shows who can still write to
/// the inode.
pub(super) fn take<'r>(
    session: &Session<'r>,
    file: &ContentFile,
    source: &Foreign,
    taking: Taking,
    options: Options<'_>,
) -> Result<Option<Sealed<'r>>> {
    let root = session.root();
    // The inode gets the mode of a blob under all of its names, including those outside the root.
    if let Some(reason) = private_mode(source.before()) {
        if taking == Taking::Link {
            return Err(source.in_use(&reason));
        }
        if source.before().links > 1 || !link::can_remove_source(source.path()) {
            return Ok(None);
        }
    }
    if taking == Taking::Move && !writers::can_be_seen() {
        return Ok(None);
    }
    source.check_nobody_writes()?;
    let name = session.next_name();
    match root.link_file(source.file(), &name) {
        Ok(()) => {}
        Err(e) if atomic::is_link_refusal(&e) => return Ok(None),
        Err(e) => return Err(root.fail("link the source to", &name, e)),
    }
    let handle = source.file().try_clone().map_err(|e| source.fail("read", e))?;
    let mut pending = Pending::around(root, name, handle, UsedMode::Link);
    // Its owner can still change it, so it is read and not mapped.
    let mut hasher = BothHasher::new(options.with_groups);
    let size_bytes = source.before().size_bytes;
    let read_bytes = read_all(&mut source.file(), size_bytes, |bytes| {
        hasher.update(bytes);
        (options.advanced)(bytes.len() as u64);
    })
    .map_err(|e| source.fail("read", e))?;
    if read_bytes != size_bytes {
        return Err(source.changed(format!("{read_bytes} of {size_bytes} bytes were read")));
    }
    pending.set_source(SourceFacts::of_taken(source, source.stamp_after()?));
    let sealed = file.accept(pending, hasher.finish(), options)?;
    // Check again: now that the file is read-only, no new writer can open it.
    source.check_nobody_writes()?;
    source.stamp_after()?;
    Ok(Some(sealed))
}
