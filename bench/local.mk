# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Built with everything else, not installed. `make bench` measures; the tests run it for a moment.

noinst_PROGRAMS += bench/client bench/held bench/keeper bench/lender bench/names bench/pair \
	bench/server
bench_client_SOURCES = \
	bench/client.c \
	bench/client.h \
	bench/client_asock.c \
	bench/client_datagrams.c \
	bench/client_lender.c \
	bench/client_lent.c \
	bench/client_names.c \
	bench/client_plain.c \
	bench/common.c \
	bench/common.h \
	bench/crowd.c \
	bench/lender.h
bench_client_LDFLAGS = $(AM_LDFLAGS) -no-install
bench_client_LDADD = libasock.la
bench_held_SOURCES = \
	bench/common.c \
	bench/common.h \
	bench/held.c
bench_held_LDADD = libgateway.la
bench_keeper_SOURCES = \
	bench/common.c \
	bench/common.h \
	bench/keeper.c \
	bench/keeper.h \
	bench/keeper_load.c \
	bench/keeper_offsets.c \
	bench/keeper_worker.c
bench_lender_SOURCES = \
	bench/common.c \
	bench/common.h \
	bench/lender.c \
	bench/lender.h
bench_names_SOURCES = \
	bench/common.c \
	bench/common.h \
	bench/names.c
bench_pair_SOURCES = \
	bench/common.c \
	bench/common.h \
	bench/pair.c
bench_server_SOURCES = \
	bench/common.c \
	bench/common.h \
	bench/server.c

EXTRA_DIST += \
	bench/README.md \
	bench/bed.py \
	bench/hostile \
	bench/report.py \
	bench/run \
	bench/scale \
	bench/systems.py

# What `make bench BENCH='--quick --only direct,asockd'` says goes to bench/run.
.PHONY: bench
bench: all
	$(PYTHON) $(srcdir)/bench/run --build '$(abs_top_builddir)' $(BENCH)
