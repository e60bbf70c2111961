# shellcheck shell=bash
# A Docker engine that answers, whatever that takes; and the compose tool, browser and compiler that tests use. Sourced.
# Nothing here ever stops, kills or reconfigures an engine: it may be running somebody's containers.

engine_answers() { timeout 15 docker info >/dev/null 2>&1; }

ensure_engine() {
    if have docker && engine_answers; then return 0; fi
    install_engine
    if engine_answers; then return 0; fi
    is_root || explain_engine_to_user
    start_engine
}

# The client alone does not help: some machines have `docker` and no engine behind it.
install_engine() {
    # An engine elsewhere was asked for by name; installing one here would not be it.
    if [ -n "${DOCKER_HOST:-}" ]; then
        have docker || die "DOCKER_HOST is set, but there is no docker command here"
        die "the engine at DOCKER_HOST=$DOCKER_HOST does not answer"
    fi
    local packages=()
    if ! have dockerd && [ ! -S /var/run/docker.sock ]; then packages+=(docker.io iptables ca-certificates); fi
    if have docker && [ "${#packages[@]}" -eq 0 ]; then return 0; fi
    if is_root; then apt_update; fi
    # From Debian 13 on the client is a package of its own; before, it came with the engine.
    if ! have docker && apt_knows docker-cli; then
        packages+=(docker-cli)
    elif ! have docker && [ "${#packages[@]}" -eq 0 ]; then
        packages+=(docker.io)
    fi
    apt_install "HiveMind runs jobs as Docker containers" "${packages[@]}" || die "Docker could not be installed"
    hash -r
}

explain_engine_to_user() {
    local reason
    reason=$(docker info 2>&1 >/dev/null || true)
    if [[ $reason == *"permission denied"* ]]; then
        die "this user may not talk to the Docker engine. Run this once, then log in again:

    sudo usermod -aG docker $(id -un)
"
    fi
    die "the Docker engine is not running. Run this once, then try again:

    sudo $REPO/dev setup
"
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        say "engine: systemctl start docker"
        systemctl start docker || warn "systemctl start docker failed"
        wait_for_engine || die "the Docker engine does not answer; see: journalctl -u docker"
        return 0
    fi
    local log="$STATE/dockerd.log"
    mkdir -p "$STATE"
    say "engine: starting dockerd (log: $log)"
    # No options: dockerd chooses its storage driver (overlay2 where it can) and reads /etc/docker/daemon.json, and an
    # option that is also in that file would be an error. The lock (9) must not live on in the daemon.
    setsid nohup dockerd >>"$log" 2>&1 </dev/null 9>&- &
    printf '%s\n' "$!" >"$STATE/dockerd.pid"
    if ! wait_for_engine "$!"; then
        tail -n 20 "$log" >&2
        die "dockerd did not come up (the end of $log is above)"
    fi
}

# wait_for_engine [PID]: until it answers; given up after a minute, or as soon as the process has ended.
wait_for_engine() {
    local pid=${1:-} deadline=$((SECONDS + 60))
    while [ "$SECONDS" -lt "$deadline" ]; do
        if engine_answers; then return 0; fi
        if [ -n "$pid" ] && ! kill -0 "$pid" 2>/dev/null; then return 1; fi
        sleep 0.3
    done
    return 1
}

# compose: prints the compose command of this machine; either generation will do.
compose_command() {
    if docker compose version >/dev/null 2>&1; then
        printf 'docker compose'
    elif have docker-compose; then
        printf 'docker-compose'
    else
        return 1
    fi
}

ensure_compose() {
    local package
    if compose_command >/dev/null; then return 0; fi
    if is_root; then apt_update; fi
    for package in docker-compose-v2 docker-compose-plugin docker-compose; do
        if apt_knows "$package"; then break; fi
    done
    apt_install "the compose test needs it" "$package" || die "$package could not be installed"
}

# Ubuntu's package of that name only points at a snap; where no browser can be had the page tests say so themselves.
ensure_browser() {
    if have chromium || have chromium-browser || have google-chrome; then return 0; fi
    if ! is_root; then
        warn "no chromium found; the page tests need it: sudo apt-get install -y chromium"
    else
        apt_install "the page tests need a browser" chromium || warn "chromium could not be installed"
    fi
}

# The stand-in for NVIDIA's library is compiled by the tests that need it.
ensure_compiler() {
    if have gcc; then return 0; fi
    apt_install "the tests compile a stand-in for NVIDIA's library" gcc libc6-dev || die "gcc could not be installed"
}
