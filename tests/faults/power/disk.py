"""Images, file systems, mounts, and the disk that logs its writes. Each `with` ends what it has started."""

import contextlib
import os
import pathlib
import subprocess
import time

from .writelog import WriteLog

MKFS = {
    # No background work: it would write while nothing happens.
    "ext4": ("64M", ["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]),
    "xfs": ("304M", ["mkfs.xfs", "-q", "-f", "-K"]),  # xfs needs at least 300 MiB
    "btrfs": ("128M", ["mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single"]),
}
CAN_CLONE = {"xfs", "btrfs"}
OPTIONS = {
    # By default, ext4 writes a file's data when it is renamed over another; no other file system does, and the catalog
    # must not need it.
    "ext4": "noauto_da_alloc",
    "xfs": "nodiscard",
    "btrfs": "nodiscard",
}


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def make_file_system(kind, image, size=None):
    smallest, words = MKFS[kind]
    run("truncate", "-s", size or smallest, image)
    run(*words, image)
    run("fallocate", "--dig-holes", image)


def copy_sparse(source, target):
    """Copies only the data between holes: an image is mostly holes."""
    with open(source, "rb", buffering=0) as old, open(target, "wb", buffering=0) as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while at < size:
            try:
                start = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole from here on
                break
            at = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            while start < at:
                start += os.copy_file_range(old.fileno(), new.fileno(), at - start, start, start)


@contextlib.contextmanager
def mounted(kind, image, at):
    """Mounts an image through a loop device that disappears with the mount."""
    run("mount", "-t", kind, "-o", f"loop,{OPTIONS[kind]}", image, at)
    try:
        yield pathlib.Path(at)
    finally:
        run("umount", at)


@contextlib.contextmanager
def logged(image, log, export):
    """Shows `image` as the file `export`, and also writes each write to it into `log`. Yields the log."""
    pathlib.Path(log).write_bytes(b"")
    os.truncate(log, 1 << 34)  # qemu does not let it grow; it is a hole
    pathlib.Path(export).touch()
    size = os.stat(image).st_size
    daemon = subprocess.Popen(
        [
            "qemu-storage-daemon",
            *("--blockdev", f"driver=file,filename={image},node-name=image"),
            *("--blockdev", f"driver=file,filename={log},node-name=log"),
            *("--blockdev", "driver=blklogwrites,file=image,log=log,log-sector-size=512,node-name=logged"),
            *("--export", f"type=fuse,id=export,node-name=logged,mountpoint={export},writable=on"),
        ]
    )
    try:
        wait_until(lambda: os.stat(export).st_size == size, daemon)
        writes = WriteLog(log)
        try:
            yield writes
        finally:
            writes.close()
    finally:
        daemon.terminate()
        daemon.wait()


def wait_until(is_so, daemon):
    end = time.monotonic() + 30
    while not is_so():
        if daemon.poll() is not None:
            raise RuntimeError(f"qemu-storage-daemon ended with {daemon.returncode}")
        if time.monotonic() > end:
            raise RuntimeError("qemu-storage-daemon did not export the image within 30 s")
        time.sleep(0.01)
