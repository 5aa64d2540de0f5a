"""integrations/dbt in a dbt-postgres: a project that uses it as a package, over the copy that a worker has made of the simulator's account.

The account changes, the worker syncs, dbt builds incrementally; and each time the marts are held against plain SQL over the views.
"""

import atexit
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psycopg2
from dbt.cli.main import dbtRunner

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2] / "integrations" / "dbt"
HOME = Path(os.environ["DBT_TEST_HOME"])
PROJECT = HOME / "project"
SCHEMA = "marts_of_dbt"
INCREMENTAL = {"fct_invoices", "fct_invoice_lines", "fct_time_entries"}

# Each mart as a select over it, and the same as one over the views.
EQUAL = {
    "fct_invoices": (
        "select account, invoice_id, status, is_paid, customer_id, purchase_order_number, total_tax_exclusive,"
        " total_tax_exclusive_currency, total_due, total_due_currency, updated_at, _changed_at from fct_invoices",
        "select account, id, status, paid, invoicee_customer_id, purchase_order_number, total_tax_exclusive_amount,"
        " total_tax_exclusive_currency, total_due_amount, total_due_currency, updated_at, _changed_at from teamleader_views.invoices",
    ),
    "fct_invoice_lines": (
        "select account, invoice_id, group_position, position, description, quantity, unit_price, total_tax_exclusive,"
        " total_tax_exclusive_currency, _changed_at from fct_invoice_lines",
        "select account, invoice_id, group_position, position, description, quantity, unit_price_amount, total_tax_exclusive_amount,"
        " total_tax_exclusive_currency, _changed_at from teamleader_views.invoice_lines",
    ),
    "fct_time_entries": (
        "select account, time_entry_id, user_id, started_at, duration_seconds, description, _changed_at from fct_time_entries",
        "select account, id, user_id, started_at, duration, description, _changed_at from teamleader_views.time_tracking",
    ),
    "fct_deals": (
        "select account, deal_id, title, status, is_won, phase, phase_count, phase_started_at, estimated_value, estimated_value_currency,"
        " _changed_at from fct_deals",
        "select d.account, d.id, d.title, d.status, d.status = 'won', (select name from teamleader_views.deal_phases p"
        " where p.account = d.account and p.id = d.current_phase_id), (select count(*) from teamleader_views.deal_phase_history h"
        " where h.account = d.account and h.deal_id = d.id), (select started_at from teamleader_views.deal_phase_history h"
        " where h.account = d.account and h.deal_id = d.id order by position desc limit 1), d.estimated_value_amount,"
        " d.estimated_value_currency, d._changed_at from teamleader_views.deals d",
    ),
    "dim_customers": (
        "select account, customer_id, customer_type, name, email, vat_number, _changed_at from dim_customers",
        "select account, id, 'company', name, (select email from teamleader_views.company_emails e where e.account = c.account"
        " and e.company_id = c.id and e.type = 'primary' order by position limit 1), vat_number, _changed_at"
        " from teamleader_views.companies c union all"
        " select account, id, 'contact', case when first_name is null then last_name when last_name is null then first_name"
        " else first_name || ' ' || last_name end, (select email from teamleader_views.contact_emails e where e.account = c.account"
        " and e.contact_id = c.id and e.type = 'primary' order by position limit 1), vat_number, _changed_at"
        " from teamleader_views.contacts c",
    ),
}
SUMS = {
    "fct_invoices": "total_tax_exclusive",
    "fct_invoice_lines": "total_tax_exclusive",
    "fct_time_entries": "duration_hours",
    "fct_deals": "estimated_value",
    "dim_customers": "0",
}


def check(condition: object, message: str) -> None:
    if not condition:
        sys.exit(f"tests/integrations/dbt: {message}")


connection = psycopg2.connect(os.environ["COPY_URL"], options=f"-c search_path={SCHEMA}")
connection.autocommit = True


def sql(statement: str, *values: object) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def dbt(*arguments: str, directory: Path = PROJECT, fails: bool = False) -> None:
    """Runs dbt within this process, as starting it takes most of its time. It does not succeed if a model or test failed, or a source is stale."""
    began = time.monotonic()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ended = DBT.invoke([*arguments, "--project-dir", str(directory)])
    check(ended.exception is None and ended.success is not fails, f"dbt {' '.join(arguments)}: {ended.exception or ''}\n{printed.getvalue()}")
    print(f"   dbt {' '.join(arguments)}: {time.monotonic() - began:.1f} s", flush=True)


