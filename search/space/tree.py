"""The plain values of a space file -> the tree of a space, with its domains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from components.errors import SettingError
from search.settings.problems import Problem, nearest, shown
from search.settings.wording import as_written, fault_sentence
from search.space.domain_forms import FORMS, KEYS, ChoiceForm
from search.space.domains import CASES, Choice, is_domain
from search.space.other_notations import domain_here
from search.space.run_config import FIXED_SECTIONS
from search.space.source import KeyPath, Source

# Case names stand in tables, CSV files, the study and the terminal: nothing that cannot be printed,
# and no first character that a spreadsheet takes for a formula.
CASE_NAME = re.compile(r"\w[\w .,:;+/()\[\]&=%@#'-]{0,59}")

BROKEN = object()  # stands in the tree for a malformed domain


class TreeBuilder:
    """Builds the tree of a space.

    Attributes:
        problems: everything that is wrong with the domains and cases, after `build`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.problems: list[Problem] = []

    def build(self) -> dict[str, object]:
        """Build the tree of the source."""
        if "case" in self._source.tree:
            must = f"be in the list {CASES!r}"
            self._fault(("case",), f"stands outside a case; it must {must}")
        if is_domain(self._source.tree):
            self._fault((), "is a domain; a space file must hold sections")
            return {}
        return {key: self._node(child, (key,)) for key, child in self._source.tree.items()}

    def _fault(self, path: KeyPath, message: str) -> None:
        self.problems.append(self._source.problem(path, message))

    def _node(self, node: object, path: KeyPath) -> object:
        """Replace what is written as a domain by the domain."""
        if path == (CASES,):
            return self._cases(node)
        fixed = path[0] in FIXED_SECTIONS
        if isinstance(node, dict) and is_domain(node):
            if not fixed:
                return self._domain(node, path)
            must = "so it must be one value"
            self._fault(path, f"is a domain; {path[0]!r} holds for the whole search, {must}")
            return BROKEN
        here = None if fixed else domain_here(node)
        if here is not None:
            self._fault(path, f"is {as_written(node)}; it must be written {here}")
            return BROKEN
        if isinstance(node, dict):
            return {key: self._node(child, (*path, key)) for key, child in node.items()}
        return node

    def _domain(self, node: dict[str, object], path: KeyPath) -> object:
        name = next(key for key in FORMS if key in node)
        try:
            form = FORMS[name].model_validate(node)
        except ValidationError as error:
            legal = [name, *KEYS[name]]
            for fault in error.errors():
                at: KeyPath = (*path, *fault["loc"])
                cause = fault.get("ctx", {}).get("error")
                if isinstance(cause, SettingError) and cause.key:
                    at = (*at, cause.key)
                self._fault(at, fault_sentence(fault, legal, nearest(str(at[-1]), legal)))
            return BROKEN
        return self._choice(form, path) if isinstance(form, ChoiceForm) else form.domain()

    def _choice(self, form: ChoiceForm, path: KeyPath) -> Choice:
        origins = tuple((*path, "choice", index) for index in range(len(form.choice)))
        for index, option in enumerate(form.choice):
            if any(type(option) is type(o) and option == o for o in form.choice[:index]):
                self._fault(origins[index], "is given twice in this choice")
        options = map(self._node, form.choice, origins)
        return Choice(tuple(options), tuple(_labels(form.choice)), origins)

    def _cases(self, node: object) -> object:
        """The cases of a space: a choice of parts of a config, each with a name."""
        if not isinstance(node, list) or not node or not all(isinstance(n, dict) for n in node):
            self._fault((CASES,), "must be a list of mappings, one a case")
            return BROKEN
        origins = tuple((CASES, index) for index in range(len(node)))
        names = [str(case.get("case", f"case {index + 1}")) for index, case in enumerate(node)]
        options = []
        for index, (name, case, origin) in enumerate(zip(names, node, origins, strict=True)):
            if not CASE_NAME.fullmatch(name):
                must = (
                    "be a name of at most 60 letters, digits, spaces and ordinary signs, that "
                    "starts with a letter or digit"
                )
                self._fault((*origin, "case"), f"is {shown(name)!r}; it must {must}")
            if name in names[:index]:
                self._fault(origin, f"has a name, {name!r}, given twice")
            option: dict[str, object] = {"case": case.get("case", name)}
            for key, child in case.items():
                if key in (*FIXED_SECTIONS, CASES):
                    must = f"{key!r} must be the same for all trials"
                    self._fault((*origin, key), f"stands in a case; {must}")
                elif key != "case":
                    option[key] = self._node(child, (*origin, key))
            options.append(option)
        return Choice(tuple(options), tuple(names), origins)


def _labels(options: Sequence[object]) -> Iterator[str]:
    """A distinct, telling name for each option."""
    names = [
        str(option.get("kind", "options")) if isinstance(option, dict) else str(option)
        for option in options
    ]
    for index, name in enumerate(names):
        yield name if names.count(name) == 1 else f"{name}#{names[:index].count(name) + 1}"
