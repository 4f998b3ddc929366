"""Names of the hub that stand for nothing there: a hub of our own answers as the real one does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from copg.run.first_look import look_at
from copg.run.hub_names import Answer, absent_names, ask_hub, ask_names
from copg.run.recipe import parse_recipe
from tests.serving import JsonHandler, serving

MODEL = "/api/models/owner/tiny"
KNOWN = {MODEL: "model", f"{MODEL}/revision/v1": "model", "/api/datasets/owner/records": "data set"}
ASKED: list[str] = []
"""Paths of the names that a hub was asked for."""
RECIPE: dict[str, Any] = {
    "name": "x",
    "records": "owner/records",
    "model": "owner/tiny",
    "rewards": [{"name": "length", "params": {"max": 5}}],
    "trials": [{"beta": 1.0}],
}


class Hub(JsonHandler):
    """Knows one model, with one revision, and one data set."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in KNOWN:
            ASKED.append(path)
            self.say(200, {"id": "owner/x", "sha": "0" * 40, "siblings": []})
            return
        known = path.partition("/revision/")[0] in KNOWN
        self.send_response(404)
        self.send_header("X-Error-Code", "RevisionNotFound" if known else "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with serving(Hub) as address:
        yield address


def told(hub: str, **changes: Any) -> list[tuple[str, bool]]:
    recipe = parse_recipe({**RECIPE, **changes})
    return [*absent_names(recipe, ask_names(recipe, endpoint=hub))]


def test_names_that_the_hub_knows_are_not_told(hub: str) -> None:
    assert told(hub) == []
    assert told(hub, revision="v1") == []


def test_a_hub_is_asked_once_for_the_commit_of_a_model(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    ASKED.clear()
    recipe = parse_recipe({**RECIPE, "reward": {"model": "owner/tiny"}})
    answers = ask_names(recipe, endpoint=hub)
    assert answers["model"] == answers["reward.model"] == Answer(commit="0" * 40)
    assert sorted(ASKED) == ["/api/datasets/owner/records", MODEL]
    ASKED.clear()
    looks = [*look_at(recipe, tmp_path / "runs", {})]
    assert ASKED.count(MODEL) == 1
    assert any(look.text.startswith("model: a name of the hub, not looked at") for look in looks)


def test_a_name_with_a_typo_is_told_by_the_key_that_holds_it(hub: str) -> None:
    line = (
        "no such folder here, and the hub has no model of that name, or hides it: correct it, or give "
        "HF_TOKEN of somebody who may see it"
    )
    assert told(hub, model="owner/tyni") == [(f"model='owner/tyni': {line}", True)]
    ((start, _),) = told(hub, train={"start_from": "owner/tyni"})
    assert start == f"train.start_from='owner/tyni': {line}"
    ((records, sure),) = told(hub, records="owner/recrods")
    assert records.startswith("records='owner/recrods': no such folder here, and the hub has no data set")
    assert sure
    ((revision, _),) = told(hub, revision="v2")
    assert revision == "model='owner/tiny': the hub has this model, and no revision 'v2' of it"


def test_what_can_be_no_name_is_told_in_one_line(hub: str) -> None:
    for name in ("owner/a b", "owner/a\nb", "-owner/x"):
        ((line, sure),) = told(hub, model=name)
        assert "neither a folder here nor a name that the hub allows: " in line
        assert "\n" not in line
        assert sure
    assert told(hub, model="a" * 5000) == []


def test_what_lies_here_or_at_an_address_is_not_asked_for(hub: str, tmp_path) -> None:
    assert told(hub, model=str(tmp_path), records="./nowhere.jsonl") == []
    assert told(hub, model="s3://bucket/model") == []


def test_a_hub_that_cannot_be_asked_knows_of_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_hub("owner/tyni", None, "model", endpoint="http://127.0.0.1:9") == Answer()  # offline
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert ask_hub("owner/tyni", None, "model", endpoint="http://127.0.0.1:9", timeout_s=0.5) == Answer()


def test_pods_may_see_what_this_machine_does_not(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = {"environment": {"HF_ENDPOINT": "http://mirror.example"}}
    assert told(hub, model="owner/tyni", placement=mirror) == []
    for token, sure in ((None, False), ("hf_x", True)):
        monkeypatch.setattr(huggingface_hub, "get_token", lambda token=token: token)
        assert [each for _, each in told(hub, model="owner/tyni", placement={"shards": 2})] == [sure]
