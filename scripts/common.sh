# shellcheck shell=bash
# shellcheck disable=SC2034  # the paths below are for the files that source this one
# What every script here shares: how it speaks, where things lie, and how it asks apt. Sourced, never run.

# Absolute, because the scripts are called from anywhere and a virtual environment cannot be moved.
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Where each tree keeps what it made itself: the virtual environment, stamps, the lock.
VENV="$REPO/.venv"
OWN="$REPO/.dev"
# What several trees on one machine may share.
CACHE="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hivemind"
STATE="${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/hivemind"

# Everything for people goes to stderr, so that a command's own output stays clean on stdout.
say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# retry TIMES COMMAND…: the same command again after a growing pause; a package mirror hiccups now and then.
retry() {
    local times=$1 try=1
    shift
    until "$@"; do
        if [ "$try" -ge "$times" ]; then return 1; fi
        sleep $((try * 2))
        try=$((try + 1))
    done
}

# quietly COMMAND…: its output goes to a log, and is shown only when it fails.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    tail -n 25 "$log" >&2
    rm -f "$log"
    return 1
}

# The package lists are fetched at most once per run, and only when something has to be installed.
APT_UPDATED=no
apt_update() {
    if [ "$APT_UPDATED" = yes ]; then return 0; fi
    say "apt: fetching the package lists"
    quietly retry 3 apt-get -q update || warn "apt-get update did not succeed; going on with the lists at hand"
    APT_UPDATED=yes
}

apt_knows() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

# apt_install WHY PACKAGE…: installs as root; for anyone else prints the one command that does it, and fails.
apt_install() {
    local why=$1
    shift
    have apt-get || die "$why: please install the equivalent of: $* (this script knows apt only)"
    if ! is_root; then
        printf 'error: %s. Run this once, then try again:\n\n    sudo apt-get update && sudo apt-get install -y %s\n\n' \
            "$why" "$*" >&2
        exit 1
    fi
    apt_update
    say "apt: installing $* ($why)"
    quietly retry 3 env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}
