"""Targets, the force-free form and curvature labels, through whole training steps and runs.

The slow reference of the steps takes one structure at a time through MACE's own data pipeline
and writes the equations out; it shares the drawn displacements only.
"""

import copy
import json

import ase.io
import numpy as np
import pytest
import torch
from mace import data, modules, tools

from piwsl_plugins.core.curvature import CurvatureLabel, CurvatureLabels, write_labels
from piwsl_plugins.core.displacements import structure_keys
from piwsl_plugins.core.pool import choose
from piwsl_plugins.core.settings import Settings
from piwsl_plugins.mace import displaced
from piwsl_plugins.mace.curvature import find_labels
from piwsl_plugins.mace.displaced import DisplacedEvaluation
from piwsl_plugins.mace.energy_loss import EnergyLoss
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.mace.pool import Pool
from piwsl_plugins.mace.reference import Reference
from piwsl_plugins.mace.sources import Sources

from .conftest import (
    ELEMENTS,
    atomic_data,
    batch_of,
    frames,
    isolated_atoms,
    make_model,
    train,
    write_files,
)
from .test_training_step import EPOCH, drawn, evaluate, gradients, moved, step

#: the reference knows more elements, in another order of columns, another cutoff and two heads
REFERENCE_ELEMENTS = [1, 5, 6, 7, 8]
REFERENCE_HEADS = ["pt_head", "own"]
REFERENCE_R_MAX = 3.0


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def reference_model():
    found = make_model(
        seed=9,
        r_max=REFERENCE_R_MAX,
        num_elements=len(REFERENCE_ELEMENTS),
        atomic_numbers=REFERENCE_ELEMENTS,
        atomic_energies=np.tile([-9.0, -20.0, -40.0, -50.0, -60.0], (2, 1)),
        heads=REFERENCE_HEADS,
    )
    found.scale_shift.scale = torch.tensor([1.0, 1.5])
    found.scale_shift.shift = torch.tensor([0.0, 0.3])
    return found


def structures():
    """Two molecules, a periodic box and a lone atom."""
    molecules = frames("ethanol_gfn2_train", 2)
    box = min(frames("periodic_gfn2_train", 40), key=len)
    atom = molecules[0][:1]
    atom.info["REF_energy"] = -1.0
    return [*molecules, box, atom]


def unlabelled():
    """Structures of the pool: three molecules."""
    return frames("ethanol_gfn2_valid", 3)


def random_label(atoms, probes, seed):
    rng = np.random.default_rng(seed)
    n = len(atoms)
    if probes:
        fields = rng.uniform(-0.04, 0.04, (3, n, 3))
        return CurvatureLabel(
            atoms.numbers, atoms.positions, displacements=fields, curvatures=rng.normal(size=3)
        )
    half = rng.normal(size=(3 * n, 3 * n))
    return CurvatureLabel(atoms.numbers, atoms.positions, hessian=half + half.T)


def random_labels():
    """A Hessian, and probes; the second molecule has no label. One of the pool's has none."""
    first, _, box, _ = structures()
    pool = unlabelled()
    chosen = [(first, False), (box, True), (pool[0], True), (pool[1], False)]
    return [random_label(atoms, probes, seed) for seed, (atoms, probes) in enumerate(chosen)]


def evaluate_reference(model, atoms):
    config = data.config_from_atoms(
        atoms, key_specification=data.KeySpecification.from_defaults(), head_name="own"
    )
    structure = data.AtomicData.from_config(
        config,
        z_table=tools.AtomicNumberTable(REFERENCE_ELEMENTS),
        cutoff=REFERENCE_R_MAX,
        heads=REFERENCE_HEADS,
    )
    output = model(batch_of([structure]).to_dict(), training=False, compute_force=True)
    return output["energy"][0].detach(), output["forces"].detach()


