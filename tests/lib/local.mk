# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What tests share in C: a private daemon, peers, the fixture of the integration tests.

if HAVE_CHECK
check_LTLIBRARIES += libtestlib.la
libtestlib_la_CFLAGS = $(ONE_OBJECT_CFLAGS)
libtestlib_la_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
libtestlib_la_SOURCES = \
	tests/lib/dns.c \
	tests/lib/dns.h \
	tests/lib/fixture.c \
	tests/lib/fixture.h \
	tests/lib/multishot.c \
	tests/lib/multishot.h \
	tests/lib/private_daemon.c \
	tests/lib/private_daemon.h \
	tests/lib/remote.c \
	tests/lib/remote.h \
	tests/lib/server.c \
	tests/lib/wait.c \
	tests/lib/wait.h
TEST_SUPPORT += libtestlib.la

check_LTLIBRARIES += libsuite.la
libsuite_la_CFLAGS = $(ONE_OBJECT_CFLAGS)
libsuite_la_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
libsuite_la_SOURCES = tests/lib/suite.c tests/lib/suite.h
endif

# Run a test, or a daemon, as on a kernel without SO_PEERPIDFD, or SO_PASSRIGHTS.
check_PROGRAMS += tests/lib/no-peerpidfd tests/lib/no-passrights
tests_lib_no_peerpidfd_SOURCES = tests/lib/no_socket_option.c
tests_lib_no_peerpidfd_LDADD =
tests_lib_no_passrights_SOURCES = tests/lib/no_socket_option.c
tests_lib_no_passrights_CPPFLAGS = $(AM_CPPFLAGS) -DNO_PASSRIGHTS
tests_lib_no_passrights_LDADD =

# Preloaded into a daemon. An rpath, though it is not installed: libtool makes a shared object then.
check_LTLIBRARIES += tests/lib/count-alloc.la
tests_lib_count_alloc_la_SOURCES = tests/lib/count_alloc.c
tests_lib_count_alloc_la_CFLAGS = $(AM_CFLAGS) -fvisibility=default
tests_lib_count_alloc_la_LDFLAGS = $(LIB_LDFLAGS) -module -shared -avoid-version -rpath /nowhere
check_LTLIBRARIES += tests/lib/count-calls.la
tests_lib_count_calls_la_SOURCES = tests/lib/count_calls.c
tests_lib_count_calls_la_CFLAGS = $(AM_CFLAGS) -U_FORTIFY_SOURCE -fvisibility=default
tests_lib_count_calls_la_LDFLAGS = $(LIB_LDFLAGS) -module -shared -avoid-version -rpath /nowhere
check_LTLIBRARIES += tests/lib/move-clock.la
tests_lib_move_clock_la_SOURCES = tests/lib/move_clock.c
tests_lib_move_clock_la_CFLAGS = $(AM_CFLAGS) -fvisibility=default
tests_lib_move_clock_la_LDFLAGS = $(LIB_LDFLAGS) -module -shared -avoid-version -rpath /nowhere
