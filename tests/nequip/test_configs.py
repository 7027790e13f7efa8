"""The configs of this repository run as they are, but for their length.

Those of fine-tuning do so in ``test_fine_tuning.py``.
"""

from __future__ import annotations

import pytest
import yaml

from .command_line import ROOT, metrics, run

pytestmark = pytest.mark.slow

CONFIGS = ROOT / "configs/nequip"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if not path.stem.startswith("finetune"))
SHORT = ["trainer.max_epochs=1", "+trainer.limit_train_batches=3"]


@pytest.mark.parametrize("name", NAMES)
def test_config(name, tmp_path):
    arguments = [f"configs/nequip/{name}.yaml", f"hydra.run.dir={tmp_path}", *SHORT]
    if "start_epoch" in (CONFIGS / f"{name}.yaml").read_text():
        arguments.append("training_module.loss.start_epoch=0")
    log = run("nequip-train", *arguments, directory=ROOT).stdout
    assert "TEST RUN END" in log
    terms = metrics(tmp_path).get("train_loss_epoch/pitc")
    assert terms is None if name == "quickstart_baseline" else terms[0] > 0


def test_baseline_differs_in_the_loss_alone():
    piwsl, baseline = (
        yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        for name in ("quickstart", "quickstart_baseline")
    )
    loss = baseline["training_module"].pop("loss")
    assert loss["coeffs"] == piwsl["training_module"].pop("loss")["coeffs"]
    assert baseline == piwsl
