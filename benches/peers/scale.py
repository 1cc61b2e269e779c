"""What a catalog of up to a million entries costs: registered paths, and files of 4 KB. `benches/peers/run` calls it.

    scale.py FOLDER ROUNDS DIVISOR

DIVISOR makes many entries fewer. Prints a table: the median time and the peak of private memory of each command, and of
`get` and `put` in one process. A million files take 4 million inodes, so there are 300,000 at most.
"""
import json, os, shutil, statistics, subprocess, time

from common import CATALOG, note
from costs import CALL_FILES, DIVISOR, FOLDER, ROUNDS, catalog, private_bytes, timed
from results import duration, memory

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
    return {work: (seconds, None) for work, seconds in json.loads(asked.stdout).items()}


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
        costs[work] = (statistics.median(timed([command]) for _ in range(ROUNDS)), most)
    return costs


def table(title, counts, costs):
    print(f"| {title} | " + " | ".join(f"{count:,}" for count in counts) + " | "
          + " | ".join(f"memory, {count:,}" for count in counts) + " |")
    print("| --- |" + " --- |" * (2 * len(counts)))
    for work in costs[0]:
        cells = [duration(cost[work][0]) for cost in costs] + [memory(cost[work][1]) for cost in costs]
        print(f"| {work} | " + " | ".join(cells) + " |")
    print(flush=True)


for title, fill, counts in [
    ("registered paths", registered, [100, 100_000, 300_000, 1_000_000]),
    ("files of 4 KB", files, [100, 100_000, 300_000]),
]:
    counts = [max(100, count // DIVISOR) for count in counts]
    costs = []
    for count in counts:
        note(f"scale: {count:,} {title}")
        root = f"{FOLDER}/{fill.__name__}-{count}"
        fill(root, count)
        time.sleep(0.05)
        costs.append(measured(root))
    table(title, counts, costs)
    for count in counts:
        for made in [f"{FOLDER}/{fill.__name__}-{count}", f"{FOLDER}/{fill.__name__}-{count}-sources"]:
            shutil.rmtree(made, ignore_errors=True)
