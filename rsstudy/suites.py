"""The named grids that the study runs, at each scale, and running one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from rsstudy.encoders import tiny_delta
from rsstudy.errors import StudyError, unknown
from rsstudy.pretraining import pretrain, usual
from rsstudy.protocol import choose
from rsstudy.run import Run, execute, label_of
from rsstudy.training import Diverged, Recipe

Scale = Literal["smoke", "bench", "paper"]


@dataclass(frozen=True)
class Setting:
    """What a scale fixes: data sets, encoder, recipe and the number of seeds."""

    data: tuple[str, ...]
    encoder: str
    recipe: Recipe
    seeds: int


# At paper scale the recipe is the paper's: Adam 2e-4, x 0.7 at epoch 20, 30 epochs, batch 16, no
# weight decay, no clipping, 224 px, a random 20 % of train and val for choosing the epoch. It says
# nothing of precision; fp32 is taken.
SCALES: dict[Scale, Setting] = {
    "smoke": Setting(
        ("scenes?images=500",), "tiny",
        Recipe(epochs=3, batch=64, learning_rate=2e-3, precision="fp32"), 2,
    ),
    "bench": Setting(("ucm", "rsicd"), "vits14-minilm", Recipe(learning_rate=3e-3), 3),
    "paper": Setting(
        ("rsicd", "rsitmd", "ucm"), "ViT-B-32@openai",
        Recipe(
            epochs=30, batch=16, samples="captions", optimizer="adam", learning_rate=2e-4,
            weight_decay=0.0, schedule="step", step_epoch=20, step_factor=0.7, warmup=0.0,
            clip_norm=0.0, precision="fp32", validation="random",
        ), 3,
    ),
}  # fmt: skip

# Learning rates where a method wants another than its scale's.
LEARNING_RATES: dict[tuple[str, str], float] = {
    ("full", "smoke"): 5e-4,
    ("full", "bench"): 3e-5,
    ("full", "paper"): 1e-5,
}

# Every method gets the same number of learning rates to choose from on validation: its own of above
# times these. The paper's recipe has one, and smoke runs are for showing that things run.
SEARCHED: dict[Scale, tuple[float, ...]] = {
    "smoke": (1.0,),
    "bench": (1 / 3, 1.0, 10 / 3),
    "paper": (1.0,),
}

SUITES: dict[str, str] = {
    "compare": "zero-shot, linear probe, MRS adapter (shared, one a layer) and full fine-tuning, "
    "each with InfoNCE and HMMC",
}


@dataclass(frozen=True)
class Arm:
    """One row of a comparison.

    Attributes:
        run: with the first seed and the scale's learning rate.
        learning_rates: to choose from on validation, with the first seed; the choice holds for all.
        seeds: how many.
    """

    run: Run
    learning_rates: tuple[float, ...]
    seeds: int

    def candidates(self) -> list[Run]:
        """The first seed's run at each learning rate."""
        return [_at(self.run, rate) for rate in self.learning_rates]

    def repeats(self, chosen: Run) -> list[Run]:
        """The chosen run with every seed, itself first."""
        return [replace(chosen, seed=chosen.seed + more) for more in range(self.seeds)]


def _at(run: Run, rate: float) -> Run:
    return replace(run, recipe=replace(run.recipe, learning_rate=rate))


def recipe_for(scale: Scale, method: str) -> Recipe:
    """The recipe of a scale with a method's learning rate."""
    recipe = SCALES[scale].recipe
    return replace(recipe, learning_rate=LEARNING_RATES.get((method, scale), recipe.learning_rate))


def arms(name: str, scale: Scale) -> list[Arm]:
    """The rows of a suite at a scale.

    Raises:
        StudyError: unknown suite or scale.
    """
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    return list(_compare(scale))


