"""Renders the chart with every two options of its values together: deploy/matrix.py HELM PROGRAM FOLDER

Each factor below has options: values, and a check of what the chart renders with them. A greedy search combines
options, so that any two of different factors occur in one combination. Each combination is rendered as
`helm install` does, with NOTES, and `check-config --manifests` validates its settings. The manifests stay in FOLDER
for the checks of deploy/test.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import yaml

HELM, PROGRAM, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
DEPLOY = Path(__file__).parent
VARIANTS = {
    it: yaml.safe_load((DEPLOY / f"helm/{it}.yaml").read_text())
    for it in ("load-balancer", "node-local-dns", "openshift")
}
DIGEST = "sha256:" + 64 * "0"
PARENTS = [{"name": "public", "namespace": "gateways"}]
RUNBOOKS, OWN_RUNBOOKS = "deploy/prometheus/RUNBOOKS.md", "https://runbooks.acme.test/bff"


class Rendered:
    """What `helm install` renders."""

    def __init__(self, release):
        parts = [release["manifest"], *(it["manifest"] for it in release["hooks"])]
        self.text = "---\n".join(parts)
        self.objects = [it for it in yaml.safe_load_all(self.text) if it]
        self.notes = release["info"]["notes"]

    def one(self, kind, group="", name=""):
        found = [it for it in self.objects if it["kind"] == kind and it["apiVersion"].startswith(group)]
        found = [it for it in found if it["metadata"]["name"].endswith(name)]
        return found[0] if found else None

    @property
    def deployment(self):
        return self.one("Deployment")

    @property
    def template(self):
        return self.deployment["spec"]["template"]

    @property
    def pod(self):
        return self.template["spec"]

    @property
    def container(self):
        return self.pod["containers"][0]

    @property
    def service(self):
        return self.one("Service")

    def volumes(self):
        return {it["name"] for it in self.pod["volumes"]}

    def shared(self):
        """The settings of the shared tier, and its Secret."""
        prefix = "JUSPAY_BFF__SHARED__"
        site = self.one("ConfigMap", name="-site")["data"]
        settings = {key.removeprefix(prefix): value for key, value in site.items() if key.startswith(prefix)}
        secrets = [it["secret"]["secretName"] for it in self.pod["volumes"] if it["name"] == "juspay-bff-shared"]
        return settings, secrets

    def shared_port(self):
        """The port of the server that the network policy allows, if there is one."""
        policy = self.one("NetworkPolicy", "networking", "-shared")
        enabled = self.one("NetworkPolicy", "networking")
        return policy["spec"]["egress"][0]["ports"][0]["port"] if enabled else None

    def ports(self):
        """The ports of listeners by container and by network policy, if there is one."""
        ports = [it["containerPort"] for it in self.container["ports"]]
        policies = [it["spec"] for it in self.objects if it["kind"] == "NetworkPolicy" and "ingress" in it["spec"]]
        # In ambient mode, the mesh's policy admits port 15008 too.
        policies = [it for it in policies if it["ingress"][0]["ports"][0]["port"] != 15008]
        allowed = [it["ports"][0]["port"] for it in policies[0]["ingress"]] if policies else ports
        return ports if allowed == ports else [ports, allowed]

    def ports_by_name(self, name):
        return [it["containerPort"] for it in self.container["ports"] if it["name"] == name]

    def scraped_ports(self):
        """The ports that Istio leaves open to a Prometheus outside the mesh."""
        return [int(it) for it in self.one("PeerAuthentication")["spec"]["portLevelMtls"]]

    def egress(self):
        """The kind of egress limit, and whether the network policy is there."""
        kinds = [
            it
            for it in ("CiliumNetworkPolicy", "NetworkPolicy")
            if self.one(it, "cilium.io" if it[0] == "C" else "projectcalico")
        ]
        return kinds, bool(self.one("NetworkPolicy", "networking"))

    def rule(self):
        assert "rewrite" not in json.dumps(self.one("Ingress")), "the Ingress rewrites paths"
        [rule] = self.one("Ingress")["spec"]["rules"]
        [path] = rule["http"]["paths"]
        return rule["host"], path["path"], path["pathType"]

    def route(self):
        spec = self.one("HTTPRoute")["spec"]
        [rule] = spec["rules"]
        port = rule["backendRefs"][0]["port"]
        assert port == self.service["spec"]["ports"][0]["port"], port
        assert "filters" not in rule, "the HTTPRoute rewrites paths"
        [match] = rule["matches"]
        return spec["hostnames"], match["path"], spec["parentRefs"] == PARENTS

    def alerts(self):
        rules = [rule for group in self.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
        alerts = [it for it in rules if "alert" in it]
        return {it["labels"]["severity"] for it in alerts}, len(rules) > len(alerts) > 20


def public(path="", **values):
    return {"settings": {"server": {"public_url": f"https://bff.acme.test{path}"}}} | values


def prefix(path):
    return {"type": "PathPrefix", "value": path}


OWN_VOLUMES = {"juspay-bff-settings", "juspay-bff-secrets", "juspay-bff-shared"}
SHARED_FILES = {
    "KEY_FILE": "/run/secrets/juspay-bff-shared/keys",
    "NAME_KEY_FILE": "/run/secrets/juspay-bff-shared/name-key",
}
SHARED_PASSWORD = {"PASSWORD_FILE": "/run/secrets/juspay-bff-shared/password"}
SHARED_CA = {"CA_FILE": "/run/secrets/juspay-bff-shared/ca.crt"}
ON, OFF = {"enabled": True}, {"enabled": False}
MATCH = {"matchLabels": {"a": "b"}}
# Each option: values, and what must be true of the rendered objects.
FACTORS = {
    "entry": [
        (public(), lambda it: it.rule() == ("bff.acme.test", "/me", "Prefix") and not it.one("HTTPRoute")),
        (public("/pay/bff/"), lambda it: it.rule() == ("bff.acme.test", "/pay/bff/me", "Prefix")),
        (
            public(ingress=OFF, httpRoute=ON | {"parentRefs": PARENTS}),
            lambda it: it.route() == (["bff.acme.test"], prefix("/me"), True) and not it.one("Ingress"),
        ),
        (
            public(
                "/bff", httpRoute=ON | {"parentRefs": PARENTS, "annotations": {"a": "b"}}, ingress={"className": "edge"}
            ),
            lambda it: (
                it.route() == (["bff.acme.test"], prefix("/bff/me"), True)
                and it.one("Ingress")["spec"]["ingressClassName"] == "edge"
            ),
        ),
        (public(ingress={"tlsSecretName": ""}), lambda it: "tls" not in it.one("Ingress")["spec"]),
        ({"ingress": OFF}, lambda it: "No Ingress and no HTTPRoute" in it.notes and ".acme:" in it.notes),
    ],
    "names": [
        ({}, lambda it: it.deployment["metadata"]["name"] == "shop-juspay-bff"),
        (
            {"nameOverride": "pay"},
            lambda it: (
                it.service["metadata"]["name"] == "shop-pay"
                and it.template["metadata"]["labels"]["app.kubernetes.io/name"] == "pay"
            ),
        ),
        ({"fullnameOverride": "pay"}, lambda it: it.service["metadata"]["name"] == "pay"),
    ],
    "commonLabels": [
        ({}, lambda it: True),
        (
            {"commonLabels": {"team": "payments"}},
            lambda it: all(of["metadata"]["labels"]["team"] == "payments" for of in [*it.objects, it.template]),
        ),
    ],
    "image": [
        ({}, lambda it: it.container["image"] == "registry.acme.test/juspay-bff:0.1.0"),
        (
            {"image": {"tag": "1", "digest": DIGEST}, "imagePullSecrets": [{"name": "pull"}]},
            lambda it: (
                it.container["image"] == f"registry.acme.test/juspay-bff:1@{DIGEST}"
                and it.pod["imagePullSecrets"] == [{"name": "pull"}]
            ),
        ),
    ],
    "secret": [
        ({}, lambda it: it.pod["volumes"][1]["secret"]["secretName"] == "juspay-bff" in it.notes),
        (
            {"existingSecret": "vault"},
            lambda it: it.pod["volumes"][1]["secret"]["secretName"] == "vault" and "generic vault" in it.notes,
        ),
    ],
    "shared": [
        ({}, lambda it: it.shared() == ({}, []) and not it.one("NetworkPolicy", name="-shared")),
        (
            {"shared": ON, "valkey": ON},
            lambda it: (
                it.shared()[0]
                == SHARED_FILES
                | SHARED_PASSWORD
                | {"URL": f"redis://juspay-bff@{it.one('StatefulSet')['metadata']['name']}"}
                and it.one("StatefulSet")["metadata"]["name"] == it.one("Service", name="-valkey")["metadata"]["name"]
                and it.shared_port() in (6379, None)
                and "generic juspay-bff-shared" in it.notes
            ),
        ),
        (
            {
                "shared": ON
                | {"url": "rediss://bff@redis.internal:7000", "topology": "cluster", "ca": True}
                | {"existingSecret": "tier", "peers": [{"ipBlock": {"cidr": "10.0.0.0/20"}}]},
                "settings": {"shared": {"prefix": "shop"}},
            },
            lambda it: (
                it.shared()
                == (
                    SHARED_FILES
                    | SHARED_PASSWORD
                    | SHARED_CA
                    | {"URL": "rediss://bff@redis.internal:7000", "TOPOLOGY": "cluster", "PREFIX": "shop"},
                    ["tier"],
                )
                and it.shared_port() in (7000, None)
                and "generic tier" in it.notes
            ),
        ),
        (
            {"shared": ON | {"url": "redis://[fd00::1]", "password": False, "peers": [{"ipBlock": {"cidr": "fd00::/64"}}]}},
            lambda it: (
                it.shared()[0] == SHARED_FILES | {"URL": "redis://[fd00::1]"}
                and it.shared_port() in (6379, None)
                and "--from-file=password" not in it.notes
            ),
        ),
    ],
    "extra": [
        ({}, lambda it: "env" not in it.container and it.volumes() <= OWN_VOLUMES),
        (
            {
                "extraEnv": [{"name": "JUSPAY_BFF__AUTH__REVOCATIONS_FILE", "value": "/etc/revocations/list.json"}],
                "extraVolumes": [{"name": "revocations", "configMap": {"name": "revocations"}}],
                "extraVolumeMounts": [{"name": "revocations", "mountPath": "/etc/revocations", "readOnly": True}],
            },
            lambda it: (
                it.container["env"][0]["value"].startswith("/etc/revocations")
                and it.container["volumeMounts"][-1]["mountPath"] == "/etc/revocations"
                and it.pod["volumes"][-1]["name"] == "revocations"
            ),
        ),
    ],
    "service": [
        ({}, lambda it: (it.service["spec"]["type"], it.service["spec"]["ports"][0]["port"]) == ("ClusterIP", 8080)),
        (
            {
                "service": {
                    "type": "LoadBalancer",
                    "port": 80,
                    "loadBalancerClass": "acme.test/lb",
                    "annotations": {"a": "b"},
                    "labels": {"c": "d"},
                }
            },
            lambda it: (
                it.service["spec"]["loadBalancerClass"] == "acme.test/lb"
                and it.service["metadata"]["annotations"] == {"a": "b"}
                and it.service["metadata"]["labels"]["c"] == "d"
            ),
        ),
        (
            {"service": {"type": "NodePort", "nodePort": 30080}},
            lambda it: it.service["spec"]["ports"][0]["nodePort"] == 30080,
        ),
    ],
    "listeners": [
        ({}, lambda it: it.ports() == [8080, 9464] and it.service["spec"]["ports"][0]["appProtocol"] == "http"),
        (
            {"settings": {"server": {"listen": ["unix:/run/bff", "[::]:9000"], "admin_listen": "0.0.0.0:9001"}}},
            lambda it: it.ports() == [9000, 9001] and ("9001," in it.notes or it.one("PodMonitor")),
        ),
        (
            {
                "settings": {
                    "server": {"tls": {f"{it}_file": f"/run/secrets/juspay-bff/{it}" for it in ("cert", "key")}}
                }
            },
            lambda it: it.service["spec"]["ports"][0]["appProtocol"] == "https",
        ),
    ],
    "podMonitor": [
        ({}, lambda it: not it.one("PodMonitor") and "podMonitor.enabled" in it.notes),
        (
            {"podMonitor": ON | {"labels": {"release": "prometheus"}}},
            lambda it: (
                it.one("PodMonitor")["metadata"]["labels"]["release"] == "prometheus"
                and it.one("PodMonitor")["spec"]["selector"] == it.deployment["spec"]["selector"]
                and it.one("PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"] == it.container["ports"][1]["name"]
            ),
        ),
    ],
    "prometheusRule": [
        ({}, lambda it: not it.one("PrometheusRule")),
        (
            {"prometheusRule": ON | {"labels": {"release": "prometheus"}}},
            lambda it: (
                it.alerts() == ({"page", "ticket"}, True)
                and it.one("PrometheusRule")["metadata"]["labels"]["release"] == "prometheus"
            ),
        ),
        (
            {"prometheusRule": ON | {"severities": {"page": "critical", "ticket": "warning"}}},
            lambda it: it.alerts() == ({"critical", "warning"}, True),
        ),
    ],
    "runbookUrl": [
        ({}, lambda it: OWN_RUNBOOKS not in it.text),
        ({"runbookUrl": OWN_RUNBOOKS}, lambda it: RUNBOOKS not in it.text),
    ],
    "dashboard": [
        ({}, lambda it: not it.one("ConfigMap", name="-dashboard")),
        (
            {"dashboard": ON | {"annotations": {"grafana_folder": "Payments"}}},
            lambda it: (
                it.one("ConfigMap", name="-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"
                and it.one("ConfigMap", name="-dashboard")["metadata"]["annotations"] == {"grafana_folder": "Payments"}
                and json.loads(
                    it.one("ConfigMap", name="-dashboard")["data"]["juspay-bff.json"].replace(OWN_RUNBOOKS, RUNBOOKS)
                )
                == json.loads((DEPLOY / "grafana/dashboard.json").read_text())
            ),
        ),
    ],
    "scaling": [
        ({}, lambda it: it.one("HorizontalPodAutoscaler") and "replicas" not in it.deployment["spec"]),
        (
            {"autoscaling": OFF, "replicaCount": 3},
            lambda it: not it.one("HorizontalPodAutoscaler") and it.deployment["spec"]["replicas"] == 3,
        ),
    ],
    "podDisruptionBudget": [
        ({}, lambda it: it.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1),
        (
            {"podDisruptionBudget": {"maxUnavailable": "50%"}},
            lambda it: it.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == "50%",
        ),
        ({"podDisruptionBudget": OFF}, lambda it: not it.one("PodDisruptionBudget")),
    ],
    "serviceAccount": [
        (
            {},
            lambda it: (
                it.one("ServiceAccount")["metadata"]["name"]
                == it.pod["serviceAccountName"]
                == it.service["metadata"]["name"]
            ),
        ),
        (
            {"serviceAccount": {"name": "pay", "annotations": {"a": "b"}}},
            lambda it: (
                it.one("ServiceAccount")["metadata"]["annotations"] == {"a": "b"}
                and it.pod["serviceAccountName"] == "pay"
            ),
        ),
        (
            {"serviceAccount": {"create": False, "name": "pay"}},
            lambda it: not it.one("ServiceAccount") and it.pod["serviceAccountName"] == "pay",
        ),
        ({"serviceAccount": {"create": False}}, lambda it: it.pod["serviceAccountName"] == "default"),
    ],
    "podSecurityContext": [
        ({}, lambda it: it.pod["securityContext"]["runAsUser"] == 65532),
        (
            {"podSecurityContext": {"fsGroupChangePolicy": "OnRootMismatch", "runAsUser": 1000680000}},
            lambda it: (
                it.pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
                and it.pod["securityContext"]["runAsUser"] == 1000680000
            ),
        ),
        (
            {"podSecurityContext": VARIANTS["openshift"]["podSecurityContext"]},
            lambda it: it.pod["securityContext"].keys() == {"runAsNonRoot", "seccompProfile"},
        ),
    ],
    "pods": [
        ({}, lambda it: it.template["metadata"]["annotations"].keys() == {"checksum/settings"}),
        (
            {
                "podLabels": {"a": "b"},
                "podAnnotations": {"c": "d"},
                "nodeSelector": {"kubernetes.io/arch": "arm64"},
                "tolerations": [{"key": "payments", "operator": "Exists"}],
                "affinity": {
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "e", "labelSelector": MATCH}]
                    }
                },
                "priorityClassName": "payments",
                "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
                "terminationGracePeriodSeconds": 60,
            },
            lambda it: (
                it.template["metadata"]["labels"]["a"] == "b"
                and it.template["metadata"]["annotations"]["c"] == "d"
                and it.pod["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
                and it.pod["tolerations"][0]["key"] == "payments"
                and "podAntiAffinity" in it.pod["affinity"]
                and it.pod["priorityClassName"] == "payments"
                and it.container["resources"]["limits"]["memory"] == "1Gi"
                and it.pod["terminationGracePeriodSeconds"] == 60
            ),
        ),
    ],
    "topologySpreadConstraints": [
        (
            {},
            lambda it: (
                [of["labelSelector"] for of in it.pod["topologySpreadConstraints"]]
                == 2 * [it.deployment["spec"]["selector"]]
            ),
        ),
        ({"topologySpreadConstraints": []}, lambda it: "topologySpreadConstraints" not in it.pod),
        (
            {
                "topologySpreadConstraints": [
                    {"maxSkew": 2, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": MATCH}
                ]
            },
            lambda it: [of["labelSelector"] for of in it.pod["topologySpreadConstraints"]] == [MATCH],
        ),
    ],
    "networkPolicy": [
        ({}, lambda it: it.egress() == ([], True)),
        ({"networkPolicy": OFF}, lambda it: it.egress() == ([], False)),
        ({"networkPolicy": {"hostNames": "cilium"}}, lambda it: it.egress() == (["CiliumNetworkPolicy"], True)),
        (
            {"networkPolicy": {"hostNames": "calico"}},
            lambda it: (
                it.egress() == (["NetworkPolicy"], True)
                and f"name == '{it.template['metadata']['labels']['app.kubernetes.io/name']}' &&"
                in it.one("NetworkPolicy", "projectcalico")["spec"]["selector"]
            ),
        ),
    ],
    "network": [
        ({}, lambda it: not it.one("DestinationRule")),
        (
            {"istio": ON, "networkPolicy": {"collectorNamespace": "telemetry"}},
            lambda it: it.one("DestinationRule") and it.scraped_ports() == it.ports_by_name("admin"),
        ),
        (
            {
                "istio": ON | {"mode": "ambient"},
                "settings": {"juspay": {"egress_proxy": "http://proxy.internal:3128"}},
                "networkPolicy": {"egressProxyPeers": [{"ipBlock": {"cidr": "10.0.0.0/20"}}]},
            },
            lambda it: it.scraped_ports() == it.ports_by_name("admin"),
        ),
        *(({"networkPolicy": it["networkPolicy"]}, lambda it: True) for it in VARIANTS.values()),
    ],
}


def pairs(combination):
    """The pairs of options in a combination, which has an option for some factors."""
    return set(itertools.combinations(sorted(combination.items()), 2))


def combinations():
    missing = set()
    for one, other in itertools.combinations(sorted(FACTORS), 2):
        missing |= {((one, a), (other, b)) for a in range(len(FACTORS[one])) for b in range(len(FACTORS[other]))}
    while missing:
        chosen = dict(min(missing))
        for factor in sorted(FACTORS.keys() - chosen.keys()):
            options = range(len(FACTORS[factor]))
            chosen[factor] = max(options, key=lambda it: len(pairs(chosen | {factor: it}) & missing))
        missing -= pairs(chosen)
        yield chosen


def merged(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: merged(one.get(key), value) for key, value in other.items()}
    return other


REQUIRED = {
    "image": {"repository": "registry.acme.test/juspay-bff"},
    "settings": {
        "juspay": {"base_url": "https://sandbox.juspay.in", "merchant_id": "acme_pay"},
        "auth": {
            "issuers": {
                "main": {
                    "issuer": "https://id.acme.test",
                    "audiences": ["acme-app"],
                    "algorithms": ["RS256"],
                    "discovery": True,
                }
            }
        },
    },
}


def faults(values, options):
    """What is wrong with the chart's objects and notes with these values, which stay in FOLDER."""
    command = [HELM, "install", "shop", DEPLOY / "helm/juspay-bff", "--namespace", "acme", "--dry-run=client"]
    command += ["--output", "json", "--values", "-"]
    result = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True)
    if result.returncode:
        return [result.stderr]
    rendered = Rendered(json.loads(result.stdout))
    path = FOLDER / f"{len(list(FOLDER.iterdir())):02}.yaml"
    path.write_text(rendered.text)
    found = [f"{it} in the output" for it in ("<no value>", "<nil>", "%!") if it in rendered.text + rendered.notes]
    address = values["settings"].get("server", {}).get("public_url", "").rstrip("/")
    words = ["/me/customer for merchant acme_pay", "/me/sdk-payload", "/me/prepare"]
    if not all(f"{address}{it}" in rendered.notes for it in words):
        found.append(f"wrong notes: {rendered.notes}")
    for factor, option in options.items():
        try:
            fine = FACTORS[factor][option][1](rendered)
        except (KeyError, IndexError, TypeError, AssertionError) as error:
            fine, factor = False, f"{factor} ({error!r})"
        if not fine:
            found.append(f"option {option} of {factor} has not its effect")
    check = subprocess.run([PROGRAM, "check-config", "--manifests", path], capture_output=True, text=True)
    return found + ([f"check-config: {check.stderr}"] if check.returncode else [])


FOLDER.mkdir()
count = 0
for options in combinations():
    values = REQUIRED
    for factor, option in options.items():
        values = merged(values, FACTORS[factor][option][0])
    count += 1
    if found := faults(values, options):
        sys.exit("\n".join([f"fault: {it}" for it in found] + [f"with the values {json.dumps(values)}"]))
print(f"{count} combinations of {sum(map(len, FACTORS.values()))} options")
