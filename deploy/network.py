"""Renders the variants for meshes and proxies, and checks what their networks need:

    network.py KUBECTL HELM FOLDER OUT

FOLDER has copies of deploy/kubernetes and deploy/helm, OUT gets the manifests.
"""

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml

CHART = Path(__file__).parent / "helm/juspay-bff"
PROXY = [
    "settings.juspay.egress_proxy=http://proxy.internal:3128",
    "networkPolicy.egressProxyPeers[0].ipBlock.cidr=10.0.0.0/20",
]
SHARED = [
    "shared.enabled=true",
    "shared.url=redis://redis.internal",
    "shared.peers[0].ipBlock.cidr=10.0.0.0/20",
]
# With Cilium, the names that pods may resolve in addition to the hosts that they may call.
ISTIOD = {"istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local"}
NAMES = {"sidecar-mesh-cilium": ISTIOD, "ambient-mesh-cilium": set(), "egress-proxy-cilium": {"proxy.internal"},
         "shared-tier-cilium": {"redis.internal"}}
# The components of a variant, and the values of the chart.
VARIANTS = {
    "sidecar-mesh": (["istio"], ["istio.enabled=true"]),
    "ambient-mesh": (["istio-ambient"], ["istio.enabled=true", "istio.mode=ambient"]),
    "ambient-mesh-cilium": (
        ["istio-ambient", "cilium"],
        ["istio.enabled=true", "istio.mode=ambient", "networkPolicy.hostNames=cilium"],
    ),
    "sidecar-mesh-cilium": (["istio", "cilium"], ["istio.enabled=true", "networkPolicy.hostNames=cilium"]),
    "egress-proxy": (["egress-proxy"], PROXY),
    "egress-proxy-cilium": (["egress-proxy", "cilium"], [*PROXY, "networkPolicy.hostNames=cilium"]),
    "shared-tier": (["shared-tier"], SHARED),
    "shared-tier-cilium": (["shared-tier", "cilium"], [*SHARED, "networkPolicy.hostNames=cilium"]),
}

faults = []


def expect(condition, fault):
    if not condition:
        faults.append(fault)


def kustomized(kubectl, folder, components):
    """The standalone overlay with components that its kustomization has as comments."""
    overlay = folder / "kubernetes/overlays" / "-".join(["network", *components])
    overlay.mkdir()
    source = folder / "kubernetes/overlays/standalone"
    for file in source.iterdir():
        text = file.read_text()
        for component in components:
            comment = f"  # - ../../components/{component}\n"
            expect(file.name != "kustomization.yaml" or comment in text, f"{source} does not offer {component}")
            text = text.replace(comment, comment.replace("# ", ""))
        (overlay / file.name).write_text(text)
    return subprocess.check_output([kubectl, "kustomize", overlay], text=True)


