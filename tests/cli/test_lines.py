"""What goes wrong with files is one line with what to do, and no traceback."""

import errno
import os
import sys
from pathlib import Path

import pytest
import yaml

from copg.cli.main import main
from copg.errors import disk_mistake

RECIPE = {
    "name": "x",
    "records": "records.jsonl",
    "model": "owner/model",
    "rewards": [{"name": "length", "params": {"max": 5}}],
    "trials": [{"beta": 1.0}],
}


def run(tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    command = ["copg", "run", "align", "--recipe", str(tmp_path / "recipe.yaml"), "--on", "local"]
    monkeypatch.setattr(sys, "argv", [*command, "--run-dir", root, *more])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("file", "/file: File exists; a folder is needed there"),
        ("file/below", "/file/below: Not a directory; a folder is needed there"),
        ("a" * 300, "File name too long; choose a shorter path"),
        ("loop", "links lead in a circle"),
        ("/proc/nothing", "run_dir='/proc/nothing' cannot be made: No such file or directory"),
    ],
)
def test_a_root_in_which_nothing_can_be_written_is_one_line(
    root: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert run(tmp_path, str(tmp_path / root), monkeypatch) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("override", ["trials.0.beta=.nan", "rewards.0.params.max=.inf"])
def test_a_number_that_is_none_is_one_line(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, str(tmp_path / "runs"), monkeypatch, "--set", override) == 1
    told = capsys.readouterr().err
    assert "must be a finite number" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            "none/runs.html",
            "--output=none/runs.html: there is no folder none; name a file in a folder that is there",
        ),
        ("root", "--output=root: is a folder; name a file in a folder that is there"),
    ],
)
def test_a_page_that_has_no_place_is_one_line(
    output: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root").mkdir()
    monkeypatch.setattr(sys, "argv", ["copg", "runs", "root", "--output", output])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err == f"error: {told}\n"


def test_a_store_of_no_file_system_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["copg", "store", "stats", "ss3://bucket/store"])
    with pytest.raises(SystemExit, match="1"):
        main()
    told = capsys.readouterr().err
    assert told.startswith("error: 'ss3://bucket/store': no file system is called 'ss3'; use a path, s3://, ")
    assert told.count("\n") == 1


def test_commands_alone_show_their_help_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["copg", "store"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith("Usage: copg store [OPTIONS] COMMAND")


def test_only_what_a_user_can_mend_is_told_as_a_mistake() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a")
    assert str(disk_mistake(full)).startswith("/runs/a: the disk is full; free some of it and run again")
    detail = OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device")
    assert str(disk_mistake(detail)).startswith("the disk is full")
    readonly = OSError(errno.EROFS, os.strerror(errno.EROFS), "/runs/a")
    assert str(disk_mistake(readonly)) == (
        "/runs/a: Read-only file system; choose a folder that can be written"
    )
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/records/a.jsonl")
    assert str(disk_mistake(denied)) == (
        "/records/a.jsonl: Permission denied; "
        "choose a path that this user may read, and a folder that can be written"
    )
    assert disk_mistake(OSError(errno.EBADF, "bad", "x")) is None
    assert disk_mistake(FileNotFoundError(errno.ENOENT, "gone", "x")) is None
    assert disk_mistake(ZeroDivisionError()) is None
