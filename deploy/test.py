"""Checks for deploy/test beyond the syntax of manifests.

    test.py schemas VERSION FILE…              objects match the schemas of that Kubernetes version
    test.py manifests FOLDER PROGRAM SITE_ENV  manifests match the program's settings and the merchant
    test.py repository FOLDER SITE_ENV         variants, chart, documents and versions are consistent
    test.py check KUBECTL PROGRAM              deploy/check reports a merchant's mistakes
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import yaml

DEPLOY = Path(__file__).parent
SECRETS = "/run/secrets/juspay-bff/"
OPERATIONS = DEPLOY / "../docs/operations.md"
API = DEPLOY / "../docs/api.md"
# Custom resources, for which there are no schemas here.
FOREIGN = ("cilium.io/", "projectcalico.org/", "networking.istio.io/", "security.istio.io/", "gateway.networking.",
           "monitoring.coreos.")
# Memory in bytes: the process, a customer with a token, a further access token, a connection while a
# head arrives. Sources: the measurements in docs/measurements, and config/default.toml.
IDLE, CUSTOMER, TOKEN, CONNECTION = 10 * 10**6, 2.2 * 1024, 1024, 60 * 1024

faults = []


def expect(condition, fault):
    if not condition:
        faults.append(fault)


def objects(path):
    return [it for it in yaml.safe_load_all(path.read_text()) if it]


def one(manifests, kind, group=""):
    found = [it for it in manifests if it["kind"] == kind and it["apiVersion"].startswith(group)]
    return found[0] if found else None


def network_policy(manifests, name):
    found = [it for it in manifests if it["kind"] == "NetworkPolicy" and it["metadata"]["name"] == name]
    return found[0] if found else None


def schemas(version, paths):
    for path in paths:
        for it in objects(Path(path)):
            if it["apiVersion"].startswith(FOREIGN):
                continue
            try:
                kubernetes_validate.validate(it, version, strict=True)
            except Exception as error:  # The library raises several types.
                faults.append(f"{path}: {it['kind']} {it['metadata']['name']}: {error}")


# ── what runs ──


def pods(manifests):
    """Objects that run the program, and their pod specs."""
    for it in manifests:
        if it["kind"] == "Deployment":
            yield f"{it['kind']} {it['metadata']['name']}", it["spec"]["template"]["spec"]
        elif it["kind"] == "Pod":
            yield f"{it['kind']} {it['metadata']['name']}", it["spec"]


def container_of(pod):
    everything = pod["containers"] + pod.get("initContainers", [])
    return next(it for it in everything if it["name"] == "juspay-bff")


def effective_settings(path, program):
    """The settings of the first container, which all of a file have."""
    command = [program, "check-config", "--manifests", path, "--format", "json"]
    result = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    if not result["ok"]:
        faults.append(f"{path.name}: check-config: {json.dumps(result, indent=1)}")
        return None
    [only] = result["manifests"]
    return only["settings"]


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def mebibytes(text):
    return int(re.fullmatch(r"(\d+)Mi", text).group(1)) * 2**20


def check_ports(name, container, settings):
    """Ports and probes match the listeners."""
    ports = {it["name"]: it["containerPort"] for it in container["ports"]}
    admin = settings["server"]["admin_listen"][0]
    public, _, port = settings["server"]["listen"][0].rpartition(":")
    expected = f"0.0.0.0:{ports['admin']}"
    expect(admin == expected, f"{name}: admin_listen is {admin}, expected {expected}")
    if public.startswith("127."):
        expect("http" not in ports, f"{name}: a container port for a loopback listener")
    else:
        expect(ports.get("http") == int(port), f"{name}: no container port http for the public listener on {port}")
    for probe, paths in {
        "startupProbe": ["/livez"],
        "livenessProbe": ["/livez"],
        "readinessProbe": ["/readyz"],
    }.items():
        if probe in container:
            get = container[probe]["httpGet"]
            expect(get["path"] in paths, f"{name}: {probe} requests {get['path']}")
            expect(get["port"] == "admin", f"{name}: {probe} uses port {get['port']}, expected admin")


def check_wiring(name, everything, pod, container):
    """Mounts match the paths in settings and arguments; the Service's port is one of the pod's."""
    mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
    expect(mounts["juspay-bff-secrets"] + "/" == SECRETS, f"{name}: the secrets are not mounted at {SECRETS}: {mounts}")
    file = container["args"][container["args"].index("--config") + 1]
    expect(file == mounts["juspay-bff-settings"] + "/settings.toml", f"{name}: {file} is not mounted: {mounts}")
    secret = next(it["secret"] for it in pod["volumes"] if "secret" in it)
    expect(secret["secretName"] == "juspay-bff", f"{name}: unexpected Secret {secret}")
    if service := one(everything, "Service"):
        ports = [it["name"] for it in container["ports"]]
        targets = [it["targetPort"] for it in service["spec"]["ports"]]
        expect(targets == ["http"] and "http" in ports, f"{name}: the Service targets {targets}, expected http")
    if policy := network_policy(everything, "juspay-bff"):
        allowed = [port["port"] for it in policy["spec"]["ingress"] for port in it["ports"]]
        ports = [it["containerPort"] for it in container["ports"]]
        expect(allowed == ports, f"{name}: the NetworkPolicy allows the ports {allowed}, the container has {ports}")


def check_sizes(name, pod, container, settings):
    """The pod outlives the drain, and the memory limit covers what the settings allow."""
    grace = seconds(settings["server"]["shutdown_grace"])
    end = pod["terminationGracePeriodSeconds"]
    expect(end > grace, f"{name}: the pod is killed after {end} s, but drains for up to {grace} s")
    customers = settings["cache"]["capacity"]
    connections = settings["server"]["max_connections"]
    tokens = max(0, settings["auth"]["verified_tokens"] - customers)
    need = IDLE + customers * CUSTOMER + tokens * TOKEN + connections * CONNECTION
    limit = mebibytes(container["resources"]["limits"]["memory"])
    expect(need <= limit, f"{name}: {customers} customers and {connections} connections need {need / 2**20:.0f} MiB")
    expect(settings["server"]["workers"], f"{name}: server.workers is not set")


def check_security(name, pod, container):
    """The restricted level of the pod security standards, and stricter rules."""
    both = pod.get("securityContext", {}) | container["securityContext"]
    for key, value in {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }.items():
        expect(both.get(key) == value, f"{name}: {key} is {both.get(key)}")
    # A sidecar's pod belongs to the app.
    sidecar = container not in pod["containers"]
    own = container["securityContext"] if sidecar else both
    ids = [own.get(it) for it in ["runAsUser", "runAsGroup", *([] if sidecar else ["fsGroup"])]]
    expect(set(ids) in ({65532}, {None}), f"{name}: ids {ids}, expected 65532 or none")
    for key in ["automountServiceAccountToken", "enableServiceLinks"]:
        expect(pod.get(key) is False, f"{name}: {key} is not false")
    for mount in container["volumeMounts"]:
        expect("subPath" not in mount and mount["readOnly"], f"{name}: {mount} has a subPath or is writable")
    for variable in container.get("env", []):
        expect("valueFrom" not in variable, f"{name}: {variable['name']} uses valueFrom, which may be a secret")
    for source in container["envFrom"]:
        expect("secretRef" not in source, f"{name}: secrets in the environment")


def merchant(site_env):
    """The merchant's values in site.env."""
    lines = [line.split("=", 1) for line in site_env.read_text().splitlines() if "=" in line]
    site = dict(it for it in lines if not it[0].startswith("#"))

    issuers = [value for key, value in site.items() if key.endswith("__ISSUER")]
    addresses = [site["JUSPAY_BFF__JUSPAY__BASE_URL"], *issuers]
    return {
        "image": site["IMAGE"],
        "id": site["JUSPAY_BFF__JUSPAY__MERCHANT_ID"],
        "host": urlsplit(site["JUSPAY_BFF__SERVER__PUBLIC_URL"]).hostname,
        "hosts": [urlsplit(it).hostname for it in addresses],
        "collector": site.get("COLLECTOR_NAMESPACE"),
        "namespaces": [site["INGRESS_NAMESPACE"], site["MONITORING_NAMESPACE"]],
    }


