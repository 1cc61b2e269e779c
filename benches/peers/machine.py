#!/usr/bin/env python3
"""Prints the machine of a run as one JSON object.

    machine.py FOLDER
"""
import json, os, platform, re, subprocess, sys


def first_line(*command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return next(iter((result.stdout or result.stderr).splitlines()), "")


def version(*command):
    """The first number with a point that a program prints as its version."""
    found = re.search(r"\d+\.\d[\w.-]*", first_line(*command))
    return found.group() if found else None


def cpu(field):
    with open("/proc/cpuinfo") as file:
        found = re.search(rf"^{field}\s*: (.*)$", file.read(), re.MULTILINE)
    return found.group(1) if found else "unknown"


with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "Cargo.lock")) as file:
    cacache = re.search(r'name = "cacache"\nversion = "(.*)"', file.read()).group(1)
with open("/proc/meminfo") as file:
    memory_kib = int(re.search(r"MemTotal:\s*(\d+)", file.read()).group(1))
flags = set(cpu("flags").split())
mount = first_line("findmnt", "-no", "FSTYPE,OPTIONS", "--target", sys.argv[1]).replace(",", " ").split()
print(json.dumps({
    "cpu": f"{cpu('model name')}, family {cpu('cpu family')}, model {cpu('model')}",
    "flags": sorted(flags & {"sha_ni", "avx2", "avx512f", "avx512bw", "avx512vl", "vaes"}),
    "cores": os.cpu_count(),
    "memory_gib": round(memory_kib / (1 << 20)),
    "kernel": platform.release(),
    # Which users may use its last blocks has nothing to do with its speed.
    "file_system": " ".join(word for word in mount if not word.startswith("res")),
    "load": os.getloadavg()[0],
    "versions": {
        "rustc": version("rustc", "--version"),
        "openssl": version("openssl", "version"),
        "sha256sum": version("sha256sum", "--version"),
        "b3sum": version("b3sum", "--version"),
        "dvc": version("dvc", "--version"),
        "git-annex": version("git-annex", "version", "--raw"),
        "restic": version("restic", "version"),
        "borg": version("borg", "--version"),
        "ostree": version("sh", "-c", "ostree --version | grep Version"),
        "git-lfs": version("git", "lfs", "version"),
        "cacache": cacache,
    },
}))
