"""The softening guard in MACE's validation and trainer."""

import ase.io
import numpy as np
import pytest
import torch
from mace import modules
from mace.calculators import MACECalculator
from mace.tools import evaluate

from piwsl_plugins.mace.arguments import MaceSettings
from piwsl_plugins.mace.companions import Companions
from piwsl_plugins.mace.loss import PIWSLLoss
from piwsl_plugins.mace.reporting import Reporting
from piwsl_plugins.terms.validation import ValidationWatch

from .conftest import atomic_data, frames, loader, make_model, train, write_files
from .test_energies_alone import without_forces
from .test_trainer import entries as entries_of
from .test_trainer import log
from .two_ranks import on_two_ranks

pytestmark = pytest.mark.slow

HEADS = ["pt_head", "Default"]


class KeepEntries(list):
    """Stands for MACE's results file."""

    log = list.append


def watched(n_loaders=1, stage_two=False):
    """A loss whose validations are watched, and the lines of the results file."""
    base, settings = modules.WeightedEnergyForcesLoss(1.0, 1.0), MaceSettings().decided(True, 1.0)
    loss, entries = PIWSLLoss(base, settings, stage_two=stage_two), KeepEntries()
    watch = ValidationWatch(loss.settings, True)
    loss.begin(Companions(), watch, Reporting(logger=entries, n_loaders=n_loaders))
    return loss, entries


def validate(model, loss, structures, batch_size=3):
    output_args = {"forces": True, "virials": False, "stress": False}
    evaluate(model, loss, loader(structures, batch_size), output_args, torch.device("cpu"))


def labelled_by(model, names=("Default",), labels=True):
    """Structures whose force labels are the model's own forces; heads in turn."""
    structures = frames("ethanol_gfn2_train", 4) + frames("periodic_gfn2_train", 2)
    heads = list(getattr(model, "heads", None) or ["Default"])
    found = []
    for index, atoms in enumerate(structures):
        head = names[index % len(names)]
        data = atomic_data(atoms, heads, head)
        batch = next(iter(loader([data])))
        data.forces = model(batch.to_dict())["forces"].detach()
        if not labels:
            data.forces, data.forces_weight = torch.zeros_like(data.forces), torch.tensor(0.0)
        found.append(data)
    return found


def soften(model, factor):
    with torch.no_grad():
        model.scale_shift.scale *= factor


def test_half_the_energy_has_half_the_slope():
    model, (loss, entries) = make_model(), watched()
    structures = labelled_by(model)
    validate(model, loss, structures)
    soften(model, 0.5)
    loss.reporting.begin_epoch(0)
    validate(model, loss, structures)
    first, second = entries
    assert first["force_slope"] == pytest.approx(1.0, abs=1e-10)
    assert second["force_slope"] == pytest.approx(0.5, abs=1e-10)
    assert (first["epoch"], second["epoch"]) == (None, 0)
    assert second["against_labels"] == 1


def test_without_labels_it_is_relative_to_the_first_validation():
    model, (loss, entries) = make_model(), watched()
    structures = labelled_by(model, labels=False)
    validate(model, loss, structures)
    soften(model, 0.5)
    validate(model, loss, structures)
    found = [(entry["force_slope"], entry["against_labels"]) for entry in entries]
    assert found == [(1.0, 0), (pytest.approx(0.5, abs=1e-10), 0)]


def test_mixed_labels_use_those_that_exist():
    model, (loss, entries) = make_model(), watched()
    with_labels, without = labelled_by(model), labelled_by(model, labels=False)
    soften(model, 0.5)
    validate(model, loss, with_labels[:3] + without[3:])
    assert entries[0]["force_slope"] == pytest.approx(0.5, abs=1e-10)


def test_heads_are_judged_together_without_the_replay_head():
    model = make_model(
        heads=["pt_head", "first", "second"],
        atomic_energies=np.tile([-10.0, -50.0, -100.0], (3, 1)),
        atomic_inter_scale=[5.0, 5.0, 5.0],
        atomic_inter_shift=[0.0, 0.0, 0.0],
    )
    structures = labelled_by(model, ("pt_head", "first", "second"))
    forces = torch.cat([data.forces for data in structures[1::3] + structures[2::3]])
    second = torch.cat([data.forces for data in structures[2::3]])
    with torch.no_grad():
        model.scale_shift.scale *= torch.tensor([0.1, 1.0, 0.5])
    loss, entries = watched(n_loaders=3)
    for start in range(3):
        assert entries == []
        validate(model, loss, structures[start::3])
    expected = 1.0 - 0.5 * second.square().sum() / forces.square().sum()
    assert entries[0]["force_slope"] == pytest.approx(expected.item(), abs=1e-10)


