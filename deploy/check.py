"""What deploy/check asks of manifests beyond their schemas.

    check.py schemas VERSION FILE…              every object is as that Kubernetes wants it
    check.py manifests FOLDER PROGRAM SITE_ENV  manifests fit the program and the merchant
    check.py repository FOLDER SITE_ENV         variants, chart, README and versions fit each other
"""

import hmac
import json
import os
import re
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
# Objects of others, which have no schema here.
FOREIGN = ("cilium.io/", "projectcalico.org/", "networking.istio.io/")
# benches/results.md and config/default.toml, in bytes: the process, a customer with a token, a further
# token, a connection with a head on its way.
IDLE, CUSTOMER, TOKEN, CONNECTION = 10 * 10**6, 2.2 * 1024, 1024, 60 * 1024

faults = []


def ask(good, what):
    if not good:
        faults.append(what)


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
            except Exception as error:  # Of several kinds, all of which are faults.
                faults.append(f"{path}: {it['kind']} {it['metadata']['name']}: {error}")


# ── what runs ──


def pods(manifests):
    """Name and pod of everything that runs the program."""
    for it in manifests:
        if it["kind"] == "Deployment":
            yield it["metadata"]["name"], it["spec"]["template"]["spec"]
        elif it["kind"] == "Pod":
            yield it["metadata"]["name"], it["spec"]


def container_of(pod):
    everything = pod["containers"] + pod.get("initContainers", [])
    return next(it for it in everything if it["name"] == "juspay-bff")


def effective_settings(container, manifests, program):
    """What the program itself makes of the ConfigMaps and the variables, as the pod would have them."""
    maps = {it["metadata"]["name"]: it["data"] for it in manifests if it["kind"] == "ConfigMap"}
    variables = {}
    for source in container["envFrom"]:
        variables |= maps[source["configMapRef"]["name"]]
    for it in container.get("env", []):
        variables[it["name"]] = it["value"]
    text = next(data["settings.toml"] for data in maps.values() if "settings.toml" in data)
    with tempfile.TemporaryDirectory() as folder:
        for name in re.findall(re.escape(SECRETS) + r"([\w-]+)", text):
            Path(folder, name).write_text("secret")
        file = Path(folder, "settings.toml")
        file.write_text(text.replace(SECRETS, folder + "/"))
        command = [program, "check-config", "--config", str(file)]
        told = subprocess.run(command, env=variables, capture_output=True, text=True)
        if told.returncode or told.stderr:
            faults.append(f"check-config: {told.stderr}")
        return tomllib.loads(told.stdout)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def mebibytes(text):
    return int(re.fullmatch(r"(\d+)Mi", text).group(1)) * 2**20


def check_ports(name, container, settings):
    """Ports and probes are those of the listeners."""
    ports = {it["name"]: it["containerPort"] for it in container["ports"]}
    admin = settings["server"]["admin_listen"][0]
    public, _, port = settings["server"]["listen"][0].rpartition(":")
    ask(admin == f"0.0.0.0:{ports['admin']}", f"{name}: the admin listener is on {admin}")
    if public.startswith("127."):
        ask("http" not in ports, f"{name}: a port for what is on loopback")
    else:
        ask(ports.get("http") == int(port), f"{name}: the public listener is on {port}")
    for probe, paths in {
        "startupProbe": ["/livez"],
        "livenessProbe": ["/livez"],
        "readinessProbe": ["/readyz"],
    }.items():
        if probe in container:
            get = container[probe]["httpGet"]
            ask(get["path"] in paths, f"{name}: {probe} asks {get['path']}")
            ask(get["port"] == "admin", f"{name}: {probe} asks {get['port']}")


def check_wiring(name, everything, pod, container):
    """Files are where settings and arguments look for them; the service's port is one of the pod's."""
    mounts = {it["name"]: it["mountPath"] for it in container["volumeMounts"]}
    ask(mounts["juspay-bff-secrets"] + "/" == SECRETS, f"{name}: secrets at {mounts}")
    file = container["args"][container["args"].index("--config") + 1]
    ask(file == mounts["juspay-bff-settings"] + "/settings.toml", f"{name}: settings at {mounts}")
    secret = next(it["secret"] for it in pod["volumes"] if "secret" in it)
    ask(secret["secretName"] == "juspay-bff", f"{name}: its Secret is {secret}")
    if service := one(everything, "Service"):
        ports = [it["name"] for it in container["ports"]]
        targets = [it["targetPort"] for it in service["spec"]["ports"]]
        ask(targets == ["http"] and "http" in ports, f"{name}: the service goes to {targets}")
    if policy := network_policy(everything, "juspay-bff"):
        allowed = [port["port"] for it in policy["spec"]["ingress"] for port in it["ports"]]
        ports = [it["containerPort"] for it in container["ports"]]
        ask(allowed == ports, f"{name}: the network lets {allowed} in")


