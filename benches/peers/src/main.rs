//! The catalog and cacache in one process, in turns: put, get, read and list with the given numbers of entries. Prints
//! one JSON object per line for `benches/peers/report`; `benches/peers/run` calls it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod cases;
mod scale;
mod stores;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(folder), Some(rounds), counts) = (arguments.first(), arguments.get(1), arguments.get(2..)) else {
        eprintln!("error: call it as catalog-peers FOLDER ROUNDS ENTRIES...; benches/peers/run does");
        std::process::exit(2);
    };
    match (folder.as_str(), counts.unwrap_or_default()) {
        ("register", [count]) => return scale::register(rounds.as_ref(), count.parse().unwrap()),
        ("write", files) => return stores::write_and_sync(rounds.as_ref(), files),
        ("ask", [repeated]) => return scale::ask(rounds.as_ref(), repeated.parse().unwrap()),
        _ => {}
    }
    // Absolute, because the catalog resolves a relative path below its root.
    let folder = std::path::absolute(folder).unwrap();
    let rounds = rounds.parse().unwrap();
    for count in counts.unwrap_or_default() {
        // All files stay until everything is measured: after many removals, ext4 is slow to make files.
        cases::all(&folder.join(count), count.parse().unwrap(), rounds);
    }
}
