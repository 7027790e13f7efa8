"""PITC, PISC and Hessian labels as functions on tensors, for any model of energies and forces.

For trainers that this package has no adapter for, such as graph-pes, metatrain or your own. The
equations are those of the trainings (:mod:`piwsl_plugins.terms`), and so are the penalties::

    def evaluate(positions):  # your model for the atoms of a batch, with the neighbours there
        output = model(at(positions))
        return output["energy"], output["forces"]

    curvature = hessian(evaluate, positions, batch, hessians)
    consistency = pitc(evaluate, positions, batch, draw(batch))
    loss = base + 100.0 * curvature.mean() + 0.001 * consistency.mean()

``evaluate(positions)`` takes positions ``(n_atoms, 3)`` in Å and returns energies
``(n_structures,)`` in eV and forces ``(n_atoms, 3)`` in eV/Å, or None in their place where a form
does without them. Both must be differentiable in the model's parameters: forces that are a gradient
need ``create_graph=True``, unless all is done under ``torch.no_grad()``. ``batch`` is
``(n_atoms,)``, the structure of each atom, from 0, the atoms of a structure one after the other.
Everything is done on the device and in the precision of ``positions``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .errors import InputError, SettingsError
from .labels.hessian_checks import asymmetry_of
from .labels.hessian_labels import HessianLabel, problem_of_parts
from .labels.hessian_lookup import HessianLabels
from .labels.hessian_matching import check_label
from .options.settings import ADVERSARIAL, AUTO, LARGEST_NOISE, Consistency, Hessian
from .terms import displacements
from .terms.displacements import Keys
from .terms.hessian_targets import Targets, draw_targets
from .terms.penalties import Penalty
from .terms.points import CalledPoints, Evaluate, Origin, Some, check_shape, sizes_of
from .terms.term_table import hessian_term
from .terms.terms import PISC, PITC, ConsistencyDisplacements, Residual

__all__ = ["Evaluate", "Origin", "Residual", "draw", "hessian", "pisc", "pitc"]


def draw(
    batch: Tensor,
    max_displacement: float = 0.05,
    displacement: str = "uniform",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random displacements δ, as PITC and PISC have them.

    Args:
        batch: ``(n_atoms,)``, the structure of each atom.
        max_displacement: size ε in Å.
        displacement: "uniform", each component in [−ε, ε]; "atom_norm", every atom moves by ε;
            "structure_norm", all atoms of a structure together do.
        generator: of random numbers, on the CPU; by default torch's own.

    Returns:
        ``(n_atoms, 3)`` in Å, float64, on the device of ``batch``.

    Raises:
        SettingsError: for a size or a way of drawing that is not allowed.
    """
    options = Consistency(max_displacement=max_displacement, displacement=displacement)
    if displacement == ADVERSARIAL:
        raise SettingsError(
            "displacement",
            displacement,
            "these are not drawn; give pitc ε g/‖g‖, g being the gradient of your loss by the "
            "positions",
        )
    sizes = sizes_of(batch)
    field = displacements.draw(options, "displaced", _keys(len(sizes), generator), sizes)
    return field.to(batch.device)


def pitc(
    evaluate: Evaluate,
    positions: Tensor,
    batch: Tensor,
    displacement: Tensor,
    *,
    form: str = "first_order",
    normalization: str = "per_atom",
    origin: Origin | None = None,
) -> Residual:
    """Taylor-expansion consistency (arXiv 2408.05215), one residual R per structure.

    "first_order": R = E(r+δ) − [E(r) − <δ, F(r)>]; "trapezoid": with ½[F(r) + F(r+δ)] in place of
    F(r); "symmetric": R = ½[E(r+δ) + E(r−δ)] − E(r), without forces. The penalty is (R/n)² of n
    atoms with "per_atom", R² with "total".

    Args:
        evaluate: the model.
        positions: r, ``(n_atoms, 3)`` in Å.
        batch: ``(n_atoms,)``, the structure of each atom.
        displacement: δ, ``(n_atoms, 3)`` in Å, as from :func:`draw`.
        form: as above.
        normalization: as above.
        origin: ``evaluate(positions)``, if it is known.

    Returns:
        penalties ``(n_structures,)`` in eV², whose mean is the term, and R/n in eV.

    Raises:
        SettingsError: for a form or normalization that there is not.
        InputError: for tensors of other shapes.
    """
    options = Consistency(consistency_form=_form(form), normalization=normalization)
    fields = {"displaced": displacement}
    if form == "symmetric":
        fields["mirrored"] = -displacement
    term = PITC(ConsistencyDisplacements(options))
    return term.residual(CalledPoints(evaluate, positions, batch, fields, origin))


