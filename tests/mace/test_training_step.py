"""A whole training step against a slow, independent float64 reference.

The reference takes one structure at a time, makes its displaced copies with ASE and MACE's
own data pipeline, and writes the equations out; it shares only the drawn displacements.
"""

import numpy as np
import pytest
import torch
from mace import modules
from mace.calculators import MACECalculator

from piwsl_plugins.core.displacements import adversarial, draw, structure_keys
from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace.displaced import DisplacedEvaluation
from piwsl_plugins.mace.loss import PIWSLLoss

from .conftest import atomic_data, batch_of, frames, make_model

EPOCH = 3


def mixed_structures():
    """Molecules and periodic boxes of different sizes, one with fixed atoms, and a lone atom."""
    molecules, boxes = frames("ethanol_gfn2_train", 3), frames("periodic_gfn2_train", 40)
    sizes = {len(atoms): atoms for atoms in boxes}
    assert len(sizes) > 1, "the periodic set holds more than one size"
    atom = molecules[0][:1]
    atom.info["REF_energy"] = -1.0
    return [*molecules, *sizes.values(), atom]


def step(model, structures, settings, base=None, **keywords):
    """One training step as MACE's ``take_step`` takes it; returns loss, output and gradients."""
    base = base or modules.WeightedEnergyForcesLoss(energy_weight=3.0, forces_weight=10.0)
    loss_fn = PIWSLLoss(base, settings)
    batch = batch_of(structures)
    model.zero_grad()
    with DisplacedEvaluation(model, loss_fn, EPOCH, first_step=0, **keywords):
        output = model(
            batch.to_dict(),
            training=True,
            compute_force=True,
            compute_virials=False,
            compute_stress=isinstance(base, modules.WeightedEnergyForcesStressLoss),
        )
        loss = loss_fn(pred=output, ref=batch)
        loss.backward()
    return loss.detach(), output, gradients(model)


def gradients(model):
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in model.named_parameters()
    }


def moved(atoms, displacement):
    copy = atoms.copy()
    copy.set_constraint()
    copy.positions += displacement.numpy()
    return copy


def drawn(settings, atoms, point):
    positions = torch.from_numpy(atoms.positions)
    keys = structure_keys(positions, [len(atoms)], settings.seed, EPOCH)
    return draw(settings, point, keys, [len(atoms)])


def evaluate(model, atoms):
    """Energy and forces of one structure, differentiable in the model's parameters."""
    batch = batch_of([atomic_data(atoms)]).to_dict()
    output = model(batch, training=True, compute_force=True)
    return output["energy"][0], output["forces"]


def reference_residuals(model, atoms, settings):
    """The residuals of one structure, written out; dictionary of lists of paths."""
    delta, waypoint = drawn(settings, atoms, "displaced"), drawn(settings, atoms, "waypoint")
    energy, forces = evaluate(model, atoms)
    if settings.displacement == "adversarial":
        error = forces - torch.from_numpy(atoms.arrays["REF_forces"])
        keys = structure_keys(torch.from_numpy(atoms.positions), [len(atoms)], settings.seed, EPOCH)
        delta = adversarial(settings, error, keys, [len(atoms)])
    start_energy, start_forces = energy, forces
    if settings.anchor == "label":
        start_energy = torch.tensor(atoms.info["REF_energy"])
        start_forces = torch.from_numpy(atoms.arrays["REF_forces"])
    displaced_energy, displaced_forces = evaluate(model, moved(atoms, delta))
    via_energy, via_forces = evaluate(model, moved(atoms, waypoint))
    extrapolation = start_energy - (delta * start_forces).sum()
    second = delta - waypoint
    paths = {
        "displaced": displaced_energy - (via_energy - (second * via_forces).sum()),
        "extrapolated": extrapolation - (via_energy - (second * via_forces).sum()),
        "waypoint": via_energy - (displaced_energy + (second * displaced_forces).sum()),
        "origin": energy - (via_energy + (waypoint * via_forces).sum()),
    }
    chosen = list(paths) if settings.pisc_vertex == "all" else [settings.pisc_vertex]
    return {"pitc": [displaced_energy - extrapolation], "pisc": [paths[name] for name in chosen]}


