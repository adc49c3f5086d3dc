"""Who has which slot, in what may happen to a gateway."""

from hypothesis import given
from hypothesis import strategies as st

from kube.slots import MOST, Slot, assign

_HOPS = "ABCDEF"


def slots(there: str, staying: str, *, leaving: str = "", up: str = "", size: int) -> str:
    """`there` has a letter for each slot, a small one where it is lent, or a dash."""
    now = {n: Slot(hop.upper(), hop.islower()) for n, hop in enumerate(there) if hop != "-"}
    assigned = assign(now, staying, leaving=leaving, up=up, size=size)
    letters = {n: slot.hop.lower() if slot.lent else slot.hop for n, slot in assigned.items()}
    return "".join(letters.get(number, "-") for number in range(max(letters, default=-1) + 1))


def test_at_the_beginning_everyone_has_a_slot_whether_up_or_not() -> None:
    assert slots("", "AB", size=2) == "AB"
    assert slots("AB", "ABC", up="AB", size=3) == "ABC", "OVN takes it when it is up"


def test_nothing_changes_by_itself() -> None:
    for up in ("", "A", "AB"):
        assert slots("AB", "AB", up=up, size=2) == "AB", "who is down keeps its slot"
    assert slots("aA", "A", up="A", size=2) == "aA"


def test_an_upgrade_pod_by_pod_only_ever_changes_the_slot_of_the_one_that_leaves() -> None:
    assert slots("AB", "B", leaving="A", up="AB", size=2) == "bB"
    assert slots("bB", "BC", up="B", size=2) == "bB", "C has to be up"
    assert slots("bB", "BC", up="BC", size=2) == "CB"
    assert slots("CB", "C", leaving="B", up="BC", size=2) == "Cc"
    assert slots("Cc", "CD", up="CD", size=2) == "CD"


def test_of_three_the_others_keep_theirs() -> None:
    assert slots("ABC", "BC", leaving="A", up="ABC", size=3) == "bBC"
    assert slots("bBC", "BCD", up="BCD", size=3) == "DBC"
    assert slots("bBC", "C", leaving="B", up="BC", size=3) == "ccC"
    assert slots("ccC", "CD", up="CD", size=3) in ("DcC", "cDC")


def test_the_last_one_keeps_its_slot_until_another_is_up() -> None:
    assert slots("A", "", leaving="A", up="A", size=1) == "A"
    assert slots("A", "B", leaving="A", up="A", size=1) == "A"
    assert slots("A", "B", leaving="A", up="AB", size=1) == "B"


def test_one_that_is_gone_or_dead_has_no_slot_and_its_own_waits_for_the_next() -> None:
    assert slots("AB", "B", leaving="A", up="B", size=2) == "-B"
    assert slots("-B", "BC", up="B", size=2) == "CB"
    assert slots("A", "", up="A", size=1) == "", "its pod is not there any more"
    assert slots("AB", "B", up="AB", size=2) == "bB", "OVN has not seen it yet"


def test_with_fewer_replicas_the_slots_go_with_the_pods() -> None:
    assert slots("ABC", "ABC", up="ABC", size=2) == "ABC", "nobody has left yet"
    assert slots("ABC", "AB", leaving="C", up="ABC", size=2) == "AB"
    assert slots("ABC", "BC", leaving="A", up="ABC", size=2) == "CB"
    assert slots("ABC", "AC", leaving="B", up="ABC", size=2) == "AC"
    assert slots("aAB", "AB", up="AB", size=2) == "BA"


def test_one_too_many_waits_and_takes_the_slot_of_who_is_down() -> None:
    assert slots("AB", "ABC", up="ABC", size=2) == "AB"
    assert slots("AB", "ABC", up="BC", size=2) == "CB"


def test_one_that_comes_takes_from_who_has_most() -> None:
    assert sorted(slots("AAAB", "ABC", up="ABC", size=4)) == ["A", "A", "B", "C"]


def test_there_are_no_more_slots_than_a_uuid_can_say() -> None:
    hops = [str(number) for number in range(40)]
    assigned = assign({}, hops, leaving=(), up=hops, size=40)
    assert sorted(assigned) == list(range(MOST))


@given(
    there=st.dictionaries(
        st.integers(0, 5), st.builds(Slot, st.sampled_from(_HOPS), st.booleans())
    ),
    staying=st.sets(st.sampled_from(_HOPS)),
    leaving=st.sets(st.sampled_from(_HOPS)),
    up=st.sets(st.sampled_from(_HOPS)),
    size=st.integers(0, 6),
)
def test_whatever_was_there(
    there: dict[int, Slot], staying: set[str], leaving: set[str], up: set[str], size: int
) -> None:
    hops = sorted(staying)
    leaving -= staying

    def again(now: dict[int, Slot]) -> dict[int, Slot]:
        return assign(now, hops, leaving=leaving, up=up, size=size)

    assigned = again(there)
    having = {slot.hop for slot in assigned.values()}
    assert len(assigned) <= max(size, len(hops))
    living = staying & up
    assert having <= (staying if living else staying | (leaving & up))
    if size >= len(hops):
        missing = staying - having
        # One that is not up waits while another, that is, has a slot for it.
        assert not missing & up
        assert not missing or len(assigned) >= size
    own = {n: slot for n, slot in there.items() if not slot.lent and slot.hop in living}
    if len(there) <= size and len({slot.hop for slot in there.values()}) == len(there):
        assert own.items() <= assigned.items(), "its connections are cut"
    assert again(assigned) == assigned, "it moves though nothing has happened"
