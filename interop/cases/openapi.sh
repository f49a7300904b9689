# Schemathesis reads specs/openapi.yaml and makes requests from it, valid and broken ones; every
# answer must have a status, headers and a body that the document allows.
set -euo pipefail

repository=$PWD
requirements=$repository/interop/requirements.txt
environment=$INTEROP_FOLDER/python-$(sha256sum <"$requirements" | cut -c 1-12)

# The mark is set last, so that a broken download is tried again.
if [ ! -e "$environment/complete" ]; then
  rm -rf "$environment"
  python3 -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
    --requirement "$requirements"
  touch "$environment/complete"
fi

# Deterministic: the same document and server give the same result, so that a red run can be had
# again; the random search is the work of the fuzz targets. The tool leaves folders of its own
# where it runs.
cd "$INTEROP_FOLDER"
export SCHEMATHESIS_HOOKS=$repository/interop/schemathesis_hooks.py PYTHONDONTWRITEBYTECODE=1
"$environment/bin/schemathesis" --config-file "$repository/interop/schemathesis.toml" \
  run "$repository/specs/openapi.yaml" --url "$BASE_URL" --no-color \
  --phases examples,coverage,fuzzing,stateful --generation-deterministic \
  --max-examples 100 --request-timeout 10 --continue-on-failure
