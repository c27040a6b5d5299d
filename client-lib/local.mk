# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libasock, and its twin for the tests: the same objects, nothing hidden by the
# version script.

libasock_sources =

asockincludedir = $(includedir)/asock
asockinclude_HEADERS = client-lib/include/asock/asock.h

lib_LTLIBRARIES += libasock.la
libasock_la_SOURCES =
libasock_la_LDFLAGS = $(LIB_LDFLAGS) $(DEFS_LDFLAGS) -no-undefined -version-info 0:0:0 \
	-Wl,--version-script=$(srcdir)/client-lib/libasock.sym
libasock_la_LIBADD = libasock-internal.la libproto.la libbase.la $(PROTOBUF_C_LIBS) $(PTHREAD_LIBS)
EXTRA_libasock_la_DEPENDENCIES = $(srcdir)/client-lib/libasock.sym

noinst_LTLIBRARIES += libasock-internal.la
libasock_internal_la_SOURCES = $(libasock_sources)

pkgconfigdir = $(libdir)/pkgconfig
nodist_pkgconfig_DATA = client-lib/libasock.pc
EXTRA_DIST += client-lib/libasock.sym
