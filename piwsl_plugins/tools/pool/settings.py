"""How the dynamics of a pool are run: every choice with its default."""

from __future__ import annotations

import dataclasses

from ...options.option import option
from ..options import CheckedSettings


@dataclasses.dataclass(frozen=True)
class PoolSettings(CheckedSettings):
    """Choices of one pool, by which finished trajectories are recognised; each says what it is."""

    temperatures: tuple[float, ...] = option(
        (300.0, 500.0, 700.0),
        "temperatures of the ladder, with as many structures each",
        unit="K",
        minimum=0.0,
        exclusive=True,
    )
    n: int = option(500, "structures wanted, of all temperatures together", kind=int, minimum=1)
    spacing: float = option(
        50.0, "time between two structures of a trajectory", unit="fs", minimum=0.0, exclusive=True
    )
    equilibration: float = option(
        500.0, "time at the start of each trajectory that is thrown away", unit="fs", minimum=0.0
    )
    per_run: int = option(
        40,
        "structures of one trajectory; fewer means more trajectories, from more of the frames",
        kind=int,
        minimum=1,
    )
    timestep: float = option(0.5, "time step", unit="fs", minimum=0.0, maximum=20.0, exclusive=True)
    friction: float = option(
        0.01, "friction of the Langevin thermostat", unit="1/fs", minimum=0.0, exclusive=True
    )
    pressure: float | None = option(
        None,
        "pressure, for cells that breathe; their shape stays",
        unit="GPa",
        derived="constant volume",
    )
    relax: bool = option(
        False,
        "relax each frame a little with the calculator first, for frames on which it has large "
        "forces",
        kind=bool,
    )
    allow_reactions: bool = option(False, "go on where bonds of molecules break or form", kind=bool)
    seed: int = option(
        0,
        "seed of velocities, of thermostats, and of which frame gets which temperature",
        kind=int,
        minimum=0,
    )

    def __post_init__(self) -> None:
        """Check the values, alone and together."""
        super().__post_init__()
        distinct = len(set(self.temperatures)) == len(self.temperatures)
        self.require("temperatures", distinct, "each temperature once")
        enough = self.n >= len(self.temperatures)
        self.require(
            "n",
            enough,
            f"at least one structure for each of the temperatures, {len(self.temperatures)}",
        )
        self.require("spacing", self.spacing >= self.timestep, "at least the time step")

    @property
    def steps_apart(self) -> int:
        """Time steps between two structures."""
        return round(self.spacing / self.timestep)

    @property
    def steps_before(self) -> int:
        """Time steps that are thrown away."""
        return round(self.equilibration / self.timestep)
