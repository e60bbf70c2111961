# shellcheck shell=bash
# The images that this repository needs, made once per machine. Sourced by dev; needs common.sh and rootfs.sh.
#
#   localhost/hivemind-base     what jobs run in by default, and what the node's own image is built on
#   localhost/hivemind-busybox  tests: a small image with a shell and no Python
#   localhost/hivemind-static   tests: an image without a shell; its only file is /busybox
#
# The name's first part is "localhost" so that no engine ever asks a public registry for them.

BASE_IMAGE=localhost/hivemind-base:latest
BUSYBOX_IMAGE=localhost/hivemind-busybox:latest
STATIC_IMAGE=localhost/hivemind-static:latest
UPSTREAM_BASE=python:3.11-slim-bookworm

# Raise this when a recipe below or in rootfs.sh changes: images and cached files of another recipe are made anew.
RECIPE=1

image_recipe() { docker image inspect --format '{{ index .Config.Labels "hivemind.recipe" }}' "$1" 2>/dev/null; }

# image_is_current NAME: present, and made by this recipe (or pulled, and so without one).
image_is_current() {
    local recipe
    recipe=$(image_recipe "$1") || return 1
    [ -z "$recipe" ] || [ "$recipe" = "$RECIPE" ]
}

# import_rootfs NAME TAR CHANGE…
import_rootfs() {
    local name=$1 tar=$2 change changes=()
    shift 2
    for change in "$@" "LABEL hivemind.built-by=scripts/images.sh" "LABEL hivemind.recipe=$RECIPE" \
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"; do
        changes+=(--change "$change")
    done
    docker import "${changes[@]}" "$tar" "$name" >/dev/null
    say "image: $name made"
}

# cached_tar NAME MAKER: the path of NAME's root file system as a tar, made by `MAKER DIR` when it is not there yet.
# Written under another name first: a run that is interrupted leaves no half file behind to be trusted.
cached_tar() {
    local name=$1 maker=$2 tar work
    tar="$CACHE/$name-$(release_codename)-$(uname -m)-r$RECIPE.tar"
    if [ ! -s "$tar" ]; then
        mkdir -p "$CACHE"
        work=$(mktemp -d "$CACHE/rootfs.XXXXXX")
        # This function runs in a subshell (its caller takes what it prints), so the trap is its own.
        # One file system only: a debootstrap that was interrupted may have left /proc mounted in there.
        # shellcheck disable=SC2064
        trap "rm -rf --one-file-system '$work'" EXIT
        chmod 755 "$work"
        "$maker" "$work"
        tar -C "$work" --numeric-owner --owner=0 --group=0 --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* \
            -cf "$tar.part" .
        mv "$tar.part" "$tar"
    fi
    printf '%s' "$tar"
}

# An image that a container still uses keeps its layers; only the names and the cached files go.
forget_images() {
    say "image: forgetting the images and the cached files"
    docker image rm -f "$BASE_IMAGE" "$BUSYBOX_IMAGE" "$STATIC_IMAGE" >/dev/null 2>&1 || true
    rm -rf --one-file-system "$CACHE"/*.tar "$CACHE/busybox-static"
}

# A registry that cannot be reached must cost seconds, so it is asked for the manifest before anything is pulled.
pull_base() {
    timeout 10 docker manifest inspect "$UPSTREAM_BASE" >/dev/null 2>&1 || return 1
    say "image: pulling $UPSTREAM_BASE"
    quietly timeout 600 docker pull -q "$UPSTREAM_BASE" && docker tag "$UPSTREAM_BASE" "$BASE_IMAGE"
}

ensure_base_image() {
    if image_is_current "$BASE_IMAGE"; then return 0; fi
    if pull_base; then return 0; fi
    say "image: no registry gives $UPSTREAM_BASE; making $BASE_IMAGE from this distribution's packages"
    is_root || die "making an image with debootstrap needs root. Run this once, then try again: sudo $REPO/dev image"
    have debootstrap || apt_install "makes the base image" debootstrap || die "debootstrap could not be installed"
    local tar
    tar=$(cached_tar base make_debian_rootfs)
    import_rootfs "$BASE_IMAGE" "$tar" 'CMD ["python3"]' 'ENV LANG=C.UTF-8'
}

ensure_test_images() {
    local tar
    if ! image_is_current "$BUSYBOX_IMAGE"; then
        tar=$(cached_tar busybox make_busybox_rootfs)
        import_rootfs "$BUSYBOX_IMAGE" "$tar" 'CMD ["/bin/sh"]'
    fi
    if ! image_is_current "$STATIC_IMAGE"; then
        tar=$(cached_tar static make_static_rootfs)
        import_rootfs "$STATIC_IMAGE" "$tar" 'CMD ["/busybox", "echo", "hello"]'
    fi
}
