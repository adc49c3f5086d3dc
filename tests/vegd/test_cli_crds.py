"""``vegd crds`` prints a definition that can be applied, or one line that says why not."""

import pytest
import yaml
from typer.testing import CliRunner

from kube.definitions import gateway_definition
from vegd.cli.app import app
from vegd.errors import UsageError


@pytest.mark.parametrize("group", ["kubeovn.io", "egress.example.com"])
def test_the_definition_is_that_of_the_group(group: str) -> None:
    done = CliRunner().invoke(app, ["crds", "--api-group", group])
    assert done.exit_code == 0
    assert yaml.safe_load(done.output) == gateway_definition(group)


@pytest.mark.parametrize("group", ["egress", "Egress.example", "a..b", "-a.b", "a." * 127 + "ab"])
def test_what_is_no_group_is_refused(group: str) -> None:
    done = CliRunner().invoke(app, ["crds", f"--api-group={group}"])
    assert isinstance(done.exception, UsageError)
    assert repr(group) in str(done.exception)
    assert "egress.example.com" in str(done.exception)
