"""The JSON Schema of a line of records.jsonl, made from ``bench.record``.

python -m bench.schema > docs/record.schema.json
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bench.record import SCHEMA_VERSION, Record


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"twinbench record, schema {SCHEMA_VERSION}",
    }
    return {**head, **msgspec.json.schema(Record)}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