def reference_step(model, structures, settings):
    """Loss and gradients of the whole step, one structure after the other."""
    model.zero_grad()
    energy_loss, force_errors, terms = 0.0, [], {"pitc": [], "pisc": []}
    for atoms in structures:
        energy, forces = evaluate(model, atoms)
        energy_loss = energy_loss + ((energy - atoms.info["REF_energy"]) / len(atoms)) ** 2
        labelled = "REF_forces" in atoms.arrays
        reference = torch.from_numpy(atoms.arrays["REF_forces"]) if labelled else forces.detach()
        force_errors.append((forces - reference).square())
        if len(atoms) == 1 or (settings.needs_labels() and not labelled):
            continue
        for term, residuals in reference_residuals(model, atoms, settings).items():
            squares = [(residual / len(atoms)) ** 2 for residual in residuals]
            terms[term].append(sum(squares) / len(squares))
    loss = 3.0 * energy_loss / len(structures) + 10.0 * torch.cat(force_errors).mean()
    for term, values in terms.items():
        loss = loss + getattr(settings, f"{term}_weight") * sum(values) / len(values)
    loss.backward()
    return loss.detach(), gradients(model)


CASES = {
    "pitc": {"pitc_weight": 50.0},
    "pitc and pisc": {"pitc_weight": 50.0, "pisc_weight": 20.0},
    "pisc": {"pitc_weight": 0.0, "pisc_weight": 20.0},
    "extrapolated": {"pitc_weight": 0.0, "pisc_weight": 9.0, "pisc_vertex": "extrapolated"},
    "waypoint": {"pitc_weight": 5.0, "pisc_weight": 20.0, "pisc_vertex": "waypoint"},
    "origin": {"pitc_weight": 0.0, "pisc_weight": 20.0, "pisc_vertex": "origin"},
    "all": {"pitc_weight": 5.0, "pisc_weight": 20.0, "pisc_vertex": "all"},
    "one-sided": {"pitc_weight": 50.0, "displacement": "one_sided"},
    "fraction": {"pitc_weight": 50.0, "pisc_weight": 20.0, "displaced_fraction": 0.3},
    "label": {"pitc_weight": 5.0, "pisc_weight": 20.0, "anchor": "label"},
    "adversarial": {"pitc_weight": 50.0, "pisc_weight": 20.0, "displacement": "adversarial"},
}


@pytest.mark.parametrize(
    ("case", "kind", "join"),
    [(case, modules.ScaleShiftMACE, None) for case in CASES]
    + [(case, modules.MACE, None) for case in ("pitc and pisc", "label")]
    + [(case, modules.ScaleShiftMACE, True) for case in ("pitc and pisc", "all", "adversarial")],
)
def test_loss_and_gradients_agree_with_the_slow_reference(case, kind, join):
    settings = Settings.create({"seed": 4, "max_displacement": 0.04, **CASES[case]})
    structures = mixed_structures()
    model = make_model(kind)
    expected_loss, expected = reference_step(model, structures, settings)
    structures = [atomic_data(atoms) for atoms in structures]
    loss, _, found = step(model, structures, settings, join=join)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=0)
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12 * scale, msg=name)


def test_residuals_agree_with_mace_calculator():
    """Energies and forces from MACE's own ASE calculator, in plain numpy."""
    settings = Settings.create({"seed": 4, "pitc_weight": 1.0, "pisc_weight": 1.0})
    model = make_model()
    calculator = MACECalculator(models=model, device="cpu", default_dtype="float64")
    structures = [atoms for atoms in mixed_structures() if len(atoms) > 1]
    _, output, _ = step(model, [atomic_data(atoms) for atoms in structures], settings)
    for index, atoms in enumerate(structures):

        def answer(displaced):
            displaced.calc = calculator
            return displaced.get_potential_energy(), displaced.get_forces()

        delta, waypoint = drawn(settings, atoms, "displaced"), drawn(settings, atoms, "waypoint")
        energy, forces = answer(moved(atoms, torch.zeros_like(delta)))
        displaced, _ = answer(moved(atoms, delta))
        via, via_forces = answer(moved(atoms, waypoint))
        pitc = displaced - (energy - np.sum(delta.numpy() * forces))
        pisc = displaced - (via - np.sum((delta - waypoint).numpy() * via_forces))
        # energies of some 100 eV in float64 leave 1e-13 eV
        assert output["piwsl_pitc"][0, index].item() == pytest.approx(pitc, rel=1e-10, abs=1e-12)
        assert output["piwsl_pisc"][0, index].item() == pytest.approx(pisc, rel=1e-10, abs=1e-12)


