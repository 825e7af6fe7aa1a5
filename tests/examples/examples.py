#!/usr/bin/env python3
"""Checks every fenced example below docs/: runs commands, compiles code, validates settings, parses data.

Commands run in a copy of the repository, with shims (shim.py) that lead to a simulator and a service on free ports,
and stand in for what needs a cluster, a registry or hours. The end of the output lists what was not run. EXAMPLE=WORD
selects examples by file and line.
"""

import base64
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

import languages  # noqa: E402
import scenarios  # noqa: E402

SHIMS = ["juspay-bff", "curl", "kubectl", "helm", "docker", "skopeo", "cosign", "perf", "callgrind_annotate",
         "cargo", "git", "make", "sleep"]
# They take minutes or hours of CPU time; .ci/run and the documents' own runs use them.
LONG_SCRIPTS = ["benches/speed/run", "benches/instructions/run", "fuzz/run", "fuzz/pack"]
# No commands or code: diagrams and output.
NO_CODE = ["", "text"]
# No program here reads these languages.
UNREAD = {"nginx": "Debian's nginx would be installed for one line"}
API_KEY = "0123456789ABCDEF0123456789ABCDEF"


@dataclasses.dataclass
class Block:
    path: pathlib.Path
    line: int
    language: str
    text: str

    def __str__(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks_of(path):
    fence = re.compile(r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
    text = path.read_text()
    for found in fence.finditer(text):
        indent = len(found["indent"])
        lines = [line[indent:] for line in found["text"].splitlines()]
        line = text.count("\n", 0, found.start()) + 1
        yield Block(path, line, found["info"].split(" ")[0], "\n".join(lines) + "\n")


class World:
    """A copy of the repository with a simulator, a service and the files that the examples name."""

    def __init__(self, folder):
        self.folder = folder
        self.copy = folder / "copy"
        scenario = {"profile": "upi", "settings": {"auth.issuers.simulator": {"discovery": True}}}
        self.world = scenarios.start_world(scenario, folder)
        self.make_copy()
        self.settings = folder / "settings.toml"
        for name in ("settings.toml", "production.toml"):
            shutil.copy(self.settings, self.copy / name)
        (self.copy / "base.toml").write_text('[log]\nformat = "json"\n')
        self.token = self.world.access_token("alice", "good")
        for name in ("token", "token.txt"):
            (self.copy / name).write_text(self.token)
        for name in ("juspay-api-key", "new-key-file", "my-input"):
            (self.copy / name).write_text(API_KEY)
        self.make_shims()
        self.not_run = folder / "not-run"
        self.not_run.touch()

    def make_copy(self):
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in files.rstrip("\0").split("\0"):
            if (ROOT / name).exists() and not name.startswith("fuzz/corpus"):
                (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.copy / name)
        # A merchant's values: check-config rejects those of the examples.
        acme = {"registry.example.com": "registry.acme.test", "my_merchant": "acme_pay", "my-app": "acme-app",
                "login.example.com": "id.acme.test", "pay.example.com": "bff.acme.test",
                "=ingress\n": "=edge\n", "=monitoring\n": "=metrics\n"}
        shutil.copy(self.copy / "deploy/helm/example.yaml", self.copy / "my-values.yaml")
        for name in ("deploy/kubernetes/base/site.env", "deploy/kubernetes/overlays/sidecar/app.yaml", "my-values.yaml"):
            text = (self.copy / name).read_text()
            for example, value in acme.items():
                text = text.replace(example, value)
            (self.copy / name).write_text(text)

    def make_shims(self):
        (self.folder / "bin").mkdir()
        for name in SHIMS:
            shim = self.folder / "bin" / name
            shim.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "shim.py"} {name} "$@"\n')
            shim.chmod(0o755)
        for name in LONG_SCRIPTS:
            assert os.access(self.copy / name, os.X_OK), f"{name} is not there"
            (self.copy / name).write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "shim.py"} {name} "$@"\n')

    def environment(self):
        tools = ROOT / "target/deploy/bin"
        return {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SHIM_REAL_PATH": f"{tools / 'kubectl'}:{tools / 'helm'}:{os.environ['PATH']}",
            "SHIM_PROGRAM": str(scenarios.PROGRAM.resolve()),
            "SHIM_PORTS": json.dumps(self.world.ports),
            "SHIM_SETTINGS": str(self.settings),
            "SHIM_NOT_RUN": str(self.not_run),
            "SHIM_SLEEPS": str(self.folder / "sleeps"),
            "SHIM_EXAMPLE": "",
            "ACCESS_TOKEN": self.token,
            "ADMIN_TOKEN": "admin",
            "PASSWORD": "secret",
            "CARGO_TARGET_DIR": str(self.folder / "target"),
        }

    def run(self, block, stdin=None):
        stdin = self.token + "\n" if stdin is None else stdin
        (self.folder / "sleeps").unlink(missing_ok=True)
        command = ["bash", "-eo", "pipefail", "-c", block.text]
        variables = {**self.environment(), "SHIM_EXAMPLE": block.text}
        result = subprocess.run(command, cwd=self.copy, env=variables, input=stdin, capture_output=True,
                                text=True, timeout=300)
        output = result.stdout + result.stderr
        assert result.returncode == 0, f"exit code {result.returncode}\n{output}"
        return output


