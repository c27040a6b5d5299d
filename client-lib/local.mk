# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libasock, and its twin for the tests: the same objects, nothing hidden by the
# version script.

libasock_sources = \
	client-lib/begin_end.c \
	client-lib/bounce.c \
	client-lib/buffer.c \
	client-lib/cancel.c \
	client-lib/close.c \
	client-lib/complete.c \
	client-lib/context.c \
	client-lib/flow.c \
	client-lib/helpers.c \
	client-lib/input.c \
	client-lib/detach.c \
	client-lib/inspect.c \
	client-lib/internal.h \
	client-lib/io.h \
	client-lib/memory.h \
	client-lib/op.c \
	client-lib/output.c \
	client-lib/overdue.c \
	client-lib/parts.h \
	client-lib/pool.c \
	client-lib/question.c \
	client-lib/reply.c \
	client-lib/request.c \
	client-lib/result.c \
	client-lib/restrict.c \
	client-lib/run.c \
	client-lib/segments.c \
	client-lib/session.c \
	client-lib/settings.c \
	client-lib/slots.c \
	client-lib/slots.h \
	client-lib/socket.c \
	client-lib/status.c \
	client-lib/submit.c \
	client-lib/thread.c \
	client-lib/turn.c \
	client-lib/version.c \
	client-lib/watch.c \
	client-lib/wait.c

asockincludedir = $(includedir)/asock
asockinclude_HEADERS = client-lib/include/asock/asock.h

lib_LTLIBRARIES += libasock.la
libasock_la_SOURCES =
libasock_la_LDFLAGS = $(LIB_LDFLAGS) $(DEFS_LDFLAGS) -no-undefined -version-info 0:0:0 \
	-Wl,--version-script=$(srcdir)/client-lib/libasock.sym
libasock_la_LIBADD = libasock-internal.la libproto.la libbase.la $(PROTOBUF_C_LIBS) $(PTHREAD_LIBS)
EXTRA_libasock_la_DEPENDENCIES = $(srcdir)/client-lib/libasock.sym

# What link-time optimisation needs is of use in this build. In an installed archive
# it would tie every program that links it to this version of GCC.
install-exec-hook:
	@archive='$(DESTDIR)$(libdir)/libasock.a'; \
	if test -n '$(LTO_CFLAGS)' && test -f "$$archive"; then \
	    $(OBJCOPY) -p --wildcard --strip-symbol='__gnu_lto_*' \
	        --remove-section='.gnu.lto_*' --remove-section='.gnu.debuglto_*' "$$archive"; \
	fi

noinst_LTLIBRARIES += libasock-internal.la
libasock_internal_la_SOURCES = $(libasock_sources)

pkgconfigdir = $(libdir)/pkgconfig
nodist_pkgconfig_DATA = client-lib/libasock.pc
EXTRA_DIST += client-lib/libasock.sym
