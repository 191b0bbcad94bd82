"""What a CSV or JSONL file says about photos. Every line ends in one count, whatever is wrong with the others."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from askew_client.cli.taken import Intake
from askew_client.contract.common import ItemId, Payload
from askew_client.errors import AskewError
from askew_server.ingest.column_types import AUTO, choose_type, read_types, read_value
from askew_server.ingest.csv_records import Record, read_records

JSONL_SUFFIXES = (".jsonl", ".ndjson")

NOT_UTF8 = "bytes that are not UTF-8"
NO_FILE_NAMED = "no file is named"
BAD_ID = "an id that an item cannot have"
EMPTY = "empty"

_ID: TypeAdapter[str] = TypeAdapter(ItemId)
_PAYLOAD: TypeAdapter[Payload] = TypeAdapter(Payload)


@dataclass
class PayloadLine:
    """What one line says about the photo `file`. `id`: "" if it names none. `problem`: why the line cannot be used."""

    number: int
    file: str
    id: str = ""
    payload: Payload = field(default_factory=dict)
    problem: str = ""


@dataclass
class PayloadLines:
    """The lines of a file that name a photo, and the counts of all of them. `types`: of a CSV's columns; `has_types`: whether
    they were asked for.

    `lines`: those that cannot be used are counted; the others are counted by whoever looks for their photos.
    `fields`: what was taken from lines that are used, and what was not.
    """

    path: Path
    found: list[PayloadLine] = field(default_factory=list)
    lines: Intake = field(default_factory=lambda: Intake("lines"))
    fields: Intake = field(default_factory=lambda: Intake("fields"))
    types: dict[str, str] = field(default_factory=dict)
    has_types: bool = False

    def add(self, line: PayloadLine) -> None:
        """Take a line, or count it as skipped if it cannot be used; a photo that it names is then skipped, too."""
        if not line.problem and line.id and not _is_id(line.id):
            line.problem = BAD_ID
        if not line.problem and not line.file:
            line.problem = NO_FILE_NAMED
        if line.problem:
            self.lines.skip(f"line {line.number}", line.problem, self.sentence(line))
        if line.file:
            self.found.append(line)

    def sentence(self, line: PayloadLine) -> str:
        """What is wrong with a line."""
        named = f" ({line.file[:200]})" if line.file else ""
        return f"Line {line.number} of {self.path}{named}: {line.problem}."


def read_payload_lines(path: Path, types: Sequence[str]) -> PayloadLines:
    """The lines of a CSV with a column `file`, or of a JSONL file of objects with a member `file`.

    `types`: see read_types. Raises AskewError for a file that cannot be read, a CSV without the column `file`, and types
    of columns that it does not have.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AskewError(f"The payloads in {path} cannot be read: {error.strerror}. Check the path.") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise AskewError(f"The payloads in {path} are in UTF-16. Expected UTF-8: save the file as `CSV UTF-8`.")
    # Bytes that are not UTF-8 become lone surrogates, by which their lines are known later.
    text = content.decode("utf-8-sig", "surrogateescape")
    read = PayloadLines(path)
    if path.suffix.lower() in JSONL_SUFFIXES:
        if types:
            raise AskewError(f"{path} is JSONL, whose values have types already. Leave --payload-types out.")
        # Not splitlines(): JSON texts may hold other characters that it takes for ends of lines.
        for number, each in enumerate(text.split("\n"), start=1):
            if each.strip():
                read.add(_read_object(number, each))
            elif number <= text.count("\n"):
                read.lines.leave_out(f"line {number}", EMPTY)
        return read
    _read_csv(text, read, read_types(types))
    return read


def _read_object(number: int, text: str) -> PayloadLine:
    if not _is_text(text):
        return PayloadLine(number, "", problem=NOT_UTF8)
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        return PayloadLine(number, "", problem=f"no JSON ({error})")
    if not isinstance(value, dict):
        return PayloadLine(number, "", problem="no JSON object")
    file, identity = value.pop("file", ""), value.pop("id", "")
    if not isinstance(file, str):
        return PayloadLine(number, "", problem="`file` is no text")
    if isinstance(identity, int) and not isinstance(identity, bool):
        identity = str(identity)
    if not isinstance(identity, str):
        return PayloadLine(number, file, problem="`id` is no text")
    try:
        return PayloadLine(number, file, identity, _PAYLOAD.validate_python(value))
    except ValidationError as error:
        return PayloadLine(number, file, problem=f"no payload ({error.errors(include_url=False)[0]['msg']})")


