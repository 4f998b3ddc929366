"""What a run on this machine came to: who was promoted, where the policy lies, and how to load it."""

from collections.abc import Iterator, Mapping
from typing import Any

LOADING = (
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    'model = AutoModelForCausalLM.from_pretrained("{policy}")',
    'tokenizer = AutoTokenizer.from_pretrained("{policy}")',
)
"""Three lines of Python for a policy in a folder; an adapter loads the model it lies on."""


def ending(summary: Mapping[str, Any]) -> Iterator[str]:
    """Lines for the terminal.

    Args:
        summary: contents of ``summary.json``.
    """
    yield _outcome(summary)
    policy = summary.get("policy")
    if policy:
        yield f"policy: {policy}"
        if "://" in policy:
            yield "  in an object store: copy it to a folder first, then load it from there"
            policy = None
    if policy:
        yield from (f"  {line.format(policy=policy)}" for line in LOADING)
    yield f"report: {summary['report']}"
    if tracking := summary.get("tracking"):
        yield (
            f"metrics: mlflow ui --backend-store-uri {tracking}"
            if "sqlite" in tracking
            else f"metrics: {tracking}"
        )


def _outcome(summary: Mapping[str, Any]) -> str:
    best, version = summary.get("best"), summary.get("version")
    if not best:
        return "promoted: nobody; no trial can be"
    name = f"version {version} of {summary.get('model')}"
    if summary["promoted"]:
        return f"promoted: {best}, {name}, is champion now"
    champion = (summary.get("champion") or {}).get("version")
    stays = f"version {champion} stays champion" if champion else "there is no champion yet"
    return f"promoted: nobody; {best}, {name}, is best, and {stays}"
