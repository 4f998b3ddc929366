import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from copg.artifacts import read_manifest
from copg.config import parse_config
from copg.digests import file_digest
from copg.errors import ArtifactError, ConfigError, TrackingError
from copg.evaluation.criteria import Criteria
from copg.evaluation.results import judge, read_evaluations
from copg.report.numbers import compare_policies
from copg.rewards.drawn import VALIDATED
from copg.rewards.predicting import build_ladder
from copg.rewards.tables import interval
from copg.run.sources import fetch
from copg.stages.promote import PromoteConfig, promote_best
from copg.stores.addresses import find_damage
from copg.tracking.budget import Budget
from copg.tracking.mlflow import connect
from copg.tracking.pointer import POINTER, RUN_KEY
from copg.tracking.registry import CHALLENGER, PREVIOUS, Registry
from copg.tracking.retention import delete_weights
from tests.evaluations import Made, make_evaluation, make_groups, make_policy, reseal

GOOD = Made("copg_0.1", 0.2, 3.0, "copg", 0.1)
BETTER = Made("copg_0.05", 0.3, 5.0, "copg", 0.05)
FARTHER = Made("copg_0.02", 0.4, 8.0, "copg", 0.02)
FAR = Made("copg_0.01", 0.5, 30.0, "copg", 0.01)
EQUAL = Made("copg_1", 0.0, 0.1, "copg", 1.0)
LOST = Made("pg_0.1", 0.9, 2.0, "pg", 0.1, diverged=True)


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """One new file for the module: filling it takes seconds. Each test has a model of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"


class Run:
    """Trials with weights on disk, evaluated on the same prompts."""

    def __init__(self, folder: Path, uri: str, model_name: str) -> None:
        self.folder, self.uri, self.model_name = folder, uri, model_name
        self.groups = folder / "groups"
        self.manifest = make_groups(self.groups)
        self.reference = make_evaluation(folder / "reference", Made("reference"), self.manifest)
        self.count = 0

    def policy(self, made: Made) -> Path:
        return self.folder / "policies" / made.name

    def evaluate(self, *trials: Made) -> list[Path]:
        found = []
        for made in trials:
            path = self.folder / "evaluations" / made.name
            if not path.exists():
                policy = make_policy(self.policy(made), made.name)
                make_evaluation(path, made, self.manifest, policy=policy, policy_uri=str(self.policy(made)))
            found.append(path)
        return found

    def champion(self, made: Made, name: str = "champion") -> Path:
        """Evaluation of the very policy of ``made``, as the champion it became."""
        digest = read_manifest(self.policy(made), schema="policy", verify=False).digest
        path = self.folder / "evaluations" / f"{name} {made.name}"
        return make_evaluation(
            path,
            replace(made, name="champion"),
            self.manifest,
            policy_digest=digest,
            policy_uri=str(self.policy(made)),
        )

    def promote(self, *trials: Made, champion: Path | None = None, **settings) -> dict:
        self.count += 1
        self.out = self.folder / f"registration {self.count}"
        config = {"model_name": self.model_name, "tracking_uri": self.uri, "max_kl": 10.0, **settings}
        self.metrics = promote_best(
            parse_config(PromoteConfig, config, where="promote"),
            groups=self.groups,
            reference=self.reference,
            champion=champion,
            evaluations=self.evaluate(*trials),
            registration=self.out,
        )
        return json.loads((self.out / "registration.json").read_text())

    def weights(self, made: Made) -> int:
        return len(list(self.policy(made).glob("*.safetensors")))


@pytest.fixture
def run(tmp_path, uri) -> Run:
    return Run(tmp_path, uri, tmp_path.name)


def test_the_best_trial_becomes_champion_with_its_card_tags_and_address(run, uri) -> None:
    found = run.promote(GOOD, BETTER, tags={"data": "d" * 64, "code": "c" * 64}, run_id="run-1")
    assert (found["promoted"], found["trial"], found["version"]) == (True, "copg_0.05", "1")
    assert found["champion"] == {
        "version": "1",
        "source": str(run.policy(BETTER)),
        "digest": read_manifest(run.policy(BETTER), schema="policy").digest,
    }
    assert found["previous"] is None
    version = connect(uri).get_model_version(run.model_name, "1")
    assert version.tags["data"] == "d" * 64
    assert (version.tags["trial"], version.tags["run_id"]) == ("copg_0.05", "run-1")
    assert version.tags["groups"] == run.manifest.digest
    assert version.description == (run.out / "model_card.md").read_text()
    assert run.metrics["policy/promoted"] == 1.0
    assert run.metrics["gain/reference"] == pytest.approx(0.3, abs=0.05)
    manifest = read_manifest(run.out, schema="registration")
    assert set(manifest.parents) == {"groups", "reference", "copg_0.1", "copg_0.05"}


def test_the_card_says_what_how_and_against_what_with_intervals(run) -> None:
    run.promote(BETTER)
    card = (run.out / "model_card.md").read_text()
    assert "A policy trained offline from `models/tiny` by copg with beta 0.05 reward units per nat" in card
    assert "- 1 x `facts`" in card
    assert "| copg_0.05 | 0." in card
    assert "| reference | 0." in card
    assert "## Promoted" in card
    assert "over the same 40 prompts, is more than 0" in card
    assert run.manifest.digest in card
    for guess in ("licence", "license", "intended use", "TODO"):
        assert guess not in card.lower()


def test_card_and_decision_tell_j_at_the_beta_of_the_report(run) -> None:
    found = run.promote(BETTER)
    assert "Its J, reward less 0.05 reward units a nat, is" in (run.out / "model_card.md").read_text()
    again = run.promote(BETTER, report_beta=0.2)
    card = (run.out / "model_card.md").read_text()
    assert "Its J, reward less 0.2 reward units a nat, is" in card
    # .27 for 5.1 nats at .2 each is .75 less than nothing done, and no gain of a negative number
    assert re.search(r"surely worth less than the reference, by 0\.7\d* \[0\.", card)
    told = [each["objective"] for each in (found, again)]
    assert [each["beta"] for each in told] == [0.05, 0.2]
    # J gains what the reward does less beta for each of 5 nats: the reference's KL is 0
    low, high = (each["gain"]["mean"] for each in told)
    kl = (low - high) / 0.15
    assert kl == pytest.approx(5, abs=0.2)
    assert low == pytest.approx(run.metrics["gain/reference"] - 0.05 * kl)
    assert told[0]["gain"]["low"] < low < told[0]["gain"]["high"]


def test_card_and_decision_have_the_share_of_the_predicted_gain_that_the_report_has(run) -> None:
    rewards = list(np.linspace(0, 1, 60).reshape(20, 3) ** 2)
    scored, weighed = (build_ladder(values, base="others") for values in (rewards, [3 * r for r in rewards]))
    (trial,) = run.evaluate(BETTER)
    for ladder, path in ((scored, run.reference), (weighed, trial)):  # the latter is what it was trained by
        reseal(path, facts={**read_manifest(path, schema="evaluation").facts, "ladder": ladder.facts()})
        objective = run.promote(BETTER)["objective"]
        assert objective["predicted"] == pytest.approx(ladder.gain_at(0.05))
        share = objective["gain"]["mean"] / objective["predicted"]
        assert objective["share"]["mean"] == pytest.approx(share)
        found = read_evaluations(run.groups, reference=run.reference, champion=None, trials=[trial])
        policies = compare_policies(found, judge(found, Criteria()), [])
        (reported,) = (one.objective for one in policies if one.name == BETTER.name)
        assert reported.facts() == objective
        told = f"That is {interval(reported.share)} of what the logs predict it can gain."
        assert told in (run.out / "model_card.md").read_text()


def test_a_trial_no_better_than_the_reference_becomes_challenger_and_the_run_succeeds(run, uri) -> None:
    found = run.promote(EQUAL)
    assert (found["promoted"], found["trial"], found["version"], found["champion"]) == (
        False,
        "copg_1",
        "1",
        None,
    )
    assert "the gain over the reference" in found["reasons"][0]
    assert "is not surely more than 0" in found["reasons"][0]
    assert Registry(uri, run.model_name).get(CHALLENGER).version == "1"
    assert run.metrics["policy/promoted"] == 0.0


def test_trials_over_the_budget_or_diverged_are_passed_over_whatever_they_earn(run) -> None:
    found = run.promote(FAR, LOST, GOOD)
    assert (found["trial"], found["promoted"]) == ("copg_0.1", True)


def test_when_no_trial_can_be_chosen_nothing_is_registered_nor_deleted_and_each_reason_is_told(
    run, uri
) -> None:
    found = run.promote(FAR, LOST)
    assert (found["promoted"], found["trial"], found["version"]) == (False, None, None)
    assert found["reasons"][0].startswith("copg_0.01 is too far from the reference: KL 29.98 [")
    assert found["reasons"][1] == "pg_0.1 diverged in training"
    assert Registry(uri, run.model_name).versions() == []
    assert (run.weights(FAR), run.weights(LOST)) == (2, 2)


def test_a_better_trial_replaces_the_champion_who_stays_findable(run, uri) -> None:
    run.promote(GOOD)
    found = run.promote(BETTER, champion=run.champion(GOOD))
    assert found["promoted"]
    assert (found["champion"]["version"], found["previous"]["version"]) == ("2", "1")
    assert Registry(uri, run.model_name).get(PREVIOUS).policy_uri == str(run.policy(GOOD))
    assert run.metrics["gain/champion"] == pytest.approx(0.1, abs=0.04)


def test_a_worse_trial_does_not_replace_the_champion(run, uri) -> None:
    run.promote(BETTER)
    found = run.promote(GOOD, champion=run.champion(BETTER))
    assert not found["promoted"]
    assert len(found["reasons"]) == 1  # it does beat the reference
    level = pytest.approx(0.05 / 52)
    assert found["error"] == {"budget": 0.05, "level": level, "before": level, "place": 2, "affordable": True}
    assert "the gain over the champion, -0." in found["reasons"][0]
    assert found["champion"]["version"] == "1"
    assert Registry(uri, run.model_name).get(CHALLENGER).version == found["version"] == "2"


def test_a_decision_spends_of_the_error_budget_once_however_often_it_is_made(run, uri) -> None:
    for _ in range(3):
        run.promote(EQUAL)
    assert Budget(Registry(uri, run.model_name), total=0.05).spent() == (pytest.approx(0.05 / 52), 1)
    run.promote(BETTER)  # another candidate
    assert Budget(Registry(uri, run.model_name), total=0.05).spent()[1] == 2


def test_a_spent_budget_promotes_nobody_and_says_what_to_do(run, uri) -> None:
    error = {"budget": 0.02, "horizon": 1}
    run.promote(EQUAL, error=error)
    found = run.promote(BETTER, error=error)
    assert (found["promoted"], found["champion"]) == (False, None)
    assert found["reasons"] == [
        "0.02 of promote.error.budget=0.02 was spent before by 1 promotions tried, which leaves no 0.02: "
        "raise the budget, or go on under another name with gate prompts that decided nothing so far"
    ]
    assert run.promote(BETTER, error={"budget": 0.04, "horizon": 2})["promoted"]


def _drawn_anew(run: Run, made: Made, gain: float) -> None:
    """The same policy evaluated again, which came to other completions."""
    policy = read_manifest(run.policy(made), schema="policy")
    path = run.folder / "evaluations" / made.name
    shutil.rmtree(path)
    uri = str(run.policy(made))
    make_evaluation(path, replace(made, gain=gain), run.manifest, policy=policy, policy_uri=uri)


def test_the_same_run_on_other_draws_is_the_decision_that_was_made_and_spends_nothing(run, uri) -> None:
    this = {RUN_KEY: "this run"}
    assert not run.promote(EQUAL, tags=this)["promoted"]
    _drawn_anew(run, EQUAL, 0.5)
    again = run.promote(EQUAL, tags=this)
    assert not again["promoted"], "whatever it drew the second time"
    (reason,) = again["reasons"]
    assert reason.startswith(
        "decided before, by this very run of the same candidate, champion and data: not pr"
    )
    budget = Budget(Registry(uri, run.model_name), total=0.05)
    assert (budget.spent()[1], again["error"]["place"]) == (1, 1)
    found = run.promote(EQUAL, tags={RUN_KEY: "with other settings"})
    assert (found["promoted"], budget.spent()[1]) == (True, 2)


def test_the_same_run_decides_anew_where_its_decision_was_never_paid_for(run, uri) -> None:
    this = {RUN_KEY: "this run"}
    run.promote(EQUAL, error={"budget": 0.02, "horizon": 1})
    unpaid = run.promote(BETTER, tags=this, error={"budget": 0.02, "horizon": 1})
    assert unpaid["reasons"][0].startswith("0.02 of promote.error.budget=0.02 was spent before")
    _drawn_anew(run, BETTER, 0.31)
    for _ in range(2):  # decided and paid once
        found = run.promote(BETTER, tags=this, replaces="", error={"budget": 0.04, "horizon": 2})
        assert (found["promoted"], found["error"]["place"]) == (True, 2)
    assert Budget(Registry(uri, run.model_name), total=0.04).spent() == (0.04, 2)


def test_a_promotion_stands_where_its_candidate_is_drawn_anew(run, uri) -> None:
    this = {RUN_KEY: "this run"}
    assert run.promote(BETTER, tags=this)["promoted"]
    _drawn_anew(run, BETTER, 0.0)
    connect(uri).delete_registered_model_alias(run.model_name, "champion")  # a registry that lost it
    connect(uri).delete_registered_model_tag(run.model_name, POINTER)
    again = run.promote(BETTER, tags=this)
    assert again["promoted"]
    assert "decided before" in again["reasons"][0]


def test_a_reward_model_no_better_than_length_promotes_nobody_unless_the_recipe_says_so(run, uri) -> None:
    metrics = {"accuracy/mean": 0.8, "accuracy/low": 0.7, "accuracy/high": 0.9, "length_accuracy/mean": 0.75}
    doubtful = metrics | {"over_length/low": -0.05}
    for learnt, settings, promoted in (
        (doubtful, {}, False),
        (doubtful, {"guards": {"learnt_reward": False}}, True),
        (metrics | {"over_length/low": 0.01}, {}, True),
    ):
        facts = read_manifest(run.reference, schema="evaluation").facts
        told = [{"part": "learnt", "learns": "pairs", "metrics": learnt}]
        reseal(run.reference, facts={**facts, "learnt": told})
        found = run.promote(BETTER, **settings)
        assert found["promoted"] == promoted
        if not promoted:
            assert found["reasons"] == [
                "reward model learnt: held-out accuracy 0.80 (0.70 to 0.90), by length alone 0.75, cannot be "
                "told from length, so what it judges may be noise; promote.guards.learnt_reward: false "
                "promotes all the same"
            ]
            assert Budget(Registry(uri, run.model_name), total=0.05).spent() == (0, 0)
    assert any(reason.startswith("reward model learnt:") for reason in found["reasons"])


def test_prompts_that_an_earlier_run_trained_on_judge_nobody(run) -> None:
    for fraction, promoted in ((0.1, False), (0.2, False), (0.1, True), (0.05, True)):
        reseal(run.groups, config={"gate_fraction": fraction})
        found = run.promote(BETTER if fraction != 0.1 or promoted else EQUAL)
        assert found["promoted"] == promoted
        if fraction == 0.2:
            assert found["reasons"] == [
                "validate.gate_fraction=0.2 was 0.1 in an earlier run, which trained on prompts that "
                "are in gate now: set it to 0.1"
            ]


@pytest.mark.parametrize("refused", [{"max_kl": 1.0}, {"guards": {"rewards": ["brevty"]}}])
def test_a_run_refused_for_another_reason_has_trained_on_its_prompts_all_the_same(run, uri, refused) -> None:
    reseal(run.groups, config={"gate_fraction": 0.1})
    assert not run.promote(BETTER, **refused)["promoted"]
    assert Budget(Registry(uri, run.model_name), total=0.05).spent() == (0, 0)
    drawn = {VALIDATED: {"gate_fraction": 0.2}}  # of groups whose completions a run drew for itself
    reseal(run.groups, config={"max_tokens": 8}, facts=drawn)
    (reason,) = run.promote(BETTER)["reasons"]
    assert reason.startswith("validate.gate_fraction=0.2 was 0.1 in an earlier run, which trained on")
    reseal(run.groups, config={"gate_fraction": 0.1}, facts={})
    assert run.promote(BETTER)["promoted"]


def test_prompts_split_by_another_column_than_in_an_earlier_run_judge_nobody(run) -> None:
    reseal(run.groups, config={"gate_fraction": 0.1})
    assert not run.promote(EQUAL)["promoted"]
    documents = make_groups(run.folder / "documents", documents=20)
    clustered, config = run.folder / "documents", {"gate_fraction": 0.1, "columns": {"cluster": "cluster"}}
    reseal(clustered, config=config)
    assert documents.rows == run.manifest.rows
    plain, run.groups = run.groups, clustered
    for path in (run.reference, *run.evaluate(BETTER)):
        reseal(path, parents={"groups": documents.digest})
    assert run.promote(BETTER)["reasons"] == [
        "prompts are split by 'cluster', and were by 'prompt' in an earlier run, which trained on prompts "
        "that are in gate now: split them by 'prompt' (validate.columns.cluster), or go on under another name"
    ]
    run.groups = plain
    for path in (run.reference, *run.evaluate(BETTER)):
        reseal(path, parents={"groups": run.manifest.digest})
    assert run.promote(BETTER)["promoted"], "what was refused for its column binds nobody"


def test_what_fails_for_another_reason_than_its_gain_spends_nothing(run, uri) -> None:
    run.promote(FAR, LOST)
    run.promote(BETTER, guards={"rewards": ["brevty"]})
    assert Budget(Registry(uri, run.model_name), total=0.05).spent() == (0, 0)


def test_a_policy_that_writes_twice_as_much_is_refused_by_its_length_whatever_it_earns(run) -> None:
    found = run.promote(replace(BETTER, name="copg_long", length=50.0))
    assert not found["promoted"]
    (reason,) = found["reasons"]
    assert reason.startswith("guard length: 2.1 times as long") or reason.startswith("guard length: 2.0")
    assert reason.endswith("from 0.67 to 1.50 allowed is surely over its margin")
    assert run.promote(BETTER)["promoted"]


def test_a_guard_reward_that_was_not_measured_promotes_nobody(run) -> None:
    found = run.promote(BETTER, guards={"rewards": ["brevty"]})
    told = "guard brevty: it was not measured, name it among the rewards with weight 0"
    assert (found["promoted"], found["reasons"]) == (False, [told])


def test_the_same_winner_twice_is_the_same_version_and_nothing_moves(run) -> None:
    first = run.promote(BETTER)
    again = run.promote(BETTER)  # as a retried task would
    itself = run.promote(BETTER, champion=run.champion(BETTER))
    assert first == again
    assert itself["error"] is None, "nothing was tried"
    differing = {"reasons": None, "error": None}
    assert {**itself, **differing} == {**first, **differing}
    assert "it is the champion itself, and is not compared with itself" in itself["reasons"]
    assert itself["previous"] is None


def test_a_champion_crowned_meanwhile_is_not_replaced_unmeasured(run) -> None:
    run.promote(GOOD)
    found = run.promote(BETTER)  # measured before there was a champion
    assert not found["promoted"]
    assert found["reasons"] == ["version 1 became champion without being measured by this run; run it again"]
    assert found["champion"]["version"] == "1"


def test_a_champion_that_was_never_measured_is_replaced_where_the_run_says_that_it_saw_it(run) -> None:
    run.promote(GOOD)
    # its base model was another, say: resolve told so, and the run went on against the reference
    found = run.promote(BETTER, replaces="1")
    assert (found["promoted"], found["version"], found["previous"]["version"]) == (True, "2", "1")
    assert not run.promote(FARTHER, replaces="1")["promoted"], "by now it is another's place"


def test_of_two_runs_at_once_the_slower_says_so_and_is_not_promoted(run, uri, monkeypatch) -> None:
    def slower(self, *given, **named) -> str:
        if given[0] == str(run.policy(GOOD)):  # between our registration and our award, another is registered
            monkeypatch.setattr(Registry, "bid", register)
            register(
                Registry(uri, run.model_name), "/other", digest="o", tags={}, description="", replaces=""
            )
        return register(self, *given, **named)

    register = Registry.bid
    monkeypatch.setattr(Registry, "bid", slower)
    found = run.promote(GOOD)
    assert (found["promoted"], found["version"], found["champion"]) == (False, "2", None)
    assert found["reasons"] == ["version 1 became champion at the same time and was faster; run it again"]
    assert "## Not promoted" in (run.out / "model_card.md").read_text()
    version = connect(uri).get_model_version(run.model_name, "2")
    assert version.description == (run.out / "model_card.md").read_text()
    assert Registry(uri, run.model_name).get(CHALLENGER).version == "2"


def test_a_promoted_policy_outlasts_the_artifacts_of_its_run(run, tmp_path) -> None:
    found = run.promote(GOOD, champions=f"{tmp_path}/champions")
    digest = read_manifest(run.policy(GOOD), schema="policy").digest
    kept = tmp_path / "champions" / run.model_name / digest[:12]
    assert found["champion"] == {"version": "1", "source": str(kept), "digest": digest}
    weights = "model-00001-of-00002.safetensors"
    assert (kept / weights).samefile(run.policy(GOOD) / weights), "a link takes no space"
    shutil.rmtree(run.policy(GOOD))
    assert read_manifest(kept, schema="policy").digest == digest
    assert {path.name.partition(".")[2] for path in kept.iterdir()} == {"json", "safetensors"}


@pytest.mark.parametrize("scheme", ["minio", "s3", "memory"])
def test_a_policy_in_an_object_store_is_promoted_by_its_address(run, store, scheme) -> None:
    run.evaluate(GOOD)
    bucket = f"{scheme}://{store.bucket}"
    files, root = fsspec.url_to_fs(f"{bucket}/run/policy")
    files.put(f"{run.policy(GOOD)}/", root, recursive=True)
    _lies_at(run, GOOD, f"{bucket}/run/policy")
    found = run.promote(GOOD, champions=f"{bucket}/champions")
    files.rm(root, recursive=True)
    source = found["champion"]["source"]
    assert source.startswith(f"{bucket}/champions/{run.model_name}/")
    fetched = fetch(source, run.folder / "fetched")
    assert read_manifest(fetched, schema="policy").digest == found["champion"]["digest"]
    assert not find_damage(source, digest=found["champion"]["digest"])


def _lies_at(run: Run, made: Made, address: str) -> None:
    path = run.folder / "evaluations" / made.name
    facts = read_manifest(path, schema="evaluation").facts
    reseal(path, facts={**facts, "policy_uri": address})


def test_where_the_policy_cannot_be_copied_nothing_is_promoted(run, uri, tmp_path) -> None:
    run.evaluate(GOOD)
    (run.policy(GOOD) / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"is not the policy: model-00002.* is missing"):
        run.promote(GOOD, champions=f"{tmp_path}/champions")
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"file/champions/.* Not a directory"):
        run.promote(GOOD, champions=f"{tmp_path}/file/champions")
    assert Registry(uri, run.model_name).versions() == []


def test_champions_long_past_lose_their_copies_and_the_ones_before_stay_for_a_rollback(run, tmp_path) -> None:
    folder = tmp_path / "champions"
    before, retired, made_so_far = None, [], (GOOD, BETTER, FARTHER)
    for made in made_so_far:
        settings = {"champions": str(folder), "keep_champions": 1, "max_kl": 20.0}
        retired.append(run.promote(made, champion=before, **settings)["retired"])
        before = run.champion(made)
    assert retired == [{}, {}, {"1": "deleted 2 files, 0.0 MiB"}]
    digests = [read_manifest(run.policy(made), schema="policy").digest for made in made_so_far]
    copies = [folder / run.model_name / digest[:12] for digest in digests]
    assert [len(list(copy.glob("*.safetensors"))) for copy in copies] == [0, 2, 2]
    assert "is past: keep_champions=1" in (copies[0] / "weights_deleted.txt").read_text()
    assert run.weights(GOOD) == 2, "what lies elsewhere is not touched"
    again = run.promote(FARTHER, champion=before, **settings)
    assert (again["version"], again["retired"]) == ("3", {}), "told once"


def test_data_that_are_not_valid_promote_nobody(run) -> None:
    run.groups = run.folder / "bad"
    run.manifest = make_groups(run.groups, valid=False, reasons=["8 % of records rejected"])
    found = run.promote(BETTER)
    assert found["reasons"] == ["the data are not valid: 8 % of records rejected"]


def test_losers_lose_their_weights_and_keep_everything_else(run) -> None:
    run.promote(GOOD, BETTER)
    assert (run.weights(GOOD), run.weights(BETTER)) == (0, 2)
    assert (run.policy(GOOD) / "config.json").exists()
    assert read_manifest(run.out, schema="registration").facts["weights"] == {
        "copg_0.1": "deleted 2 files, 0.0 MiB",
        "copg_0.05": "kept: registered",
    }
    message = r"is missing: the weights of trial copg_0.1 were deleted when copg_0.05 was .* promote.keep"
    with pytest.raises(ArtifactError, match=message):
        read_manifest(run.policy(GOOD), schema="policy")


@pytest.mark.parametrize(
    ("keep", "left"), [("all", (2, 2, 2)), ("winner", (0, 2, 0)), (["copg_1"], (0, 2, 2))]
)
def test_whose_weights_stay_is_a_choice_but_the_winners_always_do(run, keep, left) -> None:
    run.promote(GOOD, BETTER, EQUAL, keep=keep)
    assert (run.weights(GOOD), run.weights(BETTER), run.weights(EQUAL)) == left


def test_weights_of_a_policy_that_was_ever_registered_are_never_deleted(run) -> None:
    run.promote(GOOD)
    # the same trial, answered by a cache, now loses against a better one
    run.promote(GOOD, BETTER, champion=run.champion(GOOD))
    assert (run.weights(GOOD), run.weights(BETTER)) == (2, 2)


def test_a_name_to_keep_that_is_no_trial_stops_before_anything_is_deleted(run) -> None:
    with pytest.raises(ConfigError, match=r"promote.keep=\['copg_0.2'\] are no trials"):
        run.promote(GOOD, BETTER, keep=["copg_0.2"])
    assert run.weights(GOOD) == 2


def test_nothing_is_deleted_where_the_manifest_is_not_that_of_the_policy(tmp_path) -> None:
    policy = make_policy(tmp_path / "policy", "a")
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious.safetensors").touch()
    assert "no manifest.json there" in str(delete_weights(str(other), digest="a", reason=""))
    assert "not that of this policy" in str(delete_weights(str(tmp_path / "policy"), digest="b", reason=""))
    (tmp_path / "policy" / "unlisted.safetensors").touch()
    assert delete_weights(f"file://{tmp_path}/policy", digest=policy.digest, reason="r").num_files == 2
    left = {path.name for path in (tmp_path / "policy").iterdir()}
    assert left == {"config.json", "manifest.json", "unlisted.safetensors", "weights_deleted.txt"}
    assert "no weights any more" in str(
        delete_weights(str(tmp_path / "policy"), digest=policy.digest, reason="r")
    )
    assert (other / "precious.safetensors").exists()


def test_a_place_that_cannot_be_reached_is_told_and_the_run_goes_on(run) -> None:
    run.evaluate(GOOD, BETTER)
    _lies_at(run, GOOD, "minio://bucket/policy")
    assert run.promote(GOOD, BETTER)["promoted"]
    told = read_manifest(run.out, schema="registration").facts["weights"]["copg_0.1"]
    assert told.startswith("kept: ")
    assert "minio" in told


def test_weights_in_an_object_store_are_deleted_through_fsspec(tmp_path) -> None:
    policy = make_policy(tmp_path / "policy", "a")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "policy"), "/bucket/policy", recursive=True)
    assert delete_weights("memory://bucket/policy", digest=policy.digest, reason="r").num_files == 2
    names = {name.rpartition("/")[2] for name in memory.find("/bucket/policy")}
    assert names == {"config.json", "manifest.json", "weights_deleted.txt"}


def test_evaluations_of_other_prompts_are_refused(run) -> None:
    other = make_groups(run.folder / "other", num_prompts=30)
    make_evaluation(run.folder / "evaluations" / "copg_0.1", GOOD, other)
    with pytest.raises(ArtifactError, match="was evaluated on groups"):
        run.promote(GOOD)


def test_a_registry_that_cannot_be_opened_is_one_clear_line(run) -> None:
    (run.folder / "file").touch()
    with pytest.raises(TrackingError, match="cannot be opened"):
        run.promote(GOOD, tracking_uri=f"sqlite:///{run.folder}/file/mlflow.db")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "promote.model_name is missing"),
        ({"model_name": ""}, "model_name is empty"),
        ({"model_name": "m", "max_kl": 0}, "max_kl=0.0 must be > 0"),
        ({"model_name": "m", "min_gain": -0.1}, "min_gain=-0.1 must be >= 0"),
        ({"model_name": "m", "keep": "none"}, "promote.keep"),
        ({"model_name": "m", "maxkl": 1}, "promote.maxkl is unknown"),
    ],
)
def test_a_wrong_setting_is_told_with_what_is_allowed(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(PromoteConfig, settings, where="promote")


def test_a_diverged_trial_without_numbers_is_read(run) -> None:
    (path,) = run.evaluate(LOST)
    found = json.loads((path / "evaluation.json").read_text())
    nothing = {"mean": None, "low": None, "high": None}
    for split in found.values():
        split |= {"reward": nothing, "kl": nothing, "length": nothing, "parts": {"facts": None}}
    (path / "evaluation.json").write_text(json.dumps(found))
    files = json.loads((path / "manifest.json").read_text())["files"]
    reseal(path, files={**files, "evaluation.json": file_digest(path / "evaluation.json")})
    assert run.promote(LOST, GOOD)["trial"] == "copg_0.1"


def test_promote_loads_no_torch_and_mlflow_only_when_it_is_needed() -> None:
    code = "import sys, copg.stages.promote; print(sorted({'torch', 'mlflow'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
