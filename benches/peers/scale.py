"""What a catalog of up to a million entries costs: registered paths, and files of 4 KB. `benches/peers/run` calls it.

    scale.py FOLDER ROUNDS DIVISOR

DIVISOR makes many entries fewer. Prints a JSON object a line for `benches/peers/report`: the times and the peak of private
memory of each command, and of `get` and `put` in one process. A million files take 4 million inodes, so there are 300,000
at most.
"""
import json, os, shutil, subprocess, time

from common import CATALOG, note
from costs import CALL_FILES, DIVISOR, FOLDER, ROUNDS, catalog, private_bytes, timed

PEERS = os.environ.get("PEERS", "target/release/catalog-peers")
FILE_BYTES = 4000


def registered(root, count):
    subprocess.run([PEERS, "register", root, str(count)], check=True)


def files(root, count):
    """The files are the catalog's own afterwards, so that there is one inode less for each."""
    sources = f"{root}-sources"
    os.makedirs(sources)
    for start in range(0, count, CALL_FILES):
        names = [f"{number:07}" for number in range(start, min(count, start + CALL_FILES))]
        for name in names:
            with open(f"{sources}/{name}", "w") as file:
                file.write(f"{name} ".ljust(FILE_BYTES, "x"))
        time.sleep(0.05)
        command = catalog(root, "stage", "--mode", "move", *names)
        subprocess.run(command, check=True, cwd=sources, stdout=subprocess.DEVNULL)


def in_process(root):
    asked = subprocess.run([PEERS, "ask", root, str(ROUNDS)], check=True, stdout=subprocess.PIPE, text=True)
    return {work: ([seconds], None) for work, seconds in json.loads(asked.stdout).items()}


def measured(root):
    any_id = json.loads(subprocess.run([CATALOG, "--root", root, "list", "--json", "--limit", "1"], check=True,
                                       stdout=subprocess.PIPE, text=True).stdout)["id"]
    costs = in_process(root)
    for work, command in [
        ("show", catalog(root, "show", any_id)),
        ("list", [CATALOG, "--root", root, "list"]),
        ("gc --dry-run", catalog(root, "gc", "--dry-run")),
        ("doctor", catalog(root, "doctor")),
    ]:
        most = private_bytes(command)
        costs[work] = ([timed([command]) for _ in range(ROUNDS)], most)
    return costs


for title, fill, counts in [
    ("registered paths", registered, [100, 10_000, 100_000, 300_000, 1_000_000]),
    ("files of 4 KB", files, [100, 10_000, 100_000, 300_000]),
]:
    counts = sorted({max(100, count // DIVISOR) for count in counts})
    # What is measured writes little, but waits for whatever the file system still has to write.
    roots = {count: f"{FOLDER}/{fill.__name__}-{count}" for count in counts}
    for count, root in roots.items():
        note(f"scale: {count:,} {title}")
        fill(root, count)
    subprocess.run(["sync", "-f", FOLDER], check=True)
    for count, root in roots.items():
        for work, (seconds, private) in measured(root).items():
            print(json.dumps({"part": "scale", "of": title, "work": work, "entries": count, "seconds": seconds,
                              "private_bytes": private}), flush=True)
    for root in roots.values():
        for made in [root, f"{root}-sources"]:
            shutil.rmtree(made, ignore_errors=True)
