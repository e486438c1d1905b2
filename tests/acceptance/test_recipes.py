"""The recipes: each is checked against the schema of who reads it, or run; and every command in them is one of ours."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from cronsim import CronSim

from databases import ROOT, ScratchDatabase
from datamigrate.faces.cli import cli
from datamigrate.words.exits import Exit
from projects import (
    COMMAND,
    FULL_NAME,
    Project,
    add_people,
    ended,
    named_people,
    project_in,
)

RECIPES = ROOT / "docs" / "recipes"
DOCUMENT = ROOT / "docs" / "recipes.md"
SHELLS = sorted(RECIPES.glob("*.sh"))
JOBS = ("kubernetes-job.yaml", "kubernetes-cronjob.yaml", "helm-hook.yaml")
KUBERNETES = "1.31"  # podFailurePolicy is stable from there on
BIN = Path(sys.executable).parent
TOLD_APART = {Exit.OK, Exit.FAILED, Exit.USAGE, Exit.BLOCKED, Exit.HELD, Exit.QUARANTINED, Exit.STOPPED}


def loaded(file: str) -> dict[Any, Any]:
    """Return a recipe's YAML."""
    facts = yaml.safe_load((RECIPES / file).read_text())
    assert isinstance(facts, dict)
    return facts


def job_of(file: str) -> dict[str, Any]:
    """Return the specification of the Job in a recipe."""
    facts = loaded(file)
    spec: dict[str, Any] = (
        facts["spec"]["jobTemplate"]["spec"] if facts["kind"] == "CronJob" else facts["spec"]
    )
    return spec


# every command is one of ours ----------------------------------------------------------------------------


def words_in(facts: Any) -> Iterator[str]:
    """Every text in YAML, and every list of words as the command line that it is."""
    if isinstance(facts, str):
        yield facts
    if isinstance(facts, dict):
        for value in facts.values():
            yield from words_in(value)
    if isinstance(facts, list):
        if all(isinstance(one, str) for one in facts):
            yield shlex.join(facts)
        for one in facts:
            yield from words_in(one)


def texts_of(file: Path) -> list[str]:
    """The pieces of a recipe that may hold a command."""
    text = file.read_text()
    if file.suffix in (".yaml", ".yml"):
        return list(words_in(yaml.safe_load(text)))
    if file.suffix == ".md":
        return [
            code for pair in re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", text, re.DOTALL) for code in pair
        ]
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [line.partition("=")[2] if file.suffix == ".service" else line for line in lines]


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of each call of datamigrate in a piece of shell."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)  # a variable with a default, as that
    for command in re.split(r"&&|\|\||[;|\n]|&\s*$|>", text):
        try:
            words = shlex.split(command)
        except ValueError:  # half a quotation, which our commands have none of
            continue
        for place, word in enumerate(words):
            if Path(word).name == "datamigrate" and words[place - 1 : place] != ["."]:
                yield words[place + 1 :]
                break


def calls() -> list[tuple[str, list[str]]]:
    """Every call of datamigrate in the recipes, and where it stands."""
    files = [DOCUMENT, *(file for file in sorted(RECIPES.iterdir()) if file.is_file())]
    found = ((file.name, call) for file in files for text in texts_of(file) for call in commands_in(text))
    # `pip install . datamigrate` and the like name the package
    return [(name, call) for name, call in found if call and call[0] in cli.commands]


def understood(call: list[str]) -> None:
    """Let our own parser read the call, and do nothing of it. Raises click.UsageError."""
    cli.commands[call[0]].make_context(call[0], call[1:], parent=click.Context(cli)).close()


def test_every_command_in_the_recipes_is_understood() -> None:
    found = calls()
    for _, call in found:
        understood(call)
    assert {name for name, _ in found} >= {
        "crontab",
        "datamigrate.service",
        "docker-entrypoint.sh",
        "github-actions.yml",
        "helm-hook.yaml",
        "recipes.md",
        "run-for-a-while.sh",
    }
    assert ["run", "--no-wait", "--max-time", "25m"] in [call for _, call in found]


