#!/usr/bin/env python3
"""Sends requests that Schemathesis generates from the served /openapi.json to a running service, and checks the
responses: status, content type, headers and body as documented, valid requests accepted, invalid ones and unknown
methods rejected. The same requests in each run. Arguments are passed on to Schemathesis.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).parent
TARGET = HERE / "../../target"
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TARGET)) / "debug/juspay-bff"
SCHEMATHESIS = TARGET / "openapi/python/bin/schemathesis"
LOG = TARGET / "openapi/service.log"
SETTINGS = """
server = {{ listen = "127.0.0.1:0", admin_listen = "127.0.0.1:0", shutdown_delay = "0s" }}
juspay = {{ base_url = "{juspay}", merchant_id = "sim_merchant", api_key = "sim_key" }}
limits.per_customer = "off"
cors.origins = ["https://shop.example"]
log.access = "errors"
[sdk]
profile = "upi"
environment = "sandbox"
[auth.issuers.main]
issuer = "{issuer}"
audiences = ["juspay-bff-demo"]
algorithms = ["ES256"]
discovery = true
"""


def start(*arguments):
    return subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)


def line_with(process, text):
    for line in process.stdout:
        if text in line:
            return line
    sys.exit(f"{process.args[1]} ended without {text!r}")


def schemathesis(service, address, tag, *arguments):
    options = ["--config-file", HERE / "schemathesis.toml", "--no-color", "run"]
    document = f"http://{service['admin']}/openapi.json"
    run = [*options, document, "--url", f"http://{address}", "--include-tag", tag, *arguments]
    print(f"\nSchemathesis: the routes with the tag {tag}", flush=True)
    return subprocess.run([SCHEMATHESIS, *run, *sys.argv[1:]], cwd=TARGET / "openapi").returncode == 0


def main():
    simulator = start("simulator", "--listen=127.0.0.1:0", "--issuer-listen=127.0.0.1:0")
    juspay, issuer = (line_with(simulator, f"Simulated {name}").split()[-1] for name in ("Juspay", "issuer"))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(SETTINGS.format(juspay=juspay, issuer=issuer))
        settings.flush()
        service = start("serve", "--config", settings.name)
        addresses = json.loads(line_with(service, '"serving"'))
        line_with(service, '"JWKS updated"')
    with open(LOG, "w") as log:
        writing = threading.Thread(target=shutil.copyfileobj, args=(service.stdout, log))
        writing.start()
        token = subprocess.run(
            [PROGRAM, "token", "--subject=alice", "--life=1h", "--issuer", issuer],
            check=True, capture_output=True, text=True,
        ).stdout.strip()
        app = schemathesis(addresses, addresses["public"], "app", "--header", f"Authorization: Bearer {token}")
        admin = schemathesis(addresses, addresses["admin"], "admin")
        service.terminate()
        stopped = service.wait() == 0
        writing.join()
    simulator.terminate()
    simulator.wait()
    panicked = "panic" in LOG.read_text()
    if not (app and admin and stopped) or panicked:
        sys.exit(f"app {app}, admin {admin}, stopped well {stopped}, panicked {panicked}: see {LOG.resolve()}")


main()
