"""The built-in corpus: aligned, without repetition, and split by content."""

from itertools import islice

import pytest

from search.data.cldr import (
    LANGUAGES,
    MAX_ROWS,
    Item,
    Split,
    combinations,
    inventory,
    phrases,
    render,
)

SPLITS: tuple[Split, ...] = ("train", "validation")


def _columns(split: Split, rows: int, seed: int) -> dict[str, set[str]]:
    return {language: set(column) for language, column in phrases(split, rows, seed).items()}


@pytest.mark.parametrize(
    ("combination", "expected"),
    [
        (
            (("date", "1973-03-14", 0), ("territory", "PE", 0), ("unit", "length-kilometer", 12)),
            {
                "en": "Wednesday, March 14, 1973: Peru and 12 kilometers",
                "zh": "1973年3月14日星期三\N{FULLWIDTH COLON}秘鲁和12公里",
                "ar": "الأربعاء، 14 مارس 1973: بيرو و12 كيلومترًا",
                "ko": "1973년 3월 14일 수요일: 페루 및 12킬로미터",
                "de": "Mittwoch, 14. März 1973: Peru und 12 Kilometer",
            },
        ),
        (
            (("relative", "day", -3), ("language", "gu", 0), ("city", "Europe/Vienna", 0)),
            {
                "en": "3 days ago: Gujarati and Vienna",
                "de": "vor 3 Tagen: Gujarati und Wien",
                "gu": "3 દિવસ પહેલાં: ગુજરાતી અને વિયેના",
                "pa": "3 ਦਿਨ ਪਹਿਲਾਂ: ਗੁਜਰਾਤੀ ਅਤੇ ਵਿਆਨਾ",
            },
        ),
        (
            (("currency", "GEL", 8), ("territory", "PE", 0), ("territory", "KE", 0)),
            {
                "en": "8 Georgian laris, Peru, or Kenya",
                "zh": "8格鲁吉亚拉里、秘鲁或肯尼亚",
                "ar": "8 لاري جورجي أو بيرو أو كينيا",
                "de": "8 Georgische Lari, Peru oder Kenia",
            },
        ),
        (
            (("currency", "JPY", 40), ("territory", "KE", 0), ("territory", "JP", 0)),
            {
                "en": "40 Japanese yen, Kenya, and Japan",
                "zh": "40日元、肯尼亚和日本",
                "de": "40 Japanische Yen, Kenia und Japan",
            },
        ),
    ],
)
def test_a_combination_reads_the_same_in_every_language(
    combination: tuple[Item, ...], expected: dict[str, str]
) -> None:
    assert {language: render(combination, language) for language in expected} == expected


@pytest.mark.parametrize(
    ("seconds", "period", "quantity", "english"),
    [
        (1, "second", 45, "in 45 seconds: Peru"),
        (60, "minute", 45, "in 45 minutes: Peru"),
        (3600, "hour", 20, "in 20 hours: Peru"),
        (86_400, "day", 5, "in 5 days: Peru"),
        (604_800, "week", 3, "in 3 weeks: Peru"),
        (2_592_000, "month", 9, "in 9 months: Peru"),
        (31_536_000, "year", 60, "in 60 years: Peru"),
    ],
)
def test_a_relative_time_keeps_its_unit(
    seconds: int, period: str, quantity: int, english: str
) -> None:
    assert render((("relative", period, quantity), ("territory", "PE", 0)), "en") == english


@pytest.mark.parametrize("split", SPLITS)
def test_no_phrase_stands_twice_in_a_column(split: Split) -> None:
    for language, column in phrases(split, 5_000, 3).items():
        assert len(column) == 5_000
        assert len(set(column)) == 5_000, language


def test_no_validation_phrase_is_in_a_train_split_of_any_seed() -> None:
    train = [_columns("train", rows, seed) for rows, seed in ((4_000, 0), (2_000, 7))]
    validation = [_columns("validation", rows, seed) for rows, seed in ((2_000, 0), (1_000, 9))]
    for seen in train:
        for unseen in validation:
            for language in LANGUAGES:
                assert seen[language].isdisjoint(unseen[language]), language


