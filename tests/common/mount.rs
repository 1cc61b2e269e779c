//! File systems that are made and mounted for one test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{has_tool, is_root, skip};

/// A mounted file system, with the image that it is in. Unmounted when it is dropped, also by a panic.
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
            // Somebody still has a file open: out of sight now, gone when they close it.
            let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        }
    }
}

/// A new file system of `megabytes` in an image file: `mkfs` are the words that make it. `None`, with the reason said,
/// where it cannot be had.
pub(crate) fn image(megabytes: u64, mkfs: &[&str], mount_options: &str) -> Option<Mounted> {
    if !is_root() {
        skip("mounting a file system needs root");
        return None;
    }
    if !has_tool(mkfs[0]) {
        skip(&format!("{} is not installed", mkfs[0]));
        return None;
    }
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("image");
    File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
    let made = Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image).output().unwrap();
    if !made.status.success() {
        skip(&format!("{mkfs:?} failed: {}", String::from_utf8_lossy(&made.stderr).trim()));
        return None;
    }
    let options = format!("loop{}{mount_options}", if mount_options.is_empty() { "" } else { "," });
    mount(dir, &["-o", &options, image.to_str().unwrap()])
}

pub(crate) fn tmpfs(options: &str) -> Option<Mounted> {
    if !is_root() {
        skip("mounting a file system needs root");
        return None;
    }
    mount(TempDir::new().unwrap(), &["-t", "tmpfs", "-o", options, "tmpfs"])
}

fn mount(dir: TempDir, words: &[&str]) -> Option<Mounted> {
    let at = dir.path().join("mounted");
    fs::create_dir(&at).unwrap();
    let output = Command::new("mount").args(words).arg(&at).output().unwrap();
    if !output.status.success() {
        skip(&format!("mount {words:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        return None;
    }
    Some(Mounted { dir, at })
}

/// Shows `folder` a second time, where nothing can be written.
pub(crate) fn read_only_bind(folder: &Path) -> Option<Mounted> {
    if !is_root() {
        skip("mounting a folder a second time needs root");
        return None;
    }
    let mounted = mount(TempDir::new().unwrap(), &["--bind", folder.to_str().unwrap()])?;
    mounted.remount("bind,ro");
    Some(mounted)
}
