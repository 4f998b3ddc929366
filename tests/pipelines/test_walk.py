"""The commands of the documents, one by one, against a server that answers as a real one did."""

import re
import shlex
from pathlib import Path

import kfp_server_api as api
import pytest
import yaml
from click.testing import CliRunner
from kfp.cli.cli import cli as kfp_command

from copg.run.recipe import load_recipe
from tests import tiny
from tests.pipelines.command import IMAGE, Command
from tests.pipelines.kfp_server import KfpServer

ROOT = Path(__file__).parent.parent.parent
QUICK = ("--poll", "0.01")
WELL = [("SUCCEEDED", {"resolve": "SUCCEEDED", "report": "SUCCEEDED"})]
ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
VERSION = r"0\.1\.0-\S+-[0-9a-f]{12}"
PAGE = r"http://127\.0\.0\.1:\d+/#/runs/details/" + ID
EFFECTS = {
    "create": (["POST pipelines", "POST pipelines/upload_version"], rf"made: {VERSION}  {ID}\n"),
    "run align -r RECIPE --on cluster": (
        ["POST pipelines/upload_version", "POST experiments", "POST runs"],  # of the image that it names
        rf"version: {VERSION}\nrun: {PAGE}\n",
    ),
    "run align --on cluster --version": (["POST runs"], rf"version: {VERSION}\nrun: {PAGE}\n"),
    "run align -r RECIPE --only": (["POST runs"], rf"run: {PAGE}\n"),
    "status": (
        [],
        rf"run {ID}  demo .* SUCCEEDED\nresolve +SUCCEEDED .*\nreport +SUCCEEDED(.*\n)+report: .*\n",
    ),
    "logs": ([], r"I1129 main\.go:67\] begins\nerror: train: no such file\n"),
    "cancel": (["POST runs/RUN:terminate"], rf"run {ID}  begun  CANCELED\ntrain +CANCELED .*\nrun: {PAGE}\n"),
    "resume": (["POST runs/RUN:retry"], rf"resumed: {PAGE}\n"),
    "schedule": (
        ["POST recurringruns"],
        rf"made: schedule demo  {ID}\nversion: {VERSION}\nnext: \S+T03:00:00\+09:00\nschedule: .*{ID}\n",
    ),
    "unschedule": (["DELETE recurringruns/RUN"], rf"removed: schedule demo  {ID}\n"),
    "versions": ([], rf"({VERSION} +2026-01-01 00:00  demo\n){{2}}"),
    "rollback": ([], r"error: pipeline 'align' has no schedule to point anywhere\n"),
    "explain-cache": ([], r"validate +reused\n(.* reused\n)+8 of 8 tasks are reused\n.*\n"),
    "doctor": (
        [],
        r"ok    server: .*\nok    clock: .*\nok    access: .*\nnote  versions: .*\ntodo  kubernetes: .*\n",
    ),
    "compile": ([], r".*/align\.yaml\n"),
    "lint": ([], r".*/align\.yaml: nothing found; weighs [\d,]+ of 1,468,006 bytes; .*\n"),
    "resources": ([], rf"{VERSION}\n"),
}
"""By the beginning of a row: what it changes on the server, and all that it prints."""
ROW = re.compile(r"^\| `([a-z-]+(?: .*?)?)` \|", re.MULTILINE)


def commands_in(document: str) -> list[list[str]]:
    """Words of each line that begins with ``copg``, without it."""
    lines = (ROOT / document).read_text().splitlines()
    found = [re.sub(r"^(\s*)(\.venv/bin/)?copg ", r"copg ", line) for line in lines]
    return [
        shlex.split(line)[1:]
        for line in found
        if line.startswith("copg ") and "..." not in line.split("--image")[0]
    ]


def filled(words: list[str], known: dict[str, str]) -> list[str]:
    return [known.get(word, word) for word in words]


