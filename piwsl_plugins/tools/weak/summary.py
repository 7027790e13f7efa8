"""What ``piwsl weak`` says at its end: errors before and after, what was left out, advice."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence

from ...frames.reading import Frame
from .trust import Weak

#: a correction that leaves more than this share of the cheap method's error is not worth it
_WORTH = 0.9
#: frames left out that are named
_NAMED = 5

Errors = Mapping[str, float]


def _line(name: str, errors: Errors, remark: str) -> str:
    parts = []
    if "energy" in errors:
        parts.append(f"E {1e3 * errors['energy']:7.2f} meV/atom")
    if "forces" in errors:
        parts.append(f"F {1e3 * errors['forces']:7.1f} meV/Å")
    if "stress" in errors:
        parts.append(f"stress {1e3 * errors['stress']:.2f} meV/Å³")
    return f"  {name:<34}{'  '.join(parts)}{f'  ({remark})' if remark else ''}"


def left_out(frames: Sequence[Frame], failures: dict[str, str], path: str) -> list[str]:
    """Lines on the frames without cheap labels."""
    failed = [frame for frame in frames if frame.key in failures]
    if not failed:
        return []
    lines = [f"{len(failed)} frames of {path} left out, which have no cheap label:"]
    lines += [f"  {frame.where}: {failures[frame.key]}" for frame in failed[:_NAMED]]
    if len(failed) > _NAMED:
        lines.append(f"  and {len(failed) - _NAMED} more")
    return lines


def distrusted(weak: Weak) -> list[str]:
    """Lines on the structures of the pool that get no label, or no energy."""
    notes = []
    if weak.distrusted:
        named = ", ".join(frame.where for frame in weak.distrusted[:_NAMED])
        more = ", …" if len(weak.distrusted) > _NAMED else ""
        notes.append(
            f"{len(weak.distrusted)} structures left out, on which the models differ by more than "
            f"the cheap method is wrong: {named}{more}"
        )
    if weak.without_energy:
        notes.append(
            f"{weak.without_energy} structures get no energy: the training frames leave open "
            "how their energies are shifted, as their composition is not one of theirs"
        )
    return notes


def describe(
    n_training: int, cheap: Errors, held_out: Errors, n_held_out: int, spread: Errors
) -> list[str]:
    """Lines on how good the labels are.

    Args:
        n_training: number of frames with expensive labels.
        cheap: root mean square errors of the cheap method after offsets, on the held-out frames
            if there are any, otherwise on the training frames.
        held_out: those of the corrected method on frames that the model in question has not seen.
        n_held_out: number of these frames.
        spread: of the models over the pool.
    """
    lines = ["root mean square errors:"]
    frames = f"{n_held_out} held-out frames" if held_out else f"{n_training} training frames"
    lines.append(_line("cheap method, after offsets", cheap, frames))
    if held_out:
        lines.append(_line("corrected", held_out, "the same, which also chose the checkpoints"))
    if spread:
        lines.append(_line("spread of the models", spread, "the pool"))
    return lines


def advise(cheap: Errors, held_out: Errors, learned: bool) -> list[str]:
    """What a user should think twice about."""
    lines = []
    name = "forces" if "forces" in held_out else "energy"
    if held_out and held_out[name] > _WORTH * cheap[name] > 0:
        lines.append(
            "WARNING: on held-out frames the correction leaves "
            f"{held_out[name] / cheap[name]:.0%} of the cheap method's error after offsets: it has "
            "not learned the difference. Train it longer or with a smaller model, or use the cheap "
            "method's labels (--models 0) for pretraining, and fine-tune"
        )
    elif name == "forces" and held_out["energy"] > cheap["energy"]:
        lines.append(
            "WARNING: on held-out frames the corrected forces are better than the cheap method's, "
            f"and the energies worse, {1e3 * held_out['energy']:.3g} instead of "
            f"{1e3 * cheap['energy']:.3g} meV/atom after offsets: train the corrections longer, or "
            "with a larger weight of the energy"
        )
    if learned:
        lines.append(
            "NOTE: the cheap method is a learned model. Corrections of one were measured to be no "
            "better than fine-tuning it on the expensive frames (docs/weak.md)"
        )
    return lines


def next_commands(options: argparse.Namespace, corrected: bool) -> Sequence[str]:
    """The commands that follow.

    Args:
        options: of the command.
        corrected: whether the labels are those of the cheap method and a correction.
    """
    training, out = shlex.quote(str(options.training)), shlex.quote(str(options.out))
    if options.offsets:
        return [
            "pretrain on it, then fine-tune on the energies; the configs say how:",
            "  piwsl configs mace/energies_pretrain   (mace/energies_finetune; or nequip/...)",
        ]
    if not corrected:
        return [
            f"labels of this method alone: if those of {training} are of it too, train on both, in "
            "one file,",
            f"  cat {training} {out} > both.xyz",
            "otherwise pretrain on it (docs/few_labels.md)",
        ]
    return [
        "train an ordinary model on both:",
        f"  mace_run_train --loss=piwsl --piwsl_pool_file={out} --train_file={training} ...",
        f"  or, in the loss of a config of nequip-train,  pool_file: {out}",
    ]
