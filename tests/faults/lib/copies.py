"""Copies of a prepared root, one for each state."""

import json
import os
import shutil
from pathlib import Path


def copy_root(template, to):
    """Like `cp -a`, except that each outboard records the inode of its new blob.

    With the old inode, no blob would match its stamp, and every command would read every blob in full: that would not
    be the command under test.
    """
    inodes = {}
    for folder, _, names in os.walk(template):
        below = os.path.join(to, os.path.relpath(folder, template))
        os.makedirs(below, exist_ok=True)
        os.chmod(below, os.stat(folder).st_mode & 0o7777)
        for name in names:
            old, new = os.path.join(folder, name), os.path.join(below, name)
            inode = os.lstat(old).st_ino
            if inode in inodes:
                os.link(inodes[inode], new)
            else:
                shutil.copy2(old, new)
                inodes[inode] = new
    _renew_stamps(Path(to), {old: os.stat(new).st_ino for old, new in inodes.items()})
    for folder, _, _ in os.walk(template):  # last, since each new name changed the time of its folder
        times = os.stat(folder)
        os.utime(os.path.join(to, os.path.relpath(folder, template)), ns=(times.st_atime_ns, times.st_mtime_ns))


def _renew_stamps(root, new_inodes):
    for outboard in (root / "outboards").rglob("*.json"):
        stamp = json.loads(outboard.read_bytes())
        inode = stamp["stamp"]["inode"]
        stamp["stamp"]["inode"] = new_inodes.get(inode, inode)
        outboard.write_text(json.dumps(stamp, separators=(",", ":")))
