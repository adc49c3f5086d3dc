"""Membership kept event by event is what one would compute from all objects at once."""

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.pods import Pod, selected
from kube.schema import EgressGateway, parse
from kube.selection import Selection, key_of

_ROUTERS = ("vpc1", "vpc2")


def _pod(namespace: str, name: str, **changes: Any) -> Pod:
    labels = changes.get("labels", {})
    annotations = {
        "ovn.kubernetes.io/allocated": "true",
        "ovn.kubernetes.io/logical_router": changes.get("router", "vpc1"),
    }
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations}
    ips = [{"ip": ip} for ip in changes.get("ips", ["10.0.0.1"])]
    return parse(Pod, {"metadata": metadata, "status": {"phase": "Running", "podIPs": ips}})


def _gateway(name: str, *selectors: dict[str, Any]) -> EgressGateway:
    spec = {"externalSubnet": "macvlan1", "selectors": list(selectors)}
    return parse(EgressGateway, {"metadata": {"name": name, "namespace": "ns"}, "spec": spec})


def _pods_with(**labels: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": labels}}


def _names(selection: Selection, gateway: str) -> list[str]:
    return [key_of(pod) for pod in selection.members(gateway)]


def test_a_pod_that_comes_changes_and_goes_concerns_those_that_take_it() -> None:
    selection = Selection()
    selection.set_gateway(_gateway("web", _pods_with(app="web")), "vpc1")
    selection.set_gateway(_gateway("db", _pods_with(app="db")), "vpc1")
    assert selection.set_pod(_pod("a", "p", labels={"app": "web"})) == {"ns/web"}
    assert _names(selection, "ns/web") == ["a/p"]
    assert selection.set_pod(_pod("a", "p", labels={"app": "db"})) == {"ns/web", "ns/db"}
    assert _names(selection, "ns/web") == []
    assert selection.drop_pod("a/p") == {"ns/db"}
    assert _names(selection, "ns/db") == []


def test_a_pod_that_stays_what_it_was_concerns_nobody() -> None:
    selection = Selection()
    selection.set_gateway(_gateway("web", _pods_with(app="web")), "vpc1")
    selection.set_pod(_pod("a", "p", labels={"app": "web"}))
    assert selection.set_pod(_pod("a", "p", labels={"app": "web", "other": "x"})) == set()


def test_a_new_address_concerns_those_that_take_the_pod() -> None:
    selection = Selection()
    selection.set_gateway(_gateway("web", _pods_with(app="web")), "vpc1")
    selection.set_pod(_pod("a", "p", labels={"app": "web"}))
    assert selection.set_pod(_pod("a", "p", labels={"app": "web"}, ips=["10.0.0.2"])) == {"ns/web"}


def test_labels_of_a_namespace_that_stop_matching_take_its_pods_out() -> None:
    """Kube-OVN's controller does not follow this."""
    selection = Selection()
    team = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    selection.set_gateway(_gateway("team", team), "vpc1")
    selection.set_namespace("a", {"team": "a"})
    selection.set_pod(_pod("a", "p"))
    assert _names(selection, "ns/team") == ["a/p"]
    assert selection.set_namespace("a", {"team": "b"}) == {"ns/team"}
    assert _names(selection, "ns/team") == []


@pytest.mark.parametrize("order", [*permutations(("namespace", "other", "pod", "gateway"))])
def test_members_do_not_depend_on_what_is_heard_of_first(order: tuple[str, ...]) -> None:
    selection = Selection()
    labels = {"env": "test", "team": "a"}
    selector = {"namespaceSelector": {"matchLabels": labels}}
    told = {
        "namespace": lambda: selection.set_namespace("a", labels),
        "other": lambda: selection.set_namespace("b", {"env": "test"}),
        "pod": lambda: selection.set_pod(_pod("a", "p")) | selection.set_pod(_pod("b", "p")),
        "gateway": lambda: selection.set_gateway(_gateway("team", selector), "vpc1"),
    }
    for each in order:
        told[each]()
    assert _names(selection, "ns/team") == ["a/p"]
    other = {"namespaceSelector": {"matchLabels": {"env": "test"}}}
    assert selection.set_gateway(_gateway("team", other), "vpc1") == {"ns/team"}
    assert _names(selection, "ns/team") == ["a/p", "b/p"]
    selection.set_namespace("a", {"env": "real"})
    assert selection.set_gateway(_gateway("env", other), "vpc1") == {"ns/env"}
    assert _names(selection, "ns/env") == _names(selection, "ns/team") == ["b/p"]
    assert selection.drop_gateway("ns/team") == {"ns/team"}
    assert selection.set_pod(_pod("b", "q")) == {"ns/env"}


def test_a_gateway_without_selectors_takes_nothing() -> None:
    selection = Selection()
    selection.set_pod(_pod("a", "p"))
    assert selection.set_gateway(_gateway("none"), "vpc1") == set()
    assert _names(selection, "ns/none") == []


_WORDS = st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"), max_size=2)
_SPACES, _NAMES = st.sampled_from("ab"), st.sampled_from("pqr")
_SELECTOR = st.fixed_dictionaries(
    {},
    optional={
        "namespaceSelector": st.fixed_dictionaries({"matchLabels": _WORDS}),
        "podSelector": st.fixed_dictionaries({"matchLabels": _WORDS}),
    },
)
_EVENT = st.one_of(
    st.tuples(
        st.just("gateway"),
        st.sampled_from("GH"),
        st.lists(_SELECTOR, max_size=2),
        st.sampled_from(_ROUTERS),
    ),
    st.tuples(st.just("no gateway"), st.sampled_from("GH")),
    st.tuples(st.just("namespace"), _SPACES, _WORDS),
    st.tuples(st.just("no namespace"), _SPACES),
    st.tuples(st.just("pod"), _SPACES, _NAMES, _WORDS, st.sampled_from(_ROUTERS)),
    st.tuples(st.just("no pod"), _SPACES, _NAMES),
)


class _Model:
    """All objects; membership is computed anew each time."""

    def __init__(self) -> None:
        self.gateways: dict[str, tuple[EgressGateway, str]] = {}
        self.labels: dict[str, dict[str, str]] = {}
        self.pods: dict[str, Pod] = {}

    def members(self) -> dict[str, list[str]]:
        return {
            key: sorted(
                name
                for name, pod in self.pods.items()
                if selected(gateway, pod, self.labels.get(name[0], {}), router)
            )
            for key, (gateway, router) in self.gateways.items()
        }


def _apply(event: tuple[Any, ...], model: _Model, selection: Selection) -> set[str]:
    match event:
        case ("gateway", name, selectors, router):
            gateway = _gateway(name, *selectors)
            model.gateways[gateway.key] = (gateway, router)
            return selection.set_gateway(gateway, router)
        case ("no gateway", name):
            model.gateways.pop(f"ns/{name}", None)
            return selection.drop_gateway(f"ns/{name}")
        case ("namespace", name, labels):
            model.labels[name] = labels
            return selection.set_namespace(name, labels)
        case ("no namespace", name):
            model.labels.pop(name, None)
            return selection.drop_namespace(name)
        case ("pod", namespace, name, labels, router):
            pod = _pod(namespace, name, labels=labels, router=router)
            model.pods[key_of(pod)] = pod
            return selection.set_pod(pod)
        case ("no pod", namespace, name):
            model.pods.pop(f"{namespace}/{name}", None)
            return selection.drop_pod(f"{namespace}/{name}")
    raise AssertionError(event)


@settings(max_examples=200, deadline=None)
@given(st.lists(_EVENT, min_size=10, max_size=40))
def test_after_any_history_members_are_those_of_a_look_at_everything(
    events: list[tuple[Any, ...]],
) -> None:
    model, selection = _Model(), Selection()
    for event in events:
        before = model.members()
        told = _apply(event, model, selection)
        after = model.members()
        assert {key: _names(selection, key) for key in after} == after
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        # A gateway that takes nothing may come and go unmentioned.
        assert {key for key in changed if before.get(key) or after.get(key)} <= told
