# shellcheck shell=bash
# The virtual environment: found or made, and filled with the pinned dependencies. Sourced; needs common.sh.

# find_python: prints a Python that is new enough; $PYTHON comes first when it is set.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        if have "$candidate" && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    die "HiveMind needs Python 3.11 or newer; found: $(python3 --version 2>&1 || true). Install one, or set PYTHON=/path/to/python3.11"
}

# Debian splits the standard library: venv and ensurepip come in a package of their own.
ensure_venv_module() {
    local python=$1 version
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then return 0; fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "Python's venv module is missing" "python$version-venv" ||
        die "python$version-venv could not be installed"
}

# What the environment depends on. The path is part of it, because scripts in an environment name it absolutely.
python_stamp() {
    { cat "$REPO/constraints.txt" "$REPO/pyproject.toml" && printf '%s' "$VENV"; } | sha256sum | cut -d' ' -f1
}

ensure_python() {
    local stamp python
    stamp=$(python_stamp)
    if [ "$(cat "$OWN/python.stamp" 2>/dev/null)" = "$stamp" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    # A copied tree brings an environment whose scripts point at the other tree; its interpreter tells.
    if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.prefix != sys.argv[1])' "$VENV" 2>/dev/null ||
        ! head -n 1 "$VENV/bin/pip" 2>/dev/null | grep -qF "$VENV/"; then
        python=$(find_python)
        ensure_venv_module "$python"
        say "python: making .venv with $("$python" --version 2>&1) ($python)"
        "$python" -m venv --clear "$VENV"
    fi
    say "python: installing HiveMind and its pinned dependencies into .venv (a minute or two the first time)"
    (cd "$REPO" && quietly retry 3 "$VENV/bin/python" -m pip install --disable-pip-version-check -q \
        -c constraints.txt -e '.[dev]') || die "pip could not install the dependencies (see above)"
    printf '%s\n' "$stamp" >"$OWN/python.stamp"
}

# A directory of wheels for the image that docker-compose.yml builds: the engine's own network may not reach a package
# index where this machine does. Made for the Python of the base image, which need not be this machine's.
make_wheelhouse() {
    local wheels="$REPO/wheelhouse" theirs ours stamp target=()
    theirs=$(docker run --rm --network none "$BASE_IMAGE" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    ours=$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    stamp="$(python_stamp) for $theirs"
    if [ "$(cat "$wheels/.stamp" 2>/dev/null)" = "$stamp" ]; then return 0; fi
    say "wheelhouse: collecting the dependencies' wheels for Python $theirs"
    rm -rf "$wheels"
    mkdir -p "$wheels"
    if [ "$theirs" != "$ours" ]; then
        target=(--python-version "$theirs" --implementation cp --abi "cp${theirs/./}" --abi abi3 --abi none
            --platform "manylinux_2_28_$(uname -m)" --platform "manylinux2014_$(uname -m)"
            --platform "manylinux_2_17_$(uname -m)" --platform any)
    fi
    "$VENV/bin/python" "$REPO/scripts/requirements.py" --all-pythons >"$wheels/requirements.txt"
    quietly retry 3 "$VENV/bin/python" -m pip download --disable-pip-version-check -q --only-binary :all: \
        "${target[@]}" -c "$REPO/constraints.txt" -d "$wheels" -r "$wheels/requirements.txt" ||
        die "pip could not collect the wheels (see above)"
    printf '%s\n' "$stamp" >"$wheels/.stamp"
}
