# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libFuzzer programs, with --enable-fuzzers (clang).

if ENABLE_FUZZERS
#noinst_PROGRAMS += fuzz/NAME
#fuzz_NAME_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)
#fuzz_NAME_LDADD = $(DAEMON_LIBS)
endif
