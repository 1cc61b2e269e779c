#!/usr/bin/env python3
"""A ModelScope cache, and what ModelScope's own libraries say about one.

    modelscope_cache.py make CACHE OWNER/NAME SOURCE      the layout of modelscope-hub 0.5: models/<owner>--<name>/snapshots/master
    modelscope_cache.py make-old CACHE OWNER/NAME SOURCE  the layout before: hub/models/<owner>/<name>, with pickles beside the files
    modelscope_cache.py scan CACHE                        prints what its scan finds, as JSON
    modelscope_cache.py verify CACHE OWNER/NAME SOURCE    compares the cache with the files in SOURCE
    modelscope_cache.py offline CACHE OWNER/NAME          prints the folder that snapshot_download finds without a request
    modelscope_cache.py clear CACHE OWNER/NAME            removes it
"""
import hashlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

verb, cache = sys.argv[1], Path(sys.argv[2])
os.environ["MODELSCOPE_CACHE"] = str(cache)


def make(name, source):
    shutil.copytree(source, cache / "models" / name.replace("/", "--") / "snapshots" / "master")


def make_old(name, source):
    folder = cache / "hub" / "models" / name
    shutil.copytree(source, folder)
    (folder / ".mdl").write_bytes(pickle.dumps({"Model_ID": name}))
    (folder / ".msc").write_bytes(pickle.dumps([{"Path": "config.json", "Revision": "0" * 40}]))
    (folder / ".mv").write_text("Revision:master,CreatedAt:1700000000")


def scan():
    from modelscope_hub._cache_manager import scan_cache

    found = [[repo.repo_id, repo.revision, repo.nb_files, repo.size_on_disk] for repo in scan_cache(cache).repos]
    print(json.dumps(sorted(found)))


def verify(name, source):
    from modelscope_hub._cache_manager import verify_cache

    # Its check leaves out names that begin with a dot.
    files = [path for path in Path(source).rglob("[!.]*") if path.is_file()]
    sums = {path.relative_to(source).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    found = verify_cache(name, "model", sums, cache_dir=cache)
    print(found)


def offline(name):
    from modelscope import snapshot_download

    print(snapshot_download(name, cache_dir=str(cache), local_files_only=True))


def clear(name):
    from modelscope_hub._cache_manager import clear_cache

    clear_cache(cache_dir=cache, repo_id=name, repo_type="model")


VERBS = {"make": make, "make-old": make_old, "scan": scan, "verify": verify, "offline": offline, "clear": clear}
VERBS[verb](*sys.argv[3:])
