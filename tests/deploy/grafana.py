"""ops/grafana/teamleader2db.json by Grafana's own models: what they do not know is lost when they write it again, and told.

    grafana.py FILE
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard


def differences(there, back, path=""):
    """What stands in `there` and not in `back`. Nulls and empty values may be left out."""
    if isinstance(there, dict) and isinstance(back, dict):
        for key, value in there.items():
            if key not in back:
                if value not in (None, False, [], {}):
                    yield f"{path}/{key} is not known"
            else:
                yield from differences(value, back[key], f"{path}/{key}")
    elif isinstance(there, list) and isinstance(back, list) and len(there) == len(back):
        for place, (one, other) in enumerate(zip(there, back)):
            yield from differences(one, other, f"{path}[{place}]")
    elif there != back:
        yield f"{path} is {there!r}, and {back!r} when it is written again"


def main(file):
    """Prints what is wrong; 1 if something is."""
    register_default_plugins()
    with open(file, encoding="utf-8") as text:
        there = json.load(text)
    back = json.loads(JSONEncoder(sort_keys=True).encode(dashboard.Dashboard.from_json(there)))
    wrong = list(differences(there, back))
    ids = [panel["id"] for panel in there["panels"]]
    if len(ids) != len(set(ids)):
        wrong.append("two panels have one id")
    print("\n".join(wrong) or f"{len(ids)} panels")
    return 1 if wrong else 0


sys.exit(main(sys.argv[1]))
