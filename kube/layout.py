"""What is agreed about the inside of a gateway pod."""

CONFIG_DIR, CONFIG_FILE = "/etc/vegd", "gateway.yaml"
RUNTIME_DIR = "/run/vegd"
TOKEN_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where it is, not what
"""Where every client of the API server looks for its credentials."""
NOBODY = 65534
"""The user of all containers but the first."""
DRAIN = "vegd.io/drain"
"""The pod's annotation, ``true`` while it is to be out of use (``kubectl vegd drain``)."""
BFD_GATE = "vegd.io/bfd"
"""The pod's condition, and its readiness gate, of its BFD sessions as OVN sees them."""
