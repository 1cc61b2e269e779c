"""`catalog stage` and `catalog push` compared with skopeo, oras, aws and rclone: a registry (Debian's docker-registry)
and a bucket (SeaweedFS) on loopback, with client and server on the same cores. `benches/peers/run` calls it.

    origins.py FOLDER ROUNDS DIVISOR

Programs take turns, each with a new place to write to. Prints a table.
"""
import json, os, random, shutil, subprocess, time

from common import CATALOG, make, note, text
from turns import CLIENT, FOLDER, LARGE_BYTES, QUIET, SMALL_BYTES, SMALL_FILES, Turns, free_port, staged

OWN = f"{FOLDER}/origin"
MODELS = (("one", 1, LARGE_BYTES, text(LARGE_BYTES)),
          ("many", SMALL_FILES, SMALL_BYTES, f"{SMALL_FILES} files of {text(SMALL_BYTES)}"))
TOOLS = os.path.dirname(CLIENT)
S3 = {"AWS_ACCESS_KEY_ID": "AKTEST", "AWS_SECRET_ACCESS_KEY": "SKTESTSECRET", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
      "NO_PROXY": "127.0.0.1,localhost"}


def tool(name):
    beside = os.path.join(TOOLS, name)
    return beside if TOOLS and os.access(beside, os.X_OK) else shutil.which(name)


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)


def with_root(folder, files):
    """A catalog with the files as one model, "m"."""
    command, _ = staged(folder, files, "--id", "m")
    subprocess.run(command, check=True, **QUIET)


def push(folder, target, *options, env=None):
    return [CATALOG, "--root", f"{folder}/root", "--quiet", "push", "m", target, *options], env or {}


