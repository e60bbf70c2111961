# shellcheck shell=bash
# PostgreSQL's server for the tests of the history: its programs only. Sourced; needs common.sh.

ensure_postgres() {
    if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb; then return 0; fi
    if is_root && have apt-get && [ ! -e /etc/postgresql-common/createcluster.d/hivemind-tests.conf ]; then
        # Debian's package would make a database of its own and start it; the tests bring theirs.
        mkdir -p /etc/postgresql-common/createcluster.d
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/hivemind-tests.conf
    fi
    apt_install "the tests of the history need PostgreSQL's server" postgresql || die "PostgreSQL could not be installed"
}
