"""Small trained parts that are kept beside the record, each with a card that says what it is."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsstudy.adapters import ADAPTER, ADAPTER_CONFIG
from rsstudy.data.folds import FOLDS
from rsstudy.experiments.arms import recorded
from rsstudy.experiments.record import RUNS, as_table, read_record, records_in
from rsstudy.files import whole_file
from rsstudy.training.recipe import Scale
from study.suites import front_page_arms

ADAPTERS, CARD = "adapters", "README.md"
# Bytes; larger trained parts, such as those of full fine-tuning, do not belong in a repository.
LARGEST = 4_000_000
Record = Mapping[str, Any]


def keep_trained(scale: Scale, runs: Path, results: Path) -> list[Path]:
    """Copy the small trained parts of the front page's arms to ``results/adapters/ID``.

    Each gets a card. What has a card there already stays as it is.

    Returns:
        the folders made.
    """
    rows = front_page_arms(scale)
    made = []
    for record in records_in(runs):
        source, target = Path(runs) / record["id"], Path(results) / ADAPTERS / record["id"]
        weights = source / ADAPTER
        if record["status"] != "finished" or (target / CARD).exists() or not weights.exists():
            continue
        if weights.stat().st_size > LARGEST or not len(recorded(rows, as_table([record]))):
            continue
        for name in (ADAPTER, ADAPTER_CONFIG):
            with whole_file(target / name) as temporary:
                shutil.copy(source / name, temporary)
        path = Path(results) / RUNS / f"{record['id']}.json"
        with whole_file(target / CARD) as temporary:  # last: with it, all is there
            own = read_record(path) if path.exists() else record
            temporary.write_text(card(record, own), encoding="utf-8")
        made.append(target)
    return made


def card(record: Record, on_record: Record) -> str:
    """What a kept trained part is: trained on what and how, scores, use, licence; Markdown.

    Args:
        record: of the run that trained it.
        on_record: the run's record among the results, which may be of another training.
    """
    config, recipe, cost = record["config"], record["config"]["recipe"], record["cost"]
    name, data, fold = record["id"], config["data"], config["fold"]
    if fold is None:
        splits, tested_on, option = "the published splits", "the published test split", ""
    else:
        validation = fold["number"] % FOLDS + 1
        splits = f"{FOLDS - 2} of {FOLDS} folds ({fold['assignment']} assignment)"
        tested_on, option = f"fold {fold['number']}", f" --fold {fold['number']}"
        splits += f"; fold {validation} is validation, fold {fold['number']} test"
    counts, made = record["trained_parameters"], record["environment"]
    torch = made["versions"]["torch"]
    facts = {
        "Method": f"{record['label']}: {counts['method']:,} parameters, and {counts['heads']:,} "
        f"of the heads; {cost['adapter_bytes'] / 1e6:.2f} MB in fp32",
        "Encoder": f"{config['encoder']} at {config['image_size']} px, otherwise frozen",
        "Trained on": f"{data}, {splits}",
        "Objective": record["objective_label"],
        "Recipe": f"{recipe['epochs']} epochs, {cost['steps']:,} steps of {recipe['batch']} pairs, "
        f"{recipe['optimizer']}, learning rate {recipe['learning_rate']:g}, {recipe['precision']}",
        "Epoch": f"{record['best_epoch']}, chosen on validation",
        "Made with": f"rsstudy {record['rsstudy']}, torch {torch}, {made['device']}",
    }
    scores = {"validation": record["validation_scores"], f"test ({tested_on})": record["scores"]}
    scores["test, relaxed"] = record["scores_relaxed"]
    for other, of in record.get("elsewhere", {}).items():
        scores[f"test of {other}, not trained on"] = of["scores"]
    again = ""
    if on_record["scores"] != record["scores"]:
        again = (
            f"\nThese weights were trained again: the record has "
            f"{on_record['scores']['mean_recall']:.2f} on test.\n"
        )
    columns = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)] + ["mean_recall"]
    rows = [[of, *(f"{found[c]:.2f}" for c in columns)] for of, found in scores.items()]
    heads = ["", "picture to text R@1", "R@5", "R@10", "text to picture R@1", "R@5", "R@10", "mean"]
    folder = f"results/{ADAPTERS}/{name}"
    return f"""# {record["label"]}, {record["objective_label"]}, trained on {data}

The trained part of run `{name}`. The encoder itself is not here.

{_table(["", ""], [[f"**{name}**", text] for name, text in facts.items()])}

## Scores

Recall in per cent; the mean is that of the six. Relaxed: every caption with the same text is right.

{_table(heads, rows)}
{again}
## Use

```bash
rsstudy evaluate --adapter {folder} --data {data}{option} --split test
rsstudy search "planes beside a terminal" --data path/to/pictures \\
               --adapter {folder} --html found.html
```

## Limits

One training with one seed on one small set. Search works for scenes like those of the set.

## Licence

These weights: MIT, as this repository. The encoder's own weights and the pictures and captions of
the training have licences of their own; none of them is in this folder.
"""


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
