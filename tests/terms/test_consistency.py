"""The residuals against potentials whose answer is known in closed form."""

import pytest
import torch

from piwsl_plugins.terms.consistency import pisc_residual, pitc_residual, work

SIZES = [1, 5, 2, 9]
INDEX = torch.repeat_interleave(torch.tensor(SIZES))
N_ATOMS, N_STRUCTURES = sum(SIZES), len(SIZES)


def blocks(tensor):
    return tensor.split(SIZES)


@pytest.fixture
def harmonic():
    """One symmetric Hessian per structure; returns energies and forces at given positions."""
    generator = torch.Generator().manual_seed(0)
    hessians = []
    for size in SIZES:
        matrix = torch.randn(3 * size, 3 * size, generator=generator, dtype=torch.float64)
        hessians.append(matrix + matrix.T)

    def evaluate(positions):
        flat = [block.reshape(-1) for block in blocks(positions)]
        energy = torch.stack([0.5 * x @ h @ x for x, h in zip(flat, hessians, strict=True)])
        forces = torch.cat([-(h @ x).reshape(-1, 3) for x, h in zip(flat, hessians, strict=True)])
        return energy, forces

    evaluate.hessians = hessians
    return evaluate


def random_field(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(N_ATOMS, 3, generator=generator, dtype=torch.float64)


def half_curvature(hessians, displacement):
    return torch.stack(
        [
            0.5 * d.reshape(-1) @ h @ d.reshape(-1)
            for d, h in zip(blocks(displacement), hessians, strict=True)
        ]
    )


def test_work_is_summed_per_structure_not_over_the_batch():
    forces, displacement = random_field(1), random_field(2)
    expected = torch.stack(
        [(f * d).sum() for f, d in zip(blocks(forces), blocks(displacement), strict=True)]
    )
    torch.testing.assert_close(work(forces, displacement, INDEX, N_STRUCTURES), expected)


def test_work_does_not_depend_on_the_order_of_atoms():
    forces, displacement = random_field(1), random_field(2)
    order = torch.randperm(N_ATOMS, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        work(forces[order], displacement[order], INDEX[order], N_STRUCTURES),
        work(forces, displacement, INDEX, N_STRUCTURES),
    )


def test_work_of_a_structure_without_atoms_is_zero():
    result = work(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 2]), 3)
    assert result.tolist() == [3.0, 0.0, 3.0]


def test_pitc_of_a_harmonic_potential_is_half_the_curvature_along_the_displacement(harmonic):
    positions, displacement = random_field(1), random_field(2, 0.1)
    energy, forces = harmonic(positions)
    displaced, _ = harmonic(positions + displacement)
    torch.testing.assert_close(
        pitc_residual(energy, forces, displaced, displacement, INDEX),
        half_curvature(harmonic.hessians, displacement),
        rtol=1e-10,
        atol=1e-12,
    )