def slow_residuals(answer, atoms, settings, delta, waypoint):
    """PITC and PISC of one structure, written out."""
    energy, forces = answer(atoms)
    displaced, _ = answer(moved(atoms, delta))
    if settings.pitc_form == "symmetric":
        mirrored, _ = answer(moved(atoms, -delta))
        pitc = (displaced + mirrored) / 2 - energy
    else:
        pitc = displaced - energy + (delta * forces).sum()
    via, via_forces = answer(moved(atoms, waypoint))
    return pitc, displaced - via + ((delta - waypoint) * via_forces).sum()


def slow_terms(model, atoms, settings, labels, reference):
    """What counts of PITC and PISC of one structure; None if it carries no terms."""
    delta, waypoint = drawn(settings, atoms, "displaced"), drawn(settings, atoms, "waypoint")
    target = settings.pitc_target
    if target == "curvature":
        (label,) = [
            label
            for label in labels
            if len(label.numbers) == len(atoms) and np.allclose(label.positions, atoms.positions)
        ] or [None]
        if label is None:
            return None
        if label.hessian is None:
            positions = torch.from_numpy(atoms.positions)
            (key,) = structure_keys(positions, [len(atoms)], settings.seed, EPOCH)
            delta = torch.from_numpy(label.displacements[key % 3])
            known = label.curvatures[key % 3]
        else:
            vector = delta.numpy().ravel()
            known = 0.5 * vector @ label.hessian @ vector
    pitc, pisc = slow_residuals(lambda a: evaluate(model, a), atoms, settings, delta, waypoint)
    if settings.needs_reference():
        bound, other = slow_residuals(
            lambda a: evaluate_reference(reference, a), atoms, settings, delta, waypoint
        )
    else:
        bound = 0.5 * (settings.curvature_bound or 0.0) * (delta**2).sum()
    if target == "curvature":
        pitc = pitc - known
    elif target == "reference":
        pitc, pisc = pitc - bound, pisc - other
    elif target == "ceiling":
        pitc = torch.relu(pitc - bound)
    elif target == "floor":
        pitc = torch.relu(bound - pitc)
    return {"pitc": pitc, "pisc": pisc}


def slow_step(model, settings, labels, reference, pool):
    """Loss and gradients of the whole step, one structure after the other."""
    model.zero_grad()
    energy_errors, force_errors, terms = [], [], {"pitc": [], "pisc": []}
    labelled = structures()
    for atoms in labelled:
        energy, forces = evaluate(model, atoms)
        energy_errors.append(((energy - atoms.info["REF_energy"]) / len(atoms)) ** 2)
        if "REF_forces" in atoms.arrays:
            force_errors.append((forces - torch.from_numpy(atoms.arrays["REF_forces"])).square())
        else:
            force_errors.append(torch.zeros(len(atoms), 3))
    chosen = choose(len(pool), settings.unlabeled_per_batch, settings.seed, 0) if pool else []
    for atoms in [*labelled, *(pool[index] for index in chosen)]:
        if len(atoms) > 1:
            found = slow_terms(model, atoms, settings, labels, reference)
            for term, residual in (found or {}).items():
                terms[term].append((residual / len(atoms)) ** 2)
    loss = 3.0 * sum(energy_errors) / len(labelled)
    if settings.base_loss != "energy":
        loss = loss + 10.0 * torch.cat(force_errors).mean()
    for term, values in terms.items():
        loss = loss + getattr(settings, f"{term}_weight") * sum(values) / len(values)
    loss.backward()
    return loss.detach(), gradients(model), terms


