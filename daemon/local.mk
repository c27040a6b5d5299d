# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libasockd: all of the daemon but main(), so that tests link the real code.

noinst_LTLIBRARIES += libasockd.la
libasockd_la_CPPFLAGS = $(AM_CPPFLAGS) $(CARES_CFLAGS) $(SYSTEMD_CFLAGS)
libasockd_la_SOURCES = \
	daemon/host.c \
	daemon/host.h \
	daemon/limits.h \
	daemon/loop.c \
	daemon/loop.h \
	daemon/netsock.c \
	daemon/netsock.h \
	daemon/netsock_option.c \
	daemon/peer.c \
	daemon/peer.h \
	daemon/policy.c \
	daemon/policy.h \
	daemon/resolver.c \
	daemon/resolver.h \
	daemon/services.c \
	daemon/services.h \
	daemon/stats.h \
	daemon/transport.c \
	daemon/transport.h

# What a program with the daemon's code in it links, in this order.
DAEMON_LIBS = libasockd.la libproto.la libbase.la \
	$(PROTOBUF_C_LIBS) $(CARES_LIBS) $(SYSTEMD_LIBS) $(EV_LIBS) $(PTHREAD_LIBS) -lm

#sbin_PROGRAMS += asockd
#asockd_SOURCES = daemon/main.c
#asockd_LDADD = $(DAEMON_LIBS)
