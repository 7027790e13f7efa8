"""How a step of a framework goes: batched, joined, with a pool, and on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ..labels.hessian_lookup import HessianLabels
from ..terms.found import KEY, Found
from ..terms.host import STRUCTURES, Batch, Evaluated
from ..terms.step import Step
from ..terms.term_table import terms_of
from .agreement import BOTH, TRAPEZOID
from .framework import Framework, moved_to
from .hessians import labels_of
from .reference import EPOCH, SEED
from .steps import assert_agree, gradients, run_step, settings_for
from .structures import lone_atom, mixed_structures


class Batching:
    """How structures are put together changes nothing, and nothing else changes."""

    @pytest.mark.parametrize("form", ["first_order", "trapezoid"])
    @pytest.mark.parametrize("forces", [True, False])
    def test_joined_calls_give_the_same(
        self, framework: Framework, forces: bool, form: str
    ) -> None:
        """As separate ones, gradients too."""
        structures = mixed_structures()
        labels = labels_of(structures[:2])
        options = {"pitc_weight": 1.0, "hessian_file": "given"}
        options |= {"hessian_form": "forces" if forces else "energies"}
        with_pisc = {"pisc_weight": 1.0, "consistency_form": form}
        settings = settings_for(options | (with_pisc if forces else {}), forces)
        found = [
            run_step(framework, structures, settings, labels, structures[3:], forces, join)
            for join in (False, True)
        ]
        for term in terms_of(settings, HessianLabels(labels)):
            separate, joined = ([output.penalties[term.name]] for output in found)
            assert_agree(joined, separate)
            assert_agree(gradients(framework, joined), gradients(framework, separate))

    @pytest.mark.parametrize("join", [False, True])
    @pytest.mark.parametrize("form", ["forces", "symmetric", "energies", "trapezoid"])
    def test_nothing_is_copied_back_from_the_device(
        self, small_model: Framework, form: str, join: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A step on torch's device without data, where every such copy is an error.

        What the model answers there is what it answers on the CPU in the same step.
        """
        options = {"pitc_weight": 1.0, "hessian_file": "given"}
        if form == "trapezoid":
            options |= {"pisc_weight": 1.0, **TRAPEZOID}
        else:
            options |= {"hessian_form": form} | ({} if form == "energies" else {"pisc_weight": 1.0})
        settings = settings_for(options)
        structures, host = mixed_structures(), small_model.host
        terms = terms_of(settings, HessianLabels(labels_of(structures[:2])))
        batch, pool = small_model.batch(structures[:3]), small_model.batch(structures[3:])
        for one in (batch, pool):
            one[STRUCTURES] = host.describe(one)  # as a loader does
        found: list[Found] = []
        answers: list[Evaluated] = []
        evaluate = host.evaluate

        def answered(batch: Batch, forces: bool) -> Evaluated:
            answers.append(evaluate(batch, forces))
            return answers[-1]

        def replayed(batch: Batch, forces: bool) -> Evaluated:
            return Evaluated(**on_meta(vars(answers.pop(0))))

        def on_meta(values: dict[str, Any]) -> dict[str, Any]:
            return moved_to("meta", values)

        ways: list[tuple[Callable[[Any], Any], Callable[[Batch, bool], Evaluated]]]
        ways = [(dict, answered), (on_meta, replayed)]
        for move, answer in ways:
            monkeypatch.setattr(host, "evaluate", answer)
            step = Step(host, terms, move(batch), move(pool), SEED, EPOCH, True, join)
            if not found:
                output = small_model.call(step.inputs, step.forces)
            found.append(step.finish(move(output)))
        assert not answers
        for term in terms:
            first, second = (one.penalties[term.name] for one in found)
            assert second.is_meta and len(first) and first.shape == second.shape

    def test_batched_equals_one_by_one_in_any_order(self, framework: Framework) -> None:
        """Penalties of each structure, and their mean."""
        settings = settings_for({**BOTH, "hessian_file": "given"})
        structures = mixed_structures()
        labels = labels_of([structures[0], structures[3]])
        together = run_step(framework, structures, settings, labels)
        for term in terms_of(settings, HessianLabels(labels)):
            name = term.name
            alone = [run_step(framework, [a], settings, labels).penalties[name] for a in structures]
            assert_agree([together.penalties[name]], [torch.cat(alone)])
            reverse = run_step(framework, structures[::-1], settings, labels)
            means = [found.penalties[name].mean() for found in (reverse, together)]
            assert_agree(means[:1], means[1:])

    def test_pool_structures_carry_the_terms_and_come_last(self, framework: Framework) -> None:
        """Their own output is that of a batch of them."""
        settings = settings_for({"pitc_weight": 1.0})
        structures = mixed_structures()
        together = run_step(framework, structures, settings)
        output = run_step(framework, structures[:2], settings, pool=structures[2:])
        assert_agree([output.penalties["pitc"]], [together.penalties["pitc"]])
        batch = framework.batch(structures[2:])
        plain = framework.host.read(framework.call(batch, True))
        pool = framework.host.read(output.pool)
        torch.testing.assert_close(pool.energy, plain.energy)
        torch.testing.assert_close(pool.forces, plain.forces)

    @pytest.mark.parametrize("join", [False, True])
    def test_the_output_for_the_batch_is_untouched(self, framework: Framework, join: bool) -> None:
        """To the last bit in separate calls, and beside one key of ours."""
        structures = mixed_structures()
        settings = settings_for({**BOTH, **TRAPEZOID})
        for _ in range(3):  # TorchScript optimises a model during its first calls
            plain = framework.call(framework.batch(structures), True)
        found = run_step(framework, structures, settings, join=join)
        assert found.in_output().keys() == {*found.output, KEY} and KEY not in found.output
        for key, value in plain.items():
            if isinstance(value, Tensor):
                rtol, atol = (1e-10, 1e-11) if join else (0.0, 0.0)
                torch.testing.assert_close(
                    found.output[key], value, rtol=rtol, atol=atol, equal_nan=True, msg=key
                )

    @pytest.mark.parametrize("join", [False, True])
    def test_no_structure_with_a_term(self, framework: Framework, join: bool) -> None:
        """A lone atom carries none; there is nothing to be found, and no error."""
        settings = settings_for({**BOTH, "hessian_file": "given"})
        labels = labels_of(mixed_structures()[:1])
        output = run_step(framework, [lone_atom()], settings, labels, join=join)
        for name in ("pitc", "pisc", "hessian"):
            assert output.penalties[name].shape == output.residuals[name].shape == (0,)
