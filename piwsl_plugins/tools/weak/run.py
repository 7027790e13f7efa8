"""The stages of ``piwsl weak``: cheap labels, correction files, models, weak labels."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ...errors import InputError
from ...frames.reading import Frame, Keys, elements_of
from ..calculators import CalculatorSource
from ..loaded_calculators import prepare
from ..runs import Arrays
from ..states import IGNORED, distinct
from ..units import require_one_unit, require_total_energies
from .arguments import folder_of
from .cheap import cheap_labels, is_learned
from .corrections import (
    Correction,
    correction_labels,
    digest_of,
    divide,
    fitted_offsets,
    n_with_stress,
    vanish,
)
from .evaluation import evaluate
from .frame_labels import carried, root_mean_squares, write_xyz
from .given import require_correction, require_one_cutoff
from .hosts import HostCommand
from .inputs import Inputs, read_inputs
from .offsets import Offsets
from .settings import WeakSettings
from .shares import draw_shares
from .stages import Stages
from .summary import advise, describe, distrusted, left_out, next_commands
from .trainings import train
from .trust import Corrected, corrected, held_out_errors, uncorrected, weigh

#: of forces where the training frames have none
_SLOPE = " (the slope of the energies: no forces were learned)"


def label(options: argparse.Namespace, settings: WeakSettings, environment: dict[str, str]) -> None:
    """All stages, as far as the user wants to go."""
    command = HostCommand.parse(options.train) if options.train else None
    for path in options.corrections or ():
        CalculatorSource.parse(path).require_package()
    keys = settings.keys(Keys(settings.energy_key, settings.forces_key, settings.stress_key))
    labelled = settings.models > 0 or options.offsets
    inputs = read_inputs(options.training, options.pool, keys, labelled=labelled)
    stages = Stages(folder_of(options), options.out, options.overwrite)
    if options.until is None:
        made = {"models": settings.models if command else options.corrections or 0}
        stages.enter("labels", {**made, **({"offsets": True} if options.offsets else {})})
    if not labelled:
        inputs = Inputs([], inputs.pool, inputs.notes)
    cheap = cheap_labels(options, inputs, stages, keys)
    training = [frame for frame in inputs.training if frame.key in cheap.labels]
    pool = [frame for frame in inputs.pool if frame.key in cheap.labels]
    notes = [
        *inputs.notes,
        *cheap.notes,
        *left_out(inputs.training, cheap.failures, str(options.training)),
    ]
    notes += left_out(inputs.pool, cheap.failures, str(options.pool))
    if not pool:
        raise InputError(f"{options.pool}: no structure has a cheap label")
    run = _Labelling(options, settings, keys, stages, command, training, pool, cheap.labels, notes)
    if options.until == "cheap" and settings.models == 0:
        run.stop_at_cheap_labels()
    elif options.offsets:
        run.shift()
    elif settings.models == 0:
        run.write([(frame, dict(cheap.labels[frame.key])) for frame in pool], [])
    else:
        run.correct(environment)


class _Labelling:
    """The stages after the cheap labels."""

    def __init__(
        self,
        options: argparse.Namespace,
        settings: WeakSettings,
        keys: Keys,
        stages: Stages,
        command: HostCommand | None,
        training: list[Frame],
        pool: list[Frame],
        cheap: dict[str, Arrays],
        notes: list[str],
    ) -> None:
        self.options, self.settings, self.keys, self.stages = options, settings, keys, stages
        self.command, self.training, self.pool, self.cheap = command, training, pool, cheap
        self.notes = notes
        self.elements = elements_of([*training, *pool])

    def stop_at_cheap_labels(self) -> None:
        """End after the first stage."""
        self.stages.keep()
        given = self.options.cheap_labels
        if given:
            return self._stop(f"cheap labels are those of {' '.join(map(str, given))}")
        there = self.stages.cheap_file
        self._stop(
            f"cheap labels are in {there}; go on here, or, in an environment without the cheap "
            f"method, with --cheap_labels {there} and another --out"
        )

    def shift(self) -> None:
        """The labels of the cheap method with the offsets, and nothing that is learned."""
        offsets, changes = self._compare()
        if not offsets.spans(self.pool).any():
            raise InputError(
                f"{self.options.pool}: no structure would get an energy, as the compositions of "
                f"{self.options.training} leave open how theirs are shifted; give training frames "
                "of these compositions, or leave out --offsets"
            )
        sizes = root_mean_squares(changes, self.training)
        shifted = uncorrected(self.pool, self.cheap, [], offsets)
        weak = weigh(self.pool, [shifted], ("energy", "forces", "stress"), {}, sizes)
        self.notes += distrusted(weak)
        if len(self.training) <= offsets.rank:
            self.notes.append(
                f"the energies of {len(self.training)} training frames are as few as the offsets "
                "that are fitted to them: the error of the energies below is 0 whatever the two "
                "methods are"
            )
        self.write(
            list(zip(weak.frames, weak.labels, strict=True)),
            describe(len(self.training), sizes, {}, 0, {}),
        )

    def _compare(self) -> tuple[Offsets, list[Arrays]]:
        """Offsets between the two methods on the training frames, and what is left beyond them."""
        require_total_energies(self.training, self.elements)
        require_one_unit(
            self.training,
            self.cheap,
            self.elements,
            "the cheap method",
            ("training frames", "cheap labels"),
        )
        offsets = fitted_offsets(self.training, self.cheap, self.elements)
        return offsets, correction_labels(self.training, self.cheap, offsets)

    def correct(self, environment: dict[str, str]) -> None:
        """Correction files, models, labels; as far as the user wants to go."""
        offsets, changes = self._compare()
        sizes = root_mean_squares(changes, self.training)
        wanted = {frame.key: carried(frame) for frame in self.training}
        if self.options.until == "cheap":
            return self.stop_at_cheap_labels()
        _require_more_than_offsets(len(self.training), offsets.rank, sizes)
        if vanish(changes):
            if self.options.until is not None:
                return self._stop(
                    "the two methods agree on all training frames after offsets: there is no "
                    f"correction for the stage '{self.options.until}'"
                )
            self.notes.append(
                "the two methods agree on all training frames after offsets: no correction is "
                "trained, and the labels are those of the cheap method and the offsets"
            )
            models = [uncorrected([*self.training, *self.pool], self.cheap, [], offsets)]
        elif self.options.corrections:
            models = self._given(wanted, offsets)
        else:
            self._leave_out_stress(sizes)
            corrections = self._divide()
            if self.options.until == "correction":
                return self._stop(f"{len(corrections)} corrections are in {self.stages.folder}")
            paths = self._train(corrections, environment)
            if self.options.until == "train":
                return self._stop("trained: " + ", ".join(map(str, paths)))
            models = [
                self._predict(path, one.offsets, one.training, one.held_out, one.folder, wanted)
                for path, one in zip(paths, corrections, strict=True)
            ]
        return self._finish(models, sizes, wanted)

    def _stop(self, words: str) -> None:
        print("\n".join([*self.notes, words]))

    def _given(self, wanted: dict[str, Arrays], offsets: Offsets) -> list[Corrected]:
        """Models trained before."""
        given = self.options.corrections
        sources = [self._source(path) for path in given]
        require_one_cutoff(sources, [*self.training, *self.pool], self.options.device)
        self.stages.enter("train", {"corrections": given})
        self.stages.keep()
        self.notes.append(
            "which frames the given corrections have seen is not known, so that no error on "
            "held-out frames is"
        )
        models = []
        for number, path in enumerate(given):
            folder = self.stages.folder / f"given_{number}"
            models.append(self._predict(Path(path), offsets, self.training, [], folder, wanted))
            require_correction(path, models[-1].labels, self.training, self.cheap)
        return models

    def _source(self, model: str) -> CalculatorSource:
        """A correction model; where all frames have one charge and spin, it needs none of them."""
        charges = self.options.charges
        if charges is None and len(distinct([*self.training, *self.pool])) == 1:
            charges = IGNORED
        return CalculatorSource.parse(model, charges=charges)

    def _leave_out_stress(self, sizes: dict[str, float]) -> None:
        """Take the stress out of what is learned, where NequIP cannot learn it."""
        n, n_all = n_with_stress(self.training, self.cheap), len(self.training)
        if self.command is not None and self.command.kind == "nequip" and 0 < n < n_all:
            sizes.pop("stress")
            self.notes.append(
                f"only {n} of {n_all} training frames have a stress of both methods: nequip-train "
                "takes that of all frames or none, so that no stress is learned or written"
            )

    def _divide(self) -> list[Correction]:
        shares = draw_shares(
            self.training, self.settings.models, self.settings.held_out, self.settings.seed
        )
        if self.command is not None:
            self.command.require_batches(len(self.training) - max(map(len, shares)))
        made: dict[str, object] = {
            "models": self.settings.models,
            "held_out": self.settings.held_out,
        }
        made |= {"seed": self.settings.seed, "training frames": digest_of(self.training)}
        self.stages.enter("correction", made)
        self.stages.keep()
        folder = self.stages.folder
        corrections = divide(folder, self.training, shares, self.cheap, self.elements)
        for correction in corrections:
            if not correction.train_file.is_file() or not correction.valid_file.is_file():
                correction.write(self.cheap)
        return corrections

    def _train(self, corrections: list[Correction], environment: dict[str, str]) -> list[Path]:
        assert self.command is not None  # required by the options
        self.stages.enter("train", {"command": self.command.identity})
        given = self.settings.seed, self.elements, environment, self.stages.keep
        return train(self.command, corrections, *given)

    def _predict(
        self,
        model: Path,
        offsets: Offsets,
        seen: list[Frame],
        held_out: list[Frame],
        folder: Path,
        wanted: dict[str, Arrays],
    ) -> Corrected:
        """A model's labels; what is left of the energies of the frames it has seen joins offsets.

        A short training leaves a constant that is larger than its scatter.
        """
        source = self._source(str(model))
        frames = [*self.training, *self.pool]
        prepare(source, frames, self.options.device)
        where = self.options.device, self.options.workers, self.options.executor
        found = evaluate(folder / "predictions.xyz", source, frames, "corrections", *where)
        if found.failures:
            frame = next(frame for frame in frames if frame.key in found.failures)
            raise InputError(f"{model} fails on {frame.where}: {found.failures[frame.key]}")
        labels = corrected(frames, self.cheap, found.labels, offsets)
        left = [float(wanted[f.key]["energy"] - labels[f.key]["energy"]) for f in seen]
        rest = Offsets(seen, left, self.elements)
        for frame, shift in zip(frames, rest(frames), strict=True):
            labels[frame.key]["energy"] = labels[frame.key]["energy"] + shift
        return Corrected(labels, held_out, offsets)

    def _finish(
        self,
        models: list[Corrected],
        sizes: dict[str, float],
        wanted: dict[str, Arrays],
    ) -> None:
        errors = held_out_errors(models, wanted, list(sizes))
        # of the same frames with the same offsets, or the comparison would not be fair
        without = [uncorrected(m.held_out, self.cheap, m.held_out, m.offsets) for m in models]
        cheap = held_out_errors(without, wanted, list(sizes)) or sizes
        n_held_out = sum(len(model.held_out) for model in models)
        weak = weigh(self.pool, models, self._names(sizes), errors, {**sizes, **cheap})
        lines = describe(len(self.training), cheap, errors, n_held_out, weak.spread)
        self.notes += distrusted(weak)
        self.write(
            list(zip(weak.frames, weak.labels, strict=True)),
            [*lines, *advise(cheap, errors, is_learned(self.options.calculator))],
            "" if "forces" in sizes else _SLOPE,
        )

    def _names(self, sizes: dict[str, float]) -> list[str]:
        """The labels that are written: what was learned, and forces, the slope of energies."""
        return [*sizes, *(["forces"] if "forces" not in sizes else [])]

    def write(
        self, labelled: list[tuple[Frame, dict[str, object]]], lines: list[str], of_forces: str = ""
    ) -> None:
        """Write the output file and say what is in it, with a remark on its forces."""
        if not labelled:
            raise InputError("no structure of the pool is left; see --models and docs/weak.md")
        frames = [frame for frame, _ in labelled]
        labels = [values for _, values in labelled]
        self.stages.write_out(lambda path: write_xyz(path, frames, labels, self.keys))
        counts = Counter(
            name for values in labels for name in ("energy", "forces", "stress") if name in values
        )
        remarks = {"forces": of_forces}
        held = ", ".join(f"{n} with {name}{remarks.get(name, '')}" for name, n in counts.items())
        found = f"{self.options.out}: {len(frames)} structures, {held}"
        commands = next_commands(self.options, self.settings.models > 0)
        print("\n".join([*self.notes, *lines, found, *commands]))


def _require_more_than_offsets(n: int, rank: int, sizes: Mapping[str, float]) -> None:
    """Refuse energies alone that the offsets explain, whatever the two methods are.

    Raises:
        InputError: with the number of frames.
    """
    if set(sizes) == {"energy"} and n <= rank:
        raise InputError(
            f"{n} training frames with energies alone are too few: offsets explain those of "
            f"{rank} independent compositions, so that nothing is left to learn or to compare; "
            "give more frames, or frames with forces"
        )
