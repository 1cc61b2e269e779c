"""nginx on loopback, which serves a folder and ends with the suite, however that ends."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time

from lib.mounts import PATH, Unavailable

CONFIGURATION = """
daemon off; master_process off; pid {own}/pid; error_log {own}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {own}/a; proxy_temp_path {own}/b; fastcgi_temp_path {own}/c; uwsgi_temp_path {own}/d;
    scgi_temp_path {own}/e;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def missing():
    """Why nothing can be served here; None if it can."""
    return None if shutil.which("nginx", path=PATH) else "nginx is not installed"


@contextlib.contextmanager
def serving(folder):
    """The host and port of the server."""
    if missing():
        raise Unavailable(missing())
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="catalog-web-") as own:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with open(f"{own}/conf", "w") as conf:
            conf.write(CONFIGURATION.format(own=own, port=port, folder=folder))
        words = ["nginx", "-e", f"{own}/error.log", "-c", f"{own}/conf"]
        server = subprocess.Popen(words, env=os.environ | {"PATH": PATH}, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            wait_for(server, port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def wait_for(server, port):
    for _ in range(100):
        if server.poll() is not None:
            raise SystemExit("error: nginx has ended")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("error: nginx does not answer")
