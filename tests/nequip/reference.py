"""A slow reference: one frame at a time, float64, equations written out."""

from __future__ import annotations

import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase

from piwsl_plugins.core import displacements

KEYS = {"REF_energy": "total_energy", "REF_forces": "forces"}


def as_data(atoms, type_names):
    data = from_ase(atoms, key_mapping=KEYS)
    symbols = [type_names.index(symbol) for symbol in atoms.get_chemical_symbols()]
    data["atom_types"] = torch.tensor(symbols)
    return data


def as_batch(frames, type_names, r_max):
    data = [compute_neighborlist_(as_data(atoms, type_names), r_max) for atoms in frames]
    return AtomicDataDict.batched_from_list(data)


def evaluate(model, data, displacement, r_max):
    """E and F of one frame, with NequIP's other neighbour list."""
    data = {key: value for key, value in data.items() if key not in ("total_energy", "forces")}
    data["pos"] = data["pos"] + displacement
    data = AtomicDataDict.with_batch_(compute_neighborlist_(data, r_max, backend="ase"))
    output = model.forward(data)
    return output["total_energy"].view(()), output["forces"]


def displaced_by(data, settings, seed, epoch, label=None):
    """δ and δ' of one frame; δ is one of the label's probes if it has any."""
    n = len(data["pos"])
    keys = displacements.structure_keys(data["pos"], [n], seed, epoch)
    delta = displacements.draw(settings, "displaced", keys, [n])
    if label is not None and label.displacements is not None:
        delta = torch.from_numpy(label.displacements[keys[0] % len(label.displacements)])
    return delta, displacements.draw(settings, "waypoint", keys, [n])


def term_residuals(model, data, settings, seed, epoch, r_max, label=None):
    """Residuals of one frame by term, in eV: lists with one value per path."""
    n = len(data["pos"])
    zero = torch.zeros(n, 3, dtype=torch.float64)
    energy, forces = evaluate(model, data, zero, r_max)
    delta, waypoint = displaced_by(data, settings, seed, epoch, label)
    if settings.displacement == "adversarial":
        error = (forces - data["forces"]).detach()
        delta = settings.max_displacement * error / error.norm(dim=1, keepdim=True)
    if settings.anchor == "label":
        start_energy, start_forces = data["total_energy"].view(()), data["forces"]
    else:
        start_energy, start_forces = energy, forces
    displaced_energy, displaced_forces = evaluate(model, data, delta, r_max)
    extrapolated = start_energy - (delta * start_forces).sum()
    found = {"pitc": [displaced_energy - extrapolated]}
    if settings.pitc_form == "symmetric":
        mirrored_energy, _ = evaluate(model, data, -delta, r_max)
        found["pitc"] = [(displaced_energy + mirrored_energy) / 2 - energy]
    if settings.pisc_weight > 0:
        via_energy, via_forces = evaluate(model, data, waypoint, r_max)
        paths = {
            "displaced": displaced_energy - via_energy + ((delta - waypoint) * via_forces).sum(),
            "extrapolated": extrapolated - via_energy + ((delta - waypoint) * via_forces).sum(),
            "waypoint": via_energy
            - displaced_energy
            + ((waypoint - delta) * displaced_forces).sum(),
            "origin": energy - via_energy + (-waypoint * via_forces).sum(),
        }
        chosen = paths if settings.pisc_vertex == "all" else [settings.pisc_vertex]
        found["pisc"] = [paths[name] for name in chosen]
    return found


def against_target(found, settings, delta, label, frozen):
    """What of one frame's residuals counts; ``frozen`` are those of the reference model."""
    value = found["pitc"][0]
    if settings.pitc_target == "reference":
        return {
            term: [a - b.detach() for a, b in zip(values, frozen[term])]
            for term, values in found.items()
        }
    if settings.pitc_target == "curvature":
        if label.hessian is None:
            probe = [bool((torch.from_numpy(d) == delta).all()) for d in label.displacements]
            known = float(label.curvatures[probe.index(True)])
        else:
            vector = delta.flatten().numpy()
            known = 0.5 * float(vector @ label.hessian @ vector)
        return {**found, "pitc": [value - known]}
    if settings.pitc_target in ("ceiling", "floor"):
        bound = 0.5 * settings.curvature_bound * float((delta**2).sum())
        if frozen is not None:
            bound = frozen["pitc"][0].detach()
        sign = 1.0 if settings.pitc_target == "ceiling" else -1.0
        return {**found, "pitc": [torch.relu(sign * (value - bound))]}
    return found


def penalty(settings, residual, n):
    value = residual / n if settings.normalization == "per_atom" else residual
    if settings.metric == "mse":
        return value**2
    if settings.metric == "mae":
        return value.abs()
    delta = settings.huber_delta
    return 0.5 * value**2 if value.abs() < delta else delta * (value.abs() - 0.5 * delta)


def loss(
    model,
    frames,
    settings,
    type_names,
    r_max,
    coeffs,
    seed=0,
    epoch=0,
    labels=None,
    frozen=None,
    pool=(),
):
    """The value of one training step's loss, coefficients normalised as documented.

    Args:
        labels: curvature label or None of each frame, those of the pool last.
        frozen: reference model, its type names and its cutoff.
        pool: frames that carry the terms alone.
    """
    energy_terms, force_terms, terms = [], [], {"pitc": [], "pisc": []}
    for atoms in frames:
        data = as_data(atoms, type_names)
        n = len(atoms)
        energy, forces = evaluate(model, data, torch.zeros(n, 3, dtype=torch.float64), r_max)
        energy_terms.append(((energy - data["total_energy"].view(())) / n) ** 2)
        if "forces" in coeffs:
            force_terms.append(((forces - data["forces"]) ** 2).flatten())
    for index, atoms in enumerate([*frames, *pool]):
        n, label = len(atoms), None if labels is None else labels[index]
        if n == 1 or (labels is not None and label is None):
            continue
        data = as_data(atoms, type_names)
        found = term_residuals(model, data, settings, seed, epoch, r_max, label)
        of_frozen = None
        if frozen is not None:
            other, other_types, other_r_max = frozen
            of_frozen = term_residuals(
                other, as_data(atoms, other_types), settings, seed, epoch, other_r_max, label
            )
        delta, _ = displaced_by(data, settings, seed, epoch, label)
        found = against_target(found, settings, delta, label, of_frozen)
        for term, residuals in found.items():
            values = [penalty(settings, residual, n) for residual in residuals]
            terms[term].append(torch.stack(values).mean())
    total = coeffs["total_energy"] * torch.stack(energy_terms).mean()
    if "forces" in coeffs:
        total = total + coeffs["forces"] * torch.cat(force_terms).mean()
    for term, values in terms.items():
        if values:
            total = total + getattr(settings, f"{term}_weight") * torch.stack(values).mean()
    return total / sum(coeffs.values())
