"""A file system that keeps only what was synced, in any order that suits it.

Real ones commit more than they are asked to: ext4 and xfs have one journal, so any sync also commits all names given
before. POSIX promises none of that, and the catalog does not rely on it. Here
- the bytes of a file are there once that file was synced; before, all of them, none, or as many zeros;
- the names of a folder are there once that folder was synced; before, the first few of the changes since;
- no folder and no file waits for another, except that a rename within one folder is one step.

There is no disk: the calls of a real run are recorded, and each state is made of files in memory.
"""

import copy
import os
import pathlib
import shutil

from . import syscalls


class Disk:
    def __init__(self):
        self.names = {0: {}}  # folder -> its durable names
        self.waiting = {}  # folder -> changes that were not synced
        self.written = set()  # files whose bytes were not synced

    def apply(self, event):
        if isinstance(event, syscalls.Name):
            self.waiting.setdefault(event.folder, []).append(event.changes)
        elif isinstance(event, syscalls.Sync):
            folders = list(self.waiting) if event.inode is None else [event.inode]
            for folder in folders:
                self._settle(folder, len(self.waiting.get(folder, [])))
            self.written = set() if event.inode is None else self.written - {event.inode}
        else:
            self.written.add(event)

    def has_work(self, sync):
        """Whether the sync makes anything durable."""
        if sync.inode is None:
            return bool(self.waiting or self.written)
        return sync.inode in self.waiting or sync.inode in self.written

    def _settle(self, folder, count):
        there = self.names.setdefault(folder, {})
        changes = self.waiting.pop(folder, [])
        for name, inode in (change for together in changes[:count] for change in together):
            there.pop(name, None) if inode is None else there.__setitem__(name, inode)

    def cut(self, rng):
        """The state after a power cut, and what became of the bytes of files. Without `rng`, as little as possible."""
        found = copy.deepcopy(self)
        for folder, changes in list(found.waiting.items()):
            found._settle(folder, rng.randint(0, len(changes)) if rng else 0)
        return found.names, {file: rng.choice(["all", "none", "zeros"]) if rng else "none" for file in self.written}


class Files:
    """Makes the files of a state after a power cut."""

    def __init__(self, names, sources):
        self.names, self.blobs = names, {}
        for folder in (sources.inside, sources.outside):
            for path in (path for path in folder.rglob("*") if path.is_file()):
                data = path.read_bytes()
                self.blobs[syscalls.sha256(data)] = data

    def data(self, inode, state):
        seen = self.names.bytes[inode]
        data = seen if seen is not None else self.blobs.get(self.names.blobs.get(inode), b"")
        return {"all": data, "none": b"", "zeros": bytes(len(data))}[state]

    def make(self, at, names, states):
        shutil.rmtree(at, ignore_errors=True)
        made = {}

        def fill(folder, path):
            path.mkdir()
            for name, inode in names.get(folder, {}).items():
                if inode in self.names.folders:
                    fill(inode, path / name)
                elif inode in made:
                    (path / name).hardlink_to(made[inode])
                else:
                    made[inode] = path / name
                    made[inode].write_bytes(self.data(inode, states.get(inode, "all")))

        fill(0, pathlib.Path(at))

    def compare(self, at):
        """The recording must match what is there; otherwise a call was not understood."""
        seen = self.names.folders
        for folder, names, files in os.walk(at):
            inode = self.names.find(folder)
            assert sorted(seen[inode]) == sorted(names + files), f"{folder} was not recorded as it is"
            for file in files:
                data = self.data(seen[inode][file], "all")
                # Lock files are written in place, and the reserve only takes room; nobody needs their content.
                is_read = not folder.startswith(f"{at}/root/locks") and file != "store.reserve"
                found = (pathlib.Path(folder) / file).read_bytes()
                assert not is_read or found == data, f"{folder}/{file} was not recorded as it is"
