"""Figures of the labelled frames: parity, errors by element and kind, force slope."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....figure_style import REFERENCE, legend_below, looks, panels
from ...part import PartFigure
from .analyse import Predicted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figures(
    results: Mapping[str, Sequence[Predicted]], summary: dict[str, Any]
) -> Iterator[PartFigure]:
    """All figures of the part."""
    models = {name: several[0] for name, several in results.items() if several}
    names = list(results)
    yield PartFigure(
        "Parity with the labels",
        "parity",
        parity(names, models, summary),
        "Each point is a frame (energy) or a force component. On the line: exact.",
    )
    by_group = errors(names, summary)
    if by_group is not None:
        caption = "Bars are 95 % intervals from resampling frames."
        yield PartFigure("Errors by group", "errors", by_group, caption)
    slopes = force_slope(names, summary)
    if slopes is not None:
        yield PartFigure(
            "Force slope",
            "force_slope",
            slopes,
            "Regression of predicted on labelled forces through the origin. Below 1 the "
            "potential is too soft: barriers and frequencies come out too low.",
        )


def parity(
    names: Sequence[str], models: Mapping[str, Predicted], summary: dict[str, Any]
) -> Figure:
    """Predicted against labelled energies and forces, a row for each.

    Args:
        names: of all models of the report, which have their colours by it.
        models: those with predictions.
        summary: the content of ``summary.json``.
    """
    with_forces = all(model.forces for model in models.values())
    rows = 2 if with_forces else 1
    figure, axes = panels(rows * len(models), columns=len(models), width=3.3, height=3.1)
    style = looks(names, "color")
    for column, (name, model) in enumerate(models.items()):
        _energies(axes[column], model, style[name]["color"])
        values = summary["models"][name]["values"]
        title = f"{name}: RMSE {values['energy_rmse']['value']:.3g} meV/atom"
        if "energy_rmse_without_mean" in values:
            title += f",\n{values['energy_rmse_without_mean']['value']:.3g} without the mean error"
        axes[column].set_title(title)
        if with_forces:
            below = axes[len(models) + column]
            _forces(below, model, style[name]["color"])
            below.set_title(
                f"RMSE {values['force_rmse']['value']:.3g} meV/Å, "
                f"slope {values['force_slope']['value']:.3f}"
            )
    return figure


def _energies(axes: Axes, model: Predicted, color: str) -> None:
    # relative to the mean label, as total energies are large and alike
    centre = model.energy.mean()
    labels, error = model.energy - centre, model.energy_error
    if abs(error.mean()) > np.ptp(labels) and len(labels) > 1:
        note = f"mean error {error.mean():+.4g} meV/atom\ntaken off".replace("-", "−")
        axes.text(0.03, 0.97, note, transform=axes.transAxes, va="top", fontsize=8)
        error = error - error.mean()
    _scatter(axes, labels, labels + error, color, size=10)
    axes.set_xlabel("Labelled energy − mean (meV/atom)")
    axes.set_ylabel("Predicted energy − mean (meV/atom)")


def _forces(axes: Axes, model: Predicted, color: str) -> None:
    assert model.forces is not None and model.force_error is not None
    labels = np.concatenate(model.forces).ravel() / 1000
    errors = np.concatenate(model.force_error).ravel() / 1000
    _scatter(axes, labels, labels + errors, color, size=3)
    axes.set_xlabel("Labelled force component (eV/Å)")
    axes.set_ylabel("Predicted force component (eV/Å)")


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, color: str, size: float) -> None:
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.04 * (high - low) or 1.0
    span = [low - margin, high + margin]
    axes.plot(span, span, color=REFERENCE, linewidth=0.8)
    axes.scatter(x, y, s=size, color=color, alpha=0.45, linewidths=0, rasterized=len(x) > 2000)
    axes.set(xlim=span, ylim=span, aspect="equal")


def errors(names: Sequence[str], summary: dict[str, Any]) -> Figure | None:
    """Force RMSE by element and, where there are several, energy RMSE by ``config_type``."""
    groups = [
        ("by_element", "force_rmse", "Force RMSE (meV/Å)", "Element"),
        (
            "by_config_type",
            "energy_rmse_without_mean",
            "Energy RMSE without mean error (meV/atom)",
            "config_type",
        ),
        ("by_config_type", "force_rmse", "Force RMSE (meV/Å)", "config_type"),
    ]
    models = {n: m for n, m in summary["models"].items() if "by_element" in m}
    groups = [
        group for group in groups if any(group[1] in e for e in _first(models)[group[0]].values())
    ]
    if not groups:
        return None
    figure, axes = panels(len(groups), width=4.0)
    style = looks(names, "color", "marker")
    for panel, (kind, key, label, group_label) in zip(axes, groups, strict=True):
        members = list(_first(models)[kind])
        for number, (name, model) in enumerate(models.items()):
            shift = 0.12 * (number - (len(models) - 1) / 2)
            found = [model[kind][group][key] for group in members]
            panel.errorbar(
                np.arange(len(members)) + shift,
                [entry["value"] for entry in found],
                yerr=_bars(found),
                linestyle="none",
                **style[name],
            )
        panel.set_xticks(range(len(members)), members, rotation=20 if len(members) > 3 else 0)
        panel.set(ylabel=label, xlabel=group_label, xlim=(-0.5, len(members) - 0.5))
        panel.set_ylim(bottom=0)
    legend_below(figure, axes[0])
    return figure


def force_slope(names: Sequence[str], summary: dict[str, Any]) -> Figure | None:
    """Force slope overall, by the size of the labelled force, and by ``config_type`` if several."""
    models = {n: m for n, m in summary["models"].items() if m.get("force_slope_by_magnitude")}
    if not models:
        return None
    kinds = list(_first(models)["by_config_type"])
    figure, axes = panels(3 if kinds else 2, width=4.0)
    style = looks(names, "color", "marker", "linestyle")
    for number, (name, model) in enumerate(models.items()):
        whole = model["values"]["force_slope"]
        axes[0].errorbar([number], [whole["value"]], yerr=_bars([whole]), **style[name])
        groups = model["force_slope_by_magnitude"]
        _slopes(
            axes[1],
            # a little apart, as the groups of all models have the same forces
            [group["mean_force"] / 1000 * (1 + 0.012 * number) for group in groups],
            groups,
            style[name],
        )
        if kinds:
            shift = 0.12 * (number - (len(models) - 1) / 2)
            groups = [model["by_config_type"][kind] for kind in kinds]
            _slopes(axes[2], np.arange(len(kinds)) + shift, groups, style[name] | {"linestyle": ""})
    for panel in axes:
        panel.axhline(1, color=REFERENCE, linewidth=0.8)
        panel.set_ylabel("Force slope (1: exact, < 1: too soft)")
    axes[0].set_xticks(range(len(models)), list(models))
    axes[0].set(xlim=(-0.6, len(models) - 0.4), title="All atoms")
    axes[1].set(xlabel="Mean |F| of the group (eV/Å)", title="By size of the labelled force")
    axes[1].legend()
    if kinds:
        axes[2].set_xticks(range(len(kinds)), kinds, rotation=20 if len(kinds) > 3 else 0)
        axes[2].set(xlim=(-0.5, len(kinds) - 0.5), title="By config_type")
    return figure


def _slopes(axes: Axes, x: Any, groups: list[dict[str, Any]], look: dict[str, Any]) -> None:
    found = [group["force_slope"] for group in groups]
    axes.errorbar(x, [entry["value"] for entry in found], yerr=_bars(found), **look)


def _first(models: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, Any] = {"by_element": {}, "by_config_type": {}}
    return next(iter(models.values()), empty)


def _bars(entries: list[dict[str, float]]) -> np.ndarray:
    """Lengths of the error bars; none where there is no interval."""
    below = [entry["value"] - entry["low"] for entry in entries]
    above = [entry["high"] - entry["value"] for entry in entries]
    lengths: np.ndarray = np.nan_to_num(np.clip([below, above], 0, None))
    return lengths