def test_fixed_atoms_are_not_displaced(monkeypatch):
    from ase.constraints import FixAtoms, FixCartesian

    monkeypatch.setenv("_PIWSL_PLUGINS_SELECTED", "1")
    first, second = frames("ethanol_gfn2_train", 2)
    first.set_constraint([FixAtoms([0, 3]), FixCartesian(5, mask=(True, False, False))])
    structures = [atomic_data(atoms) for atoms in (first, second)]
    seen = []
    model = make_model()
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda batch, **k: seen.append(batch["positions"]) or forward(batch, **k)
    )
    step(model, structures, Settings(seed=0))
    original, displaced = seen
    change = (displaced - original.detach()).as_subclass(torch.Tensor)
    movable = torch.ones(18, 3, dtype=torch.bool)
    movable[[0, 3]] = False
    movable[5, 0] = False
    assert torch.equal(change != 0, movable)


@pytest.mark.parametrize("join", [False, True])
def test_original_structures_are_untouched(join):
    """To the last bit in a call of their own, to rounding in one shared with displaced ones."""
    structures = [atomic_data(atoms) for atoms in mixed_structures()]
    model = make_model()
    stress = modules.WeightedEnergyForcesStressLoss(1.0, 1.0, 1.0)
    for _ in range(3):  # TorchScript optimises a model during its first calls
        _, plain, _ = step(model, structures, Settings(pitc_weight=0.0), base=stress)
    everything = Settings(seed=0, pitc_weight=1.0, pisc_weight=1.0, pisc_vertex="all")
    _, output, _ = step(model, structures, everything, base=stress, join=join)
    assert set(plain) - {"piwsl_n_atoms", "piwsl_weight"} <= set(output)
    for key, value in plain.items():
        if value is not None:
            rtol, atol = (1e-12, 1e-13) if join else (0.0, 0.0)
            torch.testing.assert_close(output[key], value, rtol=rtol, atol=atol, msg=key)


@pytest.mark.parametrize("kind", [modules.ScaleShiftMACE, modules.MACE])
def test_residuals_in_float32_survive_the_large_energies_of_dft(kind):
    """Total energies of 10⁵ eV have steps of 0.01 eV in float32; the residual is smaller."""
    atoms = frames("ethanol_gfn2_train", 3)
    settings = Settings(seed=0, pitc_weight=1.0, pisc_weight=1.0, max_displacement=0.005)
    found = {}
    for dtype in (torch.float64, torch.float32):
        torch.set_default_dtype(torch.float64)
        model = make_model(kind, atomic_energies=np.array([-1e3, -2e4, -4e4])).to(dtype)
        torch.set_default_dtype(dtype)
        try:
            _, output, _ = step(model, [atomic_data(a) for a in atoms], settings)
        finally:
            torch.set_default_dtype(torch.float64)
        found[dtype] = torch.cat([output["piwsl_pitc"], output["piwsl_pisc"]]).detach().double()
    exact, rounded = found[torch.float64], found[torch.float32]
    assert exact.abs().max() < 0.01
    # the keys of the displacements are made from the rounded positions
    assert rounded.abs().mean() == pytest.approx(exact.abs().mean().item(), rel=0.5)
    assert len(set(rounded.flatten().tolist())) == rounded.numel()


