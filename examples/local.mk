# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Built with everything else, run by the tests, not installed. -no-install: the
# program itself instead of a libtool script.

EXAMPLE_LINKFLAGS = $(AM_LDFLAGS) -no-install
EXAMPLE_LIBS = libasock.la

#noinst_PROGRAMS += examples/NAME
#examples_NAME_LDFLAGS = $(EXAMPLE_LINKFLAGS)
#examples_NAME_LDADD = $(EXAMPLE_LIBS)

# The client in Python; its classes are generated beside it in the build directory.
EXTRA_DIST += \
	examples/python/README.md \
	examples/python/asock_client.py \
	examples/python/fetch.py
