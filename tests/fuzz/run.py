"""Coverage-guided fuzzing by atheris, for `make fuzz`: packet or control, libFuzzer options."""

import sys

import atheris

with atheris.instrument_imports(include=["bfd"]):
    from tests.support.fuzzing import control_input, packet_input

INPUTS = {"packet": packet_input, "control": control_input}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], INPUTS[sys.argv[1]])
    atheris.Fuzz()