def test_a_model_from_scratch_is_judged_once_it_has_been_right(caplog):
    model, (loss, _) = make_model(), watched()
    structures = labelled_by(model)
    for epoch, factor in enumerate((0.1, 9.5, 0.9)):
        soften(model, factor)
        loss.reporting.begin_epoch(epoch)
        validate(model, loss, structures)
        assert ("gets too soft" in caplog.text) == (epoch == 2)


def on_rank(rank):
    model, (loss, entries) = make_model(), watched()
    structures = labelled_by(model)
    mine = structures[:3] if rank == 0 else structures[3:]
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    validate(wrapped, loss, mine)
    # too soft for the labels of rank 1 alone: each rank by itself would see another slope
    for data in mine:
        data.forces = data.forces * (1.0 + rank)
    loss.reporting.begin_epoch(0)
    validate(wrapped, loss, mine)
    return entries[-1]["force_slope"]


def test_all_ranks_see_one_slope(tmp_path):
    squares = [float(data.forces.square().sum()) for data in labelled_by(make_model())]
    first, second = sum(squares[:3]), sum(squares[3:])
    expected = (first + 2.0 * second) / (first + 4.0 * second)
    assert expected < 0.9
    found = on_two_ranks(tmp_path, on_rank)
    assert found == [pytest.approx(expected, rel=1e-10)] * 2
    assert found[0] == found[1]


def test_the_logged_slope_is_the_regression_on_the_labels(tmp_path, files):
    model = train(tmp_path, files, max_num_epochs=1)
    calculator = MACECalculator(models=model, device="cpu", default_dtype="float64")
    labels, predicted = [], []
    for atoms in ase.io.read(files["valid_file"], index=":"):
        labels.append(atoms.arrays["REF_forces"].ravel())
        atoms.calc = calculator
        predicted.append(atoms.get_forces().ravel())
    labels, predicted = np.concatenate(labels), np.concatenate(predicted)
    expected = np.linalg.lstsq(labels[:, None], predicted, rcond=None)[0][0]
    initial, last = entries_of(tmp_path, "piwsl_validation")
    assert last["force_slope"] == pytest.approx(expected, rel=1e-9)
    assert initial["epoch"] is None
    assert f"Epoch 0: PIWSL: force slope {expected:.3f} (against force labels)" in log(tmp_path)


#: PITC alone: forces shrink from the first epoch
FLATTENING = {
    "piwsl_base_loss": "energy",
    "energy_weight": 1e-12,
    "piwsl_pitc_weight": 1e6,
    "piwsl_max_displacement": 0.3,
    "max_num_epochs": 4,
    "scaling": "no_scaling",
    "lr": 0.02,
}


@pytest.fixture
def unlabelled(tmp_path):
    return without_forces(write_files(tmp_path, "ethanol_gfn2", 8, 4))


@pytest.mark.parametrize("pretrained", [True, False])
def test_warn_goes_on(pretrained, tmp_path, unlabelled):
    """Of a new model nobody knows whether its first forces were right."""
    given = {}
    if pretrained:
        labelled = write_files(tmp_path, "ethanol_gfn2", 4, 2, suffix="_labelled")
        train(tmp_path / "first", labelled, loss="weighted", max_num_epochs=1)
        given = {"foundation_model": tmp_path / "first" / "run.model", "E0s": "foundation"}
    folder = tmp_path / "run"
    train(folder, unlabelled, **FLATTENING, **given, multiheads_finetuning=False)
    slopes = [entry["force_slope"] for entry in entries_of(folder, "piwsl_validation")]
    assert len(slopes) == 5
    assert slopes[-1] < 0.9
    assert log(folder).count("the potential gets too soft") == int(pretrained)
    assert log(folder).count("a smaller --piwsl_pitc_weight or --piwsl_max_displacement") == int(
        pretrained
    )
    assert {entry["pitc_weight"] for entry in entries_of(folder, "piwsl")} == {1e6}


def test_in_stage_two_the_remedy_is_its_own_option(caplog):
    model, (loss, _) = make_model(), watched(stage_two=True)
    structures = labelled_by(model)
    for _ in range(2):
        validate(model, loss, structures)
        soften(model, 0.5)
    assert "a smaller --swa_piwsl_pitc_weight or --piwsl_max_displacement" in caplog.text


def test_off_looks_at_nothing(tmp_path, files):
    train(tmp_path / "off", files, max_num_epochs=1, piwsl_softening_guard="off")
    train(tmp_path / "zero", files, max_num_epochs=1, piwsl_pitc_weight=0.0)
    for name in ("off", "zero"):
        assert "force slope" not in log(tmp_path / name)
        assert entries_of(tmp_path / name, "piwsl_validation") == []
