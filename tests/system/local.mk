# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Tests that need a real systemd or root.
#   box         boots a systemd for one command
#   units.test  boots one box and runs test_units.py in it; clients are client.py, boxed.py is what the modules share
#   identity.test  the same with test_identity.py
#   examples.test  the same with test_examples.py: README's examples and the man pages'
#   restart.test  the same with test_restart.py; ASOCK_RESTARTS="RESTARTS CLIENTS SOCKETS WAITING"
#   upgrade.test  the same with test_upgrade.py, and with the version before; only by ./check --long
#   audit_journal.test  the same with test_audit_journal.py
#   arch.test      packages for Arch; only by check-packages
#   rpm.test       RPM packages; only by check-packages
#   packages.test  the same with test_packages.py, in a fresh Debian and from packages; only by check-packages
#   NAME.int    a libcheck program from tests/system/NAME.c; needs
#               tests_system_NAME_int_LDFLAGS = $(INT_LINKFLAGS)
#               tests_system_NAME_int_LDADD = $(INT_LIBS)

script_tests += \
	tests/system/audit_journal.test \
	tests/system/box.test \
	tests/system/examples.test \
	tests/system/identity.test \
	tests/system/restart.test \
	tests/system/units.test

# Builds the packages and a fresh Debian: minutes, and a mirror of Debian's. Then packages for RPM and Arch. All of it is built
# from the release, so nothing of this build is needed, and "check" would build everything.
.PHONY: check-packages
check-packages:
	$(MAKE) $(AM_MAKEFLAGS) check-TESTS check_PROGRAMS= check_LTLIBRARIES= \
	    TESTS="tests/system/packages.test tests/system/rpm.test tests/system/arch.test"

EXTRA_DIST += \
	tests/system/arch.test \
	tests/system/box \
	tests/system/boxed.py \
	tests/system/client.py \
	tests/system/packages.test \
	tests/system/packaging.sh \
	tests/system/rpm.test \
	tests/system/test_audit_journal.py \
	tests/system/test_examples.py \
	tests/system/test_identity.py \
	tests/system/test_packages.py \
	tests/system/test_restart.py \
	tests/system/test_units.py \
	tests/system/test_upgrade.py \
	tests/system/upgrade.test
