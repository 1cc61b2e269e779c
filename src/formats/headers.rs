//! The headers of a model's files.

use super::files::ModelFiles;
use super::{gguf, safetensors};
use crate::error::{Error, Result};

/// A file of weights.
pub(super) struct Weights {
    /// Its place in the list of files.
    pub(super) place: usize,
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) header: Header,
}

pub(super) enum Header {
    Gguf(Box<gguf::Gguf>),
    SafeTensors(safetensors::SafeTensors),
    /// It cannot be used, for this reason.
    Broken(String),
    /// It has something that is not known.
    Unknown,
}

/// Endings of files that have weights, or that an engine cannot do without.
const ENDINGS: [&str; 10] =
    [".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".model", "tokenizer.json"];

/// A pointer of Git LFS is shorter.
const MAX_POINTER_BYTES: u64 = 1024;
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Reads the headers of all files of weights.
pub(super) fn read(files: &ModelFiles<'_>) -> Result<Vec<Weights>> {
    let mut all = Vec::new();
    let is_one = files.all().len() == 1;
    for (place, file) in files.all().iter().enumerate() {
        let ends_in = |ending: &str| file.path.len() > ending.len() && file.path.ends_with(ending);
        let (is_gguf, is_safetensors) = (ends_in(".gguf"), ends_in(".safetensors"));
        let is_small = file.size_bytes < MAX_POINTER_BYTES && ENDINGS.iter().any(|ending| file.path.ends_with(ending));
        let header = if is_small && is_pointer(files, &file.path)? {
            Some(Header::Broken("is a pointer of Git LFS, and not the file itself".into()))
        } else if is_gguf || is_safetensors || is_one {
            of_file(files, place, is_gguf, is_safetensors)?
        } else {
            None
        };
        all.extend(header.map(|header| Weights {
            place,
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            header,
        }));
    }
    Ok(all)
}

fn is_pointer(files: &ModelFiles<'_>, path: &str) -> Result<bool> {
    Ok(files.start(path, MAX_POINTER_BYTES)?.is_some_and(|start| start.starts_with(POINTER)))
}

/// A file alone can have any name, so its first bytes decide.
fn of_file(files: &ModelFiles<'_>, place: usize, is_gguf: bool, is_safetensors: bool) -> Result<Option<Header>> {
    let file = files.open(place)?;
    let fail = |e| Error::of_reader(file.name(), e);
    if !is_safetensors {
        match gguf::read(&*file).map_err(fail)? {
            gguf::Read::Header(header) => return Ok(Some(Header::Gguf(header))),
            gguf::Read::Damaged(reason) => return Ok(Some(Header::Broken(format!("is damaged: {reason}")))),
            gguf::Read::Foreign if is_gguf => return Ok(Some(Header::Broken("is not a GGUF file".into()))),
            gguf::Read::Foreign => {}
        }
    }
    Ok(match safetensors::read(&*file).map_err(fail)? {
        safetensors::Read::Header(header) => Some(Header::SafeTensors(header)),
        safetensors::Read::Cut if is_safetensors => Some(Header::Broken("ends within its header".into())),
        safetensors::Read::Foreign if is_safetensors => Some(Header::Broken("is not a safetensors file".into())),
        safetensors::Read::Unknown(_) if is_safetensors => Some(Header::Unknown),
        _ => None,
    })
}
