#!/usr/bin/env python3
"""Tokens for `docker-registry` with token authentication: `token.py KEY CERTIFICATE`, both in PEM. It prints its port.

It lets the user `user` do everything, with the password `secret` or the refresh token `identity`, and everybody else
pull from `public/…`. openssl signs the tokens (ES256), with the certificate in their header, as the registry's
documentation describes.
"""

import base64
import json
import subprocess
import sys
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY, CERTIFICATE = sys.argv[1:3]
LOGIN = "Basic " + base64.b64encode(b"user:secret").decode()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(data):
    """The two numbers of a signature, which openssl returns as DER."""
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", KEY], input=data, stdout=subprocess.PIPE, check=True).stdout
    numbers, at = b"", 2
    for _ in range(2):
        length = der[at + 1]
        numbers += der[at + 2:at + 2 + length].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + length
    return numbers


def token(query, login):
    access = []
    for scope in " ".join(query.get("scope", [])).split():
        kind, name, actions = scope.split(":")
        allowed = actions.split(",") if login == LOGIN else ["pull"] if name.startswith("public/") else []
        access.append({"type": kind, "name": name, "actions": allowed})
    der = subprocess.run(["openssl", "x509", "-in", CERTIFICATE, "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
    now = int(time.time())
    claims = {"iss": "tests", "sub": "user", "aud": query["service"][0], "exp": now + 300, "nbf": now - 10, "iat": now,
              "jti": str(uuid.uuid4()), "access": access}
    text = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{encode(sign(text.encode()))}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        login = self.headers.get("Authorization")
        self.answer("token", parse_qs(urlsplit(self.path).query), login, login is not None and login != LOGIN)

    def do_POST(self):
        form = parse_qs(self.body().decode())
        is_known = form.get("grant_type") == ["refresh_token"] and form.get("refresh_token") == ["identity"]
        self.answer("access_token", form, LOGIN, not is_known)

    def body(self):
        length = self.headers["Content-Length"]
        if length is not None:
            return self.rfile.read(int(length))
        # In chunks, as skopeo sends it.
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, name, query, login, is_wrong):
        body = b"" if is_wrong else json.dumps({name: token(query, login)}).encode()
        self.send_response(401 if is_wrong else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
