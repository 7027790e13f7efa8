"""The commands ``piwsl report``, ``piwsl report merge`` and ``piwsl report training``."""

from __future__ import annotations

import sys
from pathlib import Path

from ..outputs import alone, check_folder
from .arguments import (
    build_parser,
    files_from,
    merge_parser,
    own_options_from,
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
    settings, own = settings_from(options), own_options_from(options)
    sources, files = sources_from(options), files_from(options)

    from .run import measure

    check_folder(options.out)
    with alone(folder=options.out):
        pieces = measure(
            sources,
            options.data,
            files,
            options.out,
            settings,
            own,
            not options.fresh,
        )
        if pieces.reused:
            print(f"{pieces.reused} finished parts of an earlier run were reused")
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
    from .curves import logs
    from .curves.draw import overview
    from .curves.points import as_csv, last_values

    check_folder(options.out)
    with alone(folder=options.out):
        points = logs.read(logs.find(options.logs))
        with styled():
            picture = save(overview(points), options.out, "training")
        table = options.out / "training.csv"
        write_text(table, as_csv(points))
    print(last_values(points))
    print(f"\nFigure: {picture} (and .pdf)\nCurves: {table}")


def _finish(out: Path) -> None:
    """Write summary, figures and pages from what is in ``out``, and say where they are."""
    from ..storage import write_json
    from .collected import collect
    from .figures import draw
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
