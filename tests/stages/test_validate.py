"""The validate stage: what comes out of records, what is refused, and that nothing is lost on the way."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from copg.artifacts import begin, read_manifest
from copg.config import parse_config
from copg.data.bounds import BOUNDS, Bounds
from copg.data.group_files import read_groups
from copg.errors import ConfigError, RecordError
from copg.records import SPLITS, Group, assign_split, prompt_id
from copg.stages.validate import ValidateConfig, validate_records
from tests.data.public import COUNT, SAID, hh, trl_unpaired, ultrafeedback_binarised

SCITLDR = Path(__file__).parents[3] / "shared/data/scitldr"
ALL = ValidateConfig(max_rejected_fraction=1.0)
"""Keeps going whatever is rejected."""


def write(path: Path, *rows: Any) -> str:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


def good(number: int, **other: Any) -> dict[str, Any]:
    row = {"prompt": f"prompt {number}", "completions": ["a", f"b{number}"], "rewards": [0.0, 1.0]}
    return row | other


def groups_in(directory: Path) -> dict[str, Group]:
    """By source."""
    return {group.source: group for split in SPLITS for group in read_groups(directory, split)}


def rejected_in(directory: Path) -> list[tuple[str, int, str]]:
    lines = (directory / "rejected.jsonl").read_text().split("\n")[:-1]
    return [(entry["file"], entry["line"], entry["reason"]) for entry in map(json.loads, lines)]


def test_records_become_groups_split_by_their_prompt_alone(tmp_path: Path) -> None:
    records = write(tmp_path / "a.jsonl", *(good(n, answer=n) for n in range(300)))
    out = tmp_path / "groups"
    metrics = validate_records(ValidateConfig(), records, out)
    manifest = read_manifest(out, schema="groups")
    assert manifest.rows == metrics["groups/count"] == 300
    assert manifest.facts["metrics"] == metrics
    seen = []
    for split in SPLITS:
        groups = list(read_groups(out, split))
        assert metrics[f"groups/{split}"] == len(groups) > 0
        lines = [int(group.source.partition(":")[2]) for group in groups]
        assert lines == sorted(lines)
        seen += lines
        for group in groups:
            assert group.id == prompt_id(group.prompt)
            assert assign_split(group.id, select_fraction=0.1, gate_fraction=0.1) == split
    assert sorted(seen) == list(range(1, 301))
    group = groups_in(out)["a.jsonl:8"]
    assert group.prompt == "prompt 7"
    assert [(c.text, c.reward, c.finished) for c in group.completions] == [
        ("a", 0.0, True),
        ("b7", 1.0, True),
    ]
    assert group.columns == {"answer": 7}


BAD_ROWS = [
    (b'{"prompt": "\xff"}', "invalid_utf8"),
    (b'{"prompt": "p", ', "invalid_json"),
    (b'{"prompt": "p", "completions": ["a", "b"], "rewards": [NaN, 1]}', "invalid_json"),
    (b'{"prompt": "p", "prompt": "q", "completions": ["a", "b"]}', "duplicate_key"),
    ([1, 2], "not_an_object"),
    ({"prompt": "p", "answer": "a"}, "missing_field"),
    ({"prompt": "p"}, "no_completions"),
    ({"prompt": "p", "completion": "a", "completions": ["a", "b"]}, "ambiguous_shape"),
    ({"prompt": "p", "completions": ["a", True]}, "wrong_type"),
    ({"prompt": " \u200b", "completions": ["a", "b"]}, "blank_prompt"),
    ({"prompt": "p1", "completions": []}, "no_completions"),
    ({"prompt": "p2", "completions": ["a", "b", ""]}, "blank_completion"),
    ({"prompt": "p3", "completions": ["a", "b"], "rewards": [1.0]}, "reward_count"),
    ({"prompt": "p4", "completions": ["a", "b"], "rewards": [1.0, None]}, "reward_count"),
    (b'{"prompt": "p5", "completions": ["a", "b"], "rewards": [1e999, 0]}', "nonfinite_reward"),
    ({"prompt": "x" * 101, "completions": ["a", "b"]}, "prompt_too_long"),
    ({"prompt": "p6", "completions": ["a", "b" * 51]}, "completion_too_long"),
    ({"prompt": "p7", "completions": ["a", "a"]}, "fewer_than_two_distinct_completions"),
]


def test_each_bad_record_is_rejected_with_file_line_and_reason(tmp_path: Path) -> None:
    rows = [row for bad, _ in BAD_ROWS for row in (good(1000), bad)]
    rows = [good(n) if n % 2 == 0 else row for n, row in enumerate(rows)]
    records = write(tmp_path / "a.jsonl", *rows)
    config = ValidateConfig(max_rejected_fraction=0.5, max_prompt_chars=100, max_completion_chars=50)
    metrics = validate_records(config, records, tmp_path / "groups")
    expected = [("a.jsonl", 2 * n + 2, reason) for n, (_, reason) in enumerate(BAD_ROWS)]
    assert rejected_in(tmp_path / "groups") == expected
    assert metrics["records/read"] == 2 * len(BAD_ROWS)
    assert metrics["records/rejected"] == metrics["groups/count"] == len(BAD_ROWS)
    for reason in {reason for _, reason in BAD_ROWS}:
        assert metrics[f"rejected/{reason}"] == sum(reason == other for _, other in BAD_ROWS)


def test_a_rejection_says_what_is_wrong_and_keeps_the_record(tmp_path: Path) -> None:
    records = write(
        tmp_path / "a.jsonl",
        good(1),
        {"prompt": "é", "completions": ["a", "b"], "rewards": [1.0, 2.0, None]},
        b'{"prompt": "p"} trailing',
    )
    validate_records(ALL, records, tmp_path / "groups")
    first, second = map(json.loads, (tmp_path / "groups/rejected.jsonl").read_text().split("\n")[:-1])
    assert first["detail"] == "3 rewards for 2 completions, 1 of them null"
    assert json.loads(first["record"]) == {
        "prompt": "é",
        "completions": ["a", "b"],
        "rewards": [1.0, 2.0, None],
    }
    assert second["detail"] == "Extra data at character 17"
    assert second["record"] == '{"prompt": "p"} trailing'


def test_too_many_rejects_fail_in_one_line_and_leave_their_list(tmp_path: Path) -> None:
    records = write(
        tmp_path / "a.jsonl", good(1), good(2), {"prompt": "p"}, {"prompt": " ", "completions": ["a", "b"]}
    )
    out = tmp_path / "groups"
    with pytest.raises(RecordError) as caught:
        validate_records(ValidateConfig(max_rejected_fraction=0.25), records, out)
    message = str(caught.value)
    assert "\n" not in message
    assert "2 of 4 records are rejected, more than max_rejected_fraction=0.25 allows" in message
    assert "1 no_completions, 1 blank_prompt" in message
    assert "a.jsonl:3 no_completions" in message
    assert str(out / "rejected.jsonl") in message
    assert len(rejected_in(out)) == 2
    assert (out / "docs/index.html").is_file()
    assert not (out / "manifest.json").exists()
    # the two are as frequent: the first of them has its way out told
    assert message.endswith("that are missing: add sample: {completions: 4} to the recipe")
    # a second attempt may take the place of the first
    assert validate_records(ValidateConfig(max_rejected_fraction=0.5), records, out)["groups/count"] == 2


def test_nothing_left_or_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no records"):
        validate_records(ALL, write(tmp_path / "a.jsonl", b"", b"  "), tmp_path / "1")
    with pytest.raises(RecordError, match="nothing is left"):
        validate_records(ALL, write(tmp_path / "a.jsonl", {"prompt": 1}), tmp_path / "2")
    with pytest.raises(RecordError, match="no such file or folder"):
        validate_records(ALL, str(tmp_path / "b.jsonl"), tmp_path / "3")


def test_records_of_one_prompt_are_pooled_where_it_first_stood(tmp_path: Path) -> None:
    records = write(
        tmp_path / "a.jsonl",
        {"id": "x", "prompt": "one", "completions": ["a", "b"], "rewards": [0.0, 1.0]},
        good(2),
        {"id": "y", "prompt": "one", "completions": ["b", "c"], "rewards": [0.5, 2.0]},
    )
    metrics = validate_records(ALL, records, tmp_path / "groups")
    groups = groups_in(tmp_path / "groups")
    assert sorted(groups) == ["a.jsonl:1", "a.jsonl:2"]
    one = groups["a.jsonl:1"]
    assert one.prompt == "one"
    assert one.columns == {"id": "x"}
    # b stood there with 1 and with .5
    assert [(c.text, c.reward) for c in one.completions] == [("a", 0.0), ("b", 0.75), ("c", 2.0)]
    # c came with another id, and keeps it
    assert [one.columns_of(c) for c in one.completions] == [{"id": "x"}, {"id": "x"}, {"id": "y"}]
    assert metrics["records/merged"] == metrics["records/differing_columns"] == 1
    assert metrics["completions/duplicate"] == metrics["completions/conflicting"] == 1


def test_prompts_that_differ_in_white_space_or_unicode_form_are_apart_on_one_side(tmp_path: Path) -> None:
    def pair(prompt: str, number: int) -> dict[str, Any]:
        return good(number, prompt=prompt, completions=[f"a{number}", f"b{number}"])

    # indentation is meaning; the same letter in two forms; two spaces
    forms = [f"{n}: if x:\n    return\nelse:\n    caf\u00e9" for n in range(40)]
    others = [form.replace("\n    ", "\n") for form in forms]
    again = [form.replace("\u00e9", "e\u0301") for form in forms]
    rows = [pair(p, n) for n, p in enumerate([*forms, *others, *again, *forms])]
    metrics = validate_records(ALL, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups")
    # 160 records: each form and its two others are groups, and the last 40 join the first 40
    assert (metrics["groups/count"], metrics["records/merged"], metrics["groups/other_forms"]) == (
        120,
        40,
        80,
    )
    split_of = {
        group.prompt: (split, group) for split in SPLITS for group in read_groups(tmp_path / "groups", split)
    }
    assert {split for split, _ in split_of.values()} == set(SPLITS)
    assert len({group.id for _, group in split_of.values()}) == 120
    for n, (form, other, third) in enumerate(zip(forms, others, again, strict=True)):
        here, group = split_of[form]
        assert group.id == prompt_id(form)  # as if the others were not there
        assert assign_split(group.id, select_fraction=0.1, gate_fraction=0.1) == here
        assert split_of[other][0] == split_of[third][0] == here
        assert [c.text for c in group.completions] == [f"a{n}", f"b{n}", f"a{n + 120}", f"b{n + 120}"]
        assert [c.text for c in split_of[other][1].completions] == [f"a{n + 40}", f"b{n + 40}"]


def test_how_records_were_read_is_told_in_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for make in (hh, trl_unpaired, ultrafeedback_binarised):
        write(tmp_path / "in" / f"{make.__name__}.jsonl", *(make(n)[0] for n in range(COUNT)))
    metrics = validate_records(ALL, str(tmp_path / "in"), tmp_path / "groups")
    told = [
        f"read as: {SAID[hh]}, 20 records",
        "read as: one completion a record, 'label' as a reward of 1 or 0, 20 records",
        "read as: pairs with their prompt, 20 records",
        "'score_chosen', 'score_rejected' look like rewards and are not used; to use it: "
        "columns: {chosen_reward: score_chosen, rejected_reward: score_rejected} (20 records)",
        "100 of 100 completions have no 'finished': they count as not cut off",
    ]
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line in told] == told
    assert read_manifest(tmp_path / "groups", schema="groups").facts["told"] == told
    assert "pairs of whole transcripts" in (tmp_path / "groups/docs/index.html").read_text()
    # a thumb alone makes no group
    assert metrics["groups/count"] == 2 * COUNT
    assert metrics["rejected/fewer_than_two_distinct_completions"] == COUNT


def test_records_of_one_cluster_are_on_one_side(tmp_path: Path) -> None:
    # ten prompts a document; the prompt of document 39 that stands in document 38 too ties the two
    rows = [good(n, doc={"id": n // 10}) for n in range(400)]
    rows.append(good(395, doc={"id": 38}, completions=["c", "d"]))
    rows += [good(n) for n in range(400, 500)]  # of no document
    config = ValidateConfig(columns={"cluster": "doc.id"})
    validate_records(config, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups")
    sides: dict[int, set[str]] = {}
    for split in SPLITS:
        for group in read_groups(tmp_path / "groups", split):
            if "doc" in group.columns:
                sides.setdefault(group.columns["doc"]["id"], set()).add(split)
            else:
                assert assign_split(group.id, select_fraction=0.1, gate_fraction=0.1) == split
    assert sorted(sides) == list(range(40))
    assert all(len(found) == 1 for found in sides.values())
    assert sides[38] == sides[39]
    assert {split for found in sides.values() for split in found} == set(SPLITS)


def test_one_row_a_completion_makes_the_same_groups_as_one_row_a_prompt(tmp_path: Path) -> None:
    rows = [good(n, completions=["a", "b", "c"], rewards=[0.0, n, 2.0]) for n in range(20)]
    singles = [
        {"prompt": row["prompt"], "completion": text, "reward": reward}
        for k in range(3)
        for row in rows
        for text, reward in [(row["completions"][k], row["rewards"][k])]
    ]
    validate_records(ALL, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups_a")
    metrics = validate_records(ALL, write(tmp_path / "b.jsonl", *singles), tmp_path / "groups_b")
    assert metrics["records/merged"] == 40
    for split in SPLITS:
        whole, pooled = (list(read_groups(tmp_path / f"groups_{name}", split)) for name in "ab")
        assert [g.completions for g in whole] == [g.completions for g in pooled]
        assert [g.prompt for g in whole] == [g.prompt for g in pooled]


def test_a_record_without_the_rewards_that_its_prompts_others_have_is_rejected(tmp_path: Path) -> None:
    records = write(
        tmp_path / "a.jsonl",
        {"prompt": "p", "completion": "a"},
        {"prompt": "p", "completion": "b", "reward": 1},
        {"prompt": "p", "completion": "c", "reward": 0},
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "completion": "b"},
    )
    metrics = validate_records(ALL, records, tmp_path / "groups")
    assert rejected_in(tmp_path / "groups") == [("a.jsonl", 1, "missing_reward")]
    groups = groups_in(tmp_path / "groups")
    assert {source: [c.reward for c in g.completions] for source, g in groups.items()} == {
        "a.jsonl:2": [1.0, 0.0],
        "a.jsonl:4": [None, None],
    }
    assert metrics["groups/unrewarded"] == 1


def test_all_records_of_a_prompt_with_one_completion_are_rejected(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "completion": "a", "reward": 1},
        good(1),
        {"prompt": "p", "completion": "a", "reward": 2},
    ]
    metrics = validate_records(ALL, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups")
    reason = "fewer_than_two_distinct_completions"
    assert rejected_in(tmp_path / "groups") == [("a.jsonl", 1, reason), ("a.jsonl", 3, reason)]
    assert metrics["records/rejected"] == 2
    # what was rejected counts nowhere else
    assert (
        metrics["records/merged"]
        == metrics["completions/duplicate"]
        == metrics["completions/conflicting"]
        == 0
    )


def test_groups_stay_in_their_splits_and_order_when_others_are_rejected(tmp_path: Path) -> None:
    rows = [good(n, **({"completions": ["a", "a"]} if n % 3 == 0 else {})) for n in range(300)]
    metrics = validate_records(ALL, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups")
    assert metrics["groups/count"] == 200
    assert [line for _, line, _ in rejected_in(tmp_path / "groups")] == list(range(1, 301, 3))
    for split in SPLITS:
        groups = list(read_groups(tmp_path / "groups", split))
        assert metrics[f"groups/{split}"] == len(groups)
        numbers = [int(group.source.partition(":")[2]) - 1 for group in groups]
        assert numbers == [
            n
            for n in range(300)
            if n % 3
            and assign_split(prompt_id(f"prompt {n}"), select_fraction=0.1, gate_fraction=0.1) == split
        ]


def test_tied_groups_are_kept_and_counted(tmp_path: Path) -> None:
    rows = [good(1), good(2, rewards=[0.5, 0.5]), good(3, rewards=[0.0, 2.0])]
    metrics = validate_records(ALL, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups")
    assert metrics["groups/count"] == 3
    assert metrics["groups/tied"] == 1
    assert metrics["reward/spread"] == pytest.approx((0.5 + 0.0 + 1.0) / 3)


def test_control_characters_and_lengths_are_reported(tmp_path: Path) -> None:
    rows = [good(1, prompt="12345678"), good(2, prompt="1234", completions=["\x1b[0m", "abcdefgh"])]
    metrics = validate_records(ALL, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups")
    assert metrics["records/control_characters"] == 1
    assert metrics["prompt_chars/mean"] == 6
    assert metrics["prompt_chars/max"] == 8
    # a, b1, four characters with the escape, abcdefgh
    assert metrics["completion_chars/mean"] == (1 + 2 + 4 + 8) / 4
    assert metrics["completion_chars/max"] == 8


def test_prompts_that_nearly_leak_are_reported(tmp_path: Path) -> None:
    def split(prompt: str) -> str:
        return assign_split(prompt_id(prompt), select_fraction=0.1, gate_fraction=0.1)

    # the first spelling of a number that falls into another split than its plain form
    prompts = next(p for n in range(1000) if split((p := (f"Is {n} odd?", f"is {n} odd"))[0]) != split(p[1]))
    records = write(tmp_path / "a.jsonl", *(good(1, prompt=prompt) for prompt in prompts), good(2))
    assert validate_records(ALL, records, tmp_path / "groups")["prompts/near_leaked"] == 1


ROWS = [good(n, rewards=[0.0, 0.5 * n]) for n in range(1, 41)]


def make_jsonl(folder: Path) -> str:
    return write(folder / "a.jsonl", *ROWS)


def make_gzip(folder: Path) -> str:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(Path(make_jsonl(folder)).read_bytes()))
    return str(folder / "a.jsonl.gz")


def make_zstd(folder: Path) -> str:
    (folder / "a.jsonl.zst").write_bytes(zstandard.compress(Path(make_jsonl(folder)).read_bytes()))
    return str(folder / "a.jsonl.zst")


def make_parquet(folder: Path) -> str:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet")
    return str(folder / "a.parquet")


def make_csv_of_lists(folder: Path) -> str:
    pa.csv = __import__("pyarrow.csv").csv
    columns = {
        name: [row[name] if name == "prompt" else json.dumps(row[name]) for row in ROWS] for name in ROWS[0]
    }
    pa.csv.write_csv(pa.table(columns), folder / "a.csv")
    return str(folder / "a.csv")


def make_csv_of_completions(folder: Path) -> str:
    pa.csv = __import__("pyarrow.csv").csv
    rows = [
        {"prompt": row["prompt"], "completion": text, "reward": reward}
        for row in ROWS
        for text, reward in zip(row["completions"], row["rewards"], strict=True)
    ]
    pa.csv.write_csv(pa.Table.from_pylist(rows), folder / "a.csv")
    return str(folder / "a.csv")


def make_data_set(folder: Path) -> str:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(folder / "saved")
    return str(folder / "saved")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Group]]:
    """Groups of the plain lines, by split."""
    folder = tmp_path_factory.mktemp("plain")
    validate_records(ALL, make_jsonl(folder), folder / "groups")
    return {split: list(read_groups(folder / "groups", split)) for split in SPLITS}


@pytest.mark.parametrize(
    "make",
    [make_gzip, make_zstd, make_parquet, make_csv_of_lists, make_csv_of_completions, make_data_set],
    ids=lambda make: make.__name__.removeprefix("make_"),
)
def test_every_format_gives_the_groups_of_plain_lines(
    tmp_path: Path, plain: dict[str, list[Group]], make: Any
) -> None:
    metrics = validate_records(ALL, make(tmp_path), tmp_path / "found")
    assert metrics["records/rejected"] == 0
    for split in SPLITS:
        found = [(g.id, g.prompt, g.completions, g.columns) for g in read_groups(tmp_path / "found", split)]
        assert found == [(g.id, g.prompt, g.completions, g.columns) for g in plain[split]]


def test_a_folder_is_read_whole_and_sources_tell_the_file(tmp_path: Path) -> None:
    (tmp_path / "in/b").mkdir(parents=True)
    write(tmp_path / "in/b/2.jsonl", good(2), {"prompt": " ", "completions": ["a", "b"]})
    write(tmp_path / "in/1.jsonl", good(1))
    validate_records(ALL, str(tmp_path / "in"), tmp_path / "groups")
    assert sorted(groups_in(tmp_path / "groups")) == ["1.jsonl:1", "b/2.jsonl:1"]
    assert rejected_in(tmp_path / "groups") == [("b/2.jsonl", 2, "blank_prompt")]


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    rows = [{"instruction": "p", "info": {"answers": ["a", "b"]}, "scores": [1, 2]}, good(1)]
    config = parse_config(
        ValidateConfig,
        {
            "columns": {"prompt": "instruction", "completions": "info.answers", "rewards": "scores"},
            "max_rejected_fraction": 0.5,
        },
        where="validate",
    )
    validate_records(config, write(tmp_path / "a.jsonl", *rows), tmp_path / "groups")
    (group,) = groups_in(tmp_path / "groups").values()
    assert (group.prompt, [c.reward for c in group.completions]) == ("p", [1.0, 2.0])
    assert rejected_in(tmp_path / "groups") == [("a.jsonl", 2, "missing_field")]


def digest(records: str, out: Path, bounds: Bounds = BOUNDS, **settings: Any) -> str:
    validate_records(ValidateConfig(max_rejected_fraction=1.0, **settings), records, out, bounds=bounds)
    return read_manifest(out, schema="groups").digest


def test_equal_records_have_equal_digests_wherever_and_however_they_are_read(tmp_path: Path) -> None:
    rows = [good(n % 90, completions=["a", f"{n}"], rewards=[0.0, n]) for n in range(200)]
    rows[50] = {"prompt": "", "completions": ["a", "b"]}
    rows[60] = {"prompt": 3}
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    first = digest(write(tmp_path / "here/a.jsonl", *rows), tmp_path / "1")
    elsewhere = write(tmp_path / "there/a.jsonl", *rows)
    assert digest(elsewhere, tmp_path / "2") == first
    # small portions, frames and buckets, and processes of their own, change nothing
    small = Bounds(bytes_worth_workers=0, rows_per_frame=64, bucket_bytes=2000)
    assert digest(elsewhere, tmp_path / "3", small, workers=2) == first
    rows[70]["rewards"][0] = 0.25
    assert digest(write(tmp_path / "there/a.jsonl", *rows), tmp_path / "4") != first


def test_more_records_move_no_prompt_to_another_split(tmp_path: Path) -> None:
    validate_records(ALL, write(tmp_path / "a.jsonl", *(good(n) for n in range(50))), tmp_path / "1")
    validate_records(ALL, write(tmp_path / "b.jsonl", *(good(n) for n in range(90, -1, -1))), tmp_path / "2")
    for split in SPLITS:
        before, after = ({g.id for g in read_groups(tmp_path / n, split)} for n in "12")
        assert before <= after


def test_only_what_belongs_there_is_left(tmp_path: Path) -> None:
    validate_records(ALL, write(tmp_path / "a.jsonl", good(1)), tmp_path / "groups")
    left = {str(p.relative_to(tmp_path / "groups")) for p in (tmp_path / "groups").rglob("*") if p.is_file()}
    parts = {f"{split}.parquet" for split in SPLITS}
    assert left == {"manifest.json", "rejected.jsonl", "docs/index.html"} | parts
    files = read_manifest(tmp_path / "groups", schema="groups").files
    assert set(files) == {"rejected.jsonl"} | parts


def test_data_docs_need_no_network(tmp_path: Path) -> None:
    rows = [good(1), {"prompt": "<script>alert(1)</script>", "completions": ["a"]}]
    validate_records(ALL, write(tmp_path / "a<b>.jsonl", *rows), tmp_path / "groups")
    page = (tmp_path / "groups/docs/index.html").read_text()
    for trace in ("http:", "https:", "//", "<script", '<link rel="stylesheet', "@import", "url("):
        assert trace not in page, trace
    assert "a&lt;b&gt;.jsonl" in page
    assert "fewer_than_two_distinct_completions" in page
    assert "Decided by Great Expectations" in page


def test_a_finished_artifact_is_not_overwritten(tmp_path: Path) -> None:
    records = write(tmp_path / "a.jsonl", good(1))
    validate_records(ALL, records, tmp_path / "groups")
    with pytest.raises(ValueError, match="is not empty"):
        begin(tmp_path / "groups")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"prompts": "x"}}, "columns has ['prompts'], which are no fields"),
        ({"select_fraction": 1.0}, "select_fraction=1.0 must be in [0, 1)"),
        ({"select_fraction": 0.6, "gate_fraction": 0.5}, "must be < 1: nothing is left to train on"),
        ({"max_rejected_fraction": 2}, "max_rejected_fraction=2.0 must be in [0, 1]"),
        ({"max_prompt_chars": 0}, "max_prompt_chars=0 must be >= 1"),
        ({"workers": -1}, "workers=-1 must be >= 0"),
        ({"read_as": "chats"}, "read_as='chats' is no shape; use one of ['alpaca', 'answers', "),
        ({"max_rejects": 1}, "validate.max_rejects is unknown"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(ValidateConfig, settings, where="validate")
    assert message in str(caught.value)


@pytest.mark.skipif(not SCITLDR.is_dir(), reason=f"the SciTLDR records are not at {SCITLDR}")
@pytest.mark.parametrize(
    ("name", "prompts", "completions", "single_line"),
    [("train", 1929, 13244, 723), ("dev", 600, 4156, 567)],
)
def test_real_records_are_counted_as_they_are_documented(
    tmp_path: Path, name: str, prompts: int, completions: int, single_line: int
) -> None:
    metrics = validate_records(ValidateConfig(), str(SCITLDR / f"{name}.jsonl"), tmp_path / "groups")
    assert metrics["records/read"] == prompts
    # in each file one prompt has one completion, and one prompt stands under two ids
    reason = "fewer_than_two_distinct_completions"
    assert rejected_in(tmp_path / "groups") == [(f"{name}.jsonl", single_line, reason)]
    assert metrics["records/merged"] == 1
    assert metrics["groups/count"] == prompts - 2
    # all completions are accounted for: kept, a duplicate of the doubled prompt, or the single one
    assert metrics["completions/count"] + metrics["completions/duplicate"] + 1 == completions
    assert metrics["groups/tied"] == 3
    assert metrics["groups/unrewarded"] == 0
    assert metrics["prompts/near_leaked"] == 0
