#!/usr/bin/env python3
"""What huggingface_hub itself does with its cache. Runs with 0.36, 1.1 and 2.4; HF_HUB_CACHE and HF_ENDPOINT are set.

    hf_cache.py download REPO [REVISION]      from the Hub, as snapshot_download does; prints the folder
    hf_cache.py offline REPO [REVISION]       the same without a request
    hf_cache.py force REPO                    downloads every file again
    hf_cache.py scan                          prints what its scan finds, as JSON
    hf_cache.py delete REVISION               removes one revision
    hf_cache.py share                         moves the large blobs into the folder that all repositories share (2.x)
    hf_cache.py hold FILE                     takes the lock file of a blob as a download does, prints a line, and keeps it
                                              until standard input ends
"""
import hashlib
import json
import os
import sys
from pathlib import Path

import huggingface_hub


def snapshot(repo, revision=None, **more):
    print(huggingface_hub.snapshot_download(repo, revision=revision, **more))


def scan():
    found = huggingface_hub.scan_cache_dir()
    revisions = [
        {"repo": repo.repo_id, "commit": revision.commit_hash, "refs": sorted(revision.refs),
         "files": sorted([str(file.file_path.relative_to(revision.snapshot_path)), file.size_on_disk] for file in revision.files)}
        for repo in found.repos for revision in repo.revisions
    ]
    warnings = [str(warning).split(": ", 1)[-1] for warning in found.warnings]
    print(json.dumps({"revisions": sorted(revisions, key=lambda r: (r["repo"], r["commit"])), "warnings": warnings}))


def delete(revision):
    huggingface_hub.scan_cache_dir().delete_revisions(revision).execute()


def share():
    from huggingface_hub.utils import _shared_blobs

    hub = Path(os.environ["HF_HUB_CACHE"])
    for blob in sorted(hub.glob("models--*/blobs/*")):
        if len(blob.name) != 64 or blob.is_symlink():
            continue
        # A real Xet hash is the root of a Merkle tree: what matters here is that it is not the SHA-256 of the file.
        xet = hashlib.sha256(b"xet" + blob.name.encode()).hexdigest()
        size = blob.stat().st_size
        if not _shared_blobs.publish_blob_to_shared_store(blob_path=str(blob), xet_hash=xet, cache_dir=str(hub), expected_size=size):
            sys.exit(f"{blob} is not shared")
        print(blob.name)


def hold(path):
    from filelock import FileLock

    with FileLock(path, timeout=60):
        print("mine", flush=True)
        sys.stdin.read()


VERBS = {
    "download": snapshot,
    "offline": lambda *words: snapshot(*words, local_files_only=True),
    "force": lambda repo: snapshot(repo, force_download=True),
    "scan": scan,
    "delete": delete,
    "share": share,
    "hold": hold,
}
VERBS[sys.argv[1]](*sys.argv[2:])
