"""Talk to an Askew server from asyncio: the whole client."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from numpy.typing import ArrayLike

from askew_client._async.blocking import run_blocking
from askew_client._async.write_client import AsyncWriteClient
from askew_client.calls import encoders as encoder_calls
from askew_client.calls import galleries as gallery_calls
from askew_client.calls import health as health_calls
from askew_client.calls import keys as key_calls
from askew_client.calls import offline_packs as pack_calls
from askew_client.calls import replication as replication_calls
from askew_client.calls import snapshots as snapshot_calls
from askew_client.calls.bodies import PhotoFile
from askew_client.contract.encoders import EncoderDescription, Probe, ProbeList, ProbeRemoved, Runtime
from askew_client.contract.galleries import AliasAnswer, AliasList, Deleted, GalleryDescription
from askew_client.contract.health import Promotion, ReplicationStatus
from askew_client.contract.indexes import IndexDescription, WantedKind
from askew_client.contract.jobs import ChangeTeacherEstimate, Job, RedescribeEstimate
from askew_client.contract.keys import CreatedKey, KeyList, RevokedKey, Scope
from askew_client.contract.manifest import Manifest
from askew_client.contract.snapshots import DeletedSnapshot, SnapshotList
from askew_client.transport.downloads import Download, snapshot_check


class AsyncClient(AsyncWriteClient):
    """A server, by its URL. Use it in an `async with` statement. Its calls may be awaited together, in one event loop.

    Every method raises ServerUnreachable if no answer arrives, ProblemError (or one of its kinds: Unauthorised,
    Forbidden, SpaceMismatch, NotFound, EncoderRefused, Overloaded) if the server refuses, ServerError if the answer is
    not Askew's, ClientMisused once the client is closed.
    """

    async def create_gallery(self, name: str, teacher: str | Path | Manifest) -> GalleryDescription:
        """Create a gallery in its teacher's space. Repeating the call changes nothing.

        `teacher`: its encoder file, which the server keeps and describes photos with, or only its manifest. Raises
        NotAnEncoder if the file cannot be read.
        """
        return await self._connections.run(gallery_calls.create_gallery(name, teacher))

    async def delete_gallery(self, name: str) -> Deleted:
        """Delete a gallery and everything in it. Refused for the default gallery, and while an alias names it."""
        return await self._connections.run(gallery_calls.delete_gallery(name))

    async def estimate_redescription(self, name: str, *, into: str) -> RedescribeEstimate:
        """Estimate how long it would take to re-describe a gallery's photos with the teacher of the gallery `into`."""
        return await self._connections.run(gallery_calls.estimate_redescription(name, into))

    async def redescribe(self, name: str, *, into: str) -> Job:
        """Re-describe a gallery's photos with the teacher of the gallery `into`, and fill that gallery: see `wait`."""
        return await self._connections.run(gallery_calls.redescribe(name, into))

    async def estimate_teacher_change(self, alias: str, *, to: str) -> ChangeTeacherEstimate:
        """Estimate how long `change_teacher` would take, and which items and encoders it concerns."""
        return await self._connections.run(gallery_calls.estimate_teacher_change(alias, to))

    async def change_teacher(
        self, alias: str, *, to: str, accept_loss: bool = False, hold_seconds: int = 10, switch: bool = True
    ) -> Job:
        """Describe the photos of an alias's gallery with the teacher of the gallery `to`, and switch the alias: see `wait`.

        Searches and writes go on meanwhile. For the last changes, writes are refused (503, Overloaded) for `hold_seconds`
        at most, 1 to 60. What was acknowledged is in the new gallery; the old one is kept. The same call again goes on with
        it. `accept_loss`: also if items cannot be described. `switch`: False: all but the switch. The job's result is a
        ChangeTeacherResult. Raises Conflict, UnknownAlias, UnknownGallery.
        """
        call = gallery_calls.change_teacher(
            alias, to, accept_loss=accept_loss, hold_seconds=hold_seconds, switch=switch
        )
        return await self._connections.run(call)

    async def choose_index(self, gallery: str, kind: WantedKind) -> IndexDescription:
        """Choose the kind of index. If that changes it, it is rebuilt in the background; searches continue."""
        return await self._connections.run(gallery_calls.choose_index(gallery, kind))

    async def rebuild_index(self, gallery: str) -> Job:
        """Rebuild the index in the background, without removed vectors: see `wait`. Searches continue."""
        return await self._connections.run(gallery_calls.rebuild_index(gallery))

    async def aliases(self) -> AliasList:
        """All aliases, and the gallery that each one names."""
        return await self._connections.run(gallery_calls.aliases())

    async def set_alias(self, alias: str, gallery: str) -> AliasAnswer:
        """Point an alias at a gallery, atomically. `previous` in the answer is the gallery that it named before."""
        return await self._connections.run(gallery_calls.set_alias(alias, gallery))

    async def delete_alias(self, alias: str) -> Deleted:
        """Delete an alias; its gallery stays."""
        return await self._connections.run(gallery_calls.delete_alias(alias))

    async def admit(self, encoder: str | Path, *, gallery: str) -> EncoderDescription:
        """Ask a gallery to admit a student's encoder file. Raises EncoderRefused (with the gate's report), NotAnEncoder."""
        return await self._connections.run(encoder_calls.admit(encoder, gallery=gallery))

    async def retire_encoder(self, encoder_id: str, *, gallery: str) -> EncoderDescription:
        """Retire a student. The gallery refuses its queries from the next request on."""
        return await self._connections.run(encoder_calls.retire(encoder_id, gallery=gallery))

    async def set_default_encoder(self, encoder_id: str, *, gallery: str, runtime: Runtime) -> EncoderDescription:
        """Make an encoder the default of a runtime: the answer of `best_encoder` wherever it fits."""
        return await self._connections.run(encoder_calls.set_default(encoder_id, runtime, gallery=gallery))

    async def put_probe(
        self,
        probe_id: str,
        photo: PhotoFile,
        *,
        gallery: str,
        vector: ArrayLike | None = None,
        space: str | None = None,
    ) -> Probe:
        """Add or replace a photo that the gate shows to every candidate. A probe is not an item of the gallery.

        `vector` and `space`: as for `upsert_photo`. Raises UnreadablePhoto, WireError.
        """
        call = encoder_calls.put_probe(probe_id, photo, gallery=gallery, vector=vector, space=space)
        return await self._connections.run(call)

    async def probes(self, *, gallery: str) -> ProbeList:
        """The probe set of a gallery, by id."""
        return await self._connections.run(encoder_calls.probes(gallery=gallery))

    async def delete_probe(self, probe_id: str, *, gallery: str) -> ProbeRemoved:
        """Remove a photo from the probe set."""
        return await self._connections.run(encoder_calls.delete_probe(probe_id, gallery=gallery))

    async def snapshots(self, *, gallery: str) -> SnapshotList:
        """The snapshots of a gallery, newest first."""
        return await self._connections.run(snapshot_calls.snapshots(gallery=gallery))

    async def create_snapshot(self, *, gallery: str) -> Job:
        """Make a snapshot of a gallery in the background: see `wait`. The job's result is the Snapshot."""
        return await self._connections.run(snapshot_calls.create_snapshot(gallery=gallery))

    async def download_snapshot(self, name: str, path: str | Path, *, gallery: str) -> Path:
        """Fetch a snapshot file to `path`; it is verified before it replaces an existing file.

        Returns the path. Raises DamagedSnapshot if its SHA-256 is not the one that the server states.
        """
        with Download(Path(path)) as download:
            await self._connections.download(snapshot_calls.snapshot_file(name, gallery=gallery), download)
            return await run_blocking(download.keep, snapshot_check(download, self.url))

    async def delete_snapshot(self, name: str, *, gallery: str) -> DeletedSnapshot:
        """Delete a snapshot."""
        return await self._connections.run(snapshot_calls.delete_snapshot(name, gallery=gallery))

    async def verify_snapshot(self, name: str, *, gallery: str) -> Job:
        """Read a whole snapshot and check every digest in it, in the background: see `wait`."""
        return await self._connections.run(snapshot_calls.verify_snapshot(name, gallery=gallery))

    async def restore(self, name: str, *, gallery: str, snapshot: str) -> Job:
        """Create the gallery `name` from a snapshot of `gallery`, in the background: see `wait`."""
        return await self._connections.run(snapshot_calls.restore(name, gallery=gallery, snapshot=snapshot))

    async def restore_file(self, name: str, file: str | Path) -> Job:
        """Create the gallery `name` from a snapshot file, in the background: see `wait`. Raises DamagedSnapshot."""
        return await self._connections.run(snapshot_calls.restore_file(name, file))

    async def allow_offline_pack(
        self,
        fields: Sequence[str],
        *,
        gallery: str,
        thumbnails: int = 0,
        code_bytes: int | None = None,
        refresh_minutes: int = 60,
    ) -> Job:
        """Allow an offline pack of a gallery, say what may leave the server, and make it in the background: see `wait`.

        `fields`: names of top-level payload members. `thumbnails`: their longest side in pixels, 0 for none. `code_bytes`:
        of the code of a vector; None: chosen by measurement. `refresh_minutes`: how old the pack of a changed gallery may
        be before a device that asks causes a new one; 0: made on request only. The job's result is an OfflinePackResult.
        """
        call = pack_calls.allow_offline_pack(
            fields, gallery=gallery, thumbnails=thumbnails, code_bytes=code_bytes, refresh_minutes=refresh_minutes
        )
        return await self._connections.run(call)

    async def make_offline_pack(self, *, gallery: str) -> Job:
        """Make the offline pack of a gallery again, in the background: see `wait`. Raises NotFound if none is allowed."""
        return await self._connections.run(pack_calls.make_offline_pack(gallery=gallery))

    async def withdraw_offline_pack(self, *, gallery: str) -> Deleted:
        """Allow no offline pack any more; devices delete their copy when they next ask. Raises NotFound."""
        return await self._connections.run(pack_calls.withdraw_offline_pack(gallery=gallery))

    async def create_key(
        self,
        name: str,
        scopes: Sequence[Scope],
        *,
        galleries: Sequence[str] | None = None,
        requests_per_second: float | None = None,
        expires_at: datetime | None = None,
    ) -> CreatedKey:
        """Create an API key. `key` in the answer is the text to send; the server never shows it again.

        `name`: a description for people. `scopes`: search, write or admin. `galleries`: those that the key may use;
        None: all. `requests_per_second`: None: unlimited. `expires_at`: with a time zone; None: never.
        """
        call = key_calls.create_key(
            name, scopes, galleries=galleries, requests_per_second=requests_per_second, expires_at=expires_at
        )
        return await self._connections.run(call)

    async def keys(self) -> KeyList:
        """The descriptions of all keys, oldest first; never the keys themselves."""
        return await self._connections.run(key_calls.keys())

    async def revoke_key(self, key_id: str) -> RevokedKey:
        """Revoke a key. It stops working with the next request."""
        return await self._connections.run(key_calls.revoke_key(key_id))

    async def replication(self) -> ReplicationStatus:
        """Whether the server is a primary or a read replica, its epoch, and how far behind each gallery is."""
        return await self._connections.run(replication_calls.replication())

    async def promote(self, *, accept_loss: bool = False, address: str | None = None) -> Promotion:
        """Make a read replica the primary. The old one is told to take no more changes, and its last ones are copied first.

        `accept_loss`: also if changes are known to be missing. `address`: of this server, which the old primary then names.
        Raises Conflict.
        """
        return await self._connections.run(replication_calls.promote(accept_loss=accept_loss, address=address))

    async def metrics(self) -> str:
        """The server's metrics in Prometheus's text format."""
        return await self._connections.run(health_calls.metrics())
