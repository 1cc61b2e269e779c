//! What the operations stage: files, some of the same size, and trees that share files.

use std::fs;
use std::path::Path;

/// The number of different contents.
pub(crate) const CONTENTS: u8 = 9;

const FIRST_TREE: u8 = 6;

pub(crate) fn is_tree(content: u8) -> bool {
    content >= FIRST_TREE
}

/// The files of a content. A single file has no name.
pub(crate) fn files(content: u8) -> Vec<(&'static str, Vec<u8>)> {
    let file = |number| match number {
        0 => Vec::new(),
        1 => b"one".to_vec(),
        2 => b"two".to_vec(), // as long as the one before: a source that is rewritten in the same tick looks unchanged
        3 => vec![b'3'; 4096],
        4 => vec![b'4'; 4096],
        _ => vec![b'5'; 70_001],
    };
    match content {
        6 => vec![("config.json", file(1)), ("weights/a.bin", file(3))],
        7 => vec![("config.json", file(2)), ("weights/a.bin", file(3))],
        8 => vec![("config.json", file(0))],
        _ => vec![("", file(content))],
    }
}

/// Writes a content to a path, over whatever was there.
pub(crate) fn write(path: &Path, content: u8) {
    if !is_tree(content) {
        return fs::write(path, &files(content)[0].1).unwrap();
    }
    // The previous tree here may have had a file that this one lacks.
    let _ = fs::remove_dir_all(path.join("weights"));
    for (name, bytes) in files(content) {
        let path = path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Which content a path shows.
pub(crate) fn read(path: &Path) -> u8 {
    let shown = shown_at(path);
    let is_it = |content: &u8| shown.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).eq(files(*content));
    (0..CONTENTS).find(is_it).unwrap_or_else(|| {
        let sizes: Vec<_> = shown.iter().map(|(name, bytes)| (name, bytes.len())).collect();
        panic!("{} shows what nobody staged: {sizes:?}", path.display())
    })
}

fn shown_at(path: &Path) -> Vec<(String, Vec<u8>)> {
    if path.is_file() {
        return vec![(String::new(), fs::read(path).unwrap())];
    }
    let mut shown = Vec::new();
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let at = entry.unwrap().path();
            if at.is_dir() {
                folders.push(at);
            } else {
                let name = at.strip_prefix(path).unwrap().to_str().unwrap().to_owned();
                shown.push((name, fs::read(&at).unwrap()));
            }
        }
    }
    shown.sort();
    shown
}
