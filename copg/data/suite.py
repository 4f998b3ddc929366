"""Checks decided by Great Expectations, one batch of derived columns at a time; the counts are added up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from copg.data.checks import Check

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

MAX_EXAMPLES = 20


@dataclass(slots=True)
class Tally:
    """What all batches so far gave for one check."""

    rows: int = 0
    missing: int = 0
    """Rows without a value, since an earlier check had already refused them."""
    unexpected: int = 0
    examples: list[Any] = field(default_factory=list)


class Suite:
    """Checks as a Great Expectations suite, in memory and without analytics."""

    def __init__(self, name: str, checks: Iterable[Check]) -> None:
        self.name = name
        self.checks = list(checks)
        self.tallies = {check.reason: Tally() for check in self.checks}
        """By the reasons of the checks."""
        self._suite, self._batches, self._expectations = _build(name, self.checks)

    def run(self, derived: Mapping[str, np.ndarray]) -> dict[int, Check]:
        """The rows to reject, by position, with the first rejecting check that each of them breaks.

        Args:
            derived: columns by name. A row without a value (NaN) passes the checks of that column, as
                always in Great Expectations: what may be NaN in the records is counted, not given.
        """
        import pandas as pd

        batch = self._batches.get_batch({"dataframe": pd.DataFrame(dict(derived))})
        results = batch.validate(self._suite, result_format="COMPLETE").results
        outcomes = {result.expectation_config.meta["reason"]: result for result in results}
        rejected: dict[int, Check] = {}
        for check in self.checks:
            outcome, tally = outcomes[check.reason], self.tallies[check.reason]
            found = outcome.result
            if "element_count" not in found:  # Great Expectations turns its own failures into results
                raise RuntimeError(f"check {check.reason} could not run: {outcome.exception_info}")
            tally.rows += found["element_count"]
            tally.missing += found["missing_count"]
            tally.unexpected += found["unexpected_count"]
            tally.examples += found["partial_unexpected_list"][: MAX_EXAMPLES - len(tally.examples)]
            if check.rejects:
                for row in found.get("unexpected_index_list") or ():
                    rejected.setdefault(row, check)
        return rejected

    def facts(self) -> list[dict[str, Any]]:
        """What was checked and found, as plain values."""
        return [
            {"of": self.name, "expected": c.says, "reason": c.reason, "rejects": c.rejects}
            | {"rows": t.rows, "unexpected": t.unexpected}
            for c, t in zip(self.checks, self.tallies.values(), strict=True)
        ]

    def result(self) -> "ExpectationSuiteValidationResult":
        """Over all batches, what Great Expectations would give for one."""
        from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult

        results = [
            ExpectationValidationResult(
                success=tally.unexpected == 0,
                expectation_config=expectation.configuration,
                result={
                    "element_count": tally.rows,
                    "missing_count": tally.missing,
                    "missing_percent": 100 * tally.missing / max(tally.rows, 1),
                    "unexpected_count": tally.unexpected,
                    "unexpected_percent": 100 * tally.unexpected / max(tally.rows - tally.missing, 1),
                    "partial_unexpected_list": tally.examples,
                },
            )
            for expectation, tally in zip(self._expectations, self.tallies.values(), strict=True)
        ]
        good = sum(result.success for result in results)
        return ExpectationSuiteValidationResult(
            success=good == len(results),
            results=results,
            suite_name=self.name,
            statistics={
                "evaluated_expectations": len(results),
                "successful_expectations": good,
                "unsuccessful_expectations": len(results) - good,
                "success_percent": 100 * good / len(results),
            },
            meta={},
        )


def _build(name: str, checks: list[Check]) -> tuple[Any, Any, list[Any]]:
    """A Great Expectations suite, the definition of the batches it will see, and its expectations."""
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )
    expectations = []
    for check in checks:
        options = {
            "column": check.column,
            "severity": "critical" if check.rejects else "warning",
            "meta": {"notes": f"{check.says[0].upper()}{check.says[1:]}.", "reason": check.reason},
        }
        if check.forbidden is not None:
            expectations.append(gxe.ExpectColumnValuesToNotBeInSet(value_set=[check.forbidden], **options))
        else:
            limits = {"min_value": check.minimum, "max_value": check.maximum}
            expectations.append(gxe.ExpectColumnValuesToBeBetween(**limits, **options))
    suite = gx.ExpectationSuite(name, expectations=expectations)
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    return suite, asset.add_batch_definition_whole_dataframe(name), expectations
