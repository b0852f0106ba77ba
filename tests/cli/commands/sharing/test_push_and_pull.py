"""``mtmoe push`` and ``mtmoe pull``: what they say, and what they refuse. tests/sharing/test_hub.py has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtmoe.sharing.packaging import PackageOptions, package_run
from tests.sharing.fake_hub import TOKEN, FakeHub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that takes the token."""
    with FakeHub() as running:
        for name, value in (("HF_ENDPOINT", running.url), ("HF_TOKEN", TOKEN), ("MTMOE_CACHE", tmp_path / "cache")):
            monkeypatch.setenv(name, str(value))
        yield running


@pytest.fixture(scope="module")
def package(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the tiny run."""
    path = tmp_path_factory.mktemp("packages") / "tiny.mtmoe"
    package_run(PackageOptions(tiny_run.run, "0.1.0", precision="int8", measures=False), path)
    return path


def test_a_model_goes_to_the_hub_and_comes_back(invoke, hub, package, tmp_path):
    pushed = invoke("push", package, "anna/tiny")
    assert pushed.exit_code == 0, pushed.stderr
    assert pushed.stdout == f"{hub.url}/anna/tiny\n"
    assert "next: mtmoe pull anna/tiny" in pushed.stderr
    again = invoke("push", package, "anna/tiny")
    assert "no change" in again.stderr
    (tmp_path / "models").mkdir()
    pulled = invoke("pull", "anna/tiny", tmp_path / "models")
    assert pulled.exit_code == 0, pulled.stderr
    assert pulled.stdout == f"{tmp_path / 'models' / 'tiny.mtmoe'}\n"
    assert invoke("translate", pulled.stdout.strip(), input=b"the dog sleeps\n").exit_code == 0
    assert "was there already" in invoke("pull", "anna/tiny", tmp_path / "models").stderr
    assert TOKEN not in pushed.output + again.output + pulled.output


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("push", "{package}", "anna"), "is no repository of the hub"),
        (("push", "{folder}/no.mtmoe", "anna/tiny"), "does not exist"),
        (("push", "{folder}", "anna/tiny"), "is not a run directory"),
        (("pull", "anna/none", "{folder}"), "is not there"),
        (("pull", "anna/none", "{folder}/no"), "no such directory"),
    ],
)
def test_mistakes_are_told(invoke, hub, package, tmp_path, arguments, what):
    result = invoke(*(argument.format(package=package, folder=tmp_path) for argument in arguments))
    assert result.exit_code == 1
    assert what in result.stderr
    assert TOKEN not in result.output
