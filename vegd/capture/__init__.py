"""BFD packets seen on the wire: read, judged, written as text.

`packets` and `judge` are pure; `frames` alone knows scapy and sockets and is imported by
``vegd capture`` only, so that the daemon never loads it.
"""