ENERGY = {"base_loss": "energy"}
CASES = {
    "symmetric": {"pitc_form": "symmetric"},
    "symmetric, energies": {"pitc_form": "symmetric", **ENERGY},
    "symmetric, pisc, energies": {"pitc_form": "symmetric", "pisc_weight": 9.0, **ENERGY},
    "first order, energies": {"pitc_form": "first_order", **ENERGY},
    "curvature": {"pitc_target": "curvature", "pitc_form": "symmetric"},
    "curvature, first order": {"pitc_target": "curvature", "pitc_form": "first_order"},
    "reference": {"pitc_target": "reference", "pitc_form": "first_order", "pisc_weight": 9.0},
    "reference, symmetric": {"pitc_target": "reference", "pitc_form": "symmetric", **ENERGY},
    "ceiling": {"pitc_target": "ceiling", "curvature_bound": -0.005},
    "floor": {"pitc_target": "floor", "curvature_bound": -0.005, "pitc_form": "symmetric"},
    "ceiling of reference": {"pitc_target": "ceiling", "reference_model": "given"},
    "floor of reference": {"pitc_target": "floor", "reference_model": "given"},
    "pool": {"unlabeled_file": "given", "unlabeled_per_batch": 2, "pisc_weight": 9.0},
    "pool, symmetric": {"unlabeled_file": "given", "pitc_form": "symmetric", **ENERGY},
    "pool, curvature": {
        "unlabeled_file": "given",
        "unlabeled_per_batch": 2,
        "pitc_target": "curvature",
        "pitc_form": "symmetric",
    },
    "pool, reference": {
        "unlabeled_file": "given",
        "pitc_target": "reference",
        "pitc_form": "first_order",
    },
}


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_agree_with_the_slow_reference(case, join, model, reference_model):
    options = {"seed": 4, "max_displacement": 0.04, "pitc_weight": 50.0, **CASES[case]}
    settings = Settings.create(options)
    labels = random_labels() if settings.pitc_target == "curvature" else None
    pool = unlabelled() if settings.unlabeled_file else None
    if pool and labels:
        pool = pool[:2]
    expected_loss, expected, terms = slow_step(model, settings, labels, reference_model, pool)
    assert any(float(value) > 0 for value in terms["pitc"])
    sources = Sources(
        labels=None if labels is None else CurvatureLabels(labels),
        reference=Reference(copy.deepcopy(reference_model), "given")
        if settings.needs_reference()
        else None,
        pool=Pool([atomic_data(atoms) for atoms in pool]) if pool else None,
    )
    base = EnergyLoss(3.0) if settings.base_loss == "energy" else None
    inputs = [atomic_data(atoms) for atoms in structures()]
    loss, output, found = step(model, inputs, settings, base=base, join=join, sources=sources)
    assert output["energy"].shape == (4,)
    assert output["piwsl_pitc"].shape == (1, len(terms["pitc"]))
    torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=0)
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-12 * scale, msg=name)


@pytest.mark.parametrize("target", ["ceiling", "floor"])
def test_a_bound_counts_for_some_structures_and_not_for_others(target, model):
    """The bounds of the cases above lie among the model's curvatures."""
    settings = Settings(seed=4, max_displacement=0.04, **CASES[target] | {"pitc_weight": 1.0})
    values = slow_step(model, settings, None, None, None)[2]["pitc"]
    assert 0 < sum(float(value) > 0 for value in values) < len(values)


def own_hessian(model, atoms):
    """∂²E/∂r², ``(3 n_atoms, 3 n_atoms)``, by double backward."""
    batch = batch_of([atomic_data(atoms)]).to_dict()
    output = model(batch, compute_force=True, compute_hessian=True)
    return output["hessian"].detach().numpy().reshape(3 * len(atoms), 3 * len(atoms))


@pytest.mark.parametrize(("form", "order"), [("symmetric", 4), ("first_order", 3)])
def test_with_its_own_hessian_as_label_only_higher_orders_remain(form, order, model):
    atoms = frames("ethanol_gfn2_train", 1)[0]
    label = CurvatureLabel(atoms.numbers, atoms.positions, hessian=own_hessian(model, atoms))
    sources = Sources(labels=CurvatureLabels([label]))
    scales = np.geomspace(0.01, 0.03, 4)
    found = []
    for scale in scales:  # the same displacement, only scaled
        settings = Settings(
            seed=0,
            pitc_target="curvature",
            pitc_form=form,
            pitc_weight=1.0,
            max_displacement=scale,
        )
        _, output, _ = step(model, [atomic_data(atoms)], settings, sources=sources)
        found.append(abs(output["piwsl_pitc"].item()))
    slope = np.polyfit(np.log(scales), np.log(found), 1)[0]
    assert slope == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("options", [{}, {"pitc_form": "symmetric"}, {"pisc_weight": 5.0}])
