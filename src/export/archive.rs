//! An OCI image layout as one tar archive, such as `skopeo copy oci-archive:…` reads.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};

use super::artifact::Artifact;
use super::index;
use super::plan::{Content, Plan};
use crate::digest::Digest;

/// The members of an archive, in order.
pub(super) struct Archive(Vec<(String, Member)>);

enum Member {
    Blob(Digest, u64),
    Bytes(Vec<u8>),
}

impl Archive {
    /// The archive of these layouts together. The error says why that is not possible.
    pub(super) fn of(plans: Vec<Plan>) -> Result<Self, String> {
        let (mut members, mut names, mut list) = (Vec::new(), BTreeSet::new(), None::<Vec<u8>>);
        for item in plans.into_iter().flat_map(|plan| plan.items) {
            let member = match item.content {
                Content::Blob { digest, size_bytes } => Member::Blob(digest, size_bytes),
                Content::Bytes(bytes) => Member::Bytes(bytes),
                Content::Entry(entry) => {
                    if entry.standing(list.as_deref())? != index::Standing::Missing {
                        return Err(format!("two models would have the tag {:?}", entry.tag));
                    }
                    list = Some(entry.add(list.as_deref())?);
                    continue;
                }
                Content::Twin { .. } | Content::Pointer(_) | Content::Archive(_) => continue,
            };
            if names.insert(item.at.clone()) {
                members.push((item.at, member));
            }
        }
        members.extend(list.map(|list| (index::NAME.to_owned(), Member::Bytes(list))));
        Ok(Archive(members))
    }

    /// What all members have together, without the headers between them.
    pub(super) fn size_bytes(&self) -> u64 {
        let size = |member: &Member| match member {
            Member::Blob(_, size_bytes) => *size_bytes,
            Member::Bytes(bytes) => bytes.len() as u64,
        };
        self.0.iter().fold(0, |sum: u64, (_, member)| sum.saturating_add(size(member)))
    }

    /// Nothing in it depends on time or machine: equal models, equal archive.
    pub(super) fn write(&self, artifacts: &[Artifact<'_>], to: &File) -> io::Result<()> {
        let first = artifacts.first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut archive = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, to));
        for (path, member) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_mtime(0);
            match member {
                Member::Bytes(bytes) => {
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, path, bytes.as_slice())?;
                }
                Member::Blob(digest, size_bytes) => {
                    header.set_size(*size_bytes);
                    let blob = first.blob(digest).map_err(io::Error::other)?;
                    archive.append_data(&mut header, path, io::Read::take(blob, *size_bytes))?;
                }
            }
        }
        archive.into_inner()?.flush()
    }
}
