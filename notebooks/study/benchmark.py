"""The benchmark's table of settings: every method side by side, each in its own paper's form.

What a row leaves out is the default of the method's file. A method that can sit in either tower
sits in both: retrieval goes both ways. A ``counterpart`` is the row before with its layers shared
the other way; one instance in all layers is what the paper's printed sizes imply for its baselines
(presets ``NAME:printed``). Each printed size has a row, but where another row has it already: the
shared AdaptFormer, VPT and the MRS adapter. Traditional retrieval is trained here like the rest:
VSE++ as released, with its CNN frozen; VSE++ with all of it trained; and VSE++'s objective on the
towers that all others have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rsstudy.experiments.cost import analytic
from rsstudy.experiments.names import label_of
from rsstudy.experiments.run import Run
from rsstudy.methods import PRESETS, create_method
from rsstudy.objectives import named_objective
from rsstudy.progress import Progress


@dataclass(frozen=True)
class Row:
    """One method of the benchmark.

    Attributes:
        family: what carries it.
        method: its name.
        settings: those that are not its defaults.
        counterpart: whether it is the other way of sharing layers of the row before.
        objective: its name.
        encoder: where it is not the scale's.
    """

    family: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    counterpart: bool = False
    objective: str = "infonce"
    encoder: str = ""


def printed(family: str, method: str) -> Row:
    """The row of a method with the size that the paper prints for it."""
    return Row(family, method, PRESETS[f"{method}:printed"])


BENCHMARK: tuple[Row, ...] = (
    Row("none", "zero-shot"),
    Row("traditional", "text-tower", {"heads": True}, encoder="cnn-gru", objective="hinge"),
    Row("traditional", "full", encoder="cnn-gru", objective="hinge"),
    Row("traditional", "full", objective="hinge"),
    Row("the base's own weights", "linear-probe"),
    printed("the base's own weights", "linear-probe"),
    Row("the base's own weights", "full"),
    Row("the base's own weights", "text-tower"),
    Row("the base's own weights", "bitfit"),
    Row("the base's own weights", "layernorm"),
    Row("tokens", "coop"),
    printed("tokens", "coop"),
    Row("tokens", "vpt"),
    Row("tokens", "vl-prompt"),
    printed("tokens", "vl-prompt"),
    Row("tokens", "maple"),
    Row("tokens", "prefix"),
    Row("a branch", "mrs-adapter"),
    Row("a branch", "mrs-adapter", {"share_layers": False}, counterpart=True),
    Row("a branch", "mrs-adapter", objective="hmmc"),
    Row("a branch", "cross-modal-adapter"),
    Row("a branch", "cross-modal-adapter", {"share_layers": True}, counterpart=True),
    printed("a branch", "cross-modal-adapter"),
    Row("a branch", "uniadapter"),
    Row("a branch", "uniadapter", {"share_layers": True}, counterpart=True),
    Row("a branch", "uniadapter", PRESETS["uniadapter:released"]),
    Row("a branch", "harma"),
    Row("a branch", "adapter"),
    Row("a branch", "adapter", {"share_layers": True}, counterpart=True),
    printed("a branch", "adapter"),
    Row("a branch", "adaptformer", {"towers": "both"}),
    Row("a branch", "adaptformer", {"towers": "both", "share_layers": True}, counterpart=True),
    Row("a branch", "convpass"),
    Row("a branch", "convpass", {"share_layers": True}, counterpart=True),
    printed("a branch", "convpass"),
    Row("a branch", "clip-adapter", {"towers": "both"}),
    printed("a branch", "clip-adapter"),
    Row("a weight", "lora", PRESETS["lora:authors"]),
    Row("a weight", "lora"),  # on every matrix, as the bench encoder's alignment is made
    Row("a weight", "dora"),
    Row("a weight", "ia3"),
    Row("a weight", "ssf"),
)


def counted_costs(
    encoder: str,
    image_size: int | None = None,
    words: int = 20,
    methods: Sequence[str] = (),
    progress: bool = False,
) -> list[dict[str, Any]]:
    """``experiments.cost.analytic`` of the benchmark's rows, or of some methods by name.

    Returns:
        rows with ``label``, ``objective`` and the fields of ``experiments.cost.Analytic``.

    Raises:
        StudyError: no such encoder or method, or a method that does not fit.
    """
    wanted = [Row("", name) for name in methods] or [row for row in BENCHMARK if not row.encoder]
    rows = []
    for row in Progress(wanted, unit="method", disable=not progress):
        run = Run("", encoder, row.method.partition(":")[0], method_settings=row.settings)
        method, objective = create_method(row.method, row.settings), named_objective(row.objective)
        counted = analytic(encoder, method, False, image_size, words, objective=objective)
        label = row.method if ":" in row.method else label_of(run)
        rows.append({"label": label, "objective": row.objective, **asdict(counted)})
    return rows
