"""The DAGs of the README can be pasted: they import what they use, and Airflow takes them."""

import re
from pathlib import Path

from airflow.sdk import DAG

README = Path(__file__).parents[2] / "README.md"


def dags():
    """The DAGs of each block of Python, each block as a module of its own."""
    for block in re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        names: dict[str, object] = {}
        found: list[DAG] = []
        # A DAG registers itself where it is opened; its variable may be missing, as in `with DAG(…):`.
        opened = DAG.__enter__
        DAG.__enter__ = lambda dag: (found.append(dag), opened(dag))[1]  # type: ignore[method-assign]
        try:
            exec(compile(block, str(README), "exec"), names)  # noqa: S102 # Of this repository.
        finally:
            DAG.__enter__ = opened  # type: ignore[method-assign]
        yield {dag.dag_id: dag for dag in found}


def test_the_dags_of_the_readme_import_what_they_use():
    blocks = list(dags())
    assert [sorted(block) for block in blocks] == [["teamleader_nightly"], ["report", "teamleader_hourly"]]
    task = blocks[0]["teamleader_nightly"].get_task("full")
    assert (task.mode, task.deferrable, task.retries) == ("full", True, 1)
