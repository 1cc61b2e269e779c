"""The measurements, by work and program, and how figures are written."""
import json, os, statistics


class Results:
    def __init__(self, folder):
        with open(f"{folder}/machine.json") as file:
            self.machine = json.load(file)
        self.by_key = {}
        self.processor = {}
        self.costs = {}
        self.puts = {}
        self.scale = {}
        for name in ["files.jsonl", "puts.jsonl", "entries.jsonl", "costs.jsonl", "scale.jsonl"]:
            if not os.path.exists(f"{folder}/{name}"):
                continue
            with open(f"{folder}/{name}") as file:
                for line in map(json.loads, file):
                    self.add(line)

    def systems(self):
        return list(dict.fromkeys(key[0] for key, _ in self.by_key if key[1] == "by size"))

    def works(self, system):
        """The works on whole sets of files, in order."""
        return list(dict.fromkeys(key[1] for key, _ in self.by_key if key[0] == system and key[1] != "by size"))

    def add(self, line):
        if line["part"] == "costs":
            self.costs.setdefault(line["by"], {}).setdefault(line["work"], {})[line["at"]] = line
            return
        if line["part"] == "scale":
            self.scale.setdefault(line["of"], {}).setdefault(line["work"], {})[line["entries"]] = line
            return
        if line["part"] == "puts":
            self.puts.setdefault(line["program"], {})[line["files"]] = line
            return
        if line["part"] == "entries":
            key = (line["work"], line["entries"])
        elif line["work"] == "by size":
            key = (line["file_system"], "by size", line["size_bytes"], line["files"])
        else:
            key = (line["file_system"], line["work"])
            if line["files"] == 1 and line["work"].startswith("one"):
                self.by_key[(line["file_system"], "by size", line["size_bytes"], 1), line["program"]] = line["seconds"]
        self.by_key[key, line["program"]] = line["seconds"]
        self.processor[key, line["program"]] = line.get("processor_seconds", [])

    def runs(self, key, program):
        return self.by_key.get((key, program), [])

    def counts(self):
        return sorted({key[1] for key, _ in self.by_key if key[0] == "get"})

    def sizes(self, system):
        return sorted({key[2] for key, _ in self.by_key if key[:2] == (system, "by size")})

    def throughput(self, system, size_bytes, program):
        """Bytes a second, or None."""
        for (key, name), seconds in self.by_key.items():
            if key[:3] == (system, "by size", size_bytes) and name == program:
                return size_bytes * key[3] / statistics.median(seconds)
        return None

    def median(self, key, program):
        runs = self.runs(key, program)
        return statistics.median(runs) if runs else None


def three_digits(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def duration(seconds):
    for unit, size in [("s", 1), ("ms", 1e-3), ("µs", 1e-6)]:
        if seconds >= size:
            break
    return f"{three_digits(seconds / size)} {unit}"


def memory(size_bytes):
    return "" if size_bytes is None else f"{three_digits(size_bytes / 1e6)} MB"


def rate(bytes_per_second):
    unit, size = ("GB/s", 1e9) if bytes_per_second >= 1e9 else ("MB/s", 1e6)
    return f"{three_digits(bytes_per_second / size)} {unit}"


def ratio(value):
    return f"{value:.2g}" if value < 0.1 else three_digits(value)
