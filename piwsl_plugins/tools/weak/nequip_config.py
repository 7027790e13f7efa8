"""The config of ``nequip-train``: what of it a correction cannot use, and what it overrides."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...nequip._command_line import config_file
from .correction_training import CorrectionTraining

#: where Hydra lets a run write
RUN_FOLDER = "${hydra:runtime.output_dir}"


@dataclasses.dataclass(frozen=True)
class NequIPConfig:
    """A config as its file has it, and what the command line overrides.

    Attributes:
        content: of the file, empty if it cannot be read, of which ``nequip-train`` says why.
        overrides: of Hydra.
    """

    content: dict[str, Any]
    overrides: tuple[str, ...]

    @classmethod
    def read(cls, arguments: Sequence[str]) -> NequIPConfig:
        """The config that the arguments of ``nequip-train`` name."""
        import yaml

        try:
            path, overrides, _ = config_file(list(arguments))
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (argparse.ArgumentError, OSError, ValueError, yaml.YAMLError):
            return cls({}, ())
        return cls(content if isinstance(content, dict) else {}, tuple(overrides))

    def require_files(self) -> None:
        """Refuse data that is not named by one file for each purpose.

        Raises:
            InputError: naming what the config has.
        """
        data = self._data()
        kind = str(data.get("_target_", ""))
        whole = sorted(data.keys() & {"train_dataset", "val_dataset"})
        if kind.startswith("nequip.data.datamodule.") and not kind.endswith(".ASEDataModule"):
            found = f"_target_: {kind}"
        elif whole:
            found = ", ".join(whole)
        else:
            return
        raise InputError(
            f"--train: the config's data has {found}, and the frames of a correction cannot be put "
            "in its place; write _target_: nequip.data.datamodule.ASEDataModule, with the "
            "transforms beside it"
        )

    def require_one_checkpoint(self) -> None:
        """Refuse several ModelCheckpoints none of which writes to the folder of the run.

        Raises:
            InputError: naming where they write.
        """
        words = (word.lstrip("+").partition("=") for word in self.overrides)
        given = {name: value for name, _, value in words}
        folders = [
            given.get(f"trainer.callbacks.{place}.dirpath", str(callback.get("dirpath")))
            for place, callback in self._checkpoints().items()
        ]
        # ${hydra:run.dir} and folders in it may do, too
        if len(folders) > 1 and not any("${hydra:" in folder for folder in folders):
            raise InputError(
                f"--train: the config has {len(folders)} ModelCheckpoints (dirpath: "
                f"{', '.join(folders)}), and which of them leaves the correction cannot be told; "
                f"leave one, or write dirpath: {RUN_FOLDER} and filename: best in that one"
            )

    def overrides_for(self, training: CorrectionTraining) -> list[str]:
        """Overrides for a run that only trains, as there are no test labels.

        A batch of NequIP's holds no frames of which only some have a stress.
        """
        paths = {
            "++data.train_file_path": training.train_file,
            "++data.val_file_path": training.valid_file,
            "hydra.run.dir": training.folder,
        }
        stress = ", REF_stress: stress" if training.stress else ""
        checkpoints = list(self._checkpoints())
        return [
            # an ASEDataModule would train on these frames too
            *(["~data.split_dataset"] if "split_dataset" in self._data() else []),
            *(f"{name}={_quoted(path)}" for name, path in paths.items()),
            f"++data.key_mapping={{REF_energy: total_energy, REF_forces: forces{stress}}}",
            f"++data.seed={training.seed}",
            f"++training_module.model.seed={training.seed}",
            "run=[train]",
            *(_of_checkpoint(checkpoints[0], training.folder) if len(checkpoints) == 1 else []),
        ]

    def _data(self) -> dict[str, Any]:
        """The section "data", as its file has it, and overrides add to it.

        It is empty where it is made from other files than the config's.
        """
        found = self.content.get("data")
        data = dict(found) if isinstance(found, dict) else {}
        for word in self.overrides:
            name, sign, value = word.partition("=")
            section, _, key = name.lstrip("+").partition(".")
            if section == "data" and sign:
                data[key.partition(".")[0]] = value
            elif name.startswith("~data."):
                data.pop(name.removeprefix("~data."), None)
        return data

    def _checkpoints(self) -> dict[int, dict[str, Any]]:
        """The ModelCheckpoints, by their place in ``trainer.callbacks``.

        There are none where that list is made from more than the config's file.
        """
        keys = {word.partition("=")[0].lstrip("+~") for word in self.overrides}
        if "defaults" in self.content or {"trainer", "trainer.callbacks"} & keys:
            return {}
        trainer = self.content.get("trainer")
        callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
        return {
            place: callback
            for place, callback in enumerate(callbacks if isinstance(callbacks, list) else [])
            if isinstance(callback, dict)
            and str(callback.get("_target_", "")).endswith(".ModelCheckpoint")
        }


def _of_checkpoint(place: int, folder: Path) -> list[str]:
    """Overrides that let a ModelCheckpoint leave ``best.ckpt``, and no second one, in a folder.

    Args:
        place: of the ModelCheckpoint in ``trainer.callbacks``.
        folder: in which the model is looked for.
    """
    callback = f"++trainer.callbacks.{place}"
    return [
        f"{callback}.dirpath={_quoted(folder)}",
        f"{callback}.filename=best",
        f"{callback}.save_top_k=1",
    ]


def _quoted(path: Path) -> str:
    escaped = str(path.absolute()).replace("'", "\\'")
    return f"'{escaped}'"
