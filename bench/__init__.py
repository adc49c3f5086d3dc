"""Benchmarks: vegd beside others on one machine, in one run. See README.md."""
