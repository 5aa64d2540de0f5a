"""python3 -m release_parts.sbom FILE PROGRAM…: writes the software bill of materials of a release, as CycloneDX JSON.

The crates in the programs are read from the programs themselves, where release_parts.audit has put them; licences and
checksums come from `cargo metadata` and Cargo.lock. What the images hold besides are files of Debian packages, named in
the environment as DEBIAN_PACKAGES (`name=version` each).
"""

import json
import os
import subprocess
import sys
import tempfile
import tomllib
import uuid
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SECTION = ".dep-v0"
Package = dict[str, Any]


def audit_list(program: Path) -> list[Package]:
    """The packages that a program says it is made of."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "list"
        subprocess.run(
            ["objcopy", f"--dump-section={SECTION}={dump}", str(program), str(Path(folder) / "copy")], check=True
        )
        packages: list[Package] = json.loads(zlib.decompress(dump.read_bytes()))["packages"]
        return packages


def purl(package: Package) -> str:
    """The address of a package in the language of package URLs."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def licences() -> dict[tuple[str, str], str]:
    """The licence of each crate, as an SPDX expression: older ones write `/` for `OR`."""
    output = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--locked"], check=True, capture_output=True
    ).stdout
    packages = json.loads(output)["packages"]
    return {
        (package["name"], package["version"]): package["license"].replace("/", " OR ")
        for package in packages
        if package["license"]
    }


def checksums() -> dict[tuple[str, str], str]:
    """The SHA-256 of each crate's archive."""
    lock = tomllib.loads(Path("Cargo.lock").read_text())
    return {
        (package["name"], package["version"]): package["checksum"]
        for package in lock["package"]
        if "checksum" in package
    }


def component(package: Package, licence: str | None, checksum: str | None) -> dict[str, Any]:
    """A crate as CycloneDX has it."""
    own = package.get("source") == "local"
    found: dict[str, Any] = {
        "type": "application" if own else "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        # What takes part in the build alone is not in the program.
        "scope": "excluded" if package.get("kind") == "build" else "required",
    }
    if licence:
        found["licenses"] = [{"expression": licence}]
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if not own:
        found["purl"] = purl(package)
    return found


def debian(names: list[str], architecture: str) -> list[dict[str, Any]]:
    """The Debian packages that files of the images come from."""
    found = []
    for name, version in (name.split("=", 1) for name in sorted(names)):
        address = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}"
        found.append(
            {
                "type": "library",
                "bom-ref": address,
                "name": name,
                "version": version,
                "purl": address,
                "description": "In the images alone.",
            }
        )
    return found


def document(programs: list[Path], facts: dict[str, str]) -> dict[str, Any]:
    """The bill of materials of all programs; the first of them is what it is of."""
    known_licences, known_checksums = licences(), checksums()
    components: dict[str, dict[str, Any]] = {}
    uses: dict[str, set[str]] = {}
    roots = []
    for program in programs:
        packages = audit_list(program)
        for package in packages:
            key = (package["name"], package["version"])
            made = component(package, known_licences.get(key), known_checksums.get(key))
            known = components.setdefault(made["bom-ref"], made)
            if made["scope"] == "required":
                known["scope"] = "required"
            uses.setdefault(made["bom-ref"], set()).update(purl(packages[i]) for i in package.get("dependencies", []))
            if package.get("root"):
                roots.append(made["bom-ref"])
    main_component = components.pop(roots[0])
    del main_component["scope"]
    system = debian(facts["DEBIAN_PACKAGES"].split(), facts["ARCHITECTURE"])
    made = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(int(facts["EPOCH"]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": main_component,
            "properties": [{"name": "commit", "value": facts["COMMIT"]}],
        },
        "components": [components[ref] for ref in sorted(components)] + system,
        "dependencies": [{"ref": ref, "dependsOn": sorted(uses[ref])} for ref in sorted(uses)],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(made, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "serialNumber": f"urn:uuid:{serial}"} | made


def main() -> None:
    """Of the command line; the environment has the facts of the release."""
    made = document([Path(program) for program in sys.argv[2:]], dict(os.environ))
    Path(sys.argv[1]).write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