def test_a_model_that_is_its_own_reference_has_the_base_loss(options, model):
    inputs = [atomic_data(atoms) for atoms in structures()]
    expected_loss, _, expected = step(model, inputs, Settings(pitc_weight=0.0))
    settings = Settings(seed=0, pitc_target="reference", pitc_weight=50.0, **options)
    sources = Sources(reference=Reference(copy.deepcopy(model), "itself"))
    loss, output, found = step(model, inputs, settings, sources=sources)
    assert output["piwsl_pitc"].abs().max() < 1e-13
    torch.testing.assert_close(loss, expected_loss, rtol=1e-14, atol=0)
    scale = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12 * scale, msg=name)


def test_the_reference_is_frozen_and_no_part_of_the_model(model, reference_model):
    before = copy.deepcopy(reference_model.state_dict())
    own = copy.deepcopy(reference_model)
    settings = Settings(seed=0, pitc_target="reference")
    names = set(model.state_dict())
    inputs = [atomic_data(atoms) for atoms in structures()]
    step(model, inputs, settings, sources=Sources(reference=Reference(own, "own")))
    assert set(model.state_dict()) == names
    assert not own.training
    for name, parameter in own.named_parameters():
        assert not parameter.requires_grad and parameter.grad is None, name
    for name, value in own.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("probes", [False, True])
def test_turning_structure_and_label_leaves_the_residual(probes, model, monkeypatch):
    atoms = frames("ethanol_gfn2_train", 1)[0]
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    delta = torch.from_numpy(rng.normal(scale=0.03, size=(len(atoms), 3)))

    def residual(atoms, label, field):
        monkeypatch.setattr(
            "piwsl_plugins.mace.displaced.displacements.draw", lambda *rest: field.clone()
        )
        settings = Settings(seed=0, pitc_target="curvature", pitc_form="symmetric")
        sources = Sources(labels=CurvatureLabels([label]))
        return step(model, [atomic_data(atoms)], settings, sources=sources)[1]["piwsl_pitc"]

    label = random_label(atoms, False, 3)
    turned = atoms.copy()
    turned.positions = atoms.positions @ rotation.T
    if probes:
        label = CurvatureLabel(
            atoms.numbers, atoms.positions, displacements=delta.numpy()[None], curvatures=[0.2]
        )
        other = CurvatureLabel(
            atoms.numbers,
            turned.positions,
            displacements=(delta.numpy() @ rotation.T)[None],
            curvatures=[0.2],
        )
    else:
        turn = np.kron(np.eye(len(atoms)), rotation)
        other = CurvatureLabel(
            atoms.numbers, turned.positions, hessian=turn @ label.hessian @ turn.T
        )
    expected = residual(atoms, label, delta)
    assert expected.abs() > 1e-3
    found = residual(turned, other, delta @ torch.from_numpy(rotation.T))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def seen_calls(model, settings, base, sources=None, join=None):
    """What the model is called with during one step."""
    seen = []
    other = copy.deepcopy(model)
    forward = other.forward
    other.forward = lambda batch, **k: seen.append((batch["positions"], k)) or forward(batch, **k)
    inputs = [atomic_data(atoms) for atoms in structures()]
    step(other, inputs, settings, base=base, sources=sources, join=join)
    return seen


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("options", [{"pitc_weight": 0.0}, {"pitc_form": "symmetric"}])
def test_energies_alone_need_no_force_graph(options, join, model):
    seen = seen_calls(model, Settings(seed=0, **ENERGY, **options), EnergyLoss(), join=join)
    assert len(seen) == (1 if join or options == {"pitc_weight": 0.0} else 3)
    for positions, keywords in seen:
        assert keywords["compute_force"] is False
        assert not positions.requires_grad