def test_a_command_that_has_rotted_would_be_found() -> None:
    (call,) = commands_in("cd /srv && datamigrate run --max-tim 25m >log")
    with pytest.raises(click.UsageError, match="--max-tim"):
        understood(call)


def test_every_recipe_is_in_the_document() -> None:
    linked = set(re.findall(r"\(recipes/([^)]+)\)", DOCUMENT.read_text()))
    assert linked == {file.name for file in RECIPES.iterdir()}


# Kubernetes, Helm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", JOBS)
def test_a_job_is_what_kubernetes_takes(file: str) -> None:
    kubernetes_validate.validate(loaded(file), KUBERNETES, strict=True)


def test_a_job_that_kubernetes_does_not_take_would_be_found() -> None:
    facts = loaded(JOBS[0])
    facts["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["value"] = [75]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(facts, KUBERNETES, strict=True)


def action_for(job: dict[str, Any], code: int) -> str:
    """What Kubernetes does with a pod that ends with this exit code: the first rule that fits."""
    if code == 0:
        return "Succeed"
    for rule in job["podFailurePolicy"]["rules"]:
        asked = rule.get("onExitCodes")
        if asked and asked["operator"] == "In" and code in asked["values"]:
            return str(rule["action"])
    return "Count"


@pytest.mark.parametrize("file", JOBS)
def test_each_exit_code_is_treated_as_it_deserves(file: str) -> None:
    goes_on = {"kubernetes-cronjob.yaml": "Count"}.get(file, "Ignore")  # there the script has made it 0
    assert {code: action_for(job_of(file), code) for code in TOLD_APART} == {
        Exit.OK: "Succeed",
        Exit.FAILED: "Count",
        Exit.USAGE: "FailJob",
        Exit.BLOCKED: "FailJob",
        Exit.HELD: goes_on,
        Exit.QUARANTINED: "FailJob",
        Exit.STOPPED: goes_on,
    }
    assert action_for(job_of(file), 137) == "Count"


@pytest.mark.parametrize("file", JOBS)
def test_a_pod_has_time_to_stop_cleanly_and_is_never_begun_again_by_the_kubelet(file: str) -> None:
    job = job_of(file)
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > 30  # the default of statement_timeout
    assert {
        r["onExitCodes"]["containerName"] for r in job["podFailurePolicy"]["rules"] if "onExitCodes" in r
    } == {container["name"]}
    if loaded(file)["kind"] == "CronJob":
        assert job["activeDeadlineSeconds"] > 25 * 60 + pod["terminationGracePeriodSeconds"]


# cron, systemd, GitHub -----------------------------------------------------------------------------------


def test_the_lines_for_cron_have_a_schedule_and_a_command_that_a_shell_takes() -> None:
    lines = [line for line in (RECIPES / "crontab").read_text().splitlines() if re.match(r"[\d*]", line)]
    assert len(lines) == 2
    for line in lines:
        *schedule, command = line.split(maxsplit=5)
        assert next(CronSim(" ".join(schedule), datetime(2026, 11, 26))).minute in (0, 30)
        assert "%" not in command  # which cron takes for the end of the line
        subprocess.run(["sh", "-n", "-c", command], check=True)
    schedule = loaded("kubernetes-cronjob.yaml")["spec"]["schedule"]
    assert next(CronSim(schedule, datetime(2026, 11, 26))).hour == 1


def test_systemd_takes_its_units(tmp_path: Path) -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed, so nothing can tell whether the units are right")
    for unit in ("datamigrate.service", "datamigrate.timer"):
        text = (RECIPES / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/srv/shop/.venv/bin/datamigrate", COMMAND))
    verified = subprocess.run(
        [analyze, "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in verified.stderr.splitlines() if "datamigrate" in line]
    assert (verified.returncode, told) == (0, [])


def test_the_workflow_is_one_that_github_takes() -> None:
    workflow = RECIPES / "github-actions.yml"
    arguments = ["--builtin-schema", "vendor.github-workflows", str(workflow)]
    checked = subprocess.run(
        [BIN / "check-jsonschema", *arguments], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (schedule,) = loaded("github-actions.yml")[True]["schedule"]  # YAML 1.1 reads `on` as yes
    assert CronSim(schedule["cron"], datetime(2026, 11, 26))


# shells --------------------------------------------------------------------------------------------------


def test_shells_are_sound(tmp_path: Path) -> None:
    steps = [step for job in loaded("github-actions.yml")["jobs"].values() for step in job["steps"]]
    for number, step in enumerate(step for step in steps if "run" in step):
        (tmp_path / f"step{number}.sh").write_text(f"#!/bin/bash\nset -e\n{step['run']}\n")
    checked = subprocess.run(
        [BIN / "shellcheck", *SHELLS, *tmp_path.glob("*.sh")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert all(os.access(shell, os.X_OK) for shell in SHELLS)


def environment(project: Project, first: Path = BIN, **variables: str) -> dict[str, str]:
    """Return a process's environment in which these commands are found first."""
    return project.environment(PATH=os.pathsep.join([str(first), str(BIN), os.environ["PATH"]]), **variables)


@pytest.fixture
def bare_project(tmp_path: Path, sqlite_database: ScratchDatabase) -> Project:
    """A project whose database has no schema yet."""
    project = project_in(tmp_path / "project", sqlite_database)
    project.write_script("full_name", FULL_NAME.replace("pending=", "batch_size=1, pending="))
    return project


def started(shell: str, project: Project, *command: str, first: Path = BIN) -> tuple[int, str]:
    """Run a recipe's shell to its end; its exit code and what it printed."""
    ran = subprocess.run(
        [RECIPES / shell, *command],
        cwd=project.root,
        env=environment(project, first, MAX_TIME="9m"),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stdout


def pretend(directory: Path, name: str, code: int) -> None:
    """Put a command into the directory that prints how it was called and ends with this exit code."""
    fake = directory / name
    fake.write_text(f'#!/bin/sh\necho {name} "$@"\nexit {code}\n')
    fake.chmod(0o755)


def test_a_container_upgrades_the_schema_then_the_data_then_serves(
    bare_project: Project, sqlite_database: ScratchDatabase
) -> None:
    assert started("docker-entrypoint.sh", bare_project, "echo", "serving") == (0, "serving\n")
    assert sqlite_database.scalar("SELECT state FROM datamigrate_migration") == "done"


def test_a_container_whose_data_is_not_done_ends_with_our_exit_code_and_serves_nothing(
    tmp_path: Path,
) -> None:
    pretend(tmp_path, "alembic", 0)
    pretend(tmp_path, "datamigrate", 4)
    told = "alembic upgrade head\ndatamigrate run\n"
    for command in ((), ("echo", "serving")):
        assert started("docker-entrypoint.sh", Project(tmp_path), *command, first=tmp_path) == (4, told)
    pretend(tmp_path, "alembic", 1)
    assert started("docker-entrypoint.sh", Project(tmp_path), first=tmp_path) == (1, "alembic upgrade head\n")


@pytest.mark.parametrize(
    ("code", "becomes"), [(0, 0), (1, 1), (2, 2), (4, 4), (5, 0), (6, 6), (75, 0), (130, 130)]
)
def test_a_run_for_a_while_succeeds_when_the_next_one_can_go_on(
    tmp_path: Path, code: int, becomes: int
) -> None:
    pretend(tmp_path, "datamigrate", code)
    told = "datamigrate run --no-wait --max-time 9m\n"
    assert started("run-for-a-while.sh", Project(tmp_path), first=tmp_path) == (becomes, told)


def test_a_run_for_a_while_that_is_told_to_stop_lets_the_batch_finish(
    bare_project: Project, sqlite_database: ScratchDatabase
) -> None:
    bare_project.upgrade()
    add_people(sqlite_database, 20_000)
    shell = subprocess.Popen(
        [RECIPES / "run-for-a-while.sh"],
        cwd=bare_project.root,
        env=environment(bare_project),
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(shell):
        assert shell.stderr is not None
        assert "starts" in shell.stderr.readline()
        shell.send_signal(signal.SIGTERM)
        assert shell.wait(30) == 0
    assert sqlite_database.scalar("SELECT state FROM datamigrate_migration") == "stopped"
    assert named_people(sqlite_database) < 20_000
