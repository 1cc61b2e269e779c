"""File systems made for one suite, unmounted and removed however the suite ends."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class Unavailable(Exception):
    """Why a file system is not available here."""


@contextlib.contextmanager
def folder():
    path = Path(tempfile.mkdtemp(prefix="catalog-faults-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Mounted:
    def __init__(self, at, words):
        self.at, self.words = at, words
        self.is_mounted = False

    def mount(self):
        done = run("mount", *self.words, self.at)
        if done.returncode != 0:
            raise Unavailable(f"mount {' '.join(map(str, self.words))} failed: {done.stderr.strip()}")
        self.is_mounted = True

    def unmount(self):
        """Waits for other users of the mount, but not for ever: after that, it is at least detached."""
        for _ in range(50):
            if not self.is_mounted or run("umount", self.at).returncode == 0:
                self.is_mounted = False
                return
            time.sleep(0.1)
        run("umount", "-l", self.at)
        self.is_mounted = False

    def remount(self, option):
        done = run("mount", "-o", f"remount,{option}", self.at)
        if done.returncode != 0:
            raise Unavailable(f"remount,{option} failed: {done.stderr.strip()}")

    def free_bytes(self):
        return os.statvfs(self.at).f_bavail * os.statvfs(self.at).f_frsize


@contextlib.contextmanager
def mounted(words, at):
    needs_root()
    mount = Mounted(at, words)
    at.mkdir(exist_ok=True)
    mount.mount()
    try:
        yield mount
    finally:
        mount.unmount()


@contextlib.contextmanager
def image(megabytes, mkfs, options="loop"):
    """A new file system in an image file, made by the command `mkfs`."""
    needs_root()
    if not shutil.which(mkfs[0], path=PATH):
        raise Unavailable(f"{mkfs[0]} is not installed")
    with folder() as own:
        file = own / "image"
        with open(file, "wb") as new:
            new.truncate(megabytes << 20)
        made = run(*mkfs, file)
        if made.returncode != 0:
            raise Unavailable(f"{' '.join(mkfs)} failed: {made.stderr.strip()}")
        with mounted(["-o", options, file], own / "mounted") as mount:
            yield mount


@contextlib.contextmanager
def tmpfs(options):
    with folder() as own, mounted(["-t", "tmpfs", "-o", options, "tmpfs"], own / "mounted") as mount:
        yield mount


def needs_root():
    if os.geteuid() != 0:
        raise Unavailable("mounting a file system needs root")


def run(*words):
    return subprocess.run([str(word) for word in words], env=os.environ | {"PATH": PATH}, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
