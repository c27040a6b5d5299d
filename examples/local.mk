# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Built with everything else, run by the tests, not installed. -no-install: the
# program itself instead of a libtool script.

EXAMPLE_LINKFLAGS = $(AM_LDFLAGS) -no-install
EXAMPLE_LIBS = libasock.la

noinst_PROGRAMS += \
	examples/async_client \
	examples/async_echo_server \
	examples/begin_end_echo_server \
	examples/libev_echo_server \
	examples/begin_end_client \
	examples/libev_client \
	examples/op_pool
examples_async_client_SOURCES = examples/async_client.c examples/request.h
examples_async_client_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_async_client_LDADD = $(EXAMPLE_LIBS) $(PTHREAD_LIBS)
examples_async_echo_server_SOURCES = examples/async_echo_server.c examples/echo.h
examples_async_echo_server_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_async_echo_server_LDADD = $(EXAMPLE_LIBS) $(PTHREAD_LIBS)
examples_begin_end_echo_server_SOURCES = examples/begin_end_echo_server.c examples/echo.h
examples_begin_end_echo_server_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_begin_end_echo_server_LDADD = $(EXAMPLE_LIBS)
examples_libev_echo_server_SOURCES = examples/libev_echo_server.c examples/echo.h
examples_libev_echo_server_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_libev_echo_server_LDADD = $(EXAMPLE_LIBS) $(EV_LIBS)
examples_begin_end_client_SOURCES = examples/begin_end_client.c examples/request.h
examples_begin_end_client_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_begin_end_client_LDADD = $(EXAMPLE_LIBS)
examples_libev_client_SOURCES = examples/libev_client.c examples/request.h
examples_libev_client_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_libev_client_LDADD = $(EXAMPLE_LIBS) $(EV_LIBS)
examples_op_pool_SOURCES = examples/op_pool.c
examples_op_pool_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_op_pool_LDADD = $(EXAMPLE_LIBS)

# With ngtcp2 and its helpers for GnuTLS, of Debian 12's version: later ones have other names.
QUIC_SOURCES = examples/quic.c examples/quic.h
if HAVE_NGTCP2
noinst_PROGRAMS += examples/quic_client examples/quic_server
examples_quic_client_SOURCES = examples/quic_client.c $(QUIC_SOURCES)
examples_quic_client_CFLAGS = $(AM_CFLAGS) $(NGTCP2_CFLAGS)
examples_quic_client_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_quic_client_LDADD = $(EXAMPLE_LIBS) $(NGTCP2_LIBS)
examples_quic_server_SOURCES = examples/quic_server.c $(QUIC_SOURCES)
examples_quic_server_CFLAGS = $(AM_CFLAGS) $(NGTCP2_CFLAGS)
examples_quic_server_LDFLAGS = $(EXAMPLE_LINKFLAGS)
examples_quic_server_LDADD = $(EXAMPLE_LIBS) $(NGTCP2_LIBS)
endif

EXTRA_DIST += examples/grafana-asockd.json
