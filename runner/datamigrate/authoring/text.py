"""What a script's text says before it is run, and remembering it from one command to the next.

Reading a thousand scripts takes seconds, so what was understood of a text is kept beside the scripts, where
Python keeps its compiled modules, and holds for that very text only.
"""

import ast
import marshal
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from types import CodeType

from datamigrate.authoring import meaning, reading

MEMORY = "_datamigrate_scripts.py"


@dataclass(frozen=True, eq=False)
class Text:
    """A text that nothing is wrong with as far as can be seen without running it."""

    file: str
    source: bytes
    code: CodeType
    title: str
    checksum: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return reading.parse(self.source, self.file)


@dataclass
class Memory:
    """Texts that were understood before, and those that are now: by file, with the hash of their source."""

    before: Mapping[str, tuple[bytes, CodeType, str, str]] = field(default_factory=dict)
    now: dict[str, tuple[bytes, CodeType, str, str]] = field(default_factory=dict)

    def read(self, source: bytes, file: str) -> Text:
        """Understand a text, or remember it. Raises ScriptError, or what Python raises when it
        compiles it."""
        digest = sha256(source).digest()
        known = self.before.get(file)
        if known is None or known[0] != digest:
            known = (digest, *_understood(source, file))
        self.now[file] = known
        return Text(file, source, *known[1:])


@contextmanager
def remembering(directory: Path) -> Iterator[Memory]:
    """The memory of the scripts in a directory; what is new in it is kept, where that is possible and wanted."""
    try:
        kept = Path(cache_from_source(str(directory.absolute() / MEMORY)))
        reader = _reader()
    except (OSError, NotImplementedError):
        yield Memory()
        return
    memory = Memory(_recalled(kept, reader))
    yield memory
    if memory.now != memory.before and not sys.dont_write_bytecode:
        _keep(kept, marshal.dumps((reader, memory.now)))


def _understood(source: bytes, file: str) -> tuple[CodeType, str, str]:
    tree = reading.parse(source, file)
    if problem := reading.first_problem(tree, file):
        raise problem
    code = compile(tree, file, "exec")
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    return code, title, meaning.checksum(tree)


def _reader() -> bytes:
    """Who has understood the texts: another Python, or another version of the rules, reads them anew."""
    rules = [Path(module.__file__ or "").stat() for module in (meaning, reading)]
    return MAGIC_NUMBER + repr([(rule.st_mtime_ns, rule.st_size) for rule in rules]).encode()


def _recalled(kept: Path, reader: bytes) -> Mapping[str, tuple[bytes, CodeType, str, str]]:
    with suppress(OSError, ValueError, EOFError, TypeError):
        by, texts = marshal.loads(kept.read_bytes())
        if by == reader:
            return dict(texts)
    return {}


def _keep(kept: Path, content: bytes) -> None:
    # whoever reads it meanwhile finds the old one or the new one
    beside = kept.with_name(f"{kept.name}.{os.getpid()}")
    with suppress(OSError):
        kept.parent.mkdir(exist_ok=True)
        beside.write_bytes(content)
        beside.replace(kept)
