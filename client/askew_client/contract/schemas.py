"""The names that version 0.1 had here; they are now in common, encoders, galleries, health, items and search."""

from __future__ import annotations

from askew_client.contract.common import MAX_BATCH, MAX_PAYLOAD_LEVELS, GalleryName, ItemId, Payload, Vector
from askew_client.contract.encoders import AdmissionReport, EncoderDescription, EncoderList, ScoreDistribution
from askew_client.contract.galleries import CreateGalleryRequest, DamagedGallery, GalleryDescription, GalleryList
from askew_client.contract.health import Health
from askew_client.contract.items import (
    MAX_DELETED,
    MAX_RAW_BATCH,
    DeleteAnswer,
    DeleteItemsAnswer,
    DeleteItemsRequest,
    Item,
    ItemPage,
    ItemToStore,
    RawItem,
    RawUpsertHeader,
    UpsertAnswer,
    UpsertRequest,
)
from askew_client.contract.search import (
    MAX_EXCLUDED,
    MAX_GROUP_SIZE,
    MAX_LIMIT,
    BatchHits,
    BatchSearchAnswer,
    BatchSearchRequest,
    Hit,
    Query,
    SearchAnswer,
    SearchOptions,
    SearchRequest,
)

__all__ = [
    "MAX_BATCH",
    "MAX_DELETED",
    "MAX_EXCLUDED",
    "MAX_GROUP_SIZE",
    "MAX_LIMIT",
    "MAX_PAYLOAD_LEVELS",
    "MAX_RAW_BATCH",
    "AdmissionReport",
    "BatchHits",
    "BatchSearchAnswer",
    "BatchSearchRequest",
    "CreateGalleryRequest",
    "DamagedGallery",
    "DeleteAnswer",
    "DeleteItemsAnswer",
    "DeleteItemsRequest",
    "EncoderDescription",
    "EncoderList",
    "GalleryDescription",
    "GalleryList",
    "GalleryName",
    "Health",
    "Hit",
    "Item",
    "ItemId",
    "ItemPage",
    "ItemToStore",
    "Payload",
    "Query",
    "RawItem",
    "RawUpsertHeader",
    "ScoreDistribution",
    "SearchAnswer",
    "SearchOptions",
    "SearchRequest",
    "UpsertAnswer",
    "UpsertRequest",
    "Vector",
]