def test_batched_equals_one_by_one():
    settings = Settings(seed=1, pitc_weight=1.0, pisc_weight=1.0)
    model = make_model()
    structures = [atomic_data(atoms) for atoms in mixed_structures()[:-1]]
    _, together, _ = step(model, structures, settings)
    for term in ("piwsl_pitc", "piwsl_pisc"):
        alone = torch.cat([step(model, [data], settings)[1][term] for data in structures], dim=1)
        torch.testing.assert_close(together[term], alone, rtol=1e-10, atol=1e-13)


def test_order_of_structures_does_not_matter():
    settings = Settings(seed=1, pitc_weight=7.0, pisc_weight=3.0)
    model = make_model()
    structures = [atomic_data(atoms) for atoms in mixed_structures()]
    loss, _, found = step(model, structures, settings)
    reversed_loss, _, reversed_found = step(model, structures[::-1], settings)
    torch.testing.assert_close(reversed_loss, loss, rtol=1e-12, atol=0)
    scale = max(float(value.abs().max()) for value in found.values())
    for name, value in found.items():
        torch.testing.assert_close(reversed_found[name], value, rtol=1e-10, atol=1e-12 * scale)


def residual_of(model, atoms, delta, waypoint, monkeypatch):
    """Residuals of one structure for given displacements."""
    given = {"displaced": delta, "waypoint": waypoint}
    monkeypatch.setattr(
        "piwsl_plugins.mace.displaced.displacements.draw", lambda s, point, *rest: given[point]
    )
    settings = Settings(seed=0, pitc_weight=1.0, pisc_weight=1.0)
    _, output, _ = step(model, [atomic_data(atoms)], settings)
    return torch.cat([output["piwsl_pitc"], output["piwsl_pisc"]]).detach().squeeze()


@pytest.mark.parametrize("name", ["ethanol_gfn2_train", "periodic_gfn2_train"])
def test_rotation_and_permutation_invariance(name, monkeypatch):
    atoms = frames(name, 1)[0]
    model = make_model()
    delta, waypoint = 0.05 * torch.randn(2, len(atoms), 3, generator=torch.Generator())
    expected = residual_of(model, atoms, delta, waypoint, monkeypatch)

    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    rotated = atoms.copy()
    rotated.set_cell(atoms.cell.array @ rotation.T)
    rotated.positions = atoms.positions @ rotation.T
    turn = torch.from_numpy(rotation.T)
    turned = residual_of(model, rotated, delta @ turn, waypoint @ turn, monkeypatch)
    torch.testing.assert_close(turned, expected, rtol=1e-9, atol=1e-12)

    order = np.random.default_rng(1).permutation(len(atoms))
    permuted = residual_of(model, atoms[order], delta[order], waypoint[order], monkeypatch)
    torch.testing.assert_close(permuted, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["ethanol_gfn2_train", "periodic_gfn2_train"])
def test_residuals_of_a_conservative_model_fall_with_the_square_of_the_displacement(
    name, monkeypatch
):
    atoms = frames(name, 1)[0]
    model = make_model()
    fields = torch.randn(2, len(atoms), 3, generator=torch.Generator())
    scales = torch.logspace(-4, -2.5, 6)
    found = torch.stack(
        [residual_of(model, atoms, *(scale * fields), monkeypatch).abs() for scale in scales]
    )
    for term in found.T:
        slope = np.polyfit(np.log(scales.numpy()), np.log(term.numpy()), 1)[0]
        assert slope == pytest.approx(2.0, abs=0.05)


def test_terms_leave_the_forces_of_the_displaced_point_alone():
    """E(r+δ) is evaluated for its energy only: no gradient is worked out for its positions."""
    model, seen = make_model(), []
    forward = model.forward
    model.forward = lambda batch, **k: seen.append((batch, k)) or forward(batch, **k)
    structures = [atomic_data(atoms) for atoms in frames("ethanol_gfn2_train", 2)]
    step(model, structures, Settings(seed=0, pitc_weight=1.0))
    (original, _), (displaced, keywords) = seen
    assert keywords["compute_force"] is False
    assert not displaced["positions"].requires_grad
    assert original["positions"].requires_grad


