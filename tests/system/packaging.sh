# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Sourced by rpm.test and arch.test, whose tests are functions. Their output is in $work/log, $work is removed at the end.

skip_all() { # REASON
    local name=${0##*/}
    echo "SKIP ${name%.test}: $1" >&2
    echo "1..0 # SKIP $1"
    exit 0
}

needs() { # TOOL...
    local tool
    [ "${ASOCK_TEST_SYSTEMD:-yes}" != no ] || skip_all 'built with --disable-systemd'
    [ "${ASOCK_TEST_SANITIZERS:-no}" = no ] || skip_all 'packages are built without sanitizers'
    for tool; do
        command -v "$tool" >/dev/null || skip_all "no $tool"
    done
    work=$(mktemp -d "/var/tmp/asock-packaging.XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# Not as a part of the make that runs the tests, nor with its flags.
alone() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES -u CC -u CFLAGS "$@"
}

# The archive of a release, in $work; sets version.
make_archive() {
    version=$(sed -n 's/^VERSION = //p' "$ASOCK_TEST_BUILDDIR/Makefile")
    alone make -C "$ASOCK_TEST_BUILDDIR" distdir distdir="$work/asockd-$version" &&
        chmod -R u+w "$work/asockd-$version" &&
        tar -C "$work" -cf - "asockd-$version" | xz -0 >"$work/asockd-$version.tar.xz"
}

# The programs below a folder start. /usr/sbin, or /usr/bin for Arch.
programs_start() { # FOLDER SBIN
    LD_LIBRARY_PATH=$(dirname "$(find "$1" -name 'libasock.so.0')")
    export LD_LIBRARY_PATH
    "$1/usr/$2/asockd" --version && "$1/usr/bin/asockctl" --version &&
        PYTHONPATH=$(dirname "$(dirname "$(find "$1" -name asock_pb2.py)")") /usr/bin/python3 -c 'import asock'
}

# These files, and none in /etc.
has_files() { # LIST FILE...
    local list=$1 file
    shift
    for file; do
        grep -qx "/$file" "$list" || { echo "no /$file" && return 1; }
    done
    ! grep '^/etc' "$list"
}

number=0

run_tests() { # NAME...
    local name
    for name; do
        number=$((number + 1))
        if "$name" >"$work/log" 2>&1; then
            echo "ok $number - $name"
        else
            sed 's/^/# /' "$work/log" | tail -n 60
            echo "not ok $number - $name"
        fi
    done
    echo "1..$number"
}