@pytest.mark.parametrize(("limit", "calls"), [("at", 1), ("below", 3)])
def test_small_batches_of_energies_alone_are_joined(limit, calls, model, monkeypatch):
    n_edges = batch_of([atomic_data(atoms) for atoms in structures()])["edge_index"].shape[1]
    monkeypatch.setattr(displaced, "JOIN_EDGES", n_edges - (limit == "below"))
    settings = Settings(seed=0, pitc_form="symmetric", **ENERGY)
    assert len(seen_calls(model, settings, EnergyLoss())) == calls


def test_weights_of_zero_give_the_base_loss_bit_for_bit(model):
    inputs = [atomic_data(atoms) for atoms in structures()]
    pool = Pool([atomic_data(atoms) for atoms in unlabelled()])
    settings = Settings(seed=0, pitc_weight=0.0, unlabeled_file="given")
    loss, _, found = step(model, inputs, settings, sources=Sources(pool=pool))
    base = modules.WeightedEnergyForcesLoss(energy_weight=3.0, forces_weight=10.0)
    batch = batch_of(inputs)
    model.zero_grad()
    expected = base(pred=model(batch.to_dict(), training=True, compute_force=True), ref=batch)
    expected.backward()
    assert torch.equal(loss, expected.detach())
    for name, value in gradients(model).items():
        assert torch.equal(found[name], value), name


def test_validation_of_energies_alone_still_has_forces(model):
    batch = batch_of([atomic_data(atoms) for atoms in structures()[:1]])
    loss_fn = PIWSLLoss(EnergyLoss(), Settings(seed=0, **ENERGY))
    with DisplacedEvaluation(model, loss_fn, 0, 0):
        output = model(batch.to_dict(), training=False, compute_force=True)
    assert output["forces"].abs().max() > 0


def test_labels_are_found_from_rounded_positions_and_duplicates():
    first, second = frames("ethanol_gfn2_train", 2)
    label = random_label(second, False, 0)
    batch = batch_of([atomic_data(atoms) for atoms in (second, first, second)]).to_dict()
    batch["positions"] = batch["positions"].float()
    found = find_labels(CurvatureLabels([label]), batch, torch.tensor(ELEMENTS))
    assert found == [label, None, label]


# whole runs ---------------------------------------------------------------------------------


def springs(atoms, constant=8.0):
    """The Hessian of every atom tied to its place, in eV/Å²."""
    return constant * np.eye(3 * len(atoms))


def piwsl_lines(folder):
    (path,) = (folder / "results").glob("*_train.txt")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["mode"] == "piwsl"]


@pytest.mark.parametrize("kept_in", ["npz", "train file"])
def test_training_on_energies_and_curvature_reduces_the_residual(kept_in, tmp_path, caplog):
    files = write_files(tmp_path, "ethanol_gfn2", 12, 6)
    atoms = frames("ethanol_gfn2_train", 12)
    options = {"piwsl_base_loss": "energy", "piwsl_pitc_target": "curvature"}
    for frame in atoms:
        del frame.arrays["REF_forces"]
        if kept_in == "train file":
            frame.info["REF_hessian"] = springs(frame).ravel()
    ase.io.write(files["train_file"], isolated_atoms("ethanol_gfn2_train") + atoms)
    if kept_in == "npz":
        fields = np.random.default_rng(0).uniform(-0.05, 0.05, (4, 9, 3))
        curvatures = 4.0 * (fields**2).sum(axis=(1, 2))
        labels = [CurvatureLabel(a.numbers, a.positions, hessian=springs(a)) for a in atoms[:5]]
        labels += [
            CurvatureLabel(a.numbers, a.positions, displacements=fields, curvatures=curvatures)
            for a in atoms[5:8]
        ]
        options["piwsl_curvature_file"] = tmp_path / "labels.npz"
        write_labels(options["piwsl_curvature_file"], labels, "springs")
    with caplog.at_level("INFO"):
        train(tmp_path / "run", files, max_num_epochs=12, lr=0.02, **options)
    expected = "8 of 12 training structures (5 Hessians, 12 probes)"
    if kept_in == "train file":
        expected = "12 of 12 training structures (12 Hessians, 0 probes)"
    assert f"curvature labels for {expected}" in caplog.text
    residuals = [line["rms_pitc_residual_per_atom"] for line in piwsl_lines(tmp_path / "run")]
    assert residuals[-1] < 0.5 * residuals[0]


