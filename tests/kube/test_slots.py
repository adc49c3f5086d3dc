"""Who has which slot, in what may happen to a gateway."""

from hypothesis import given
from hypothesis import strategies as st

from kube.slots import MOST, assign

_HOPS = "ABCDEF"


def slots(
    there: str, staying: str, *, leaving: str = "", up: str = "", size: int
) -> dict[int, str]:
    """`there` has a letter for each slot, or a dash."""
    now = {number: hop for number, hop in enumerate(there) if hop != "-"}
    return assign(now, staying, leaving=leaving, up=up, size=size)


def text(assigned: dict[int, str]) -> str:
    return "".join(assigned.get(number, "-") for number in range(max(assigned, default=-1) + 1))


def test_at_the_beginning_everyone_has_a_slot_whether_up_or_not() -> None:
    assert text(slots("", "AB", size=2)) == "AB"
    assert text(slots("AB", "ABC", up="AB", size=3)) == "ABC", "OVN takes it when it is up"


def test_nothing_changes_by_itself() -> None:
    for up in ("", "A", "AB"):
        assert text(slots("AB", "AB", up=up, size=2)) == "AB", "who is down keeps its slot"


def test_an_upgrade_pod_by_pod_only_ever_changes_the_slot_of_the_one_that_leaves() -> None:
    first = text(slots("AB", "B", leaving="A", up="AB", size=2))
    assert first == "BB"
    assert text(slots(first, "BC", up="B", size=2)) == "BB", "C has to be up"
    second = text(slots(first, "BC", up="BC", size=2))
    assert sorted(second) == ["B", "C"]
    third = text(slots(second, "C", leaving="B", up="BC", size=2))
    assert third == "CC"
    assert sorted(text(slots(third, "CD", up="CD", size=2))) == ["C", "D"]


def test_of_three_the_others_keep_theirs() -> None:
    first = text(slots("ABC", "AC", leaving="B", up="ABC", size=3))
    assert first == "AAC"
    assert text(slots(first, "ACD", up="ACD", size=3)) == "ADC"


def test_the_last_one_keeps_its_slot_until_another_is_up() -> None:
    assert text(slots("A", "", leaving="A", up="A", size=1)) == "A"
    assert text(slots("A", "B", leaving="A", up="A", size=1)) == "A"
    assert text(slots("A", "B", leaving="A", up="AB", size=1)) == "B"


def test_one_that_is_gone_or_dead_has_no_slot_and_its_own_waits_for_the_next() -> None:
    assert text(slots("AB", "B", leaving="A", up="B", size=2)) == "-B"
    assert text(slots("-B", "BC", up="B", size=2)) == "CB"
    assert text(slots("A", "", up="A", size=1)) == "", "its pod is not there any more"
    assert text(slots("AB", "B", up="AB", size=2)) == "BB", "OVN has not seen it yet"


def test_with_fewer_replicas_the_slots_go_with_the_pods() -> None:
    assert text(slots("ABC", "ABC", up="ABC", size=2)) == "ABC", "nobody has left yet"
    assert text(slots("ABC", "AB", leaving="C", up="ABC", size=2)) == "AB"
    assert text(slots("ABC", "BC", leaving="A", up="ABC", size=2)) == "CB"
    assert text(slots("ABC", "AC", leaving="B", up="ABC", size=2)) == "AC"
    assert text(slots("AAB", "AB", up="AB", size=2)) in ("AB", "BA")


def test_one_too_many_waits_and_takes_the_slot_of_who_is_down() -> None:
    assert text(slots("AB", "ABC", up="ABC", size=2)) == "AB"
    assert text(slots("AB", "ABC", up="BC", size=2)) == "CB"


def test_one_that_comes_takes_from_who_has_most() -> None:
    assert sorted(text(slots("AAAB", "ABC", up="ABC", size=4))) == ["A", "A", "B", "C"]


def test_there_are_no_more_slots_than_a_uuid_can_say() -> None:
    hops = [str(number) for number in range(40)]
    assigned = assign({}, hops, leaving=(), up=hops, size=40)
    assert sorted(assigned) == list(range(MOST))


@given(
    there=st.dictionaries(st.integers(0, 5), st.sampled_from(_HOPS)),
    staying=st.sets(st.sampled_from(_HOPS)),
    leaving=st.sets(st.sampled_from(_HOPS)),
    up=st.sets(st.sampled_from(_HOPS)),
    size=st.integers(0, 6),
)
def test_whatever_was_there(
    there: dict[int, str], staying: set[str], leaving: set[str], up: set[str], size: int
) -> None:
    hops = sorted(staying)
    leaving -= staying

    def again(now: dict[int, str]) -> dict[int, str]:
        return assign(now, hops, leaving=leaving, up=up, size=size)

    assigned = again(there)
    assert len(assigned) <= max(size, len(hops))
    living = staying & up
    assert set(assigned.values()) <= (staying if living else staying | (leaving & up))
    if size >= len(hops):
        missing = staying - set(assigned.values())
        # One that is not up waits while another, that is, has a slot for it.
        assert not missing & up
        assert not missing or len(assigned) >= size
    kept = {number for number, hop in there.items() if hop in living}
    if len(there) <= size and len(set(there.values())) == len(there):
        assert all(assigned[number] == there[number] for number in kept), "its connections are cut"
    assert again(assigned) == assigned, "it moves though nothing has happened"
