"""Data sets of the Hugging Face hub, or folders laid out like one."""

import logging
import tempfile
from os.path import expanduser
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from search.data.reading.arrow import add_batch
from search.data.reading.collect import BLOCK_ROWS
from search.data.reading.interface import Request, SourceConfig, SourceTable
from search.data.source.table import collector_for
from search.settings.problems import shown


class Hub(SourceConfig):
    """A data set, read by the ``datasets`` library.

    Attributes:
        name: of the data set on the hub, or a local folder laid out like one.
        config: which of its configurations; None where it has one only.
        split: None for ``train``, ``validation`` or ``test``, as the setting says.
        revision: branch, tag or commit on the hub.
    """

    tables: ClassVar[bool] = True

    kind: Literal["hub"] = "hub"
    name: str = Field(min_length=1)
    config: str | None = Field(default=None, min_length=1)
    split: str | None = Field(default=None, min_length=1)
    revision: str | None = Field(default=None, min_length=1)

    def hub_name(self) -> str | None:
        return None if Path(expanduser(self.name)).is_dir() else self.name

    def read(self, request: Request) -> SourceTable:
        import datasets  # here: workers import the settings, too, and the library takes a second

        folder = Path(expanduser(self.name))
        local = folder.is_dir()
        name = str(folder.resolve()) if local else self.name
        bars = datasets.utils.logging.is_progress_bar_enabled()
        # Their log lines, of retries for example; what fails is said in one sentence.
        loggers = [logging.getLogger(library) for library in ("datasets", "huggingface_hub")]
        levels = [logger.level for logger in loggers]
        datasets.disable_progress_bars()
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        title = self.name if self.config is None else f"{self.name}:{self.config}"
        try:
            # Of a local folder, a copy in the user's cache would go stale.
            with tempfile.TemporaryDirectory() as scratch:
                where: dict[str, object] = {"cache_dir": scratch} if local else {}
                if not local and self.revision is not None:
                    where["revision"] = self.revision
                try:
                    found = datasets.load_dataset(
                        name, self.config, split=self.split or request.split, **where
                    )
                except Exception as error:  # from OSError to pyarrow's and the hub's own
                    raise request.error(self._reason(title, name, error, request)) from error
                collector = collector_for(request, title)
                row = 0
                for table in found.with_format("arrow").iter(BLOCK_ROWS):
                    for batch in table.to_batches():
                        add_batch(batch, title, row, collector)
                        row += batch.num_rows
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars:
                datasets.enable_progress_bars()
        return collector.finish()

    def _reason(self, title: str, name: str, error: Exception, request: Request) -> str:
        """One sentence; where a configuration or split is at fault, with those there are."""
        import datasets

        try:
            configs = datasets.get_dataset_config_names(name)
        except Exception:
            configs = []
        if configs and self.config not in configs and (self.config or len(configs) > 1):
            is_named = f"has no configuration {self.config!r}" if self.config else (
                "needs a configuration"
            )  # fmt: skip
            return (
                f"the data set {self.name!r} {is_named}; it must be one of "
                f"{', '.join(map(shown, configs))}, given as '{self.name}:{configs[0]}'"
            )
        if "nknown split" in str(error) or "not found. Available splits" in str(error):
            split = self.split or request.split
            try:
                splits = datasets.get_dataset_split_names(name, self.config)
            except Exception:
                splits = []
            config = f"config: {self.config}, " if self.config else ""
            return (
                f"the data set {title!r} has no split {split!r}; it has {', '.join(splits)}, to be "
                f"named as {{kind: hub, name: {self.name}, {config}split: {(*splits, '')[0]}}}"
            )
        cause = error.__cause__ or error
        reason = next((line for line in str(cause).splitlines() if line.strip()), repr(cause))
        return f"the data set {title!r} cannot be read: {reason.strip()}"
