"""Every causal kind of transformers as docs/models.md has it: exact in its form, or refused with a reason."""

from pathlib import Path

import pytest
from transformers.utils import logging

from copg.lm.anatomy import read_anatomy
from copg.lm.load import load_config
from copg.lm.tokenizer import read_limits
from tests import kinds, models_table

if not models_table.DOCUMENT.is_file():
    pytest.skip("no docs/models.md: python -m tests.models_table writes it", allow_module_level=True)
FORMS = models_table.read_forms()
NIGHTLY = [pytest.param(kind, marks=pytest.mark.nightly) for i, kind in enumerate(kinds.KINDS) if i % 4]
MOST_REFUSED = 8


def test_the_table_has_every_kind_and_few_are_refused() -> None:
    assert sorted(FORMS) == kinds.KINDS
    assert "not examined" not in models_table.DOCUMENT.read_text()
    assert sum(not form for form in FORMS.values()) <= MOST_REFUSED


@pytest.mark.parametrize("kind", [*kinds.KINDS[::4], *NIGHTLY])
def test_a_kind_is_exact_in_the_form_that_the_table_has(kind: str, tmp_path: Path) -> None:
    logging.set_verbosity_error()
    found = models_table.examine(kind, tmp_path)
    assert found.form == FORMS[kind], found.reason
    assert found.difference <= models_table.TOLERANCE
    assert bool(found.form) or found.reason
    if (tmp_path / "config.json").is_file():  # the file alone says what the configuration says
        assert read_limits(str(tmp_path)).context == read_anatomy(load_config(tmp_path)).context
