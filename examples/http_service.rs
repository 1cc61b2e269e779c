//! CRUD on the entries of a catalog over HTTP, for any [`CatalogStore`].
//!
//! `cargo run --example http_service -- ROOT ADDRESS`
//!
//! With no arguments, it serves a temporary directory, at a free port of this host. A `PUT` names a path that this
//! process reads, so any client that can reach it can read every file that this process can. By default, the address is
//! therefore one of the loopback interface.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, put};
use axum::{Json, Router, http::StatusCode};
use catalog_core::{CatalogEntry, CatalogStore, Digest, Error, FsCatalog, LifecycleState};

type Store = Arc<dyn CatalogStore>;
type Response<T = StatusCode> = Result<T, (StatusCode, String)>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().map_or_else(|| temporary.path().join("root"), PathBuf::from);
    let store: Store = Arc::new(FsCatalog::new(root)?);
    // An id may contain slashes. A client writes them as `%2F`, so that they stay in one segment of the path.
    let routes = Router::new()
        .route("/models", get(async |State(store): State<Store>| ask(store, |store| store.list()).await.map(Json)))
        .route("/models/{id}", get(show).put(stage).delete(remove))
        .route("/models/{id}/state", put(set_state));
    let listener = tokio::net::TcpListener::bind(arguments.next().as_deref().unwrap_or("127.0.0.1:0")).await?;
    println!("http://{}/models", listener.local_addr()?);
    Ok(axum::serve(listener, routes.with_state(store)).await?)
}

/// Runs one call on a thread for blocking work, because a store reads, hashes and syncs files while the runtime has
/// other requests to serve.
async fn ask<T: Send + 'static>(
    store: Store,
    call: impl FnOnce(&dyn CatalogStore) -> catalog_core::Result<T> + Send + 'static,
) -> Response<T> {
    let done = tokio::task::spawn_blocking(move || call(&*store)).await;
    done.map_err(|panic| (StatusCode::INTERNAL_SERVER_ERROR, panic.to_string()))?.map_err(|error| {
        let status = match &error {
            error if error.is_not_found() => StatusCode::NOT_FOUND,
            error if error.is_invalid_input() => StatusCode::BAD_REQUEST,
            error if error.is_busy() => StatusCode::SERVICE_UNAVAILABLE,
            Error::DigestMismatch { .. } | Error::Pinned { .. } => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, error.to_string())
    })
}

async fn show(State(store): State<Store>, Path(id): Path<String>) -> Response<Json<CatalogEntry>> {
    let found = ask(store, move |store| store.get(&id)).await?;
    found.map(Json).ok_or_else(|| (StatusCode::NOT_FOUND, "no such model".to_owned()))
}

/// What a client sends with a `PUT`. The entry is durable when the response arrives. The store fills in the rest of it.
#[derive(serde::Deserialize)]
struct New {
    local_path: PathBuf,
    digest: Option<Digest>,
}

async fn stage(State(store): State<Store>, Path(id): Path<String>, Json(new): Json<New>) -> Response {
    let New { local_path, digest } = new;
    let entry = CatalogEntry { id, local_path, lifecycle: LifecycleState::Active, digest, last_verified_ms: None };
    ask(store, move |store| store.put(&entry)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn set_state(State(store): State<Store>, Path(id): Path<String>, Json(state): Json<LifecycleState>) -> Response {
    ask(store, move |store| store.set_state(&id, state)).await.map(|()| StatusCode::NO_CONTENT)
}

async fn remove(State(store): State<Store>, Path(id): Path<String>) -> Response {
    let status = |was_there| if was_there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
    ask(store, move |store| store.delete(&id)).await.map(status)
}
