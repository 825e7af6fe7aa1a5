"""Stands in for the commands of the examples: shim.py NAME ARGUMENT…

Commands run for real where that is possible on one machine, against the addresses of the test's simulator and
service. For a cluster, the flags are compared with those of the real kubectl and helm. The rest is only recorded.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

NAME, ARGUMENTS = sys.argv[1], sys.argv[2:]
PORTS = json.loads(os.environ["SHIM_PORTS"])
PROGRAM = os.environ["SHIM_PROGRAM"]
REAL_PATH = os.environ["SHIM_REAL_PATH"]
SETTINGS = os.environ["SHIM_SETTINGS"]
PLACES = {
    "https://api.example.com": "service", "http://127.0.0.1:8080": "service", "http://127.0.0.1:8081": "juspay",
    "http://127.0.0.1:8082": "issuer",
    "http://127.0.0.1:9464": "admin", "http://127.0.0.1:19464": "admin",
}
REF_KEY = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"


def real(name):
    found = shutil.which(name, path=REAL_PATH)
    assert found, f"{name} is not installed"
    return found


def replace(command):
    sys.stdout.flush()
    os.execv(command[0], command)


def not_run(why):
    line = " ".join([NAME, *ARGUMENTS]).replace("\n", " ")[:120]
    with open(os.environ["SHIM_NOT_RUN"], "a") as file:
        file.write(f"{line} ({why})\n")
    sys.exit(0)


def curl():
    arguments = ARGUMENTS
    for address, place in PLACES.items():
        arguments = [it.replace(address, f"http://127.0.0.1:{PORTS[place]}") for it in arguments]
    # Magic customers have errors.
    if "sim_" not in os.environ["SHIM_EXAMPLE"]:
        arguments = ["--fail-with-body", *arguments]
    replace([real("curl"), "--silent", "--show-error", *arguments])


def juspay_bff():
    command, *rest = ARGUMENTS
    if command == "token":
        replace([PROGRAM, "token", f"--issuer=http://127.0.0.1:{PORTS['issuer']}", *rest])
    if command == "demo":
        replace([PROGRAM, "demo", "--once", *rest])
    if command == "serve":
        # Its settings; a service is running already.
        variables = {"JUSPAY_BFF__JUSPAY__BASE_URL": f"http://127.0.0.1:{PORTS['juspay']}"}
        result = subprocess.run([PROGRAM, "check-config", *rest], stdout=subprocess.DEVNULL, env={**os.environ, **variables})
        sys.exit(result.returncode)
    if command == "simulator":
        ports = ["--listen=127.0.0.1:0", "--issuer-listen=127.0.0.1:0"]
        process = subprocess.Popen([PROGRAM, "simulator", *ports, *rest], stdout=subprocess.PIPE, text=True)
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        sys.exit(0 if first and process.wait() == 0 else 1)
    replace([PROGRAM, *[it.replace("/etc/juspay-bff/settings.toml", SETTINGS) for it in ARGUMENTS]])


def check_flags(program):
    """All flags exist, by the real program's help."""
    words = [it for it in ARGUMENTS if re.fullmatch(r"[a-z][a-z-]*", it)]
    flags = [it.split("=")[0] for it in ARGUMENTS if it.startswith("--") and it != "--"]
    helps = ""
    for depth in range(4):
        result = subprocess.run([real(program), *words[:depth], "--help"], capture_output=True, text=True)
        helps += result.stdout
    options = subprocess.run([real(program), "options"], capture_output=True, text=True).stdout if program == "kubectl" else ""
    unknown = [flag for flag in flags if flag not in helps + options]
    if unknown:
        sys.exit(f"{program} has no {', '.join(unknown)}")


def kubectl():
    if ARGUMENTS[0] == "kustomize":
        replace([real("kubectl"), *ARGUMENTS])
    if "--" in ARGUMENTS:
        inner = ARGUMENTS[ARGUMENTS.index("--") + 1:]
        assert inner[0] == "/juspay-bff", inner
        replace([PROGRAM, *[it.replace("/etc/juspay-bff/settings.toml", SETTINGS) for it in inner[1:]]])
    flagged = [it for it in ARGUMENTS if it not in ("get", "secret", "pods")]
    text = " ".join(ARGUMENTS)
    saved, ARGUMENTS[:] = list(ARGUMENTS), without_namespace(ARGUMENTS)
    check_flags("kubectl")
    ARGUMENTS[:] = saved
    if "get secret" in text and "jsonpath" in text:
        print(base64.b64encode(REF_KEY.encode()).decode(), end="")
    elif "get secret" in text:
        print(json.dumps({"data": {"juspay-api-key": "", "juspay-api-key-next": ""}}))
    elif "get pods" in text:
        print("pod/juspay-bff-1")
    elif "logs" in flagged:
        ref = subprocess.run(["deploy/customer-ref", "customer-ref-key", "alice"], capture_output=True, text=True, check=True)
        print(json.dumps({"customer_ref": ref.stdout.strip()}, separators=(",", ":")))
    elif "replace" in text:
        assert json.load(sys.stdin)["data"], "no Secret"
    not_run("needs a cluster; its flags exist")


def without_namespace(arguments):
    found = list(arguments)
    if "--namespace" in found:
        place = found.index("--namespace")
        del found[place:place + 2]
    return found


def helm():
    if ARGUMENTS[0] == "template":
        replace([real("helm"), *ARGUMENTS])
    check_flags("helm")
    not_run("needs a cluster or registry; its flags exist")


def sleep():
    """The third one ends a loop."""
    count = pathlib.Path(os.environ["SHIM_SLEEPS"])
    sleeps = len(count.read_text()) if count.exists() else 0
    count.write_text("." * (sleeps + 1))
    sys.exit(sleeps >= 2)


def main():
    commands = {"curl": curl, "juspay-bff": juspay_bff, "kubectl": kubectl, "helm": helm, "sleep": sleep}
    if NAME in commands:
        commands[NAME]()
    elif NAME == "make":
        result = subprocess.run([real("make"), "--dry-run", *ARGUMENTS], stdout=subprocess.DEVNULL)
        sys.exit(result.returncode) if result.returncode else not_run("minutes; make --dry-run knows it")
    elif NAME == "git" and ARGUMENTS[0] not in ("tag", "push"):
        replace([real("git"), *ARGUMENTS])
    elif NAME == "fuzz/pack" and ARGUMENTS[0] == "--unpack":
        pathlib.Path("fuzz/target/inputs", ARGUMENTS[1]).mkdir(parents=True)
        not_run("minutes of CPU time")
    elif "/" in NAME or NAME in ("perf", "callgrind_annotate", "cargo"):
        not_run("minutes of CPU time")
    else:
        not_run("needs a registry")


main()
