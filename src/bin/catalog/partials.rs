//! `catalog partials`: what interrupted copies and fetches have left.

use catalog_core::{PartialInfo, PartialState};

use crate::app::App;
use crate::args::named;
use crate::complete;
use crate::failure::{Failure, Outcome};
use crate::human;
use crate::json::Line;

/// List what interrupted copies and fetches have left, and remove it
///
/// The next `stage` of the same reference resumes there. `gc` removes what nobody has written to within its grace.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  catalog partials
  catalog partials --remove           # all that nobody works on
  catalog partials --remove 3f2a…     # one of them, by its key")]
pub(crate) struct Args {
    /// Remove these, by key; without a key, all that no process is working on
    #[arg(long, value_name = "KEY", num_args = 0..)]
    #[arg(add = complete::partials())]
    remove: Option<Vec<String>>,
}

impl Args {
    pub(crate) fn run(self, app: &mut App) -> Outcome {
        let catalog = app.open()?;
        let partials = catalog.partials()?;
        let Some(keys) = self.remove else { return list(app, &partials) };
        let (is_named, chosen): (bool, Vec<String>) = match keys.as_slice() {
            [] => {
                let dead = partials.iter().filter(|partial| partial.state == PartialState::Dead);
                (false, dead.map(|partial| partial.key.clone()).collect())
            }
            keys => (true, keys.to_vec()),
        };
        app.each(named(&chosen), |app, key| {
            let Some(partial) = partials.iter().find(|partial| partial.key == *key) else {
                return Err(Failure::not_found(format!("could not remove the partial {key:?}: there is no such key")));
            };
            match catalog.remove_partial(key)? {
                Some(bytes) => {
                    let words = || format!("removed {}: {} freed", name(partial), human::size(bytes)).into_bytes();
                    app.receipt(Line::PartialRemoved(Removed { key, disk_bytes: bytes }), |_| words());
                    Ok(())
                }
                None if is_named => {
                    Err(Failure::failed(format!("could not remove the partial {key}: a process works on it"))
                        .with_hint("end that process first"))
                }
                None => Ok(()),
            }
        })
    }
}

#[derive(serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Removed<'a> {
    /// Its name in `partials/`.
    key: &'a str,
    /// Bytes on disk that came free.
    disk_bytes: u64,
}

fn name(partial: &PartialInfo) -> String {
    if partial.name.is_empty() { "of something that cannot be read".to_owned() } else { partial.name.clone() }
}

fn list(app: &mut App, partials: &[PartialInfo]) -> Outcome {
    if app.json() {
        partials.iter().for_each(|partial| app.out.json(&Line::Partial(partial)));
        return Ok(());
    }
    if partials.is_empty() {
        app.note("there are no partials");
        return Ok(());
    }
    for partial in partials {
        let in_use = if partial.state == PartialState::Alive { ", a process works on it" } else { "" };
        let (done, whole) = (human::size(partial.done_bytes), human::size(partial.size_bytes));
        let ago = human::ago(partial.changed_ms);
        app.out.line(format!("{}  {done} of {whole}, {ago}{in_use}: {}", partial.key, app.out.shown(&name(partial))));
    }
    Ok(())
}
