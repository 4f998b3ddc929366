"""``promote`` where trials have mixes: a scaled adapter competes as a trial does, a mix of logits never."""

import json
from pathlib import Path

import pytest

from copg.artifacts import begin, read_manifest, seal
from copg.errors import ArtifactError, ConfigError
from copg.stores.model_files import ADAPTER
from copg.stores.scaled import scale_adapter
from tests.evaluations import Made, make_evaluation
from tests.stages.test_promote import Run, run, uri

__all__ = ["run", "uri"]  # fixtures

FAR = Made("copg_0.01", 0.5, 30.0, "copg", 0.01)
"""Over the budget of 10 nats, at which nothing of it could be promoted without its mixes."""
HALF, NEAR = Made("", 0.35, 6.0, "copg", 0.01), Made("", 0.1, 1.0, "copg", 0.01)


def make_adapter(folder: Path) -> Path:
    begin(folder)
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "models/tiny"}
    (folder / ADAPTER).write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").write_text("two matrices a layer")
    seal(folder, schema="policy", stage="train", rows=1, config={}, parents={}, facts={"trial": FAR.name})
    return folder


def evaluate(run: Run, *, scaled: bool = True) -> None:
    """The trial's evaluation, with mixes at a half and at a tenth."""
    policy = make_adapter(run.policy(FAR))
    digests = {w: scale_adapter(policy, w, run.folder / f"{w}").digest if scaled else "" for w in (0.5, 0.1)}
    make_evaluation(
        run.folder / "evaluations" / FAR.name,
        FAR,
        run.manifest,
        policy=read_manifest(policy, schema="policy"),
        policy_uri=str(policy),
        mixes=[(0.5, HALF, digests[0.5]), (0.1, NEAR, digests[0.1])],
    )


@pytest.mark.parametrize("kept", [True, False], ids=["champions", "beside"])
def test_a_scaled_adapter_becomes_champion_as_a_policy_of_its_own(
    run: Run, tmp_path: Path, kept: bool
) -> None:
    evaluate(run)
    found = run.promote(FAR, champions=str(tmp_path / "champions") if kept else "")
    assert (found["promoted"], found["trial"]) == (True, "copg_0.01@0.5")
    lies = Path(found["champion"]["source"])
    expected = read_manifest(run.folder / "0.5", schema="policy")
    assert read_manifest(lies, schema="policy").digest == expected.digest == found["champion"]["digest"]
    assert json.loads((lies / ADAPTER).read_text())["lora_alpha"] == 4  # half of 8, once
    assert lies.parent == (tmp_path / "champions" / run.model_name if kept else run.policy(FAR).parent)
    card = (run.out / "model_card.md").read_text()
    assert "by copg with beta 0.01 reward units per nat, its adapter counted 0.5 times, for this" in card
    assert run.weights(FAR) == 1  # the trial is what the champion is made of
    assert "copg_0.01@0.1" not in card


def test_one_that_does_not_pass_is_registered_where_it_was_written_and_twice_is_once(run: Run) -> None:
    evaluate(run)
    first, second = (run.promote(FAR, min_gain=0.6) for _ in range(2))
    assert (first["promoted"], first["trial"], first["version"]) == (False, "copg_0.01@0.5", "1")
    assert second["version"] == "1"
    scaled = Path(f"{run.policy(FAR)}-0.5")
    assert (
        read_manifest(scaled, schema="policy").digest
        == read_manifest(run.folder / "0.5", schema="policy").digest
    )


def test_a_champion_that_is_a_scaled_adapter_is_not_compared_with_itself(run: Run, tmp_path: Path) -> None:
    evaluate(run)
    champion = run.promote(FAR, champions=str(tmp_path / "champions"))["champion"]
    measured = make_evaluation(
        tmp_path / "measured", Made("champion", 0.35, 6.0), run.manifest,
        policy_digest=champion["digest"], policy_uri=champion["source"],
    )  # fmt: skip
    again = run.promote(FAR, champion=measured, champions=str(tmp_path / "champions"))
    assert (again["promoted"], again["champion"]) == (True, champion)
    assert any("it is the champion itself" in reason for reason in again["reasons"])


def test_a_mix_of_logits_is_refused_in_one_line_and_nothing_is_registered(run: Run) -> None:
    evaluate(run, scaled=False)
    found = run.promote(FAR)
    assert (found["promoted"], found["trial"], found["version"]) == (False, None, None)
    assert found["reasons"][1:] == [
        f"copg_0.01@{weight:g} mixes the logits of two models, which no weights hold: it cannot be registered"
        for weight in (0.5, 0.1)
    ]


def test_a_mix_has_no_weights_to_keep(run: Run) -> None:
    evaluate(run)
    with pytest.raises(
        ConfigError, match=r"keep=.*: a mix has no weights on disk; name its trial: copg_0.01"
    ):
        run.promote(FAR, keep=["copg_0.01@0.5"])


def test_an_adapter_that_is_not_the_one_evaluated_is_not_registered(run: Run) -> None:
    evaluate(run)
    for file in run.policy(FAR).iterdir():
        file.unlink()
    begin(run.policy(FAR))
    (run.policy(FAR) / ADAPTER).write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 16}))
    seal(run.policy(FAR), schema="policy", stage="train", rows=1, config={}, parents={})
    with pytest.raises(ArtifactError, match=r"scaled by 0.5 it has digest .* was evaluated"):
        run.promote(FAR)
