"""What a killed engine left in its runtime directory: its journal and its marks, judged.

RFC 5882 §3 wants a restart that the peer does not notice. The journal says what was agreed, the
marks say until when the peer was heard; together they let a session go on, or be found Down where
its detection time has ended meanwhile.
"""

from dataclasses import replace
from pathlib import Path

from bfd import shared_marks
from bfd.engine import Remembered
from bfd.journal import Identity, Journal, JournalRefused, load
from bfd.shared_marks import Heard

NAME = "bfd.journal"


def recover(directory: Path, identity: Identity, hold_s: float, now_us: int) -> Journal | None:
    """The journal of a directory as it can be resumed at `now_us`; None if there is none.

    The hold time goes on counting while no engine runs. Raises JournalRefused.
    """
    journal = load(directory / NAME, identity)
    if journal is None:
        return None
    heard = shared_marks.read(directory, journal.head.marks)
    left_us = journal.head.agent_left_us
    if left_us is None:
        # An agent was there to the end, which the marks tell.
        left_us = heard.awake_us if heard else now_us
    away_s = (now_us - left_us) / 1_000_000
    if 0 < hold_s < away_s:
        raise JournalRefused(
            f"it is too old: no agent was there for {away_s:.0f} s, the hold time is {hold_s:g} s"
        )
    return Journal(
        replace(journal.head, agent_left_us=min(left_us, now_us)),
        tuple((_resumable(each, heard, now_us), port) for each, port in journal.sessions),
    )


def _resumable(remembered: Remembered, heard: Heard | None, now_us: int) -> Remembered:
    # Packets were counted after the journal was written: they begin anew, as for a new process.
    memory = replace(remembered.memory, rx_packets=0, tx_packets=0)
    mark = heard.by_discr.get(remembered.discr) if heard else None
    if mark is not None and memory.heard_us is not None:
        memory = replace(memory, heard_us=min(max(memory.heard_us, mark.heard_us), now_us))
    if memory.auth is not None:
        # Where the numbers of now are not known, that of the peer is not (§6.8.1, AuthSeqKnown).
        auth = memory.auth._replace(auth_seq_known=False)
        if mark is not None:
            auth = memory.auth._replace(
                xmit_auth_seq=mark.xmit_auth_seq, rcv_auth_seq=mark.rcv_auth_seq
            )
        memory = replace(memory, auth=auth)
    return remembered._replace(memory=memory)
