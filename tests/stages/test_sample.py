"""``sample``: what prompts lack is drawn once, by a model or an endpoint, whatever happens on the way."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from copg.artifacts import begin, read_manifest, seal
from copg.data.group_files import GroupWriter, read_groups
from copg.errors import ModelError, RecordError
from copg.lm import drawing, endpoint_sampler, sampling
from copg.lm.config import EndpointConfig, GenerationConfig, ReaderConfig, TextConfig
from copg.lm.engines import own
from copg.records import Completion, Group, prompt_id
from copg.rewards.drawn import validated
from copg.stages.sample import SampleConfig, sample_groups, sample_shard
from copg.stages.validate import ValidateConfig, validate_records
from copg.stores.completion_store import COMPLETIONS
from copg.stores.values import find_stores
from tests.serving import JsonHandler, serving
from tests.tiny import WORDS

ROOT = Path(__file__).parents[2]
SPLIT = {"gate_fraction": 0.1}
SHORT = GenerationConfig(max_new_tokens=6)


def write_groups(folder: Path, num_train: int, logged: int = 0, num_select: int = 2) -> Path:
    """Groups of different prompts, each with as many logged completions."""
    begin(folder)
    with GroupWriter(folder) as writer:
        for number in range(num_train + num_select):
            prompt = " ".join((WORDS[number % 12], WORDS[number // 12 % 12], "cat", "runs"))
            texts = [Completion(f"red {WORDS[k]}", reward=1.0) for k in range(logged)]
            split = "train" if number < num_train else "select"
            writer.write(split, Group(prompt_id(prompt), prompt, texts, source=f"f:{number + 1}"))
    facts = {"metrics": {"records/read": 9.0}, "checks": [{"reason": "tied"}]}
    rows = num_train + num_select
    seal(folder, schema="groups", stage="validate", rows=rows, config=SPLIT, parents={}, facts=facts)
    return folder


def texts_of(artifact: Path, split: str = "train") -> dict[str, list[str]]:
    return {group.prompt: [c.text for c in group.completions] for group in read_groups(artifact, split)}  # type: ignore[misc]


@pytest.fixture
def config(reference_dir: Path, tmp_path: Path) -> SampleConfig:
    return SampleConfig(model=str(reference_dir), store=str(tmp_path / "store"), generation=SHORT)


def test_prompts_alone_get_all_and_a_logged_completion_stays_and_gets_companions(
    config: SampleConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = write_groups(tmp_path / "alone", 5)
    metrics = sample_groups(config, alone, tmp_path / "one")
    assert (metrics["completions/drawn"], metrics["completions/logged"]) == (20, 0)
    assert 0 < metrics["completions/other_tokens"] < 20  # words that its tokeniser joins
    assert "drawn_as_other_tokens: " in capsys.readouterr().err
    manifest = read_manifest(tmp_path / "one", schema="groups")
    assert manifest.facts["checks"] == [{"reason": "tied"}]  # what promotion decides on goes along
    assert validated(manifest) == SPLIT
    assert manifest.facts["metrics"]["records/read"] == 9
    drawn = [
        completion for group in read_groups(tmp_path / "one", "train") for completion in group.completions
    ]
    assert {c.columns["drawn"]["sample"] for c in drawn} == {0, 1, 2, 3}
    about = {"engine": "own", "temperature": 1.0, "top_p": None, "seed": 0}
    assert about.items() <= drawn[0].columns["drawn"].items()
    said = 20 - metrics["dropped/blank_completions"]
    assert sum(c.columns["drawn"]["times"] for c in drawn) == said < 20
    assert len(drawn[0].columns["drawn"]["model"]) == 64
    assert set(map(tuple, texts_of(tmp_path / "one", "select").values())) == {()}  # evaluate draws its own

    logged = write_groups(tmp_path / "logged", 5, logged=1)
    metrics = sample_groups(config, logged, tmp_path / "two")
    # 4 - 1 logged = 3 a prompt, the first three of those above, which are not drawn again
    assert (metrics["completions/drawn"], metrics["completions/reused"]) == (0, 15)
    one, two = texts_of(tmp_path / "one"), texts_of(tmp_path / "two")
    assert all(texts[0] == "red red" and set(texts[1:]) <= set(one[p]) for p, texts in two.items())
    assert next(read_groups(tmp_path / "two", "train")).completions[0].columns == {}


def test_ten_percent_more_prompts_cost_ten_percent_more_calls_and_another_setting_all(
    config: SampleConfig, tmp_path: Path
) -> None:
    sample_groups(config, write_groups(tmp_path / "a", 20), tmp_path / "first")
    metrics = sample_groups(config, write_groups(tmp_path / "b", 22), tmp_path / "second")
    assert (metrics["completions/drawn"], metrics["completions/reused"]) == (8, 80)
    first, second = texts_of(tmp_path / "first"), texts_of(tmp_path / "second")
    assert {prompt: second[prompt] for prompt in first} == first
    for change in ({"temperature": 0.5}, {"top_p": 0.9}, {"seed": 1}):
        other = replace(config, generation=replace(SHORT, **change))
        folder = tmp_path / next(iter(change))
        assert sample_groups(other, tmp_path / "a", folder)["completions/drawn"] == 80


def test_shards_fill_the_store_and_give_what_one_task_gives(config: SampleConfig, tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", 9)
    assert sum(sample_shard(config, groups, shard, 3) for shard in range(3)) == 9
    assert sample_groups(config, groups, tmp_path / "after")["completions/drawn"] == 0
    sample_groups(replace(config, store=str(tmp_path / "other")), groups, tmp_path / "whole")
    whole, after = (read_manifest(tmp_path / name, schema="groups") for name in ("whole", "after"))
    assert whole.digest == after.digest


def test_stopped_at_ten_moments_and_run_again_it_draws_each_completion_once(
    config: SampleConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = write_groups(tmp_path / "groups", 22)
    sample_groups(replace(config, store=str(tmp_path / "other")), groups, tmp_path / "whole")
    monkeypatch.setitem(sampling.GROUPS_PER_CALL, "own", 2)
    draw, keys = own.draw, list[str]()

    def stopped(policy: Any, prompts: Any, names: list[str], *args: Any, **kwargs: Any) -> Any:
        if moments and len(keys) >= moments[0]:
            moments.pop(0)
            raise KeyboardInterrupt
        found = draw(policy, prompts, names, *args, **kwargs)
        keys.extend(names)
        return found

    monkeypatch.setattr(own, "draw", stopped)
    moments = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80]
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            sample_groups(config, groups, tmp_path / "out")
    metrics = sample_groups(config, groups, tmp_path / "out")
    assert (metrics["completions/drawn"], metrics["completions/reused"]) == (8, 80)
    assert len(keys) == len(set(keys)) == 88
    out, whole = (read_manifest(tmp_path / name, schema="groups") for name in ("out", "whole"))
    assert out.digest == whole.digest
    (part,) = find_stores(COMPLETIONS, config.store)
    assert part.verify() == {"rows": 88, "not_finite": 0, "contradictions": 0}


class Handler(JsonHandler):
    """Answers by prompt and seed; each third request meets a busy endpoint."""

    fails = 3
    pause_s = 0.0
    status = 503
    failing = ""
    """How it fails; else by its status."""
    bodies: ClassVar[list[dict[str, Any]]] = []
    lock = threading.Lock()
    refused = ""
    """A prompt that is refused for good."""
    usage: ClassVar[Any] = None
    """Of a request, how many tokens its prompt has."""

    @staticmethod
    def says(body: dict[str, Any]) -> str:
        return f"{body['messages'][-1]['content']} {body['seed']}"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            self.bodies.append(body)
            failed = self.fails and len(self.bodies) % self.fails == 0
        time.sleep(self.pause_s)
        if body["messages"][-1]["content"] == self.refused:
            return self.say(422, {"error": "no"})
        if failed and self.failing == "hangs":
            time.sleep(0.8)
            return None
        if failed and self.failing == "refuses":
            message = {"content": None, "refusal": "I may not"}
            return self.say(200, {"choices": [{"message": message, "finish_reason": "stop"}]})
        if failed:
            return self.say(self.status, {"error": "busy"})
        text = self.says(body)
        ended = "length" if body["seed"] % 2 else "stop"
        used = {} if self.usage is None else {"usage": {"prompt_tokens": self.usage(body)}}
        self.say(200, {"choices": [{"message": {"content": text}, "finish_reason": ended}], **used})


@contextmanager
def endpoint(**how: Any) -> Iterator[tuple[EndpointConfig, type[Handler]]]:
    kind = type("Kind", (Handler,), {"bodies": [], **how})
    with serving(kind) as url:
        yield EndpointConfig(url=f"{url}/v1", model="m", num_parallel=2), kind


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_sampler, "RETRIES", replace(endpoint_sampler.RETRIES, first_s=0.001))


@pytest.mark.usefixtures("quick")
def test_of_an_endpoint_that_fails_one_call_in_three_all_completions_come_and_failures_are_counted(
    config: SampleConfig, tmp_path: Path
) -> None:
    groups = write_groups(tmp_path / "groups", 10)
    with endpoint() as (settings, kind):
        one_by_one = replace(
            settings, num_parallel=1
        )  # of two at once, one could be the third again and again
        metrics = sample_groups(replace(config, endpoint=one_by_one), groups, tmp_path / "out")
    # 40 completions; every third request fails: 59 requests, 19 of them failures
    assert (metrics["completions/drawn"], metrics["completions/failed"]) == (40, 0)
    assert (metrics["requests/sent"], metrics["requests/again"]) == (59, 19)
    assert len(kind.bodies) == 59
    found = texts_of(tmp_path / "out")
    assert all(len(set(texts)) == 4 for texts in found.values())
    assert {body["temperature"] for body in kind.bodies} == {1.0}
    assert {body["max_tokens"] for body in kind.bodies} == {6}
    group = next(read_groups(tmp_path / "out", "train"))
    for completion in group.completions:  # cut off or not, as the endpoint said
        assert completion.finished == (int(completion.text.split()[-1]) % 2 == 0)
        assert completion.columns["drawn"]["engine"] == "endpoint"
        assert completion.columns["drawn"]["model"] == "m"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["hangs", "refuses"])
def test_time_outs_and_replies_that_refuse_are_asked_for_again_and_counted(
    config: SampleConfig, tmp_path: Path, how: str
) -> None:
    groups = write_groups(tmp_path / "groups", 2)
    with endpoint(fails=5, failing=how) as (settings, kind):
        impatient = replace(settings, num_parallel=1, timeout_s=0.5)
        metrics = sample_groups(replace(config, endpoint=impatient), groups, tmp_path / "out")
        # 8 completions; the fifth request fails at least, on a busy machine perhaps others
        assert (metrics["completions/drawn"], metrics["completions/failed"]) == (8, 0)
        assert metrics["requests/sent"] == metrics["requests/again"] + 8 == len(kind.bodies) >= 9
        kind.fails = 1
        bounded = replace(impatient, attempts=2, timeout_s=0.2)
        with pytest.raises(ModelError, match=r"2 attempts failed, .*(TimeoutError|holds no text: I may not)"):
            sample_groups(replace(config, endpoint=bounded, completions=5), groups, tmp_path / "more")


@pytest.mark.usefixtures("quick")
def test_more_failures_than_may_be_end_the_stage_and_what_was_drawn_is_kept(
    config: SampleConfig, tmp_path: Path
) -> None:
    groups = write_groups(tmp_path / "groups", 10)
    with endpoint(fails=2, status=422) as (settings, kind):
        strict = replace(config, endpoint=replace(settings, max_failed_fraction=0.25))
        # a quarter of 40 may fail: at the eleventh failure it ends
        with pytest.raises(
            ModelError, match=r"11 of 40 completions failed, more than .*=0\.25 allows; first f:"
        ):
            sample_groups(strict, groups, tmp_path / "out")
        kind.fails = 0
        metrics = sample_groups(strict, groups, tmp_path / "out")
    assert metrics["completions/drawn"] + metrics["completions/reused"] == 40
    assert metrics["completions/reused"] > 0


@pytest.mark.usefixtures("quick")
def test_an_endpoint_that_is_down_is_not_asked_for_all_there_is(config: SampleConfig, tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", 100)
    with endpoint(fails=1) as (settings, kind):
        down = replace(config, endpoint=replace(settings, attempts=2))
        with pytest.raises(
            ModelError, match=r"5 of 400 completions failed, .*2 attempts failed, .*status 503"
        ):
            sample_groups(down, groups, tmp_path / "out")
        # a hundredth may fail: five are sent twice, and those that two more threads have under way
        assert 10 <= len(kind.bodies) < 40


@pytest.mark.usefixtures("quick")
def test_what_an_endpoint_draws_is_told_one_by_one(
    config: SampleConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def track(items: Any, *_: Any, count: Any, **__: Any) -> Iterator[Any]:
        for item in items:
            told.append(count(item))
            yield item

    monkeypatch.setattr(drawing, "track", track)
    with endpoint() as (settings, _):
        groups = write_groups(tmp_path / "groups", 3)
        sample_groups(replace(config, endpoint=settings), groups, tmp_path / "out")
    assert (max(told), sum(told)) == (1, 12)


@pytest.mark.usefixtures("quick")
def test_an_endpoint_is_sent_calls_and_tools_as_they_were_logged(
    config: SampleConfig, tmp_path: Path
) -> None:
    called = {"type": "function", "id": "c1", "function": {"name": "look", "arguments": {"at": "Rome"}}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    row = {
        "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c1", "content": "20"},
        ],
        "tools": json.dumps(tools),
        "chat_template_kwargs": '{"enable_thinking": false}',
    }
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    settings = ValidateConfig(min_completions=0, select_fraction=0, gate_fraction=0)
    validate_records(settings, str(tmp_path / "r.jsonl"), tmp_path / "groups")
    with endpoint(fails=0) as (asked, kind):
        sample_groups(replace(config, endpoint=asked), tmp_path / "groups", tmp_path / "out")
    body = kind.bodies[0]
    spelled = {**called, "function": {"name": "look", "arguments": '{"at": "Rome"}'}}
    assert body["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": [spelled]},
        {"role": "tool", "content": "20", "tool_call_id": "c1"},
    ]
    assert body["tools"] == tools
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_an_endpoint_is_sent_the_recipe_s_settings_of_the_template_and_over_them_the_record_s_own(
    config: SampleConfig, tmp_path: Path
) -> None:
    asked = [{"role": "user", "content": "red?"}]
    rows = [{"prompt": asked}, {"prompt": asked, "chat_template_kwargs": {"think": True, "own": 1}}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ValidateConfig(
        min_completions=0, select_fraction=0, gate_fraction=0, read_as="prompts", reader=None
    )
    validate_records(settings, str(tmp_path / "r.jsonl"), tmp_path / "groups")
    with endpoint(fails=0) as (how, kind):
        without = replace(config, endpoint=how)
        told = replace(without, text=TextConfig(template_kwargs={"think": False, "date": "d"}))
        for name, each in (("without", without), ("told", told)):
            metrics = sample_groups(each, tmp_path / "groups", tmp_path / name)
            assert metrics["completions/drawn"] == 8  # what was drawn otherwise is no answer to this prompt
    sent = [body.get("chat_template_kwargs") for body in kind.bodies]
    assert [sent[:8].count(each) for each in (None, {"think": True, "own": 1})] == [4, 4]
    recipe, own = {"think": False, "date": "d"}, {"think": True, "date": "d", "own": 1}
    assert [sent[8:].count(each) for each in (recipe, own)] == [4, 4]


def begun_and_not(tmp_path: Path) -> Path:
    """Two prompts, of which the second ends with the start of an answer."""
    asked = [{"role": "user", "content": "red?"}]
    rows = [{"prompt": asked}, {"prompt": [*asked, {"role": "assistant", "content": "It is"}]}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ValidateConfig(
        min_completions=0, select_fraction=0, gate_fraction=0, read_as="prompts", reader=None
    )
    validate_records(settings, str(tmp_path / "r.jsonl"), tmp_path / "groups")
    return tmp_path / "groups"


def test_an_endpoint_is_asked_to_go_on_with_an_answer_that_the_prompt_begins(
    config: SampleConfig, tmp_path: Path
) -> None:
    groups = begun_and_not(tmp_path)
    with endpoint(fails=0) as (asked, kind):
        sample_groups(replace(config, endpoint=asked), groups, tmp_path / "out")
    begun = [body for body in kind.bodies if body["messages"][-1]["role"] == "assistant"]
    assert len(begun) == 4
    for body in kind.bodies:
        how = (body.get("continue_final_message"), body.get("add_generation_prompt"))
        assert how == ((True, False) if body in begun else (None, None))


def test_where_an_endpoint_goes_on_with_no_answer_such_a_prompt_is_refused(
    config: SampleConfig, tmp_path: Path
) -> None:
    groups = begun_and_not(tmp_path)
    with endpoint(fails=0) as (settings, kind):
        asked = replace(settings, body={"continue_final_message": None})
        metrics = sample_groups(replace(config, endpoint=asked), groups, tmp_path / "out")
    assert [body["messages"][-1]["role"] for body in kind.bodies] == ["user"] * 4
    assert (metrics["groups/train"], metrics["dropped/prompts_refused"]) == (1, 1)
    told = read_manifest(tmp_path / "out", schema="groups").facts["warnings"]
    assert any(
        line.endswith(
            "r.jsonl:2: its prompt ends with the start of an answer, and endpoint.body says "
            "continue_final_message: null"
        )
        for line in told
    )


@pytest.mark.parametrize("heeds", [False, True])
def test_an_endpoint_that_passes_over_what_is_not_the_api_s_own_is_told(
    config: SampleConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], heeds: bool
) -> None:
    """It counts the tokens of a prompt, which are others where it goes on, and where a template thinks."""

    def usage(body: dict[str, Any]) -> int:
        extra = sum(name in body for name in ("continue_final_message", "chat_template_kwargs"))
        return 10 + heeds * extra

    groups = begun_and_not(tmp_path)
    with endpoint(fails=0, usage=staticmethod(usage)) as (asked, kind):
        settings = TextConfig(template_kwargs={"think": False})
        sample_groups(replace(config, endpoint=asked, text=settings), groups, tmp_path / "out")
    # two prompts of four completions; of each field one request without it, for one token
    lengths = [body["max_tokens"] for body in kind.bodies]
    assert (len(lengths), lengths.count(1)) == (10, 2)
    told = read_manifest(tmp_path / "out", schema="groups").facts["warnings"]
    found = [line for line in told if "as without: where the endpoint does not read it" in line]
    assert len(found) == (0 if heeds else 2)
    printed = capsys.readouterr().err
    assert all(line.removeprefix("sample: ") in printed for line in found)


@pytest.mark.usefixtures("quick")
def test_an_answer_that_says_again_how_it_begins_is_none(config: SampleConfig, tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "red?"}]
    rows = [{"prompt": [*asked, {"role": "assistant", "content": "It is surely "}]}, {"prompt": asked}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ValidateConfig(
        min_completions=0, select_fraction=0, gate_fraction=0, read_as="prompts", reader=None
    )
    validate_records(settings, str(tmp_path / "r.jsonl"), tmp_path / "groups")
    with endpoint(fails=0) as (how, _):  # which says the last message again, and a number
        strict, borne = (
            replace(config, endpoint=replace(how, max_failed_fraction=share)) for share in (0.0, 0.5)
        )
        with pytest.raises(
            ModelError, match=r"completions failed.*:1: the answer says again how it begins in its prompt"
        ):
            sample_groups(strict, tmp_path / "groups", tmp_path / "out")
        metrics = sample_groups(borne, tmp_path / "groups", tmp_path / "out")
    assert (metrics["completions/failed"], metrics["groups/train"]) == (4, 1)


@pytest.mark.usefixtures("quick")
def test_a_few_failures_are_borne_counted_and_asked_for_again_the_next_time(
    config: SampleConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = write_groups(tmp_path / "groups", 10)
    with endpoint(fails=20, status=400) as (settings, kind):
        borne = replace(config, endpoint=replace(settings, max_failed_fraction=0.1))
        metrics = sample_groups(borne, groups, tmp_path / "out")
        assert (metrics["completions/drawn"], metrics["dropped/completions_failed"]) == (38, 2)
        assert "completions_failed: 2, first f:" in capsys.readouterr().err
        (told,) = read_manifest(tmp_path / "out", schema="groups").facts["warnings"]
        assert told.startswith("sample: 2 left out: completions failed, first f:")
        kind.fails = 0
        assert sample_groups(borne, groups, tmp_path / "again")["completions/drawn"] == 2


@pytest.mark.parametrize("num_shards", [1, 2])
def test_what_is_refused_for_good_ends_no_later_run_of_which_it_is_most(
    config: SampleConfig, tmp_path: Path, num_shards: int
) -> None:
    groups, more = write_groups(tmp_path / "groups", 20), write_groups(tmp_path / "more", 21)
    prompt = str(next(read_groups(groups, "train")).prompt)
    with endpoint(fails=0, refused=prompt) as (settings, _):
        # 4 of 80, and of a share of 40 or so, may be refused; not 4 of the 4 or 8 that are asked for again
        asked = replace(config, endpoint=replace(settings, max_failed_fraction=0.25))
        for shard in range(num_shards if num_shards > 1 else 0):
            sample_shard(asked, groups, shard, num_shards)
        for folder, artifact in ((groups, "first"), (more, "second")):
            metrics = sample_groups(asked, folder, tmp_path / artifact)
            assert (metrics["completions/failed"], metrics["dropped/completions_failed"]) == (4, 4)
            assert prompt not in texts_of(tmp_path / artifact)
    assert metrics["completions/reused"] == 76


def test_who_may_not_ask_is_told_at_once(config: SampleConfig, tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", 10)
    with endpoint(fails=1, status=401) as (settings, kind):
        with pytest.raises(ModelError, match="status 401"):
            sample_groups(replace(config, endpoint=settings), groups, tmp_path / "out")
        assert len(kind.bodies) <= 4


def test_a_prompt_left_with_one_distinct_completion_is_dropped_with_its_reason(
    config: SampleConfig, tmp_path: Path
) -> None:
    groups = write_groups(tmp_path / "groups", 3)
    greedy = replace(config, completions=2, generation=replace(SHORT, temperature=0))
    with pytest.raises(RecordError, match="no prompt is left to train on: 3 fewer_than_two_distinct"):
        sample_groups(greedy, groups, tmp_path / "out")


def test_what_the_trained_model_cannot_say_is_left_out(
    config: SampleConfig, reference_dir: Path, tmp_path: Path
) -> None:
    groups = write_groups(tmp_path / "groups", 3)
    reader = ReaderConfig(model=str(reference_dir), max_tokens=9)
    says = staticmethod(lambda body: " ".join(WORDS[: body["seed"] % 7]) or "odd")
    with endpoint(fails=0, says=says) as (settings, _):
        asked = replace(config, reader=reader, completions=16, endpoint=settings)
        metrics = sample_groups(asked, groups, tmp_path / "out")
    # start and 4 words of the prompt: 4 of 9 tokens are left, one of them for the end where it ended
    kept = [c for group in read_groups(tmp_path / "out", "train") for c in group.completions]
    assert {len(c.text.split()) + c.finished for c in kept} == {1, 2, 3, 4}
    assert metrics["dropped/completion_of_too_many_tokens"] > 0
    assert metrics["dropped/completion_without_words"] > 0  # a word that the model does not know


@pytest.mark.usefixtures("quick")
def test_a_completion_that_is_drawn_again_counts_once_and_says_how_often_it_came(
    config: SampleConfig, tmp_path: Path
) -> None:
    groups = write_groups(tmp_path / "groups", 6, logged=1)
    says = staticmethod(lambda body: ("red red", "blue")[body["seed"] % 2])  # the first is what was logged
    with endpoint(fails=0, says=says) as (settings, _):
        metrics = sample_groups(replace(config, completions=9, endpoint=settings), groups, tmp_path / "out")
    kept = [group.completions for group in read_groups(tmp_path / "out", "train")]
    assert {tuple(c.text for c in completions) for completions in kept} == {("red red", "blue")}
    assert [sum(c.columns["drawn"]["times"] for c in completions) for completions in kept] == [8] * 6
    assert metrics["completions/duplicate"] == 6 * 7  # of 8 draws one is new


def test_prompts_without_room_are_counted_and_keep_what_was_logged(
    config: SampleConfig, tmp_path: Path
) -> None:
    groups = write_groups(tmp_path / "groups", 3, logged=2)
    long = replace(
        config, generation=GenerationConfig(max_new_tokens=156)
    )  # of 160 positions, prompts have 5
    metrics = sample_groups(long, groups, tmp_path / "out")
    assert (metrics["dropped/prompts_without_room"], metrics["completions/count"]) == (3, 6 + 2 * 2)


def test_what_a_body_says_is_what_is_recorded(config: SampleConfig, tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", 2, logged=1)
    says = staticmethod(lambda body: f"red {body['messages'][-1]['content']}")
    with endpoint(fails=0, says=says) as (settings, kind):
        settings = replace(settings, body={"temperature": 0.25, "seed": 7})
        sample_groups(replace(config, endpoint=settings), groups, tmp_path / "out")
    assert {(body["temperature"], body["seed"]) for body in kind.bodies} == {(0.25, 7)}
    (drawn,) = (c.columns["drawn"] for c in next(read_groups(tmp_path / "out", "train")).completions[1:])
    assert (drawn["temperature"], drawn["seed"]) == (0.25, 7)


@pytest.mark.parametrize("body", [{"n": 4}, {"stream": True}])
def test_a_body_after_which_a_reply_is_another_is_refused(config: SampleConfig, body: dict[str, Any]) -> None:
    (name,) = body
    with pytest.raises(ValueError, match=rf"endpoint\.body has \['{name}'\]: a completion is a request"):
        replace(config, endpoint=EndpointConfig(url="http://h/v1", model="m", body=body))
    replace(config, endpoint=EndpointConfig(url="http://h/v1", model="m", body={"n": 1, "stream": False}))


KILLED = """
import sys
from pathlib import Path
from copg.lm.config import EndpointConfig, GenerationConfig
from copg.rewards.drawn import validated
from copg.stages.sample import SampleConfig, sample_groups
root, url = Path(sys.argv[1]), sys.argv[2]
endpoint = EndpointConfig(url=url, model="m", num_parallel=2)
config = SampleConfig(model="m", store=str(root / "store"), endpoint=endpoint, generation=GenerationConfig())
print("begun", flush=True)
sample_groups(config, root / "groups", root / "out")
"""


@pytest.mark.nightly
def test_killed_at_ten_moments_it_goes_on_and_no_completion_is_there_twice(tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups", 100)
    with endpoint(pause_s=0.01, fails=0) as (settings, kind):

        def start() -> "subprocess.Popen[str]":
            command = [sys.executable, "-c", KILLED, str(tmp_path), settings.url]
            return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

        for moment in range(10):
            process = start()
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            before = len(kind.bodies)
            while process.poll() is None and len(kind.bodies) < before + 4 + 3 * moment:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not (tmp_path / "out/manifest.json").exists()
        assert start().wait() == 0
        config = SampleConfig(
            model="m", store=str(tmp_path / "other"), endpoint=settings, generation=GenerationConfig()
        )
        sample_groups(config, groups, tmp_path / "whole")
    (part,) = find_stores(COMPLETIONS, str(tmp_path / "store"))
    assert part.verify() == {"rows": 400, "not_finite": 0, "contradictions": 0}
    assert texts_of(tmp_path / "out") == texts_of(tmp_path / "whole")
    assert all(len(set(texts)) == 4 for texts in texts_of(tmp_path / "out").values())
