"""Refuses system calls as a sandbox does: with a filter that the process and all its threads keep."""

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06  # classic BPF: absolute words, jumps, arithmetic

# struct seccomp_data: the number, the architecture, the instruction pointer, then six arguments of 64 bits.
NUMBER_AT, ARGUMENTS_AT = 0, 16

CALLS = {
    "x86_64": {"mmap": 9, "fchmod": 91, "statfs": 137, "fallocate": 285, "syncfs": 306},
    "aarch64": {"mmap": 222, "fchmod": 52, "statfs": 43, "fallocate": 47, "syncfs": 267},
}


@dataclass(frozen=True)
class Refusal:
    """A call that fails with `error`; with `argument`, only if the masked argument has this value."""

    call: str
    error: str
    argument: tuple | None = None  # number, mask, value

    def program(self, numbers):
        answer = [(RETURN, 0, 0, RET_ERRNO | getattr(errno, self.error))]
        test = []
        if self.argument:
            number, mask, value = self.argument
            test = [(LOAD, 0, 0, ARGUMENTS_AT + 8 * number), (AND, 0, 0, mask), (EQUAL, 0, 1, value)]
        body = test + answer
        return [(LOAD, 0, 0, NUMBER_AT), (EQUAL, 0, len(body), numbers[self.call]), *body]


def missing():
    """Why no filter can be made here; None if one can."""
    return None if platform.machine() in CALLS else f"there is no table of system calls for {platform.machine()}"


def filtered(refusals):
    """What a new process has to do before it executes the command."""
    numbers = CALLS[platform.machine()]
    steps = [step for refusal in refusals for step in refusal.program(numbers)] + [(RETURN, 0, 0, RET_ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("H6xP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)

    def apply():
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "no_new_privs")
        if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "seccomp")
        _ = code  # the kernel has read it by now

    return apply