def build(*arguments: str) -> dict[str, dict]:
    """What the server answered to the main statement of each model."""
    dbt("build", *arguments)
    results = json.loads((PROJECT / "target" / "run_results.json").read_text())["results"]
    bad = [(result["unique_id"], result["status"], result["message"]) for result in results if result["status"] not in ("success", "pass")]
    # A relation may be broken by what is deleted; nothing else may even warn.
    check(all(status == "warn" and ".relationships_" in name for name, status, _ in bad), f"dbt build says: {bad}")
    return {r["unique_id"].split(".")[-1]: r["adapter_response"] for r in results if r["unique_id"].startswith("model.teamleader2db.")}


def equal() -> None:
    """The marts are what the views are, every row."""
    for mart, (has, should) in EQUAL.items():
        for one, other, what in ((has, should, "too much"), (should, has, "missing or old")):
            rows = sql(f"({one}) except all ({other}) limit 3")
            check(not rows, f"{mart}: {what}: {rows}")
        (counted,) = sql(f"select count(*), round(sum({SUMS[mart]}), 2) from {mart}")
        print(f"   {mart}: {counted[0]} rows" + (f", {SUMS[mart]} {counted[1]}" if counted[1] else ""))
        check(counted[0], f"{mart} is empty")
    for mart in ("fct_invoices", "fct_time_entries"):
        check(not sql(f"select 1 from {mart} where _deleted_at is not null"), f"{mart} holds what is deleted")


