"""The demo over many seeds: is the planted twin flagged every time, and the clean twin never?"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from common import arguments, keep

from camdebug.demo.run import run_demo


def outcome(seed: int, epochs: int) -> dict[str, Any]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run_demo(Path(folder) / "demo", seed=seed, epochs=epochs, with_wandb=False)
        twins = json.loads((Path(folder) / "demo" / "summary.json").read_text(encoding="utf-8"))["twins"]
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        **{
            name: {
                "confirmed_at_the_end": sum(c["verdict"] == "confirmed" for c in twin["epochs"][-1]["classes"]),
                "flagged_ever": len(twin["flagged_classes"]),
                "first_alert_epoch": twin["first_alert_epoch"],
                "mean_accuracy_drop": round(sum(twin["accuracy_drop"].values()) / len(twin["accuracy_drop"]), 3),
            }
            for name, twin in twins.items()
        },
    }


def main() -> None:
    options = arguments("the demo over seeds", seeds=5, epochs=8)
    runs = [outcome(seed, options.epochs) for seed in range(options.seeds)]
    for run in runs:
        print(run)
    keep(
        options.json,
        {
            "planted_confirmed": sum(run["planted"]["confirmed_at_the_end"] > 0 for run in runs),
            "clean_flagged": sum(run["clean"]["flagged_ever"] > 0 for run in runs),
            "of": len(runs),
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
