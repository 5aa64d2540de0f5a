"""Checks that every pod of the manifests keeps to the profile `restricted`, and that what is named is there.

    python tests/deploy/kubernetes.py DIRECTORY

The profile: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted. Schemas do not tell any of it.
"""

import pathlib
import sys

import yaml

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def wrong_with_pod(pod):
    """What of a pod's spec the profile refuses, or goes without what this project wants of each pod."""
    own = pod.get("securityContext", {})
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "it shares a namespace with its host"
    if pod.get("automountServiceAccountToken") is not False:
        yield "it gets a token for the Kubernetes API"
    for volume in pod.get("volumes", []):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"the volume {volume['name']} is a {kind}"
    for container in pod["containers"] + pod.get("initContainers", []):
        context = {**own, **container.get("securityContext", {})}
        wanted = {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for name, value in wanted.items():
            if context.get(name) != value:
                yield f"{container['name']}: {name} is {context.get(name)}, not {value}"
        if context.get("privileged") or context.get("runAsUser") == 0:
            yield f"{container['name']}: it is root, or as good as"
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
            yield f"{container['name']}: its memory is not bounded, or its needs are not told"


def wrong_with_names(objects):
    """What is named and not there: labels, ports, keys."""
    labels = [o["spec"]["template"]["metadata"]["labels"] for o in objects if o["kind"] == "Deployment"]
    secrets = {o["metadata"]["name"]: o.get("stringData", {}).keys() for o in objects if o["kind"] == "Secret"}
    services = [o["metadata"]["labels"] for o in objects if o["kind"] == "Service"]
    for o in objects:
        if o["kind"] == "NetworkPolicy":
            continue
        selector = o.get("spec", {}).get("selector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            among = services if o["kind"] == "ServiceMonitor" else labels
            if not any(wanted.items() <= has.items() for has in among):
                yield f"{o['kind']}: nothing has the labels {wanted}"
        for pod in pods([o]):
            mounts = {
                mount["mountPath"]: files_of(volume["secret"], secrets)
                for container in pod["containers"]
                for mount in container.get("volumeMounts", [])
                for volume in pod["volumes"]
                if volume["name"] == mount["name"] and "secret" in volume
            }
            for container in pod["containers"]:
                for variable in container.get("env", []):
                    if variable["name"].endswith("_FILE"):
                        directory, _, key = variable["value"].rpartition("/")
                        if key not in mounts.get(directory, ()):
                            yield f"{o['kind']}: {variable['name']} names a file that no Secret has: {variable['value']}"


def selects(selector, labels):
    """Whether a selector of labels and of lists of values takes these labels."""
    wanted = selector.get("matchExpressions", [])
    in_lists = all(e["operator"] == "In" and labels.get(e["key"]) in e["values"] for e in wanted)
    return in_lists and selector.get("matchLabels", {}).items() <= labels.items()


def wrong_with_networks(objects):
    """Pods whose traffic no policy confines, in either direction."""
    policies = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy"]
    for o in objects:
        for template in templates([o]):
            labels = template.get("metadata", {}).get("labels", {})
            about_it = [policy for policy in policies if selects(policy["podSelector"], labels)]
            confined = {kind for policy in about_it for kind in policy["policyTypes"]}
            for kind in sorted({"Ingress", "Egress"} - confined):
                yield f"{o['kind']}: no NetworkPolicy is about its {kind.lower()}"


def files_of(volume, secrets):
    """The names of the files that a volume of a Secret has."""
    keys = secrets.get(volume["secretName"], ())
    return {item["path"] for item in volume["items"] if item["key"] in keys} if "items" in volume else set(keys)


def templates(objects):
    """The templates of pods, those of jobs that a schedule starts too."""
    specs = [o.get("spec", {}) for o in objects]
    specs = [spec.get("jobTemplate", {}).get("spec", spec) for spec in specs]
    return [spec["template"] for spec in specs if "template" in spec]


def pods(objects):
    return [template["spec"] for template in templates(objects)]


def main(directory):
    files = sorted(pathlib.Path(directory).glob("*.yaml"))
    objects = [o for file in files if file.name != "kustomization.yaml" for o in yaml.safe_load_all(file.read_text())]
    wrong = [*wrong_with_names(objects), *wrong_with_networks(objects), *(why for pod in pods(objects) for why in wrong_with_pod(pod))]
    resources = yaml.safe_load((pathlib.Path(directory) / "kustomization.yaml").read_text())["resources"]
    wrong += [f"kustomization.yaml names {name}, which is not there" for name in resources if not (pathlib.Path(directory) / name).exists()]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    print(f"{len(objects)} objects, {len(pods(objects))} with pods")
    return 1 if wrong or not pods(objects) else 0


sys.exit(main(sys.argv[1]))