def rendered(helm, folder, values):
    command = [helm, "template", "juspay-bff", CHART, "--values", folder / "helm/example.yaml"]
    values = ["networkPolicy.ingressNamespace=edge", "networkPolicy.monitoringNamespace=metrics", *values]
    command += [it for value in values for it in ("--set", value)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def by_name(text):
    objects = [it for it in yaml.safe_load_all(text) if it]
    return {(it["kind"], it["metadata"]["name"]): it for it in objects}


def bare(spec):
    """A spec without the label that only the chart has."""
    if isinstance(spec, dict):
        return {key: bare(value) for key, value in spec.items() if key != "app.kubernetes.io/instance"}
    return [bare(it) for it in spec] if isinstance(spec, list) else spec


def namespaces(rule):
    selectors = [it.get("namespaceSelector", {}).get("matchLabels", {}) for it in rule]
    return [it.get("kubernetes.io/metadata.name") for it in selectors]


def check_istio(name, objects):
    spec = {kind: objects[kind, "juspay-bff"]["spec"] for kind in ["VirtualService", "DestinationRule", "PeerAuthentication"]}
    [route] = spec["VirtualService"]["http"]
    expect(route["retries"] == {"attempts": 0}, f"{name}: the mesh retries: {route}")
    ejection = spec["DestinationRule"]["trafficPolicy"]["outlierDetection"]
    for key in ["consecutive5xxErrors", "consecutiveGatewayErrors"]:
        expect(ejection[key] == 0, f"{name}: {key} ejects replicas for their responses")
    expect(ejection["splitExternalLocalOriginErrors"], f"{name}: failed connections are counted as responses")
    service = objects["Service", "juspay-bff"]["spec"]
    expect(service["ports"][0]["name"] == "http", f"{name}: Istio takes the port's protocol from its name, http")
    pods = objects["Deployment", "juspay-bff"]["spec"]["template"]
    [container] = pods["spec"]["containers"]
    admin = next(str(it["containerPort"]) for it in container["ports"] if it["name"] == "admin")
    modes = spec["PeerAuthentication"]["portLevelMtls"]
    expect(modes == {admin: {"mode": "PERMISSIVE"}}, f"{name}: port {admin} cannot be scraped: {modes}")
    labels = spec["PeerAuthentication"]["selector"]["matchLabels"].items()
    expect(labels <= pods["metadata"]["labels"].items(), f"{name}: PeerAuthentication selects other pods")


def check_mesh_policy(name, policy, is_ambient):
    if not is_ambient:
        [rule] = policy["egress"]
        allowed = (namespaces(rule["to"]), rule["ports"][0]["port"])
        expect(allowed == (["istio-system"], 15012), f"{name}: the proxy cannot reach istiod: {allowed}")
        return
    hbone = [namespaces(it["from"]) for it in policy["ingress"] if it["ports"][0]["port"] == 15008]
    expect(hbone == [["edge"], ["metrics"], [None]], f"{name}: port 15008 is open to {hbone}")
    probes = policy["ingress"][-1]
    expect(probes["ports"][0]["port"] == 9464, f"{name}: no rule for probes: {probes}")
    expect(probes["from"][0]["ipBlock"]["cidr"] == "169.254.7.127/32", f"{name}: no rule for probes: {probes}")
    expect([it["ports"][0]["port"] for it in policy["egress"]] == [15008], f"{name}: no egress to the mesh")


def check(name, objects):
    for it in objects.values():
        if it["apiVersion"].count(".") == 0 or it["apiVersion"].endswith(".k8s.io/v1"):
            kubernetes_validate.validate(it, "1.33", strict=True)
    if "mesh" in name:
        check_istio(name, objects)
        policy = objects["NetworkPolicy", "juspay-bff-mesh"]["spec"]
        check_mesh_policy(name, policy, "ambient" in name)
    if "cilium" in name:
        dns, https = objects["CiliumNetworkPolicy", "juspay-bff-egress"]["spec"]["egress"]
        names, hosts = ({it["matchName"] for it in of} for of in [dns["toPorts"][0]["rules"]["dns"], https["toFQDNs"]])
        extra = NAMES[name.partition("-")[2]]
        expect(names == hosts | extra, f"{name}: resolves {names}, may call {hosts}")
    if "egress-proxy" in name:
        [rule] = objects["NetworkPolicy", "juspay-bff-egress-proxy"]["spec"]["egress"]
        peers, [port] = rule["to"], rule["ports"]
        expect(peers == [{"ipBlock": {"cidr": "10.0.0.0/20"}}], f"{name}: wrong addresses {peers}")
        expect(port == {"protocol": "TCP", "port": 3128}, f"{name}: wrong port {port}")
    if "shared-tier" in name:
        [rule] = objects["NetworkPolicy", "juspay-bff-shared"]["spec"]["egress"]
        expect(rule["to"] == [{"ipBlock": {"cidr": "10.0.0.0/20"}}], f"{name}: wrong addresses {rule}")
        expect(rule["ports"] == [{"protocol": "TCP", "port": 6379}], f"{name}: wrong port {rule}")


def main(kubectl, helm, folder, out):
    out.mkdir(exist_ok=True)
    for name, (components, values) in VARIANTS.items():
        texts = {"standalone": kustomized(kubectl, folder, components), "helm": rendered(helm, folder, values)}
        objects = {}
        for origin, text in texts.items():
            (out / f"{origin}-{name}.yaml").write_text(text)
            objects[origin] = by_name(text)
            check(f"{origin}-{name}", objects[origin])
        ours, theirs = objects.values()
        for key in ours.keys() & theirs.keys():
            if "spec" in ours[key] and ("NetworkPolicy" in key[0] or "istio" in ours[key]["apiVersion"]):
                expect(bare(ours[key]["spec"]) == bare(theirs[key]["spec"]), f"{name}: the chart differs in {key}")
        policies = {key for key in ours.keys() ^ theirs.keys() if "NetworkPolicy" in key[0]}
        expect(not policies, f"{name}: only one of overlay and chart has {policies}")
    both = ["settings.juspay.egress_proxy", "networkPolicy.egressProxyPeers"]
    for wrong, words in {"istio.mode=both": ["/istio/mode"], PROXY[0]: both, PROXY[1]: both}.items():
        try:
            rendered(helm, folder, [wrong])
        except subprocess.CalledProcessError as error:
            expect(all(it in error.stderr for it in words), f"{wrong}: {error.stderr}")
            continue
        faults.append(f"the chart accepts {wrong}")


main(*map(Path, sys.argv[1:]))
for fault in faults:
    print(f"fault: {fault}", file=sys.stderr)
sys.exit(1 if faults else 0)
