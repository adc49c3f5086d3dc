"""Which of two sockets on one port a BFD packet goes to, decided in the kernel.

Waking up costs more than handling a packet, and most packets say what the last one said: the peer
is Up, and no Poll or Final with it. Nobody waits for an answer to those, and silence is judged by
the kernel's time stamps after reading. So they go to a socket of their own, which is read whenever
the engine is awake for another reason; everything else goes to a socket that wakes it. So do
packets with authentication: two sockets keep no order, and sequence numbers need it. The program
sees the payload of the datagram (SO_ATTACH_REUSEPORT_CBPF, Linux 4.5); it needs no privilege.
"""

import array
import socket
import struct

from bfd.fsm import State
from bfd.packet import AUTHENTICATION_PRESENT, FINAL, POLL

_SO_ATTACH_REUSEPORT_CBPF = 51
_STATE = 0xC0
_PATIENT, _URGENT = 0, 1
"""The sockets in the order in which they were bound."""

# linux/bpf_common.h
_LOAD_BYTE = 0x30
_AND = 0x54
_JUMP_IF_EQUAL = 0x15
_RETURN = 0x06

_PROGRAM = (
    (_LOAD_BYTE, 0, 0, 1),
    (_AND, 0, 0, _STATE | POLL | FINAL | AUTHENTICATION_PRESENT),
    (_JUMP_IF_EQUAL, 0, 1, State.UP << 6),
    (_RETURN, 0, 0, _PATIENT),
    (_RETURN, 0, 0, _URGENT),
)


def steer(sock: socket.socket) -> None:
    """Let the program decide for all sockets that share the port of `sock`. Raises OSError."""
    code = array.array("B", b"".join(struct.pack("=HBBI", *line) for line in _PROGRAM))
    address, _ = code.buffer_info()
    filter_program = struct.pack("@HP", len(_PROGRAM), address)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filter_program)
