"""The commands ``piwsl-report``, ``piwsl-report merge`` and ``piwsl-report training``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import ReportError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status (2 for input that cannot be used)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = {"merge": _merge, "training": _training}.get(given[0] if given else "")
    try:
        if command is not None:
            command(given[1:])
        else:
            _report(given)
    except ReportError as error:
        print(f"piwsl-report: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\npiwsl-report: interrupted; the same command goes on where it stopped",
            file=sys.stderr,
        )
        return 130
    return 0


def _report(given: list[str]) -> None:
    from .arguments import build_parser, paths_by_name, settings_from, sources_from

    options = build_parser().parse_args(given)
    settings = settings_from(options)
    sources = sources_from(options)
    paths = paths_by_name(options)

    from .progress import Progress
    from .run import measure

    with Progress() as progress:
        store = measure(
            sources, options.data, paths, options.out, settings, progress, not options.fresh
        )
    if store.reused:
        print(f"{store.reused} finished parts of an earlier run were reused")
    _finish(options.out)


def _merge(given: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="piwsl-report merge",
        description="Join reports of the same data, made in different environments.",
    )
    parser.add_argument("reports", nargs="+", type=Path, help="folders of finished reports")
    parser.add_argument("--out", required=True, type=Path, help="folder of the joint report")
    options = parser.parse_args(given)

    from .merge import merge

    merge(options.reports, options.out)
    _finish(options.out)


def _training(given: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="piwsl-report training",
        description="Plot training curves of MACE and NequIP runs, overlaid.",
    )
    parser.add_argument(
        "logs",
        nargs="+",
        type=Path,
        help="MACE's results files (results/*_train.txt), metrics.csv of NequIP's CSV logger, or "
        "folders that hold them",
    )
    parser.add_argument(
        "--out", default=Path("training"), type=Path, help="folder to write to (default: training)"
    )
    options = parser.parse_args(given)

    from . import training
    from .figures.style import save, styled
    from .figures.training import overview

    curves = training.read(training.find(options.logs))
    with styled():
        picture = save(overview(curves), options.out, "training")
    table = options.out / "training.csv"
    curves.to_csv(table, index=False)
    print(training.last_values(curves).to_string(na_rep="–", float_format=lambda v: f"{v:.4g}"))
    print(f"\nFigure: {picture} (and .pdf)\nCurves: {table}")


def _finish(out: Path) -> None:
    """Write summary, figures and pages from the parts in ``out``, and say where they are."""
    from rich.console import Console
    from rich.markdown import Markdown

    from .analysis.collect import collect
    from .figures.draw import draw
    from .pages import write_html, write_markdown
    from .storage import write_json
    from .summary import summarise

    collected = collect(out)
    summary = summarise(collected)
    write_json(out / "summary.json", summary, indent=1)
    text = write_markdown(summary, out)
    page = write_html(summary, draw(collected, summary, out / "figures"), out)
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text.read_text(encoding="utf-8")))
    print(f"Report:  {page}\nTable:   {text}\nNumbers: {out / 'summary.json'}")
    print(f"Figures: {out / 'figures'}")
