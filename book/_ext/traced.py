"""Behind every checked sentence, a link to the runs that its check reads.

`book/traced.json` has them: for every line of a check the ids of its runs. `python -m study checks
--out` writes it; without it no link is made. One run is opened at once, several are rows of the
table of all runs.
"""

import json
from pathlib import Path

from docutils import nodes

TABLE = "notebooks/11_numbers"
START, END = "<!-- check:", "-->"


def link(app, doctree: nodes.document, name: str) -> None:
    file = Path(app.srcdir) / "book" / "traced.json"
    if not file.exists():
        return
    traced = json.loads(file.read_text("utf-8"))
    table = app.builder.get_relative_uri(name, TABLE)
    for comment in list(doctree.findall(nodes.raw)):
        if not (text := comment.astext().strip()).startswith(START):
            continue
        lines = map(str.strip, text[len(START) : -len(END)].split("\n"))
        runs = sorted({run for line in lines for run in traced.get(line, [])})
        above = comment.parent[max(comment.parent.index(comment) - 1, 0)]
        if isinstance(above, nodes.table) and isinstance(above[0], nodes.title):
            above = above[0]
        if not runs or not isinstance(above, (nodes.paragraph, nodes.title)):
            continue
        # The last digits of an id are a run's own.
        short = "|".join(run[-8:] for run in runs)
        to = f"#run-{runs[0]}" if len(runs) == 1 else f"{table}#runs={short}"
        count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
        html = f' <a class="traced" href="{to}" title="The runs behind this">{count}</a>'
        above += nodes.raw("", html, format="html")


def setup(app) -> dict:
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
