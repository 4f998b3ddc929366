"""Rewards by name, and what a run's rewards depend on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Any

from copg.config import parse_config
from copg.digests import code_closure, code_digest, json_digest
from copg.errors import CopgError, RewardError, nearest
from copg.rewards import REWARDS, load_reward
from copg.rewards.contract import Reward, RewardSpec
from copg.rewards.ensemble import check_ensembles
from copg.rewards.own import ANYTHING, code_of_own, describe, load_own
from copg.stores.promised import as_promised

PLUMBING = (
    *(f"copg.{ground}" for ground in ("artifacts", "config", "digests", "errors", "progress", "records")),
    "copg.rewards.contract",
    "copg.stores.promised",
)
"""What moves rewards about and decides no value: a new one must not make the old ones be paid for again."""
ENTRY_POINTS = "copg.rewards"
"""Group in which installed packages announce rewards: a name, and ``module:function``."""


def own_name(name: str) -> str:
    """``module:function`` of a reward that is not ours: written so, or an installed package's entry point.

    Raises:
        RewardError: neither.
    """
    if ":" in name:
        return name
    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        known = sorted([*REWARDS, *found])
        own = "or your own module:function"
        raise RewardError(f"reward={name!r} is unknown; use one of {known} {own}{nearest(name, known)}")
    return found[name]


def build_reward(spec: RewardSpec) -> Reward:
    """The reward a spec names; models and servers it needs are opened when it is first called.

    Raises:
        RewardError: unknown name, or a user's function that cannot be loaded.
        ConfigError: a setting is unknown or out of its range.
    """
    if spec.name not in REWARDS:
        return load_own(own_name(spec.name), spec.params)
    cls: Any = load_reward(spec.name)
    reward: Reward = parse_config(cls, spec.params, where=f"rewards.{spec.part}.params")
    return reward


def check_parts(specs: Sequence[RewardSpec]) -> None:
    """Refuse rewards that cannot be told apart, or not be summed.

    Raises:
        RewardError: two parts of one name, a condition on no part, or an ensemble that means nothing.
    """
    parts = [spec.part for spec in specs]
    for spec in specs:
        if parts.count(spec.part) > 1:
            raise RewardError(
                f"reward '{spec.part}' is there {parts.count(spec.part)} times: give each a 'label'"
            )
        if spec.only_if is not None and spec.only_if.part not in parts:
            raise RewardError(f"reward '{spec.part}': only_if.part='{spec.only_if.part}' is none of {parts}")
    check_ensembles(specs)


def code_of_reward(name: str) -> str:
    """Of one of our rewards: its file and what that imports of ours, less the plumbing."""
    return json_digest(code_closure(REWARDS[name].partition(":")[0], _decides))


def _decides(module: str) -> bool:
    return module.startswith("copg.") and module not in PLUMBING


def reward_digest(spec: RewardSpec, reward: Reward | None = None) -> str:
    """What the values of one reward depend on, besides the records: settings, source code, files read.

    The weight does not count: it changes the sum, never a part.

    Args:
        spec: the reward as a recipe names it.
        reward: the same, where it is built already.

    Raises:
        RewardError: it cannot be built, or a user's ``content()`` fails.
    """
    meaning = _meaning(spec, reward)
    code = code_of_reward(spec.name) if spec.name in REWARDS else code_of_own(meaning["name"])
    return json_digest({**meaning, "code": code})


def digest_of_inputs(spec: RewardSpec, reward: Reward | None = None) -> str:
    """What one reward reads besides the records: the files that its settings name, and a user's own code.

    Empty where it reads nothing. The arguments and errors are those of ``reward_digest``.
    """
    content = _meaning(spec, reward)["content"]
    code = "" if spec.name in REWARDS else code_of_own(own_name(spec.name))
    return json_digest({"content": content, "code": code}) if content or code else ""


def check_promised(spec: RewardSpec, reward: Reward) -> None:
    """See that a reward reads what was promised when its spec was digested.

    Raises:
        RewardError: it reads something else; the message names the reward and what it reads.
    """
    if not spec.digest:
        return
    own = [] if spec.name in REWARDS else [spec.name]
    named = [str(spec.params.get(key) or key) for key in _meaning(spec, reward)["content"]]
    with as_promised(
        f"reward '{spec.part}': {', '.join([*own, *named])}",
        spec.digest,
        files=lambda: (),
        digest=lambda: digest_of_inputs(spec, reward),
        error=RewardError,
    ):
        pass


def _meaning(spec: RewardSpec, built: Reward | None = None) -> dict[str, Any]:
    """What a reward is called, its settings and the files it reads.

    Raises:
        RewardError: it cannot be built, or a user's ``content()`` fails.
    """
    reward: Any = built or build_reward(spec)
    ours = spec.name in REWARDS
    name, settings = (spec.name, asdict(reward)) if ours else (own_name(spec.name), spec.params)
    ignored = getattr(reward, "without_effect", ())
    params = {key: value for key, value in settings.items() if key not in ignored}
    try:
        content = reward.content() if hasattr(reward, "content") else {}
    except CopgError:
        raise
    except ANYTHING as error:
        raise RewardError(f"reward '{name}': content() failed: {describe(error)}") from error
    return {"name": name, "params": params, "content": content}


def digest_of_rewards(specs: Sequence[RewardSpec], rewards: Mapping[str, Reward] | None = None) -> str:
    """What the rewards of a run depend on: each reward's own digest, and how they are mixed; in any order.

    Args:
        specs: the rewards as a recipe names them.
        rewards: the same by part, where they are built already.
    """

    def digest(spec: RewardSpec) -> str:
        return reward_digest(spec, None if rewards is None else rewards[spec.part])

    return json_digest({"mixed": _mixed(specs, digest), "code": code_digest("copg.rewards.mixture")})


def digest_of_purpose(specs: Sequence[RewardSpec]) -> str:
    """What a run maximises: as ``digest_of_rewards``, but for the code of ours that computes it.

    A new version of copg is no other purpose; another line in a user's own function is one.
    """

    def meant(spec: RewardSpec) -> str:
        return json_digest(_meaning(spec)) if spec.name in REWARDS else reward_digest(spec)

    return json_digest(_mixed(specs, meant))


def _mixed(specs: Sequence[RewardSpec], digest: Callable[[RewardSpec], str]) -> dict[str, dict[str, Any]]:
    return {
        spec.part: {
            "reward": digest(spec),
            "weight": spec.weight,
            "standardise": spec.standardise,
            "clip": spec.clip,
            "only_if": asdict(spec.only_if) if spec.only_if else None,
            # nothing where there is none: a purpose stays what it was, and so does its error budget
            **({"ensemble": asdict(spec.ensemble)} if spec.ensemble else {}),
        }
        for spec in specs
    }
