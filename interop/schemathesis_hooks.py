"""Lets Schemathesis look into answers that are text: their schemas describe the text as it came."""

import schemathesis


@schemathesis.deserializer("application/x-ndjson", "text/plain")
def text(context, response):
    return response.content.decode()
