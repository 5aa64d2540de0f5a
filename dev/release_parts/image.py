"""python3 -m release_parts.image STAGE ROOT FILE: packs the folder ROOT as an image, an OCI archive.

How the image is run (user, environment, entry point, health check) is what the stage STAGE of the Dockerfile says. No
container engine takes part, and no image that it would be based on: those stages are FROM scratch.

The archive also has the `manifest.json` of Docker's own format, so that any Docker loads it.
"""

import hashlib
import json
import os
import re
import shlex
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from release_parts import pack

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
# What a builder gives to an image that sets none; the entry points are names without a folder.
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NANOSECONDS = 1_000_000_000


def instructions(dockerfile: str, stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage, each with what follows its name."""
    found: list[tuple[str, str]] = []
    inside = False
    for line in re.sub(r"\\\n", " ", dockerfile).splitlines():
        name, _, rest = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if name == "FROM":
            inside = rest == f"scratch AS {stage}"
        elif inside:
            found.append((name, rest.strip()))
    if not found:
        raise ValueError(f"the Dockerfile has no stage {stage} FROM scratch")
    return found


def health_check(text: str) -> dict[str, object]:
    """Docker's form of a HEALTHCHECK, which other engines read, too."""
    options, _, command = text.partition("CMD ")
    check: dict[str, object] = {"Test": ["CMD", *json.loads(command)]}
    keys = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "retries": "Retries"}
    for option in options.split():
        name, _, value = option.removeprefix("--").partition("=")
        check[keys[name]] = int(value.removesuffix("s")) * (1 if name == "retries" else NANOSECONDS)
    return check


def run_config(dockerfile: str, stage: str) -> dict[str, object]:
    """How a container of the stage's image is run."""
    config: dict[str, object] = {}
    env = [PATH]
    for name, rest in instructions(dockerfile, stage):
        match name:
            case "COPY":
                pass
            case "USER":
                config["User"] = rest
            case "ENV":
                env += shlex.split(rest)
            case "EXPOSE":
                config["ExposedPorts"] = {f"{port}/tcp": {} for port in rest.split()}
            case "ENTRYPOINT":
                config["Entrypoint"] = json.loads(rest)
            case "CMD":
                config["Cmd"] = json.loads(rest)
            case "HEALTHCHECK":
                config["Healthcheck"] = health_check(rest)
            case _:
                raise ValueError(f"the Dockerfile's {name} is unknown to dev/release_parts/image.py: add it there")
    return config | {"Env": env, "WorkingDir": "/"}


class Layout:
    """A folder in the layout of OCI images."""

    def __init__(self, folder: Path) -> None:
        """In an empty folder."""
        self.folder = folder
        (folder / "blobs/sha256").mkdir(parents=True)

    def blob(self, media_type: str, data: bytes) -> dict[str, object]:
        """Stores a blob and returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def write(self, name: str, value: object) -> None:
        """Writes a file of the layout."""
        (self.folder / name).write_bytes(text(value))


def text(value: object) -> bytes:
    """As JSON, always in the same form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def path_of(descriptor: dict[str, object]) -> str:
    """Where a blob lies."""
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def pack_image(folder: Path, stage: str, root: Path, name: str, facts: dict[str, str]) -> None:
    """Writes the layout of the image `name` into `folder`."""
    epoch = int(facts["EPOCH"])
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    repository, _, tag = name.partition(":")
    layer = pack.tar(root, epoch)
    layout = Layout(folder)
    compressed = layout.blob(LAYER, pack.compress(layer))
    labels = {
        "org.opencontainers.image.title": repository,
        "org.opencontainers.image.version": facts["VERSION"],
        "org.opencontainers.image.revision": facts["COMMIT"],
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.licenses": facts["LICENSE"],
    }
    config = layout.blob(
        CONFIG,
        text(
            {
                "architecture": facts["ARCHITECTURE"],
                "os": "linux",
                "created": created,
                "config": run_config(Path("Dockerfile").read_text(), stage) | {"Labels": labels},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
                "history": [{"created": created, "created_by": f"dev/release, stage {stage} of the Dockerfile"}],
            }
        ),
    )
    manifest = layout.blob(
        MANIFEST,
        text(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": config,
                "layers": [compressed],
                "annotations": labels,
            }
        ),
    )
    manifest["platform"] = {"architecture": facts["ARCHITECTURE"], "os": "linux"}
    manifest["annotations"] = {
        "org.opencontainers.image.ref.name": tag,
        "io.containerd.image.name": f"docker.io/library/{name}",
    }
    layout.write("oci-layout", {"imageLayoutVersion": "1.0.0"})
    layout.write("index.json", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]})
    layout.write("manifest.json", [{"Config": path_of(config), "RepoTags": [name], "Layers": [path_of(compressed)]}])


def main() -> None:
    """Of the command line; the environment has the facts of the release."""
    stage, root, file, name = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    facts = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        pack_image(Path(folder), stage, root, name, facts)
        file.write_bytes(pack.tar(Path(folder), int(facts["EPOCH"])))


if __name__ == "__main__":
    main()
