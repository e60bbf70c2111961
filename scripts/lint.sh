# shellcheck shell=bash
# Every check that reads the code without running it. Sourced by dev; needs common.sh.

LINT_FAILED=()

# check NAME COMMAND…: all checks run, so that one run shows everything there is to mend.
check() {
    local name=$1
    shift
    say "lint: $name"
    "$@" || LINT_FAILED+=("$name")
}

lint() {
    cd "$REPO" || return 1
    local bin="$VENV/bin" shell_files=(dev .ci/run scripts/*.sh)
    check "ruff check" "$bin/ruff" check .
    check "ruff format" "$bin/ruff" format --check .
    check "mypy" "$bin/mypy"
    check "mypy, scripts" "$bin/mypy" scripts/*.py
    check "import-linter" "$bin/lint-imports" --no-cache
    check "generated code" "$bin/python" scripts/proto.py --check
    check "bash syntax" bash_syntax "${shell_files[@]}"
    if have shellcheck; then check "shellcheck" shellcheck "${shell_files[@]}"; fi
    [ "${#LINT_FAILED[@]}" -eq 0 ] || die "lint: not clean: $(printf '%s, ' "${LINT_FAILED[@]}" | sed 's/, $//')"
    say "lint: clean"
}

bash_syntax() {
    local file
    for file in "$@"; do bash -n "$file" || return 1; done
}
