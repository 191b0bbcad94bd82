"""The job that changes an alias's teacher: describe its gallery into another one, catch up, verify, and switch the alias.

The old gallery is searched and written to meanwhile. For the last few changes it is held: changes are refused, for a
stated number of seconds at most. The switch is a task of the old gallery's writer, and it is made only if the new gallery
has every change up to then; changes that come through the alias and reach the writer later are refused
(gallery/item_changes.py). So what was acknowledged is in the new gallery, even if the hold had run out.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from askew_client.contract.jobs import (
    ChangeTeacherEstimate,
    ChangeTeacherRequest,
    ChangeTeacherResult,
    RedescribeVerification,
)
from askew_client.contract.problems import ProblemKind
from askew_client.files import write_atomically
from askew_server.errors import Refusal
from askew_server.gallery.catalog import Catalog
from askew_server.gallery.gallery import Gallery
from askew_server.gallery.item_changes import holding
from askew_server.gallery.live import LiveGallery
from askew_server.jobs.catching_up import CatchingUp
from askew_server.jobs.gallery_access import JobDescriber, awake, reading, run_in, when_there_is_room
from askew_server.jobs.kind import Cancelled, JobStopped, Lane, Report, Task
from askew_server.jobs.redescribe import RedescribeJob, record_origin
from askew_server.jobs.redescribe_check import RedescribedGallery, check_redescribed
from askew_server.jobs.redescription import Redescription
from askew_server.processes import Limits

MOST_HOLDS = 5
"""How often the old gallery is held before the job gives up."""

_SHARE_OF_HOLD = 0.25
"""How much of a hold the round before it may take: the round in the hold has less to do."""
_RESULT = "switched.json"


class ChangeTeacherJob:
    """Fills `parameters["into"]` from the job's gallery, and makes the alias name it. Run again, it continues."""

    name = "change-teacher"
    lane: Lane = "changing"

    def __init__(self, galleries: Catalog, redescribing: RedescribeJob, *, max_pixels: int, limits: Limits) -> None:
        """`limits`: of describing one photo."""
        self._galleries = galleries
        self._redescribing = redescribing
        self._max_pixels = max_pixels
        self._limits = limits

    def check(self, alias: str, wanted: ChangeTeacherRequest, default_gallery: str) -> tuple[str, str]:
        """Check that the alias may be changed to another gallery; returns the names of its gallery and of that one.

        Raises Refusal: unknown-alias; what RedescribeJob.check raises; gallery-in-use if the alias names it already;
        items-would-be-lost.
        """
        if alias not in self._galleries.aliases():
            known = ", ".join(self._galleries.aliases()) or "none yet"
            raise Refusal(
                ProblemKind.UNKNOWN_ALIAS,
                f"There is no alias {alias[:80]!r}, so nothing can be switched. Known: {known}. Make one (`askew alias set`), "
                "and let its clients use that name.",
            )
        if self._galleries.resolve(alias) == self._galleries.get(wanted.to).name:
            raise _already(alias, self._galleries.get(wanted.to).name)
        source, target = self._redescribing.check(alias, wanted.to, default_gallery)
        if not wanted.accept_loss and not wanted.estimate_only:
            with reading(self._galleries.get(source), _never) as old:
                items, photos = old.counts()
            _check_loss(source, items - photos, 0)
        return source, target

    def estimate(self, alias: str, source: str, target: str, cancelled: Cancelled) -> ChangeTeacherEstimate:
        """Estimate the work, in seconds. Raises as RedescribeJob.estimate."""
        work = self._redescribing.estimate(source, target, cancelled)
        old, new = (self._galleries.get(each).encoders.facts.admitted for each in (source, target))
        return ChangeTeacherEstimate(
            **work.model_dump(),
            alias=alias,
            gallery=source,
            to=target,
            admitted_encoders=new,
            encoders_left_behind=[
                each for each in old if each not in new and each != self._galleries.get(source).teacher.encoder_id
            ],
            other_aliases=[each for each in self._galleries.aliases_of(source) if each != alias],
        )

    def check_input(self, task: Task) -> None:
        """See JobKind. The input is the gallery's photos, so there is nothing to check."""

    def run(self, task: Task, report: Report, cancelled: Cancelled) -> ChangeTeacherResult:
        """See JobKind. Raises Refusal (verification-failed, gallery-in-use, gallery-conflict, items-would-be-lost)."""
        source = self._galleries.get(task.gallery)
        target = self._galleries.get(str(task.parameters["into"]))
        alias = str(task.parameters["alias"])
        if self._galleries.resolve(alias) == target.name:
            # The server was killed after the switch.
            with suppress(FileNotFoundError, ValidationError):
                return ChangeTeacherResult.model_validate_json((task.folder / _RESULT).read_bytes())
            raise _already(alias, target.name)
        _check_named(self._galleries, alias, source)
        record_origin(source, target, cancelled)
        encoder = target.encoders.facts.require_teacher_file()
        with (
            # Asleep, the old one would forget what was removed, and a reader of Milvus has its gallery's connection.
            awake(source, cancelled),
            awake(target, cancelled),
            reading(source, cancelled) as old,
            reading(target, cancelled) as new,
            JobDescriber(encoder, max_pixels=self._max_pixels, limits=self._limits, cancelled=cancelled) as describer,
        ):

            def check_target(filled: Gallery) -> None:
                # First: who switches the alias by hand hears of that.
                _check_named(self._galleries, alias, source)
                self._redescribing.check_filling(source, target, filled)

            work = Redescription(target, old, new, describer, report, cancelled, check_target)
            # The long one. Catching up keeps the log of the database from being emptied, so it begins after this.
            work.pass_over()
            with CatchingUp(source, work, cancelled) as catching_up:
                work.pass_over()
                change = _Change(self._galleries, task, alias, source, work, catching_up)
                return change.finish()


