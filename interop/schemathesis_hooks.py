"""Lets Schemathesis look into answers that are text, and send real IPNS records beside random bytes."""

from pathlib import Path

import schemathesis
from hypothesis import strategies

IPNS_RECORD = "application/vnd.ipfs.ipns-record"
RECORDS = Path(__file__).parent.parent / "tests" / "fixtures" / "ipns"


@schemathesis.deserializer("application/x-ndjson", "text/plain")
def text(context, response):
    return response.content.decode()


schemathesis.serializer.alias(IPNS_RECORD, "application/octet-stream")

records = [path.read_bytes() for path in sorted(RECORDS.glob("*.ipns-record"))]
schemathesis.openapi.media_type(
    IPNS_RECORD, strategies.sampled_from(records) | strategies.binary(max_size=12_000)
)