def check_merchant(name, manifests, container, settings, who):
    """The values of site.env are in every object."""
    expect(container["image"] == who["image"], f"{name}: image {container['image']}, expected {who['image']}")
    expect(settings["juspay"]["merchant_id"] == who["id"], f"{name}: merchant_id is not {who['id']}")
    if ingress := one(manifests, "Ingress"):
        hosts = [ingress["spec"]["rules"][0]["host"], *ingress["spec"]["tls"][0]["hosts"]]
        expect(hosts == [who["host"]] * 2, f"{name}: the Ingress has the hosts {hosts}")
    if policy := network_policy(manifests, "juspay-bff-traces"):
        [egress] = policy["spec"]["egress"]
        names = egress["to"][0]["namespaceSelector"]["matchLabels"].values()
        expect(list(names) == [who["collector"]], f"{name}: traces may be sent to {list(names)}")
        port = egress["ports"][0]["port"]
        endpoint = settings["traces"]["endpoint"] or ""
        expect(endpoint.endswith(f":{port}"), f"{name}: traces.endpoint is {endpoint}, the allowed port {port}")
    if policy := network_policy(manifests, "juspay-bff"):
        for rule, namespace in zip(policy["spec"]["ingress"], who["namespaces"], strict=True):
            labels = [it.get("namespaceSelector", {}).get("matchLabels", {}) for it in rule["from"]]
            names = {it.get("kubernetes.io/metadata.name", namespace) for it in labels}
            expect(names == {namespace}, f"{name}: the NetworkPolicy allows {names}, expected {namespace}")
    cilium = one(manifests, "CiliumNetworkPolicy")
    calico = one(manifests, "NetworkPolicy", "projectcalico.org")
    expect(not (cilium or calico) or "egress" not in policy["spec"], f"{name}: egress is not limited to host names")
    lists = []
    if cilium:
        *dns, https = cilium["spec"]["egress"]
        for named in [*(it["toPorts"][0]["rules"]["dns"] for it in dns), https["toFQDNs"]]:
            lists.append([it["matchName"] for it in named])
    if calico:
        lists.append(calico["spec"]["egress"][-1]["destination"]["domains"])
    for hosts in lists:
        expect(hosts == who["hosts"], f"{name}: egress is allowed to {hosts}, expected {who['hosts']}")


