//! What other tools make of their own stores after `adopt`, and of the stores that `export` writes.
//!
//! The judges are the tools themselves: three versions of huggingface_hub, RamaLama, ModelScope's libraries, llama.cpp,
//! transformers and skopeo, on loopback. `.ci/run` installs them below `target/interop-*`; `stores/` has the scripts that
//! make their stores and ask them.
#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../servers/hub.rs"]
mod hub_process;

mod adopt;
mod bom;
mod certificates;
mod damage;
mod dedupe;
mod export;
mod export_hf;
mod facts;
mod hub;
mod kills;
mod log;
mod other_users;
mod place;
mod signatures;
mod tools;
mod tree;
mod venv;
