"""The pair potential as the conformance suite wants a framework."""

import torch

from .pair_potential import ELEMENTS, PairHost, PairPotential, batch_of


class PairFramework:
    """A small random pair potential."""

    def __init__(self):
        self.model = PairPotential()
        self.host = PairHost(self.model)
        self.parameters = list(self.model.parameters())

    def batch(self, structures):
        return batch_of(structures)

    pooled = batch

    def call(self, batch, forces):
        return self.model(batch, forces)

    def alone(self, atoms):
        """All pairs of atoms and images, in place of a neighbour list."""
        model, positions = self.model, torch.from_numpy(atoms.positions.copy()).requires_grad_()
        reach = [[-1, 0, 1] if periodic else [0] for periodic in atoms.pbc]
        images = torch.cartesian_prod(*(torch.tensor(r, dtype=torch.float64) for r in reach))
        shifts = images @ torch.from_numpy(atoms.cell.array)
        vectors = positions[None, :, None] + shifts - positions[:, None, None]
        others = torch.ones(vectors.shape[:3], dtype=torch.bool)
        atom = torch.arange(len(atoms))
        others[atom, atom] = (shifts != 0).any(dim=-1)
        distance = vectors[others].norm(dim=-1)
        first, second, _ = others.nonzero().T
        kinds = torch.tensor([ELEMENTS.index(z) for z in atoms.numbers])
        chosen = kinds[first], kinds[second]
        both = model.coefficients[chosen] + model.coefficients[chosen[::-1]]
        values = (both * torch.exp(-model.exponents * distance[:, None])).sum(dim=-1)
        near = distance < model.r_max
        envelope = torch.cos(0.5 * torch.pi * distance / model.r_max) ** 2
        energy = (values * envelope)[near].sum() + 0.0 * positions.sum()
        (slope,) = torch.autograd.grad(energy, positions, create_graph=True)
        return energy, -slope
