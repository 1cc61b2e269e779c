"""Programs that hash or keep files, compared with `catalog`, as processes, on the same files: in rounds, each time
starting with another one. `benches/peers/run` calls it, once for each file system.

    files.py KIND FOLDER ROUNDS DIVISOR ALL

KIND names the file system in the results, FOLDER is on it. DIVISOR makes large files smaller and many files fewer. ALL is
`all`, or `few` for what depends only on the file system. Prints one JSON object per line to standard output.
"""
import json, os, shutil, subprocess, sys, time

from common import CATALOG, make, note, quietly, text

KIND, FOLDER, ROUNDS, DIVISOR, ALL = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "all"
CORES = os.cpu_count()
# The time that one program may take for its runs of one work; a slow one then gets fewer rounds than the others.
BUDGET_SECONDS = 40
ROOT, COPY, REPOSITORY = (f"{FOLDER}/{name}" for name in ("root", "copy", "repository"))


def used_seconds():
    """The processor time of all processes."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run(command, cwd):
    """The wall time, the processor time, and the processor time of others in the same period."""
    before, start = used_seconds(), time.perf_counter()
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if status != 0:
        raise SystemExit(f"error: {command[:4]} failed with {child.returncode}")
    mine = usage.ru_utime + usage.ru_stime
    return seconds, mine, max(0, used_seconds() - before - mine)


def in_turns(work, programs, count, size_bytes, stays=False):
    """Each of `programs` is a function that prepares a run in the given folder. It returns the commands of the run,
    which are timed together, and the folder to start them in."""
    results = {name: [] for name in programs}
    for number in range(ROUNDS):
        names = list(programs)
        for name in names[number % len(names):] + names[: number % len(names)]:
            if sum(seconds for seconds, _, _ in results[name]) > BUDGET_SECONDS:
                continue
            # Small files stay until the end: after many removals, ext4 is slow to make files.
            run_folder = f"{FOLDER}/run-{count}-{number}-{names.index(name)}"
            os.makedirs(run_folder)
            commands, cwd = programs[name](run_folder)
            subprocess.run(["sync", "-f", FOLDER], check=True)
            results[name].append([sum(part) for part in zip(*(run(command, cwd) for command in commands))])
            if not stays:
                shutil.rmtree(run_folder)
    for name, runs in results.items():
        seconds, processor, others = ([each[part] for each in runs] for part in range(3))
        line = {"part": "files", "file_system": KIND, "work": work, "files": count, "size_bytes": size_bytes, "program": name}
        print(json.dumps(line | {"seconds": seconds, "processor_seconds": processor, "others_seconds": others}), flush=True)


def catalog_root(folder):
    """A catalog that exists already, as in real use."""
    with open(f"{folder}/first.gguf", "wb") as file:
        file.write(b"first")
    root = f"{folder}/root"
    quietly(CATALOG, "--root", root, "--quiet", "stage", f"{folder}/first.gguf", "--id", "first")
    return root


def stage(files):
    return lambda folder: ([[CATALOG, "--root", catalog_root(folder), "--quiet", "stage", *names(files)]], os.path.dirname(files[0]))


def names(files):
    return [os.path.basename(file) for file in files]


def plain(files, *command):
    return lambda _: ([[*command, *names(files)]], os.path.dirname(files[0]))


def on_all_cores(files, *command):
    """As many processes as cores, with eight files each, or an even share of many."""
    each = max(1, min(8, len(files) // CORES)) if len(files) < 1000 else len(files) // CORES // 4
    listing = f"{os.path.dirname(files[0])}.names"
    with open(listing, "w") as file:
        file.write("".join(name + "\n" for name in names(files)))
    return lambda _: ([["xargs", "-a", listing, f"-P{CORES}", f"-n{each}", *command]], os.path.dirname(files[0]))


def copy_and_sync(files):
    # A single file is synced by itself. With many files, each sync would be waited for, so the file system is synced
    # once.
    script = 'to=$1; shift; cp --reflink=never -t "$to" -- "$@" && sync ' + ('"$to/$1"' if len(files) == 1 else '-f "$to"')
    return lambda folder: ([["sh", "-c", script, "sh", folder, *names(files)]], os.path.dirname(files[0]))


def repository(files, folder):
    """A folder whose files the program may take: a copy, in the page cache."""
    os.makedirs(f"{folder}/data")
    subprocess.run(["xargs", "-d", "\n", "cp", "--reflink=never", "-t", f"{folder}/data"], check=True, text=True, input="\n".join(files))
    return folder


def dvc_add(files):
    def prepare(folder):
        os.environ.update(DVC_NO_ANALYTICS="1", DVC_SITE_CACHE_DIR=f"{folder}/site")
        quietly("dvc", "init", "--quiet", "--no-scm", cwd=repository(files, folder))
        return [["dvc", "add", "--quiet", "data"]], folder
    return prepare


def git_annex_add(files):
    def prepare(folder):
        quietly("git", "init", "--quiet", repository(files, folder))
        quietly("git", "annex", "init", "--quiet", "peers", cwd=folder)
        return [["git", "annex", "add", "--quiet", f"-J{CORES}", "data"]], folder
    return prepare


def where_installed(programs):
    """Leaves out programs that are missing, and says so; a program's first word names it."""
    found = {}
    for name, program in programs.items():
        command = {"catalog": CATALOG, "git-annex": "git-annex"}.get(name.split()[0], name.split()[0])
        if shutil.which(command):
            found[name] = program
        else:
            note(f"skipped: {name}: {command} is not installed")
    return found


