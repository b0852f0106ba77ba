"""Pushing and pulling, by the hub's own client, with a server of its protocol."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtmoe.checkpoint.packages.package import Package
from mtmoe.data.raw import downloads
from mtmoe.errors import Unreachable, UserError
from mtmoe.sharing.hub import Repository, parse_repository, pull, push
from mtmoe.sharing.packaging import PackageOptions, package_run
from tests.inference.conftest import SENTENCES, untrained_run
from tests.sharing.fake_hub import READER, TOKEN, FakeHub

WHERE = Repository("anna", "demo-en-fr")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained run."""
    return untrained_run(tmp_path_factory.mktemp("pushed"), SENTENCES)


@pytest.fixture(scope="module")
def package(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its package."""
    path = tmp_path_factory.mktemp("package") / "any-name.mtmoe"
    package_run(PackageOptions(run, "0.1.0"), path)
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """An empty hub, which Anna may write to."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MTMOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "PAUSE_SECONDS", 0.0)
    with FakeHub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where models are fetched to."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_what_is_pushed_is_pulled_to_the_bit(hub, package, folder):
    pushed = push(package, WHERE, "0.1.0")
    pulled = pull(WHERE, folder)
    assert pulled.file == folder / "demo-en-fr.mtmoe"
    assert pulled.file.read_bytes() == package.read_bytes()
    assert pulled.commit == pushed.commit == hub.repositories["anna/demo-en-fr"]["commits"][-1]
    assert pushed.address == f"{hub.url}/anna/demo-en-fr"
    assert not list((folder.parent / "cache").rglob("*.mtmoe*"))


def test_the_repository_has_the_card_and_is_private_unless_told(hub, package):
    push(package, WHERE, "0.1.0")
    push(package, WHERE._replace(name="open"), "0.1.0", is_public=True)
    private, public = (hub.repositories[f"anna/{name}"] for name in ("demo-en-fr", "open"))
    assert (private["private"], public["private"]) == (True, False)
    assert private["files"].keys() == {"README.md", "model.mtmoe"}
    assert private["files"]["README.md"] == Package(package).read("README.md")
    assert private["files"]["model.mtmoe"] == hashlib.sha256(package.read_bytes()).hexdigest(), "by Git LFS"


def test_a_licence_that_the_hub_does_not_know_is_told(hub, run, tmp_path):
    package_run(PackageOptions(run, "0.1.0", license="mine-own"), tmp_path / "m.mtmoe")
    with pytest.raises(UserError, match=r"the hub does not take its model card: .*license") as caught:
        push(tmp_path / "m.mtmoe", WHERE, "0.1.0")
    assert "--license" in caught.value.fix
    assert hub.repositories["anna/demo-en-fr"]["files"] == {}


def test_a_run_is_packaged_on_the_way(hub, run, folder):
    push(run, WHERE, "0.1.0")
    assert Package(pull(WHERE, folder).file).manifest.precision == "bf16"


def test_nothing_is_sent_twice(hub, package):
    first = push(package, WHERE, "0.1.0")
    second = push(package, WHERE, "0.1.0")
    assert first.commit
    assert second.commit == ""
    assert len(hub.asked("^PUT /storage/")) == 1


def test_a_push_that_broke_goes_on_with_what_is_there(hub, package, monkeypatch):
    hub.blobs[hashlib.sha256(package.read_bytes()).hexdigest()] = package.read_bytes()  # uploaded, not committed
    push(package, WHERE, "0.1.0")
    assert hub.asked("^PUT /storage/") == []
    assert "model.mtmoe" in hub.repositories["anna/demo-en-fr"]["files"]


def test_a_pull_that_broke_goes_on_where_it_was(hub, package, folder, monkeypatch):
    push(package, WHERE, "0.1.0")
    hub.cut_after = 10_000
    assert pull(WHERE, folder).file.read_bytes() == package.read_bytes()
    assert len(hub.asked("^GET /storage/")) == 2


def test_a_pull_that_was_killed_goes_on_where_it_was(hub, package, folder):
    push(package, WHERE, "0.1.0")
    content = package.read_bytes()
    waiting = folder.parent / "cache" / "hub" / hashlib.sha256(content).hexdigest()
    waiting.mkdir(parents=True)
    (waiting / "model.mtmoe.part").write_bytes(content[:-100])
    fetched: list[int] = []
    pull(WHERE, folder, progress=lambda stage, done, total, unit: fetched.append(done))
    assert fetched[0] == len(content) - 100
    assert (folder / "demo-en-fr.mtmoe").read_bytes() == content


def test_what_is_there_is_not_fetched_again(hub, package, folder):
    push(package, WHERE, "0.1.0")
    assert not pull(WHERE, folder).was_there
    assert pull(WHERE, folder).was_there
    assert len(hub.asked("^GET /storage/")) == 1
    (folder / "demo-en-fr.mtmoe").write_bytes(b"another")
    assert not pull(WHERE, folder).was_there


def test_a_download_that_is_damaged_does_not_take_the_files_place(hub, package, folder):
    push(package, WHERE, "0.1.0")
    [oid] = hub.blobs
    hub.blobs[oid] = hub.blobs[oid][:-1] + b"x"
    (folder / "demo-en-fr.mtmoe").write_bytes(b"older")
    with pytest.raises(UserError, match=r"SHA-256 of what the server sent is .*, but the hub says"):
        pull(WHERE, folder)
    assert (folder / "demo-en-fr.mtmoe").read_bytes() == b"older"


def test_the_token_goes_to_the_hub_alone(hub, package, folder):
    push(package, WHERE, "0.1.0")
    pull(WHERE, folder)
    assert {seen.authorization for seen in hub.asked("/api/|resolve|[.]git/")} == {f"Bearer {TOKEN}"}
    assert {seen.authorization for seen in hub.asked("/storage/")} == {""}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
def test_no_message_and_no_log_has_the_token(hub, package, folder, status, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    push(package, WHERE, "0.1.0")
    hub.status = status
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for act in (lambda: push(package, WHERE, "0.1.0"), lambda: pull(WHERE, folder)):
        with pytest.raises(UserError) as caught:
            act()
        assert f"{status}" in caught.value.problem
        assert caught.value.fix
        assert TOKEN not in str(caught.value)
    assert TOKEN not in caplog.text
    assert TOKEN not in "".join(capfd.readouterr())


def test_without_a_token(hub, package, folder, monkeypatch):
    push(package, WHERE, "0.1.0")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="HF_TOKEN is not set") as caught:
        push(package, WHERE, "0.1.0")
    assert "export HF_TOKEN" in caught.value.fix
    with pytest.raises(UserError, match="is not there, or is private and HF_TOKEN is not set"):
        pull(WHERE, folder)
    hub.repositories["anna/demo-en-fr"]["private"] = False
    assert pull(WHERE, folder).file.is_file()


def test_a_token_that_is_stored_elsewhere_is_not_used(hub, package, folder, monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "token").write_text(TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    push(package, WHERE, "0.1.0")
    monkeypatch.delenv("HF_TOKEN")
    hub.seen.clear()
    with pytest.raises(UserError):
        pull(WHERE, folder)
    assert {seen.authorization for seen in hub.seen} == {""}


@pytest.mark.parametrize(
    ("token", "what"),
    [(READER, r"has no right to do that \(403\)"), ("hf_wrong", r"does not take the token in HF_TOKEN for it \(401\)")],
)
def test_a_token_that_may_not_write(hub, package, monkeypatch, token, what):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=what):
        push(package, WHERE, "0.1.0")


def test_what_is_not_there(hub, package, folder):
    with pytest.raises(UserError, match=r"anna/demo-en-fr: is not there, or the token in HF_TOKEN may not see it"):
        pull(WHERE, folder)
    push(package, WHERE, "0.1.0")
    with pytest.raises(UserError, match="has no such revision"):
        pull(WHERE, folder, revision="v9")
    commit = hub.repositories["anna/demo-en-fr"]["commits"][-1]
    assert pull(WHERE, folder, revision=commit).commit == commit
    del hub.repositories["anna/demo-en-fr"]["files"]["model.mtmoe"]
    with pytest.raises(UserError, match=r"has no model\.mtmoe"):
        pull(WHERE, folder)


def test_a_repository_of_something_else(hub, package, folder):
    push(package, WHERE, "0.1.0")
    hub.repositories["anna/demo-en-fr"]["files"]["model.mtmoe"] = b"text"
    with pytest.raises(UserError, match=r"does not tell the SHA-256 of model\.mtmoe"):
        pull(WHERE, folder)
    oid = hashlib.sha256(b"no zip").hexdigest()
    hub.blobs[oid] = b"no zip"
    hub.repositories["anna/demo-en-fr"]["files"]["model.mtmoe"] = oid
    with pytest.raises(UserError, match="is no package, or a damaged one"):
        pull(WHERE, folder)
    assert list(folder.iterdir()) == []


def test_without_network(package, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for act in (lambda: push(package, WHERE, "0.1.0"), lambda: pull(WHERE, folder)):
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:9 cannot be reached") as caught:
            act()
        assert "HF_ENDPOINT" in caught.value.fix


@pytest.mark.parametrize("text", ["demo", "a/b/c", "/x", "anna/", "../x", "anna/..", "anna/a b", "a/x--y", "a/-x", ""])
def test_what_is_no_repository(text):
    with pytest.raises(UserError, match="is no repository of the hub"):
        parse_repository(text)


def test_a_repository_is_read():
    assert parse_repository("Anna-1/demo_en.fr") == Repository("Anna-1", "demo_en.fr")
