"""Which server takes changes: fences, epochs and the records that outlive a restart."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from askew_client.contract.problems import ProblemKind
from askew_client.errors import AskewError
from askew_server.errors import Refusal
from askew_server.replication.record import NAME, Epoch, Fence, GalleryMark
from askew_server.replication.standing import Standing

PRIMARY = "http://primary:8000"
NEW = Fence(number=2, token="new", primary="http://new:8000")


def test_a_superseded_primary_refuses_changes_also_after_a_restart(tmp_path: Path) -> None:
    standing = Standing(tmp_path, None)
    assert standing.refusal() is None and standing.role == "primary"
    standing.superseded_by(NEW)
    for each in (standing, Standing(tmp_path, None)):
        refusal = each.refusal()
        assert refusal is not None and refusal.kind is ProblemKind.SUPERSEDED
        assert "http://new:8000" in str(refusal) and "--follow" in str(refusal)
        assert refusal.extras == {"epoch": 2, "primary": "http://new:8000"}


def test_an_older_epoch_supersedes_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    standing = Standing(tmp_path, PRIMARY)
    begun = standing.propose()
    standing.promote(begun, {"objects@1": GalleryMark(sequence=7, beside="")}, PRIMARY)
    assert (standing.role, standing.epoch, standing.unfenced) == ("primary", 2, PRIMARY)
    with pytest.raises(Refusal, match="Epoch 1 does not supersede epoch 2"):
        standing.superseded_by(Fence(number=1, token="old"))
    with caplog.at_level(logging.CRITICAL), pytest.raises(Refusal, match="If two servers were promoted"):
        standing.superseded_by(Fence(number=2, token="another"))
    assert "two servers were promoted" in caplog.text
    # Its own notice, which comes back where the old address leads to it now.
    standing.superseded_by(begun)
    assert standing.refusal() is None
    standing.superseded_by(Fence(number=3, token="later"))
    assert standing.role == "superseded"
    # A second successor of the same epoch is refused, and a later notice of the first one may bring its address.
    with pytest.raises(Refusal, match="does not supersede epoch 3"):
        standing.superseded_by(Fence(number=3, token="third"))
    standing.superseded_by(Fence(number=3, token="later", primary="http://later"))
    fence = Standing(tmp_path, None).fence
    assert fence is not None and fence.primary == "http://later"


def test_a_promotion_that_is_repeated_keeps_its_epoch(tmp_path: Path) -> None:
    first = Standing(tmp_path, PRIMARY).propose()
    assert Standing(tmp_path, PRIMARY).propose() == first
    assert Standing(tmp_path, PRIMARY).propose(beyond=5).number == 6


def test_a_replica_stays_one_until_it_is_promoted(tmp_path: Path) -> None:
    standing = Standing(tmp_path, PRIMARY)
    refusal = standing.refusal()
    assert refusal is not None and refusal.kind is ProblemKind.READ_REPLICA and refusal.extras["primary"] == PRIMARY
    record = standing.record()
    standing.adopt(record.lineage, record.epochs, {})
    with pytest.raises(AskewError, match=f"is a replica of {PRIMARY}.*--follow.*askew replica promote"):
        Standing(tmp_path, None)
    standing.promote(standing.propose(), {}, PRIMARY)
    assert Standing(tmp_path, None).role == "primary"
    # As it was started before; a new address makes it a replica again.
    assert Standing(tmp_path, PRIMARY).role == "primary"
    assert Standing(tmp_path, "http://other:8000").role == "replica"


def test_a_change_of_a_later_epoch_is_refused_once_and_fences_nobody(tmp_path: Path) -> None:
    standing = Standing(tmp_path, None)
    refusal = standing.refusal(sent=3)
    assert refusal is not None and refusal.kind is ProblemKind.SUPERSEDED
    assert standing.refusal(sent=1) is None and standing.role == "primary"


def test_one_copy_of_the_record_is_enough_and_without_any_the_server_does_not_start(tmp_path: Path) -> None:
    Standing(tmp_path, None).superseded_by(NEW)
    copies = [tmp_path / "record" / NAME, tmp_path / "galleries" / ".record" / NAME]
    copies[0].write_text("{")
    assert Standing(tmp_path, None).role == "superseded"
    assert copies[0].read_bytes() == copies[1].read_bytes()
    for copy in copies:
        copy.write_text("{")
    with pytest.raises(AskewError, match=r"both are damaged\. Put back a copy"):
        Standing(tmp_path, None)


def test_a_replica_makes_way_for_its_own_primary_only(tmp_path: Path) -> None:
    """The notice of another one is refused: what this server acknowledged may be with the primary that it follows."""
    standing = Standing(tmp_path, PRIMARY)
    record = standing.record()
    standing.adopt(record.lineage, [*record.epochs, Epoch(number=NEW.number, token=NEW.token)], {})
    standing.superseded_by(NEW)
    for fence in (Fence(number=2, token="another"), Fence(number=3, token="later")):
        with pytest.raises(Refusal, match=f"follows {PRIMARY}.*Follow {PRIMARY}, and promote then") as refused:
            standing.superseded_by(fence)
        assert refused.value.kind is ProblemKind.REPLICA_REFUSED
    assert standing.role == "replica" and standing.fence is None
