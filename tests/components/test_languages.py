"""Families of languages by code and by text."""

from __future__ import annotations

import pickle
import unicodedata

import pytest
from babel import Locale

from components.languages import (
    FAMILIES,
    FAMILY_OF_SCRIPT,
    WORDS_OF_SCRIPT,
    FamilyTable,
    Tag,
    family_of,
    family_of_text,
    parse,
)

# The languages of FLORES-200, by the family of the script that their code names.
FLORES = {
    "cjk": "jpan:jpn hang:kor hant:yue,zho hans:zho",
    "latin": "latn:ace,afr,aka,als,arb,ast,ayr,azj,bam,ban,bem,bjn,bos,bug,cat,ceb,ces,cjk,crh,cym,"
    "dan,deu,dik,dyu,eng,epo,est,eus,ewe,fao,fij,fin,fon,fra,fur,fuv,gaz,gla,gle,glg,grn,hat,hau,"
    "hrv,hun,ibo,ilo,ind,isl,ita,jav,kab,kac,kam,kbp,kea,kik,kin,kmb,kmr,knc,kon,lij,lim,lin,lit,"
    "lmo,ltg,ltz,lua,lug,luo,lus,lvs,min,mlt,mos,mri,nld,nno,nob,nso,nus,nya,oci,pag,pap,plt,pol,"
    "por,quy,ron,run,sag,scn,slk,slv,smo,sna,som,sot,spa,srd,ssw,sun,swe,swh,szl,taq,tgl,tpi,tsn,"
    "tso,tuk,tum,tur,twi,umb,uzn,vec,vie,war,wol,xho,yor,zsm,zul",
    "cyrillic": "cyrl:bak,bel,bul,kaz,khk,kir,mkd,rus,srp,tat,tgk,ukr",
    "arabic": "arab:ace,acm,acq,aeb,ajp,apc,arb,ars,ary,arz,azb,bjn,ckb,kas,knc,min,pbt,pes,prs,"
    "snd,uig,urd",
    "indic": "deva:awa,bho,hin,hne,kas,mag,mai,mar,npi,san beng:asm,ben,mni gujr:guj guru:pan "
    "knda:kan mlym:mal orya:ory sinh:sin taml:tam telu:tel",
    "other": "ethi:amh,tir tibt:bod,dzo grek:ell hebr:heb,ydd armn:hye geor:kat khmr:khm laoo:lao "
    "mymr:mya,shn olck:sat tfng:taq,tzm thai:tha",
}
CODES = [
    (f"{language}_{script.title()}", family)
    for family, scripts in FLORES.items()
    for script, languages in (entry.split(":") for entry in scripts.split(" "))
    for language in languages.split(",")
]
# Written most often in another script than the one that the code names, as CLDR has it.
ELSEWHERE = {
    "ace_Arab": "latin", "arb_Latn": "arabic", "bjn_Arab": "latin", "crh_Latn": "cyrillic",
    "kas_Deva": "arabic", "knc_Arab": "latin", "min_Arab": "latin", "taq_Tfng": "latin",
    "tzm_Tfng": "latin",
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "family"),
    [
        ("zh", "cjk"), ("zho", "cjk"), ("zho_Hans", "cjk"), ("ja", "cjk"), ("ko", "cjk"),
        ("en", "latin"), ("de", "latin"), ("sr-Latn", "latin"),
        ("ru", "cyrillic"), ("sr", "cyrillic"), ("ar", "arabic"), ("fa", "arabic"),
        ("hi", "indic"), ("gu", "indic"), ("pa", "indic"), ("pa-Arab", "arabic"),
        ("pan_Guru", "indic"), ("am", "other"), ("xx", "other"), ("", "other"),
        ("EN", "latin"), ("pt-BR", "latin"), ("zh-Hant-TW", "cjk"), ("yue_hant", "cjk"),
        ("sr-Cyrl", "cyrillic"), ("khk_Cyrl", "cyrillic"), ("arb", "arabic"),
        ("cmn", "cjk"), ("wuu", "cjk"), ("nan", "cjk"), ("chi", "cjk"), ("ger", "latin"),
        ("mni-Mtei", "indic"), ("ur-Aran", "arabic"), ("jv-Java", "other"),
        # The region decides where it has a script of its own, and else does not matter.
        ("pa-PK", "arabic"), ("pa_IN", "indic"), ("zh-TW", "cjk"), ("en-US", "latin"),
        ("sr-ME", "latin"), ("uz-AF", "arabic"), ("kk_cn", "arabic"), ("ur-IN", "arabic"),
        ("es-419", "latin"), ("ha-Arab-NG", "arabic"), ("pa-Guru-PK", "indic"),
        # CLDR knows these by another code that brings a script or a region of its own.
        ("sh", "latin"), ("hbs", "latin"), ("sh-Cyrl", "cyrillic"), ("prs", "arabic"),
        ("cnr", "latin"),
        # What follows a single letter is no script and no region of the language.
        ("en-x-arab", "latin"), ("sr-t-it-latn", "cyrillic"), ("pa-u-pk", "indic"),
        ("de-1996", "latin"), ("zh-min-nan", "cjk"),
        ("und", "other"), ("mul", "other"), ("und-Deva", "indic"), ("xx-Latn", "latin"),
    ],
)  # fmt: skip
def test_family_of(language: str, family: str) -> None:
    assert family_of(language) == family
    assert family in FAMILIES


