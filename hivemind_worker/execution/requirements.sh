# Started as: /bin/sh -c <this> hivemind PROGRAM…   Installs requirements.txt of the workspace, then becomes PROGRAM.
# Its marker tells the node whether an exit code is the installer's or the program's.
own=/workspace/.hivemind
site=$own/site-packages

mark() { printf '%s\n' "$1" >"$own/requirements"; }

# What the image has already needs neither a network nor a second copy. Exit code 2: a pip too old for --dry-run (22.2),
# which then has no rule against looking at the system's packages either.
satisfied() {
    python3 -m pip install --quiet --no-index --dry-run -r requirements.txt >/dev/null 2>&1 && return 0
    [ $? -eq 2 ] && python3 -m pip install --quiet --no-index -r requirements.txt >/dev/null 2>&1
}

install() {
    set -- --target "$site" --no-cache-dir --no-warn-script-location -r requirements.txt
    [ -d wheels ] && set -- --find-links wheels "$@"
    [ "$HIVEMIND_OFFLINE" = 1 ] && set -- --no-index "$@"
    # Wheels are unpacked in the temporary directory; /tmp is memory.
    mkdir -p "$own/tmp" && TMPDIR=$own/tmp python3 -m pip install "$@"
}

cd /workspace && mkdir -p "$own" && mark installing || exit 1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
if ! satisfied; then
    if ! python3 -c 'import pip' >/dev/null 2>&1; then
        mark no-pip
        exit 1
    fi
    if ! install 1>&2; then
        mark failed
        exit 1
    fi
    PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
    PATH=$site/bin:$PATH
    export PYTHONPATH PATH
fi
rm -rf "$own/tmp"
unset HIVEMIND_OFFLINE PIP_DISABLE_PIP_VERSION_CHECK PIP_ROOT_USER_ACTION PIP_NO_INPUT
mark done
exec "$@"
