# shellcheck shell=bash
# Root file systems made from the distribution's packages, for machines that reach no image registry. Sourced.

# The release of this machine, as debootstrap names it: "bookworm", "noble".
release_codename() {
    # shellcheck disable=SC1091
    (. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
}

# The mirror that apt itself uses for this release, so that a site's own mirror is respected and none is written here.
# Prints nothing when apt has none; debootstrap then uses its own default.
apt_mirror() {
    local codename=$1 id site
    # shellcheck disable=SC1091
    id=$(. /etc/os-release && printf '%s' "${ID:-}")
    # shellcheck disable=SC2016  # $(…) is apt's own notation
    site=$(apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(SITE)' \
        'Created-By: Packages' 2>/dev/null |
        awk -F'|' -v id="$id" -v codename="$codename" '
            $4 == "main" && ($2 == codename || $3 == codename) && tolower($1) == id { print $5; exit }')
    case "$site" in
    # A list of mirrors in a file (cloud images have this): its first line is as good as any.
    mirror+file:*) awk '{ print $1; exit }' "${site#mirror+file:}" ;;
    *) printf '%s' "$site" ;;
    esac
}

# debootstrap fetches with wget, which does not read apt's settings.
apt_proxy() { apt-config shell proxy Acquire::http::Proxy | sed -n "s/^proxy='\(.*\)'$/\1/p"; }

# make_debian_rootfs DIR: the smallest system with a Python that people expect in a job image.
make_debian_rootfs() {
    local dir=$1 codename mirror proxy components=main
    codename=$(release_codename)
    [ -n "$codename" ] || die "cannot tell this machine's release from /etc/os-release; debootstrap needs it"
    if grep -q '^ID=ubuntu' /etc/os-release; then components=main,universe; fi
    mirror=$(apt_mirror "$codename")
    proxy=$(apt_proxy)
    say "debootstrap: $codename with python3 into $dir (about a minute)"
    if ! quietly env ${proxy:+http_proxy="$proxy"} DEBIAN_FRONTEND=noninteractive debootstrap --variant=minbase \
        --components="$components" --include=python3,python3-pip,python3-venv,ca-certificates \
        "$codename" "$dir" ${mirror:+"$mirror"}; then
        tail -n 20 "$dir/debootstrap/debootstrap.log" >&2 2>/dev/null || true
        die "debootstrap failed"
    fi
    trim_debian_rootfs "$dir"
}

# What a container never reads. Takes about a third of the size.
trim_debian_rootfs() {
    local dir=$1
    rm -rf "$dir"/var/cache/apt/*.bin "$dir"/var/cache/apt/archives/*.deb "$dir"/var/lib/apt/lists/* \
        "$dir"/usr/share/doc/* "$dir"/usr/share/man/* "$dir"/usr/share/info/* "$dir"/usr/share/locale/* \
        "$dir"/var/log/*.log "$dir"/var/log/apt "$dir"/debootstrap "$dir"/etc/hostname "$dir"/etc/resolv.conf
    find "$dir" -name __pycache__ -type d -prune -exec rm -rf {} +
    # Programs say `python`, and pip must install as it does in the official python image (PEP 668's marker
    # guards a person's system; a container is nobody's).
    ln -sf python3 "$dir/usr/bin/python"
    rm -f "$dir"/usr/lib/python3*/EXTERNALLY-MANAGED
}

# busybox_binary: prints the path of a statically linked busybox, taken from the distribution's package without
# installing it.
busybox_binary() {
    local dir="$CACHE/busybox-static"
    if [ ! -x "$dir/bin/busybox" ] && [ ! -x "$dir/usr/bin/busybox" ]; then
        have apt-get || die "busybox-static is needed and this script knows apt only"
        rm -rf "$dir"
        mkdir -p "$dir"
        if ! apt_knows busybox-static && is_root; then apt_update; fi
        say "apt: downloading busybox-static"
        (cd "$dir" && quietly retry 3 apt-get -q -o APT::Sandbox::User="" download busybox-static) ||
            die "busybox-static could not be downloaded"
        dpkg-deb -x "$dir"/busybox-static_*.deb "$dir"
    fi
    find "$dir" -path '*bin/busybox' -type f -print -quit
}

# make_busybox_rootfs DIR: a shell and the small tools, in one file.
make_busybox_rootfs() {
    local dir=$1 busybox applet
    busybox=$(busybox_binary)
    mkdir -p "$dir/bin" "$dir/etc" "$dir/root" "$dir/tmp" "$dir/var/tmp"
    chmod 1777 "$dir/tmp" "$dir/var/tmp"
    cp "$busybox" "$dir/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$dir/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$dir/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$dir/etc/group"
}

# make_static_rootfs DIR: one program and no shell, for what must work (or fail clearly) in such an image.
make_static_rootfs() {
    local dir=$1
    mkdir -p "$dir"
    cp "$(busybox_binary)" "$dir/busybox"
}
