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
from search.report.comparison import compare
from search.report.section import Cell, Json, ReportedRun, Section
from search.runtime.files import replace_text

REPORT = "report.html"
STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1b1b;--line:#ccc;--grid:#ddd;
--loss:#b2182b;--gain:#2166ac}
@media (prefers-color-scheme:dark){:root{--back:#15181c;--text:#e8e8e8;--line:#444;--grid:#333;
--loss:#f4776a;--gain:#5fa8e8}}
body{background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif;
margin:0 auto;max-width:1200px;padding:0 1rem 2rem;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:1.5rem 0 0}
h2{font-size:1.2rem;margin:2rem 0 .3rem}
p{margin:.3rem 0;max-width:75ch}
section:first-of-type p:first-of-type{font-size:1.2rem}
.chart{width:100%}
.scroll{overflow-x:auto}
summary{cursor:pointer}
table{border-collapse:collapse;overflow-wrap:normal;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--line);padding:.2rem .6rem;text-align:left;vertical-align:top}
td{max-width:60ch}
td.number,th.number{text-align:right}
@media print{
:root{color-scheme:light;--back:#fff;--text:#000;--line:#999;--grid:#ddd;
--loss:#b2182b;--gain:#2166ac}
body{max-width:none;font-size:11pt}section{break-inside:avoid}details{display:none}}
"""
# Narrow: a phone. Labels of the axis then take room from the chart, and a legend more lines.
DRAW = """
const dark = matchMedia('(prefers-color-scheme: dark)');
const print = matchMedia('print');
function draw() {
  const style = getComputedStyle(document.documentElement);
  const value = name => style.getPropertyValue(name).trim();
  const color = value('--text'), gridcolor = value('--grid');
  // No gain is no colour, on a dark page too.
  const colorscale = [[0, value('--loss')], [0.5, value('--back')], [1, value('--gain')]];
  const narrow = document.body.clientWidth < 600;
  for (const figure of figures) {
    const layout = {margin: {t: 20, r: 10, l: narrow ? 50 : 70, b: 50}, ...figure.layout,
      font: {color, size: narrow ? 11 : 13}, paper_bgcolor: 'rgba(0,0,0,0)',
      plot_bgcolor: 'rgba(0,0,0,0)', dragmode: narrow ? false : 'zoom'};
    if (narrow) layout.legend = {orientation: 'h', y: -0.3};
    for (const axis of ['xaxis', 'yaxis'])
      layout[axis] = {gridcolor, zerolinecolor: gridcolor, automargin: true, ...layout[axis]};
    const traces = figure.traces.map(
      trace => trace.type === 'heatmap' ? {...trace, colorscale} : trace);
    Plotly.react(figure.id, traces, layout,
      {responsive: true, displayModeBar: false});
  }
}
dark.addEventListener('change', draw);
print.addEventListener('change', draw);
draw();
"""


def load_sections(run: ReportedRun) -> list[Section]:
    """Describe a run by every file of `search.report.sections`, in the order that they name."""
    names = [module.name for module in iter_modules(sections.__path__)]
    modules = [import_module(f"{sections.__name__}.{name}") for name in names]
    return [module.describe(run) for module in sorted(modules, key=lambda m: m.ORDER)]


def write_page(file: Path, runs: Sequence[ReportedRun]) -> None:
    """Write the page of one run, or of several, compared and then each, in place of the file.

    Args:
        runs: at least one.
    """
    from plotly.offline import get_plotlyjs

    parts: list[tuple[str, list[Section]]] = []
    if len(runs) > 1:
        parts.append((", ".join(run.name for run in runs), [compare(runs)]))
    parts += [(run.name, load_sections(run)) for run in runs]
    body: list[str] = []
    figures: list[Json] = []
    for name, described in parts:
        body.append(f"<h1>{escape(name)}</h1>")
        for section in described:
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
    replace_text(file, page)


def _render(section: Section, place: str) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(sentence)}</p>" for sentence in section.sentences]
    table = _table(section) if section.rows else ""
    if section.traces:
        parts.append(f'<div class="chart" id="{place}"></div>')
        table = f"<details><summary>Table</summary>{table}</details>"
    return f"<section>{''.join(parts)}{table}</section>"


def _table(section: Section) -> str:
    rows = [list(row) for row in section.rows]
    numbers = [
        all(isinstance(row[index], int | float | None) for row in rows)
        for index in range(len(section.columns))
    ]

    def line(kind: str, cells: Sequence[Cell]) -> str:
        return "".join(
            f"<{kind}{' class=number' * number}>{escape(_text(cell))}</{kind}>"
            for cell, number in zip(cells, numbers, strict=True)
        )

    head = f"<thead><tr>{line('th', section.columns)}</tr></thead>"
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


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
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None  # a chart shows no more digits