def check_sizes(name, pod, container, settings):
    """The end comes after the drain, and the memory suffices for what the settings allow."""
    grace = seconds(settings["server"]["shutdown_grace"])
    end = pod["terminationGracePeriodSeconds"]
    ask(end > grace, f"{name}: it is killed after {end} s, and drains for up to {grace} s")
    customers = settings["cache"]["capacity"]
    connections = settings["server"]["max_connections"]
    tokens = max(0, settings["auth"]["verified_tokens"] - customers)
    need = IDLE + customers * CUSTOMER + tokens * TOKEN + connections * CONNECTION
    limit = mebibytes(container["resources"]["limits"]["memory"])
    ask(need <= limit, f"{name}: {customers} customers and {connections} connections take {need / 2**20:.0f} MiB")
    ask("workers" in settings["server"], f"{name}: as many workers as the node has cores")


def check_security(name, pod, container):
    """The restricted level of the pod security standards, and what goes beyond."""
    both = pod.get("securityContext", {}) | container["securityContext"]
    for key, value in {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }.items():
        ask(both.get(key) == value, f"{name}: {key} is {both.get(key)}")
    # A sidecar's pod is the app's.
    sidecar = container not in pod["containers"]
    own = container["securityContext"] if sidecar else both
    ids = [own.get(it) for it in ["runAsUser", "runAsGroup", *([] if sidecar else ["fsGroup"])]]
    ask(set(ids) in ({65532}, {None}), f"{name}: its ids are {ids}, not the image's nor the platform's")
    for key in ["automountServiceAccountToken", "enableServiceLinks"]:
        ask(pod.get(key) is False, f"{name}: {key} isn't false")
    for mount in container["volumeMounts"]:
        ask("subPath" not in mount and mount["readOnly"], f"{name}: {mount}")
    for variable in container.get("env", []):
        ask("valueFrom" not in variable, f"{name}: {variable['name']} may be a secret")
    for source in container["envFrom"]:
        ask("secretRef" not in source, f"{name}: secrets in the environment")


def merchant(site_env):
    """Whose service it is, by the one file that was edited."""
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
    """The one edited file has reached everything."""
    ask(container["image"] == who["image"], f"{name}: {container['image']}")
    ask(settings["juspay"]["merchant_id"] == who["id"], f"{name}: another merchant")
    if ingress := one(manifests, "Ingress"):
        hosts = [ingress["spec"]["rules"][0]["host"], *ingress["spec"]["tls"][0]["hosts"]]
        ask(hosts == [who["host"]] * 2, f"{name}: the ingress is for {hosts}")
    if policy := network_policy(manifests, "juspay-bff-traces"):
        [egress] = policy["spec"]["egress"]
        names = egress["to"][0]["namespaceSelector"]["matchLabels"].values()
        ask(list(names) == [who["collector"]], f"{name}: traces may leave to {names}")
        port = egress["ports"][0]["port"]
        endpoint = settings["traces"].get("endpoint", "")
        ask(endpoint.endswith(f":{port}"), f"{name}: traces leave for {endpoint}, and port {port} is open")
    if policy := network_policy(manifests, "juspay-bff"):
        for rule, namespace in zip(policy["spec"]["ingress"], who["namespaces"], strict=True):
            labels = [it.get("namespaceSelector", {}).get("matchLabels", {}) for it in rule["from"]]
            names = {it.get("kubernetes.io/metadata.name", namespace) for it in labels}
            ask(names == {namespace}, f"{name}: {names} are let in instead of {namespace}")
    cilium = one(manifests, "CiliumNetworkPolicy")
    calico = one(manifests, "NetworkPolicy", "projectcalico.org")
    ask(not (cilium or calico) or "egress" not in policy["spec"], f"{name}: open egress")
    lists = []
    if cilium:
        *dns, https = cilium["spec"]["egress"]
        for named in [*(it["toPorts"][0]["rules"]["dns"] for it in dns), https["toFQDNs"]]:
            lists.append([it["matchName"] for it in named])
    if calico:
        lists.append(calico["spec"]["egress"][-1]["destination"]["domains"])
    for hosts in lists:
        ask(hosts == who["hosts"], f"{name}: egress to {hosts}")