def receipt(command, env):
    """The receipt that a push prints."""
    out = subprocess.run([*command[:3], "--json", *command[4:]], env={**os.environ, **env}, capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def registry():
    if not CLIENT or not shutil.which("docker-registry"):
        return note("skipped: a registry needs docker-registry, and oras in HUB_CLIENT")
    host = f"127.0.0.1:{free_port()}"
    with open(f"{OWN}/registry.yml", "w") as configuration:
        configuration.write(f"version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\n"
                            f"storage: {{filesystem: {{rootdirectory: {OWN}/storage}}}}\nhttp: {{addr: '{host}'}}\n")
    process = subprocess.Popen(["docker-registry", "serve", f"{OWN}/registry.yml"], **QUIET)
    try:
        time.sleep(1)
        for name, count, size, what in MODELS:
            make(f"{OWN}/{name}", count, size)
            pull_from_registry(host, name, what)
            push_to_registry(host, name, what)
            shutil.rmtree(f"{OWN}/{name}")
    finally:
        process.kill()
        process.wait()


def pull_from_registry(host, name, what):
    script = "import sys, os, oras.client as o; os.chdir(sys.argv[2]); o.OrasClient(insecure=True).push(" \
             "target=sys.argv[1], files=sorted(os.listdir('.')), disable_path_validation=True)"
    image = f"{host}/acme/{name}"
    subprocess.run([CLIENT, "-c", script, image, f"{OWN}/{name}"], check=True, **QUIET)
    turns = Turns(f"{what} from a registry")
    pull = "import sys, oras.client as o; o.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])"
    turns.add("oras pull, which checks nothing",
              lambda folder: ([CLIENT, "-c", pull, f"{image}:latest", f"{folder}/files"], {}), control=True)
    if shutil.which("skopeo"):
        turns.add("skopeo copy", lambda folder: (["skopeo", "copy", "--src-tls-verify=false", f"docker://{image}:latest",
                                                  f"oci:{folder}/layout:latest"], {}))
    turns.add("catalog stage", lambda folder: staged(folder, f"oci://{image}", "--allow-net", host))
    turns.measure().show()


def push_to_registry(host, name, what):
    """Pushes from an OCI layout or from a catalog, to an emptied registry."""
    turns, image = Turns(f"{what} to a registry"), f"{host}/acme/pushed-{name}"
    allow = ("--allow-net", host)
    layout = f"{OWN}/layout"
    emptied(f"{OWN}/first")
    with_root(f"{OWN}/first", f"{OWN}/{name}")
    subprocess.run(push(f"{OWN}/first", f"oci://{image}", *allow)[0], check=True, **QUIET)
    if shutil.which("skopeo"):
        shutil.rmtree(layout, ignore_errors=True)
        subprocess.run(["skopeo", "copy", "--src-tls-verify=false", f"docker://{image}:latest", f"oci:{layout}:latest"], check=True, **QUIET)

        def by_skopeo(folder):
            shutil.rmtree(f"{OWN}/storage/docker")
            return ["skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{image}:latest"], {}
        turns.add("skopeo copy", by_skopeo, control=True)

    def by_catalog(folder):
        shutil.rmtree(f"{OWN}/storage/docker")
        with_root(folder, f"{OWN}/{name}")
        return push(folder, f"oci://{image}", *allow)
    turns.add("catalog push", by_catalog, control=not turns.programs)
    turns.measure().show()
    again = receipt(*push(f"{OWN}/first", f"oci://{image}", *allow))
    print(f"| the same again | catalog push | {again['elapsed_ms'] / 1000:.2f} | | {again['requests']} requests, {again['pushed_bytes']} B | |")
    shutil.rmtree(f"{OWN}/first")
    shutil.rmtree(layout, ignore_errors=True)


def bucket():
    weed = tool("weed")
    if not weed:
        return note("skipped: a bucket needs SeaweedFS beside HUB_CLIENT")
    # Each server has a second port, 10,000 above.
    master, volume, filer, s3 = random.sample(range(12_000, 22_000), 4)
    with open(f"{OWN}/s3.json", "w") as users:
        json.dump({"identities": [{"name": "t", "actions": ["Admin"],
                                   "credentials": [{"accessKey": "AKTEST", "secretKey": "SKTESTSECRET"}]}]}, users)
    emptied(f"{OWN}/weed")
    process = subprocess.Popen([weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={OWN}/weed", f"-master.port={master}",
                                f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
                                f"-s3.config={OWN}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=1024",
                                "-volume.max=100", "-master.telemetry=false"], **QUIET)
    try:
        endpoint = f"http://127.0.0.1:{s3}"
        env = {**S3, "AWS_ENDPOINT_URL": endpoint, "CATALOG_ALLOW_NET": f"127.0.0.1:{s3}", "RCLONE_CONFIG_W_TYPE": "s3",
               "RCLONE_CONFIG_W_PROVIDER": "SeaweedFS", "RCLONE_CONFIG_W_ENDPOINT": endpoint, "RCLONE_CONFIG_W_ENV_AUTH": "true"}
        for _ in range(100):
            made = "import boto3, os; boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL']).create_bucket(Bucket='bucket')"
            if subprocess.run([CLIENT, "-c", made], env={**os.environ, **env}, **QUIET).returncode == 0:
                break
            time.sleep(0.2)
        else:
            raise SystemExit("error: SeaweedFS makes no bucket")
        name, count, size, what = MODELS[0]
        path, = make(f"{OWN}/{name}", count, size)
        copy_to_bucket(env, path, what)
        copy_from_bucket(env, os.path.basename(path), what)
    finally:
        process.kill()
        process.wait()


def copy_to_bucket(env, path, what):
    turns = Turns(f"{what} to a bucket")
    if tool("aws"):
        turns.add("aws s3 cp", lambda folder: ([tool("aws"), "s3", "cp", path, f"s3://bucket/{os.path.basename(path)}", "--no-progress"], env),
                  control=True)
    else:
        script = "import boto3, os, sys; boto3.client('s3', endpoint_url=os.environ['AWS_ENDPOINT_URL']).upload_file(sys.argv[1], 'bucket', sys.argv[2])"
        turns.add("boto3 upload_file", lambda folder: ([CLIENT, "-c", script, path, os.path.basename(path)], env), control=True)

    def by_catalog(folder):
        with_root(folder, path)
        return push(folder, f"s3://bucket/{os.urandom(4).hex()}", env=env)
    turns.add("catalog push", by_catalog)
    turns.measure().show()


def copy_from_bucket(env, key, what):
    turns = Turns(f"{what} from a bucket")
    if tool("rclone"):
        turns.add("rclone copy", lambda folder: ([tool("rclone"), "copy", f"w:bucket/{key}", f"{folder}/files"], env), control=True)
    turns.add("catalog stage", lambda folder: staged(folder, f"s3://bucket/{key}", env=env), control=not turns.programs)
    turns.measure().show()


os.environ.pop("AWS_CA_BUNDLE", None)  # tools refuse to start if the file that it names is missing
emptied(OWN)
try:
    print("| work | program | wall, s | CPU, s | wall : control | CPU : control |")
    print("| --- | --- | --- | --- | --- | --- |")
    registry()
    bucket()
finally:
    shutil.rmtree(OWN)
