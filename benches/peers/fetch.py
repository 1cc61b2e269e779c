"""`catalog stage` compared with curl, aria2c and the Hub's own client: the same bytes from nginx and from
`tests/servers/hub.py`, on loopback, with client and server on the same cores. `benches/peers/run` calls it.

    fetch.py FOLDER ROUNDS DIVISOR

Programs take turns, each with a new place to write to. DIVISOR makes the large file smaller. Prints a table.
HUB_CLIENT names a Python with `huggingface_hub`; programs that are not installed are left out.
"""
import json, os, shutil, statistics, subprocess, sys, time

from common import CATALOG, make, text
from turns import CLIENT, FOLDER, LARGE_BYTES, QUIET, ROUNDS, SMALL_BYTES, SMALL_FILES, Turns, free_port, memory, run, sha256, staged

NGINX = """daemon off; pid {0}/pid; error_log {0}/error.log; worker_processes 2; events {{ worker_connections 512; }}
http {{ access_log off; sendfile on; client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3;
uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5; server {{ listen 127.0.0.1:{1}; root {2}; }} }}
"""


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
    """A second stage of the same content, and a fetch that was killed near its end."""
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
        if CLIENT:
            script = "import sys, huggingface_hub as h; h.snapshot_download('acme/many', local_dir=sys.argv[1])"
            turns.add("hf download",
                      lambda folder: ([CLIENT, "-c", script, f"{folder}/files"], {**env, "HF_HOME": f"{folder}/home"}))
        turns.add("catalog stage", lambda folder: staged(folder, "hf:acme/many", env=env))
        turns.measure().show()
        os.makedirs(f"{FOLDER}/turn")
        memory("the same", *staged(f"{FOLDER}/turn", "hf:acme/many", env=env))
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(f"{FOLDER}/hub")


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


main()
