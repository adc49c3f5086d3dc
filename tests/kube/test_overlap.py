"""Gateways that claim the same sources are found, and only those."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from kube.overlap import Claims, Overlap


def test_the_same_network_is_claimed_twice() -> None:
    claims = Claims()
    claims.put("ns/a", "vpc1", ["10.0.0.0/24"])
    assert claims.put("ns/b", "vpc1", ["10.0.0.0/24"]) == {"ns/a"}
    (overlap,) = claims.overlaps("ns/a")
    assert overlap == Overlap("10.0.0.0/24", "ns/b", "10.0.0.0/24")
    assert str(overlap) == "10.0.0.0/24 is claimed by ns/b, too"


def test_a_claim_that_has_not_changed_is_no_news_to_the_others() -> None:
    claims = Claims()
    claims.put("ns/a", "vpc1", ["10.0.0.0/24", "10.0.1.0/24"])
    claims.put("ns/b", "vpc1", ["10.0.0.0/24"])
    claims.put("ns/c", "vpc1", ["10.0.1.0/24"])
    assert not claims.put("ns/a", "vpc1", ["10.0.1.0/24", "10.0.0.0/24"])
    assert claims.put("ns/a", "vpc1", ["10.0.0.0/24"]) == {"ns/c"}, "it is rid of this one alone"


def test_a_narrower_network_does_not_win_and_both_are_told() -> None:
    claims = Claims()
    claims.put("ns/a", "vpc1", ["10.0.0.0/8"])
    claims.put("ns/b", "vpc1", ["10.1.0.0/16"])
    assert [str(each) for each in claims.overlaps("ns/a")] == [
        "10.0.0.0/8 overlaps 10.1.0.0/16 of ns/b"
    ]
    assert [str(each) for each in claims.overlaps("ns/b")] == [
        "10.1.0.0/16 overlaps 10.0.0.0/8 of ns/a"
    ]


def test_a_selected_pod_in_the_network_of_another_gateway_is_found() -> None:
    claims = Claims()
    claims.put("ns/a", "vpc1", ["fd00::/64"])
    claims.put("ns/b", "vpc1", ["fd00::7", "192.168.0.7"])
    assert claims.overlaps("ns/b") == (Overlap("fd00::7/128", "ns/a", "fd00::/64"),)


def test_routers_are_apart() -> None:
    claims = Claims()
    claims.put("ns/a", "vpc1", ["10.0.0.0/24"])
    assert not claims.put("ns/b", "vpc2", ["10.0.0.0/24"])
    assert not claims.overlaps("ns/a")
    assert claims.put("ns/b", "vpc1", ["10.0.0.0/24"]) == {"ns/a"}, "it has moved"
    assert claims.overlaps("ns/a")


def test_a_gateway_does_not_overlap_itself() -> None:
    claims = Claims()
    assert not claims.put("ns/a", "vpc1", ["10.0.0.0/8", "10.0.0.0/24", "10.0.0.7"])
    assert not claims.overlaps("ns/a")


def test_what_a_gateway_gives_up_is_free() -> None:
    claims = Claims()
    claims.put("ns/a", "vpc1", ["10.0.0.0/24", "10.0.1.0/24"])
    claims.put("ns/b", "vpc1", ["10.0.0.0/24"])
    assert claims.put("ns/a", "vpc1", ["10.0.1.0/24"]) == {"ns/b"}
    assert not claims.overlaps("ns/b")
    claims.put("ns/a", "vpc1", ["10.0.0.0/24"])
    assert claims.remove("ns/a") == {"ns/b"}
    assert not claims.overlaps("ns/b")
    assert not claims.overlaps("ns/a")
    assert not claims.remove("ns/a")


networks = st.sets(
    st.builds(
        lambda first, length: str(ip_network((first << 24, length), strict=False)),
        st.integers(0, 7),
        st.integers(4, 10),
    ),
    max_size=4,
)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["r", "s"]), networks), max_size=12)
)
def test_it_finds_what_comparing_all_with_all_finds(puts: list[tuple[str, str, set[str]]]) -> None:
    claims, final = Claims(), {}
    for gateway, router, sources in puts:
        before = {each: claims.overlaps(each) for each in "abcd" if each != gateway}
        told = claims.put(gateway, router, sources)
        assert told == {each for each, seen in before.items() if claims.overlaps(each) != seen}
        final[gateway] = (router, sources)
    for gateway, (router, sources) in final.items():
        expected = {
            Overlap(mine, other, theirs)
            for other, (there, others) in final.items()
            if other != gateway and there == router
            for mine in sources
            for theirs in others
            if ip_network(mine).overlaps(ip_network(theirs))
        }
        assert set(claims.overlaps(gateway)) == expected