def _compare(scale: Scale) -> Iterator[Arm]:
    setting = SCALES[scale]
    methods: list[tuple[str, dict[str, Any]]] = [
        ("linear-probe", {}), ("mrs-adapter", {}), ("mrs-adapter", {"share_layers": False}),
        ("full", {}),
    ]  # fmt: skip
    for data in setting.data:
        zero_shot = Run(data, setting.encoder, "zero-shot", recipe=setting.recipe)
        yield Arm(zero_shot, (setting.recipe.learning_rate,), 1)
        for method, settings in methods:
            recipe = recipe_for(scale, method)
            rates = tuple(float(f"{recipe.learning_rate * factor:.0e}")
                          for factor in SEARCHED[scale])  # fmt: skip
            for objective in ("infonce", "hmmc"):
                run = Run(data, setting.encoder, method, objective, recipe,
                          method_settings=settings)  # fmt: skip
                yield Arm(run, rates, setting.seeds)


def only(
    rows: Sequence[Arm], data: Sequence[str], methods: Sequence[str], objectives: Sequence[str]
) -> list[Arm]:
    """The arms on these sets, with these methods (by label) and objectives; empty means any.

    Raises:
        StudyError: no arm has a name that was asked for.
    """
    for kind, asked, has in (
        ("data set of this suite", data, {arm.run.data for arm in rows}),
        ("method of this suite", methods, {label_of(arm.run) for arm in rows}),
        ("objective of this suite", objectives, {arm.run.objective for arm in rows}),
    ):
        for name in asked:
            if name not in has:
                raise unknown(kind, name, has)
    return [
        arm for arm in rows
        if (not data or arm.run.data in data)
        and (not methods or label_of(arm.run) in methods)
        and (not objectives or arm.run.objective in objectives)
    ]  # fmt: skip


def run_arms(
    rows: Sequence[Arm],
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: bool = True,
    label: str = "suite",
) -> list[dict[str, Any]]:
    """Do every run of some arms whose record is not there yet.

    Where an arm has several learning rates, all are trained and validated with the first seed; the
    choice is written to ``runs/choices``; only then is a test split opened. A diverged run does not
    stop the rest.

    Returns:
        the records of the finished runs, arm by arm.

    Raises:
        StudyError: a set or the encoder's weights are absent.
    """
    if any(arm.run.encoder == "tiny" for arm in rows):
        if not tiny_delta().exists():
            say("pretraining the tiny encoder on generated ground-level scenes, once ...")
        pretrain(usual("tiny"), device=device, progress=progress)
    total = sum(arm.seeds + len(arm.learning_rates) - 1 for arm in rows)
    records = []
    with tqdm(total=total, desc=label, unit="run", disable=not progress) as bar:

        def attempt(run: Run, **more: Any) -> dict[str, Any] | None:
            try:
                return execute(run, None, runs, data_root, device, progress, **more)[0]
            except Diverged as problem:
                say(f"{run.method} {run.objective} seed {run.seed} on {run.data}: {problem}")
                return None
            finally:
                bar.update()

        for arm in rows:
            chosen, until = arm.run, tuple[Path, ...]()
            if len(arm.learning_rates) > 1:
                tried = [(run, record) for run in arm.candidates()
                         if (record := attempt(run, test=False)) is not None]  # fmt: skip
                bar.update(-1)  # the chosen one comes again, for its test scores
                if not tried:
                    continue
                first = tried[0][1]
                choice = Path(runs) / "choices" / f"{first['id']}.json"
                chosen, until = tried[choose([r for _, r in tried], choice)][0], (choice,)
            found = [attempt(run, until=until) for run in arm.repeats(chosen)]
            records += [record for record in found if record is not None]
    return records


def run_suite(
    name: str,
    scale: Scale,
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: bool = True,
    data: Sequence[str] = (),
    methods: Sequence[str] = (),
    objectives: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Do a suite, or the arms of it that ``only`` picks; see ``run_arms``.

    Raises:
        StudyError: a set or the encoder's weights are absent; no run finished.
    """
    rows = only(arms(name, scale), data, methods, objectives)
    records = run_arms(rows, runs, data_root, device, say, progress, f"suite {name}, scale {scale}")
    if not records:
        raise StudyError(f"no run of suite {name} finished")
    return records
