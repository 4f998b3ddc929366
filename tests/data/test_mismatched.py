"""Completions of other prompts beside each: of the group before it first, the last before the first."""

from pathlib import Path

from copg.data.group_files import GroupWriter
from copg.data.mismatched import NUM_NEIGHBOURS, read_beside_others
from copg.records import Completion, Group, prompt_id


def beside(folder: Path, groups: list[Group]) -> list[tuple[str, list[str]]]:
    folder.mkdir()
    with GroupWriter(folder) as writer:
        for group in groups:
            writer.write("train", group)
    return [(group.id, [each.text for each in others]) for group, others in read_beside_others(folder)]


def group(name: str, *texts: str) -> Group:
    return Group(name, name, [Completion(text) for text in texts])


def test_each_prompt_stands_beside_those_before_it_nearest_first_and_the_first_beside_the_last(
    tmp_path: Path,
) -> None:
    found = beside(tmp_path / "a", [group("p", "a", "b"), group("q", "c"), group("r", "d")])
    assert found == [("p", ["d", "c"]), ("q", ["a", "b", "d"]), ("r", ["c", "a", "b"])]
    assert beside(tmp_path / "b", [group("p", "a")]) == [("p", [])]
    assert beside(tmp_path / "c", []) == []


def test_no_more_than_some_neighbours_are_looked_at_of_files_of_several_row_groups(tmp_path: Path) -> None:
    found = beside(tmp_path / "a", [group(f"p{i}", f"t{i}") for i in range(700)])
    assert found[0][1] == [f"t{i}" for i in range(699, 699 - NUM_NEIGHBOURS, -1)]
    assert found[600][1] == [f"t{i}" for i in range(599, 599 - NUM_NEIGHBOURS, -1)]


def test_prompts_that_differ_in_white_space_alone_are_the_same_prompt(tmp_path: Path) -> None:
    first = prompt_id("red cat")
    twin = first[:16] + prompt_id("other")[:16]
    found = beside(tmp_path / "a", [group(first, "a"), group(twin, "b"), group(prompt_id("dog"), "c")])
    assert [texts for _, texts in found] == [["c"], ["c"], ["b", "a"]]
