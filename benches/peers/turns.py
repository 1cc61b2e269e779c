"""Programs that take turns at one work, and what each took. `fetch.py` and `origins.py` use it.

HUB_CLIENT names a Python with `huggingface_hub`, `oras` and `boto3`; programs that are not installed are left out.
"""
import hashlib, os, resource, shutil, socket, statistics, subprocess, sys, time

from common import CATALOG, note

FOLDER, ROUNDS, DIVISOR = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
LARGE_BYTES = (2 << 30) // DIVISOR
SMALL_FILES, SMALL_BYTES = 500, 100_000
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
CLIENT = os.environ.get("HUB_CLIENT", "")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def private_bytes(command, env):
    """The peak of a process's anonymous memory, sampled every 5 ms."""
    process, most = subprocess.Popen(command, env={**os.environ, **env}, **QUIET), 0
    while process.poll() is None:
        with open(f"/proc/{process.pid}/status") as status:
            sizes = [int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon")]
        most = max(most, *sizes, 0)
        time.sleep(0.005)
    if process.returncode != 0:
        raise SystemExit(f"error: {command[:6]} ended with {process.returncode}")
    return most


def memory(work, command, env):
    print(f"| {work} | catalog stage, private memory | {private_bytes(command, env) / (1 << 20):.0f} MiB | | | |", flush=True)


def run(command, env=None, cwd=None):
    """The wall time and the processor time, in seconds, of the process and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    code = subprocess.run(command, env={**os.environ, **(env or {})}, cwd=cwd, **QUIET).returncode
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        raise SystemExit(f"error: {command[:6]} ended with {code}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Turns:
    """Programs that take turns at one work. What they make is removed after each turn, unless it is `kept`: after many
    files were removed, ext4 is slow to make new ones for minutes."""

    def __init__(self, work, kept=None):
        self.work, self.kept, self.programs, self.figures = work, kept, [], {}

    def add(self, name, prepare, control=False):
        """`prepare(folder)` returns the command, its environment and its folder."""
        self.programs.append((name, prepare, control))

    def measure(self):
        for number in range(ROUNDS):
            for place, (name, prepare, _) in enumerate(self.programs):
                folder = f"{FOLDER}/{self.kept}-{number}-{place}" if self.kept else f"{FOLDER}/turn"
                shutil.rmtree(folder, ignore_errors=True)
                os.makedirs(folder)
                os.sync()
                command, env = prepare(folder)
                self.figures.setdefault(name, []).append(run(command, env, folder))
                note(f"{self.work}: {name}: {self.figures[name][-1][0]:.2f} s")
        shutil.rmtree(f"{FOLDER}/turn", ignore_errors=True)
        return self

    def median(self, name, which):
        return statistics.median(figure[which] for figure in self.figures[name])

    def show(self):
        control = next(name for name, _, control in self.programs if control)
        for name, _, _ in self.programs:
            wall, cpu = self.median(name, 0), self.median(name, 1)
            ratios = [f"{wall / self.median(control, 0):.2f}", f"{cpu / self.median(control, 1):.2f}"]
            print(f"| {self.work} | {name} | {wall:.2f} | {cpu:.2f} | {' | '.join(ratios)} |", flush=True)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def staged(folder, reference, *options, env=None):
    return [CATALOG, "--root", f"{folder}/root", "--quiet", "stage", reference, *options], env or {}
