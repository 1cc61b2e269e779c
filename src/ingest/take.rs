//! Ingests a source whose own inode becomes the blob (`--mode link` and `--mode move`).

use super::{ContentFile, Options};
use crate::blob::{BLOB_MODE, Pending, Sealed, SourceFacts, UsedMode};
use crate::error::Result;
use crate::fs::source::Foreign;
use crate::fs::{Session, atomic, link, writers};
use crate::hash::{BothHasher, read_all};

/// Whether the source keeps its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    Link,
    /// The source is removed once its bytes are recorded.
    Move,
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
    let (source_mode, links) = (source.before().mode, source.before().links);
    // The inode gets the mode of a blob under all of its names, including those outside the root.
    let is_private = source_mode & BLOB_MODE != BLOB_MODE;
    if is_private && taking == Taking::Link {
        return Err(source.in_use(&format!(
            "its mode is {source_mode:04o}, and as a blob it would be {BLOB_MODE:04o} under every name: everybody \
             could read it"
        )));
    }
    if is_private && (links > 1 || !link::can_remove_source(source.path())) {
        return Ok(None);
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
