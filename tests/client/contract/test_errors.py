"""Errors pass between processes: pickled and copied, each keeps its type, message and attributes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askew_client.contract.jobs import Job
from askew_client.contract.problems import Problem, ProblemKind, problem_of
from askew_client.errors import AskewError, JobFailed, JobUnfinished, Overloaded, ProblemError, WireError
from askew_server import errors as refusals
from askew_server.errors import Refusal

texts = st.text(max_size=40)
extras = st.none() | st.dictionaries(st.sampled_from(["expected", "received"]), st.integers() | texts)
seconds = st.none() | st.floats(0, 1e6)
kinds = st.sampled_from(ProblemKind)
problems = st.builds(problem_of, kinds, texts, st.just({"expected": 4}), texts)
jobs = st.builds(
    Job,
    id=texts,
    kind=texts,
    gallery=texts,
    state=st.sampled_from(["failed", "cancelled", "running"]),
    done=st.integers(0, 99),
    total=st.none() | st.integers(0, 99),
    problem=st.none() | problems,
    created_at=texts,
)

ARGUMENTS: dict[type[AskewError], st.SearchStrategy[tuple[object, ...]]] = {
    AskewError: st.tuples(texts),
    WireError: st.tuples(kinds, texts, extras),
    JobFailed: st.tuples(jobs),
    JobUnfinished: st.tuples(jobs, st.floats(0, 1e6)),
    ProblemError: st.tuples(problems),
    Overloaded: st.tuples(problems, seconds),
    # An error of another package, with a constructor of its own.
    Refusal: st.tuples(kinds, texts, extras, st.none() | st.integers(0, 60)),
    refusals.UnknownGallery: st.tuples(texts, st.lists(st.tuples(texts, texts), max_size=3)),
}
"""What the constructors of a class and of its subclasses take."""


def subclasses(kind: type[AskewError]) -> Iterator[type[AskewError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


def arguments_of(kind: type[AskewError]) -> st.SearchStrategy[tuple[object, ...]]:
    return next(ARGUMENTS[each] for each in kind.__mro__ if each in ARGUMENTS)


# Only of the packages that this module imports: other tests may define errors.
ERRORS = [
    each
    for each in subclasses(AskewError)
    if each.__module__ in {"askew_client.contract.errors", "askew_server.errors"}
]


def test_the_whole_tree_is_tried() -> None:
    assert {Overloaded, Refusal, WireError, JobFailed} < set(ERRORS)
    assert len(ERRORS) == len(set(ERRORS)) > 25


@pytest.mark.slow
@pytest.mark.parametrize("kind", ERRORS, ids=lambda each: each.__name__)
@given(data=st.data())
def test_an_error_survives_pickling_and_copying(kind: type[AskewError], data: st.DataObject) -> None:
    error = kind(*data.draw(arguments_of(kind)))
    error.add_note("while a test ran")
    for again in (pickle.loads(pickle.dumps(error)), pickle.loads(pickle.dumps(error, protocol=0)), copy.copy(error)):
        assert type(again) is kind
        assert (str(again), again.args) == (str(error), error.args)
        assert vars(again) == vars(error)


def test_attributes_keep_their_types() -> None:
    error = pickle.loads(pickle.dumps(Overloaded(problem_of(ProblemKind.OVERLOADED, "Busy.", {"limit": 3}, "r1"), 7.0)))
    assert isinstance(error.problem, Problem)
    assert (error.status, error.retry_after, error.problem.extras) == (429, 7.0, {"limit": 3})
    wire = pickle.loads(pickle.dumps(WireError(ProblemKind.NOT_FINITE, "NaN", {"not_finite": 2})))
    assert wire.kind is ProblemKind.NOT_FINITE
