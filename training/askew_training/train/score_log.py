"""The scores of a validation, in the log and in words."""

from __future__ import annotations

from askew_training.train.checkpoints import Progress
from askew_training.train.run_log import RunLog
from askew_training.train.validation import ValidationScores


def log_scores(scores: ValidationScores, progress: Progress, log: RunLog) -> None:
    """Write scores to the log, say them, and warn if a floor of admission is near."""
    landing = {} if scores.landing is None else scores.landing.figures()
    log.write(
        "validation",
        progress.steps,
        {"loss": scores.loss, "mAP": scores.mean, "symmetric_mAP": scores.symmetric, **landing, **scores.by_set},
    )
    if scores.landing is not None and progress.epoch:
        for warning in scores.landing.warnings():
            log.say(f"after {progress.epoch} epochs: {warning}")
    by_set = ", ".join(f"{name} {score:.3f}" for name, score in scores.by_set.items())
    log.say(f"after {progress.epoch} epochs: loss {scores.loss:.4f}, mAP {scores.mean:.3f} ({by_set})")
