"""Checks a store after a power cut: reads the files itself, by docs/format.md, and then runs the binary."""

import dataclasses
import json
import pathlib

from .workload import Held, catalog, sha256


@dataclasses.dataclass(frozen=True)
class Wrong:
    """One thing that is wrong. `kind` is a word for tables."""

    kind: str
    text: str


class Checker:
    def __init__(self, binary, contents, is_new_boot=False):
        self.binary, self.contents, self.is_new_boot = binary, contents, is_new_boot
        self.checks = 0
        self.resumed = 0  # stages that resumed what was there

    def check(self, root, acknowledged, before, after, interrupted):
        """Returns what is wrong with the store, or nothing.

        `before` is the result of the acknowledged steps, and `after` what the next one, `interrupted`, would have made
        of it: each record may be either. The last of the `acknowledged` steps are asked for their paths.
        """
        wrong = []

        def say(kind, text):
            wrong.append(Wrong(kind, text))

        root = pathlib.Path(root)
        if acknowledged or (root / "store.json").exists():
            self._records(root, before, after, say)
            self._blobs(root, say)
            self._binary(root, acknowledged, before, after, say)
        if interrupted and not wrong:
            self._again(root, interrupted, say)
        return wrong

    def _records(self, root, before, after, say):
        """Each record is the old or the new one, and its view reads the bytes of its digest."""
        records = {}
        for shard in sorted((root / "index").glob("*.json")):
            try:
                records.update(json.loads(shard.read_bytes())["entries"])
            except (ValueError, KeyError) as error:
                say("shard", f"the shard {shard.name} of {shard.stat().st_size} bytes cannot be read: {error}")
        for id in {*before.records, *after.records, *records}:
            self.checks += 1
            record = records.get(id)
            held = record and Held(record.get("digest"), record["lifecycle"], frozenset(record.get("pins") or {}))
            allowed = [before.records.get(id), after.records.get(id)]
            if held not in allowed:
                right = " or ".join(map(str, dict.fromkeys(allowed)))
                say("record", f"the record of {id} is {held}, which should be {right}")
            elif held:
                self._view(root / record["path"], held.digest, f"the view of {id}", say)
                self._needs(root, held.digest, id, say)
        self.checks += 1
        try:
            quota = json.loads((root / "store.json").read_bytes()).get("quota") or {}
        except (OSError, ValueError) as error:
            say("store.json", f"store.json cannot be read: {error}")
            return
        if quota.get("max_bytes") not in (before.max_bytes, after.max_bytes):
            say("quota", f"the quota is {quota}, not {before.max_bytes}")

    def _view(self, path, digest, what, say):
        for name, expected in self.contents[digest].items():
            self.checks += 1
            try:
                found = sha256(path / name)
            except OSError as error:
                say("view", f"{what} cannot be read: {error}")
                continue
            if found != expected:
                size = (path / name).stat().st_size
                say("view", f"{what}, {size} bytes of {name or 'a file'}, has other bytes than its digest")

    def _needs(self, root, digest, id, say):
        """All blobs of a record are there: its own, and those of a tree's files."""
        for needed in {digest.removeprefix("sha256:"), *self.contents[digest].values()}:
            self.checks += 1
            if not (root / "blobs" / "sha256" / needed[:2] / needed).exists():
                say("blob", f"the blob {needed} of {id} is not there")

    def _blobs(self, root, say):
        """Each blob matches its name, whether a record needs it or not."""
        for blob in (root / "blobs" / "sha256").glob("*/*"):
            self.checks += 1
            if sha256(blob) != blob.name:
                say("blob", f"the blob {blob.name} of {blob.stat().st_size} bytes is not its name")

    def _binary(self, root, acknowledged, before, after, say):
        """The binary reads the store, and resolves what was acknowledged last."""
        listed = self._run(root, say, "list", "--json")
        if listed is not None:
            for line in listed.splitlines():
                self.checks += 1
                entry = json.loads(line)
                allowed = [held.digest for held in (store.records.get(entry["id"]) for store in (before, after)) if held]
                if entry["digest"] not in allowed:
                    say("list", f"list says that {entry['id']} has the digest {entry['digest']}")
        self._run(root, say, "gc", "--dry-run")
        self._log(root, before, after, say)
        last = [id for step in acknowledged[-2:] for id in step.ids if before.records.get(id) == after.records.get(id)]
        for id in dict.fromkeys(id for id in last if id in before.records):
            path = self._run(root, say, "path", id)
            if path is not None:
                self._view(pathlib.Path(path.rstrip("\n")), before.records[id].digest, f"the path of {id}", say)

    def _log(self, root, before, after, say):
        """The log is whole, and its last event of each model agrees with the index."""
        self._run(root, say, "log", "--verify")
        last = {}
        for line in (self._run(root, say, "log", "--json") or "").splitlines():
            event = json.loads(line)
            last[event["id"]] = None if event["what"] in ("removed", "evicted") else event["digest"]
        for id in {*before.records, *after.records, *last}:
            self.checks += 1
            allowed = [held and held.digest for held in (before.records.get(id), after.records.get(id))]
            if last.get(id) not in allowed:
                say("log", f"the log says that {id} is {last.get(id)}, which should be {' or '.join(map(str, allowed))}")

    def _again(self, root, step, say):
        """The interrupted command does its work when it is run again."""
        self.checks += 1
        done = catalog(self.binary, root, *step.words, is_new_boot=self.is_new_boot)
        if done.returncode != 0 and (step.is_repeatable or done.returncode != 3):
            say("again", f"after the cut, {step.words} answers {done.returncode}: {done.stderr.strip()}")
            return

        def say_again(_, text):
            say("again", f"after {step.name!r} was run again: {text}")

        if "--json" in step.words and json.loads(done.stdout).get("resumed_bytes"):
            self.resumed += 1
        self._records(root, step.after, step.after, say_again)

    def _run(self, root, say, *words):
        self.checks += 1
        done = catalog(self.binary, root, *words)
        if done.returncode == 0:
            return done.stdout
        say(words[0], f"{' '.join(words)} answers {done.returncode}: {done.stderr.strip()}")
        return None
