#!/usr/bin/env python3
"""Puts a model into an Ollama store as its own sources do (manifest/{layer,manifest,paths}.go, server/create.go).

    ollama_store.py MODELS_DIR NAME[:TAG] GGUF [--projector F] [--template TEXT] [--system TEXT] [--params JSON]

Blobs are `blobs/sha256-<hex>`. The manifest comes last, by a rename from outside `manifests/`: Ollama takes every file
four levels below it for a manifest.
"""
import argparse
import hashlib
import json
import os
import shutil
from pathlib import Path

IMAGE = "application/vnd.ollama.image."


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("models", "name", "gguf", "--projector", "--template", "--system", "--params"):
        parser.add_argument(name)
    return parser.parse_args()


class Store:
    def __init__(self, folder):
        self.folder = folder
        (folder / "blobs").mkdir(parents=True, exist_ok=True)

    def put(self, content, kind):
        """A layer of these bytes, or of this file."""
        data = content.encode() if isinstance(content, str) else content.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        blob = self.folder / "blobs" / f"sha256-{name}"
        if not blob.exists():
            temporary = blob.with_name(f"sha256-{os.getpid()}tmp")
            if isinstance(content, str):
                temporary.write_text(content)
            else:
                shutil.copyfile(content, temporary)
            os.replace(temporary, blob)
        return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(data)}


def main():
    how = arguments()
    store = Store(Path(how.models))
    layers = [store.put(Path(how.gguf), IMAGE + "model")]
    if how.projector:
        layers.append(store.put(Path(how.projector), IMAGE + "projector"))
    for kind in ("template", "system", "params"):
        if getattr(how, kind):
            layers.append(store.put(getattr(how, kind), IMAGE + kind))
    config = {
        "model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "27.4K",
        "file_type": "Q8_0", "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": store.put(json.dumps(config), "application/vnd.docker.container.image.v1+json"),
        "layers": layers,
    }
    name, _, tag = how.name.partition(":")
    parts = ["registry.ollama.ai", "library"][:max(0, 3 - len(name.split("/")))] + name.split("/")
    path = store.folder.joinpath("manifests", *parts, tag or "latest")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = store.folder / f".{os.getpid()}.tmp"
    temporary.write_text(json.dumps(manifest))
    os.replace(temporary, path)


main()
