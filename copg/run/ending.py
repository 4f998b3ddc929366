"""What a run came to: what was found, who was promoted, and how to load the policy."""

import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from copg.errors import ModelError
from copg.lm.weights import read_settings
from copg.records import Estimate
from copg.rewards.tables import form_of
from copg.run.cut_off import told_of_before
from copg.stores.model_files import ADAPTER, adapter_base

LOADING = (
    "from transformers import {loads}, AutoTokenizer",
    'model = {loads}.from_pretrained("{policy}")',
    'tokenizer = AutoTokenizer.from_pretrained("{policy}")',
)
"""Three lines of Python for a policy in a folder; an adapter loads the model it lies on."""


BEGINS, ENDS = "--- what the run came to", "--- end of what the run came to"
"""Lines around it in the log of a run's last task."""


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
        loads = _loading_class(Path(policy))
        yield from (f"  {line.format(policy=policy, loads=loads)}" for line in LOADING)
    yield f"report: {summary['report']}"
    if tracking := summary.get("tracking"):
        yield (
            f"metrics: mlflow ui --backend-store-uri {tracking}"
            if "sqlite" in tracking
            else f"metrics: {tracking}"
        )


def _loading_class(policy: Path) -> str:
    """The class of ``transformers`` that loads a policy: some that read images too are no causal kinds."""
    plain = "AutoModelForCausalLM"
    try:
        base = Path(adapter_base(policy)) if (policy / ADAPTER).is_file() else policy
        settings = read_settings(str(base)) if base.is_dir() else {}
    except ModelError:
        return plain
    if not str(settings.get("architectures")).endswith("ForConditionalGeneration']"):
        return plain
    names = import_module("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return plain if settings.get("model_type") in names else "AutoModelForMultimodalLM"


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


def failure_line(summary: dict[str, Any]) -> str:
    """Stage, trial and cause, in one line."""
    failure = summary["failure"]
    trial = f", trial {failure['trial']}" if failure["trial"] else ""
    return f"error: stage {failure['stage']}{trial}: {failure['cause']} (log: {summary['log']})"


def warning_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What the stages that ended warned of, whatever became of the run; a summary of 0.1.0 tells of none."""
    yield from (f"warning: {warning}" for warning in summary.get("warnings", []))


def show_failure(summary: dict[str, Any]) -> None:
    """Print what finished stages warned of, which may be the cause, and why the run failed, on stderr.

    That the run before was cut off stands before it.
    """
    for line in (*_warned(summary), failure_line(summary)):
        print(line, file=sys.stderr)


def show_summary(summary: dict[str, Any]) -> None:
    """Print what was found, who was promoted, and where policy and report are."""
    for line in summary_lines(summary):
        print(line)


def log_summary(summary: dict[str, Any]) -> None:
    """Print, for ``found_in_log``, what finished stages warned of and what a run that ended well came to."""
    print(BEGINS)
    for line in _warned(summary) if summary["failure"] else summary_lines(summary):
        print(line)
    print(ENDS, flush=True)


def found_in_log(log: str) -> str:
    """What ``log_summary`` printed, from the log of a run's last task; empty where it did not."""
    blocks = re.findall(rf"^{BEGINS}\n(.*?)^{ENDS}$", log, re.MULTILINE | re.DOTALL)
    return str(blocks[-1]).rstrip("\n") if blocks else ""


def summary_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """What was found, what is said of trials, who was promoted, what was warned of, where the report is."""
    yield ""
    yield f"{'':<24}{'reward':>8}{'95 % interval':>20}{'KL, nats':>10}{'95 % interval':>20}"
    yield _summary_row("reference", summary["reference"], "")
    for trial in summary["trials"]:
        note = "  promoted" if trial["promoted"] else "  diverged" if trial["diverged"] else ""
        yield _summary_row(trial["name"], trial, note)
        for mix in trial.get("mixes", []):
            yield _summary_row(f"  {mix['name']}", mix, "  promoted" if mix["promoted"] else "")
    yield ""
    for reason in summary["reasons"]:
        yield f"  {reason}"
    for trial in summary["trials"]:
        yield from (f"hint: {trial['name']}: {hint}" for hint in trial.get("hints", []))
    yield from _warned(summary)
    if summary["cached"]:
        yield f"unchanged, from the cache: {', '.join(summary['cached'])}"
    yield from ending(summary)


def _warned(summary: Mapping[str, Any]) -> Iterator[str]:
    """That the run before was cut off, and what finished stages warned of."""
    yield from filter(None, (told_of_before(summary), *warning_lines(summary)))


def _summary_row(name: str, estimates: dict[str, Any], note: str) -> str:
    reward, kl = (_estimate(estimates, quantity) for quantity in ("reward", "kl"))
    return f"{name:<24}{reward}{kl}{note}"


def _estimate(estimates: dict[str, Any], quantity: str) -> str:
    mean, low, high = (estimates[f"{quantity}{end}"] for end in ("", "_low", "_high"))
    if not all(isinstance(value, int | float) for value in (mean, low, high)):
        return f"{'-':>10}{'':>20}" if quantity == "kl" else f"{'-':>8}{'':>20}"
    width, form = 10 if quantity == "kl" else 8, _form(Estimate(mean, low, high))
    return f"{mean:>{width}{form}} {f'{low:{form}} to {high:{form}}':>19}"


def _form(estimate: Estimate) -> str:
    """Three decimals, one below the other, where these tell the interval's ends apart; else as many as do."""
    width, largest = estimate.high - estimate.low, max(abs(estimate.low), abs(estimate.high))
    return ".3f" if largest == 0 or (largest < 1e4 and width >= 0.002) else form_of(estimate)
