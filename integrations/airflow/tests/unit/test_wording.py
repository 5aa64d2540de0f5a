"""Events in words."""

from __future__ import annotations

from events import final, resource

from teamleader2db_airflow import wording


def test_progress_says_how_far_it_is():
    data = {
        "resources": {"deals": resource("running", listed=300, detailed=250) | {"matches": 300}, "users": resource()},
        "api_requests": 1199,
        "forecast": {"api_requests": 1249, "done_at": "2026-11-26T08:27:17.500923454Z"},
    }
    assert wording.progress(data) == (
        "1 of 2 resources done, 1199 of about 1249 requests, until about 2026-11-26T08:27:17Z; now deals (300 of 300 listed, 250 details)"
    )
    assert wording.progress({"resources": {}, "api_requests": 0}) == "0 of 0 resources done, 0 requests"


def test_failures_say_why():
    told = final("partial", {"deals": resource("failed", "deals.info: answered 403"), "users": resource()})["data"]
    assert wording.failures(told) == "deals: deals.info: answered 403"
    assert wording.failures(final("failed", error="unknown resource contact")["data"]) == "unknown resource contact"
    assert wording.failures(final("failed")["data"]) == "the event does not say why"


def test_rejected_records_make_a_run_partial_and_are_counted():
    told = final("partial", {"deals": resource(rejected=2), "users": resource(rejected=0), "tags": resource()})["data"]
    assert wording.failures(told) == "deals: 2 records could not be read or stored"


def test_many_failures_are_cut_short():
    told = final("failed", {f"r{number}": resource("failed", "no") for number in range(12)})["data"]
    assert wording.failures(told).endswith("r9: no; and 2 more resources")