# ── what each variant is for ──


def in_namespace(name, **labels):
    pods = {"podSelector": {"matchLabels": labels}} if labels else {}
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} | pods


def check_peers(folder, site_env):
    """Clients of port 8080 and DNS servers are those of the variant's network."""
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
        let_in = [it["from"] for it in policy["ingress"]]
        ask(let_in == [clients, [in_namespace(monitoring)]], f"standalone{variant} lets {let_in} in")
        dns = policy["egress"][0]
        ports = [{"protocol": it, "port": port} for it in ["UDP", "TCP"]]
        ask(dns == {"to": servers, "ports": ports}, f"standalone{variant}: DNS is {dns}")


def check_translated_peers(folder):
    """The chart's DNS servers are the same in the words of Cilium and of Calico."""
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
        ask(rules == servers, f"helm-{variant}-cilium: DNS is {rules}")
        ask(ports == [[{"port": str(port), "protocol": "ANY"}]] * len(servers), f"helm-{variant}-cilium: {ports}")
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
        ask(rules == [it | {"ports": [port]} for it in servers], f"helm-{variant}-calico: DNS is {rules}")


def check_ids(folder):
    """No id is set where the platform assigns them, and the image's everywhere else."""
    for path in folder.glob("*.yaml"):
        ids = set(re.findall(r"(?:runAsUser|runAsGroup|fsGroup): (\d+)", path.read_text()))
        # 10001 is the example app's.
        expected = set() if re.search("openshift|platform-user", path.name) else {"65532"}
        ask(ids - {"10001"} == expected, f"{path}: ids {ids}")


# ── what must be the same ──


def bare(it):
    """An object without what only a chart has, nor the ends of generated names."""
    if isinstance(it, dict):
        chart = {"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by"}
        chart |= {"helm.sh/chart", "checksum/settings"}
        rest = {key: bare(value) for key, value in it.items() if key not in chart}
        return {key: value for key, value in rest.items() if value != {}}
    if isinstance(it, list):
        return [bare(value) for value in it]
    if isinstance(it, str):
        it = re.sub(r"(juspay-bff-(?:site|settings))-[a-z0-9]{10}$", r"\1", it)
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
        if it["metadata"]["name"] == "juspay-bff-settings":
            it["data"] = {key: value.strip() for key, value in it["data"].items()}
            it["metadata"].pop("labels", None)
        found[it["apiVersion"], it["kind"], it["metadata"]["name"]] = it
    return found


def check_same(folder):
    """The chart is what the overlay is."""
    for variant in ["", "-cilium", "-calico", "-istio", "-traces", "-load-balancer", "-node-local-dns", "-openshift"]:
        overlay = comparable(objects(folder / f"standalone{variant}.yaml"))
        chart = comparable(objects(folder / f"helm{variant}.yaml"))
        for key in overlay.keys() | chart.keys():
            ours, theirs = (json.dumps(it.get(key), indent=1, sort_keys=True) for it in (overlay, chart))
            ask(ours == theirs, f"helm{variant} differs from standalone{variant} in {key}:\n{ours}\n{theirs}")


def check_nothing_left(folder):
    """Nothing of the example merchant is in what another one rendered."""
    for path in folder.glob("*.yaml"):
        # The example app has an image of its own.
        text = path.read_text().replace("registry.example.com/shop", "")
        left = re.findall(r"\S*(?:example\.com|my_merchant|my-app|api\.juspay\.in)\S*", text)
        ask(not left, f"{path}: left of the example: {left}")


