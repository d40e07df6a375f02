"""report.html in a real browser: it draws every chart, asks no network, and fits the window."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from search.events.outcomes import Outcomes
from search.report.page import write_page
from search.report.section import ReportedRun
from tests.search.report.test_page import EVENTS, epoch

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
LANGUAGES = {f"language-{number}": 8.0 + number for number in range(20)}
# Before all scripts of the page: what goes wrong; after them: what has become of the page.
BEFORE = """<script>
const faults = [];
addEventListener('error', event => faults.push(String(event.message)));
console.error = console.warn = (...words) => faults.push(words.join(' '));
</script>"""
AFTER = """<script>
addEventListener('load', () => setTimeout(() => {
  const wide = [...document.querySelectorAll('body *')].filter(one =>
    !one.closest('.scroll, svg') && one.getBoundingClientRect().right > innerWidth + 1);
  const found = {faults, width: innerWidth, scroll: document.documentElement.scrollWidth,
    dark: getComputedStyle(document.body).backgroundColor,
    requests: performance.getEntriesByType('resource').map(one => one.name),
    wide: wide.map(one => one.tagName + '.' + one.className),
    charts: document.querySelectorAll('.chart').length,
    drawn: [...document.querySelectorAll('.chart')].filter(one =>
      one.querySelector('.main-svg') && one.getBoundingClientRect().height > 100).length};
  parent.postMessage(JSON.stringify(found), '*');
}, 500));
</script>"""
# A window of a browser without a screen is 500 pixels wide at least; a frame in it is not.
FRAME = """<!doctype html><pre id=found></pre><script>
addEventListener('message', event => document.getElementById('found').textContent = event.data);
</script><iframe style="border:0" width="{width}" height="900" src="{page}"></iframe>"""


def opened(page: Path, width: int, *flags: str) -> dict[str, Any]:
    """Open a page in a window of some width, and ask it what has become of it."""
    text = page.read_text(encoding="utf-8")
    asked, frame = (page.with_name(f"{name}-{width}.html") for name in ("asked", "frame"))
    asked.write_text(text.replace("<head>", f"<head>{BEFORE}", 1) + AFTER, encoding="utf-8")
    frame.write_text(FRAME.format(width=width, page=asked.name), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width + 40},950",
         f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
         *flags, f"file://{frame}"],
        capture_output=True, text=True, timeout=800, check=True,
    )  # fmt: skip
    found, *_ = re.findall(r'<pre id="found">(.*?)</pre>', done.stdout)
    return dict(json.loads(unescape(found)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs with many languages, long words and a failed trial."""
    scores = {name: 0.4 + index / 50 for index, name in enumerate(LANGUAGES)}
    better = {name: score + 0.1 for name, score in scores.items()}
    outcomes = Outcomes([*EVENTS[:3], epoch(0, 1, **scores), epoch(1, 1, **better), *EVENTS[5:]])
    families = dict.fromkeys(LANGUAGES, "latin")
    facts = {"command": "python -m search.run " + "x" * 300}
    run = ReportedRun("run", outcomes, LANGUAGES, families, 1, (), None, facts)
    file = tmp_path_factory.mktemp("page") / "report.html"
    write_page(file, [run, run])
    return file


@pytest.mark.skipif(not BROWSER, reason="no Chromium is here")
@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_the_page_in_a_window(page: Path, width: int) -> None:
    dark = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] * (width == 1280)
    found = opened(page, width, *dark)
    assert found["faults"] == []
    assert found["requests"] == []
    assert found["width"] == width
    assert found["scroll"] <= width, found["wide"]
    assert found["drawn"] == found["charts"] > 10
    assert found["dark"] == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")