@dataclass
class _Change:
    """The end of one job: both galleries are nearly alike."""

    galleries: Catalog
    task: Task
    alias: str
    source: LiveGallery
    work: Redescription
    catching_up: CatchingUp
    held: float = 0.0

    def finish(self) -> ChangeTeacherResult:
        """Verify, and switch if that was wanted."""
        hold_seconds = float(str(self.task.parameters["hold_seconds"]))
        self.catching_up.catch_up_until_short(_SHARE_OF_HOLD * hold_seconds)
        self.check_loss()
        verification = self.verify()
        if not self.task.parameters["switch"]:
            return self.result(verification, is_switched=False)
        for _ in range(MOST_HOLDS):
            # Checking takes a while, too.
            self.catching_up.catch_up_until_short(_SHARE_OF_HOLD * hold_seconds)
            result = self.switch(verification, hold_seconds)
            if result is not None:
                return result
            self.work.pass_over()
        raise Refusal(
            ProblemKind.VERIFICATION_FAILED,
            f"Gallery {self.work.target.name!r} could not be brought level with {self.source.name!r} in {MOST_HOLDS} holds of "
            f"{hold_seconds:g} s each, so alias {self.alias!r} still names {self.source.name!r}. Allow a longer hold, or "
            "write less meanwhile, and send the request again.",
        )

    def verify(self) -> RedescribeVerification:
        """Check vectors and searches. Whether every item is there is checked in the hold, when none is written."""
        work = self.work
        sample = [each for each in work.sample if work.new.item(each) is not None]
        _, photos = work.new.counts()
        return check_redescribed(
            RedescribedGallery(work.target, work.new, work.describer, photos, sample), work.cancelled
        )

    def switch(self, verification: RedescribeVerification, hold_seconds: float) -> ChangeTeacherResult | None:
        """Hold the old gallery, catch up with its last changes, and switch; None if that was not possible."""
        began = time.monotonic()
        with holding(self.source, hold_seconds):
            # What was let through before the hold is written when this is done.
            run_in(self.source, lambda _: None, self.work.cancelled)
            self.catching_up.catch_up()
            # Here too if nothing was left to do: what would keep the switch from being made gets its sentence.
            self.work.check()
            self.check_loss()
            (_, photos), (items, _) = self.work.old.counts(), self.work.new.counts()
            expected = photos - self.work.still_refused()
            self.held += min(hold_seconds, time.monotonic() - began)
            if items != expected:
                return None
            exact = verification.model_copy(update={"items": items, "expected": expected})
            result = self.result(exact, is_switched=True)
            if self.work.cancelled():
                raise JobStopped
            # Not given up half-way: a job that was cancelled must not have switched.
            is_switched = when_there_is_room(
                lambda: self.galleries.switch_alias(
                    self.alias, self.source, self.work.target, lambda each: self.is_level(each, result)
                ),
                self.work.cancelled,
            )
            return result if is_switched else None

    def is_level(self, source: Gallery, result: ChangeTeacherResult) -> bool:
        """Whether the new gallery has every change of the old one; then the result is kept. On the writer of the old gallery."""
        # Asked again, as aliases could be changed until now.
        if source.store.sequence != self.catching_up.sequence or self.galleries.aliases_of(self.work.target.name):
            return False
        # First, so that the job knows its result if the server is killed after the switch.
        write_atomically(self.task.folder / _RESULT, result.model_dump_json().encode())
        return True

    def check_loss(self) -> None:
        """Check that every item of the old gallery can be described, unless losses are accepted. Raises Refusal."""
        items, photos = self.work.old.counts()
        self.work.without_photo = items - photos
        if not self.task.parameters["accept_loss"]:
            _check_loss(self.source.name, self.work.without_photo, self.work.still_refused())

    def result(self, verification: RedescribeVerification, *, is_switched: bool) -> ChangeTeacherResult:
        """What was done."""
        return ChangeTeacherResult(
            **self.work.result(verification).model_dump(),
            alias=self.alias,
            gallery=self.source.name,
            to=self.work.target.name,
            is_switched=is_switched,
            held_seconds=round(self.held, 2),
            admitted_encoders=self.work.target.encoders.facts.admitted,
        )


def _check_loss(gallery: str, without_photo: int, refused: int) -> None:
    if without_photo or refused:
        raise Refusal(
            ProblemKind.ITEMS_WOULD_BE_LOST,
            f"Gallery {gallery!r} has {without_photo} items without a photo, and {refused} whose photo cannot be described, so "
            "the new gallery would lack them. Give them photos, delete them, or accept the loss (`accept_loss`, "
            "--accept-loss).",
            {"items_without_photo": without_photo, "refused": refused},
        )


def _check_named(galleries: Catalog, alias: str, source: LiveGallery) -> None:
    """Check that the alias names the old gallery still. Raises Refusal (gallery-conflict)."""
    named = galleries.aliases().get(alias)
    if named == source.name:
        return
    now = "was deleted" if named is None else f"names {named!r} now, which somebody else has switched it to"
    raise Refusal(
        ProblemKind.GALLERY_CONFLICT,
        f"Alias {alias!r} named gallery {source.name!r} when this began, and {now}. The job left it as it is.",
        {"expected": source.name, "received": named},
    )


def _already(alias: str, target: str) -> Refusal:
    return Refusal(
        ProblemKind.GALLERY_IN_USE,
        f"Alias {alias!r} names gallery {target!r} already: there is nothing to change.",
        {"aliases": [alias]},
    )


def _never() -> bool:
    return False