def test_there_are_enough_codes() -> None:
    assert len(CODES) == len(dict(CODES)) == 204
    assert {family for _, family in CODES} == set(FAMILIES)
    assert set(ELSEWHERE) < set(dict(CODES))


@pytest.mark.parametrize(("code", "family"), CODES)
def test_flores(code: str, family: str) -> None:
    table = FamilyTable()
    assert table.of(code) == family
    assert table.of(code.replace("_", "-").upper()) == family
    bare = code.split("_")[0]
    assert table.of(bare) == ELSEWHERE.get(code, family)


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        ("cmn", Tag("zh", "Hans")), ("zho_Hant", Tag("zh", "Hant")), ("zh-HK", Tag("zh", "Hant")),
        ("jpn", Tag("ja", "Jpan")), ("KO", Tag("ko", "Kore")), ("pan", Tag("pa", "Guru")),
        ("sh", Tag("sr", "Latn")), ("pes_Arab", Tag("fa", "Arab")), ("yue", Tag("yue", "Hant")),
        ("xx", Tag("xx", "")), ("xx_latn", Tag("xx", "Latn")), ("", Tag("", "")),
        ("und", Tag("und", "")),
    ],
)  # fmt: skip
def test_parse(code: str, tag: Tag) -> None:
    assert parse(code) == tag


