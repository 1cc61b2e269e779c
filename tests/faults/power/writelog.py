"""The log of qemu's blklogwrites filter: every write and every flush of a disk, in the order in which they were done.

The format is that of Linux' dm-log-writes: a super sector, then for each entry a header sector and its data. qemu
writes an entry when the request is done and before it replies, and its FUSE export does one request at a time. So the
entries are exactly the requests to the disk, and nothing was done that is not in the log when a command returns.
"""

import dataclasses
import struct

SECTOR = 512
FLUSH = 1


@dataclasses.dataclass(frozen=True)
class Entry:
    offset: int
    size_bytes: int
    data_at: int  # where its bytes are in the log
    is_flush: bool


class WriteLog:
    """Reads a log, even while it grows: the super sector, which lags behind, is not needed. An entry that is not
    there yet reads as zeros, because the file began as a hole."""

    def __init__(self, path):
        self.file = open(path, "rb", buffering=0)
        self.entries = []
        self.end = SECTOR

    def catch_up(self):
        """How many entries there are by now."""
        while True:
            header = self._read(self.end, 32)
            sector, sectors, flags, _ = struct.unpack("<QQQQ", header.ljust(32, b"\0"))
            if not sectors and not flags:
                return len(self.entries)
            # The loop driver uses no forced writes and, without the mount option, no discards.
            assert flags in (0, FLUSH), f"entry {len(self.entries)} has the flags {flags}"
            data_at = self.end + SECTOR
            self.entries.append(Entry(sector * SECTOR, sectors * SECTOR, data_at, flags == FLUSH))
            self.end = data_at + sectors * SECTOR

    def data(self, entry, start=0, size_bytes=None):
        size_bytes = entry.size_bytes - start if size_bytes is None else size_bytes
        data = self._read(entry.data_at + start, size_bytes)
        # If zeros were written, the end of a log is a hole.
        return data.ljust(size_bytes, b"\0")

    def _read(self, at, size_bytes):
        self.file.seek(at)
        return self.file.read(size_bytes)

    def close(self):
        self.file.close()
