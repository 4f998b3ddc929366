"""Mistakes in words of commands that talk to a server: a line that names what was given and what may be."""

import pytest

from tests.pipelines.command import IMAGE, Command
from tests.pipelines.kfp_server import KfpServer

RUN = "run align --on cluster --recipe {recipe}"
ONLY = f"{RUN} --only score --from"
SCHEDULE = "schedule align --recipe {recipe} --cron"
A_URI = "on a cluster an artifact has a URI, such as s3://bucket/scored, gs:// or minio://"
A_LINE = "a line without slashes and without spaces around it"
A_ROOT = "the address of a folder in a store, such as s3://bucket/copg, gs:// or minio://"
WHERE_IT_IS = "with --tracking, which says where the registry is"
TABLE: list[tuple[str, tuple[str, ...], str]] = [
    (ONLY, ("",), f"from='': {A_URI}"),
    (ONLY, ("=s3://b/x",), "from='=s3://b/x': has no name before '='"),
    *(
        (ONLY, (given,), f"from={given!r}: {A_URI}")
        for given in (
            "groups=",
            "groups= s3://b/x",
            "https://b/x",
            "ss3://b/x",
            "file:///runs/x",
            "groups:s3://b/x",
            "groups=s3://",
            "s3://bucket",
            "s3:/b/x",
            "groups=~/x",
        )
    ),
    (ONLY, ("s3://ada:hunter2@b/x",), "--from has user info in its address"),
    (RUN, ("--timeout", "-1"), "--timeout=-1 must be a finite number >= 0, in minutes"),
    (RUN, ("--timeout", "nan"), "--timeout=nan must be a finite number >= 0, in minutes"),
    (RUN, ("--poll", "0"), "--poll=0 must be a finite number > 0, in s"),
    (RUN, ("--poll", "-1"), "--poll=-1 must be a finite number > 0, in s"),
    (RUN, ("--timeout", "x"), "Invalid value for '--timeout': "),
    (RUN, ("--timeout", "x"), "unable to parse string as a number, found 'x'"),
    (RUN, ("--request-timeout", "nan"), "--request-timeout=nan must be a finite number > 0, in s"),
    (RUN, ("--patience", "inf"), "--patience=inf must be a finite number >= 0, in s"),
    (RUN, ("--webhook", "x"), "the address of the webhook must start with http:// or https://"),
    (RUN, ("--image", "a b"), "--image='a b' must be the name of an image, such as registry/copg@sha256:..."),
    (
        RUN,
        ("--service-account", "Copg"),
        "--service-account='Copg' must be lower-case letters, digits, '-' and",
    ),
    (RUN, ("--pipeline-root", "bucket/x"), f"--pipeline-root='bucket/x' must be {A_ROOT}"),
    (RUN, ("--pipeline", "a/b"), f"--pipeline='a/b' must be {A_LINE}"),
    (RUN, ("--pipeline", " "), f"--pipeline=' ' must be {A_LINE}"),
    (RUN, ("--ui", "x"), "ui='x' must start with http:// or https://"),
    (RUN, ("--host", "http://"), "host='http://' names no machine, such as http://localhost:8888"),
    (RUN, ("--namespace", "A b"), "namespace='A b' must be lower-case letters, digits and '-'"),
    (
        RUN,
        ("--set", "tracking=s3://b/x"),
        "tracking='s3://b/x' holds files: name an MLflow server, http://HOST",
    ),
    (SCHEDULE, ("0 0 30 2 *",), "cron='0 0 30 2 *' never comes: no month that it names has such a day"),
    (SCHEDULE, ("@daily", "--name", "a\nb"), f"--name='a\\nb' must be {A_LINE}"),
    (SCHEDULE, ("@daily", "--name", " "), f"--name=' ' must be {A_LINE}"),
    ("cancel", ("",), "RUN='': name a run by its id, as copg status prints it"),
    ("logs", (" ",), "RUN=' ': name a run by its id"),
    ("cancel 1", ("--timeout", "-1"), "--timeout=-1 must be a finite number >= 0, in minutes"),
    ("status align --follow", ("--poll", "nan"), "--poll=nan must be a finite number > 0, in s"),
    (
        "champion show --name x --tracking",
        ("localhost:5000",),
        "--tracking='localhost:5000' has no scheme: did you mean 'http://localhost:5000'?",
    ),
    (
        "champion show --name x --tracking",
        ("ftp://x",),
        "--tracking='ftp://x' holds files: name an MLflow server",
    ),
    (
        "champion show --name x --tracking sqlite:///none.db",
        ("--run-dir", "y"),
        f"--run-dir has no effect {WHERE_IT_IS}; leave it out",
    ),
    (
        "champion rollback 3 --name x",
        ("--run-dir", "y"),
        "--run-dir has no effect without --recipe; leave it out",
    ),
]


@pytest.mark.parametrize(("words", "more", "why"), TABLE, ids=lambda value: repr(value)[:60])
def test_a_mistake_is_told_with_what_was_given_and_what_may_be_before_anything_is_sent(
    command: Command, server: KfpServer, words: str, more: tuple[str, ...], why: str
) -> None:
    command.patch.chdir(command.folder)
    server.scripts = {"": [("SUCCEEDED", {"train": "SUCCEEDED"})]}  # of a run that should not have begun
    typed = [word.format(recipe=command.recipe) for word in words.split()]
    refused = command(*typed, *more, host=typed[0] != "champion")
    assert (refused.code, refused.why.count(why)) == (1, 1), refused.error
    assert "hunter2" not in refused.out + refused.error
    assert [each for each in server.asked if not each.startswith("GET")] == []


def test_what_may_be_said_is_taken(command: Command, server: KfpServer) -> None:
    image = ("--recipe", str(command.recipe), "--image", IMAGE, "--no-wait")
    for given in ("s3://b/x", "groups=minio://mlpipeline/v2/x", "gs://b/x/y", "/runs/groups"):
        assert (
            command("run", "align", "--on", "cluster", *image, "--only", "score", "--from", given).code == 0
        )
    for root in ("s3://bucket", "s3://bucket/copg", "s3://bucket/copg?endpoint=store:9000"):
        assert command("run", "align", "--on", "cluster", *image, "--pipeline-root", root).code == 0
    assert command("versions", "align", "--pipeline", "my pipeline").why.startswith(
        "error: pipeline 'my pipeline' is"
    )
