"""The figure of altered test pictures and captions: which training loses less than another."""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from study.comparison import interval
from study.figures.drawing import ZERO, note, point, shown
from study.labels import HMMC, Look
from study.robustness import FULL, MEAN, UNTRAINED

LOOKS = {
    "linear probe, InfoNCE": Look("linear probe, InfoNCE", "C2", mark="v"),
    "adapter, InfoNCE": Look("adapter, InfoNCE", "C0"),
    "adapter, HMMC": Look("adapter, HMMC", HMMC),
    "adapter and heads, InfoNCE": Look("adapter and heads, InfoNCE", "C0", mark="D", hollow=True),
    "full fine-tuning, HMMC": Look("full fine-tuning, HMMC", HMMC, mark="s", hollow=True),
}

SURELY = {"clear": "clearly", "likely": "likely"}


def losses(table: pd.DataFrame) -> Figure:
    """Each arm's change less that of full fine-tuning, a block a perturbation, the mean on top.

    ``table`` comes from ``study.robustness.robustness_table``; what is not trained is left out,
    since it has little to lose.
    """
    drawn = table[~table["arm"].isin([FULL, UNTRAINED])]
    arms = list(dict.fromkeys(drawn["arm"]))
    names = [MEAN, *(name for name in dict.fromkeys(drawn["perturbation"]) if name != MEAN)]
    full = table[table["arm"] == FULL].set_index("perturbation")["change"]
    block = 0.14 * len(arms) + 0.32  # inches; a row is 0.14 high
    figure, axis = plt.subplots(figsize=(3.9, block * len(names) + 1.9))
    axis.axvline(0, **ZERO)
    places = drawn.set_index(["perturbation", "arm"])
    for at, name in enumerate(names):
        top = at * block
        text = f"{name}: full fine-tuning {full[name]:+.1f}"
        note(axis, text, (0.01, top), -4, ha="left", xycoords=axis.get_yaxis_transform())
        for down, arm in enumerate(arms):
            of = places.loc[(name, arm)]
            look = LOOKS[arm] if at == 0 else LOOKS[arm]._replace(name="_")
            thin = of["low_corrected"], of["high_corrected"]
            where = top + 0.26 + 0.14 * down
            point(axis, where, of["estimate"], (of["low"], of["high"]), look, thin)
    axis.set(ylim=(block * len(names), -0.14), yticks=[])
    axis.set_title(fill(finding(table), 46), loc="left")
    axis.set_xlabel(
        "change of mean recall less that of full\n"
        "fine-tuning, InfoNCE, points (right: loses less)\n"
        "thick: 95 % over test pictures; thin: corrected"
    )
    words = [
        f"{of.arm}, {of.perturbation} {interval(of, ' points')}, {of.word}"
        for of in drawn.itertuples()
    ]
    what = f"{finding(table)}. Change of mean recall less that of full fine-tuning with InfoNCE:"
    return shown(figure, what, words, 1, loc="outside lower left", fontsize=9)


def finding(table: pd.DataFrame) -> str:
    """Which trained arms lose less or more than full fine-tuning, on the mean of all, in words."""
    mean = table[(table["perturbation"] == MEAN) & ~table["arm"].isin([FULL, UNTRAINED])]
    said = [
        f"{of.arm.replace(', ', ' with ')} {SURELY[of.word]} loses "
        f"{'less' if of.estimate > 0 else 'more'}"
        for of in mean.itertuples()
        if of.word != "open"
    ]
    if not said:
        return "Whether a training loses less than full fine-tuning is open"
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]} than full fine-tuning"
