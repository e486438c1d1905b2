"""Figures on disk, with what they were measured on."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from bench import ROOT

HOME = ROOT / "bench" / "results"


def machine() -> dict[str, Any]:
    """What figures depend on, as far as it can be asked."""
    return {
        "cores": os.cpu_count(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        **{package: version(package) for package in ("sqlalchemy", "asyncpg", "aiosqlite")},
        "load": round(os.getloadavg()[0], 1),
    }


def keep(folder: Path, name: str, database: str, rounds: int, figures: Any) -> Path:
    """Write them, in a form in which two versions can be compared line by line."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine() | {"database": database}, "rounds": rounds, "figures": figures}
    file = folder / f"{name}.json"
    file.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return file


def kept(folder: Path, name: str) -> dict[str, Any] | None:
    """What was written, None when nothing was."""
    file = folder / f"{name}.json"
    if not file.exists():
        return None
    facts: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return facts
