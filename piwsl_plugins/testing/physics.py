"""What is known of the terms without any reference: symmetries, and limits of small steps."""

from __future__ import annotations

from collections.abc import Callable

import ase
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..terms import displacements, hessian_targets
from .agreement import BOTH
from .framework import Framework
from .hessians import components_of, label_of, spring_hessian
from .reference import Reference
from .steps import assert_agree, run_step, settings_for
from .structures import ethanol, liquid, random_rotation, turned

#: a molecule and a periodic box
EXAMPLES = {"molecule": ethanol(0), "box": liquid("CH3OH H2O H2O", 1)}


def drawn_fields(
    monkeypatch: pytest.MonkeyPatch, atoms: ase.Atoms, scale: float
) -> Callable[[Callable[[Tensor], Tensor]], None]:
    """Sets δ of both points, in place of what is drawn: random fields, changed by a function."""
    random = torch.Generator().manual_seed(1)
    both = torch.randn(2, len(atoms), 3, generator=random, dtype=torch.float64)
    fields = dict(zip(("displaced", "waypoint"), scale * both))

    def change_by(change: Callable[[Tensor], Tensor]) -> None:
        def draw(options: object, stream: str, *rest: object) -> Tensor:
            return change(fields[stream])

        monkeypatch.setattr(displacements, "draw", draw)

    return change_by


class Physics:
    """Symmetries of the terms, and how they fall with the step."""

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_invariance_under_rotation_and_permutation(
        self, framework: Framework, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of PITC and PISC, where displacements turn with the structure."""
        atoms, settings = EXAMPLES[name], settings_for(BOTH)
        change_by = drawn_fields(monkeypatch, atoms, 0.05)

        def found(atoms: ase.Atoms, change: Callable[[Tensor], Tensor]) -> list[Tensor]:
            change_by(change)
            output = run_step(framework, [atoms], settings)
            return [output.penalties["pitc"], output.penalties["pisc"]]

        expected = found(atoms, lambda field: field)
        rotation = random_rotation(np.random.default_rng(0))
        matrix = torch.from_numpy(rotation.T.copy())
        assert_agree(found(turned(atoms, rotation), lambda f: f @ matrix), expected, rtol=1e-6)
        order = np.random.default_rng(1).permutation(len(atoms))
        assert_agree(found(atoms[order], lambda f: f[order]), expected, rtol=1e-6)

    @pytest.mark.parametrize("form", ["forces", "symmetric", "energies"])
    @pytest.mark.parametrize("name", EXAMPLES)
    def test_hessian_labels_turn_with_their_structure(
        self, framework: Framework, form: str, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So do they when atoms are listed in another order."""
        atoms = EXAMPLES[name]
        n, field = len(atoms), np.random.default_rng(1).normal(size=(len(atoms), 3))
        options = {"hessian_file": "given", "hessian_form": form, "hessian_step": 0.05}
        settings = settings_for(options)
        hessian = spring_hessian(atoms)

        def mean(
            atoms: ase.Atoms, hessian: NDArray[np.float64], field: NDArray[np.float64]
        ) -> Tensor:
            drawn = torch.from_numpy(field)
            monkeypatch.setattr(hessian_targets, "normal", lambda *_: drawn)
            label = label_of(atoms, hessian=hessian)
            found = run_step(framework, [atoms], settings, [label])
            return found.penalties["hessian"].mean()

        expected = [mean(atoms, hessian, field)]
        rotation = random_rotation(np.random.default_rng(0))
        turn = np.kron(np.eye(n), rotation)
        found = mean(turned(atoms, rotation), turn @ hessian @ turn.T, field @ rotation.T)
        assert_agree([found], expected, rtol=1e-6)
        order = np.random.default_rng(1).permutation(n)
        components = components_of(order)
        found = mean(atoms[order], hessian[np.ix_(components, components)], field[order])
        assert_agree([found], expected, rtol=1e-6)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_residuals_of_a_conservative_model_fall_with_the_square(
        self, framework: Framework, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the displacement, as the first error of Taylor's series does."""
        atoms, settings = EXAMPLES[name], settings_for(BOTH)
        scales = np.logspace(-4, -3, 4)
        sizes = []
        for scale in scales:
            drawn_fields(monkeypatch, atoms, scale)(lambda field: field)
            output = run_step(framework, [atoms], settings)
            both = [output.residuals["pitc"], output.residuals["pisc"]]
            sizes.append(torch.cat(both).detach().abs().flatten().cpu().numpy())
        for term in np.array(sizes).T:
            assert np.polyfit(np.log(scales), np.log(term), 1)[0] == pytest.approx(2.0, abs=0.05)

    @pytest.mark.parametrize(
        ("form", "slope"), [("forces", 1.0), ("symmetric", 2.0), ("energies", 2.0)]
    )
    def test_with_its_own_hessian_a_model_has_no_residual_but_that_of_the_step(
        self, framework: Framework, form: str, slope: float
    ) -> None:
        """Which falls with the step by the order of the form."""
        atoms = EXAMPLES["molecule"]
        hessian = Reference(framework, settings_for({})).own_hessian(atoms)
        label = label_of(atoms, hessian=hessian)
        steps = np.logspace(-3.3, -2.3, 4)
        sizes = []
        for step in steps:
            options = {"hessian_file": "given", "hessian_form": form, "hessian_step": step}
            output = run_step(framework, [atoms], settings_for(options), [label])
            sizes.append(float(output.residuals["hessian"].square().mean().sqrt()))
        assert sizes[-1] < 0.05 * np.sqrt(np.square(hessian).sum() / len(hessian))
        found = np.polyfit(np.log(steps), np.log(sizes), 1)[0]
        assert found == pytest.approx(slope, abs=0.1)
