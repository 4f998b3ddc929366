"""An option that has no effect where it stands is refused: of each command, option and circumstance."""

from pathlib import Path

import pytest
from copg_pipelines.dags import DAGS
from typer.main import get_command

from copg.cli.main import app, joined
from tests.pipelines.command import Command
from tests.pipelines.kfp_server import KfpServer

HERE = "with --on local, where the tasks are processes of this machine"
CLUSTER = ("--on", "cluster")
CONNECTION = [
    ("--host", "http://x"),
    ("--namespace", "team-a"),
    ("--token-file", "token"),
    ("--ca-cert", "ca.pem"),
    ("--ui", "http://x"),
    ("--request-timeout", "1"),
    ("--patience", "1"),
]
ON_SERVER = [
    ("--image", "copg:1"),
    ("--pipeline", "mine"),
]
RUN_ON_SERVER = [
    *ON_SERVER,
    ("--version", "1"),
    ("--revision", "abc"),
    ("--service-account", "copg-runner"),
    ("--pipeline-root", "s3://bucket"),
    ("--timeout", "1"),
    ("--poll", "1"),
    ("--no-wait",),
]
WAITING = [("--timeout", "1"), ("--poll", "1")]
MADE = [("--set", "train.epochs=2"), ("--run-dir", "/runs/x"), ("--image", "copg:1"), ("--revision", "abc")]
TABLE = [
    *(("run align -r demo.yaml", option, HERE) for option in (*RUN_ON_SERVER, *CONNECTION)),
    *(
        ("run align -r demo.yaml --on local", option, HERE)
        for option in (("--image", "x"), ("--host", "http://x"))
    ),
    *(
        (f"run align -r demo.yaml{on}", option, "without --only")
        for on in ("", " --on cluster")
        for option in (("--from", "a"), ("--trial", "copg_0.05"))
    ),
    *(
        ("run align -r demo.yaml --on cluster --only score", option, "with --only, which makes no version")
        for option in (("--version", "1"), ("--revision", "abc"))
    ),
    (
        "run align -r demo.yaml --only score",
        ("--webhook", "http://x"),
        "with --only on this machine: the command says itself how it went",
    ),
    *(
        (f"{command} --version 1", option, "with --version, whose DAG is made already")
        for command in ("run align --on cluster", "schedule align --cron @daily")
        for option in MADE
    ),
    *(
        (f"{command} --no-wait", option, "with --no-wait, which does not wait")
        for command in ("run align --on cluster --version 1", "resume 1")
        for option in (*WAITING, ("--webhook", "http://x"))
    ),
    *(
        ("resume --run-dir runs/x", option, "with --run-dir: that run is resumed on this machine")
        for option in (*WAITING, ("--no-wait",), *CONNECTION)
    ),
    *(("status align", option, "without --follow") for option in WAITING),
    ("status align 1", ("--pipeline", "mine"), "with the id of a run"),
    ("logs 1", ("--attempt", "2"), "without a task"),
    *((f"{command} align --name x", ("--all",), "with --name") for command in ("unschedule", "rollback")),
    *(("explain-cache align -r demo.yaml", option, HERE) for option in (*ON_SERVER, *CONNECTION)),
    *(
        ("doctor --no-cluster", option, "with --no-cluster")
        for option in (
            ("-r", "demo.yaml"),
            ("--image", "x"),
            ("--kube-context", "x"),
            ("--kfp-namespace", "x"),
        )
    ),
    *(
        (words, ("--run-dir", "runs/x"), "without --recipe: say with --set what it is")
        for words in (
            "score --groups {folder} --scored {folder}/s",
            "reference --scored {folder} --referenced {folder}/r",
            "train --referenced {folder} --policy {folder}/p --training {folder}/t",
            "promote --groups {folder} --reference {folder} --evaluation {folder} --registration {folder}/r",
        )
    ),
    (
        "train --referenced {folder} --policy {folder}/p --training {folder}/t",
        ("--trial", "ipo_1"),
        "without --recipe: say with --set what it is",
    ),
]


@pytest.mark.parametrize(
    ("words", "option", "why"), TABLE, ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_an_option_without_effect_is_refused(
    command: Command, server: KfpServer, tmp_path: Path, words: str, option: tuple[str, ...], why: str
) -> None:
    typed = [part.replace("demo.yaml", str(command.recipe)) for part in words.format(folder=tmp_path).split()]
    refused = command(
        *typed, *(part.replace("demo.yaml", str(command.recipe)) for part in option), host=False
    )
    assert refused.code == 1
    name = "--recipe" if option[0] == "-r" else option[0]
    assert refused.why == f"error: {name} has no effect {why}; leave it out"
    assert server.asked == []


def test_every_option_of_every_command_that_can_be_without_effect_is_in_the_table() -> None:
    group = get_command(app)
    found, listed = set(), set()
    for name, entry in joined().items():
        spellings = {each.name: each.opts[0] for each in group.get_command(None, name).params}
        for refusal in getattr(entry.load(), "refusals", ()):
            found |= {(name, spellings[option], refusal.why) for option in refusal.options}
    for words, option, why in TABLE:
        listed.add((words.split()[0], "--recipe" if option[0] == "-r" else option[0], why))
    assert found <= listed


def test_a_variable_of_the_environment_is_no_request(command: Command) -> None:
    command.patch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    command.patch.setenv("COPG_WEBHOOK_URL", "http://127.0.0.1:9")
    for words in (("run", "align"), ("explain-cache", "align", "-r", str(command.recipe))):
        refused = command(*words, host=False)
        assert "has no effect" not in refused.why


def test_an_unknown_dag_is_answered_with_those_there_are(command: Command, server: KfpServer) -> None:
    for words in (
        "run dpo -r r.yaml",
        "compile dpo -r r.yaml -o o.yaml",
        "create dpo -r r.yaml",
        "versions dpo",
        "status dpo",
        "schedule dpo --cron @daily",
        "unschedule dpo",
        "rollback dpo",
        "explain-cache dpo -r r.yaml",
    ):
        refused = command(*words.split(), host=False)
        assert refused.why == f"error: dag='dpo' is unknown; use one of {list(DAGS)}"


def test_the_directory_of_the_runs_is_one_that_the_place_can_reach(command: Command) -> None:
    words = ("run", "align", "-r", str(command.recipe), "--run-dir")
    assert "the directory of the runs is a folder" in command(*words, "s3://bucket/x", host=False).why
    there = command.with_recipe("create", "align", "--run-dir", "runs/x")
    assert there.why == "error: run_dir='runs/x': as the tasks see it, it starts with /"


def test_a_run_is_resumed_here_or_there(command: Command, tmp_path: Path) -> None:
    for words in ((), ("1", "--run-dir", "x")):
        refused = command("resume", *words, host=False)
        assert (
            "give either the id of a run on a server, or the --run-dir of one on this machine" in refused.why
        )