def pisc(
    evaluate: Evaluate,
    positions: Tensor,
    batch: Tensor,
    displacement: Tensor,
    waypoint: Tensor,
    *,
    form: str = "first_order",
    normalization: str = "per_atom",
) -> Residual:
    """Spatial consistency (arXiv 2408.05215): PITC from r+δ' to r+δ, one residual R per structure.

    "first_order": R = E(r+δ) − [E(r+δ') − <δ−δ', F(r+δ')>]; "trapezoid": with
    ½[F(r+δ') + F(r+δ)] in place of F(r+δ'). Penalties as in :func:`pitc`.

    Args:
        evaluate: the model.
        positions: r, ``(n_atoms, 3)`` in Å.
        batch: ``(n_atoms,)``, the structure of each atom.
        displacement: δ, ``(n_atoms, 3)`` in Å, as from :func:`draw`.
        waypoint: δ', ``(n_atoms, 3)`` in Å, drawn independently of δ.
        form: as above.
        normalization: "per_atom" or "total".

    Returns:
        as :func:`pitc`.

    Raises:
        SettingsError: for a form or normalization that there is not.
        InputError: for tensors of other shapes.
    """
    if form == "symmetric":
        raise SettingsError("form", form, "PISC follows forces; choose first_order or trapezoid")
    options = Consistency(consistency_form=_form(form), normalization=normalization)
    fields = {"displaced": displacement, "waypoint": waypoint}
    term = PISC(ConsistencyDisplacements(options))
    return term.residual(CalledPoints(evaluate, positions, batch, fields))


