"""The id of a request, and its body."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from teamleader2db_airflow.request import SyncRequest, parameters

NOTHING = {"refetch": False, "allow_deletions": False, "repair": False, "sample": None}


def request(**changes: object) -> SyncRequest:
    values = {"dag": "nightly", "task": "sync", "run": "scheduled__2026-11-22", "map": "-1", "mode": "full", **changes}
    origin = (values["dag"], values["task"], values["run"], values["map"], "default", "")
    return SyncRequest(tuple(map(str, origin)), {"mode": values["mode"]})


def test_the_id_is_the_same_whoever_makes_it_and_whenever():
    assert request().id(0) == request().id(0) == "0e807902-7fcf-5851-b627-fcc112c25229"
    assert UUID(request().id(0)).version == 5


@pytest.mark.parametrize("changed", [{"dag": "x"}, {"task": "x"}, {"run": "x"}, {"map": "3"}, {"mode": "audit"}])
def test_another_task_instance_or_another_wish_is_another_id(changed):
    assert request(**changed).id(0) != request().id(0)


def test_each_attempt_has_an_id():
    assert len({request().id(attempt) for attempt in range(5)}) == 5


def test_the_body_has_the_id_and_what_is_asked_for():
    assert json.loads(request().body(1)) == {"request_id": request().id(1), "mode": "full"}


def test_the_ids_of_the_final_event_are_those_that_the_worker_makes():
    # The worker's own tests have the same ones, for the same request.
    assert request().final_ids("default", 0) == {
        "c56ba28e-de02-583d-a79a-533dcb94e80b",
        "cb9f8523-c233-5167-8c04-a847bd2fe40f",
        "5ca5be1f-b612-5dcd-9f9b-af09ef37a6a0",
    }


def test_the_correlation_id_is_readable_and_fits_into_the_message():
    assert request().correlation_id == "airflow/nightly/sync/scheduled__2026-11-22/-1/default"
    assert len(request(dag="é" * 250).correlation_id.encode()) <= 200


def test_what_is_the_default_is_left_out():
    assert parameters(resources=None, mode="incremental", **NOTHING) == {"mode": "incremental"}
    assert parameters(resources="", mode="incremental", **NOTHING) == {"mode": "incremental"}


def test_the_order_of_names_makes_no_other_request():
    for names in (["deals", "contacts"], ("contacts", "deals", "deals"), {"contacts", "deals"}, " deals,contacts", "['contacts', 'deals']"):
        assert parameters(resources=names, mode="full", **NOTHING)["resources"] == ["contacts", "deals"]


@pytest.mark.parametrize("nothing", [[], (), ",", [""], "[]", "[contacts"])
def test_a_list_of_nothing_does_not_mean_everything(nothing):
    with pytest.raises(ValueError, match=r"empty|separated by commas"):
        parameters(resources=nothing, mode="full", **NOTHING)


def test_what_a_template_gives_is_text():
    asked = parameters(
        resources="contacts, projects-v2/tasks",
        mode="audit",
        refetch="False",
        allow_deletions="False",
        repair="true",
        sample="20",
    )
    assert asked == {
        "mode": "audit",
        "resources": ["contacts", "projects-v2/tasks"],
        "repair": True,
        "sample": 20,
    }


def test_ids_are_those_of_one_resource_in_one_order():
    one, two = "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "9d3ecbd9-ebed-448c-a8d7-af8efb49cd8d"
    for ids in ([two, one], f"{two},{one.upper()}", f"['{one}', '{two}', '{two}']"):
        asked = parameters(resources="invoices", mode="incremental", **NOTHING, ids=ids)
        assert asked == {"mode": "incremental", "resources": ["invoices"], "ids": [one, two]}
    assert "ids" not in parameters(resources="invoices", mode="incremental", **NOTHING, ids="None")
    for wrong in ({"resources": None}, {"resources": ["invoices", "deals"]}, {"mode": "full"}, {"ids": "7"}, {"ids": []}):
        with pytest.raises(ValueError, match=r"one resource|no UUID|empty"):
            parameters(**{"resources": "invoices", "mode": "incremental", **NOTHING, "ids": [one], **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "ful"},
        {"refetch": "perhaps"},
        {"repair": True},
        {"sample": 5},
        {"sample": "few"},
        {"sample": 0},
        {"mode": "audit", "refetch": True},
    ],
)
def test_what_cannot_be_is_said_before_it_is_sent(wrong):
    with pytest.raises(ValueError, match=r"can be|audit|invalid literal"):
        parameters(**{"resources": None, "mode": "full", **NOTHING, **wrong})
