"""Tables of pairs: source sentence, target sentence and the target's language in each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from search.data.reading.collect import Collector, Columns, Place
from search.data.reading.interface import PairColumns, Request, SourceTable
from search.data.reading.names import PLAIN_NAME, is_code
from search.settings.problems import nearest, shown


class PairCollector(Collector):
    """Puts each sentence of a row into the column of its language.

    Where languages are listed, rows in others are left out, and counted.
    """

    def __init__(self, request: Request, name: str, *, pairs: PairColumns) -> None:
        super().__init__(request, name)
        self.pairs = pairs
        self._inner = Collector(request, name)
        self._left_out: dict[str, int] = {}

    def wants(self, name: str, certain: bool = False) -> bool:
        if name in self.seen:
            return name not in self.ignored
        self.seen[name] = None
        named = (self.pairs.source, self.pairs.target, self.pairs.language,
                 self.pairs.source_language)  # fmt: skip
        if name not in named:
            self.ignored[name] = "it is not named in data.pairs"
        return name in named

    def is_listed(self, name: str) -> bool:
        return True  # a person has named it, in data.pairs

    def add(self, columns: Columns, rows: int, place: Place) -> None:
        texts = {
            name: self._text(name, values, place).to_pylist() for name, values in columns.items()
        }
        missing: list[str | None] = [None] * rows
        source = texts.get(self.pairs.source, missing)
        target = texts.get(self.pairs.target, missing)
        given = self.request.pivot if self.pairs.source_language is None else None
        source_languages = self._languages(self.pairs.source_language, given, texts, rows, place)
        target_languages = self._languages(self.pairs.language, None, texts, rows, place)
        out: dict[str, list[str | None]] = {}
        kept: list[int] = []
        listed = self.request.languages
        for row in range(rows):
            one, other = source_languages[row], target_languages[row]
            if one == other:
                raise self.request.error(
                    f"{place(row)}: both sentences are in {one!r}; they must be in two languages"
                )
            outside = next((c for c in (one, other) if listed is not None and c not in listed), "")
            if outside:
                self._left_out[outside] = self._left_out.get(outside, 0) + 1
                continue
            for language, text in ((one, source[row]), (other, target[row])):
                values = out.setdefault(language, [])
                values.extend(missing[: len(kept) - len(values)])
                values.append(text)
            kept.append(row)
        for language, values in out.items():
            values.extend(missing[: len(kept) - len(values)])
            self._inner.seen.setdefault(language, None)
        self._inner.add(out, len(kept), lambda row: place(kept[row]))
        self.rows += rows

    def _languages(
        self,
        name: str | None,
        fixed: str | None,
        texts: Mapping[str, Sequence[str | None]],
        rows: int,
        place: Place,
    ) -> Sequence[str]:
        """The language of each row: by a column, or the same for all."""
        if fixed is None and name is not None and name in self.seen:
            column = texts.get(name, [None] * rows)
            for row, value in enumerate(column):
                code = (value or "").strip()
                listed = self.request.languages or ()
                if not (PLAIN_NAME.fullmatch(code) and (is_code(code) or code in listed)):
                    raise self.request.error(
                        f"{place(row)}: holds {shown(code)!r} in the column {name!r}; it must be "
                        f"the code of a language"
                    )
            return [(value or "").strip() for value in column]
        code = fixed or name or ""
        if not (is_code(code) or code in (self.request.languages or ()) or code == fixed):
            raise self.request.error(
                f"data.pairs names {code!r}, which is neither a column nor the code of a language; "
                f"the columns are {_shown(self.seen)}{nearest(code, list(self.seen))}"
            )
        return [code] * rows

    def finish(self) -> SourceTable:
        for column in (self.pairs.source, self.pairs.target):
            if column not in self.seen:
                raise self.request.error(
                    f"{self.name!r} has no column {column!r}, which data.pairs names; it has "
                    f"{_shown(self.seen)}{nearest(column, list(self.seen))}"
                )
        found = self._inner.finish()
        notes = [
            f"{count:,} rows in {shown(language)!r} are left out: it is not listed in "
            f"data.languages"
            for language, count in self._left_out.items()
        ]
        return SourceTable(
            found.table, dict(self.ignored), found.blank, (*self.notes, *notes), self.rows
        )


def _shown(names: Iterable[str]) -> str:
    return ", ".join(map(shown, names))