def hessian(
    evaluate: Evaluate,
    positions: Tensor,
    batch: Tensor,
    hessians: Sequence[HessianLabel | ArrayLike | Tensor | None],
    displacement: Tensor | None = None,
    *,
    form: str = "forces",
    direction: str = "gaussian",
    step: float | None = None,
    generator: torch.Generator | None = None,
    penalty: Penalty | None = None,
    origin: Origin | None = None,
) -> Residual:
    """Hessian labels H along displacements δ of the structures that have one.

    "forces": R = [F(r) − F(r+δ) − H δ] / s with s the root mean square of the components of δ, one
    residual per component; "symmetric": with ½[F(r−δ) − F(r+δ)]; "energies":
    R = {½[E(r+δ) + E(r−δ)] − E(r) − ½δᵀHδ} / ½|δ|², one per structure. The penalty is by default
    (0.05 Å · R)², to be weighed as squared errors of forces.

    Args:
        evaluate: the model; it is asked for the whole batch.
        positions: r, ``(n_atoms, 3)`` in Å.
        batch: ``(n_atoms,)``, the structure of each atom.
        hessians: for each structure its Hessian, ``(3 n, 3 n)`` in eV/Å², or a label from
            ``piwsl_plugins.labels.hessian_labels.read_labels``, or None. Their shapes and
            symmetry are looked at; whose they are is your affair.
        displacement: δ, ``(n_atoms, 3)`` in Å; drawn if it is not given. That of structures
            without a label does not matter.
        form: as above.
        direction: of drawn δ: "gaussian", all components, or "column", one of one atom.
        step: size of drawn δ in Å (docs/options.md, hessian_step).
        generator: of random numbers, on the CPU; by default torch's own.
        penalty: of 0.05 Å · R, such as ``piwsl_plugins.terms.penalties.Huber(0.01)``.
        origin: ``evaluate(positions)``, if it is known.

    Returns:
        penalties ``(n,)`` in eV²/Å², whose mean is the term, R in eV/Å², and the structure of
        each; n is 0 if no structure has a label, and ``mean()`` of it 0.

    Raises:
        SettingsError: for an option that is not allowed, or that a label cannot be compared with.
        InputError: for tensors and labels of other shapes, and Hessians that are not symmetric by
            more than any noise.
    """
    options = Hessian(hessian_form=form, hessian_displacement=direction, hessian_step=step)
    sizes = sizes_of(batch)
    if len(hessians) != len(sizes):
        raise InputError(
            f"hessians: {len(hessians)} for {len(sizes)} structures; give None for those without"
        )
    starts = np.cumsum([0, *sizes])
    chosen = [number for number, given in enumerate(hessians) if given is not None]
    if not chosen:
        none = positions.new_zeros(0)
        return Residual(none, none, batch.new_zeros(0))
    labels = []
    for number in chosen:
        atoms = slice(starts[number], starts[number + 1])
        label = _label(hessians[number], positions[atoms])
        problem = problem_of_parts(label)
        if len(label.numbers) != sizes[number]:
            problem = f"it is of {len(label.numbers)} atoms, the structure has {sizes[number]}"
        if problem is None and label.hessian is not None:
            problem = asymmetry_of(label, LARGEST_NOISE)
        if problem:
            raise InputError(f"hessians: that of structure {number} (from 0): {problem}")
        check_label(options, number, label)
        labels.append(label)
    rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in chosen])
    some = Some(torch.tensor(chosen).to(batch.device), torch.from_numpy(rows).to(batch.device))
    if displacement is None:
        targets = draw_targets(options, labels, _keys(len(labels), generator))
    else:
        check_shape("displacement", displacement, positions)
        targets = _along(labels, displacement.detach()[some.atoms].cpu().double(), chosen)
    drawn = positions.new_zeros(positions.shape)
    drawn[some.atoms] = targets.displacement.to(positions)
    fields = {"probe": drawn}
    if form != "forces":
        fields["mirrored_probe"] = -drawn
    term = hessian_term(options, HessianLabels([]), penalty)
    found = term.residual(CalledPoints(evaluate, positions, batch, fields, origin, some, targets))
    return dataclasses.replace(found, structure=some.structures[found.structure])


def _form(form: str) -> str:
    if form == AUTO:
        raise SettingsError("form", form, "choose first_order, trapezoid or symmetric")
    return form


def _keys(count: int, generator: torch.Generator | None) -> Keys:
    """Random keys, one per structure."""
    numbers = torch.randint(2**62, (count,), generator=generator)
    return numbers.numpy().astype(np.uint64)


def _label(given: Any, positions: Tensor) -> HessianLabel:
    if isinstance(given, HessianLabel):
        return given
    if isinstance(given, Tensor):
        given = given.detach().cpu().double().numpy()
    points = positions.detach().cpu().double().numpy()
    numbers = np.zeros(len(points), dtype=np.int64)
    return HessianLabel(numbers, points, hessian=np.asarray(given, dtype=float))


def _along(
    labels: Sequence[HessianLabel], displacement: Tensor, structures: Sequence[int]
) -> Targets:
    """Labels along displacements that are given, of some structures by number.

    Raises:
        InputError: where a label does not say what happens along them.
    """
    starts = np.cumsum([0, *(len(label.numbers) for label in labels)])
    for number, label, start in zip(structures, labels, starts):
        if not displacement[start : start + len(label.numbers)].any():
            raise InputError(
                f"displacement: structure {number} (from 0) has a label, but none of its atoms "
                "moves, so that nothing can be compared; move one, or give None for its Hessian"
            )
        if label.hessian is None:
            raise InputError(
                "displacement: labels that are probes are known along their own; leave it out"
            )
        fixed = np.setdiff1d(np.arange(len(label.numbers)), label.rows)
        if displacement[start + fixed].any():
            raise InputError(
                "displacement: it moves atoms of which a label of some atoms says nothing; give "
                "these 0, or leave it out"
            )
    return Targets(labels, [None] * len(labels), displacement)