def test_config_weights_scale_the_terms():
    atoms = frames("ethanol_gfn2_train", 2)
    model = make_model()
    base = modules.WeightedEnergyForcesLoss(energy_weight=0.0, forces_weight=0.0)
    settings = Settings(seed=0, pitc_weight=1.0)
    first, _, _ = step(model, [atomic_data(atoms[0])], settings, base=base)
    atoms[0].info["config_weight"] = 3.0
    weighted, _, _ = step(model, [atomic_data(atoms[0])], settings, base=base)
    torch.testing.assert_close(weighted, 3.0 * first)


def test_heads_without_terms_are_left_out():
    atoms = frames("ethanol_gfn2_train", 4)
    heads = ["pt_head", "first", "second"]
    model = make_model(heads=heads, atomic_energies=np.tile([-10.0, -50.0, -100.0], (3, 1)))
    model.scale_shift.scale = torch.ones(3)
    model.scale_shift.shift = torch.zeros(3)
    names = ["pt_head", "first", "second", "first"]
    structures = [atomic_data(a, heads, name) for a, name in zip(atoms, names, strict=True)]

    def count(**options):
        _, output, _ = step(model, structures, Settings(seed=0, pisc_weight=1.0, **options))
        return output["piwsl_pitc"].shape[1], output["piwsl_pisc"].shape[1]

    assert count() == (3, 3)
    assert count(heads=("second",)) == (1, 1)
    assert count(heads=("pt_head", "second")) == (2, 2)


def test_a_batch_without_any_structure_for_the_terms_has_the_base_loss():
    atoms = frames("ethanol_gfn2_train", 1)[0][:1]
    atoms.info["REF_energy"] = -10.0
    base = modules.WeightedEnergyForcesLoss(1.0, 1.0)
    model = make_model()
    settings = Settings(seed=0, pitc_weight=1.0, pisc_weight=1.0)
    loss, output, _ = step(model, [atomic_data(atoms)], settings, base=base)
    expected, _, _ = step(model, [atomic_data(atoms)], Settings(pitc_weight=0.0), base=base)
    assert torch.equal(loss, expected)
    assert output["piwsl_pitc"].shape == (1, 0)


def test_the_loss_refuses_to_train_without_displaced_structures():
    model = make_model()
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), Settings())
    batch = batch_of([atomic_data(frames("ethanol_gfn2_train", 1)[0])])
    output = model(batch.to_dict(), training=True)
    loss_fn.factor = 1.0
    with pytest.raises(RuntimeError, match="displaced structures"):
        loss_fn(pred=output, ref=batch)


def test_only_the_training_call_is_displaced():
    model = make_model()
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), Settings(seed=0))
    batch = batch_of([atomic_data(frames("ethanol_gfn2_train", 1)[0])])
    with DisplacedEvaluation(model, loss_fn, 0, 0):
        assert "piwsl_pitc" not in model(batch.to_dict(), training=False)
        assert "piwsl_pitc" in model(batch.to_dict(), training=True)


def test_the_batch_is_left_as_it_was():
    """MACE's ``get_neighborhood`` rewrites the cell that it is given, if it is not periodic."""
    # without the lone atom: where every structure carries terms, none is copied
    batch = batch_of([atomic_data(atoms) for atoms in mixed_structures()[:-1]])
    before = {key: value.clone() for key, value in batch.to_dict().items()}
    model = make_model()
    loss_fn = PIWSLLoss(
        modules.WeightedEnergyForcesLoss(1.0, 1.0), Settings(seed=0, pisc_weight=1.0)
    )
    with DisplacedEvaluation(model, loss_fn, 0, 0):
        model(batch.to_dict(), training=True)
    for key, value in batch.to_dict().items():
        assert torch.equal(value, before[key]), key


def test_hooks_are_gone_after_the_epoch_even_if_it_fails():
    model = make_model()
    loss_fn = PIWSLLoss(modules.WeightedEnergyForcesLoss(1.0, 1.0), Settings(seed=0))
    with pytest.raises(KeyError), DisplacedEvaluation(model, loss_fn, 0, 0):
        raise KeyError
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert loss_fn.factor == 0.0