def check_versions():
    manifest = tomllib.loads((DEPLOY / "../Cargo.toml").read_text())
    cargo = manifest["package"]["version"]
    for file, pattern in {
        "Dockerfile": r"ARG VERSION=(\S+)",
        "helm/juspay-bff/Chart.yaml": r"appVersion: (\S+)",
        "kubernetes/base/site.env": r"IMAGE=\S+:(\S+)",
    }.items():
        version = re.search(pattern, (DEPLOY / file).read_text()).group(1)
        ask(version == cargo, f"{file} is for {version}, and this is {cargo}")
    # The layer of dependencies has an empty program for each target that Cargo.toml names.
    stubs = re.search(r"mkdir -p ((?:[\w/]+ )+)", (DEPLOY / "Dockerfile").read_text()).group(1).split()
    for folder, kind in {"tests": "test", "benches": "bench"}.items():
        for target in manifest.get(kind, []):
            ask(f"{folder}/{target['name']}" in stubs, f"Dockerfile has no stub of {folder}/{target['name']}")
    ours, chart = (DEPLOY / it for it in ("kubernetes/base/settings.toml", "helm/juspay-bff/files/settings.toml"))
    ask(ours.read_bytes() == chart.read_bytes(), f"{chart} isn't {ours}: copy it")


def check_secret():
    """The Secret that README and NOTES.txt make has the files that the settings name, no others."""
    text = (DEPLOY / "kubernetes/base/settings.toml").read_text()
    files = set(re.findall(re.escape(SECRETS) + r"([\w-]+)", text))
    for file in ["README.md", "helm/juspay-bff/templates/NOTES.txt"]:
        text = (DEPLOY / file).read_text()
        command = re.search(r"create secret generic(?:.*\\\n)*.*", text).group()
        made = set(re.findall(r"--from-(?:file|literal)=([\w-]+)", command))
        ask(made == files, f"{file} makes a Secret with {made}, and the settings name {files}")


def check_reference():
    """deploy/customer-ref: RFC 4231, test case 2, as src/customer/reference.rs has it."""
    with tempfile.NamedTemporaryFile("w") as key:
        key.write("Jefe\n")
        key.flush()
        command = [DEPLOY / "customer-ref", key.name, "what do ya want for nothing?"]
        told = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    ask(told == "5bdcc146bf60754e", f"customer-ref tells {told}")


def calls(replicas, requests):
    """Calls to Juspay for a customer in the usable life of a token.

    A replica that has no token asks; its next is due when that one's usable life has passed and a
    request comes again, on average replicas/requests of such a life later.
    """
    return replicas / (1 + replicas / requests)


def check_table():
    """README's table of calls by replicas."""
    table = re.search(r"\| replicas \|(.*)\n\|[-|: ]+\n((?:\|.*\n)+)", (DEPLOY / "README.md").read_text())
    requests = [int(it) for it in re.findall(r"(\d+) requests?", table.group(1))]
    for row in table.group(2).splitlines():
        replicas, *told = [it.strip() for it in row.strip("|").split("|")]
        computed = [f"{calls(int(replicas), it):.2f}" for it in requests]
        ask(told == computed, f"README's table for {replicas} replicas: {told}, and it is {computed}")


def manifests(folder, program, site_env):
    who = merchant(site_env)
    for path in sorted(folder.glob("*.yaml")):
        everything = objects(path)
        for name, pod in pods(everything):
            name = f"{path.name}: {name}"
            container = container_of(pod)
            settings = effective_settings(container, everything, program)
            if not settings:
                continue
            check_security(name, pod, container)
            check_merchant(name, everything, container, settings, who)
            if container["args"][0] == "doctor":
                continue
            check_ports(name, container, settings)
            check_wiring(name, everything, pod, container)
            check_sizes(name, pod, container, settings)
            sidecar = container not in pod["containers"]
            ask(("readinessProbe" in container) != sidecar, f"{name}: readiness")
            ask(("startupProbe" in container) == sidecar, f"{name}: start-up")
            ask(not sidecar or container["restartPolicy"] == "Always", f"{name}: restartPolicy")


def repository(folder, site_env):
    check_peers(folder, site_env)
    check_translated_peers(folder)
    check_ids(folder)
    check_same(folder)
    check_nothing_left(folder)
    check_versions()
    check_secret()
    check_reference()
    check_table()


match sys.argv[1:]:
    case ["schemas", version, *files]:
        schemas(version, files)
    case ["manifests", folder, program, site_env]:
        manifests(Path(folder), os.path.abspath(program), Path(site_env))
    case ["repository", folder, site_env]:
        repository(Path(folder), Path(site_env))
    case _:
        sys.exit(__doc__)
for fault in dict.fromkeys(faults):
    print(f"fault: {fault}", file=sys.stderr)
sys.exit(1 if faults else 0)