def test_pisc_of_a_harmonic_potential_is_half_the_curvature_along_the_second_leg(harmonic):
    positions, displacement, waypoint = (
        random_field(1),
        random_field(2, 0.1),
        random_field(3, 0.1),
    )
    energy, forces = harmonic(positions + waypoint)
    displaced, _ = harmonic(positions + displacement)
    torch.testing.assert_close(
        pisc_residual(energy, forces, displaced, displacement, waypoint, INDEX),
        half_curvature(harmonic.hessians, displacement - waypoint),
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.fixture
def anharmonic():
    """E = Σ a exp(b·r) over some vectors b of each structure: every derivative is known."""
    generator = torch.Generator().manual_seed(7)
    parts = []
    for size in SIZES:
        amplitudes = torch.randn(4, generator=generator, dtype=torch.float64)
        slopes = torch.randn(4, 3 * size, generator=generator, dtype=torch.float64)
        parts.append((amplitudes, slopes))

    def moments(positions, fields, power):
        """Σ a exp(b·r) (b·δ)ⁿ, the n-th derivative along δ."""
        return torch.stack(
            [
                (a * torch.exp(b @ x.reshape(-1)) * (b @ d.reshape(-1)) ** power).sum()
                for (a, b), x, d in zip(parts, blocks(positions), blocks(fields), strict=True)
            ]
        )

    def evaluate(positions):
        forces = [
            -((a * torch.exp(b @ x.reshape(-1))) @ b).reshape(-1, 3)
            for (a, b), x in zip(parts, blocks(positions), strict=True)
        ]
        return moments(positions, positions, 0), torch.cat(forces)

    evaluate.moments = moments
    return evaluate


def residuals_of(potential, positions, displacement, waypoint, form):
    """PITC and PISC of a potential."""
    energy, forces = potential(positions)
    displaced, displaced_forces = potential(positions + displacement)
    via, via_forces = potential(positions + waypoint)
    end = displaced_forces if form == "trapezoid" else None
    pitc = pitc_residual(energy, forces, displaced, displacement, INDEX, end)
    return pitc, pisc_residual(via, via_forces, displaced, displacement, waypoint, INDEX, end)


@pytest.mark.parametrize(("form", "exponent"), [("first_order", 2), ("trapezoid", 3)])
def test_exponent_of_the_residual_with_the_displacement(anharmonic, form, exponent):
    positions, field, other = random_field(1, 0.3), random_field(2), random_field(3)
    scales = (4e-3, 2e-3)
    large, small = (
        residuals_of(anharmonic, positions, scale * field, scale * other, form) for scale in scales
    )
    for first, second in zip(large, small, strict=True):
        found = torch.log2(first.abs() / second.abs())
        torch.testing.assert_close(found, torch.full_like(found, exponent), atol=0.05, rtol=0)


def test_trapezoid_is_the_third_derivative_by_twelve(anharmonic):
    """−T[δ,δ,δ]/12, for PITC at r along δ, for PISC at the waypoint along the second leg."""
    positions, displacement = random_field(1, 0.3), random_field(2, 1e-3)
    waypoint = random_field(3, 1e-3)
    found = residuals_of(anharmonic, positions, displacement, waypoint, "trapezoid")
    starts = (positions, positions + waypoint)
    fields = (displacement, displacement - waypoint)
    for residual, start, field in zip(found, starts, fields, strict=True):
        series = -anharmonic.moments(start, field, 3) / 12
        torch.testing.assert_close(residual, series, rtol=0.05, atol=0)
        # with the next term of the series, −Q[δ,δ,δ,δ]/24, what is left is smaller
        better = series - anharmonic.moments(start, field, 4) / 24
        assert torch.all((residual - better).abs() < 0.05 * (residual - series).abs())


def test_trapezoid_of_a_harmonic_potential_has_no_residual(harmonic):
    """Where the target of the first order, zero, would need a flat potential."""
    positions, displacement, waypoint = random_field(1), random_field(2, 0.1), random_field(3, 0.1)
    flat = residuals_of(harmonic, positions, displacement, waypoint, "first_order")
    assert all(values.abs().max() > 0.01 for values in flat)
    for values in residuals_of(harmonic, positions, displacement, waypoint, "trapezoid"):
        torch.testing.assert_close(values, torch.zeros_like(values), atol=1e-12, rtol=0)


def test_a_linear_potential_has_no_residual():
    forces = random_field(1)
    displacement, waypoint = random_field(2), random_field(3)
    energy = torch.zeros(N_STRUCTURES, dtype=torch.float64)
    displaced = -work(forces, displacement, INDEX, N_STRUCTURES)
    via = -work(forces, waypoint, INDEX, N_STRUCTURES)
    residual = pitc_residual(energy, forces, displaced, displacement, INDEX)
    second = pisc_residual(via, forces, displaced, displacement, waypoint, INDEX)
    torch.testing.assert_close(residual, torch.zeros_like(residual), atol=1e-13, rtol=0)
    torch.testing.assert_close(second, torch.zeros_like(second), atol=1e-13, rtol=0)


def test_gradients_flow_through_every_energy_and_force():
    inputs = [
        torch.randn(N_STRUCTURES, dtype=torch.float64, requires_grad=True),
        random_field(1).requires_grad_(),
        torch.randn(N_STRUCTURES, dtype=torch.float64, requires_grad=True),
    ]
    displacement, waypoint = random_field(2), random_field(3)
    assert torch.autograd.gradcheck(
        lambda e, f, d: pitc_residual(e, f, d, displacement, INDEX).square(), inputs
    )
    assert torch.autograd.gradcheck(
        lambda e, f, d: pisc_residual(e, f, d, displacement, waypoint, INDEX).square(), inputs
    )
    inputs.append(random_field(4).requires_grad_())
    assert torch.autograd.gradcheck(
        lambda e, f, d, g: pitc_residual(e, f, d, displacement, INDEX, g).square(), inputs
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype):
    energy, forces = torch.zeros(N_STRUCTURES, dtype=dtype), torch.ones(N_ATOMS, 3, dtype=dtype)
    assert pitc_residual(energy, forces, energy, forces, INDEX).dtype == dtype
