"""The built-in corpus `builtin:cldr`: aligned phrases made of names, dates and quantities.

Every phrase is a combination of items (a date, a territory, 12 kilometers, ...), rendered in each
language with the names, plural rules and list patterns of the Unicode CLDR, as shipped with Babel:

    en  Wednesday, March 14, 1973: Peru, Kenya, and 12 kilometers
    de  Mittwoch, 14. März 1973: Peru, Kenia und 12 Kilometer

A combination is a set of items. Its split, the order of its items and its list style (and, or)
all come from a hash of that set, so neither a seed nor a row count can move a phrase from one
split to the other, and no two phrases are the same items in another order. The inventory leaves
out the few items whose names would let two combinations read alike in some language.

Source: CLDR (cldr.unicode.org), through Babel; a new Babel version may change the phrases.
"""

import datetime
import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Literal, get_args

from babel import Locale
from babel.dates import format_date, format_timedelta
from babel.lists import format_list
from babel.numbers import format_currency
from babel.units import format_unit

Split = Literal["train", "validation"]
Item = tuple[str, str, int]
"""Kind, CLDR key, and a quantity (0 where the kind has none)."""

LANGUAGES: tuple[str, ...] = ("en", "zh", "ar", "ko", "de", "gu", "pa")
MAX_ROWS: dict[Split, int] = {"train": 1_000_000, "validation": 100_000}
"""The most rows that a split gives; far fewer than it has, so that sampling stays fast."""

_VALIDATION_SHARE = 10  # one combination in ten
_QUANTITIES = (2, 99)  # 1 is left out: Arabic and others drop the numeral
_PROBES = (2, 3, 11)  # one quantity for each plural category within _QUANTITIES
_FIRST_DAY, _LAST_DAY = datetime.date(1920, 1, 1), datetime.date(2039, 12, 31)
_PERIODS: dict[str, tuple[int, int]] = {
    # unit of a relative time: seconds, and the most of it before Babel rounds to the next unit
    "second": (1, 45),
    "minute": (60, 45),
    "hour": (3600, 20),
    "day": (86_400, 5),
    "week": (604_800, 3),
    "month": (2_592_000, 9),
    "year": (31_536_000, 60),
}
# CLDR writes "{0}: {1}" per language (localeKeyTypePattern); Babel does not carry that pattern.
_COLON = {"zh": "\N{FULLWIDTH COLON}"}
_OPENING_WEIGHTS = {"date": 4, "relative": 3, "": 3}
_NAME_KINDS = ("territory", "language", "city", "currency", "unit")
_COUNTED = ("currency", "unit")


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language)


def _unit_length(key: str, language: str) -> Literal["long", "short"] | None:
    """The longest form that the language has; Chinese has one form only and files it as short."""
    patterns = _locale(language)._data["unit_patterns"].get(key, {})
    if "long" in patterns:
        return "long"
    return "short" if language == "zh" and "short" in patterns else None


def _render_unit(key: str, quantity: int, locale: Locale) -> str:
    length = _unit_length(key, locale.language)
    assert length is not None, (key, locale)
    return format_unit(quantity, key, length=length, locale=locale)


def _render_currency(key: str, quantity: int, locale: Locale) -> str:
    return format_currency(
        quantity, key, "0", locale=locale, currency_digits=False, format_type="name"
    )


def _render_date(key: str, quantity: int, locale: Locale) -> str:
    return format_date(datetime.date.fromisoformat(key), "full", locale=locale)


def _render_relative(key: str, quantity: int, locale: Locale) -> str:
    delta = datetime.timedelta(seconds=_PERIODS[key][0] * quantity)
    return format_timedelta(delta, threshold=1, add_direction=True, locale=locale)


def _render_city(key: str, quantity: int, locale: Locale) -> str:
    """The exemplar city of a time zone, which English often leaves to the zone's identifier."""
    city: str | None = locale.time_zones.get(key, {}).get("city")
    return city or key.rsplit("/", 1)[-1].replace("_", " ")


_RENDER: dict[str, Callable[[str, int, Locale], str]] = {
    "territory": lambda key, _, locale: locale.territories[key],
    "language": lambda key, _, locale: locale.languages[key],
    "city": _render_city,
    "currency": _render_currency,
    "unit": _render_unit,
    "date": _render_date,
    "relative": _render_relative,
}


@lru_cache(maxsize=1 << 18)
def _text(item: Item, language: str) -> str:
    kind, key, quantity = item
    text = _RENDER[kind](key, quantity, _locale(language))
    # No-break spaces and soft hyphens are CLDR's care for line ends; people type neither.
    return " ".join(text.replace("\N{SOFT HYPHEN}", "").split())


def _candidates() -> dict[str, list[str]]:
    """Keys that all the languages name, by kind. Left out: region variants and unused codes."""
    locales = [_locale(language) for language in LANGUAGES]
    others = [locale for locale in locales if locale.language != "en"]
    by_kind = {
        "territory": (set(map(str, locale.territories)) for locale in locales),
        "language": ({k for k in map(str, locale.languages) if len(k) == 2} for locale in locales),
        "currency": (set(map(str, locale.currencies)) for locale in locales),
        "city": (
            {k for k, v in locale.time_zones.items() if "city" in v and not k.startswith("Etc/")}
            for locale in others
        ),
        "unit": (
            {k for k in _locale("en")._data["unit_patterns"] if _unit_length(k, language)}
            for language in LANGUAGES
        ),
    }
    return {kind: sorted(set.intersection(*by_kind[kind])) for kind in _NAME_KINDS}


