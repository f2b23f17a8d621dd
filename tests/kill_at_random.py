"""Kill -9 a small suite at random moments, again and again, and hold what is left to its promises.

    python tests/kill_at_random.py --kills 100 --out results/robustness

After every kill each file under its final name is whole; the suite, called again, goes on from the
last checkpoint; and in the end its adapters and scores are those of a suite that nobody disturbed.
The work: a search over two learning rates and its test, on generated scenes that are decoded into
a fresh cache, with a checkpoint after every step, so that many kills hit a file that is being
written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm

from rsstudy.adapters import read_adapter
from rsstudy.errors import StudyError
from rsstudy.experiments.arms import Arm
from rsstudy.experiments.environment import environment
from rsstudy.experiments.protocol import read_choice
from rsstudy.experiments.record import read_record, readable
from rsstudy.experiments.run import Run
from rsstudy.experiments.sweep import run_arms
from rsstudy.files import whole_file
from rsstudy.tensors import kept, read_tensors
from rsstudy.training.curve import HISTORY, read_history
from rsstudy.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch=8, precision="fp32")
RUN = Run("scenes?images=60", "tiny@random", "mrs-adapter", "hmmc", RECIPE)
ARM = Arm(RUN, (1e-3, 3e-3), seeds=1)


def work(folder: Path) -> None:
    """The suite, with a line in ``folder/log`` for everything that happens."""
    import rsstudy.experiments.run as room
    import rsstudy.experiments.sweep as sweep
    import rsstudy.training.checkpoint as checkpoint

    os.environ["RSSTUDY_CACHE"] = str(folder / "cache")
    torch.set_num_threads(1)
    log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(*what: object) -> None:
        os.write(log, (" ".join(map(str, what)) + "\n").encode())

    save, train, record = checkpoint.State.save, room.train, room.write_record

    def noted_save(state):
        note("saving")
        save(state)
        note("saved", state.path.parent.name, state.epoch, state.step)

    def noted_train(*arguments, **named):
        note("train", named["checkpoint"].parent.name)
        done = train(*arguments, **named, after_step=lambda step: note("step", step))
        note("trained")
        return done

    def noted_record(*arguments):
        note("recording")
        record(*arguments)
        note("recorded")

    checkpoint.CHECKPOINT_SECONDS, sweep.FURTHER = 0.0, 0
    checkpoint.State.save, room.train, room.write_record = noted_save, noted_train, noted_record
    note("start")
    run_arms([ARM], folder / "runs", device="cpu", say=note, progress=False)
    note("end")


def ended(
    folder: Path, drawn: random.Random | None = None, takes: float = 0.0, aimed: bool = False
) -> bool:
    """Do the work in a process of its own, and kill it at a random moment; whether it was too late.

    An aimed kill waits for the next record, or for a checkpoint behind the first, to be under way,
    and falls within milliseconds.
    """
    process = multiprocessing.get_context("forkserver").Process(target=work, args=(folder,))
    saved = log_of(folder).count("\nsaved")
    process.start()
    if drawn is not None:
        process.join(drawn.uniform(0, takes / 2))
        while aimed and process.is_alive():
            log = log_of(folder)
            last = log.rstrip().rpartition("\n")[2]
            if last == "recording" or (last == "saving" and log.count("\nsaved") > saved):
                break
            time.sleep(0.0002)
        if aimed:
            time.sleep(drawn.uniform(0, 0.006))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the work failed by itself (status {process.exitcode}) in {folder}")
    return process.exitcode == 0


def log_of(folder: Path) -> str:
    """What happened so far; nothing yet, if the log is not there."""
    file = folder / "log"
    return file.read_text() if file.exists() else ""


def check_files(folder: Path) -> Counter[str]:
    """Read every file that is there under its final name, and count what a kill left beside."""
    found: Counter[str] = Counter()
    for path in (p for p in folder.rglob("*") if p.is_file() and p.name not in ("log", ".lock")):
        found["files read after kills"] += path.suffix not in (".tmp", ".lock")
        if path.suffix == ".tmp":
            found["temporary files left for the next process to remove"] += 1
        elif path.name == "record.json":
            read_record(path)
        elif path.name == "adapter.safetensors":
            read_tensors(path)
        elif path.name == "adapter.json":
            read_adapter(path.parent)
        elif path.name == "checkpoint.pt":
            torch.load(path, weights_only=True)
        elif path.parent.name == "choices":
            read_choice(path)
        elif path.parent.name == "pixels" and path.suffix == ".safetensors":

            def half_written(path: Path = path) -> dict:
                raise StudyError(f"{path} is half-written")

            kept(path, "decoding", half_written)
        elif path.name == HISTORY:
            read_history(path)
        elif path.suffix != ".lock":
            raise StudyError(f"what is {path}?")
    return found


def check_resumption(log: list[list[str]], steps_an_epoch: int) -> int:
    """Each training begins right behind the last step that was saved; how many were resumed.

    A kill between a save and its note leaves one step more on file than in the log.
    """
    saved: dict[str, int] = {}
    running, resumed, kept = "", 0, None
    for line in log:
        if line[0] == "train":
            running, kept = line[1], saved.get(line[1], 0)
        elif line[0] in ("saved", "step"):
            step = (
                int(line[1])
                if line[0] == "step"
                else (int(line[2]) * steps_an_epoch + int(line[3]))
            )
            if kept is not None and step > 0:
                if kept and step not in (kept, kept + 1, kept + 2):
                    raise StudyError(f"{running} went on at step {step}; {kept} were saved")
                resumed += kept > 0
                kept = None
            saved[running] = step
    return resumed


def outcome(folder: Path) -> dict[str, object]:
    """What must not depend on kills: adapters, choice, scores, losses."""
    facts: dict[str, object] = {}
    for path in sorted(folder.glob("runs/*/record.json")):
        record = read_record(path)
        facts[record["id"]] = {
            "status": record["status"],
            "scores": record.get("scores"),
            "queries": record.get("test_queries"),
            "losses": [epoch["loss"] for epoch in record["history"]],
            "adapter": (path.parent / "adapter.safetensors").read_bytes(),
        }
    facts["choices"] = [read_choice(path) for path in sorted(folder.glob("runs/choices/*.json"))]
    return facts


def phase(last: str) -> str:
    """Where the last line of the log before a kill puts it."""
    return {
        "start": "reading data, or its first picture cache",
        "train": "before the first step",
        "step": "in a training step, or validating",
        "saved": "in a training step, or validating",
        "saving": "writing a checkpoint",
        "trained": "writing the adapter, or scoring",
        "recording": "writing the record",
        "recorded": "between two runs, choosing or scoring",
    }.get(last.partition(" ")[0], "before anything")


def main(kills: int, folder: Path, seed: int = 0) -> dict[str, object]:
    """Kill until there have been so many, finish each suite, and tally.

    Raises:
        StudyError: a promise was broken; the message names the file or the step.
    """
    drawn = random.Random(seed)
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["rsstudy.experiments.sweep", __name__]
    )
    whole = folder / "undisturbed"
    whole.mkdir(parents=True)
    ended(folder / "undisturbed")  # the first also starts the server
    expected = outcome(whole)
    again = folder / "timed"
    again.mkdir()
    began = time.monotonic()
    ended(again)
    takes = time.monotonic() - began
    if outcome(again) != expected:
        raise StudyError("two undisturbed suites differ: there is nothing to compare with")
    steps_an_epoch = (
        max(
            int(line.split()[1])
            for line in (whole / "log").read_text().splitlines()
            if line.startswith("step ")
        )
        // RECIPE.epochs
    )
    done, suites, resumed = 0, 0, 0
    where: Counter[str] = Counter()
    left: Counter[str] = Counter()
    with tqdm(total=kills, unit="kill") as bar:
        while done < kills:
            here = folder / f"suite-{suites}"
            here.mkdir()
            while not ended(here, drawn if done < kills else None, takes, aimed=done % 2 == 1):
                done += 1
                bar.update()
                where[phase(log_of(here).rstrip().rpartition("\n")[2])] += 1
                left += check_files(here)
            lines = [line.split() for line in (here / "log").read_text().splitlines()]
            resumed += check_resumption(lines, steps_an_epoch)
            if outcome(here) != expected:
                raise StudyError(f"{here} ended in other weights or scores than undisturbed")
            if list(here.rglob("*.tmp")):
                raise StudyError(f"{here} still holds half-written files at its end")
            suites += 1
    return {
        "kills": done,
        "suites that ended as the undisturbed one": suites,
        "seconds of an undisturbed suite": round(takes, 2),
        "trainings resumed from a checkpoint": resumed,
        **left,
        "where the kills fell": dict(where.most_common()),
        "seed": seed,
    }


if __name__ == "__main__":
    import tempfile

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="folder for the tally, kills.json")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tally = main(given.kills, Path(scratch) / "kills", given.seed)
    tally["environment"] = environment(torch.device("cpu"))
    print(json.dumps(tally, indent=2))
    if given.out is not None:
        with whole_file(given.out / "kills.json") as temporary:
            temporary.write_text(readable(tally), encoding="utf-8")