def hashes(files):
    found = {
        "openssl dgst -sha256": on_all_cores(files, "openssl", "dgst", "-sha256"),
        "sha256sum": on_all_cores(files, "sha256sum"),
        "b3sum": plain(files, "b3sum"),
    }
    return found if ALL else {name: found[name] for name in ["openssl dgst -sha256"]}


def keep(count, size_bytes):
    work = f"{count:,} files of {text(size_bytes)}" if count > 1 else f"one file of {text(size_bytes)}"
    note(f"{KIND}: {work}")
    folder = f"{FOLDER}/files-{count}"
    files = make(folder, count, size_bytes)
    programs = {"catalog stage": stage(files), "cp and sync": copy_and_sync(files), **hashes(files)}
    if ALL:
        programs["catalog hash"] = plain(files, CATALOG, "hash")
    if ALL or count == 1:
        programs |= {"dvc add": dvc_add(files), "git-annex add": git_annex_add(files)}
    small = count > 1000
    in_turns(work, where_installed(programs), count, size_bytes, stays=small)
    if not small:
        shutil.rmtree(folder)


def by_size(size_bytes, count):
    """One process per file, so that a small file costs a start of the program, as in real use."""
    note(f"{KIND}: files of {text(size_bytes)}, a process each")
    files = make(f"{FOLDER}/size-{size_bytes}", count, size_bytes)
    cwd = os.path.dirname(files[0])

    def each_staged(folder):
        root = catalog_root(folder)
        return [[CATALOG, "--root", root, "--quiet", "stage", name] for name in names(files)], cwd

    programs = {
        "catalog stage": each_staged,
        "openssl dgst -sha256": lambda _: ([["openssl", "dgst", "-sha256", name] for name in names(files)], cwd),
        "cp and sync": lambda folder: ([copy_and_sync([file])(folder)[0][0] for file in files], cwd),
    }
    in_turns("by size", programs, count, size_bytes)
    shutil.rmtree(cwd)


def verify(size_bytes):
    work = f"verify {text(size_bytes)}"
    note(f"{KIND}: {work}")
    (source,) = make(f"{FOLDER}/verify", 1, size_bytes)
    root = f"{FOLDER}/verify-root"
    quietly(CATALOG, "--root", root, "--quiet", "stage", source, "--id", "model", "--mode", "move")
    path = subprocess.run([CATALOG, "--root", root, "path", "model"], check=True, capture_output=True, text=True).stdout.strip()
    programs = {
        "catalog verify": lambda _: ([[CATALOG, "--root", root, "--quiet", "verify", "model"]], FOLDER),
        "b3sum": lambda _: ([["b3sum", path]], FOLDER),
        "openssl dgst -sha256": lambda _: ([["openssl", "dgst", "-sha256", path]], FOLDER),
        "dd": lambda _: ([["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"]], FOLDER),
    }
    in_turns(work, where_installed(programs), 1, size_bytes)
    shutil.rmtree(root)


if __name__ == "__main__":
    for size_bytes, count in [(4 << 10, 16), (64 << 10, 16), (1 << 20, 16), (16 << 20, 8), ((256 << 20) // DIVISOR, 2)]:
        by_size(size_bytes, count)
    if ALL:
        verify((2 << 30) // DIVISOR)
    for count, size_bytes in [(1, (2 << 30) // DIVISOR), (64, (32 << 20) // DIVISOR), (10_000 // DIVISOR, 10_000)]:
        keep(count, size_bytes)