@cache
def _separators(language: str) -> tuple[str, ...]:
    """What stands between two items in some phrase of the language."""
    lists = (["0"] * n for n in (2, 3, 4))
    styles: tuple[Literal["standard", "or"], ...] = ("standard", "or")
    found = {
        piece
        for parts in lists
        for style in styles
        for piece in re.split("0", format_list(parts, style=style, locale=_locale(language)))
        if piece
    }
    return (*sorted(found), _COLON.get(language, ": "))


def _reads_like_name(text: str, language: str) -> bool:
    """Whether the text is in the language's script, and not a symbol or a bare code."""
    return language in ("en", "de") or any(c.isalpha() and not c.isascii() for c in text)


@cache
def inventory() -> dict[str, tuple[str, ...]]:
    """The CLDR keys in use, by kind (territory, language, city, currency, unit).

    An item is left out if in some language its name is another item's, or is another item's name
    plus a separator and more ("Congo" and "Congo, ..."). Names are then a prefix code, so a
    phrase can be read in one way only, and different combinations have different texts.
    """
    taken: dict[str, set[str]] = {language: set() for language in LANGUAGES}
    names: list[tuple[str, str, dict[str, list[str]]]] = []
    for kind, keys in _candidates().items():
        for key in keys:
            probes = _PROBES if kind in _COUNTED else (0,)
            texts = {lang: [_text((kind, key, n), lang) for n in probes] for lang in LANGUAGES}
            fresh = all(taken[lang].isdisjoint(texts[lang]) for lang in LANGUAGES)
            if fresh and all(_reads_like_name(t, lang) for lang in texts for t in texts[lang]):
                names.append((kind, key, texts))
                for lang in LANGUAGES:
                    taken[lang].update(texts[lang])

    def readable_in_one_way(texts: dict[str, list[str]]) -> bool:
        return not any(
            text[: match.start()] in taken[lang]
            for lang in LANGUAGES
            for text in texts[lang]
            for separator in _separators(lang)
            for match in re.finditer(re.escape(separator), text)
        )

    return {
        kind: tuple(key for k, key, texts in names if k == kind and readable_in_one_way(texts))
        for kind in _NAME_KINDS
    }


def _digest(items: Sequence[Item]) -> int:
    """A hash of the set of items, the same on every machine and in every process."""
    joined = "|".join(f"{kind}:{key}:{quantity}" for kind, key, quantity in sorted(items))
    return int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=8).digest(), "big")


def _opening(rng: random.Random) -> list[Item]:
    kind = rng.choices(list(_OPENING_WEIGHTS), list(_OPENING_WEIGHTS.values()))[0]
    if kind == "date":
        span = (_LAST_DAY - _FIRST_DAY).days
        return [(kind, (_FIRST_DAY + datetime.timedelta(rng.randint(0, span))).isoformat(), 0)]
    if kind == "relative":
        period = rng.choice(list(_PERIODS))
        return [(kind, period, rng.choice((-1, 1)) * rng.randint(2, _PERIODS[period][1]))]
    return []


def _listed(rng: random.Random) -> Item:
    kind = rng.choice(_NAME_KINDS)
    key = rng.choice(inventory()[kind])
    return kind, key, rng.randint(*_QUANTITIES) if kind in _COUNTED else 0


def combinations(split: Split, seed: int) -> Iterator[tuple[Item, ...]]:
    """Endless distinct combinations of a split: at most one opening, then the listed items."""
    rng = random.Random(f"{split}:{seed}")
    seen: set[tuple[Item, ...]] = set()
    while True:
        opening = _opening(rng)
        drawn = [_listed(rng) for _ in range(rng.randint(2 - len(opening), 3))]
        listed = {item[:2]: item for item in drawn}.values()  # one amount of a currency at most
        digest = _digest([*opening, *listed])
        if len(opening) + len(listed) < 2:
            continue
        if ("validation" if digest % _VALIDATION_SHARE == 0 else "train") != split:
            continue
        shuffled = sorted(listed)
        random.Random(digest).shuffle(shuffled)
        combination = (*opening, *shuffled)
        if combination not in seen:
            seen.add(combination)
            yield combination


def render(combination: Sequence[Item], language: str) -> str:
    """The text of a combination in one of LANGUAGES."""
    opening = [item for item in combination if item[0] in ("date", "relative")]
    listed = [_text(item, language) for item in combination[len(opening) :]]
    # High bits of the hash: the low ones decide the split, which must not favour a style.
    quarter = (_digest(combination) >> 32) % 4
    style: Literal["standard", "or"] = "or" if quarter == 0 else "standard"
    text = format_list(listed, style=style, locale=_locale(language))
    return _COLON.get(language, ": ").join([*(_text(item, language) for item in opening), text])


def phrases(
    split: Split, rows: int, seed: int, languages: Sequence[str] = LANGUAGES
) -> dict[str, list[str]]:
    """Aligned phrases: for each language a column of `rows` texts, row i being the same phrase.

    No text stands twice in a column, and none of one split is in the other, whatever the seeds.
    The first n rows do not depend on `rows`, and no column on which languages are asked.

    Raises ValueError for an unknown split or language, or for more rows than the split gives.
    """
    if split not in get_args(Split):
        raise ValueError(f"split: got {split!r}, must be one of {', '.join(get_args(Split))}")
    if not 0 <= rows <= MAX_ROWS[split]:
        raise ValueError(f"rows: got {rows}, must be from 0 to {MAX_ROWS[split]} for {split}")
    if unknown := [language for language in languages if language not in LANGUAGES]:
        raise ValueError(
            f"languages: got {', '.join(unknown)}, must be among {', '.join(LANGUAGES)}"
        )
    stream = combinations(split, seed)
    chosen = [next(stream) for _ in range(rows)]
    return {language: [render(each, language) for each in chosen] for language in languages}
