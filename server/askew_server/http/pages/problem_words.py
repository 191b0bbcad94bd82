"""What each kind of problem means, an example of it, and what to do: the words of `GET /problems/{slug}`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from askew_client.contract.problems import ProblemKind as Kind


@dataclass(frozen=True)
class Words:
    """About one kind of problem. `example`: a situation, or the `detail` of such a problem."""

    meaning: str
    example: str
    remedy: str


def words_of(kind: Kind) -> Words:
    """The words for a kind; its title, and what holds for every problem, where it has none of its own."""
    return WORDS.get(kind) or Words(
        f"{kind.title}.",
        f"HTTP status {kind.status}, with `type` ending in `/problems/{kind.slug}`.",
        "Read `detail`: it says what was expected, what came, and what to do.",
    )


WORDS: Mapping[Kind, Words] = {
    Kind.ANSWER_TOO_LARGE: Words(
        "The answer would have more bytes than the server sends at once. It was counted before the payloads were read, so "
        "nothing was sent.",
        "A batch of 300 queries with limit 1,000, over items whose payloads have 2 kB each.",
        "Ask for less: a smaller `limit`, fewer queries in a batch, only some payload fields (`with_payload`), no vectors. "
        "`bytes` is about what the answer would have, `limit` what the server allows (ASKEW_MAX_ANSWER_BYTES).",
    ),
    Kind.OUT_OF_DESCRIPTORS: Words(
        "The operating system lets the server open no further files and connections at the moment. The disk and the data "
        "are in order.",
        "The server was started with `ulimit -n 256` and serves many galleries and connections.",
        "Try again in a second. If it happens often, start the server with a higher limit on open files (`ulimit -Hn`, or "
        "LimitNOFILE in a systemd unit), or with a lower ASKEW_MAX_CONNECTIONS.",
    ),
    Kind.OUT_OF_MEMORY: Words(
        "The server got no memory, or no further thread, for this request. Others are answered.",
        "A container has a limit on memory that is hardly larger than its galleries.",
        "Try again in a second. If it happens often, give the server more memory, or let it do less at once "
        "(ASKEW_MAX_WAITING, ASKEW_MAX_ANSWERS_BYTES).",
    ),
    Kind.READ_REPLICA: Words(
        "The server is a read replica: it copies another server, the primary, and answers searches. Only the primary takes "
        "changes.",
        "A script that uploads photos was given the address of a replica.",
        "Send the change to `primary`. If that server is gone for good, an administrator promotes a replica (`askew replica "
        "promote`).",
    ),
    Kind.SUPERSEDED: Words(
        "The server was the primary until a replica was promoted in its place. It takes no more changes, because those would "
        "be on no other server.",
        "The primary's machine failed, its replica was promoted, and then the machine came back.",
        "Send the change to the new primary (`primary`, if this server knows its address). The administrator starts this "
        "server again with --follow and that address.",
    ),
    Kind.REPLICA_REFUSED: Words(
        "One server cannot follow the other, or cannot take its place: they run different versions, or each holds changes that "
        "the other one never had.",
        "The primary was upgraded, and the replica was not yet.",
        "Do what `detail` says. Nothing was merged, and nothing is lost.",
    ),
    Kind.REPLICA_BEHIND: Words(
        "The replica is known to lack changes that its primary has acknowledged. They would be lost if it became the primary.",
        "The primary failed while the replica was copying a gallery for the first time.",
        "Promote another replica, or start the old primary again and let this one catch up. `--accept-loss` promotes it all the "
        "same.",
    ),
    Kind.SPACE_MISMATCH: Words(
        "The vector comes from another vector space than the gallery's. Both may have as many dimensions, but scores "
        "between them mean nothing, so the server does not compute any.",
        "An app still has the student of a teacher that the gallery was moved away from.",
        "Fetch an encoder that is admitted to this gallery (`GET /v1/encoders/best`, or one of `admitted_encoders`), and "
        "describe the photo again. `expected` and `received` name the two spaces.",
    ),
    Kind.SPACE_MISSING: Words(
        "The request holds a vector, but does not name the space that it comes from. Without it the server cannot tell "
        "whether the vector belongs to this gallery.",
        "A raw vector was sent without the header Askew-Space, or JSON without `space`.",
        "Send the `space_id` of the encoder that described the photo. The encoder's manifest has it.",
    ),
    Kind.DIMENSION_MISMATCH: Words(
        "The vector has more or fewer values, or bytes, than the gallery's vectors.",
        "4,096 bytes of float16 were sent to a gallery of 1,280 dimensions, whose vectors have 2,560.",
        "Send the whole output of the encoder, once. `GET /v1/galleries/{gallery}` tells the gallery's `dim`; check that "
        "the stated dtype is the one that was written.",
    ),
    Kind.NOT_NORMALISED: Words(
        "The vector's length differs from 1 by more than 0.01. Scores are inner products of unit vectors.",
        "The output of a network was sent before it was divided by its length, or its bytes were read in another order.",
        "Divide the vector by its Euclidean length. Encoder files do that themselves: send their output unchanged.",
    ),
    Kind.NOT_FINITE: Words(
        "The vector holds NaN or infinite values, which cannot be compared with anything.",
        "A network ran in half precision and overflowed.",
        "Run the encoder in float32 and check its golden vectors on this device. `position` is that of the first such value.",
    ),
    Kind.UNSUPPORTED_DTYPE: Words(
        "The vector's dtype is missing, or is neither `f16le` nor `f32le`. The names include the order of the bytes.",
        "A raw vector was sent without the header Askew-Dtype.",
        "Send `f16le` (2 bytes a value) or `f32le` (4 bytes a value).",
    ),
    Kind.UNSUPPORTED_MEDIA: Words(
        "This path does not take a body of that content type.",
        "JSON was sent with curl's own type, application/x-www-form-urlencoded.",
        "Set the header Content-Type to what `expected` says, and send the body uncompressed.",
    ),
    Kind.UNREADABLE_PHOTO: Words(
        "The file that was sent is not a photo that can be described: it is empty, cut off, of another format, too thin, "
        "or has too many pixels.",
        "An upload was interrupted, so that the JPEG lacks its end.",
        "Open the file in another program. Save it as JPEG, PNG or WebP, at least 32 pixels high and wide, and send it "
        "again. `reason` names the check that failed.",
    ),
    Kind.UNKNOWN_GALLERY: Words(
        "No gallery and no alias of this name is served.",
        "`POST /search` was sent to a server whose default gallery has not been made yet.",
        "Look at `GET /v1/galleries` for the names that your key may see. `PUT /v1/galleries/{gallery}` or "
        "`askew index` makes a gallery, `askew serve --gallery` chooses the default one.",
    ),
    Kind.UNKNOWN_ITEM: Words(
        "The gallery holds no item of this id, or the item has no photo.",
        "The item was deleted after a search had found it, or the `/` in its id was not written as `%2F`.",
        "Percent-encode the id as one segment of the path. `GET /v1/galleries/{gallery}/items` lists the ids.",
    ),
    Kind.UNKNOWN_ENCODER: Words(
        "The gallery keeps no file of this encoder, or knows no encoder of this name and version.",
        "The gallery was filled with vectors that were described elsewhere, so it has no teacher file.",
        "`GET /v1/encoders` lists the encoders that can be fetched, as `name@version`.",
    ),
    Kind.UNKNOWN_JOB: Words(
        "The server remembers no job of this id.",
        "The job ended long ago and made room for newer ones.",
        "`GET /v1/jobs` lists the jobs that the server remembers.",
    ),
    Kind.UNKNOWN_ALIAS: Words(
        "There is no alias of this name. A gallery's own name is no alias.",
        "The alias was deleted already.",
        "`GET /v1/aliases` lists the aliases and what they name.",
    ),
    Kind.UNKNOWN_KEY: Words(
        "The server has no key of this id.",
        "The key itself (`ask_…`) was sent in the place of its id.",
        "`GET /v1/keys` lists the keys with their ids.",
    ),
    Kind.UNKNOWN_SNAPSHOT: Words(
        "The gallery has no snapshot of this name.",
        "Only the newest snapshots are kept, and this one was deleted.",
        "`GET /v1/galleries/{gallery}/snapshots` lists them.",
    ),
    Kind.NO_OFFLINE_PACK: Words(
        "There is no pack of this gallery for devices without a network: it may not have one, or it is being made.",
        "An app asks for the pack in the minute after it was allowed.",
        "Look at `allowed`. If it is false, an operator decides what may leave the server (`askew gallery pack`). "
        "If it is true, ask again when the job in `building` is done.",
    ),
    Kind.UNKNOWN_PATH: Words(
        "The server has no call at this path.",
        "`/v1/gallery` instead of `/v1/galleries`, or a path that lacks the prefix of a proxy.",
        "`/docs` and `/openapi.json` list the paths. Ids and names are one percent-encoded segment each.",
    ),
    Kind.METHOD_NOT_ALLOWED: Words(
        "The path exists, but not with this HTTP method.",
        "`GET /search`, which takes only POST.",
        "Use one of the methods in the header Allow.",
    ),
    Kind.GALLERY_CONFLICT: Words(
        "A gallery of this name exists, with another teacher or in another state than this call needs; or the file is a "
        "student, which cannot describe a gallery.",
        "`PUT /v1/galleries/birds` with a new teacher, while `birds` was described by another one.",
        "Choose another name, and move to the new gallery by an alias. A gallery keeps its teacher for life.",
    ),
    Kind.GALLERY_IN_USE: Words(
        "The gallery cannot be deleted or refilled, because an alias names it, searches go to it by default, or a job "
        "works on it.",
        "`DELETE` of the gallery that `POST /search` answers from.",
        "Move the alias, or wait for the job, and try again. `detail` says which it is.",
    ),
    Kind.ALIAS_CONFLICT: Words(
        "The name is that of a gallery or of an alias already. A name means one thing.",
        "An alias `birds` while there is a gallery `birds`.",
        "Choose another name. `GET /v1/galleries` and `GET /v1/aliases` list those that are taken.",
    ),
    Kind.GALLERY_HELD: Words(
        "The teacher of the gallery's alias is being changed, and the last changes are being described with the new one. For "
        "these seconds the gallery takes no changes; searches are answered. Nothing was changed.",
        "A photo is uploaded through an alias in the moment in which it is switched to another gallery.",
        "Send the change again after the seconds that `Retry-After` names. The hold ends then at the latest, whatever becomes of "
        "the change of teacher.",
    ),
    Kind.ITEMS_WOULD_BE_LOST: Words(
        "A new teacher describes photos. Items without a photo, or with one that cannot be described, would be missing from the "
        "new gallery, so the alias was not switched to it.",
        "Some items of the gallery were written with their vectors alone.",
        "Read `items_without_photo` and `refused`. Give these items photos, delete them, or accept the loss (`accept_loss`).",
    ),
    Kind.JOB_CONFLICT: Words(
        "The job is in a state in which it cannot do this, mostly because it has ended.",
        "Cancelling a job that was done a moment ago.",
        "Read `state`; nothing needs to be done if the job has ended as you wished.",
    ),
    Kind.VERIFICATION_FAILED: Words(
        "What a job made did not pass its final check, so it was not put to use. What was there before is untouched.",
        "Re-described items do not find themselves in the new gallery.",
        "Read `detail` and the server's log. Check the new teacher's golden vectors, then start the job again.",
    ),
    Kind.ENCODER_NOT_ADMITTED: Words(
        "The query names an encoder that this gallery has not admitted, or has retired. Its vectors may claim the right "
        "space, but nobody has measured whether they land there.",
        "An app searches with a student that was retired last week.",
        "Fetch one of the `successors`, or `GET /v1/encoders/best`. An operator admits an encoder with `askew admit`.",
    ),
    Kind.ENCODER_CONFLICT: Words(
        "Another file with the same name and version is known already. A version names one file for ever.",
        "A student was trained again and exported under its old version.",
        "Export it with a new version, and admit that.",
    ),
    Kind.ENCODER_IN_USE: Words(
        "The encoder is the gallery's teacher, which described every item, so it cannot be retired.",
        "`DELETE …/encoders/{encoder_id}` with the teacher's name.",
        "Retire students only. To change the teacher, re-describe the gallery into another one.",
    ),
    Kind.NO_ENCODER_FITS: Words(
        "No encoder that is admitted to the gallery meets the limits of the device.",
        "`max_bytes=1000000`, where the smallest student has 6 MB.",
        "Raise the limit (`smallest` tells the smallest file), or train and admit a smaller student.",
    ),
    Kind.UNKNOWN_PROBE: Words(
        "The gallery's probe set has no photo of this id.",
        "The probe was removed already.",
        "`GET /v1/galleries/{gallery}/probes` lists the probes.",
    ),
    Kind.ENCODER_REFUSED: Words(
        "The student did not pass the admission gate: its vectors do not land where the teacher puts the same photos, so "
        "its queries would find the wrong things.",
        "A network with a copied `space_id`, or one that was trained for another teacher.",
        "Read `report`: it has each figure with the floor that it missed. Train longer, or against this gallery's teacher.",
    ),
    Kind.NOT_AN_ENCODER: Words(
        "The file is not an encoder: it is no ONNX file with Askew's manifest, it is damaged, or it cannot be run.",
        "A plain ONNX export of a network, without a manifest.",
        "Export it with `askew export`, which writes the manifest and checks the result. `reason` names what is wrong.",
    ),
    Kind.CANNOT_DESCRIBE: Words(
        "The gallery has no encoder file that could describe a photo, so it takes vectors only.",
        "A photo was sent to a gallery that was imported from vectors, with only its teacher's manifest.",
        "Describe the photo with a student and send the vector; or create the gallery with its teacher's file.",
    ),
    Kind.PHOTO_SEARCH_OFF: Words(
        "This server does not describe photos of searches. They are meant to stay on the device.",
        "`POST /search/photo` on a server that was started without --photo-search.",
        "Describe the photo where you are and send its vector; or ask the operator for `askew serve --photo-search`.",
    ),
    Kind.DAMAGED_SNAPSHOT: Words(
        "The file is not a snapshot of a gallery, or some of its bytes have changed.",
        "A download of the snapshot was cut off.",
        "Fetch the file again and compare its SHA-256. `askew snapshot verify` checks a file before it is sent.",
    ),
    Kind.VALIDATION: Words(
        "The request does not have the form that the call expects: a member is missing, unknown, of another type or out "
        "of its bounds.",
        "`limit` is 0, or a gallery's name has a capital letter.",
        "`errors` lists each fault with a pointer to it. `/docs` shows what the call takes.",
    ),
    Kind.INVALID_JSON: Words(
        "The body cannot be read as JSON.",
        "A quote is missing, or the body is empty.",
        "Send valid JSON in UTF-8, without NaN and Infinity. `detail` says where reading stopped.",
    ),
    Kind.PAYLOAD_TOO_LARGE: Words(
        "The body is larger than the server takes at this path.",
        "20,000 items in one request.",
        "Send it in several requests, or shrink the photo. The operator sets the limits (ASKEW_MAX_BODY_BYTES and others).",
    ),
    Kind.HEADERS_TOO_LARGE: Words(
        "The URL and headers together are too large, or there are too many headers.",
        "A filter of 40 kB in the query string.",
        "Put long options into a JSON body, and send fewer headers.",
    ),
    Kind.REQUEST_TIMEOUT: Words(
        "The request's headers or body took too long to arrive, and the server stopped waiting.",
        "A large upload over a slow or broken connection.",
        "Send it again, in smaller parts if it is large.",
    ),
    Kind.TOO_SLOW: Words(
        "The server did not finish its answer in time. A write may still have succeeded.",
        "A batch of 1,000 exact searches in a large gallery.",
        "Try again later, or ask for less at once. Read back what a write was meant to change.",
    ),
    Kind.UNAUTHORISED: Words(
        "The call needs a key of this server, and the request has none, an unknown one, or one that was revoked or has "
        "expired.",
        "The header Authorization is missing.",
        "Send `Authorization: Bearer ask_…`. The server's operator makes keys with `askew key create`.",
    ),
    Kind.FORBIDDEN: Words(
        "The key is known, but it may not do this: it lacks the scope, or is limited to other galleries; or, without keys, "
        "the request came from another site's page.",
        "A phone's key, which can only search, was used to delete an item.",
        "Use a key with the scope that `detail` names. The server's operator makes keys with `askew key create`.",
    ),
    Kind.RATE_LIMITED: Words(
        "The key has sent more requests than it may in this second.",
        "A script without pauses uses the key of a phone.",
        "Wait for as long as the header Retry-After says. The operator sets the rate when the key is made.",
    ),
    Kind.OVERLOADED: Words(
        "More requests wait than the server holds, so this one was refused at once instead of waiting in vain.",
        "A burst of searches while a gallery is being built.",
        "Try again after the seconds in Retry-After, and send fewer at the same time.",
    ),
    Kind.DAMAGED_GALLERY: Words(
        "Files of this gallery are damaged, so it is closed. All others are served.",
        "A disk returned other bytes than were written.",
        "The operator runs `askew doctor`, which names the file and what can be repaired, or restores a snapshot.",
    ),
    Kind.NOT_READY: Words(
        "The server is opening its galleries, is shutting down, or could not open them at all.",
        "A request in the seconds after a start.",
        "Try again in a second. If it stays so, `detail` and the server's log say why.",
    ),
    Kind.INSUFFICIENT_STORAGE: Words(
        "The server could not write to its disk. Nothing was half stored.",
        "The disk is full, or was mounted read-only after an error.",
        "Make room on the disk that holds DATA (old snapshots are the first to look at), and send the request again.",
    ),
    Kind.WOULD_NOT_FIT: Words(
        "The work would need more memory or disk than is free, so it was not begun.",
        "A snapshot of 40 GB, on a disk with 30 GB left.",
        "Make room, or choose a smaller form: `detail` has what is needed and what there is.",
    ),
    Kind.HTTP: Words(
        "The request is not one that can be answered, by the rules of HTTP rather than of this API.",
        "A control character in the path, or a range that the file does not have.",
        "Read `detail`. If you use a common HTTP client, look for a proxy that changes the request.",
    ),
    Kind.INTERNAL: Words(
        "The server failed. This is a fault of the server, not of the request.",
        "An error that nobody has foreseen.",
        "Try once more. If it happens again, give the operator the request id in `instance`: the log has the cause under it.",
    ),
}
