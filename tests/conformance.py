"""What every framework must do: subclass :class:`HostConformance` and give a ``small_model``.

The reference is slow and independent: one structure at a time, in float64, the equations written
out, energies and forces from the framework's plain model with another neighbour list. It stays on
the CPU; with ``pytest --device cuda``, what is compared with it is on the GPU.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Protocol

import ase
import ase.io
import numpy as np
import pytest
import torch
from torch import Tensor

from piwsl_plugins.labels.hessian_labels import HessianLabel
from piwsl_plugins.labels.hessian_lookup import HessianLabels
from piwsl_plugins.options.settings import Settings
from piwsl_plugins.terms import displacements, hessian_targets
from piwsl_plugins.terms.found import KEY, Found
from piwsl_plugins.terms.host import STRUCTURES, Batch, Evaluated, Host, Output
from piwsl_plugins.terms.step import Step
from piwsl_plugins.terms.term_table import terms_of
from piwsl_plugins.terms.training import Moment, Training
from piwsl_plugins.terms.validation import ValidationWatch

DATA = Path(__file__).parents[1] / "data"
SEED, EPOCH = 4, 2
LENGTH = 0.05


class Framework(Protocol):
    """A framework with a small random model, in float64 and in training mode.

    Attributes:
        model: the model.
        host: its host.
        parameters: of the model, those with a gradient.
    """

    model: torch.nn.Module
    host: Host
    parameters: list[Tensor]

    def batch(self, structures: list[ase.Atoms]) -> Batch:
        """A batch as the trainer's loader makes it, with labels."""

    def pooled(self, structures: list[ase.Atoms]) -> Any:
        """Structures as a pool's ``collate_fn`` makes them, likewise."""

    def call(self, batch: Batch, forces: bool) -> Output:
        """The model's output as the trainer gets it."""

    def alone(self, atoms: ase.Atoms) -> tuple[Tensor, Tensor]:
        """Energy and forces of one structure, by another way and another neighbour list."""


class OnDevice:
    """A framework with a copy of its model on another device; ``on_cpu`` is the original."""

    def __init__(self, framework: Framework, device: str) -> None:
        self.on_cpu, self._there, self._device = framework, copy.deepcopy(framework), device
        self.pooled = framework.pooled
        self._there.model.to(device)
        self.call, self.alone, self.host = self._there.call, framework.alone, self._there.host
        self.parameters = [p for p in self._there.model.parameters() if p.requires_grad]

    def batch(self, structures: list[ase.Atoms]) -> Batch:
        """Part of :class:`Framework`."""
        batch = self._there.batch(structures)
        return {
            key: value.to(self._device) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }


def on_meta(values: dict[str, Any]) -> dict[str, Any]:
    """The same on torch's device without data."""
    return {
        key: value.to("meta") if isinstance(value, Tensor) else value
        for key, value in values.items()
    }


