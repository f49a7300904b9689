# `just check` is what CI runs; the other recipes are its parts. The work itself is in .ci/run.

# Everything that CI checks.
check:
    .ci/run

# Unit, integration and layout tests.
test:
    .ci/run test

# Formatting and clippy, warnings denied.
lint:
    .ci/run format lint

# The documentation builds without a warning.
docs:
    .ci/run docs

# Licences, duplicate versions and sources of the dependencies.
deny:
    .ci/run deny

# kill -9 again and again; CRASH_ROUNDS says how often.
crash:
    .ci/run crash

# Helia, Chromium, boxo, Kubo and the OpenAPI document against the running server.
interop:
    .ci/run interop

# A short run of each fuzz target; FUZZ_SECONDS sets how long each takes.
fuzz:
    .ci/run fuzz

# Criterion benchmarks.
bench *arguments:
    cargo bench {{ arguments }}

# The tests five times beside a program that takes all cores.
stress:
    .ci/run stress

# Every part at length.
full:
    .ci/run full

# Figures of the source tree.
table:
    .ci/run table
