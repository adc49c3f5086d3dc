"""docs/conformance.md tells the truth about the tests."""

from tests.support import conformance
from tests.support.conformance import Item


def test_every_item_has_a_test_or_a_reason_and_every_name_an_item() -> None:
    assert not conformance.problems(conformance.chapters(), conformance.files_by_item())


def test_the_page_is_what_would_be_written_now() -> None:
    fresh = conformance.page(conformance.chapters(), conformance.files_by_item())
    assert conformance.PAGE.read_text() == fresh, "stale; run 'make conformance' and commit"


def test_names_carry_any_number_of_items() -> None:
    assert conformance.numbers("test_A1_B23_N3_it_works") == ["A1", "B23", "N3"]
    assert conformance.numbers("test_B7") == ["B7"]
    assert conformance.numbers("test_B_the_first_failing_check") == []
    assert conformance.numbers("test_it_works_B7") == []
    assert conformance.numbers("test_B7th_floor") == []


def test_what_is_missing_and_what_is_unknown_is_named() -> None:
    data = [("A", {"A1": Item("1", "M", "a"), "A2": Item("1", "M", "b", missing="because")})]
    found = conformance.problems(data, {"Z9": {"tests/test_z.py"}})
    assert [problem.partition(":")[0] for problem in found] == ["Z9", "A1"]
    assert "tests/test_z.py" in found[0]
    assert conformance.problems(data, {"A1": {"tests/test_a.py"}}) == []
    page = conformance.page(data, {"A1": {"tests/test_a.py"}})
    assert "| A1 | 1 | must | a | [test_a](../tests/test_a.py) |" in page
    assert "| A2 | 1 | must | b | **not implemented**: because |" in page
