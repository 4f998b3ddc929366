"""The page of data docs; what is checked is in test_suite.py."""

import numpy as np

from copg.data.checks import Check
from copg.data.docs import Table, write_docs
from copg.data.suite import Suite

HOSTILE = "<script>{{ 7 * 7 }}</script>{% raw %}\x07'\""
SHOWN = "&lt;script&gt;{{ 7 * 7 }}&lt;/script&gt;{% raw %}\u2407&#39;&#34;"


def test_texts_are_taken_literally_and_great_expectations_has_its_section(tmp_path) -> None:
    suite = Suite("rows", [Check("bad_kind", HOSTILE, "kind", forbidden="bad")])
    suite.run({"kind": np.array(["good", "bad"], object)})
    tables = [Table(HOSTILE, [HOSTILE, HOSTILE], [[HOSTILE, HOSTILE]])]
    path = write_docs(tmp_path, HOSTILE, {HOSTILE: 2.0}, [HOSTILE], [suite], lead=HOSTILE, tables=tables)
    page = path.read_text()
    # title, heading, lead, name of a number, example, five in the table, the check
    assert page.count(SHOWN) == 2 + 1 + 1 + 1 + 5 + 1
    assert "<script" not in page
    assert "49" not in page
    assert '<div id="section-1"' in page
    assert '<i class="fas fa-times text-danger' in page  # its own markup is no text
