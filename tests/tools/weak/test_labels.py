"""Offsets, shares, weights and units, against numbers worked out by hand."""

import tracemalloc

import numpy as np
import pytest
from ase.build import molecule

from piwsl_plugins.errors import InputError
from piwsl_plugins.frames.reading import Frame
from piwsl_plugins.tools.weak.corrections import divide
from piwsl_plugins.tools.weak.offsets import Offsets
from piwsl_plugins.tools.weak.shares import draw_shares
from piwsl_plugins.tools.weak.trust import Corrected, held_out_errors, uncorrected, weigh


def frame(name, index=0, **labels):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=index)
    return Frame(atoms, f"frame {index}", **labels)


def test_offsets_are_the_energies_of_the_elements():
    frames = [frame(name) for name in ("H2O", "CH4", "CH3OH", "H2")]
    e0 = {1: -1.5, 6: 20.0, 8: -3.0}
    differences = [sum(e0[z] for z in f.atoms.numbers) for f in frames]
    offsets = Offsets(frames, differences, [1, 6, 8])
    assert offsets.energies == pytest.approx(list(e0.values()))
    ethanol = [frame("CH3CH2OH")]
    assert offsets(ethanol) == pytest.approx([2 * 20.0 - 6 * 1.5 - 3.0])
    assert offsets.spans(ethanol).tolist() == [True]


def test_one_composition_fixes_its_own_sum_alone():
    offsets = Offsets([frame("CH3CH2OH")], [9.0], [1, 6, 8])
    both = [frame("CH3CH2OH", 1), frame("CH3OH")]
    assert offsets(both)[0] == pytest.approx(9.0)
    assert offsets.spans(both).tolist() == [True, False]


@pytest.mark.parametrize(
    ("n", "models", "held_out", "size"), [(30, 3, 0, 3), (10, 3, 0, 1), (9, 3, 2, 2)]
)
def test_shares_are_disjoint(n, models, held_out, size):
    frames = [frame("H2O", index) for index in range(n)]
    shares = draw_shares(frames, models, held_out, seed=1)
    together = [index for share in shares for index in share]
    assert [len(share) for share in shares] == [size] * models
    assert len(set(together)) == len(together)
    assert shares == draw_shares(frames, models, held_out, seed=1)
    assert shares != draw_shares(frames, models, held_out, seed=2)


def test_no_share_holds_the_only_frame_of_an_element():
    frames = [frame("H2O", index) for index in range(4)] + [frame("CH4", 9)]
    for seed in range(5):
        assert all(4 not in share for share in draw_shares(frames, 2, 1, seed))
    with pytest.raises(InputError, match="--models=6: 5 training frames are too few"):
        draw_shares(frames, 6, 0, 0)


def test_a_composition_that_others_do_not_span_is_never_held_out():
    """Without its one frame, the energies of methanol would be anything."""
    frames = [frame("CH3CH2OH", index) for index in range(19)] + [frame("CH3OH", 19)]
    for seed in range(50):
        shares = draw_shares(frames, 3, 0, seed)
        assert all(19 not in share for share in shares) and [len(s) for s in shares] == [2, 2, 2]


def test_no_two_frames_are_held_out_together_that_are_needed_in_turn():
    """Either methanol frame can go, but not both; of three independent molecules none can."""
    frames = [frame("CH3CH2OH", index) for index in range(6)] + [frame("CH3OH", i) for i in (6, 7)]
    for seed in range(20):
        assert all(not {6, 7} <= set(share) for share in draw_shares(frames, 2, 3, seed))
    with pytest.raises(InputError, match="too few training frames can be held out"):
        draw_shares([frame("H2O"), frame("CH4"), frame("CH3OH")], 1, 0, 0)


def test_every_model_knows_the_offsets_that_all_frames_fix(tmp_path):
    """Energies that are the sum of those of the elements come back, also of held-out frames."""
    e0 = {1: -13.0, 6: -1000.0, 8: -2000.0}
    names = ["CH3CH2OH"] * 9 + ["CH3OH"]
    frames = [
        frame(name, i, energy=sum(e0[z] for z in molecule(name).numbers))
        for i, name in enumerate(names)
    ]
    cheap = {f.key: {"energy": np.array(0.0)} for f in frames}
    for seed in range(10):
        shares = draw_shares(frames, 3, 0, seed)
        for correction in divide(tmp_path, frames, shares, cheap, [1, 6, 8]):
            assert correction.offsets(frames) == pytest.approx([f.energy for f in frames])