@pytest.mark.parametrize("code", ["xx", "", "und", "mul", "klingon", "zxx-US"])
def test_an_unknown_code_has_no_family(code: str) -> None:
    assert FamilyTable().of(code) is None
    assert family_of(code) == "other"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # A language, by whatever code.
        ({"ko": "korean"}, {"ko": "korean", "kor_Hang": "korean", "ko-KR": "korean", "ja": "cjk"}),
        ({"kor": "korean"}, {"ko": "korean"}),
        ({"xx": "mine"}, {"xx": "mine", "xx-Latn": "mine", "xy": None}),
        # A language in one script.
        ({"pa-Arab": "x"}, {"pa_Arab": "x", "pa-PK": "x", "pa": "indic", "ur": "arabic"}),
        ({"pa-PK": "x"}, {"pan_Arab": "x", "pan": "indic"}),
        ({"sh": "x"}, {"sr-Latn": "x", "hbs": "x", "sr": "cyrillic", "sh-Cyrl": "cyrillic"}),
        ({"pan_Guru": "x"}, {"pa": "x", "pa-Arab": "arabic"}),
        # A script.
        ({"Gujr": "gujarati"}, {"gu": "gujarati", "guj_Gujr": "gujarati", "hi": "indic"}),
        ({"gujr": "gujarati"}, {"gu": "gujarati"}),
        ({"Java": "brahmic"}, {"jv-Java": "brahmic", "jv": "latin"}),
        ({"Xxxx": "odd"}, {"zh-Xxxx": "odd", "zh-Yyyy": "other"}),
        # The script for all letters of another stands for that too; not the other way round.
        ({"Hani": "han"}, {"zh": "han", "zh-TW": "han", "ja": "cjk"}),
        ({"Hant": "old"}, {"zh": "cjk", "zh-TW": "old", "yue": "old"}),
        ({"Hani": "han", "Hant": "old"}, {"zh": "han", "zh-TW": "old"}),
        ({"Hang": "korean"}, {"ko": "korean", "kor_Hang": "korean", "zh": "cjk"}),
        ({"Kore": "korean"}, {"ko": "korean", "kor_Hang": "cjk"}),
        # The narrower goes first, in whatever order they are written.
        ({"Gujr": "a", "gu": "b"}, {"gu": "b", "hi-Gujr": "a"}),
        ({"gu": "b", "Gujr": "a"}, {"gu": "b", "hi-Gujr": "a"}),
        ({"pa": "a", "pa-Arab": "b"}, {"pa": "a", "pa-PK": "b", "pa-Deva": "a"}),
        ({"pa-Arab": "b", "pa": "a", "Arab": "c"}, {"pa": "a", "pa-PK": "b", "ar": "c"}),
        ({"Latn": "c", "sr-Latn": "b"}, {"sr": "cyrillic", "sr-ME": "b", "en": "c"}),
    ],
)
def test_changes(changes: dict[str, str], expected: dict[str, str | None]) -> None:
    table = FamilyTable(changes)
    assert {code: table.of(code) for code in expected} == expected
    again = pickle.loads(pickle.dumps(table))
    assert again == table
    assert {code: again.of(code) for code in expected} == expected


TEXTS = {
    "latin": ["The cat sat on the mat.", "Größe ändert nichts", "Tiếng Việt có dấu", "x"],
    "cyrillic": ["Кошка сидит на коврике.", "Ґанок і їжак"],
    "cjk": ["今天天气很好。", "猫がマットに座った。", "ﾃｽﾄ", "고양이가 앉았다.", "ᄒᆞᆫ", "ㄅㄆㄇ"],
    "arabic": ["جلست القطة على السجادة", "بلی چٹائی پر بیٹھی ہے", "گربه", "ﷲ"],
    "indic": [
        "बिल्ली चटाई पर बैठी है", "બિલાડી", "ਬਿੱਲੀ", "বিড়াল", "பூனை", "పిల్లి",
        "ಬೆಕ್ಕು", "പൂച്ച", "ବିଲେଇ", "පූසා", "ꯃꯤꯇꯩ",
    ],
    "other": [
        "γάτα", "חתול", "կատու", "კატა", "ድመት", "แมว", "ແມວ", "ឆ្មា", "ကြောင်",
        "བྱི་ལ", "ᱯᱩᱥᱤ", "ⴰⵎⵓⵛⵛ", "ꦏꦸꦕꦶꦁ", "𐎀𐎁𐎂",
    ],
}  # fmt: skip
ODD = {
    # The majority of letters, not of words or of bytes; of equals the first.
    "OK, कल मिलते हैं": "indic",
    "Internet है": "latin",
    "ab 中文": "latin",
    "中文 ab": "cjk",
    # Letters that modify others are of no script.
    "ラーーー": "cjk",
    "々々々 山": "cjk",
    "ʼʼʼʼʼ так": "cyrillic",
    "ʻʻʻ a": "latin",
    # Nothing but letters counts.
    "2026 年 12345 67890": "cjk",
    "42 😀😀😀 да!!!": "cyrillic",
    "12345": "other",
    "": "other",
    " \n\t": "other",
    "!?…😀": "other",
    "\u0301": "other",
    # Wide, styled and decomposed letters are letters; their marks are not.
    "Ｈｅｌｌｏ": "latin",
    "𝐇𝐞𝐥𝐥𝐨": "latin",
    "e\u0301e\u0301 д": "latin",
    "и\u0306 a и": "cyrillic",
    "a\u0360\u0361\u0362\u0363 дд": "cyrillic",
}