def test_the_foundation_model_is_the_default_reference(tmp_path, caplog):
    files = write_files(tmp_path, "ethanol_gfn2", 8, 6)
    torch.save(make_model(), tmp_path / "start.model")
    with caplog.at_level("INFO"):
        train(
            tmp_path / "run",
            files,
            max_num_epochs=1,
            batch_size=8,
            foundation_model=tmp_path / "start.model",
            piwsl_pitc_target="reference",
        )
    assert f"frozen reference model: --foundation_model={tmp_path / 'start.model'}" in caplog.text
    (line,) = piwsl_lines(tmp_path / "run")  # of one step, before which both models are the same
    assert line["rms_pitc_residual_per_atom"] < 1e-12


def wrong_inputs(folder):
    """Options, and what the message must say."""
    other = frames("periodic_gfn2_train", 1)
    labels = [CurvatureLabel(a.numbers, a.positions, hessian=springs(a)) for a in other]
    write_labels(folder / "other.npz", labels, "springs")
    torch.save(
        make_model(num_elements=2, atomic_numbers=[1, 6], atomic_energies=np.array([-10.0, -50.0])),
        folder / "no_oxygen.model",
    )
    (folder / "text.model").write_text("nothing")
    curvature = {"piwsl_pitc_target": "curvature"}
    reference = {"piwsl_pitc_target": "reference"}
    return {
        "no file": (
            {**curvature, "piwsl_curvature_file": folder / "none.npz"},
            ["--piwsl_curvature_file=", "none.npz", "no such file"],
        ),
        "no match": (
            {**curvature, "piwsl_curvature_file": folder / "other.npz"},
            ["--piwsl_curvature_file=", "none of the 12 training structures", "piwsl-curvature"],
        ),
        "no Hessians": (curvature, ["--piwsl_curvature_file", "train.xyz", "REF_hessian"]),
        "no reference": (reference, ["--piwsl_reference_model", "--foundation_model"]),
        "no reference file": (
            {**reference, "piwsl_reference_model": folder / "none.model"},
            ["--piwsl_reference_model=", "none.model", "no such file"],
        ),
        "no model": (
            {**reference, "piwsl_reference_model": folder / "text.model"},
            ["--piwsl_reference_model=", "text.model", "MACE model"],
        ),
        "element": (
            {**reference, "piwsl_reference_model": folder / "no_oxygen.model"},
            ["--piwsl_reference_model=", "no_oxygen.model", "need O", "H, C"],
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "no file",
        "no match",
        "no Hessians",
        "no reference",
        "no reference file",
        "no model",
        "element",
    ],
)
def test_wrong_inputs_end_the_run_with_one_message(case, files, tmp_path, capfd):
    options, words = wrong_inputs(tmp_path)[case]
    with pytest.raises(SystemExit) as ended:
        train(tmp_path / "run", files, **options)
    assert ended.value.code == 2
    message = capfd.readouterr().err.split("mace_run_train: error: ")[1]
    for word in words:
        assert word in message
    assert not list(tmp_path.rglob("*.pt"))
