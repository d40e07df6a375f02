"""A setting that cannot be, said with its key apart."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting does not fit the base, the data or the other settings.

    As text it is one sentence: the key, what is wrong, and what must be.

    Attributes:
        key: dotted key of a space file, for example ``pooling.heads``.
        got: what it is, as the sentence goes on after the key: ``is 7``.
        must: what it must do, as in "it must ...": ``divide the base's width, 384``.
    """

    def __init__(self, key: str, got: str, must: str) -> None:
        super().__init__(f"{key} {got}; it must {must}")
        self.key = key
        self.got = got
        self.must = must

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SettingError) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[type[SettingError], tuple[str, str, str]]:
        return type(self), (self.key, self.got, self.must)  # errors cross processes

    def renamed(self, before: str, after: str) -> SettingError:
        """The same with the beginning of a key replaced, wherever the sentence names one."""
        parts = (part.replace(before, after) for part in (self.key, self.got, self.must))
        return SettingError(*parts)
