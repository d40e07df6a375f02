"""report.html: one page that needs no network, made from the journal alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from search.report import sections
from search.report.section import Cell, Json, ReportedRun, Section

REPORT = "report.html"
STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1b1b;--line:#ccc}
@media (prefers-color-scheme:dark){:root{--back:#15181c;--text:#e8e8e8;--line:#444}}
@media print{:root{--back:#fff;--text:#000}section{break-inside:avoid}}
body{background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif;
margin:0 auto;max-width:1200px;padding:1rem;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
table{border-collapse:collapse;overflow-wrap:normal}
th,td{border-bottom:1px solid var(--line);padding:.2rem .6rem;text-align:left}
"""
DRAW = """
const dark = matchMedia('(prefers-color-scheme: dark)');
function draw() {
  const color = getComputedStyle(document.documentElement).getPropertyValue('--text').trim();
  for (const figure of figures) Plotly.react(figure.id, figure.traces, {
    margin: {t: 20, r: 10}, ...figure.layout, font: {color},
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
  }, {responsive: true, displaylogo: false});
}
dark.addEventListener('change', draw);
draw();
"""


def load_sections(run: ReportedRun) -> list[Section]:
    """Describe a run by every file of `search.report.sections`, in the order that they name."""
    names = [module.name for module in iter_modules(sections.__path__)]
    modules = [import_module(f"{sections.__name__}.{name}") for name in names]
    return [module.describe(run) for module in sorted(modules, key=lambda m: m.ORDER)]


def write_page(file: Path, runs: Sequence[ReportedRun]) -> None:
    """Write the page of one run, or of several one below the other, in place of the file.

    Args:
        runs: at least one.
    """
    from plotly.offline import get_plotlyjs

    body: list[str] = []
    figures: list[Json] = []
    for run in runs:
        body.append(f"<h1>{escape(run.name)}</h1>")
        for section in load_sections(run):
            place = f"chart{len(figures)}"
            body.append(_render(section, place))
            if section.traces:
                traces, layout = list(section.traces), section.layout
                figures.append({"id": place, "traces": traces, "layout": layout})
    title = escape(", ".join(run.name for run in runs))
    data = json.dumps(_finite(figures), allow_nan=False).replace("</", "<\\/")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(body)}"
        f"<script>{get_plotlyjs()}</script><script>const figures = {data};{DRAW}</script>"
        "</body></html>"
    )
    fresh = file.with_suffix(".new")
    try:
        fresh.write_text(page, encoding="utf-8")
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)


def _render(section: Section, place: str) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(sentence)}</p>" for sentence in section.sentences]
    table = _table(section) if section.rows else ""
    if section.traces:
        parts.append(f'<div id="{place}"></div>')
        table = f"<details><summary>Table</summary>{table}</details>"
    return f"<section>{''.join(parts)}{table}</section>"


def _table(section: Section) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in section.columns)
    rows = (
        "<tr>" + "".join(f"<td>{escape(_text(cell))}</td>" for cell in row) + "</tr>"
        for row in section.rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _finite(value: object) -> object:
    """The same, with null for what JSON cannot say."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