@pytest.mark.parametrize(
    ("text", "family"), [*((t, f) for f, texts in TEXTS.items() for t in texts), *ODD.items()]
)
def test_of_text(text: str, family: str) -> None:
    assert FamilyTable().of_text(text) == family


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Gujr": "gujarati"}, {"બિલાડી": "gujarati", "बिल्ली": "indic"}),
        ({"gujr": "gujarati"}, {"બિલાડી": "gujarati"}),
        ({"Hang": "korean"}, {"고양이": "korean", "猫": "cjk"}),
        ({"Kore": "korean"}, {"고양이": "korean", "猫": "cjk"}),
        ({"Jpan": "japanese"}, {"ネコがいる": "japanese", "テスト": "japanese", "猫": "cjk"}),
        ({"Jpan": "a", "Kana": "b"}, {"ねこ": "a", "ネコ": "b"}),
        ({"Hant": "old"}, {"猫": "old"}),
        ({"Hans": "new", "Hani": "han"}, {"猫": "han"}),
        ({"Java": "brahmic"}, {"ꦏꦸꦕꦶꦁ": "brahmic"}),
        # Text does not show its language.
        ({"gu": "gujarati", "hi-Gujr": "x"}, {"બિલાડી": "indic"}),
    ],
)
def test_changes_of_scripts_hold_for_text(
    changes: dict[str, str], expected: dict[str, str]
) -> None:
    table = FamilyTable(changes)
    assert {text: table.of_text(text) for text in expected} == expected


def test_two_families_of_one_text_are_added_up_as_changed() -> None:
    text = "કકક खख abcd"
    assert FamilyTable().of_text(text) == "indic"
    assert FamilyTable({"Gujr": "gujarati"}).of_text(text) == "latin"


def test_the_table_names_scripts_and_letters_that_exist() -> None:
    known = Locale("en").scripts
    names = {unicodedata.name(chr(i), "").split(" ")[0] for i in range(0x30000) if chr(i).isalpha()}
    assert set(FAMILY_OF_SCRIPT) == set(WORDS_OF_SCRIPT)
    assert set(FAMILY_OF_SCRIPT.values()) == set(FAMILIES)
    for script, words in WORDS_OF_SCRIPT.items():
        assert script in known
        assert words
        assert set(words) <= names


def test_words_are_all_that_text_needs() -> None:
    words = FamilyTable({"Gujr": "gujarati"}).words()
    assert words["GUJARATI"] == "gujarati"
    assert words["LATIN"] == "latin"
    assert family_of_text("બિલાડી", words) == "gujarati"
    assert family_of_text("abc", {"LATIN": "mine"}) == "mine"
    assert family_of_text("где abc", {"LATIN": "mine"}) == "other"


@pytest.mark.parametrize(
    ("code", "script", "text"),
    [
        ("en", "Latn", "word"), ("ru", "Cyrl", "слово"), ("ar", "Arab", "كلمة"),
        ("hi", "Deva", "शब्द"), ("zh", "Hani", "词"), ("zh-TW", "Hani", "詞"),
        ("ja", "Hira", "ことば"), ("ja", "Jpan", "コトバ"),
        ("ko", "Hang", "낱말"), ("ko", "Kore", "말"),
        ("el", "Grek", "λέξη"), ("am", "Ethi", "ቃል"), ("gu", "Gujr", "શબ્દ"), ("si", "Sinh", "වචනය"),
        ("ii", "Yiii", "ꆈꌠ"), ("mni-Mtei", "Mtei", "ꯋꯥꯍꯩ"), ("chr", "Cher", "ᎧᏃᎮᏗ"),
    ],
)  # fmt: skip
def test_code_and_text_lead_to_the_same_family(code: str, script: str, text: str) -> None:
    """A model is trained by codes and used on bare text."""
    assert FamilyTable().of(code) == FamilyTable().of_text(text)
    changed = FamilyTable({script: "mine"})
    assert changed.of(code) == changed.of_text(text) == "mine"