def test_validation_combines_known_items_anew() -> None:
    train = list(islice(combinations("train", 0), 20_000))
    validation = list(islice(combinations("validation", 5), 1_000))
    assert {frozenset(each) for each in train}.isdisjoint(frozenset(each) for each in validation)
    known = {(kind, key) for each in train for kind, key, _ in each if kind != "date"}
    asked = {(kind, key) for each in validation for kind, key, _ in each if kind != "date"}
    assert asked <= known
    parts = [
        {
            part
            for each in combos
            for kind, key, _ in each
            if kind == "date"
            for part in (key[:4], key[5:])
        }
        for combos in (train, validation)
    ]
    assert parts[1] <= parts[0]


def test_the_same_items_always_read_the_same() -> None:
    once, again = (
        {frozenset(each): each for each in islice(combinations("train", seed), 30_000)}
        for seed in (1, 2)
    )
    both = once.keys() & again.keys()
    assert len(both) > 5, "two seeds of this size share some short combinations"
    assert all(once[each] == again[each] for each in both)


def test_both_splits_are_of_one_kind() -> None:
    """The share of each list style and opening is the same in both, so neither tells the split."""
    shares = {}
    for split in SPLITS:
        texts = phrases(split, 3_000, 0, ["en"])["en"]
        for word in (" or ", ": ", " ago: "):
            shares[split, word] = sum(word in text for text in texts) / len(texts)
    for word, low, high in ((" or ", 0.15, 0.25), (": ", 0.6, 0.8), (" ago: ", 0.1, 0.2)):
        assert low < shares["train", word] < high
        assert shares["validation", word] == pytest.approx(shares["train", word], abs=0.04)


def test_a_seed_decides_everything() -> None:
    assert phrases("train", 200, 4) == phrases("train", 200, 4)
    assert phrases("train", 200, 4) != phrases("train", 200, 5)
    longer = phrases("train", 300, 4)
    assert phrases("train", 200, 4) == {k: column[:200] for k, column in longer.items()}


def test_the_languages_asked_only_choose_columns() -> None:
    every = phrases("validation", 100, 2)
    assert list(every) == list(LANGUAGES)
    assert phrases("validation", 100, 2, ["pa", "en"]) == {"pa": every["pa"], "en": every["en"]}


def test_the_first_phrases_of_this_babel_are_these() -> None:
    """A change here changes every result on the built-in corpus, so it must be deliberate."""
    assert phrases("train", 2, 0, ["en", "de"]) == {
        "en": [
            "9 months ago: Palestinian Territories, 5 Brazilian reals, and 55 Djiboutian francs",
            "Monday, August 23, 1982: 81 decimeters, Lisbon, and 4 Guatemalan quetzals",
        ],
        "de": [
            (
                "vor 9 Monaten: Palästinensische Autonomiegebiete, 5 Brasilianische Real und "
                "55 Dschibuti-Franc"
            ),
            "Montag, 23. August 1982: 81 Dezimeter, Lissabon und 4 Guatemaltekische Quetzales",
        ],
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_can_be_read_in_one_way(language: str) -> None:
    """No name of the inventory is another name and a separator, tried pair by pair."""
    assert {kind: len(keys) > 50 for kind, keys in inventory().items()} == dict.fromkeys(
        ("territory", "language", "city", "currency", "unit"), True
    )
    items = [
        (kind, key, 0) for kind in ("territory", "language", "city") for key in inventory()[kind]
    ]
    names = [render((item,), language) for item in items]
    assert len(set(names)) == len(names)
    separators = (", ", " and ", " & ", "、", "和", " و", " 및 ", " und ", " અને ", " ਅਤੇ ")
    for name in names:
        for separator in separators if language != "en" else (", ", ", and ", " and "):
            head = name.split(separator)[0]
            assert head == name or head not in names, name


def test_mistakes_are_told_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^languages: got fr, must be among en, zh, "):
        phrases("train", 1, 0, ["en", "fr"])
    with pytest.raises(ValueError, match=r"^rows: got 100001, must be from 0 to 100000 for val"):
        phrases("validation", MAX_ROWS["validation"] + 1, 0)
    with pytest.raises(ValueError, match=r"^rows: got -1, must be"):
        phrases("train", -1, 0)
    with pytest.raises(ValueError, match=r"^split: got 'test', must be one of train, validation$"):
        phrases("test", 1, 0)  # type: ignore[arg-type]
    assert phrases("train", 0, 0, ["en"]) == {"en": []}