def check_commands(world, block):
    if "read -rs API_KEY" in block.text:
        check_leak_search(world, block)
    elif all(re.match(r"[A-Z_]+=\S*$", line) for line in block.text.splitlines()):
        check_variables(world, block)
    else:
        world.run(block)


def check_variables(world, block):
    pairs = dict(line.split("=", 1) for line in block.text.splitlines())
    variables = {name: value for name, value in pairs.items() if name.startswith("JUSPAY_BFF__")}
    is_complete = "JUSPAY_BFF__JUSPAY__BASE_URL" in variables
    check_config(world, [] if is_complete else [world.settings], variables)


def check_config(world, files, variables=None):
    """Everything but files that are not on this machine, and features that the dev build lacks."""
    arguments = [f"--config={file}" for file in files]
    result = subprocess.run([scenarios.PROGRAM, "check-config", "--format", "json", *arguments],
                            env={**os.environ, **(variables or {})}, capture_output=True, text=True)
    report = json.loads(result.stdout)
    faults = [fault for fault in report.get("faults", []) if not is_about_this_machine(fault)]
    assert not faults, json.dumps(faults, indent=1)


def is_about_this_machine(fault):
    return fault["key"].endswith("_file") or "this binary was built without" in fault["reason"]


def check_leak_search(world, block):
    """The search finds the key as text and inside Basic authorization, and nothing in a clean app."""
    basic = base64.b64encode(f"{API_KEY}:".encode()).decode()
    for content, expected in [(API_KEY, "LEAKED"), (f"Basic {basic}", "LEAKED"), ("nothing", "no key found")]:
        shutil.rmtree(world.copy / "unpacked", ignore_errors=True)
        with zipfile.ZipFile(world.copy / "app.apk", "w", zipfile.ZIP_DEFLATED) as app:
            app.writestr("classes.dex", b"\0\1" + content.encode() + b"\0")
        output = world.run(block, API_KEY + "\n")
        assert expected in output, f"{content}: {output}"


def check_settings(world, block):
    """Settings in a file of their own, after the settings without a default."""
    tables = tomllib.loads(block.text)
    file = world.folder / "example.toml"
    file.write_text(block.text)
    needed = [HERE.parent / "required_settings.toml"]
    issuers = tables.get("auth", {}).get("issuers", {})
    juspay = world.folder / "juspay.toml"
    juspay.write_text('[juspay]\nbase_url = "https://juspay.test"\nmerchant_id = "m"\napi_key = "key"\n')
    if issuers or "gateway" in tables.get("auth", {}):
        needed = [juspay]
    if any("issuer" not in issuer for issuer in issuers.values()):
        # A part of the settings of issuers.
        base = {"algorithms": ["ES256"], "discovery": True}
        extra = world.folder / "issuers.toml"
        extra.write_text("\n".join(
            f"[auth.issuers.{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in
            {**base, "issuer": f"https://{name}.acme.test", "audiences": [name]}.items()) for name in issuers))
        needed.append(extra)
    check_config(world, [*needed, file])


def check_json(_, block):
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        for line in block.text.splitlines():
            json.loads(line)


def check_yaml(_, block):
    import yaml

    assert list(yaml.safe_load_all(block.text)), "empty"


EACH = {"sh": check_commands, "toml": check_settings, "json": check_json, "yaml": check_yaml}
TOGETHER = {"ts": languages.typescript, "kotlin": languages.kotlin, "swift": languages.swift, "dart": languages.dart}


def main():
    only = os.environ.get("EXAMPLE", "")
    blocks = [block for path in sorted((ROOT / "docs").rglob("*.md")) for block in blocks_of(path)]
    blocks = [block for block in blocks if only in str(block) and block.language not in NO_CODE]
    failures, counts = [], {}

    def attempt(name, check, *arguments):
        try:
            check(*arguments)
        except Exception as why:  # noqa: BLE001
            failures.append(f"{name}: {type(why).__name__}: {why}")

    with tempfile.TemporaryDirectory() as folder:
        world = World(pathlib.Path(folder))
        try:
            for block in blocks:
                counts[block.language] = counts.get(block.language, 0) + 1
                if block.language in EACH:
                    attempt(block, EACH[block.language], world, block)
                elif block.language not in TOGETHER and block.language not in UNREAD:
                    failures.append(f"{block}: no check reads the language {block.language}")
            not_run = sorted(set(world.not_run.read_text().splitlines()))
        finally:
            world.world.end()
    for language, check in TOGETHER.items():
        if language in counts:
            attempt(language, check, [block for block in blocks if block.language == language])
    print("\n".join([f"not run: {line}" for line in not_run] + [f"FAILED {failure}" for failure in failures]))
    print(f"{len(blocks)} examples, {len(failures)} failed:", ", ".join(f"{n} {it}" for it, n in sorted(counts.items())))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
