"""List the encoders of all galleries, and choose one for a device: the default of its runtime, else the best that fits."""

from __future__ import annotations

from collections.abc import Iterable

from askew_client.contract.encoders import HIGHEST_OPSETS, EncoderDescription, Runtime
from askew_client.contract.problems import ProblemKind
from askew_server.errors import Refusal
from askew_server.gallery.live import LiveGallery
from askew_server.storage.encoders import EncoderFacts


def all_encoders(galleries: Iterable[LiveGallery]) -> list[tuple[EncoderDescription, LiveGallery]]:
    """Each encoder once, with the names of its galleries, and one of these galleries to read it from; newest first."""
    found: dict[tuple[str, str], tuple[EncoderDescription, LiveGallery]] = {}
    for owned in galleries:
        for encoder in owned.encoders.facts.encoders:
            known = found.get((encoder.id, encoder.sha256))
            if known is not None:
                known[0].galleries.append(owned.name)
            else:
                found[encoder.id, encoder.sha256] = (encoder.model_copy(update={"galleries": [owned.name]}), owned)
    return sorted(found.values(), key=lambda pair: pair[0].admitted_at, reverse=True)


def find_encoder(
    encoders: list[tuple[EncoderDescription, LiveGallery]], encoder_id: str
) -> tuple[EncoderDescription, LiveGallery]:
    """Find an encoder by id; the newest if galleries have different ones of that id. Raises Refusal (unknown-encoder)."""
    for encoder, owned in encoders:
        if encoder.id == encoder_id:
            return encoder, owned
    known = ", ".join(encoder.id for encoder, _ in encoders) or "none"
    raise Refusal(ProblemKind.UNKNOWN_ENCODER, f"There is no encoder {encoder_id[:140]!r}. Known: {known}.")


def best_encoder(
    facts: EncoderFacts, *, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
) -> EncoderDescription:
    """The default of the runtime if it fits, else the student with the best recall@10, or the newest of equally good ones.

    `max_milliseconds`: per photo, as the gate measured it on the server. Raises Refusal (no-encoder-fits).
    """
    kept = _kept(facts)
    fitting = [each for each in kept if _fits(each, runtime, max_bytes, max_milliseconds)]
    chosen = next((each for each in fitting if runtime in each.default_for), None)
    if chosen is not None:
        return chosen
    best = _best_student(fitting)
    if best is None:
        raise _none_fits(facts, [each for each in kept if each.role == "student"], runtime, max_bytes, max_milliseconds)
    return best


def default_describer(facts: EncoderFacts) -> str:
    """The id of the encoder that describes a query photo for which none was named: it decides for every caller.

    The student that `best_encoder` answers without limits, so that a photo has the same vector wherever it is described;
    the teacher only where no student is admitted. Raises Refusal (cannot-describe) if the gallery keeps neither's file.
    """
    best = _best_student(_kept(facts))
    if best is not None:
        return best.id
    if facts.teacher in facts.files:
        return facts.teacher
    raise Refusal(
        ProblemKind.CANNOT_DESCRIBE,
        f"Gallery {facts.gallery!r} has no admitted student and keeps no file of its teacher {facts.teacher}, so the server "
        "cannot describe photos for it. Admit a student with `askew admit`, or send the teacher's file with "
        "PUT /v1/galleries/NAME.",
    )


def _kept(facts: EncoderFacts) -> list[EncoderDescription]:
    """The encoders whose files the gallery has; newest first."""
    return [encoder for encoder in facts.encoders if encoder.id in facts.files]


def _best_student(encoders: list[EncoderDescription]) -> EncoderDescription | None:
    students = [each for each in encoders if each.role == "student"]
    # Of equal students max() returns the first, and they are sorted newest first.
    return max(students, key=_recall, default=None)


def _fits(
    encoder: EncoderDescription, runtime: Runtime | None, max_bytes: int | None, max_milliseconds: float | None
) -> bool:
    milliseconds = None if encoder.report is None else encoder.report.milliseconds_per_photo
    return (
        (max_bytes is None or encoder.size <= max_bytes)
        and (runtime is None or _opset(encoder) <= HIGHEST_OPSETS[runtime])
        and (max_milliseconds is None or (milliseconds is not None and milliseconds <= max_milliseconds))
    )


def _opset(encoder: EncoderDescription) -> int:
    # Older reports do not state the opset; every runtime supports the files of that time.
    return 0 if encoder.report is None else encoder.report.opset or 0


def _recall(encoder: EncoderDescription) -> float:
    recall = None if encoder.report is None else encoder.report.recall_at_10
    return -1.0 if recall is None else recall


def _none_fits(
    facts: EncoderFacts,
    students: list[EncoderDescription],
    runtime: Runtime | None,
    max_bytes: int | None,
    max_milliseconds: float | None,
) -> Refusal:
    if not students:
        detail = f"Gallery {facts.gallery!r} has no admitted student. Admit one with `askew admit`."
        return Refusal(ProblemKind.NO_ENCODER_FITS, detail)
    limits = [
        *([] if runtime is None else [f"opset {HIGHEST_OPSETS[runtime]} at most, for {runtime}"]),
        *([] if max_bytes is None else [f"{max_bytes} bytes at most"]),
        *([] if max_milliseconds is None else [f"{max_milliseconds:g} ms a photo at most"]),
    ]
    smallest = min(students, key=lambda each: each.size)
    report = smallest.report
    time = (
        "" if report is None or report.milliseconds_per_photo is None else f", {report.milliseconds_per_photo:.1f} ms"
    )
    return Refusal(
        ProblemKind.NO_ENCODER_FITS,
        f"No student of gallery {facts.gallery!r} fits ({'; '.join(limits)}). The smallest is {smallest.id}: "
        f"{smallest.size} bytes, opset {_opset(smallest)}{time}.",
        {"smallest": smallest.id, "smallest_bytes": smallest.size},
    )
