"""Every term of a framework's step, and its gradient, beside the equations written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ..labels.hessian_lookup import HessianLabels
from ..terms.host import Batch, Evaluated
from ..terms.term_table import terms_of
from ..terms.validation import ValidationWatch
from .framework import Framework
from .hessians import label_of, labels_of
from .reference import Reference
from .steps import assert_agree, gradients, run_step, settings_for
from .structures import mixed_structures

TRAPEZOID = {"consistency_form": "trapezoid"}
BOTH = {"pitc_weight": 1.0, "pisc_weight": 1.0}
CASES: dict[str, dict[str, Any]] = {
    "pitc": {"pitc_weight": 1.0},
    "symmetric": {"pitc_weight": 1.0, "consistency_form": "symmetric"},
    "pitc and pisc": BOTH,
    "pisc": {"pitc_weight": 0.0, "pisc_weight": 1.0},
    "trapezoid": {"pitc_weight": 1.0, **TRAPEZOID},
    "trapezoid, pitc and pisc": {**BOTH, **TRAPEZOID},
    "trapezoid, pisc": {"pitc_weight": 0.0, "pisc_weight": 1.0, **TRAPEZOID},
    "paper": {"preset": "paper"},
    "total": {"pitc_weight": 1.0, "normalization": "total"},
    "norm over the structure": {**BOTH, "displacement": "structure_norm"},
    "along a gradient": {**BOTH, **TRAPEZOID, "displacement": "adversarial"},
    "symmetric, along a gradient": {"consistency_form": "symmetric", "displacement": "adversarial"},
}
#: with a step at which differences along δ lose few digits
HESSIAN_CASES: dict[str, dict[str, Any]] = {
    "forces": {},
    "column": {"hessian_displacement": "column"},
    "symmetric": {"hessian_form": "symmetric"},
    "energies": {"hessian_form": "energies"},
    "beside PITC and PISC": BOTH,
    "beside the trapezoid": {**BOTH, **TRAPEZOID},
}


class Agreement:
    """Against the slow reference."""

    @pytest.mark.parametrize("case", CASES)
    def test_terms_and_gradients_agree_with_the_slow_reference(
        self, framework: Framework, case: str
    ) -> None:
        """To nine digits."""
        settings = settings_for(CASES[case])
        structures = mixed_structures()
        output = run_step(framework, structures, settings)
        names = [term.name for term in terms_of(settings)]
        reference = Reference(framework, settings)
        terms = reference.terms(structures)
        found = [output.penalties[name] for name in names]
        expected = [terms[name] for name in names]
        assert_agree(found, expected)
        assert_agree(gradients(framework, found), gradients(reference.framework, expected))

    @pytest.mark.parametrize("case", HESSIAN_CASES)
    def test_hessian_labels_agree_with_the_slow_reference(
        self, framework: Framework, case: str
    ) -> None:
        """Of every kind: whole, blocks, rows and probes."""
        given = {"hessian_file": "given", "hessian_step": 0.05, **HESSIAN_CASES[case]}
        settings = settings_for(given)
        structures = mixed_structures()
        labels = labels_of([structures[index] for index in (0, 1, 3)])
        labels.append(labels_of([structures[4]] * 4)[3])
        output = run_step(framework, structures, settings, labels)
        reference = Reference(framework, settings)
        expected = reference.terms(structures, labels)["hessian"]
        assert_agree([output.penalties["hessian"]], [expected])
        found = gradients(framework, [output.penalties["hessian"]])
        assert max(float(value.abs().max()) for value in found) > 1e-3
        assert_agree(found, gradients(reference.framework, [expected]))

    def test_forces_at_both_ends_are_asked_for_by_the_terms_themselves(
        self, framework: Framework
    ) -> None:
        """Also where the supervised loss has none; and once for both terms."""
        settings = settings_for({"preset": "paper"}, forces=False)
        structures = mixed_structures()
        output = run_step(framework, structures, settings, base_uses_forces=False)
        expected = Reference(framework, settings).terms(structures)
        for name in ("pitc", "pisc"):
            assert_agree([output.penalties[name]], [expected[name]])

    @pytest.mark.parametrize("case", ["trapezoid", "trapezoid, pitc and pisc", "pitc and pisc"])
    def test_points_are_evaluated_once(
        self, framework: Framework, case: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many terms use them, with forces only where these are needed."""
        evaluate, calls = framework.host.evaluate, []

        def recorded(batch: Batch, forces: bool) -> Evaluated:
            calls.append(forces)
            return evaluate(batch, forces)

        monkeypatch.setattr(framework.host, "evaluate", recorded)
        run_step(framework, mixed_structures()[:2], settings_for(CASES[case]), join=False)
        expected = {"pitc and pisc": [False, True], "trapezoid": [True]}
        assert sorted(calls) == expected.get(case, [True, True])

    def test_held_out_hessians_are_compared_in_every_validation_alike(
        self, framework: Framework
    ) -> None:
        """A label that is wrong by c on the diagonal has the error c along every direction."""
        settings = settings_for(
            {"hessian_valid_file": "given", "hessian_form": "symmetric", "hessian_step": 0.001}
        )
        reference, structures, labels = (
            Reference(framework, settings),
            mixed_structures()[:4],
            [],
        )
        for error, atoms in ((0.0, structures[0]), (2.0, structures[3])):
            hessian = reference.own_hessian(atoms)
            labels.append(label_of(atoms, hessian=hessian + error * np.eye(len(hessian))))
        watch = ValidationWatch(settings, False, HessianLabels(labels))
        found = []
        for _ in range(2):
            for some in (structures[:2], structures[2:]):  # a lone atom in the second
                batch = framework.batch(some)
                watch.add(framework.host, batch, framework.call(batch, True))
            found.append(watch.take()[0])
        right, wrong = (len(label.numbers) for label in labels)
        expected = 2.0 * np.sqrt(wrong / (right + wrong))
        rms = found[0].hessian_rms
        assert rms == pytest.approx(expected, rel=2e-3), (rms, expected)
        assert found[1] == found[0] and found[0].slope is None
        assert watch.take()[0].hessian_rms is None