def calls_of(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[tuple[Any, ...]]:
    """The arguments of every call of a function in this process, from now on."""
    function, calls = getattr(owner, name), []

    def recorded(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(owner, name, recorded)
    return calls


def bundled(name: str, index: int) -> ase.Atoms:
    labelled = [a for a in ase.io.read(DATA / f"{name}.xyz", index=":40") if len(a) > 1]
    return labelled[index]


def mixed_structures() -> list[ase.Atoms]:
    """Molecules and periodic boxes of unequal sizes, and a lone atom."""
    return [
        bundled("ethanol_gfn2_train", 0),
        bundled("periodic_gfn2_train", 0),
        ase.Atoms("O", [[0.0, 0.0, 0.0]], info={"REF_energy": -100.0}),
        bundled("ethanol_gfn2_train", 1),
        bundled("periodic_gfn2_train", 5),
    ]


def moved(atoms: ase.Atoms, displacement: Tensor) -> ase.Atoms:
    copy = atoms.copy()
    copy.positions = atoms.positions + displacement.detach().numpy()
    return copy


def keys_of(atoms: ase.Atoms) -> displacements.Keys:
    positions = torch.from_numpy(atoms.positions)
    return displacements.epoch_keys(
        displacements.geometry_keys(positions, [len(atoms)]), SEED, EPOCH
    )


def rounded(atoms: ase.Atoms, field: Tensor) -> Tensor:
    positions = torch.from_numpy(atoms.positions)
    return (positions + field) - positions


def known_of(atoms: ase.Atoms) -> dict[str, Any]:
    """What a label says of its structure."""
    return {
        "numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": atoms.cell.array,
        "pbc": atoms.pbc,
    }


def springs(atoms: ase.Atoms, seed: int = 0) -> HessianLabel:
    """Random springs at their rest lengths between all atoms, stiff ones between bonded ones.

    Moving and turning cost nothing, as of any structure, and units are those of molecules.
    """
    n, bonds = len(atoms), atoms.positions[:, None] - atoms.positions
    lengths = np.linalg.norm(bonds, axis=-1) + np.eye(n)
    constants = np.random.default_rng(seed).uniform(10.0, 20.0, (n, n))
    stiffness = (constants + constants.T) / lengths**6
    blocks = -np.einsum("ij,ija,ijb->iajb", stiffness, bonds, bonds)
    atom = np.arange(n)
    blocks[atom, :, atom] = -blocks.sum(axis=2)
    return HessianLabel(**known_of(atoms), hessian=blocks.reshape(3 * n, 3 * n))


def labels_of(structures: list[ase.Atoms]) -> list[HessianLabel]:
    """A whole Hessian, a block of some atoms, their whole rows, and probes, in turn."""
    labels = []
    for index, atoms in enumerate(structures):
        n, random = len(atoms), np.random.default_rng(index)
        hessian = springs(atoms, index).hessian
        some = np.array([0, 2, 5])
        components = (3 * some[:, None] + np.arange(3)).ravel()
        of = known_of(atoms)
        kind = index % 4
        if kind == 0:
            labels.append(HessianLabel(**of, hessian=hessian))
        elif kind == 1:
            block = hessian[np.ix_(components, components)]
            labels.append(HessianLabel(**of, hessian=block, atoms=some))
        elif kind == 2:
            labels.append(HessianLabel(**of, hessian=hessian[components], atoms=some))
        else:
            probes = random.uniform(-0.02, 0.02, size=(3, n, 3))
            changes = random.normal(size=(3, n, 3))
            labels.append(HessianLabel(**of, displacements=probes, force_changes=changes))
    return labels


def probe_of(settings: Settings, label: HessianLabel, atoms: ase.Atoms) -> tuple[Tensor, Any]:
    """δ of a structure with a Hessian label, and the change of forces measured along it."""
    n, keys = len(atoms), keys_of(atoms)
    number = int(displacements.random_bits(keys, "hessian", [1])[0])
    if label.hessian is None:
        index = number % len(label.displacements)
        return torch.from_numpy(label.displacements[index]), label.force_changes[index]
    some = np.arange(n) if label.atoms is None else label.atoms
    field = torch.zeros(n, 3, dtype=torch.float64)
    step = settings.hessian.hessian_step
    if settings.hessian.hessian_displacement == "gaussian":
        field[some] = step * displacements.normal(keys, "hessian", [n])[some]
    else:
        component = number // 2 % (3 * len(some))
        field[some[component // 3], component % 3] = step if number % 2 else -step
    return field, None


class Reference:
    """The residuals of one structure, equations written out."""

    def __init__(self, framework: Framework, settings: Settings) -> None:
        self.framework: Framework = getattr(framework, "on_cpu", framework)
        self.settings = settings

    def at(self, atoms: ase.Atoms, field: Tensor) -> tuple[Tensor, Tensor]:
        return self.framework.alone(moved(atoms, field))

    def consistency(self, atoms: ase.Atoms) -> dict[str, Tensor]:
        """PITC and PISC in eV."""
        options, n, keys = self.settings.consistency, len(atoms), keys_of(atoms)
        energy, forces = self.at(atoms, torch.zeros(n, 3))
        delta, waypoint = (
            rounded(atoms, displacements.draw(options, stream, keys, [n]))
            for stream in ("displaced", "waypoint")
        )
        there, there_forces = self.at(atoms, delta)
        if options.consistency_form == "symmetric":
            return {"pitc": 0.5 * (there + self.at(atoms, -delta)[0]) - energy}
        k = {"first_order": 0.0, "trapezoid": 0.5}[options.consistency_form]
        via, via_forces = self.at(atoms, waypoint)
        leg = delta - waypoint
        along = (delta * ((1 - k) * forces + k * there_forces)).sum()
        second = (leg * ((1 - k) * via_forces + k * there_forces)).sum()
        return {"pitc": there - (energy - along), "pisc": there - (via - second)}

    def hessian(self, atoms: ase.Atoms, label: HessianLabel) -> Tensor:
        """Penalties of the Hessian term, one per component or structure."""
        n = len(atoms)
        field, change = probe_of(self.settings, label, atoms)
        delta = rounded(atoms, field)
        some = np.arange(n) if label.atoms is None else label.atoms
        whole = label.hessian is None or label.hessian.shape[1] == 3 * n
        known = np.arange(n) if whole else some
        if change is None:
            vector = delta.numpy()[some].ravel()
            demanded = torch.from_numpy((label.hessian.T @ vector).reshape(-1, 3))
        else:
            demanded = -torch.from_numpy(change)
        energy, forces = self.at(atoms, torch.zeros(n, 3))
        if self.settings.hessian.hessian_form == "energies":
            curvature = 0.5 * (self.at(atoms, delta)[0] + self.at(atoms, -delta)[0]) - energy
            work = 0.5 * (demanded * delta[torch.from_numpy(known)]).sum()
            return (LENGTH * (curvature - work) / (0.5 * delta.square().sum())).square().view(1)
        difference = forces - self.at(atoms, delta)[1]
        if self.settings.hessian.hessian_form == "symmetric" and change is None:
            difference = 0.5 * (self.at(atoms, -delta)[1] - self.at(atoms, delta)[1])
        error = difference[torch.from_numpy(known)] - demanded
        size = delta.norm() / (3 * len(some)) ** 0.5
        return (LENGTH * error / size).square().flatten()

    def penalty(self, residual: Tensor, n: int) -> Tensor:
        options = self.settings.consistency
        value = residual / n if options.normalization == "per_atom" else residual
        return value**2

    def terms(
        self, structures: list[ase.Atoms], labels: list[HessianLabel] = ()
    ) -> dict[str, Tensor]:
        """The penalties of each term, in the order of the structures."""
        found: dict[str, list[Tensor]] = {"pitc": [], "pisc": [], "hessian": []}
        for atoms in structures:
            if len(atoms) == 1:
                continue
            for name, residual in self.consistency(atoms).items():
                found[name].append(self.penalty(residual, len(atoms)).view(1))
            for label in labels:
                if np.array_equal(label.positions, atoms.positions):
                    found["hessian"].append(self.hessian(atoms, label))
        return {name: torch.cat(values) for name, values in found.items() if values}


TRAPEZOID = {"consistency_form": "trapezoid"}
CASES: dict[str, dict[str, Any]] = {
    "pitc": {"pitc_weight": 1.0},
    "symmetric": {"pitc_weight": 1.0, "consistency_form": "symmetric"},
    "pitc and pisc": {"pitc_weight": 1.0, "pisc_weight": 1.0},
    "pisc": {"pitc_weight": 0.0, "pisc_weight": 1.0},
    "trapezoid": {"pitc_weight": 1.0, **TRAPEZOID},
    "trapezoid, pitc and pisc": {"pitc_weight": 1.0, "pisc_weight": 1.0, **TRAPEZOID},
    "trapezoid, pisc": {"pitc_weight": 0.0, "pisc_weight": 1.0, **TRAPEZOID},
    "paper": {"preset": "paper"},
    "total": {"pitc_weight": 1.0, "normalization": "total"},
    "norm over the structure": {
        "pitc_weight": 1.0,
        "pisc_weight": 1.0,
        "displacement": "structure_norm",
    },
}
#: with a step at which differences along δ lose few digits
HESSIAN_CASES: dict[str, dict[str, Any]] = {
    "forces": {},
    "column": {"hessian_displacement": "column"},
    "symmetric": {"hessian_form": "symmetric"},
    "energies": {"hessian_form": "energies"},
    "beside PITC and PISC": {"pitc_weight": 1.0, "pisc_weight": 1.0},
    "beside the trapezoid": {"pitc_weight": 1.0, "pisc_weight": 1.0, **TRAPEZOID},
}


def settings_for(options: dict[str, Any], forces: bool = True) -> Settings:
    return Settings.create({"max_displacement": 0.04, **options}).decided(forces, 1.0)


class OneBatch:
    """A pool that has the same structures for every batch."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def batch(self, number: int) -> Any:
        """Part of :class:`piwsl_plugins.terms.pool.Pool`."""
        return self._batch


def training_of(
    framework: Framework,
    settings: Settings,
    labels: list[HessianLabel] = (),
    pool: list[ase.Atoms] = (),
    join: bool | None = None,
) -> Training:
    """A training with some labels, and a pool of which every batch gets all."""
    beside = OneBatch(framework.pooled(list(pool))) if pool else None
    return Training(settings, HessianLabels(labels), beside, seed=SEED, join=join)


def run_step(
    framework: Framework,
    structures: list[ase.Atoms],
    settings: Settings,
    labels: list[HessianLabel] = (),
    pool: list[ase.Atoms] = (),
    base_uses_forces: bool = True,
    join: bool | None = None,
) -> Found:
    """One training step's model call, as the adapters' hooks make it."""
    training = training_of(framework, settings, labels, pool, join)
    batch, moment = framework.batch(structures), Moment(EPOCH, 0, 0)
    call = training.begin(framework.host, batch, moment, base_uses_forces)
    return training.end(framework.call(call.inputs, call.forces))


def gradients(framework: Framework, values: list[Tensor]) -> list[Tensor]:
    """Of the sum of the means of some penalties."""
    total = sum(value.mean() for value in values)
    found = torch.autograd.grad(total, framework.parameters, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for gradient, parameter in zip(found, framework.parameters)
    ]


def assert_agree(found: list[Tensor], expected: list[Tensor], rtol: float = 1e-9) -> None:
    scale = max(float(value.detach().abs().max()) for value in expected)
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first.cpu(), second.cpu(), rtol=rtol, atol=1e-11 * scale)


class HostConformance:
    """Tests of a framework's host; subclasses give the fixture ``small_model``."""

    @pytest.fixture
    def small_model(self) -> Framework:
        raise pytest.UsageError("a subclass gives the framework")

    @pytest.fixture
    def framework(self, small_model: Framework, request: pytest.FixtureRequest) -> Framework:
        device = request.config.getoption("--device")
        return small_model if device == "cpu" else OnDevice(small_model, device)

    @pytest.mark.parametrize("case", CASES)
    def test_terms_and_gradients_agree_with_the_slow_reference(self, framework, case):
        settings = settings_for(CASES[case])
        structures = mixed_structures()
        output = run_step(framework, structures, settings)
        names = [term.name for term in terms_of(settings)]
        reference = Reference(framework, settings)
        expected = reference.terms(structures)
        found = [output.penalties[name] for name in names]
        expected = [expected[name] for name in names]
        assert_agree(found, expected)
        assert_agree(gradients(framework, found), gradients(reference.framework, expected))

    @pytest.mark.parametrize("case", HESSIAN_CASES)
    def test_hessian_labels_agree_with_the_slow_reference(self, framework, case):
        given = {"hessian_file": "given", "hessian_step": 0.05, **HESSIAN_CASES[case]}
        settings = settings_for(given)
        structures = mixed_structures()
        labels = labels_of([structures[i] for i in (0, 1, 3, 4)][:3])
        labels.append(labels_of([structures[4]] * 4)[3])
        output = run_step(framework, structures, settings, labels)
        reference = Reference(framework, settings)
        expected = reference.terms(structures, labels)["hessian"]
        assert_agree([output.penalties["hessian"]], [expected])
        found = gradients(framework, [output.penalties["hessian"]])
        assert max(float(value.abs().max()) for value in found) > 1e-3
        assert_agree(found, gradients(reference.framework, [expected]))

    def test_forces_at_both_ends_are_asked_for_by_the_terms_themselves(self, framework):
        """Also where the supervised loss has none; and once for both terms."""
        settings = settings_for({"preset": "paper"}, forces=False)
        structures = mixed_structures()
        output = run_step(framework, structures, settings, base_uses_forces=False)
        expected = Reference(framework, settings).terms(structures)
        for name in ("pitc", "pisc"):
            assert_agree([output.penalties[name]], [expected[name]])

    @pytest.mark.parametrize("case", ["trapezoid", "trapezoid, pitc and pisc", "pitc and pisc"])
    def test_points_are_evaluated_once(self, framework, case, monkeypatch):
        evaluate, calls = framework.host.evaluate, []

        def recorded(batch: Batch, forces: bool) -> Evaluated:
            calls.append(forces)
            return evaluate(batch, forces)

        monkeypatch.setattr(framework.host, "evaluate", recorded)
        run_step(framework, mixed_structures()[:2], settings_for(CASES[case]), join=False)
        expected = {"pitc and pisc": [False, True], "trapezoid": [True]}
        assert sorted(calls) == expected.get(case, [True, True])

    @pytest.mark.parametrize("form", ["first_order", "trapezoid"])
    @pytest.mark.parametrize("forces", [True, False])
    def test_joined_calls_give_the_same(self, framework, forces, form):
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
            pair = [[output.penalties[term.name]] for output in found]
            assert_agree(*pair)
            assert_agree(*(gradients(framework, values) for values in pair))

    @pytest.mark.parametrize("join", [False, True])
    @pytest.mark.parametrize("form", ["forces", "symmetric", "energies", "trapezoid"])
    def test_nothing_is_copied_back_from_the_device(self, small_model, form, join, monkeypatch):
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
        found, answers = [], []
        evaluate = host.evaluate

        def answered(batch: Batch, forces: bool) -> Evaluated:
            answers.append(evaluate(batch, forces))
            return answers[-1]

        def replayed(batch: Batch, forces: bool) -> Evaluated:
            return Evaluated(**on_meta(vars(answers.pop(0))))

        for move, answer in ((dict, answered), (on_meta, replayed)):
            monkeypatch.setattr(host, "evaluate", answer)
            step = Step(host, terms, move(batch), move(pool), SEED, EPOCH, True, join)
            if not found:
                output = small_model.call(step.inputs, step.forces)
            found.append(step.finish(move(output)))
        assert not answers
        for term in terms:
            first, second = (one.penalties[term.name] for one in found)
            assert second.is_meta and len(first) and first.shape == second.shape

    def test_batched_equals_one_by_one_in_any_order(self, framework):
        settings = settings_for({"pitc_weight": 1.0, "pisc_weight": 1.0, "hessian_file": "given"})
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

    def test_pool_structures_carry_the_terms_and_come_last(self, framework):
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
    def test_the_output_for_the_batch_is_untouched(self, framework, join):
        structures = mixed_structures()
        settings = settings_for({"pitc_weight": 1.0, "pisc_weight": 1.0, **TRAPEZOID})
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
    def test_no_structure_with_a_term(self, framework, join):
        lone = mixed_structures()[2]
        settings = settings_for({"pitc_weight": 1.0, "pisc_weight": 1.0, "hessian_file": "given"})
        labels = labels_of(mixed_structures()[:1])
        output = run_step(framework, [lone], settings, labels, join=join)
        for name in ("pitc", "pisc", "hessian"):
            assert output.penalties[name].shape == output.residuals[name].shape == (0,)

    @pytest.mark.parametrize("name", ["ethanol_gfn2_train", "periodic_gfn2_train"])
    def test_invariance_under_rotation_and_permutation(self, framework, name, monkeypatch):
        atoms = bundled(name, 0)
        random = torch.Generator().manual_seed(1)
        fields = dict(
            zip(("displaced", "waypoint"), 0.05 * torch.randn(2, len(atoms), 3, generator=random))
        )
        settings = settings_for({"pitc_weight": 1.0, "pisc_weight": 1.0})

        def found(atoms, change):
            monkeypatch.setattr(
                displacements, "draw", lambda options, stream, *rest: change(fields[stream])
            )
            output = run_step(framework, [atoms], settings)
            return [output.penalties["pitc"], output.penalties["pisc"]]

        expected = found(atoms, lambda field: field)
        rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
        rotation *= np.sign(np.linalg.det(rotation))
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ rotation.T)
        turned.positions = atoms.positions @ rotation.T
        matrix = torch.from_numpy(rotation.T).to(torch.get_default_dtype())
        assert_agree(found(turned, lambda f: f.to(matrix) @ matrix), expected, rtol=1e-6)
        order = np.random.default_rng(1).permutation(len(atoms))
        assert_agree(found(atoms[order], lambda f: f[order]), expected, rtol=1e-6)

    @pytest.mark.parametrize("form", ["forces", "symmetric", "energies"])
    @pytest.mark.parametrize("name", ["ethanol_gfn2_train", "periodic_gfn2_train"])
    def test_hessian_labels_turn_with_their_structure(self, framework, form, name, monkeypatch):
        """So do they when atoms are listed in another order."""
        atoms = bundled(name, 0)
        n, field = len(atoms), np.random.default_rng(1).normal(size=(len(atoms), 3))
        options = {"hessian_file": "given", "hessian_form": form, "hessian_step": 0.05}
        settings = settings_for(options)
        hessian = springs(atoms).hessian

        def mean(atoms: ase.Atoms, hessian: np.ndarray, field: np.ndarray) -> Tensor:
            drawn = torch.from_numpy(field)
            monkeypatch.setattr(hessian_targets, "normal", lambda *_: drawn)
            label = HessianLabel(**known_of(atoms), hessian=hessian)
            found = run_step(framework, [atoms], settings, [label])
            return found.penalties["hessian"].mean()

        expected = [mean(atoms, hessian, field)]
        rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
        rotation *= np.sign(np.linalg.det(rotation))
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ rotation.T)
        turned.positions = atoms.positions @ rotation.T
        turn = np.kron(np.eye(n), rotation)
        found = mean(turned, turn @ hessian @ turn.T, field @ rotation.T)
        assert_agree([found], expected, rtol=1e-6)
        order = np.random.default_rng(1).permutation(n)
        components = (3 * order[:, None] + np.arange(3)).ravel()
        found = mean(atoms[order], hessian[np.ix_(components, components)], field[order])
        assert_agree([found], expected, rtol=1e-6)

    @pytest.mark.parametrize("name", ["ethanol_gfn2_train", "periodic_gfn2_train"])
    def test_residuals_of_a_conservative_model_fall_with_the_square(
        self, framework, name, monkeypatch
    ):
        atoms = bundled(name, 0)
        random = torch.Generator().manual_seed(2)
        fields = dict(
            zip(
                ("displaced", "waypoint"),
                torch.randn(2, len(atoms), 3, generator=random, dtype=torch.float64),
            )
        )
        settings = settings_for({"pitc_weight": 1.0, "pisc_weight": 1.0})
        scales = np.logspace(-4, -2.5, 5)
        sizes = []
        for scale in scales:
            monkeypatch.setattr(
                displacements, "draw", lambda options, stream, *rest, s=scale: s * fields[stream]
            )
            output = run_step(framework, [atoms], settings)
            both = [output.residuals["pitc"], output.residuals["pisc"]]
            sizes.append(torch.cat(both).abs().flatten().cpu().numpy())
        for term in np.array(sizes).T:
            assert np.polyfit(np.log(scales), np.log(term), 1)[0] == pytest.approx(2.0, abs=0.05)

    @pytest.mark.parametrize(
        ("form", "slope"), [("forces", 1.0), ("symmetric", 2.0), ("energies", 2.0)]
    )
    def test_with_its_own_hessian_a_model_has_no_residual_but_that_of_the_step(
        self, framework, form, slope
    ):
        atoms = bundled("ethanol_gfn2_train", 0)
        label = HessianLabel(**known_of(atoms), hessian=own_hessian(framework, atoms))
        steps = np.logspace(-3.3, -2.3, 4)
        sizes = []
        for step in steps:
            options = {"hessian_file": "given", "hessian_form": form, "hessian_step": step}
            output = run_step(framework, [atoms], settings_for(options), [label])
            sizes.append(float(output.residuals["hessian"].square().mean().sqrt()))
        assert sizes[-1] < 0.05 * np.sqrt(np.square(label.hessian).sum() / len(label.hessian))
        found = np.polyfit(np.log(steps), np.log(sizes), 1)[0]
        assert found == pytest.approx(slope, abs=0.1)

    def test_held_out_hessians_are_compared_in_every_validation_alike(self, framework):
        """A label that is wrong by c on the diagonal has the error c along every direction."""
        structures = mixed_structures()[:4]
        labels = []
        for error, atoms in ((0.0, structures[0]), (2.0, structures[3])):
            hessian = own_hessian(framework, atoms)
            hessian += error * np.eye(len(hessian))
            labels.append(HessianLabel(**known_of(atoms), hessian=hessian))
        settings = settings_for(
            {"hessian_valid_file": "given", "hessian_form": "symmetric", "hessian_step": 0.001}
        )
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


def own_hessian(framework: Framework, atoms: ase.Atoms, step: float = 1e-4) -> np.ndarray:
    """The model's Hessian by central differences of its forces, in eV/Å²."""
    rows = []
    for component in range(3 * len(atoms)):
        field = torch.zeros(3 * len(atoms), dtype=torch.float64)
        field[component] = step
        forces = [
            framework.alone(moved(atoms, sign * field.view(-1, 3)))[1].detach()
            for sign in (-1.0, 1.0)
        ]
        rows.append(((forces[0] - forces[1]) / (2 * step)).flatten().numpy())
    hessian = np.array(rows)
    return 0.5 * (hessian + hessian.T)
