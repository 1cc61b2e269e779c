//! File systems that are made and mounted for one test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{has_tool, is_root, skip};

/// A mounted file system and its image. Dropping it unmounts it, also after a panic.
pub(crate) struct Mounted {
    dir: TempDir,
    at: PathBuf,
}

impl Mounted {
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    pub(crate) fn remount(&self, option: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&self.at).status().unwrap();
        assert!(status.success(), "remount,{option}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.at).status().is_ok_and(|status| status.success());
        if !unmounted {
            // A process still has a file open: detach now; the kernel finishes when the process closes it.
            let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// A new file system of `megabytes` in an image file, made by the command `mkfs`. `None`, after printing the reason, if
/// that is not possible.
pub(crate) fn image(megabytes: u64, mkfs: &[&str], mount_options: &str) -> Option<Mounted> {
    said(try_image(megabytes, mkfs, &["-o", mount_options]))
}

/// A file system that has no hardlinks and does not distinguish `A` from `a`: the kernel's FAT, or else exFAT in user
/// space.
pub(crate) fn fat(megabytes: u64) -> Option<Mounted> {
    let fat = try_image(megabytes, &["mkfs.vfat"], &["-t", "vfat", "-o", "loop,shortname=mixed"]).or_else(|no_vfat| {
        try_image(megabytes, &["mkfs.exfat"], &["-t", "exfat-fuse", "-o", "loop"])
            .map_err(|no_exfat| format!("{no_vfat}; {no_exfat}"))
    });
    said(fat)
}

fn said<T>(result: Result<T, String>) -> Option<T> {
    result.map_err(|why| skip(&why)).ok()
}

pub(crate) fn try_image(megabytes: u64, mkfs: &[&str], mount_options: &[&str]) -> Result<Mounted, String> {
    if !is_root() {
        return Err("mounting a file system needs root".into());
    }
    if !has_tool(mkfs[0]) {
        return Err(format!("{} is not installed", mkfs[0]));
    }
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("image");
    File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
    let made = Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image).output().unwrap();
    if !made.status.success() {
        return Err(format!("{mkfs:?} failed: {}", String::from_utf8_lossy(&made.stderr).trim()));
    }
    let words = [mount_options, &[image.to_str().unwrap()]].concat();
    mount(dir, &words)
}

pub(crate) fn tmpfs(options: &str) -> Option<Mounted> {
    without_image(&["-t", "tmpfs", "-o", options, "tmpfs"])
}

/// A file system that reports no blocks at all.
pub(crate) fn ramfs() -> Option<Mounted> {
    without_image(&["-t", "ramfs", "ramfs"])
}

/// A writable layer over a folder, as in a container. `layers` is a folder on another mount, which gets `upper` and
/// `work`.
pub(crate) fn overlay(lower: &Path, layers: &Path) -> Option<Mounted> {
    if !is_root() {
        return said(Err("mounting a file system needs root".into()));
    }
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    [&upper, &work].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    said(mount(TempDir::new().unwrap(), &["-t", "overlay", "-o", &options, "overlay"]))
}

fn without_image(words: &[&str]) -> Option<Mounted> {
    if !is_root() {
        return said(Err("mounting a file system needs root".into()));
    }
    said(mount(TempDir::new().unwrap(), words))
}

fn mount(dir: TempDir, words: &[&str]) -> Result<Mounted, String> {
    let at = dir.path().join("mounted");
    fs::create_dir(&at).unwrap();
    let output = Command::new("mount").args(words).arg(&at).output().unwrap();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("mount {words:?} failed: {}", why.lines().next().unwrap_or_default()));
    }
    Ok(Mounted { dir, at })
}

/// Bind-mounts `folder` over the folder `at`.
pub(crate) fn bind_over(folder: &Path, at: &Path) -> Mounted {
    let output = Command::new("mount").arg("--bind").args([folder, at]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Mounted { dir: TempDir::new().unwrap(), at: at.to_path_buf() }
}

/// Bind-mounts `folder` read-only, at a second place.
pub(crate) fn read_only_bind(folder: &Path) -> Option<Mounted> {
    if !is_root() {
        return said(Err("mounting a folder a second time needs root".into()));
    }
    let mounted = said(mount(TempDir::new().unwrap(), &["--bind", folder.to_str().unwrap()]))?;
    mounted.remount("bind,ro");
    Some(mounted)
}
