"""The commands ``piwsl report``, ``piwsl report merge`` and ``piwsl report training``."""

from __future__ import annotations

import sys
from pathlib import Path

from ..outputs import alone, check_folder
from .arguments import (
    build_parser,
    merge_parser,
    paths_by_name,
    settings_from,
    sources_from,
    training_parser,
)


def main(given: list[str]) -> None:
    """Run the command with its arguments."""
    commands = {"merge": _merge, "training": _training}
    if given and given[0] in commands:
        commands[given[0]](given[1:])
    else:
        _report(given)


def _report(given: list[str]) -> None:
    options = build_parser().parse_args(given)
    settings, sources = settings_from(options), sources_from(options)
    paths = paths_by_name(options)

    from ..progress import Progress
    from .run import measure

    check_folder(options.out)
    with alone(folder=options.out):
        with Progress() as progress:
            store = measure(
                sources,
                options.data,
                paths,
                options.hessians,
                options.phonons,
                options.out,
                settings,
                progress,
                not options.fresh,
            )
        if store.reused:
            print(f"{store.reused} finished parts of an earlier run were reused")
        _finish(options.out)


def _merge(given: list[str]) -> None:
    options = merge_parser().parse_args(given)

    from .merge import merge

    check_folder(options.out)
    with alone(folder=options.out):
        merge(options.reports, options.out)
        _finish(options.out)


def _training(given: list[str]) -> None:
    options = training_parser().parse_args(given)

    from ..figure_style import save, styled
    from ..storage import write_text
    from . import training
    from .figures.training import overview

    check_folder(options.out)
    with alone(folder=options.out):
        curves = training.read(training.find(options.logs))
        with styled():
            picture = save(overview(curves), options.out, "training")
        table = options.out / "training.csv"
        write_text(table, curves.to_csv(index=False))
    print(training.last_values(curves).to_string(na_rep="–", float_format=lambda v: f"{v:.4g}"))
    print(f"\nFigure: {picture} (and .pdf)\nCurves: {table}")


def _finish(out: Path) -> None:
    """Write summary, figures and pages from the parts in ``out``, and say where they are."""
    from ..storage import write_json
    from .analysis.collect import collect
    from .figures.draw import draw
    from .pages import write_html, write_markdown
    from .summary import summarise

    collected = collect(out)
    summary = summarise(collected)
    write_json(out / "summary.json", summary, indent=1)
    text = write_markdown(summary, out)
    page = write_html(summary, draw(collected, summary, out / "figures"), out)
    if sys.stdout.isatty():
        print(text.read_text(encoding="utf-8"))
    for note in summary["data"]["notes"]:
        print(note)
    print(f"Report:  {page}\nTable:   {text}\nNumbers: {out / 'summary.json'}")
    print(f"Figures: {out / 'figures'}")
