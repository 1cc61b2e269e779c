"""What runs while the writes are logged, and what the store must hold after each command that has returned 0."""

import dataclasses
import hashlib
import json
import pathlib
import random
import shutil
import subprocess

FIXTURE = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "tiny-llama-q8_0.gguf"


NEW_BOOT = """
id=$(mktemp)
cat /proc/sys/kernel/random/uuid > "$id"
mount --bind "$id" /proc/sys/kernel/random/boot_id
rm "$id"
exec "$@"
"""


@dataclasses.dataclass(frozen=True)
class Held:
    """What is recorded for an id, as far as a power cut could change it."""

    digest: str
    lifecycle: str = "active"
    pins: frozenset = frozenset()


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a store holds: its records, and the most that it may occupy."""

    records: dict = dataclasses.field(default_factory=dict)
    max_bytes: int | None = None

    def put(self, **changes):
        return dataclasses.replace(self, records={**self.records, **changes})

    def change(self, id, **fields):
        return self.put(**{id: dataclasses.replace(self.records[id], **fields)})

    def without(self, *ids):
        return dataclasses.replace(self, records={id: held for id, held in self.records.items() if id not in ids})


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    words: list
    after: Expected
    ids: tuple  # whose paths are requested once the step is acknowledged
    is_repeatable: bool = True  # whether it succeeds when it is run again after a cut


class Sources:
    """Files to stage: `inside` the file system whose power is cut, and `outside` of it, so that they are copied."""

    def __init__(self, inside, outside):
        self.inside, self.outside = pathlib.Path(inside), pathlib.Path(outside)
        self.contents = {}  # digest -> {path in the tree: its SHA-256}; a single file has an empty path

    def make(self):
        rng = random.Random("sources")  # the same bytes in each run
        for folder in (self.inside, self.outside):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(FIXTURE, folder / FIXTURE.name)
            (folder / "large.gguf").write_bytes(rng.randbytes(3_000_000))
            (folder / "other.gguf").write_bytes(rng.randbytes(200_000))
            (folder / "batch").mkdir(exist_ok=True)
            for number in range(12):
                (folder / "batch" / f"{number:02}.gguf").write_bytes(rng.randbytes(20_000 + 997 * number))
            (folder / "tree" / "tokenizer").mkdir(parents=True, exist_ok=True)
            (folder / "tree" / "config.json").write_text('{"hidden_size": 64}\n')
            (folder / "tree" / "tokenizer" / "merges.txt").write_bytes(rng.randbytes(9_000))
            (folder / "tree" / "weights.safetensors").write_bytes(rng.randbytes(300_000))

    def file(self, path):
        digest = "sha256:" + sha256(path)
        self.contents[digest] = {"": sha256(path)}
        return digest

    def tree(self, folder):
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        digest = "sha256:" + hashlib.sha256(manifest(folder, files)).hexdigest()
        self.contents[digest] = {path: sha256(folder / path) for path in files}
        return digest


def steps(sources):
    """The workload: each step, with what holds after it."""
    inside, outside = sources.inside, sources.outside
    made, now = [], Expected()

    def step(name, words, after, *ids, **more):
        nonlocal now
        now = after
        made.append(Step(name, [str(word) for word in words], after, ids, **more))

    def stage(name, id, source):
        digest = sources.tree(source) if source.is_dir() else sources.file(source)
        step(name, ["stage", source, "--id", id], now.put(**{id: Held(digest)}), id)

    stage("make the root", "a", outside / FIXTURE.name)
    # This notes the use: the shard of an acknowledged entry is written again.
    step("use", ["path", "a"], now, "a")
    stage("stage a file", "large", outside / "large.gguf")
    stage("stage a file of the same file system", "other", inside / "other.gguf")
    batch = sorted((outside / "batch").iterdir())
    held = {f"file:{path}": Held(sources.file(path)) for path in batch}
    step("stage a batch", ["stage", *batch], now.put(**held), *list(held)[::5])
    for id in list(held)[:2]:
        step("use one of the batch", ["path", id], now, id)
    stage("stage a tree", "tree", inside / "tree")
    stage("stage the same bytes", "b", inside / FIXTURE.name)
    stage("give an id other content", "a", outside / "other.gguf")
    step("retire", ["retire", "b"], now.change("b", lifecycle="retired"), "b")
    step("pin", ["pin", "large", "--as", "keep"], now.change("large", pins=frozenset(["keep"])), "large")
    gone = list(held)[3]
    step("remove", ["remove", gone], now.without(gone), is_repeatable=False)
    step("verify", ["verify", "--all"], now)
    step("set the quota", ["config", "set", "max_bytes", "1000000000"], dataclasses.replace(now, max_bytes=10**9))
    step("retire a tree", ["retire", "tree"], now.change("tree", lifecycle="retired"), "tree")
    step("collect at once", ["gc", "--retired-after", "0s", "--grace", "0s"], now.without("b", "tree"))
    stage("stage what was collected", "c", outside / FIXTURE.name)
    step("retire again", ["retire", "c"], now.change("c", lifecycle="retired"), "c")
    step("collect into the trash", ["gc", "--retired-after", "0s"], now.without("c"))
    stage("stage what is in the trash", "d", outside / FIXTURE.name)
    step("use it", ["path", "d"], now, "d")
    step("pin it", ["pin", "d"], now.change("d", pins=frozenset(["default"])), "d")
    step("remove another", ["remove", "large", "--force"], now.without("large"), is_repeatable=False)
    return made


def catalog(binary, root, *words, is_new_boot=False):
    """`is_new_boot`: the machine has been restarted since, so its boot id differs."""
    env = {"RAYON_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    tools = ["unshare", "--mount", "sh", "-ec", NEW_BOOT, "sh"] if is_new_boot else []
    return subprocess.run([*tools, binary, "--root", root, *words], capture_output=True, text=True, env=env)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(folder, files):
    """The manifest of a tree, by docs/format.md."""
    digests = ["sha256:" + sha256(folder / path) for path in files]
    config = compact({"descriptor": {}, "config": {}, "modelfs": {"type": "layers", "diffIds": digests}})
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.cncf.model.config.v1+json",
            "digest": "sha256:" + hashlib.sha256(config).hexdigest(),
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.cncf.model.weight.v1.raw",
                "digest": digest,
                "size": (folder / path).stat().st_size,
                "annotations": {"org.cncf.model.filepath": path, "org.opencontainers.image.title": path},
            }
            for path, digest in zip(files, digests)
        ],
    }
    return compact(document)


def compact(document):
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