def entries(manifests):
    """The rules of Ingress and HTTPRoute: type and value of the path, and the rule."""
    if ingress := one(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                yield path["pathType"], path["path"], {"annotations": ingress["metadata"].get("annotations"), "rule": path}
    if route := one(manifests, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for match in rule["matches"]:
                yield match["path"]["type"], match["path"]["value"], rule


def is_routed(kind, value, path):
    """Whether a rule matches a path. Prefixes are of whole segments, both in Ingress and HTTPRoute."""
    prefix = kind in ("Prefix", "PathPrefix") and path.startswith(value.rstrip("/") + "/")
    return path == value or prefix


def documented(file, pattern):
    found = re.findall(pattern, file.read_text(), re.MULTILINE)
    assert found, f"{file.name} has no table of routes"
    return found


def check_routes(name, manifests, settings):
    """Phones reach the documented public routes, by their own paths, and no route of the admin listener."""
    rules = list(entries(manifests))
    base = urlsplit(settings["server"]["public_url"] or "").path.rstrip("/")
    public = documented(API, r"^\| \[`(?:GET|POST) (/\S+)`\]")
    admin = documented(OPERATIONS, r"^\| `(?:GET|POST) (/\S*)`")
    for path in public if rules else []:
        expect(any(is_routed(*it[:2], base + path) for it in rules), f"{name}: {base + path} is not routed")
    for path in [*admin, *(base + it for it in admin), f"{base}/members"]:
        expect(not any(is_routed(*it[:2], path) for it in rules), f"{name}: {path} is routed")
    for kind, value, rule in rules:
        expect(not re.search("rewrite|filters", json.dumps(rule)), f"{name}: {value} ({kind}) is rewritten: {rule}")


# ── variants ──


def in_namespace(name, **labels):
    pods = {"podSelector": {"matchLabels": labels}} if labels else {}
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} | pods


def check_peers(folder, site_env):
    """Peers of port 8080 and DNS servers match the variant's network."""
    ingress, monitoring = merchant(site_env)["namespaces"]
    kube_dns = in_namespace("kube-system", **{"k8s-app": "kube-dns"})
    openshift_dns = in_namespace("openshift-dns", **{"dns.operator.openshift.io/daemonset-dns": "default"})
    router = {"namespaceSelector": {"matchLabels": {"policy-group.network.openshift.io/ingress": ""}}}
    for variant, (clients, servers, port) in {
        "": ([in_namespace(ingress)], [kube_dns], 53),
        "-load-balancer": ([{"ipBlock": {"cidr": "10.0.0.0/20"}}], [kube_dns], 53),
        "-node-local-dns": ([in_namespace(ingress)], [kube_dns, {"ipBlock": {"cidr": "169.254.20.10/32"}}], 53),
        "-openshift": ([router], [openshift_dns], 5353),
    }.items():
        policy = network_policy(objects(folder / f"standalone{variant}.yaml"), "juspay-bff")["spec"]
        allowed = [it["from"] for it in policy["ingress"]]
        expect(allowed == [clients, [in_namespace(monitoring)]], f"standalone{variant} allows {allowed}")
        dns = policy["egress"][0]
        ports = [{"protocol": it, "port": port} for it in ["UDP", "TCP"]]
        expect(dns == {"to": servers, "ports": ports}, f"standalone{variant}: wrong DNS egress {dns}")


def check_translated_peers(folder):
    """The chart translates the DNS servers correctly for Cilium and Calico."""
    kube_dns = {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"}
    openshift_dns = {
        "k8s:io.kubernetes.pod.namespace": "openshift-dns",
        "k8s:dns.operator.openshift.io/daemonset-dns": "default",
    }
    cache = "169.254.20.10/32"
    for variant, (servers, port) in {
        "node-local-dns": ([{"toEndpoints": [{"matchLabels": kube_dns}]}, {"toCIDRSet": [{"cidr": cache}]}], 53),
        "openshift": ([{"toEndpoints": [{"matchLabels": openshift_dns}]}], 5353),
    }.items():
        policy = one(objects(folder / f"helm-{variant}-cilium.yaml"), "CiliumNetworkPolicy")
        rules = [dict(it) for it in policy["spec"]["egress"][:-1]]
        ports = [it.pop("toPorts")[0]["ports"] for it in rules]
        expect(rules == servers, f"helm-{variant}-cilium: wrong DNS egress {rules}")
        expected = [[{"port": str(port), "protocol": "ANY"}]] * len(servers)
        expect(ports == expected, f"helm-{variant}-cilium: wrong ports {ports}")
    kube_dns = {
        "namespaceSelector": "kubernetes.io/metadata.name == 'kube-system'",
        "selector": "k8s-app == 'kube-dns'",
    }
    openshift_dns = {
        "namespaceSelector": "kubernetes.io/metadata.name == 'openshift-dns'",
        "selector": "dns.operator.openshift.io/daemonset-dns == 'default'",
    }
    for variant, (servers, port) in {
        "node-local-dns": ([kube_dns, {"nets": [cache]}], 53),
        "openshift": ([openshift_dns], 5353),
    }.items():
        policy = one(objects(folder / f"helm-{variant}-calico.yaml"), "NetworkPolicy", "projectcalico.org")
        rules = [it["destination"] for it in policy["spec"]["egress"][:-1]]
        expect(rules == [it | {"ports": [port]} for it in servers], f"helm-{variant}-calico: wrong DNS egress {rules}")


def check_shared_tier(folder):
    """Pods have the keys and may reach the server, and Valkey has only the password and reaches nothing."""
    for name in ["standalone-valkey", "helm-valkey"]:
        everything = objects(folder / f"{name}.yaml")
        deployment, valkey = one(everything, "Deployment"), one(everything, "StatefulSet")
        pods, server = ({it["kind"]: it for it in [deployment, valkey]}[kind]["spec"]["template"]["metadata"]["labels"]
                        for kind in ["Deployment", "StatefulSet"])
        volumes = {it["name"]: it for it in deployment["spec"]["template"]["spec"]["volumes"]}
        secret = volumes["juspay-bff-shared"]["secret"]
        expect(secret == {"secretName": "juspay-bff-shared", "defaultMode": 288}, f"{name}: mounts {secret}")
        secrets = [it["secret"] for it in valkey["spec"]["template"]["spec"]["volumes"] if "secret" in it]
        items = [[of["key"] for of in it["items"]] for it in secrets]
        expect(items == [["password"]], f"{name}: Valkey gets {items}")
        out = network_policy(everything, "juspay-bff-shared")["spec"]
        into = network_policy(everything, "juspay-bff-valkey")["spec"]
        expect(into["policyTypes"] == ["Ingress", "Egress"] and "egress" not in into, f"{name}: Valkey may connect")
        for rules, peer, ours, theirs in [(out["egress"], "to", pods, server), (into["ingress"], "from", server, pods)]:
            [rule] = rules
            [only] = rule[peer]
            expect(only.keys() == {"podSelector"}, f"{name}: the policy allows {only}")
            expect(only["podSelector"]["matchLabels"].items() <= theirs.items(), f"{name}: the policy allows {only}")
            expect(rule["ports"] == [{"protocol": "TCP", "port": 6379}], f"{name}: the policy allows {rule['ports']}")
        selector = one(everything, "StatefulSet")["spec"]["selector"]["matchLabels"]
        expect(selector.items() <= server.items() and not selector.items() <= pods.items(), f"{name}: labels {selector}")
        for it in everything:
            if it["kind"] in ("Service", "NetworkPolicy") and it["metadata"]["name"] == "juspay-bff":
                labels = it["spec"].get("selector") or it["spec"]["podSelector"]["matchLabels"]
                expect(not labels.items() <= server.items(), f"{name}: {it['kind']} also selects Valkey")


def check_ids(folder):
    """No ids where the platform assigns them, 65532 everywhere else."""
    for path in folder.glob("*.yaml"):
        ids = set(re.findall(r"(?:runAsUser|runAsGroup|fsGroup): (\d+)", path.read_text()))
        # The example app runs as 10001.
        expected = set() if re.search("openshift|platform-user", path.name) else {"65532"}
        expect(ids - {"10001"} == expected, f"{path}: ids {ids}, expected {expected or 'none'}")


# ── consistency ──


def bare(it):
    """An object without the chart's labels and the suffixes of generated names."""
    if isinstance(it, dict):
        chart = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"}
        chart |= {"helm.sh/chart", "checksum/settings"}
        rest = {key: bare(value) for key, value in it.items() if key not in chart}
        return {key: value for key, value in rest.items() if value != {}}
    if isinstance(it, list):
        return [bare(value) for value in it]
    if isinstance(it, str):
        it = re.sub(r"(juspay-bff-(?:site|settings|valkey))-[a-z0-9]{10}$", r"\1", it)
        return it.removesuffix(" && app.kubernetes.io/instance == 'juspay-bff'")
    return it


def comparable(manifests):
    found = {}
    for it in bare(manifests):
        if it["kind"] == "Pod":
            continue
        if it["metadata"]["name"] == "juspay-bff-site":
            it["data"] = {key: value for key, value in it["data"].items() if key.startswith("JUSPAY_BFF__")}
            it["metadata"].pop("labels", None)
        if it["metadata"]["name"] == "juspay-bff-settings" or it["kind"] == "ConfigMap" and "valkey.conf" in it["data"]:
            it["data"] = {key: value.strip() for key, value in it["data"].items()}
            it["metadata"].pop("labels", None)
        found[it["apiVersion"], it["kind"], it["metadata"]["name"]] = it
    return found


def check_same(folder):
    """The chart renders the same objects as the overlay."""
    for variant in [
        "",
        "-cilium",
        "-calico",
        "-istio",
        "-traces",
        "-public-path",
        "-shared-tier",
        "-valkey",
        "-load-balancer",
        "-node-local-dns",
        "-openshift",
    ]:
        overlay = comparable(objects(folder / f"standalone{variant}.yaml"))
        chart = comparable(objects(folder / f"helm{variant}.yaml"))
        for key in overlay.keys() | chart.keys():
            ours, theirs = (json.dumps(it.get(key), indent=1, sort_keys=True) for it in (overlay, chart))
            expect(ours == theirs, f"helm{variant} and standalone{variant} differ in {key}:\n{ours}\n{theirs}")


def check_nothing_left(folder):
    """No value of the example merchant is left in another merchant's manifests."""
    for path in folder.glob("*.yaml"):
        left = re.findall(r"\S*(?:example\.com|my_merchant|my-app|api\.juspay\.in)\S*", path.read_text())
        expect(not left, f"{path}: values of the example merchant: {left}")


def check_versions():
    manifest = tomllib.loads((DEPLOY / "../Cargo.toml").read_text())
    cargo = manifest["workspace"]["package"]["version"]
    for file, pattern in {
        "Dockerfile": r"ARG VERSION=(\S+)",
        "helm/juspay-bff/Chart.yaml": r"appVersion: (\S+)",
        "kubernetes/base/site.env": r"IMAGE=\S+:(\S+)",
    }.items():
        version = re.search(pattern, (DEPLOY / file).read_text()).group(1)
        expect(version == cargo, f"{file} has version {version}, Cargo.toml {cargo}")
    # The Dockerfile's dependency layer needs an empty program for each target in Cargo.toml.
    stubs = re.search(r"mkdir -p ((?:[\w/]+ )+)", (DEPLOY / "Dockerfile").read_text()).group(1).split()
    for folder, kind in {"tests": "test", "benches": "bench"}.items():
        for target in manifest.get(kind, []):
            expect(f"{folder}/{target['name']}" in stubs, f"Dockerfile has no stub for {folder}/{target['name']}")


def check_copies():
    """The chart has copies of these files: Flux drops links out of a chart in a Git repository."""
    copies = DEPLOY / "helm/juspay-bff/files"
    sources = ["kubernetes/base/settings.toml", "prometheus/podmonitor.yaml", "prometheus/prometheusrule.yaml"]
    sources += [f"kubernetes/components/valkey/{it}" for it in ("valkey.conf", "users.acl", "start-valkey")]
    for source in [DEPLOY / it for it in [*sources, "grafana/dashboard.json"]]:
        copy = copies / source.name
        same = not copy.is_symlink() and copy.read_bytes() == source.read_bytes()
        expect(same, f"{copy} differs from its source, or is a link: cp --remove-destination {source} {copy}")


def check_secret():
    """The documented commands create a Secret with exactly the files that the settings name."""
    text = (DEPLOY / "kubernetes/base/settings.toml").read_text()
    files = set(re.findall(re.escape(SECRETS) + r"([\w-]+)", text))
    for file in [OPERATIONS, DEPLOY / "helm/juspay-bff/templates/NOTES.txt"]:
        text = file.read_text()
        command = re.search(r"create secret generic(?:.*\\\n)*.*", text).group()
        made = set(re.findall(r"--from-(?:file|literal)=([\w-]+)", command))
        expect(made == files, f"{file.name} creates a Secret with {made}, but the settings name {files}")


def check_reference():
    """deploy/customer-ref prints what the service logs: RFC 4231, test case 2."""
    with tempfile.NamedTemporaryFile("w") as key:
        key.write("Jefe\n")
        key.flush()
        command = [DEPLOY / "customer-ref", key.name, "what do ya want for nothing?"]
        printed = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    expect(printed == "5bdcc146bf60754e", f"customer-ref prints {printed}")


def calls(replicas, requests):
    """Calls to Juspay for a customer within the usable life of a token.

    A replica without a token makes a call. Its next call is due at the first request after that
    token's usable life, on average replicas/requests of a usable life later.
    """
    return replicas / (1 + replicas / requests)


def check_table():
    """The table of calls by replicas in docs/operations.md."""
    table = re.search(r"\| replicas \|(.*)\n\|[-|: ]+\n((?:\|.*\n)+)", OPERATIONS.read_text())
    requests = [int(it) for it in re.findall(r"(\d+) requests?", table.group(1))]
    for row in table.group(2).splitlines():
        replicas, *written = [it.strip() for it in row.strip("|").split("|")]
        computed = [f"{calls(int(replicas), it):.2f}" for it in requests]
        expect(written == computed, f"{OPERATIONS.name}, {replicas} replicas: {written}, expected {computed}")


def manifests(folder, program, site_env):
    who = merchant(site_env)
    for path in sorted(folder.glob("*.yaml")):
        everything = objects(path)
        settings = effective_settings(path, program)
        for name, pod in pods(everything) if settings else []:
            name = f"{path.name}: {name}"
            container = container_of(pod)
            check_security(name, pod, container)
            check_merchant(name, everything, container, settings, who)
            check_routes(name, everything, settings)
            if container["args"][0] == "doctor":
                continue
            check_ports(name, container, settings)
            check_wiring(name, everything, pod, container)
            check_sizes(name, pod, container, settings)
            sidecar = container not in pod["containers"]
            expect(("readinessProbe" in container) != sidecar, f"{name}: a sidecar has no readiness probe, others do")
            expect(("startupProbe" in container) == sidecar, f"{name}: a sidecar has a startup probe, others do not")
            expect(not sidecar or container["restartPolicy"] == "Always", f"{name}: restartPolicy is not Always")


def repository(folder, site_env):
    check_peers(folder, site_env)
    check_translated_peers(folder)
    check_shared_tier(folder)
    check_ids(folder)
    check_same(folder)
    check_nothing_left(folder)
    check_versions()
    check_copies()
    check_secret()
    check_reference()
    check_table()


def check_script(kubectl, program):
    """deploy/check accepts a merchant's values, and reports each mistake with file, reason and fix."""
    site, url = "deploy/kubernetes/base/site.env", "JUSPAY_BFF__SERVER__PUBLIC_URL"
    overlay = "deploy/kubernetes/overlays/standalone/kustomization.yaml"
    enable = {overlay: ("# - ../../components/public-path", "- ../../components/public-path")}
    acme = [("registry.example.com", "registry.acme.test"), ("my_merchant", "acme_pay"), ("my-app", "acme-app")]
    acme += [("login.example.com", "id.acme.test"), ("pay.example.com", "bff.acme.test")]
    public = "https://bff.acme.test"
    cases = [
        ("standalone", {}, []),
        ("sidecar", {"deploy/kubernetes/overlays/sidecar/app.yaml": acme[0]}, []),
        ("standalone", enable | {site: (public, f"{public}/bff")}, []),
        # All at once: in site.env, in the overlay, and in the settings.
        (
            "standalone",
            {
                site: [
                    (public, "bff.acme.test"),
                    ("acme_pay", "my_merchant"),
                    ("registry.acme.test", "registry.example.com"),
                    ("=RS256", "=RS25"),
                    ("INGRESS_CLASS=nginx", ""),
                ],
                "deploy/kubernetes/base/settings.toml": ("workers = 2", "workers = 0"),
            },
            [
                f"{url}\n  reason: it does not begin with https://",
                f"MERCHANT_ID\n  reason: still has the value of the example\n  fix:    replace it with the value of your installation\n  where:  {site}\n",
                f"container juspay-bff: IMAGE in {site}\n",
                "auth.issuers.main.algorithms[0]\n",
                f"INGRESS_CLASS\n  reason: is missing\n  fix:    add INGRESS_CLASS=NAME\n  where:  {site}\n",
                "server.workers\n",
                "where:  /etc/juspay-bff/settings.toml in deploy/kubernetes/base/settings.toml, line 12\n",
            ],
        ),
        ("sidecar", {}, ["Deployment shop, container shop\n"]),
        ("standalone", {site: ("=nginx", "=nginx ")}, ["a quote or a space at the end"]),
        ("standalone", {site: ("acme_pay", '"acme_pay"')}, ["a quote or a space at the end"]),
        ("standalone", {site: ("IMAGE=", "IMAG=")}, ["IMAGE\n  reason: is missing"]),
        (
            "standalone",
            {overlay: ("- network-policy.yaml", "- network.yaml")},
            ["the overlay\n  reason:", "network.yaml"],
        ),
        ("standalone", enable, ["it has no path, but the component public-path is enabled"]),
        *(
            ("standalone", {site: (public, wrong)}, [f"{url}\n  reason: {reason}", f"where:  {site}\n"])
            for wrong, reason in {
                "": "it does not begin with https://",
                "http://bff.acme.test": "it does not begin with https://",
                "https:/bff.acme.test": "it does not begin with https://",
                f"{public}:8443": "it has a port",
                "https://me@bff.acme.test": "it has a user, a query",
                f"{public}/?a": "it has a user, a query",
                "https://BFF.acme.test": "the host is not a DNS name in lower case",
                "https://bff": "the host is not a DNS name",
                "https://10.0.0.1": "the host is not a DNS name",
                f"{public}/": "it ends with /",
                f"{public}/a/b": "its path has several segments",
                f"{public}/a": "it has a path, but the Ingress does not route it",
            }.items()
        ),
    ]
    for overlay, edits, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            deploy = Path(folder, "deploy")
            shutil.copytree(DEPLOY / "kubernetes", deploy / "kubernetes")
            shutil.copy(DEPLOY / "check", deploy)
            changes = [(site, it) for it in acme]
            changes += [
                (file, it) for file, edit in edits.items() for it in (edit if isinstance(edit, list) else [edit])
            ]
            for file, (old, new) in changes:
                text = Path(folder, file).read_text()
                assert old in text, old
                Path(folder, file).write_text(text.replace(old, new, 1))
            environment = os.environ | {"KUBECTL": kubectl, "JUSPAY_BFF": f"env -i {program}"}
            result = subprocess.run([deploy / "check", overlay], env=environment, capture_output=True, text=True)
            expect((result.returncode == 0) == (not expected), f"deploy/check {overlay} with {edits}: {result}")
            for text in expected:
                expect(
                    text in result.stderr, f"deploy/check {overlay} with {edits}: {text!r} is not in {result.stderr}"
                )
            if expected:
                expect(
                    result.stderr.count("reason:") == (6 if len(expected) == 7 else 1),
                    f"too many faults: {result.stderr}",
                )


match sys.argv[1:]:
    case ["schemas", version, *files]:
        schemas(version, files)
    case ["manifests", folder, program, site_env]:
        manifests(Path(folder), os.path.abspath(program), Path(site_env))
    case ["repository", folder, site_env]:
        repository(Path(folder), Path(site_env))
    case ["check", kubectl, program]:
        check_script(kubectl, os.path.abspath(program))
    case _:
        sys.exit(__doc__)
for fault in dict.fromkeys(faults):
    print(f"fault: {fault}", file=sys.stderr)
sys.exit(1 if faults else 0)
