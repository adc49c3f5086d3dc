"""What must hold between the fields of BFD authentication, and what its key files must be.

The faults of the specification are those of the text alone: a key file may be on another machine,
or come later. `file_warnings` looks at the files of this machine, as the engine would.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bfd.auth import MOST_KEYS
from bfd.keys import KeyFileError, read_secret
from vegd.faults import Fault, Path, path_text, shown

if TYPE_CHECKING:
    from vegd.document import Draft
    from vegd.spec import Auth, Bfd, GatewaySpec


def check_auth(draft: "Draft[GatewaySpec]", bfd: "Bfd") -> None:
    """Add every fault that shows only when fields of authentication are seen together."""
    _check(draft, ("bfd", "auth"), bfd.auth)
    for path, peer in draft.entries(("bfd", "peers"), bfd.peers):
        _check(draft, (*path, "auth"), peer.auth)


def _check(draft: "Draft[GatewaySpec]", path: Path, auth: "Auth | None") -> None:
    if auth is None or not draft.is_sound(*path, "keys"):
        return
    if len(auth.keys) > MOST_KEYS:
        problem = f"is more than the {MOST_KEYS} keys of a session"
        draft.object_to((*path, "keys"), len(auth.keys), problem, "remove old ones")
    first: dict[int, str] = {}
    for where, key in draft.entries((*path, "keys"), auth.keys):
        if draft.is_sound(*where, "id"):
            if key.id in first:
                problem = f"is the id of {first[key.id]} too"
                draft.object_to((*where, "id"), key.id, problem, "give each key its own id")
            first.setdefault(key.id, path_text(where))
    if auth.send is not None and draft.is_whole(*path) and auth.send not in first:
        problem = "is the id of none of the keys"
        remedy = f"give one of them ({', '.join(map(str, first))}), or leave it out for the first"
        if not first:
            remedy = "list the keys, or leave it out"
        draft.object_to((*path, "send"), auth.send, problem, remedy)


def auth_sections(bfd: "Bfd") -> Iterator[tuple[str, "Auth"]]:
    """Every section of authentication, and where it stands."""
    if bfd.auth is not None:
        yield "bfd.auth", bfd.auth
    for index, peer in enumerate(bfd.peers):
        if peer.auth is not None:
            yield f"bfd.peers[{index}].auth", peer.auth


def transition_warnings(bfd: "Bfd") -> Iterator[Fault]:
    """A transition is for the time of a change."""
    for where, auth in auth_sections(bfd):
        if auth.keys and auth.transition is not None:
            problem = "lets the peer decide, once, whether packets are authenticated"
            remedy = "finish the change when the peer has been switched"
            yield Fault(f"{where}.transition", shown(auth.transition), problem, remedy)


def file_warnings(spec: "GatewaySpec") -> Iterator[Fault]:
    """The key files that could not be used if the engine ran here, as this user."""
    if spec.bfd is None:
        return
    for where, auth in auth_sections(spec.bfd):
        for index, key in enumerate(auth.keys):
            try:
                read_secret(key.file, key.kind)
            except KeyFileError as exc:
                problem, _, remedy = str(exc).partition("; ")
                yield Fault(f"{where}.keys[{index}].file", repr(key.file), problem, remedy)
