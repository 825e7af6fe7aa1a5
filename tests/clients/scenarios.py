#!/usr/bin/env python3
"""Walks through scenarios.json with one client: scenarios.py NAME PROGRAM ARGUMENT…

Each scenario gets its own simulator, service and app. The app is the given program, with its options as one more
argument; it runs the client by commands on standard input. Between app and service is a front, which records what
the service receives and can behave like a broken network. Nothing waits for time to pass, except for a request that
times out: the app's clock belongs to the scenario, and an app that wants to wait gets its answer when the scenario
says so.
"""

import datetime
import http.client
import http.server
import json
import os
import pathlib
import queue
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.parse

HERE = pathlib.Path(__file__).parent
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "../../target")) / "debug/juspay-bff"
# A step that takes this long hangs. No step waits for it.
LIMIT = 60
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ISO = "%Y-%m-%dT%H:%M:%S.%fZ"


def free_port():
    """Below the ports that the kernel gives to connections, one of which could take it."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def start_world(scenario, folder):
    """Another process can take a port before the service does: then other ports."""
    for _ in range(5):
        try:
            return World(scenario, folder)
        except AssertionError as why:
            if "Address already in use" not in str(why) and "can't listen" not in str(why):
                raise
    raise AssertionError("no free ports")


def exchange(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, headers or {})
    response = connection.getresponse()
    return response.status, response.read()


class World:
    """The simulator and the service of one scenario."""

    def __init__(self, scenario, folder):
        self.ports = {name: free_port() for name in ("juspay", "issuer", "service", "admin")}
        ports, sdk = self.ports, {"profile": scenario["profile"], "environment": "sandbox"}
        settings = {
            "server": {"listen": f"127.0.0.1:{ports['service']}", "admin_listen": f"127.0.0.1:{ports['admin']}"},
            "juspay": {"base_url": f"http://127.0.0.1:{ports['juspay']}", "merchant_id": "sim_merchant", "api_key": "sim_key"},
            "auth.issuers.simulator": {
                "issuer": f"http://127.0.0.1:{ports['issuer']}", "audiences": ["juspay-bff-demo"],
                "algorithms": ["ES256"], "discovery": True,
            },
            "sdk": sdk,
        }
        for table, values in scenario.get("settings", {}).items():
            settings.setdefault(table, {}).update(values)
        path = folder / "settings.toml"
        path.write_text("\n".join(
            f"[{table}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
            for table, values in settings.items()
        ))
        self.log = open(folder / "log", "w+")
        simulator = [f"--listen=127.0.0.1:{ports['juspay']}", f"--issuer-listen=127.0.0.1:{ports['issuer']}"]
        self.processes = [self.start("simulator", *simulator), self.start("serve", f"--config={path}")]
        try:
            # The simulator's banner ends with this line.
            while "Press Ctrl-C" not in (line := self.processes[0].stdout.readline()):
                assert line, f"the simulator ended:\n{self.logged()}"
            self.wait_until_ready()
        except AssertionError:
            self.end()
            raise

    def start(self, *arguments):
        stdout = subprocess.PIPE if arguments[0] == "simulator" else self.log
        return subprocess.Popen([PROGRAM, *arguments], stdout=stdout, stderr=self.log, text=True)

    def wait_until_ready(self):
        pause = threading.Event()
        for _ in range(LIMIT * 50):
            try:
                if exchange(self.ports["admin"], "GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            assert self.processes[1].poll() is None, f"the service ended:\n{self.logged()}"
            pause.wait(0.02)
        raise AssertionError("the service is not ready")

    def logged(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def simulator(self, method, path, body=None):
        status, answer = exchange(self.ports["juspay"], method, f"/_simulator{path}", body)
        return status, json.loads(answer)

    def access_token(self, customer, kind):
        if kind == "garbage":
            return "no.access.token"
        life = {"good": 3600, "expired": -3600}
        claims = {"customerless": {"sub": "juspay-bff-demo-app"}}
        request = {"subject": customer, "life": life.get(kind, 3600), "claims": claims.get(kind, {})}
        status, answer = exchange(self.ports["issuer"], "POST", "/token", request)
        assert status == 200, answer
        return json.loads(answer)["access_token"]

    def heal(self):
        """Juspay works again, and the service has forgotten its failures."""
        self.simulator("DELETE", "/faults")
        self.purge()

    def purge(self):
        status, answer = exchange(self.ports["admin"], "POST", "/cache/purge", {"all": True})
        assert status == 200, answer

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()
        self.log.close()


class FrontServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """An app that has given up is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Front:
    """What is between app and service, such as a load balancer."""

    def __init__(self, service):
        self.mode, self.received, self.lock = "pass", [], threading.Lock()
        self.held, self.may_pass = threading.Semaphore(0), threading.Event()
        self.answered, self.retry_after, self.last_answer = threading.Semaphore(0), None, {}
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                front.answer(self, service)

            do_POST = do_GET

        self.server = FrontServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler, service):
        mode, headers = self.mode, handler.headers
        line = f"{handler.command} {handler.path}"
        if directive := headers.get("Cache-Control"):
            line += f" {directive}"
        entry = [line, mode]
        with self.lock:
            self.received.append(entry)
        if mode == "closes":
            handler.close_connection = True
            self.answered.release()
            return
        if mode == "stalls":
            handler.close_connection = True
            self.may_pass.wait(LIMIT)
            return
        status, retry_after, body, kind = self.reply(mode, handler, service)
        if mode == "held":
            # The service has answered.
            self.held.release()
            self.may_pass.wait(LIMIT)
        entry[1] = status
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        if retry_after:
            handler.send_header("Retry-After", retry_after)
        if status == 302:
            handler.send_header("Location", "/elsewhere")
        handler.end_headers()
        handler.wfile.write(body)
        self.answered.release()

    def reply(self, mode, handler, service):
        page = b"<html>a page of something else</html>"
        if mode.isdigit():
            return int(mode), self.retry_after, page, "text/html"
        if mode == "another replica" and "action=process" in handler.path:
            return self.last_answer[handler.path]
        if mode == "no authorization":
            del handler.headers["Authorization"]
        reply = self.forwarded(handler, service)
        self.last_answer[handler.path] = reply
        return reply

    @staticmethod
    def forwarded(handler, service):
        connection = http.client.HTTPConnection("127.0.0.1", service, timeout=LIMIT)
        names = ("Authorization", "Cache-Control", "Content-Length", "Accept")
        headers = {name: handler.headers[name] for name in names if name in handler.headers}
        connection.request(handler.command, handler.path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        return response.status, response.headers["Retry-After"], body, response.headers.get("Content-Type", "")

    def end(self):
        self.server.shutdown()
        self.server.server_close()


class App:
    """The program that runs the client."""

    def __init__(self, command, options, on_ask):
        self.process = subprocess.Popen(
            [*command, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.numbers, self.answers, self.told = 0, {}, queue.Queue()
        self.lock = threading.Lock()
        threading.Thread(target=self.read, args=(on_ask,), daemon=True).start()

    def read(self, on_ask):
        for line in self.process.stdout:
            message = json.loads(line)
            if "ask" in message:
                threading.Thread(target=self.reply, args=(message, on_ask), daemon=True).start()
            elif "tell" in message:
                self.told.put(message)
            else:
                self.answers[message["id"]].put(message)

    def reply(self, message, on_ask):
        self.write({"do": "answer", "ask": message["ask"], "value": on_ask(message)})

    def write(self, message):
        with self.lock:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def send(self, command):
        self.numbers += 1
        answer = self.answers[self.numbers] = queue.Queue()
        self.write({"id": self.numbers, **command})
        return answer

    def call(self, command):
        return self.send(command).get(timeout=LIMIT)

    def end(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


class Run:
    """One scenario."""

    def __init__(self, scenario, command, folder):
        self.scenario, self.customer = scenario, "cust_1234"
        self.world = start_world(scenario, folder)
        self.front = Front(self.world.ports["service"])
        self.begun = []
        self.tokens, self.kind, self.renewed = {}, "good", ["good"]
        self.waits, self.on_wait, self.logouts, self.errors, self.wall = [], None, 0, [], 0
        self.waited = threading.Semaphore(0)
        self.may_sign_in = threading.Event()
        self.may_sign_in.set()
        options = {"baseUrl": f"http://127.0.0.1:{self.front.port}/", "profile": scenario["profile"], **scenario.get("options", {})}
        if scenario["profile"] == "ec":
            options["ec"] = {
                "merchantId": "sim_merchant", "clientId": "acme", "customerId": self.customer, "environment": "sandbox"}
        self.app = App(command, options, self.asked)

    def asked(self, question):
        if question["what"] == "sleep":
            self.waits.append(question["ms"] / 1000)
            if self.on_wait:
                self.on_wait()
            self.waited.release()
            return None
        self.may_sign_in.wait(LIMIT)
        if question["renew"]:
            self.kind = self.renewed.pop(0) if self.renewed else "good"
        return None if self.kind == "none" else self.world.access_token(self.customer, self.kind)

    def end(self):
        self.app.end()
        self.front.end()
        self.world.end()

    def walk(self):
        for number, step in enumerate(self.scenario["steps"], 1):
            name, *details = step.items()
            details = dict(details)
            try:
                getattr(self, f"step_{name[0]}")(name[1], **details)
            except (AssertionError, queue.Empty, KeyError) as why:
                raise AssertionError(f"step {number}, {json.dumps(step)}: {why or type(why).__name__}") from why

    # Calls of the app.

    def step_app(self, command, gets=None, fails=None, parallel=1, **arguments):
        command = {"do": command, **arguments}
        if parallel > 1:
            # They are all under way before the first request is sent.
            self.may_sign_in.clear()
        queues = [self.app.send(command) for _ in range(parallel)]
        self.app.call({"do": "nothing"})
        self.may_sign_in.set()
        for answer in queues:
            self.check_answer(answer.get(timeout=LIMIT), gets, fails)

    def check_answer(self, answer, gets, fails):
        if fails is not None:
            assert "error" in answer, f"got {answer.get('result')}"
            self.check_values(answer["error"], fails)
            return
        assert "error" not in answer, f"failed with {answer.get('error')}"
        result = answer["result"]
        if isinstance(result, dict):
            self.check_expiry(result if "token" in result else result["payload"])
        if gets is not None:
            self.check_values(result, gets)

    def check_values(self, found, expected):
        for key, value in expected.items():
            actual = found.get(key)
            if key in ("token", "clientAuthToken"):
                self.check_token(actual, value)
            elif key == "payload":
                assert set(actual) == set(value), f"members {sorted(actual)}"
                assert all(isinstance(member, str) for member in actual.values()), actual
                self.check_values(actual, value)
            elif key == "requestId":
                assert UUID.fullmatch(actual), actual
            elif value == "any":
                assert actual is not None, f"no {key}"
            elif isinstance(value, list):
                assert actual is not None and value[0] <= actual <= value[1], f"{key} is {actual}"
            else:
                assert actual == value, f"{key} is {actual}"

    def check_token(self, actual, name):
        """Each name is another token."""
        known = self.tokens.setdefault(name, actual)
        assert actual == known, f"another token than {name}"
        others = [other for other, token in self.tokens.items() if token == actual and other != name]
        assert not others, f"the same token as {others}"

    def check_expiry(self, values):
        """`authExpiry` is by the phone's clock, right or wrong."""
        if "authExpiry" not in values:
            return
        text = values["authExpiry"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
        expiry = datetime.datetime.strptime(text, ISO).replace(tzinfo=datetime.timezone.utc)
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(milliseconds=self.wall)
        life = (expiry - now).total_seconds()
        assert 0 < life <= 900, f"authExpiry is {life} s after the phone's time"

    # What happens around the app.

    def step_phone_clock(self, hours):
        self.wall = hours * 3_600_000
        self.app.call({"do": "set_wall_clock", "ms": self.wall})

    def step_later(self, seconds):
        self.app.call({"do": "advance", "ms": seconds * 1000})

    def step_event(self, event, sdk_gets=None):
        self.app.call({"do": "event", "event": event})
        if sdk_gets is not None:
            self.step_sdk_gets(sdk_gets)

    def step_juspay(self, fault, times=None):
        rule = {"customer": self.customer, "fault": fault}
        self.world.simulator("POST", "/faults", rule if times is None else {**rule, "times": times})

    def step_network(self, mode, retry_after=None, release=True):
        """How the front behaves. `release`: whether it answers what it has held until now."""
        self.front.mode, self.front.retry_after = mode, retry_after
        if mode == "pass" and release:
            self.front.may_pass.set()
        elif mode in ("held", "stalls"):
            self.front.may_pass.clear()

    def step_begin(self, commands, before_sign_in=False, end_with=None):
        """Calls that a later step checks. `before_sign_in`: the app gets its access token when all have begun."""
        if before_sign_in:
            self.may_sign_in.clear()
        self.begun = [self.app.send({"do": command}) for command in commands]
        self.app.call({"do": "nothing"})
        if end_with:
            self.app.call({"do": end_with})
        self.may_sign_in.set()

    def step_until_answered(self, count):
        for _ in range(count):
            assert self.front.answered.acquire(timeout=LIMIT), "no answer"

    def step_until_waited(self, count):
        for _ in range(count):
            assert self.waited.acquire(timeout=LIMIT), "no wait"

    def step_forget_requests(self, _):
        """Those until now are not for the next `service_got`."""
        self.taken_requests()

    def step_until_held(self, count):
        for _ in range(count):
            assert self.front.held.acquire(timeout=LIMIT), "no request"

    def step_ended(self, expected, fails=False):
        for answer in self.begun:
            self.check_answer(answer.get(timeout=LIMIT), None if fails else expected, expected if fails else None)

    def step_access_token(self, kind, renewed=()):
        self.kind, self.renewed = kind, list(renewed)

    def step_on_wait(self, action):
        def heal():
            self.front.mode, self.kind = "pass", "good"
            self.world.heal()

        def sign_out():
            self.kind = "good"
            self.app.call({"do": "invalidate"})

        actions = {"heal": heal, "sign out": sign_out}
        self.on_wait = actions[action]

    def step_service(self, action):
        assert action == "forgets all"
        self.world.purge()

    def step_sdk_uses(self, name, result="ok"):
        """The SDK calls Juspay with a token."""
        status, answer = self.world.simulator("POST", "/tokens/use", {"token": self.tokens[name]})
        assert answer.get("error", "ok") == result, answer

    # What app, SDK, service and Juspay received.

    def step_sdk_gets(self, payloads):
        """The SDK's `process` was called with these payloads, in any order."""
        told = [self.next_told("process") for _ in payloads]
        told.sort(key=lambda it: it["envelope"]["payload"].get("reqCode", ""))
        for message, expected in zip(told, payloads):
            envelope = message["envelope"]
            # Kotlin has one form only.
            assert message.get("form") in (None, self.scenario.get("form", "string")), message
            self.check_expiry(envelope["payload"])
            self.check_values(envelope, {"requestId": "any", "service": "in.juspay.hyperapi", "payload": expected})

    def next_told(self, what):
        while True:
            message = self.app.told.get(timeout=LIMIT)
            if message["tell"] == what:
                return message
            self.note(message)

    def note(self, message):
        if message["tell"] == "logout":
            self.logouts += 1
        elif message["tell"] == "error":
            self.errors.append(message["error"])
        else:
            raise AssertionError(f"unexpected: {message}")

    def drain(self):
        self.app.call({"do": "nothing"})
        while not self.app.told.empty():
            self.note(self.app.told.get())

    def step_app_hears(self, expected):
        """`onError` was called."""
        while not self.errors:
            self.note(self.app.told.get(timeout=LIMIT))
        self.check_values(self.errors.pop(0), expected)

    def step_logouts(self, count):
        self.drain()
        assert self.logouts == count, f"{self.logouts}"

    def step_app_waited(self, ranges):
        """The waits since the last such step, in seconds."""
        waits, self.waits = self.waits, []
        assert len(waits) == len(ranges), waits
        for wait, (least, most) in zip(waits, ranges):
            assert least <= wait <= most, waits

    def step_service_got(self, lines):
        """All requests since the last such step."""
        got = self.taken_requests()
        lines = [line.replace("PAYLOAD", "GET /me/sdk-payload?action=") for line in lines]
        assert got == lines, "\n  ".join(["got", *got])

    def taken_requests(self):
        while self.front.answered.acquire(blocking=False):
            pass
        with self.front.lock:
            got, self.front.received[:] = [f"{line}: {status}" for line, status in self.front.received], []
        return got

    def step_juspay_got(self, calls):
        """All calls of the scenario."""
        requests = self.world.simulator("GET", "/requests")[1]["requests"]
        got = [request for request in requests if self.customer in json.dumps(request)]
        assert len(got) == calls, f"{len(got)}"


def main():
    name, *command = sys.argv[1:]
    scenarios = json.loads((HERE / "scenarios.json").read_text())
    only = os.environ.get("SCENARIO", "")
    failures, count = [], 0
    for scenario in scenarios:
        if only not in scenario["name"]:
            continue
        count += 1
        with tempfile.TemporaryDirectory() as folder:
            run = Run(scenario, command, pathlib.Path(folder))
            try:
                run.walk()
            except AssertionError as why:
                failures.append(f"{name}: {scenario['name']}: {why}")
                print("FAILED", failures[-1], flush=True)
            finally:
                run.end()
    assert count, "no such scenario"
    print(f"{name}: {count - len(failures)} of {count} scenarios passed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
