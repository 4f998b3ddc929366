"""Every causal kind of transformers as docs/models.md has it: exact in its form, or refused with a reason."""

from pathlib import Path

import pytest
from transformers.utils import logging

from copg.lm.anatomy import read_anatomy
from copg.lm.load import load_config
from copg.lm.tokenizer import read_limits
from tests import kinds, models_table

FORMS = models_table.read_forms()
MOST_REFUSED = 8


def test_the_table_has_every_kind_and_few_are_refused() -> None:
    assert sorted(FORMS) == kinds.KINDS
    assert "not examined" not in models_table.DOCUMENT.read_text()
    assert sum(not form for form in FORMS.values()) <= MOST_REFUSED


def check(kind: str, folder: Path, *, train: bool) -> None:
    logging.set_verbosity_error()
    found = models_table.examine(kind, folder, train=train)
    assert found.form == FORMS[kind], found.reason
    assert found.difference <= models_table.TOLERANCE
    assert bool(found.form) or found.reason
    if (folder / "config.json").is_file():  # the file alone says what the configuration says
        assert read_limits(str(folder)).context == read_anatomy(load_config(folder)).context


@pytest.mark.parametrize("kind", kinds.KINDS[::4])
def test_a_kind_is_exact_in_the_form_that_the_table_has(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, train=False)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_kind_takes_a_step_of_all_weights_and_of_an_adapter(kind: str, tmp_path: Path) -> None:
    check(kind, tmp_path, train=True)
