"""Code shared by the scripts that measure processes."""
import os, subprocess, sys

CATALOG = os.environ["CATALOG"]


def note(text):
    print(text, file=sys.stderr, flush=True)


def text(size_bytes):
    for unit, size in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("KB", 1000)]:
        if size_bytes % size == 0:
            return f"{size_bytes // size} {unit}"
    return f"{size_bytes} bytes"


def quietly(*command, cwd=None):
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL)


def make(folder, count, size_bytes):
    """Files that share no bytes and do not compress, in the page cache and on disk."""
    os.makedirs(folder)
    key = os.path.basename(folder)
    source = ["openssl", "enc", "-aes-128-ctr", "-pass", f"pass:{key}", "-nosalt", "-in", "/dev/zero"]
    with subprocess.Popen(source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as stream:
        for number in range(count):
            with open(f"{folder}/model-{number:05}.gguf", "wb") as file:
                left = size_bytes
                while left > 0:
                    left -= file.write(stream.stdout.read(min(left, 1 << 20)))
        stream.kill()
    subprocess.run(["sync", "-f", folder], check=True)
    return [f"{folder}/model-{number:05}.gguf" for number in range(count)]
