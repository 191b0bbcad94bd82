"""Every Python name that the documents mention can be imported, and so can every name that version 0.1 promised."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*/README.md"))]

CONTRACT = {
    "aliases": "AliasAnswer AliasList Deleted SetAliasRequest",
    "encoder_file": "EncoderFile HIGHEST_OPSET UNSEALED parse_encoder_file read_encoder_file seal",
    "encoders": "AdmissionReport DefaultEncoderRequest EncoderDescription EncoderList HIGHEST_OPSETS Probe ProbeList "
    "ProbeRemoved Runtime ScoreDistribution",
    "filters": "AllOf AnyOf Equals Exists FieldPath Filter MAX_DEPTH MAX_VALUES Not Number OneOf Range Scalar",
    "health": "Readiness Version",
    "indexes": "ChooseIndexRequest IndexDescription IndexEstimate IndexKind WantedKind",
    "jobs": "ENDED_STATES Job JobList JobState RedescribeEstimate RedescribeRequest",
    "keys": "CreateKeyRequest CreatedKey KeyDescription KeyList KeyName Moment RevokedKey Scope",
    "manifest": "DIGEST_KEY EncoderName FORMAT_VERSION Manifest PREFIX Precision Role SMALLEST_PHOTO_SIZE golden_text",
    "offline_pack": "CodecKind FieldName FieldNames MAX_FIELDS OfflinePackDescription OfflinePackPolicy OfflinePackResult "
    "PACK_FORMAT PACK_HEAD_BYTES PACK_MAGIC PACK_MEDIA_TYPE PackCodec PackHeader PackRecall PackSection SECTIONS SectionName "
    "THUMBNAIL_SECTIONS ThumbnailSize",
    "problems": "MEDIA_TYPE Problem ProblemKind problem_of",
    "schemas": "AdmissionReport BatchHits BatchSearchAnswer BatchSearchRequest CreateGalleryRequest DamagedGallery "
    "DeleteAnswer DeleteItemsAnswer DeleteItemsRequest EncoderDescription EncoderList GalleryDescription GalleryList "
    "GalleryName Health Hit Item ItemId ItemPage ItemToStore MAX_BATCH MAX_DELETED MAX_EXCLUDED MAX_GROUP_SIZE MAX_LIMIT "
    "MAX_PAYLOAD_LEVELS MAX_RAW_BATCH Payload Query RawItem RawUpsertHeader ScoreDistribution SearchAnswer SearchOptions "
    "SearchRequest UpsertAnswer UpsertRequest Vector",
    "snapshots": "DeletedSnapshot RestoreRequest SNAPSHOT_FORMAT Sha256 Snapshot SnapshotList SnapshotManifest "
    "SnapshotMember SnapshotName",
    "space": "SPACE_ID_PATTERN SpaceId is_space_id space_id",
    "wire": "Dtype NORM_TOLERANCE check_vector numpy_dtype pack pack_base64 unpack unpack_json",
}
ERRORS = (
    "AskewError ClientMisused DamagedEncoder DamagedPack DamagedSnapshot EncoderError EncoderRefused EngineMissing Forbidden JobFailed "
    "JobUnfinished NotAnEncoder NotFound Overloaded PhotoError PhotoTooLarge PhotoTooThin ProblemError RateLimited ServerError "
    "ServerUnreachable SpaceMismatch Unauthorised UnknownManifest UnreadablePhoto WireError sentence_of"
)
PROMISED = [
    *(f"askew_client.{name}" for name in ("AskewError", "AsyncClient", "Client", "Encoder", "Manifest")),
    *(f"askew_client.errors.{name}" for name in ERRORS.split()),
    *(f"askew_client.contract.{module}.{name}" for module, names in CONTRACT.items() for name in names.split()),
    "askew_client.main",
    "askew_client.metrics",
    "askew_client.offline.pack.Pack",
    "askew_client.offline.pack.PackHit",
    "askew_client.offline.update.update_pack",
    "askew_client.searching.SearchClient",
    "askew_client.writing.WriteClient",
    "askew_training.data.findings.check_photos",
    "askew_training.data.landmarks.read_landmarks",
    "askew_training.data.photo_sets.photos_in",
    "askew_training.data.sfm120k.read_sfm120k",
    "askew_training.data.store.PhotoStore",
    "askew_training.evaluate.ranking.rank_scores",
    "askew_training.networks.learning.freeze_statistics",
    "askew_training.networks.learning.parameter_groups",
    "askew_training.networks.network.Branch",
    "askew_training.networks.network.Network",
    "askew_training.networks.weights.trunk_with_weights",
    "askew_training.cache.TeacherVectors",
]
"""The names that the documents of version 0.1 promised, and all names of its contract."""


def imported(name: str) -> object:
    """What a dotted name stands for: a module, or a member of one. Raises ImportError, AttributeError."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        module, _, member = name.rpartition(".")
        # A module that is there and cannot import something else is another failure.
        if error.name is None or not f"{name}.".startswith(f"{error.name}.") or not module:
            raise
        return getattr(imported(module), member)


def names_in(document: Path) -> Iterator[str]:
    """The names of our packages in a document: dotted ones in back-ticks, and those that its Python imports."""
    text = document.read_text()
    for quoted in re.findall(
        r"`(askew_(?:client|server|training)(?:\.\w+)*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    ):
        # What follows a name, such as the arguments of a call, is left out; a path with slashes is not a name.
        if f"`{quoted}/" not in text:
            yield quoted
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Import):
                yield from (each.name for each in node.names if each.name.startswith("askew_"))
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("askew_"):
                yield from (f"{node.module}.{each.name}" for each in node.names)


MENTIONED = sorted({name for document in DOCUMENTS for name in names_in(document)})


def test_names_are_found_in_the_documents() -> None:
    assert {"askew_client.Client", "askew_client.errors", "askew_client.AsyncClient"} <= set(MENTIONED)
    assert len(MENTIONED) > 15


@pytest.mark.parametrize("name", MENTIONED)
def test_a_name_that_a_document_mentions_can_be_imported(name: str) -> None:
    imported(name)


def test_every_promised_name_can_be_imported() -> None:
    missing = []
    for name in PROMISED:
        try:
            imported(name)
        except (ImportError, AttributeError) as error:
            missing.append(f"{name}: {error}")
    assert missing == []


def test_a_missing_name_is_noticed() -> None:
    for name in (
        "askew_client.nothing",
        "askew_client.errors.Nothing",
        "askew_nothing",
        "askew_client.contract.wire.x.y",
    ):
        with pytest.raises((ImportError, AttributeError)):
            imported(name)
