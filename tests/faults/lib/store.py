"""Reads a root by docs/format.md alone, without the crate.

So it also finds a mistake that the crate makes in writing and in reading alike.
"""

import hashlib
import json
import stat
from pathlib import Path


class Damaged(Exception):
    """Something that must be readable is not."""


class Store:
    """`hurt` holds the id and the blob that were damaged on purpose: damaged, missing or quarantined, they are no
    problem."""

    def __init__(self, root, hurt=()):
        self.root, self.hurt = Path(root), hurt
        self._hashes = {}

    def records(self):
        """Every record by its id."""
        found = {}
        for path in sorted((self.root / "index").glob("??.json")):
            shard, previous = read_shard(path), path.with_name(path.name + ".prev")
            # The first write of a shard makes its `.prev` after the shard, and nobody needs the content.
            if shard["generation"] > 1:
                read_shard(previous)
            found.update({id: {"digest": None, "view": None} | record for id, record in shard["entries"].items()})
        return found

    def problems(self):
        """What must never be the case, in whatever state the root was left."""
        try:
            records = self.records()
        except Damaged as damage:
            return [str(damage)]
        problems = [self.problem_of(id, record) for id, record in records.items()]
        problems += [self.problem_of_blob(blob) for blob in files_below(self.root / "blobs")]
        problems += [f"{name} is in quarantine" for name in self.unexpected_in_quarantine()]
        return [problem for problem in problems if problem and not self.is_hurt(problem)]

    def is_hurt(self, problem):
        return any(problem.startswith(f"{name}: ") or str(self.blob(name)) in problem for name in self.hurt)

    def unexpected_in_quarantine(self):
        return [path for path in entries_of(self.root / "quarantine") if path.name.split(".")[0] not in self.hurt]

    def problem_of(self, id, record):
        """An acknowledged entry reads right at its path, and its view is what the record says."""
        if record["kind"] == "registered":
            return None
        try:
            modes = {self.shown(at, digest) for at, digest in self.files_of(record)}
        except (Damaged, OSError) as damage:
            return f"{id}: {damage}"
        is_hardlink = record["view"] == "hardlink"
        if modes != {True} and is_hardlink or modes == {True} and not is_hardlink:
            return f"{id}: its record says {record['view']}; its files are hardlinks of blobs: {modes}"
        return None

    def shown(self, at, digest):
        """Whether `at` is another name of the blob itself; in any case it must have the blob's bytes."""
        blob = self.blob(digest)
        if not blob.exists():
            raise Damaged(f"its blob {digest} is missing")
        if self.sha256(at) != digest:
            raise Damaged(f"{at} does not read as {digest}")
        mode = stat.S_IMODE(at.stat().st_mode)
        if mode != 0o444:
            raise Damaged(f"{at} has mode {mode:o}")
        return at.stat().st_ino == blob.stat().st_ino

    def files_of(self, record):
        """Each file of an artifact: where it is shown, and its digest."""
        at = self.root / record["path"]
        digest = record["digest"].removeprefix("sha256:")
        if record["kind"] == "file":
            return [(at, digest)]
        if self.sha256(self.blob(digest)) != digest:
            raise Damaged(f"the manifest {digest} does not read right")
        return [(at / path, digest) for path, digest in manifest(self.blob(digest))]

    def problem_of_blob(self, blob):
        if self.sha256(blob) != blob.name or blob.parent.name != blob.name[:2]:
            return f"{blob} is not its name: {blob.stat().st_size} bytes, sha256 {self.sha256(blob)}"
        mode = stat.S_IMODE(blob.stat().st_mode)
        return None if mode == 0o444 else f"{blob} has mode {mode:o}"

    def needed(self, records):
        """The names of all blobs that the records need."""
        needed = set()
        for record in records.values():
            if record["digest"] and record["kind"] != "registered":
                digest = record["digest"].removeprefix("sha256:")
                needed |= {digest} | {file for _, file in self.files_of(record)}
        return needed

    def debris(self):
        """Everything that should be gone after a collection without a grace while nobody is working."""
        records = self.records()
        needed = self.needed(records)
        found = [path for path in files_below(self.root) if path.name.endswith(".tmp")]
        found += self.unexpected_in_quarantine()
        for folder in ["ingest", "trash"]:
            found += entries_of(self.root / folder)
        for folder in ["blobs", "outboards"]:
            found += [path for path in files_below(self.root / folder) if path.name.split(".")[0] not in needed]
        paths = [self.root / record["path"] for record in records.values()]
        for home in entries_of(self.root / "views"):
            for view in [home, *home.iterdir()]:
                if not any(path.is_relative_to(view) for path in paths):
                    found.append(view)
        return [f"{path.relative_to(self.root)} was left" for path in found]

    def unfinished(self):
        """The files of operations in `ingest/`, and unfinished small files."""
        temporary = [path for path in files_below(self.root) if path.name.endswith(".tmp")]
        return {str(path.relative_to(self.root)) for path in [*entries_of(self.root / "ingest"), *temporary]}

    def blob(self, digest):
        return self.root / "blobs/sha256" / digest[:2] / digest

    def sha256(self, path):
        """Reads each inode once: a view is usually another name of a blob."""
        inode = path.stat()
        key = (inode.st_dev, inode.st_ino)
        if key not in self._hashes:
            self._hashes[key] = sha256_of(path)
        return self._hashes[key]


def read_shard(path):
    try:
        shard = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(f"{path} cannot be read: {error}") from error
    if shard.get("format") != 1 or not isinstance(shard.get("entries"), dict):
        raise Damaged(f"{path} is no shard")
    return shard


def manifest(path):
    layers = json.loads(path.read_bytes())["layers"]
    return [(layer["annotations"]["org.cncf.model.filepath"], layer["digest"].removeprefix("sha256:"))
            for layer in layers]


def sha256_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def entries_of(folder):
    """Nothing if the folder does not exist yet."""
    return list(folder.iterdir()) if folder.exists() else []


def files_below(folder):
    return [path for path in Path(folder).rglob("*") if not path.is_dir()]
