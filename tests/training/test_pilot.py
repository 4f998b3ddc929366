"""A trial by distance: which beta the ladder gives, how a pilot moves it, and how far the policy goes."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from copg.artifacts import begin, read_manifest, seal
from copg.config import parse_config
from copg.data.group_files import GroupWriter, read_groups
from copg.errors import ConfigError
from copg.lm.config import GenerationConfig
from copg.lm.load import load_model
from copg.losses.diagnostics import residual_fraction
from copg.records import Completion, Group, prompt_id
from copg.rewards.ladder import Ladder
from copg.rewards.predicting import build_ladder
from copg.run.task_names import subject_name
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.train import train_policy
from copg.training.checkpoint_store import checkpoint_store
from copg.training.config import CheckpointConfig, MonitorConfig, TargetKL, TrainConfig, TrialConfig
from copg.training.data import TrainData, step_groups
from copg.training.optim import learning_rate
from copg.training.pilot import _short, first_beta, rescaled, settled, slope_between, told
from copg.training.samples import mean_kl
from copg.training.step import group_losses
from experiments.enumerable import STRINGS, build_world, write_reference
from tests.rewards.test_ladder import WORLDS, draws, exact


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return build_ladder(draws(WORLDS["bounded"], 300, 16), base="reference")


def test_a_ladder_gives_the_beta_at_which_the_optimum_lies_so_far_away(ladder: Ladder) -> None:
    for kl in (0.01, 0.1, 0.5, 1.0, 1.5):
        _, found, _ = exact(WORLDS["bounded"], ladder.beta_for(kl))
        assert found == pytest.approx(kl, rel=0.2), kl
    for rung in ladder.rungs:
        assert ladder.beta_for(rung.kl.mean) == pytest.approx(rung.beta, rel=0.02)
    far = ladder.rungs[-1].kl.mean * 1.02
    assert 0.5 * ladder.rungs[-1].beta < ladder.beta_for(far) < ladder.rungs[-1].beta
    assert math.isnan(ladder.beta_for(0.0))
    assert math.isnan(Ladder("reference", 0.0, 1, []).beta_for(1.0))


def test_a_distance_beyond_the_support_is_refused_and_one_close_to_it_is_marked(
    ladder: Ladder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ConfigError, match=r"trial t: beta.kl=4 is more than the most .* support, 2.7 nats: ask"
    ):
        first_beta(ladder, 4.0, "t")
    assert capsys.readouterr().err == ""
    first_beta(ladder, 0.99 * ladder.support, "t")
    assert "the most they can support is 2.7 nats" in capsys.readouterr().err
    first_beta(ladder, 0.5, "t")
    assert capsys.readouterr().err == ""
    for nothing in (None, Ladder("reference", 0.0, 1, [])):
        with pytest.raises(ConfigError, match="needs rewards that differ within training prompts"):
            first_beta(nothing, 0.5, "t")


def test_beta_moves_once_along_the_slope_of_the_ladder() -> None:
    # twice as far as asked for, where KL falls with the square: beta rises by the root of 2
    assert rescaled(0.1, reached=2.0, target=1.0, slope=2.0) == pytest.approx(0.141)
    assert rescaled(0.1, reached=0.5, target=1.0, slope=1.0) == pytest.approx(0.05)
    assert rescaled(0.1, reached=1e9, target=1.0, slope=1.0) == pytest.approx(0.8), "and no further"
    assert rescaled(0.1, reached=1e-9, target=1.0, slope=1.0) == pytest.approx(0.0125)
    for nothing in (math.nan, -0.01, 0.0, math.inf):
        assert rescaled(0.1, reached=nothing, target=1.0, slope=1.0) == 0.1


def test_the_slope_is_two_where_the_pull_is_strong_and_less_near_the_support(ladder: Ladder) -> None:
    assert slope_between(ladder, 1e-5, 1e-4) == pytest.approx(2.0)
    kls = [exact(WORLDS["bounded"], beta)[1] for beta in (0.1, 0.12)]
    found = slope_between(ladder, *kls)
    assert found == slope_between(ladder, *kls[::-1])
    assert found == pytest.approx(math.log(kls[0] / kls[1]) / math.log(1.2), rel=0.25)
    assert slope_between(ladder, kls[0], kls[0]) == pytest.approx(found, rel=0.25)


def test_a_policy_that_goes_part_of_the_way_is_moved_by_the_slope_of_that_part(ladder: Ladder) -> None:
    # it follows half of each contrast: its KL at beta is that of the optimum at twice beta
    start = ladder.beta_for(1.5)
    reached = exact(WORLDS["bounded"], 2 * start)[1]
    slope = slope_between(ladder, reached, 1.5)
    assert rescaled(start, reached=reached, target=1.5, slope=slope) == pytest.approx(start / 2, rel=0.15)
    assert slope > 1.2 * slope_between(ladder, 1.5, 1.5)


def test_a_pilot_is_never_longer_than_the_training_it_is_for() -> None:
    config = TrainConfig(
        model="m",
        trial=TrialConfig(beta=TargetKL(kl=1.0, prompts=64)),
        checkpoint=CheckpointConfig(folder="c", yields="best"),
        epochs=2,
        groups_per_step=16,
    )
    # 2 epochs of 640 groups in steps of 16 are 80 steps: 20 epochs of 64
    pilot = _short(config, TargetKL(kl=1.0, prompts=64), 0.3, 640)
    assert (pilot.prompts, pilot.epochs, pilot.until_residual) == (64, 20, 0.02)
    assert (pilot.trial.beta, pilot.trial.label, pilot.checkpoint.yields) == (0.3, "copg_kl1_pilot", "last")
    few = _short(config, TargetKL(kl=1.0), 0.3, 40)
    assert (few.prompts, few.epochs) == (40, 2)
    # of the best third of 640, 213, a training has 2 x 14 steps: 7 epochs of 64
    assert _short(replace(config, data="best_third"), TargetKL(kl=1.0, prompts=64), 0.3, 640).epochs == 7
    # without a number a step has 20 of 640 groups, so that there are 64, and the pilot's has as many
    own = _short(replace(config, groups_per_step=None), TargetKL(kl=1.0, prompts=64), 0.3, 640)
    assert (own.groups_per_step, own.prompts, own.epochs) == (20, 64, 16)


def test_a_trial_is_called_after_its_distance_in_every_layer() -> None:
    values = {"method": "copg", "beta": {"kl": 1.5}}
    assert subject_name(values) == parse_config(TrialConfig, values, where="t").label == "copg_kl1.5"
    assert subject_name({"beta": 0.05}) == parse_config(TrialConfig, {"beta": 0.05}, where="t").label
    assert parse_config(TrialConfig, {"beta": 1}, where="t").price == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta": {"kl": 0}}, r"beta.kl=0.0 must be > 0"),
        ({"beta": {}}, r"beta.kl is missing"),
        ({"beta": {"kl": 1, "residual": 1}}, r"beta.residual=1.0 must be in \(0, 1\)"),
        ({"beta": {"nats": 1}}, r"beta.nats is unknown"),
        (
            {"beta": {"kl": 1}, "method": "ipo"},
            r"method='ipo', whose beta is not in reward units, .* a number",
        ),
        ({"beta": 0}, r"beta=0.0 must be > 0: at 0 nothing ties the policy to the reference"),
        ({"beta": "high"}, r"beta='high' must be"),
    ],
)
def test_what_is_no_beta_is_refused_in_words(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TrialConfig, values, where="trial")


def test_what_a_pilot_cost_and_came_to_is_one_line() -> None:
    pilot = {"target": 1.0, "predicted_beta": 0.31, "steps": 40.0, "seconds": 20.6, "residual": 0.019}
    assert told("copg_kl1", {**pilot, "kl": 1.2, "beta": 0.35}) == (
        "pilot of trial copg_kl1: 40 steps, 21 s, residual 0.019 at beta=0.31: 1.2 nats away, asked for 1: "
        "beta=0.35"
    )
    assert "nowhere that counts, asked for 1: beta=0.31" in told("copg_kl1", {**pilot, "beta": 0.31})


class Linear:
    """Policies whose log-ratio is linear in features of all prompts: what they draw is known exactly."""

    def __init__(self, seed: int, *, unexplained: float) -> None:
        """Rewards that the features explain but for noise of standard deviation ``unexplained``."""
        rng = np.random.default_rng(seed)
        self.features = rng.normal(size=(HELD_OUT + PROMPTS, TEXTS, 6)) / math.sqrt(6)
        self.reference = rng.dirichlet(np.full(TEXTS, 3.0), HELD_OUT + PROMPTS)
        noise = rng.normal(size=self.reference.shape)
        self.rewards = self.features @ rng.normal(size=6) + unexplained * noise
        self.weights = np.zeros(6)
        self.drawn = np.array([rng.choice(TEXTS, size=K, p=ref) for ref in self.reference[HELD_OUT:]])

    def write(self, folder: Path) -> Path:
        """What ``reference`` would have left: K completions of each prompt, drawn from the reference."""
        logged = [self.rewards[HELD_OUT + i][texts] for i, texts in enumerate(self.drawn)]
        begin(folder)
        with GroupWriter(folder) as writer:
            for i, texts in enumerate(self.drawn):
                made = [
                    Completion("", reward=float(r), token_ids=[int(text)])
                    for r, text in zip(logged[i], texts, strict=True)
                ]
                for completion, text in zip(made, texts, strict=True):
                    completion.ref_logps = float(np.log(self.reference[HELD_OUT + i, text]))
                writer.write("train", Group(f"{i:032x}", "", made, prompt_ids=[HELD_OUT + i]))
        facts = {"ladder": build_ladder(logged, base="reference").facts()}
        sealed = {"schema": "referenced", "stage": "reference", "rows": PROMPTS, "config": {}, "parents": {}}
        seal(folder, **sealed, facts=facts)  # type: ignore[arg-type]
        return folder

    def train(self, config: TrainConfig, referenced: Path, policy: Path, training: Path) -> dict[str, float]:
        """As ``train_policy``, of such a policy."""
        data = TrainData(islice(read_groups(referenced, "train"), config.prompts or None))
        weights = torch.zeros(6, requires_grad=True)
        optimizer = torch.optim.Adam([weights])
        features, log_ref = (torch.tensor(a).float() for a in (self.features, np.log(self.reference)))
        residuals: list[float] = []
        num_steps = config.epochs * -(-len(data) // config.groups_per_step)
        for number in range(num_steps):
            chosen = step_groups(len(data), config.groups_per_step, number, seed=config.trial.seed)
            groups = data.token_groups(chosen)
            prompts = [group.prompt_ids[0] for group in groups]
            table = (log_ref[prompts] + features[prompts] @ weights).log_softmax(1)
            said = torch.tensor([[ids[0] for ids in group.completion_ids] for group in groups])
            logps = table.gather(1, said).flatten()
            optimizer.param_groups[0]["lr"] = learning_rate(number, num_steps, config.optimizer, peak=0.1)
            loss = group_losses(data, config.trial, chosen, logps).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            completions = data.completions(chosen, logps.detach())
            residuals.append(float(residual_fraction(completions, beta=config.trial.price)))
            if config.until_residual and np.mean(residuals[-10:]) <= config.until_residual:
                break
        self.weights = weights.detach().numpy()
        begin(training)
        sealed = {"schema": "training", "stage": "train", "rows": 1, "config": {}, "parents": {}}
        seal(training, **sealed, facts={"diverged": False})  # type: ignore[arg-type]
        drawn = self.log_ratios(config.samples.num_prompts, seed=config.trial.seed)
        last = {"residual/last": float(np.mean(residuals[-10:])), "kl/mean": drawn}
        return {"steps/done": float(len(residuals)), **last}

    def policy(self) -> np.ndarray:
        """[held-out prompts, texts] probabilities."""
        tilted = self.reference * np.exp(self.features @ self.weights)
        found: np.ndarray = (tilted / tilted.sum(-1, keepdims=True))[:HELD_OUT]
        return found

    def log_ratios(self, num_prompts: int, *, seed: int) -> float:
        """Mean of one completion that the policy draws for each held-out prompt."""
        rng, policy = np.random.default_rng([seed, 1]), self.policy()[:num_prompts]
        texts = np.array([rng.choice(TEXTS, p=p) for p in policy])
        ratios = np.log(policy) - np.log(self.reference[: len(policy)])
        return mean_kl(ratios[np.arange(len(policy)), texts].tolist())

    def kl(self) -> float:
        """Of the policy on held-out prompts, exactly, nats a completion."""
        policy = self.policy()
        return float((policy * (np.log(policy) - np.log(self.reference[:HELD_OUT]))).sum(-1).mean())


HELD_OUT, PROMPTS, TEXTS, K = 256, 160, 24, 16


def by_distance(folder: Path, target: float, seed: int) -> TrainConfig:
    return TrainConfig(
        model="m",
        trial=TrialConfig(beta=TargetKL(kl=target, prompts=64), seed=seed),
        checkpoint=CheckpointConfig(folder=str(folder)),
        epochs=8,
        groups_per_step=16,
    )


@pytest.mark.nightly
@pytest.mark.parametrize(("unexplained", "target"), [(0.05, 0.6), (0.8, 0.3)])
def test_over_three_seeds_policies_go_as_far_as_they_were_asked_to_within_a_fifth(
    tmp_path: Path, unexplained: float, target: float
) -> None:
    misses = []
    for seed in range(3):
        world = Linear(seed, unexplained=unexplained)
        referenced = world.write(tmp_path / str(seed))
        config = by_distance(tmp_path / f"checkpoints {seed}", target, seed)
        found = settled(config, referenced, world.train)
        assert found.trial.label == f"copg_kl{target:g}"
        assert found.pilot["steps"] <= 80  # of the trial: 8 epochs of 160 / 16
        world.train(found, referenced, tmp_path, tmp_path / f"training {seed}")
        assert world.kl() == pytest.approx(target, rel=0.2), (seed, found.pilot)
        predicted = replace(config, trial=TrialConfig(beta=found.pilot["predicted_beta"], seed=seed))
        world.train(predicted, referenced, tmp_path, tmp_path / f"predicted {seed}")
        misses.append(abs(world.kl() - target) / target)
    if unexplained > 0.5:
        assert min(misses) > 0.2, "of rewards that no policy can follow, the ladder alone says too much"


def test_a_pilot_is_trained_once_and_ends_where_it_has_learnt_its_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = Linear(7, unexplained=0.01)
    referenced = world.write(tmp_path / "referenced")
    config = by_distance(tmp_path / "checkpoints", 0.5, 0)
    config = replace(config, trial=TrialConfig(beta=TargetKL(kl=0.5, prompts=64, residual=0.1)))
    first = settled(config, referenced, world.train)
    assert first.pilot["residual"] <= 0.1
    assert first.pilot["steps"] < 80
    assert "pilot of trial copg_kl0.5: " in capsys.readouterr().err

    def never(*_: object) -> dict[str, float]:
        raise AssertionError("it is known")

    assert settled(config, referenced, never) == first
    assert settled(first, referenced, never) is first, "a number needs none"


@pytest.mark.parametrize(
    ("residual", "kl", "moves"), [(0.99, 0.2, 0), (0.99, 2.0, 1), (0.6, 0.2, -1), (0.05, 0.2, -1)]
)
def test_a_pilot_that_learnt_nothing_may_raise_beta_and_never_lowers_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], residual: float, kl: float, moves: int
) -> None:
    def train(*given: Any) -> dict[str, float]:
        training = given[-1]
        begin(training)
        sealed = {"schema": "training", "stage": "train", "rows": 1, "config": {}, "parents": {}}
        seal(training, **sealed, facts={"diverged": False})  # type: ignore[arg-type]
        return {"steps/done": 9.0, "residual/last": residual, "kl/mean": kl}

    referenced = Linear(7, unexplained=0.01).write(tmp_path / "referenced")
    found = settled(by_distance(tmp_path / "checkpoints", 0.5, 0), referenced, train)
    start = found.pilot["predicted_beta"]
    assert np.sign(found.trial.price - start) == moves
    said = capsys.readouterr().err
    assert ("learnt nothing, 0.2 of 0.5 nats away at residual 0.99 after 9 steps" in said) == (moves == 0)


@pytest.mark.parametrize("where", ["folder", "store"])
def test_two_pilots_of_a_trial_never_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "machine"))  # of what a store lacks
    world = Linear(7, unexplained=0.01)
    referenced = world.write(tmp_path / "referenced")
    config = by_distance(tmp_path / "checkpoints", 0.5, 0)
    if where == "store":
        config = replace(config, checkpoint=CheckpointConfig(folder=f"memory://{tmp_path.name}/checkpoints"))
    one = checkpoint_store(config, read_manifest(referenced, schema="referenced").digest)

    def train(*given: Any) -> Mapping[str, float]:
        with pytest.raises(ConfigError, match="trains there; wait for it, or end it"), one.held(0.0):
            raise AssertionError("the folder is this pilot's")
        raise OverflowError("far enough")

    with pytest.raises(OverflowError):
        settled(config, referenced, train)
    with one.held(0.0):
        one.folder.mkdir(parents=True, exist_ok=True)
        (one.folder / "of one").touch()
        with pytest.raises(ConfigError, match="trains there; wait for it, or end it"):
            settled(config, referenced, train)
        assert (one.folder / "of one").exists()


def write_reference_of_letters(folder: Path) -> Path:
    """A few groups of the enumerable world, referenced by the stage."""
    write_reference(folder / "model")
    world = build_world(load_model(folder / "model"), beta=1.0, num_prompts=2)
    rng = np.random.default_rng(0)
    begin(folder / "scored")
    rewards = []
    with GroupWriter(folder / "scored") as writer:
        for split, number in (("train", 12), ("select", 4)):
            for i in range(2 * number):
                drawn = rng.choice(len(STRINGS), size=K, p=world.reference[i % 2])
                values = [float(world.rewards[i % 2, y]) for y in drawn]
                made = [
                    Completion(STRINGS[y], finished=len(STRINGS[y]) < 2, reward=value)
                    for y, value in zip(drawn, values, strict=True)
                ]
                prompt = world.prompts[i % 2]
                writer.write(split, Group(prompt_id(f"{split} {i}"), prompt, made))
                rewards += [np.array(values)] if split == "train" else []
    facts = {"ladder": build_ladder(rewards, base="reference").facts()}
    sealed = {"schema": "scored", "stage": "score", "rows": 32, "config": {}, "parents": {}}
    seal(folder / "scored", **sealed, facts=facts)  # type: ignore[arg-type]
    config = ReferenceConfig(model=str(folder / "model"), store=str(folder / "store"), threads=1)
    reference_groups(config, folder / "scored", folder / "referenced")
    return folder / "referenced"


@pytest.mark.nightly
def test_stage_train_takes_its_beta_from_a_pilot_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    referenced = write_reference_of_letters(tmp_path)
    config = TrainConfig(
        model=str(tmp_path / "model"),
        trial=TrialConfig(beta=TargetKL(kl=0.5, prompts=16)),
        checkpoint=CheckpointConfig(folder=str(tmp_path / "checkpoints")),
        groups_per_step=8,
        samples=MonitorConfig(num_prompts=0, generation=GenerationConfig(max_new_tokens=2)),
        threads=1,
    )
    train_policy(config, referenced, tmp_path / "policy", tmp_path / "training")
    facts = read_manifest(tmp_path / "training", schema="training").facts
    pilot = facts["pilot"]
    assert (facts["trial"], facts["beta"], pilot["target"]) == ("copg_kl0.5", pilot["beta"], 0.5)
    assert pilot["steps"] <= facts["steps"] == 3
    assert capsys.readouterr().err.count("pilot of trial copg_kl0.5: 2 steps") == 1
    assert not [path for path in (tmp_path / "checkpoints").rglob("*") if path.suffix == ".safetensors"]
