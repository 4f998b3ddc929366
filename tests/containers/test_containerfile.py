"""The Containerfile, by hadolint and by rules of our own; the target that no test here builds included."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "Containerfile").read_text()


def instructions(text: str) -> list[str]:
    """Instructions, comments taken out and continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [re.sub(r"\s+", " ", line).strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines()]


def stages(text: str) -> dict[str, list[str]]:
    """Instructions of each stage, its FROM first."""
    found: dict[str, list[str]] = {}
    for line in instructions(text):
        if line.startswith("FROM "):
            name = line.split(" AS ")[1]
            found[name] = []
        if found:
            found[name].append(line)
    return found


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "hadolint"), "--no-color", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})


def test_hadolint_finds_nothing() -> None:
    done = hadolint(Path(__file__).parents[2] / "Containerfile")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [("RUN apt-get install gcc", "DL3008"), ("FROM debian:latest", "DL3007"), ("USER root", "DL3002")],
)
def test_hadolint_finds_what_is_planted(tmp_path: Path, wrong: str, rule: str) -> None:
    planted = tmp_path / "Containerfile"
    planted.write_text(f"{TEXT}\n{wrong}\n")
    assert rule in hadolint(planted).stdout


def test_the_targets_are_one_image_but_for_base_and_wheels() -> None:
    found = stages(TEXT)
    assert list(found) == ["tools", "image", "cpu", "gpu"]
    assert found["tools"][0] == "FROM ${BASE} AS tools"
    assert found["image"][0] == "FROM ${BASE} AS image"
    for device in ("cpu", "gpu"):
        assert found[device] == [
            f"FROM image AS {device}",
            "ARG DEVICE=cpu",
            f'RUN test "${{DEVICE}}" = {device}',
        ]
    assert "source=build/wheels/${DEVICE},target=/wheels" in " ".join(found["image"])


def test_a_build_fetches_nothing_and_keeps_no_installer() -> None:
    for line in instructions(TEXT):
        assert not re.search(r"\b(apt|apt-get|curl|wget|git|ADD|pip install http)\b", line), line
        if "uv pip install" in line:
            assert "--no-index" in line
            assert "--no-deps" in line
    copied = [line for line in stages(TEXT)["image"] if line.startswith(("COPY", "ADD"))]
    assert copied == []  # everything comes by a mount, so neither wheels nor tools stay in a layer


def test_the_user_is_a_number_and_not_root() -> None:
    users = [line for line in instructions(TEXT) if line.startswith("USER ")]
    assert users == ["USER 65532:65532"]


def test_every_base_is_an_argument_with_a_fixed_tag() -> None:
    bases = re.findall(r"^ARG \w*BASE=(\S+)", TEXT, re.MULTILINE)
    assert bases
    assert all(re.search(r":[^:/]*\d", base) and "latest" not in base for base in bases)