def _read_csv(text: str, read: PayloadLines, types: Mapping[str, str]) -> None:
    records = read_records(list(io.StringIO(text, newline="")))
    header = next(records, Record(1, []))
    names = [name.strip() for name in header.fields]
    if header.problem or "file" not in names:
        hint = " Its fields are separated by `;`; expected commas." if ";" in "".join(names) else ""
        raise AskewError(
            f"Expected a column `file` in {read.path}, got the columns {[name[:40] for name in names]}. Name the column of "
            f"photos `file`.{hint}"
        )
    rows = list(_rows(records, read))
    columns = _columns(names, rows, read)
    unknown = set(types) - set(columns) - {""}
    if unknown:
        raise AskewError(
            f"--payload-types names {', '.join(sorted(unknown))}, which {read.path} does not have as payload. Its columns are "
            f"{', '.join(columns) or 'none'}."
        )
    used = [row.fields for row in rows if not row.problem]
    read.types = {name: types.get(name, "text") for name in columns}
    read.has_types = bool(types)
    if AUTO in types.values():
        chosen = {name: choose_type(row[at] for row in used if row[at].strip()) for name, at in columns.items()}
        read.types = {name: types.get(name, chosen[name]) for name in columns}
    file, identity = names.index("file"), names.index("id") if "id" in names else None
    for row in rows:
        line = PayloadLine(row.line, row.fields[file] if file < len(row.fields) else "", problem=row.problem)
        if not row.problem:
            if identity is not None:
                line.id = row.fields[identity].strip()
                if not line.id and line.file:
                    read.fields.leave_out(f"line {row.line}, id", "empty ids: the id is the photo's path in the folder")
            line.payload = dict(_values(row, columns, read))
        elif not _is_text(line.file):
            line.file = ""
        read.add(line)


def _rows(records: Iterator[Record], read: PayloadLines) -> Iterator[Record]:
    """The records that are not empty, with their problems."""
    for record in records:
        if not record.problem and not any(field.strip() for field in record.fields):
            read.lines.leave_out(f"line {record.line}", EMPTY)
        elif not all(map(_is_text, record.fields)):
            yield Record(record.line, record.fields, NOT_UTF8)
        else:
            yield record


def _columns(names: list[str], rows: list[Record], read: PayloadLines) -> dict[str, int]:
    """The position of each column that becomes a member of the payload; the others are counted if they hold anything."""
    columns: dict[str, int] = {}
    for at, name in enumerate(names):
        if name and name not in names[:at] and _is_text(name):
            if name not in {"file", "id"}:
                columns[name] = at
        elif any(not row.problem and row.fields[at].strip() for row in rows):
            reason = "columns whose name is taken" if name in names[:at] and name else "columns without a name in UTF-8"
            read.fields.skip(f"column {at + 1} {name[:80]!r}" if name else f"column {at + 1}", reason)
    return columns


def _values(row: Record, columns: Mapping[str, int], read: PayloadLines) -> Iterator[tuple[str, JsonValue]]:
    """The members of a payload. An empty field is none, and one that does not fit its type is counted."""
    for name, at in columns.items():
        text = row.fields[at]
        if not text or (read.types[name] != "text" and not text.strip()):
            continue
        try:
            yield name, read_value(read.types[name], text)
        except ValueError as error:
            kind = read.types[name]
            sentence = (
                f"Line {row.line} of {read.path}, column {name[:80]!r}: {error}, got {text[:80]!r}. It is left out."
            )
            read.fields.skip(f"line {row.line}, {name}", f"values that are no {kind}", sentence)


def _is_text(text: str) -> bool:
    """Whether a text holds no bytes that were not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_id(text: str) -> bool:
    try:
        _ID.validate_python(text)
    except ValidationError:
        return False
    return True