def sync(*arguments: str) -> None:
    run = subprocess.run(
        [os.environ["PROGRAM"], "request", "--wait", *arguments],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    check(run.returncode == 0, f"the sync failed: {run.stdout}")


def change(resource: str, kind: str, count: int) -> list[str]:
    body = json.dumps({"resource": resource, "kind": kind, "count": count}).encode()
    with urllib.request.urlopen(f"{os.environ['SIMULATOR']}/_simulator/changes", body) as answer:
        ids = json.load(answer)["ids"]
    check(len(ids) == count, f"{kind} of {count} {resource}: {ids}")
    return ids


def freshness(*arguments: str, fails: bool = False) -> dict[str, str]:
    dbt("source", "freshness", *arguments, fails=fails)
    return {
        result["unique_id"].split(".")[-1]: result["status"]
        for result in json.loads((PROJECT / "target" / "sources.json").read_text())["results"]
    }


def of(mart: str, column: str, ids: list[str]) -> list[tuple]:
    return sql(f"select * from {mart} where account = 'default' and {column} = any(%s::uuid[])", ids)


parameters = connection.get_dsn_parameters()
# A role with the rights that the README names, where nobody has others.
ROLE, DATABASE = f"dbt_{os.getpid()}", parameters["dbname"]
sql(f"create role {ROLE} login password 'dbt' in role teamleader_reader")
sql(f"grant {ROLE} to current_user")
sql(f"revoke all on database {DATABASE} from public")
sql(f"grant connect, create, temporary on database {DATABASE} to {ROLE}")
atexit.register(lambda: sql(f"drop owned by {ROLE} cascade; drop role {ROLE}"))
for name in [name for name in os.environ if name.startswith("DBT_")]:
    del os.environ[name]
os.environ |= {
    "PGHOST": parameters["host"],
    "PGPORT": parameters["port"],
    "PGUSER": ROLE,
    "PGPASSWORD": "dbt",
    "PGDATABASE": parameters["dbname"],
    "DBT_SCHEMA": SCHEMA,
    "DBT_PROFILES_DIR": str(PACKAGE),
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DBT_USE_COLORS": "false",
    "PACKAGE": str(PACKAGE),
}
DBT = dbtRunner()
shutil.rmtree(PROJECT, ignore_errors=True)
shutil.copytree(HERE / "project", PROJECT)

print("-- a first run")
sync("--full")
# A copy that is a month old, so that the overlap is little of it. And a second account with the same ids.
sql("update teamleader.record set changed_at = changed_at - interval '1 hour' * (1 + abs(hashtext(id::text) % 720))")
sql(
    'insert into teamleader.record select (jsonb_populate_record(r, \'{"account": "other"}\')).* from teamleader.record r'
    " where resource = 'invoices' and account = 'default' order by id limit 10"
)
dbt("deps")
states = freshness()
check(set(states.values()) == {"pass"}, f"not all sources are fresh: {states}")
print(f"   {len(states)} sources are fresh")
first = build()
check(all(first[mart]["code"] == "SELECT" for mart in INCREMENTAL), f"a first run is not whole: {first}")
equal()

print("-- records change and come, and one is seen late: incremental")
changed = change("invoices", "update", 12)
change("invoices", "add", 3)
entries = change("timeTracking", "update", 7)
change("timeTracking", "add", 4)
deals = change("deals", "update", 5)
updated = {"fct_invoices": ("invoice_id", changed), "fct_time_entries": ("time_entry_id", entries), "fct_deals": ("deal_id", deals)}
before = {mart: set(map(str, of(mart, *of_these))) for mart, of_these in updated.items()}
sync()
# An incremental sync reads time entries of the last 60 days only.
sync("--full", "timeTracking")
# One of a transaction that began 5 minutes before the newest that the mart has, and ended after dbt had read; and one as new as
# that, which has no lines any more.
((newest,),) = sql("select max(_changed_at) from fct_invoices")
late, bare = (
    row[0]
    for row in sql("select invoice_id from fct_invoice_lines where account = 'other' group by invoice_id order by invoice_id limit 2")
)
sql(
    'update teamleader.record set content = content || \'{"purchase_order_number": "late"}\','
    " changed_at = %s - interval '5 minutes' where account = 'other' and id = %s",
    newest,
    late,
)
sql(
    "update teamleader.record set content = content || '{\"grouped_lines\": []}', changed_at = %s where account = 'other' and id = %s",
    newest,
    bare,
)
second = build()
for mart in INCREMENTAL:
    check(second[mart]["code"] == "INSERT", f"{mart} was not incremental: {second[mart]}")
    check(second[mart]["rows_affected"] < first[mart]["rows_affected"], f"{mart} was read whole: {second[mart]}")
print("  ", {mart: second[mart]["_message"] for mart in sorted(INCREMENTAL)})
equal()
check(sql("select 1 from fct_invoices where purchase_order_number = 'late'"), "what was seen late is missing")
check(not sql("select 1 from fct_invoice_lines where account = 'other' and invoice_id = %s", bare), "lines that are gone are still there")
for mart, of_these in updated.items():
    still = before[mart] & set(map(str, of(mart, *of_these)))
    # Every second update of a time entry shows in its detail alone, and nothing in the list tells.
    check(len(still) <= (len(entries) // 2 + 1 if mart == "fct_time_entries" else 0), f"{mart}: records that changed have not: {still}")

print("-- records go: a full sync, incremental")
gone = change("invoices", "delete", 6)
gone_entries = change("timeTracking", "delete", 5)
gone_deals = change("deals", "delete", 4)
check(of("fct_invoice_lines", "invoice_id", gone), "the invoices that go have no lines")
sync("--full")
third = build()
check(all(third[mart]["code"] == "INSERT" for mart in INCREMENTAL), f"not incremental: {third}")
equal()
left = (
    of("fct_invoices", "invoice_id", gone)
    + of("fct_invoice_lines", "invoice_id", gone)
    + of("fct_time_entries", "time_entry_id", gone_entries)
)
check(not left + of("fct_deals", "deal_id", gone_deals), "what is gone is still there")

print("-- a source that is stale")
((was,),) = sql("select last_success_at from teamleader2db.cursor where resource = 'invoices'")
sql("update teamleader2db.cursor set last_success_at = now() - interval '3 days' where resource = 'invoices'")
try:
    states = freshness(fails=True)
finally:
    sql("update teamleader2db.cursor set last_success_at = %s where resource = 'invoices'", was)
stale = {name for name, status in states.items() if status == "error"}
of_invoices = {"invoices", "invoices_with_deleted", "invoice_lines", "invoice_payments", "invoice_custom_fields"}
check(
    stale == of_invoices | {"open_items", "reconciliation", "revenue"},
    f"stale are {sorted(stale)}",
)
print("  ", sorted(stale))

print("-- a full refresh, of the package as a project of its own")
dbt("run", "--full-refresh", "--target-path", str(HOME / "alone"), "--log-path", str(HOME / "alone"), directory=PACKAGE)
equal()
sql("delete from teamleader.record where account = 'other'")
