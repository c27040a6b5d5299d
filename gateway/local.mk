# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The gateway: a proxy on libasock, for asockctl.

gateway_sources = \
	gateway/answer.c \
	gateway/answer.h \
	gateway/blocks.c \
	gateway/blocks.h \
	gateway/client.c \
	gateway/client.h \
	gateway/destination.c \
	gateway/destination.h \
	gateway/gateway.h \
	gateway/http.h \
	gateway/http_body.c \
	gateway/http_lines.c \
	gateway/http_request.c \
	gateway/http_response.c \
	gateway/pump.c \
	gateway/server.c \
	gateway/server.h \
	gateway/socks.c \
	gateway/socks.h \
	gateway/uplink.c \
	gateway/uplink.h
