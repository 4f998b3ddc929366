"""Mixes of a trained policy with the reference, and beyond the policy, which cost no training.

A mix has a weight w of the policy: 0 is the reference, 1 the policy. An adapter counts w times, which makes a
policy of its own. Of a policy of all weights the logits are mixed with the reference's (``copg.lm.mixing``),
which no weights hold: such a mix is measured and shown, and never registered.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from copg.artifacts import write_json
from copg.errors import ConfigError
from copg.evaluation.draws import mix_folder
from copg.evaluation.held_out import HeldOut, PolicySampler, generations
from copg.evaluation.measuring import Summaries, measure
from copg.lm.config import GenerationConfig
from copg.lm.generation import Policy
from copg.rewards.mixture import Mixture
from copg.stores.scaled import scale_adapter, why_not_scaled

ENGINE = "own"
"""The only one that draws from two models at once."""


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix, as it was measured."""

    weight: float
    """Of the policy."""
    policy_digest: str
    """Of the scaled adapter; empty for a mix of logits."""
    facts: Mapping[str, Any]
    """As of an evaluation, ``name`` and ``reason`` among them."""
    found: Summaries

    def about(self) -> dict[str, Any]:
        """For the facts of the evaluation that it is a part of."""
        told = {name: self.facts[name] for name in ("name", "reason")}
        return {**told, "weight": self.weight, "policy_digest": self.policy_digest}


class Mixer:
    """Draws the mixes of one policy."""

    def __init__(self, sampler: PolicySampler, policy: Path) -> None:
        self._sampler, self._path = sampler, policy
        self.unscaled = why_not_scaled(policy)
        """Why logits are mixed; empty where an adapter is scaled."""
        self._pair: tuple[Policy, Policy] | None = None

    def draw(self, prompts: Sequence[HeldOut], weight: float) -> str:
        """Fill in what the policy draws at a weight, and how far that is from the reference.

        Returns:
            Digest of the scaled adapter; empty for a mix of logits.

        Raises:
            FloatingPointError: logits or log-probabilities that are not finite.
        """
        if self.unscaled:
            if self._pair is None:
                self._pair = self._sampler.policy(self._path), self._sampler.policy(None)
            self._sampler.draw_mixed(prompts, *self._pair, weight)
            return ""
        with tempfile.TemporaryDirectory(prefix="copg-scaled-") as folder:
            made = scale_adapter(self._path, weight, Path(folder, "policy"))
            self._sampler.draw(prompts, Path(folder, "policy"))
            return made.digest


def check_engine(policy: Path, generation: GenerationConfig) -> None:
    """Refuse a mix of logits where the engine cannot draw from two models at once.

    Raises:
        ConfigError: says why they would be mixed, and what to leave out.
    """
    why = why_not_scaled(policy)
    if why and generation.engine_name != ENGINE:
        raise ConfigError(
            f"evaluate.mixes: {why}, so the logits of policy and reference are mixed, which engine "
            f"{generation.engine_name!r} does not do: leave out evaluate.mixes, or set "
            f"evaluate.generation.engine={ENGINE}"
        )


def evaluate_mixes(
    mixer: Mixer,
    weights: Sequence[float],
    prompts: Sequence[HeldOut],
    mixture: Mixture,
    facts: dict[str, Any],
    *,
    splits: Sequence[str],
    cluster: str,
    to: Path,
) -> tuple[list[Mix], list[str]]:
    """Measure the mixes of a policy on the prompts and the noise of the policy itself.

    Args:
        mixer: of the policy.
        weights: one a mix.
        prompts: what was drawn for them stays as it is.
        mixture: of the rewards.
        facts: of the policy's own evaluation.
        splits: as of that.
        cluster: as of that.
        to: folder of that, in which each mix gets one with files of the same names.

    Returns:
        The mixes, and a sentence for each heavy tail.
    """
    found, told = [], []
    for weight in weights:
        about = {**facts, "name": mix_name(facts["name"], weight)}
        fresh, digest = [prompt.undrawn for prompt in prompts], ""
        try:
            digest = mixer.draw(fresh, weight)
        except FloatingPointError as error:
            about |= {"diverged": True, "reason": str(error)}
            fresh = []
        summaries, tails = measure(mixture, about, fresh, splits=splits, cluster=cluster)
        folder = mix_folder(to, weight)
        folder.mkdir(parents=True)
        write_json(folder / "evaluation.json", summaries)
        pq.write_table(generations(fresh), folder / "generations.parquet", compression="zstd")
        found.append(Mix(weight, digest, about, summaries))
        told += tails
    return found, told


def mix_name(policy: str, weight: float) -> str:
    """Of a mix; no trial can be called so."""
    return f"{policy}@{weight:g}"
