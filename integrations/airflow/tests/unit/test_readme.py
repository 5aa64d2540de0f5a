"""The DAGs of the README can be pasted: they import what they use, and Airflow takes them."""

import re
from pathlib import Path

from airflow.sdk import DAG

README = Path(__file__).parents[2] / "README.md"


def test_the_dags_of_the_readme_import_what_they_use(monkeypatch):
    text = README.read_text(encoding="utf-8")
    found = []
    # A DAG is noted where it is opened; its variable may be missing, as in `with DAG(…):`.
    opened = DAG.__enter__
    monkeypatch.setattr(DAG, "__enter__", lambda dag: (found.append(dag), opened(dag))[1])
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        # Each is a module of its own.
        exec(compile(block, str(README), "exec"), {})  # noqa: S102 # Of this repository.
    assert [dag.dag_id for dag in found] == ["teamleader_nightly", "teamleader_hourly", "report", "invoices_report"]
    task = found[0].get_task("full")
    assert (task.mode, task.deferrable, task.retries) == ("full", True, 1)
    sensor = found[3].get_task("invoices_are_fresh")
    assert (sensor.mode, sensor.downstream_task_ids) == ("reschedule", {"report"})
