"""Files that are either whole or absent, and the digests that name them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from rsstudy.errors import Busy, StudyError

LOCK, TEMPORARY = ".lock", ".tmp"
NOTE = "rsstudy.note"


def note(path: Path) -> None:
    """Report to a watcher (``study.report``) that a table reads this file."""
    sys.audit(NOTE, path)


def cache_folder() -> Path:
    """Where decoded pictures and pretrained towers are kept: RSSTUDY_CACHE, or the user's cache."""
    return Path(os.environ.get("RSSTUDY_CACHE") or platformdirs.user_cache_dir("rsstudy"))


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    On any failure (a full disk, Ctrl-C) the temporary file is removed and ``path`` is unchanged.

    Raises:
        StudyError: the file system refused (no space, no permission); the message names the path.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as problem:
        raise StudyError(f"could not write {path}: {problem.strerror or problem}") from problem
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def hold(folder: Path, wait: bool = False) -> Iterator[None]:
    """Within the block, be the only process at work in a folder.

    The lock ends with its process. The next process removes the half-written files of a killed one.

    Args:
        wait: until the folder is free.

    Raises:
        Busy: another process has the lock.
        StudyError: the folder cannot be written.
    """
    folder = Path(folder)
    lock = FileLock(folder / LOCK, fallback_to_soft=False)
    try:
        for patience in range(100, -1, -1):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=-1 if wait else 0)
                break
            except (FileNotFoundError, FileExistsError):  # another is just removing it, see below
                if not patience or not folder.parent.is_dir():
                    raise
                time.sleep(0.005)
        remove_leftovers(folder)
    except Timeout:
        busy = Busy(f"another process is at work in {folder}: wait for it, or end it")
        busy.folder = folder
        raise busy from None
    except OSError as problem:
        raise StudyError(f"could not write in {folder}: {problem.strerror or problem}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            if [entry.name for entry in folder.iterdir()] == [LOCK]:  # nothing came of it
                (folder / LOCK).unlink()
                folder.rmdir()
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether a process is at work in a folder now."""
    lock = FileLock(Path(folder) / LOCK, fallback_to_soft=False)
    try:
        if not Path(lock.lock_file).exists():
            return False
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # it is being removed, or cannot be looked at; whoever takes it will see
        return False
    lock.release()
    return False


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove the temporary files of a killed process. The caller must have the folder's lock.

    Args:
        name: the file that was written; any file if empty.
    """
    for leftover in folder.glob(f".{name or '*'}.*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)


Form = TypeVar("Form", bound=BaseModel)


def read_json(path: Path, form: type[Form], what: str) -> dict[str, Any]:
    """A JSON file that has at least the entries of ``form``.

    Args:
        what: it should be, with its article, for the message.

    Raises:
        StudyError: it is absent, cannot be read, is no JSON, or lacks an entry; the message names
            the file.
    """
    try:
        text = Path(path).read_text("utf-8")
        content = json.loads(text)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # half of a pair is no text, and fails much later
            json.dumps(content, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise StudyError(f"no {what.partition(' ')[2]} at {path}") from None
    except (OSError, ValueError, RecursionError) as problem:
        why = " ".join(str(problem).split())
        raise StudyError(f"{path} is not {what} ({why}); delete it and run again") from None
    check_form(content, form, f"{path} is not {what}")
    return content


def check_form(content: Any, form: type[Form], message: str) -> None:
    """Make sure that what was read has the entries of ``form``.

    Raises:
        StudyError: the message, and the first entry that is absent or of another type.
    """
    try:
        form.model_validate(content)
    except ValidationError as problem:
        raise StudyError(f"{message} ({first_misfit(problem)})") from None


def first_misfit(problem: ValidationError) -> str:
    """The first entry that does not fit, and why, in one line."""
    first = problem.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return " ".join(f"{where + ': ' if where else ''}{first['msg']}".split())


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
