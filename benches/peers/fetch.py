"""`catalog stage` beside curl, aria2c, the Hub's own client, skopeo and oras: the same bytes from nginx, from
`tests/servers/hub.py` and from Debian's docker-registry, on loopback, client and server on the same cores. `benches/peers/run` calls it.

    fetch.py FOLDER ROUNDS DIVISOR

Programs take turns, each with a new place to write to. DIVISOR makes the large file smaller. A table goes to standard output.
HUB_CLIENT names a Python that has `huggingface_hub` and `oras`; what is not installed is left out.
"""
import hashlib, json, os, resource, shutil, statistics, subprocess, sys, time

from common import CATALOG, make, note, text

FOLDER, ROUNDS, DIVISOR = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
LARGE_BYTES = (2 << 30) // DIVISOR
SMALL_FILES, SMALL_BYTES = 500, 100_000
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

NGINX = """daemon off; pid {0}/pid; error_log {0}/error.log; worker_processes 2; events {{ worker_connections 512; }}
http {{ access_log off; sendfile on; client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;
uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5; server {{ listen 127.0.0.1:{1}; root {2}; }} }}
"""


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def private_bytes(command, env):
    """The most anonymous memory that a process was seen with: it is looked at every 5 ms."""
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
    """Seconds of the wall and of the processor, of the process and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    code = subprocess.run(command, env={**os.environ, **(env or {})}, cwd=cwd, **QUIET).returncode
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != 0:
        raise SystemExit(f"error: {command[:6]} ended with {code}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Turns:
    """Programs that take turns at one work."""

    def __init__(self, work):
        self.work, self.programs, self.figures = work, [], {}

    def add(self, name, prepare, control=False):
        """`prepare(folder)` gives the command, its environment and its folder."""
        self.programs.append((name, prepare, control))

    def measure(self):
        for number in range(ROUNDS):
            for name, prepare, _ in self.programs:
                folder = f"{FOLDER}/turn"
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


def large(port, path):
    url, digest = f"http://127.0.0.1:{port}/{os.path.basename(path)}", sha256(path)
    turns = Turns(f"{text(LARGE_BYTES)} from nginx")
    turns.add("curl, which checks nothing", lambda folder: (["curl", "-sS", "-o", "file", url], {}), control=True)
    if shutil.which("aria2c"):
        aria = ["aria2c", "-q", "-x4", "-s4", "--file-allocation=none", f"--checksum=sha-256={digest}", "-o", "file", url]
        turns.add("aria2c --checksum", lambda folder: (aria, {}))
    allow = ["--allow-net", f"127.0.0.1:{port}", "--digest", f"sha256:{digest}"]
    turns.add("catalog stage", lambda folder: staged(folder, url, *allow))
    turns.measure().show()
    for connections in (4, 16):
        os.makedirs(f"{FOLDER}/turn")
        command, env = staged(f"{FOLDER}/turn", url, *allow, "--connections", str(connections))
        memory(f"the same over {connections} connections", command, env)
        shutil.rmtree(f"{FOLDER}/turn")
    again(url, allow)


def again(url, allow):
    """What was staged, staged again; and a fetch that was killed near its end."""
    folder = f"{FOLDER}/turn"
    turns = Turns("the same again")
    turns.add("true", lambda folder: (["true"], {}), control=True)
    shutil.rmtree(f"{FOLDER}/kept", ignore_errors=True)
    os.makedirs(f"{FOLDER}/kept")
    whole, _ = run(staged(f"{FOLDER}/kept", url, *allow)[0])
    turns.add("catalog stage", lambda folder: staged(f"{FOLDER}/kept", url, *allow))
    turns.measure().show()
    shutil.rmtree(f"{FOLDER}/kept")
    rests = []
    for _ in range(ROUNDS):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        command = staged(folder, url, *allow)[0]
        process = subprocess.Popen(command, **QUIET)
        while process.poll() is None and done_bytes(folder) < LARGE_BYTES * 0.9:
            time.sleep(0.01)
        process.kill()
        process.wait()
        done = done_bytes(folder) / LARGE_BYTES
        wall, _ = run(command)
        rests.append((wall, done))
    wall, done = statistics.median(wall for wall, _ in rests), min(done for _, done in rests)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"| killed at {done:.0%} or later, and staged again | catalog stage | {wall:.2f} | | {wall / whole:.2f} of the whole | |")


def done_bytes(folder):
    command = [CATALOG, "--root", f"{folder}/root", "partials", "--json"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    return sum(json.loads(line)["bytes_done"] for line in listed.splitlines())


def small():
    make(f"{FOLDER}/hub/acme/many", SMALL_FILES, SMALL_BYTES)
    server = os.path.join(os.path.dirname(__file__), "../../tests/servers/hub.py")
    process = subprocess.Popen([sys.executable, server, "--root", f"{FOLDER}/hub"], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.DEVNULL)
    try:
        at = json.loads(process.stdout.readline())
        env = {"HF_ENDPOINT": at["hub"], "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
               "HF_HUB_DISABLE_UPDATE_CHECK": "1", "NO_PROXY": "127.0.0.1,localhost",
               "CATALOG_ALLOW_NET": ",".join(at[name].removeprefix("http://") for name in ("hub", "cdn"))}
        turns = Turns(f"{SMALL_FILES} files of {text(SMALL_BYTES)} from the Hub")
        urls = f"{at['hub']}/acme/many/resolve/main/model-[00000-{SMALL_FILES - 1:05}].gguf"
        turns.add("curl -Z", lambda folder: (["curl", "-sSLZ", "--remote-name-all", urls], {}), control=True)
        client = os.environ.get("HUB_CLIENT", "")
        if client:
            script = "import sys, huggingface_hub as h; h.snapshot_download('acme/many', local_dir=sys.argv[1])"
            turns.add("hf download",
                      lambda folder: ([client, "-c", script, f"{folder}/files"], {**env, "HF_HOME": f"{folder}/home"}))
        turns.add("catalog stage", lambda folder: staged(folder, "hf:acme/many", env=env))
        turns.measure().show()
        os.makedirs(f"{FOLDER}/turn")
        memory("the same", *staged(f"{FOLDER}/turn", "hf:acme/many", env=env))
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(f"{FOLDER}/hub")


def registry():
    """Two models that oras has pushed: a large file, and many small ones."""
    client = os.environ.get("HUB_CLIENT", "")
    if not client or not shutil.which("docker-registry"):
        return note("skipped: a registry needs docker-registry, and oras in HUB_CLIENT")
    own, host = f"{FOLDER}/registry", f"127.0.0.1:{free_port()}"
    os.makedirs(own)
    with open(f"{own}/registry.yml", "w") as configuration:
        configuration.write(f"version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\n"
                            f"storage: {{filesystem: {{rootdirectory: {own}/storage}}}}\nhttp: {{addr: '{host}'}}\n")
    clean = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    process = subprocess.Popen(["docker-registry", "serve", f"{own}/registry.yml"], env=clean, **QUIET)
    try:
        time.sleep(1)
        for name, count, size in (("one", 1, LARGE_BYTES), ("many", SMALL_FILES, SMALL_BYTES)):
            make(f"{own}/{name}", count, size)
            push = "import sys, os, oras.client as o; os.chdir(sys.argv[2]); o.OrasClient(insecure=True).push(" \
                   "target=sys.argv[1], files=sorted(os.listdir('.')), disable_path_validation=True)"
            subprocess.run([client, "-c", push, f"{host}/acme/{name}", f"{own}/{name}"], check=True, **QUIET)
            shutil.rmtree(f"{own}/{name}")
            pulled_by_all(client, f"{host}/acme/{name}", host,
                          f"{count} files of {text(size)}" if count > 1 else text(size))
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(own)


def pulled_by_all(client, name, host, what):
    turns = Turns(f"{what} from a registry")
    pull = "import sys, oras.client as o; o.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])"
    turns.add("oras pull, which checks nothing",
              lambda folder: ([client, "-c", pull, f"{name}:latest", f"{folder}/files"], {}), control=True)
    if shutil.which("skopeo"):
        turns.add("skopeo copy", lambda folder: (["skopeo", "copy", "--src-tls-verify=false", f"docker://{name}:latest",
                                                  f"oci:{folder}/layout:latest"], {}))
    turns.add("catalog stage", lambda folder: staged(folder, f"oci://{name}", "--allow-net", host))
    turns.measure().show()


def main():
    path, = make(f"{FOLDER}/www", 1, LARGE_BYTES)
    state, port = f"{FOLDER}/nginx", free_port()
    os.makedirs(state)
    with open(f"{state}/conf", "w") as conf:
        conf.write(NGINX.format(state, port, f"{FOLDER}/www"))
    nginx = subprocess.Popen(["nginx", "-c", f"{state}/conf"], **QUIET)
    try:
        time.sleep(0.5)
        print("| work | program | wall, s | CPU, s | wall : control | CPU : control |")
        print("| --- | --- | --- | --- | --- | --- |")
        large(port, path)
    finally:
        nginx.terminate()
        nginx.wait()
        shutil.rmtree(f"{FOLDER}/www")
        shutil.rmtree(state)
    small()
    registry()


main()
