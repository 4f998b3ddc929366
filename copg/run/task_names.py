"""How tasks are called, and the digest of all that one depends on."""

from collections.abc import Mapping
from typing import Any

from copg.digests import json_digest

RENEWAL = "renewal"
"""Of a plan or a trial that is to be worked though a record, or a cache, could answer for it."""
ADDED = (RENEWAL, "code")
"""What ``resolve`` adds to a trial."""


def subject_name(subject: Mapping[str, Any]) -> str:
    """Of a trial or baseline: its ``name``, else method and beta, ``copg_0.05`` or ``copg_kl1``."""
    if subject.get("name"):
        return str(subject["name"])
    beta = subject.get("beta")
    if beta is None:
        return trial_method(subject)
    told = f"kl{float(beta['kl']):g}" if isinstance(beta, Mapping) else f"{float(beta):g}"
    return f"{trial_method(subject)}_{told}"


def trial_method(trial: Mapping[str, Any]) -> str:
    """The method of a trial, written or not."""
    return str(trial.get("method", "copg"))


def as_written(trial: Mapping[str, Any]) -> dict[str, Any]:
    """A trial without what ``resolve`` added to it."""
    return {name: value for name, value in trial.items() if name not in ADDED}


def task_name(stage: str, subject: Mapping[str, Any] | None) -> str:
    """``validate``, ``train-copg_0.05``, ``evaluate-reference``."""
    return stage if subject is None else f"{stage}-{subject_name(subject)}"


def task_key(key: str, subject: Mapping[str, Any] | None) -> str:
    """Digest of a task: of what its stage depends on, and of the trial it serves."""
    return key if subject is None else json_digest({"key": key, "subject": dict(subject)})
