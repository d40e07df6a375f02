"""The command ``isogloss search`` (``python -m search.run``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from search.launch import check_search, new_search, run_search
from search.runs import options
from search.runs.console import FINISHED, exit_on_input_error, make_app, make_console
from search.runs.job import folder_that_lasts
from search.runs.stopping import StopRequest, parse_duration
from search.settings.problems import InputError
from search.space.domains import REFERENCE_TRIAL
from search.space.source import Assignment, Source, read

EXAMPLES = """
isogloss search spaces/quick.yaml
isogloss search spaces/lora_family.yaml --base DIR --train sentences.tsv --timeout 30m
isogloss search spaces/lora_family.yaml --set training.batch_size=32 --dry-run
isogloss search --resume runs/NAME --trials 48
isogloss search --resume runs/NAME --epochs 27 --best 3
"""

app = make_app()


@app.command(epilog=options.examples(EXAMPLES))
def main(
    space: Annotated[
        Path | None,
        typer.Argument(help="Space file; not needed with --resume.", show_default=False),
    ] = None,
    base: options.Base = None,
    train: options.Train = None,
    validation: options.Validation = None,
    languages: options.Languages = None,
    epochs: options.Epochs = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials.")] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time.", show_default="as many as the machines hold"),
    ] = None,
    timeout: options.Timeout = None,
    assignments: options.Assignments = None,
    output: options.Output = Path("runs"),
    name: options.Name = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to join: 'auto' or HOST:PORT.", show_default="one is started here"
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Run folder of a search to go on with; --trials counts its trials too, and "
            "--epochs trains its best ones on."
        ),
    ] = None,
    best: Annotated[
        int | None,
        typer.Option(min=1, help="With --resume and --epochs: how many.", show_default="3"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print sampled configs and start nothing.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Search for the best cross-lingual sentence embedder in a space.

    Options that name a setting replace what the space file says.

    Exit status: 0 a trial finished and best/ is there; 1 none finished, or the disk is full or
    gone; 2 the space, data, model or resources are at fault; 130 interrupted, 143 ended by SIGTERM,
    129 by SIGHUP. However it ends, the trials so far are in leaderboard.csv and, if one has
    finished, the best one in best/.
    """
    with exit_on_input_error():
        changes: list[str | Assignment] = [
            *(assignments or []),
            *options.assignments(
                base=base,
                train=train,
                validation=validation,
                languages=languages,
                epochs=epochs if resume is None else None,
                trials=trials,
                concurrency=concurrency,
            ),
        ]
        # Ray's workers change directory: every path is made absolute before it starts.
        start = Path.cwd()
        lasting = folder_that_lasts(start)
        seconds = None if timeout is None else parse_duration(timeout, "--timeout")
        request = StopRequest(seconds)
        console = make_console(quiet=quiet, verbose=verbose)
        if space is None and resume is None:
            raise InputError("no space file is given; it must be, or --resume with a run folder")
        # At once: the imports and checks that follow take seconds.
        limit = "" if seconds is None else f" (time limit: {seconds:,.0f} s)"
        console.print(f"checking {resume or space}{limit}", markup=False, soft_wrap=True)
        if lasting != start:
            note = f"note: Ray deletes {start} with its session; run folders lie below {lasting}"
            console.print(note, markup=False, soft_wrap=True)
        out = (lasting / output).resolve()
        if dry_run and space is not None and resume is None:
            from search.runs.folder import choose_run_folder

            source = read(start / space, changes)
            raise typer.Exit(_dry_run(source, choose_run_folder(out, name, space.stem), address))
        record, more = None, []
        if resume is not None:
            from search.runs.extension import BEST, plan_extension, refuse_beside_epochs
            from search.runs.record import read_record
            from search.runs.resume import refuse_beside_resume, resumed_source

            record = read_record((lasting / resume).resolve())
            refuse_beside_resume(name, dry_run)
            refuse_beside_epochs(epochs, best, trials)
            if epochs is not None:
                more = plan_extension(record, best=best or BEST, epochs=epochs)
            source = resumed_source(record, space and start / space, changes)
            folder = record.folder
        elif best is not None:
            raise InputError("--best is given without --resume and --epochs; it must be left out")
        else:
            assert space is not None, "one of both is there"
            source, folder = new_search(console, start / space, changes, out, name)
        with request.on_signals():
            status = run_search(
                console, source, folder, record, address, request, more, verbose=verbose
            )
        if as_json:
            options.print_summary(folder, status)
        raise typer.Exit(status)


def _dry_run(source: Source, folder: Path, address: str | None) -> int:
    from search.sampling.draws import draw
    from search.settings.trial import TrialConfig, changed_settings, flatten, varied_settings
    from search.settings.wording import setting_text

    prepared, plan = check_search(source, folder, address)
    search = prepared.config.search
    console = Console(highlight=False, soft_wrap=True)
    drawn = draw(prepared.space, search.sampler, prepared.trials, prepared.refuse)
    configs = [TrialConfig.of(values).plain() for values in drawn]
    varied = varied_settings(configs)
    for number, (values, config) in enumerate(zip(drawn, configs, strict=True)):
        parameters = prepared.trainable_parameters(values)
        title = f"trial {number}: {parameters:,} trainable parameters"
        if number == REFERENCE_TRIAL:
            title += " (the reference; of others, what differs from it)"
        console.print(title, style="bold")
        told = flatten(config)
        if number != REFERENCE_TRIAL:
            reference = configs[REFERENCE_TRIAL]
            told = {name: own for name, own, _ in changed_settings(config, reference, varied)}
        shown = (f"{key}: {setting_text(v)}" for key, v in told.items() if key[:5] != "base.")
        console.print(f"  {', '.join(shown)}", markup=False)
    sampler = search.sampler
    learns = sampler.learns_from_results and len(drawn) > sampler.startup_trials
    after = (
        f"; past the first {sampler.startup_trials}, the search itself draws by the results "
        f"it has seen"
    )
    console.print(f"{len(drawn)} configs{after if learns else ''}")
    if plan is not None:
        console.print(f"on this machine: {plan}", markup=False)
    cache_note = prepared.features.note(prepared.config.cache)
    notes = (*prepared.skeleton.notes, prepared.too_few, prepared.repeats, cache_note)
    for note in filter(None, notes):
        console.print(note, markup=False)
    return FINISHED


if __name__ == "__main__":
    app()
