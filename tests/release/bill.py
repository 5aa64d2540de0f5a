"""python tests/release/bill.py FILE PROGRAM…: holds a bill of materials against CycloneDX's schema and the programs."""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from release_parts.sbom import audit_list


def main() -> int:
    """Of the command line."""
    text = Path(sys.argv[1]).read_text()
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong:
        print(wrong)
        return 1
    bill = json.loads(text)
    components = bill["components"]
    listed = {(part["name"], part["version"]) for part in [*components, bill["metadata"]["component"]]}
    inside = {(part["name"], part["version"]) for program in sys.argv[2:] for part in audit_list(Path(program))}
    debian = [part for part in components if part.get("purl", "").startswith("pkg:deb/")]
    nameless = [part["name"] for part in components if "licenses" not in part and part not in debian]
    print(f"CycloneDX {bill['specVersion']}: valid; {len(components)} components, {len(debian)} of them Debian's")
    if missing := inside - listed:
        print("in a program, and not in the bill:", missing)
    if nameless:
        print("without a licence:", nameless)
    return 1 if missing or nameless else 0


if __name__ == "__main__":
    sys.exit(main())
