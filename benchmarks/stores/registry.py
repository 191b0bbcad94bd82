"""All stores by the names that the command takes."""

from __future__ import annotations

from stores.chroma import Chroma
from stores.lance import Lance
from stores.libraries import Hnswlib, Usearch
from stores.milvus import MilvusLite
from stores.postgres import Pgvector
from stores.qdrant import QdrantLocal
from stores.store import Store

STORES: dict[str, type[Store]] = {
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "pgvector": Pgvector,
    "milvus-lite": MilvusLite,
    "chroma": Chroma,
    "lancedb": Lance,
    "qdrant-local": QdrantLocal,
}