def test_memory_of_spans_does_not_grow_with_both_files():
    offsets = Offsets([frame("CH3OH")] * 1000, [0.0] * 1000, [1, 6, 8])
    pool = [frame("CH3OH")] * 4000
    tracemalloc.start()
    assert offsets.spans(pool).all()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6, "4000 times 1000 numbers are 32 MB"


def fixed_by(*names):
    """Offsets that frames of these molecules fix."""
    return Offsets([frame(name) for name in names], [0.0] * len(names), [1, 6, 8])


def labelled(frames, energy, slope):
    return {
        f.key: {"energy": np.array(energy), "forces": np.full((len(f.atoms), 3), slope)}
        for f in frames
    }


def test_weights_follow_from_the_spread_beside_the_error():
    pool = [frame("H2O", 1), frame("CH4", 2)]
    offsets = fixed_by("H2O")
    models = [Corrected(labelled(pool, e, f), [], offsets) for e, f in ((1.0, 0.1), (3.0, 0.3))]
    errors, sizes = {"energy": 0.2, "forces": 0.1}, {"energy": 1.0, "forces": 1.0}
    weak = weigh(pool, models, ["energy", "forces"], errors, sizes)
    first, second = weak.labels
    sigma = 0.2 / np.sqrt(2)
    assert first["energy"] == 2.0 and np.allclose(first["forces"], 0.2)
    assert first["weak_energy_std"] == pytest.approx(np.sqrt(2))
    assert first["weak_forces_std"] == pytest.approx([sigma] * 3)
    assert first["config_forces_weight"] == pytest.approx(1 / (1 + 2), abs=1e-4)
    per_atom = np.sqrt(2) / 3
    assert first["config_energy_weight"] == pytest.approx(0.04 / (0.04 + per_atom**2), abs=1e-4)
    assert first["weight"] == first["config_forces_weight"]
    assert "energy" not in second and "forces" in second and weak.without_energy == 1
    assert "weak_energy_std" not in second and "config_energy_weight" not in second
    assert weak.spread["forces"] == pytest.approx(sigma)


def test_an_energy_needs_the_offsets_of_every_model():
    pool = [frame("H2O", 1), frame("CH4", 2)]
    offsets = (fixed_by("H2O", "CH4"), fixed_by("H2O"))
    models = [Corrected(labelled(pool, 1.0, 0.1), [], one) for one in offsets]
    sizes = {"energy": 1.0, "forces": 1.0}
    weak = weigh(pool, models, ["energy", "forces"], {}, sizes)
    assert ["energy" in labels for labels in weak.labels] == [True, False]
    assert weak.without_energy == 1


def test_where_models_differ_by_more_than_the_correction_there_is_no_label():
    pool = [frame("H2O", 1)]
    offsets = fixed_by("H2O")
    models = [Corrected(labelled(pool, 1.0, slope), [], offsets) for slope in (0.1, 0.5)]
    errors = {"energy": 0.1, "forces": 0.1}
    for size, n_left in ((0.2, 0), (0.3, 1)):
        sizes = {"energy": 1.0, "forces": size}
        weak = weigh(pool, models, ["energy", "forces"], errors, sizes)
        assert (len(weak.frames), len(weak.distrusted)) == (n_left, 1 - n_left)


def test_held_out_errors_are_of_the_frames_that_a_model_has_not_seen():
    frames = [frame("H2O", index) for index in range(2)]
    wanted = labelled(frames, 0.0, 0.0)
    models = [
        Corrected(labelled(frames, 0.3, 0.1), frames[:1], fixed_by("H2O")),
        Corrected(labelled(frames, 0.6, 0.3), frames[1:], fixed_by("H2O")),
    ]
    errors = held_out_errors(models, wanted, ["energy", "forces"])
    assert errors["energy"] == pytest.approx(np.sqrt((0.1**2 + 0.2**2) / 2))
    assert errors["forces"] == pytest.approx(np.sqrt((0.1**2 + 0.3**2) / 2))


def test_the_error_of_the_cheap_method_has_the_offsets_of_the_model():
    """Three frames that the model has seen differ by 0.3 eV, the one that it has not by 0.9."""
    frames = [frame("H2O", index, energy=e) for index, e in enumerate((0.3, 0.3, 0.3, 0.9))]
    cheap, wanted = labelled(frames, 0.0, 0.0), {f.key: {"energy": f.energy} for f in frames}
    offsets = Offsets(frames[:3], [0.3] * 3, [1, 8])
    alone = uncorrected(frames[3:], cheap, frames[3:], offsets)
    errors = held_out_errors([alone], wanted, ["energy", "forces"])
    assert errors == pytest.approx({"energy": 0.6 / 3})
