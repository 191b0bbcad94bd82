"""Askew on the query side: describe a photo in a teacher's space, and search a gallery with the vector."""

from askew_client.async_client import AsyncClient
from askew_client.client import Client
from askew_client.contract.manifest import Manifest
from askew_client.encoder import Encoder
from askew_client.errors import AskewError

__all__ = ["AskewError", "AsyncClient", "Client", "Encoder", "Manifest"]
