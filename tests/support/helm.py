"""The real helm, with its own files out of the way."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vegd.lab.cluster import assets

CHART = Path(__file__).parents[2] / "charts" / "vegd"

Objects = dict[tuple[str, str], dict[str, Any]]
"""Manifests by kind and name."""


class Helm:
    """Commands of helm; its cache and configuration are in a directory."""

    def __init__(self, directory: Path, kubeconfig: Path | None = None) -> None:
        self._directory = directory
        self._options = [] if kubeconfig is None else [f"--kubeconfig={kubeconfig}"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command; the caller looks at how it ended."""
        places = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        return subprocess.run(
            [assets.find("helm"), *arguments, *self._options],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ | {each: str(self._directory) for each in places},
        )

    def do(self, *arguments: str) -> str:
        """What one command says, that has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def values(self, values: Mapping[str, Any]) -> str:
        """The option that hands values in, by a file."""
        file = self._directory / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        return f"--values={file}"

    def render(
        self, values: Mapping[str, Any], namespace: str = "vegd-system", chart: Path = CHART
    ) -> Objects:
        """What it makes of the chart."""
        given = (self.values(values), f"--namespace={namespace}")
        return by_name(self.do("template", "vegd", str(chart), *given))


def by_name(manifests: str) -> Objects:
    """Manifests as they are printed; none is there twice."""
    found = [each for each in yaml.safe_load_all(manifests) if each]
    named = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(named) == len(found)
    return named
