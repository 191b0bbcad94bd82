"""The facts of a gallery: its space, dimension, teacher, and whether they agree."""

from __future__ import annotations

from pydantic import ValidationError

from askew_client.contract.manifest import Manifest


def examine_facts(facts: dict[str, str]) -> str | None:
    """What is wrong with the facts of a gallery; None for those that hold together."""
    try:
        teacher = Manifest.model_validate_json(facts.get("teacher", ""))
    except ValidationError as error:
        return f"its teacher's manifest does not hold together ({error.errors()[0]['msg'][:200]})"
    if (facts.get("space"), facts.get("dim")) != (teacher.space_id, str(teacher.dim)):
        stated = f"{str(facts.get('space'))[:40]}, {str(facts.get('dim'))[:10]} values"
        return f"it names the space {stated}, its teacher {teacher.space_id}, {teacher.dim} values"
    if not facts.get("sequence", "").isdecimal():
        return f"its sequence number is {facts.get('sequence', '')[:20]!r}"
    return None