def test_the_three_steps_of_the_readme(
    command: Command, tmp_path: Path, reference_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_records(tmp_path / "my.jsonl", 200, 4)
    steps = commands_in("README.md")
    assert [words[0] for words in steps] == ["validate", "init", "check", "run", "compile"]
    for words in steps:
        if words[0] in ("validate", "run"):  # whole runs are for tests of their own
            continue
        here = ["--set", f"model={reference_dir}"] if words[0] == "check" else []  # no hub is asked
        done = command(*words, *here, host=False)
        assert done.code == 0, (words, done.out, done.error)
    assert load_recipe(tmp_path / "my.yaml").records == "my.jsonl"
    assert (tmp_path / "align.yaml").is_file()
    (asked,) = re.findall(r"`copg (champion show [^`]*)`", (ROOT / "README.md").read_text())
    (run,) = (words for words in steps if words[0] == "run")
    runs = (tmp_path / run[run.index("--run-dir") + 1]).resolve()  # where the run left its registry
    assert (
        command(*asked.split(), host=False).why
        == f"error: 'my' has no champion at sqlite:///{runs}/mlflow.db"
    )


def test_the_way_to_a_scheduled_retraining(command: Command, server: KfpServer) -> None:
    (schedule,) = commands_in("docs/kubernetes.md")
    assert schedule[:2] == ["schedule", "align"]
    known = {"$IMAGE": IMAGE, "pipelines/recipes/demo.yaml": str(ROOT / "pipelines/recipes/demo.yaml")}
    server.scripts = {"": WELL}
    made = command(*filled(schedule, known))
    assert made.code == 0, made.error
    (weekly,) = server.schedules.values()
    assert weekly.trigger.cron_schedule.cron == "0 0 3 * * 1"
    same = schedule[: schedule.index("--cron")]
    assert weekly.service_account == "copg-runner"
    done = command("run", *filled(same[1:], known), "--on", "cluster", *QUICK)
    assert done.code == 0, done.error
    (run,) = server.runs.values()
    assert (run.service_account, run.pipeline_version_reference) == (
        "copg-runner",
        weekly.pipeline_version_reference,
    )
    assert re.search(rf"^report: {PAGE}", done.out, re.MULTILINE)
    assert len(server.versions) == 1  # the run and the schedule share it


def test_a_dag_for_git(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = {"my.yaml": str(command.recipe), "registry.example.com/copg@sha256:...": IMAGE}
    steps = [each for each in commands_in("manifests/README.md") if each[0] in ("compile", "resources")]
    assert [each[0] for each in steps] == ["compile", "resources"]
    for words in steps:
        done = command(*filled(words, known), host=False)
        assert done.code == 0, done.error
    assert (tmp_path / "deploy/align.yaml").is_file()


def test_every_command_of_the_client_s_table(command: Command, server: KfpServer, tmp_path: Path) -> None:
    server.scripts = {"": WELL}
    file = str(tmp_path / "align.yaml")
    rows = [row.replace("\\|", "|") for row in ROW.findall((ROOT / "docs/client.md").read_text())]
    assert len(rows) == 17
    seen = []
    for row in rows:
        whole = row.startswith("explain-cache")  # of what may be left out, the one that asks a server
        words = shlex.split(re.sub(r"\[([^]]*)\]", r"\1" if whole else "", row))
        latest = list(server.runs)[-1] if server.runs else ""
        version = next(iter(server.versions.values())).display_name if server.versions else ""
        known = {"RECIPE": str(command.recipe), "V": version, "RUN": latest, "N": "demo", "FILE": file}
        if words[0] == "run":
            words += ["--no-wait"] if "--on" in words else ["--on", "cluster", "--no-wait"]
            known |= {"STAGE": "score", "ARTIFACT": "groups=s3://bucket/groups"}
        if words[0] == "resources":
            known["FILE"], words = file, [*words[:-1], str(tmp_path / "resources.yaml")]
        if words[0] in ("cancel", "resume", "logs"):  # of a run that goes on, and of one that failed
            server.scripts = {"": [("RUNNING", {"train": "RUNNING"})]}
            latest = known["RUN"] = server.begin("align")
            if words[0] != "cancel":
                server.scripts = {"": [("FAILED", {"train": "FAILED"})]}
                command("status", "align", latest)
            if words[0] == "resume":
                words += ["--no-wait"]
        recipe = ["--image", IMAGE, "--revision", "abc"] if words[0] in ("create", "schedule") else []
        recipe = ["--image", IMAGE] if words[0] == "compile" else recipe
        before = len(server.asked)
        done = command(*filled(words, known), *recipe, host=words[0] not in ("compile", "lint", "resources"))
        expected = 1 if words[0] in ("rollback", "doctor") else 0
        assert done.code == expected, (row, done.error)
        (effect,) = (each for each in EFFECTS if f"{row} ".startswith(f"{each} "))
        sent = [each for each in server.asked[before:] if not each.startswith("GET")]
        changes, prints = EFFECTS[effect]
        assert [re.sub(ID, "RUN", each).replace("/apis/v2beta1/", "") for each in sent] == changes, row
        said = done.out + (done.error if words[0] == "rollback" else "")
        assert re.fullmatch(prints, said), (row, said)
        seen.append(effect)
    assert seen == list(EFFECTS)


def test_plain_kfp_makes_a_pipeline_and_a_run_of_a_compiled_dag(
    command: Command, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = str(tmp_path / "align.yaml")
    done = command("compile", "align", "-r", str(command.recipe), "--image", IMAGE, "-o", file, host=False)
    assert done.code == 0, done.error
    line = re.search(r"kfp (pipeline create [^`]*)`", (ROOT / "docs/client.md").read_text())
    assert line is not None
    words = filled(line[1].split(), {"align.yaml": file})

    def kfp(*words: str) -> None:
        said = CliRunner().invoke(kfp_command, ["--endpoint", server.url, *words], obj={})
        assert said.exit_code == 0, (said.output, str(said.exception), server.asked)

    kfp(*words)
    (version,) = server.versions.values()
    spec = list(yaml.safe_load_all(Path(file).read_text()))
    assert version.pipeline_spec == {"pipeline_spec": spec[0], "platform_spec": spec[1]}
    kfp("run", "create", "--experiment-name", "align", "--run-name", "first", "--package-file", file)
    (run,) = server.runs.values()
    assert run.display_name == "first"
    assert isinstance(run, api.V2beta1Run)
    assert run.pipeline_spec == version.pipeline_spec
