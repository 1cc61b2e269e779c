"""What a command asked of the file system, read from strace: names given and taken, bytes written, syncs."""

import dataclasses
import hashlib
import os
import re

CALLS = (
    "open,openat,openat2,close,fcntl,mkdir,mkdirat,linkat,renameat,renameat2,unlinkat,"
    "write,pwrite64,copy_file_range,ioctl,fsync,fdatasync,syncfs"
)
HEX = r"(?:\\x[0-9a-f]{2})*"
STRING = re.compile(rf'"({HEX})"(\.\.\.)?')


@dataclasses.dataclass(frozen=True)
class Name:
    """Names in one folder that change together: each then refers to an inode, or to none."""

    folder: int
    changes: tuple  # of (name, inode or None)


@dataclasses.dataclass(frozen=True)
class Sync:
    call: str
    inode: int | None  # none for `syncfs`
    path: str


class Names:
    """Follows the calls of one command after another, and tracks which name refers to which inode."""

    def __init__(self, top):
        self.top = top  # the folder above the root, which exists
        self.folders = {0: {}}  # inode -> its names
        self.bytes = {}  # inode of a file -> the bytes written to it; none if the writes were not seen
        self.blobs = {}  # inode of a file -> the digits under which it was published
        self.open = {}

    def read(self, trace):
        """The events of one process, in the order in which its calls returned. But a descriptor is gone as soon as
        its close begins, since another thread may get its number before the close returns."""
        events, unfinished = [], {}
        self.open = {}
        for line in open(trace, encoding="ascii"):
            thread, call = line.rstrip("\n").split(maxsplit=1)
            if call.endswith("<unfinished ...>"):
                unfinished[thread] = call = call.removesuffix("<unfinished ...>")
                if call.startswith("close("):
                    self._event("close", call.removeprefix("close("), 0, "")
                continue
            resumed = re.match(r"<\.\.\. \w+ resumed>", call)
            if resumed:
                begun = unfinished.pop(thread)
                if begun.startswith("close("):
                    continue
                call = begun + call[resumed.end() :]
            done = re.match(r"(\w+)\((.*)\) += (\d+)", call)  # a failed call has changed nothing
            if done:
                events += self._event(done[1], done[2], int(done[3]), call[done.end() :])
        return events

    def _event(self, call, words, answer, opened):
        strings = [unhex(found) for found, _ in STRING.findall(words)]
        numbers = [int(found) for found in re.findall(rf"(?:^|, )(\d+)<{HEX}", words)]
        paths = [os.fsdecode(unhex(found)) for found in re.findall(rf"<({HEX})>", words)]
        if call == "close":
            self.open.pop(numbers[0], None)
        elif call == "fcntl" and "F_DUPFD" in words:
            self.open[answer] = self.open.get(numbers[0])
        elif call in ("open", "openat", "openat2"):
            return self._opened(answer, words, os.fsdecode(unhex(re.match(rf"<({HEX})", opened)[1])))
        elif call == "mkdir":
            folder, name = self._at(os.fsdecode(strings[0]))
            return self._new(folder, name, is_folder=True)
        elif call == "mkdirat":
            return self._new(self.find(paths[0]), os.fsdecode(strings[0]), is_folder=True)
        elif call == "linkat":
            old, new = map(os.fsdecode, strings)
            by_descriptor = re.fullmatch(r"/proc/self/fd/(\d+)", old)
            inode = self.open[int(by_descriptor[1])] if by_descriptor else self.find(f"{paths[0]}/{old}")
            if re.fullmatch("[0-9a-f]{64}", new):
                self.blobs[inode] = new
            return self._change(self.find(paths[1]), (new, inode))
        elif call.startswith("renameat"):
            old_name, new_name = map(os.fsdecode, strings)
            return self._renamed(self.find(paths[0]), old_name, self.find(paths[1]), new_name)
        elif call == "unlinkat":
            return self._change(self.find(paths[0]), (os.fsdecode(strings[0]), None))
        elif call in ("write", "pwrite64", "copy_file_range", "ioctl"):
            target = self.open.get(numbers[-1 if call == "copy_file_range" else 0])
            if target in self.bytes:
                self.bytes[target] = self._written(call, words, strings, self.bytes[target])
                return [target]
        elif call in ("fsync", "fdatasync", "syncfs"):
            # A folder above the root exists, and so does its name.
            inode = None if call == "syncfs" else self.open.get(numbers[0])
            return [Sync(call, inode, paths[0])] if call == "syncfs" or inode is not None else []
        return []

    @staticmethod
    def _written(call, words, strings, before):
        """The bytes of a file after a write; None if they are not known."""
        if call not in ("write", "pwrite64") or STRING.search(words)[2] or before is None:
            return None
        at = len(before) if call == "write" else int(re.search(r", (\d+) *$", words)[1])
        return before[:at].ljust(at, b"\0") + strings[0] + before[at + len(strings[0]) :]

    def _opened(self, number, words, path):
        self.open[number] = None
        if path != self.top and not path.startswith(self.top + "/"):
            return []
        self.open[number] = self.find(path)
        if self.open[number] is not None or "O_CREAT" not in words:
            return []
        folder, name = self._at(path)
        events = self._new(folder, name, is_folder=False)
        self.open[number] = self.find(path)
        return events

    def _new(self, folder, name, is_folder):
        if folder is None:  # elsewhere
            return []
        inode = max(*self.folders, *self.bytes, 0) + 1
        if is_folder:
            self.folders[inode] = {}
        else:
            self.bytes[inode] = b""
        return self._change(folder, (name, inode))

    def _change(self, folder, *changes):
        for name, inode in changes:
            if inode is None:
                del self.folders[folder][name]
            else:
                self.folders[folder][name] = inode
        return [Name(folder, changes)]

    def _renamed(self, old, old_name, new, new_name):
        inode = self.folders[old][old_name]
        if self.folders[new].get(new_name) == inode:
            return []  # two names of one file: nothing happens
        if re.fullmatch("[0-9a-f]{64}", new_name):
            self.blobs[inode] = new_name
        if old == new:
            return self._change(new, (old_name, None), (new_name, inode))
        return self._change(new, (new_name, inode)) + self._change(old, (old_name, None))

    def _at(self, path):
        folder, name = os.path.split(path)
        return self.find(folder), name

    def find(self, path):
        """The inode that a path leads to at the moment."""
        if path != self.top and not path.startswith(self.top + "/"):
            return None
        inode = 0
        for name in path[len(self.top) :].strip("/").split("/"):
            if name:
                inode = self.folders.get(inode, {}).get(name)
        return inode


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))
