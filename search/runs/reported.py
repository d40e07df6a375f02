"""What report.html tells of a run folder: its trials, and what its record says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.runs.record import RunRecord, read_record
from search.settings.problems import InputError

if TYPE_CHECKING:
    from search.events.outcomes import Outcomes
    from search.report.section import ReportedRun


def reported_run(folder: Path, outcomes: Outcomes) -> ReportedRun:
    """Gather what there is to tell; where the record is damaged, what the journal knows."""
    from components.languages import FamilyTable
    from search.report.section import ReportedRun
    from search.settings.sections import SearchSettings

    name = folder.resolve().name
    try:
        record = read_record(folder)
        config = record.plain["config"]
        scheduler = SearchSettings.model_validate(config["search"]).scheduler
        health = record.plain["data"]["health"]
        tokens = {str(one["language"]): float(one["tokens"]) for one in health["languages"]}
        table = FamilyTable(config["data"]["families"])
        return ReportedRun(
            name,
            outcomes,
            tokens=tokens,
            families={language: table.of(language) or "other" for language in tokens},
            max_epochs=scheduler.max_epochs,
            rungs=scheduler.rungs(),
            started=datetime.fromisoformat(record.plain["started"]).timestamp(),
            facts=_facts(record),
            warnings=tuple(map(str, health.get("warnings", ()))),
        )
    except (InputError, LookupError, TypeError, ValueError):
        return ReportedRun(name, outcomes)


def _facts(record: RunRecord) -> dict[str, str]:
    """What it takes to repeat a run."""
    plain: Mapping[str, Any] = record.plain
    facts = {"command": str(plain["command"]), "working directory": record.directory}
    facts["started"] = str(plain["started"])
    for index, again in enumerate(plain.get("resumed", []), start=1):
        facts[f"resumed, time {index}"] = f"{again['started']}: {again['command']}"
    sampler = plain["config"]["search"]["sampler"]
    facts["sampler"] = ", ".join(f"{key} {value}" for key, value in sampler.items())
    for part in ("train", "validation"):
        data = plain["data"][part]
        facts[f"data.{part}"] = f"{data['rows']:,} rows, SHA-256 of the tokens {data['sha256']}"
    facts["versions"] = ", ".join(f"{k} {v}" for k, v in record.versions.items() if v)
    return facts
