# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The gateway: a proxy and a transparent network on libasock, for asockctl.

noinst_LTLIBRARIES += libgateway.la
libgateway_la_CFLAGS = $(ONE_OBJECT_CFLAGS)
libgateway_la_SOURCES = \
	gateway/answer.c \
	gateway/answer.h \
	gateway/associate.c \
	gateway/associate.h \
	gateway/blocks.c \
	gateway/blocks.h \
	gateway/client.c \
	gateway/client.h \
	gateway/destination.c \
	gateway/destination.h \
	gateway/datagrams.c \
	gateway/datagrams.h \
	gateway/diag.c \
	gateway/diag.h \
	gateway/deliver.c \
	gateway/dial.c \
	gateway/dns.c \
	gateway/dns.h \
	gateway/drain.c \
	gateway/fake_names.c \
	gateway/fake_names.h \
	gateway/gateway.h \
	gateway/guard.c \
	gateway/guard.h \
	gateway/http.h \
	gateway/http_body.c \
	gateway/http_lines.c \
	gateway/http_request.c \
	gateway/http_response.c \
	gateway/lent_watch.c \
	gateway/lent_watch.h \
	gateway/netlink.c \
	gateway/netlink.h \
	gateway/network.c \
	gateway/network.h \
	gateway/opening.c \
	gateway/opening.h \
	gateway/packet.c \
	gateway/packet.h \
	gateway/ports.c \
	gateway/ports.h \
	gateway/publish.c \
	gateway/publish.h \
	gateway/pump.c \
	gateway/splice.c \
	gateway/splice.h \
	gateway/server.c \
	gateway/server.h \
	gateway/socks.c \
	gateway/socks.h \
	gateway/stub.c \
	gateway/stub.h \
	gateway/subordinate.c \
	gateway/subordinate.h \
	gateway/transparent.c \
	gateway/transparent.h \
	gateway/udp_flow.c \
	gateway/udp_flow.h \
	gateway/uplink.c \
	gateway/uplink.h
