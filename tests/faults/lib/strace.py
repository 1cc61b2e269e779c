"""strace: counts system calls, and makes one of them fail, or kills the process on it."""

import re
import shutil
from collections import Counter

# Without threads, the N-th call of one run is the N-th call of the next.
ONE_THREAD = ["clone,clone3:error=ENOSYS"]


def missing():
    """Why strace cannot be used here; None if it can."""
    return None if shutil.which("strace") else "strace is not installed"


def words(log, calls, injects=(), one_thread=True):
    """The words to put in front of a command."""
    injects = [*injects, *(ONE_THREAD if one_thread else [])]
    traced = {*calls, *(call for inject in injects for call in inject.split(":")[0].split(","))}
    options = [option for inject in injects for option in ("-e", f"inject={inject}")]
    # Faster, but strace 6.1 then injects no signals.
    fast = [] if any("signal=" in inject for inject in injects) else ["--seccomp-bpf"]
    return ["strace", "-f", *fast, "-qq", "-s", "200", "-o", str(log), "-e", f"trace={','.join(sorted(traced))}", *options]


def lines(log):
    """The calls in a log, in the order in which they began: (process, call, the line). If another thread's call came in
    between, the line has both halves."""
    found, unfinished = [], {}
    for line in log.read_text(errors="replace").splitlines():
        call = re.match(r"(\d+)\s+(\w+)\(", line)
        rest = re.match(r"(\d+)\s+<\.\.\. (\w+) resumed>", line)
        if call:
            if line.endswith("<unfinished ...>"):
                unfinished[call[1], call[2]] = len(found)
            found.append((call[1], call[2], line))
        elif rest and (rest[1], rest[2]) in unfinished:
            at = unfinished.pop((rest[1], rest[2]))
            found[at] = (*found[at][:2], found[at][2] + line)
    return found


def reachable(log, root, one_thread=True):
    """For each call, the first and the last N after the first touch of the root: earlier calls are the dynamic
    loader's. strace counts each thread separately."""
    counts, first, before = {}, {}, Counter()
    is_inside = False
    for process, call, line in lines(log):
        is_inside = is_inside or str(root) in line
        counts.setdefault(process, Counter())[call] += 1
        if is_inside:
            first.setdefault(call, before[call] + 1)
        else:
            before[call] += 1
    last = Counter()
    for count in counts.values():
        for call, number in count.items():
            last[call] = max(last[call], number)
    return {call: (first[call], last[call]) for call in first}


def injected(log, call):
    """The line of the call that failed by injection, or on which the process was killed; None if there is none."""
    text = log.read_text(errors="replace").splitlines()
    for number, line in enumerate(text):
        if "(INJECTED)" in line and call in line:
            return line
        if "+++ killed by SIGKILL" in line:
            return text[number - 1] if number else line
    return None
