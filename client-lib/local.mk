# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libasock, and its twin for the tests: the same objects, nothing hidden by the
# version script.

libasock_sources = \
	client-lib/core/accept.c \
	client-lib/core/accept.h \
	client-lib/core/ask.c \
	client-lib/core/ask.h \
	client-lib/core/cancel.c \
	client-lib/core/cancel.h \
	client-lib/core/close.c \
	client-lib/core/close.h \
	client-lib/core/complete.c \
	client-lib/core/complete.h \
	client-lib/core/context.c \
	client-lib/core/context.h \
	client-lib/core/file.c \
	client-lib/core/file.h \
	client-lib/core/flow.c \
	client-lib/core/flow.h \
	client-lib/core/grant.c \
	client-lib/core/grant.h \
	client-lib/core/inspection.c \
	client-lib/core/inspection.h \
	client-lib/core/io.h \
	client-lib/core/shm.h \
	client-lib/core/objects.h \
	client-lib/core/operation.h \
	client-lib/core/op.c \
	client-lib/core/op.h \
	client-lib/core/segments.c \
	client-lib/core/segments.h \
	client-lib/core/slots.c \
	client-lib/core/slots.h \
	client-lib/core/socket.c \
	client-lib/core/socket.h \
	client-lib/shm/bounce.c \
	client-lib/shm/bounce.h \
	client-lib/shm/buffer.c \
	client-lib/shm/buffer.h \
	client-lib/shm/pool.c \
	client-lib/shm/pool.h \
	client-lib/shm/status.c \
	client-lib/shm/status.h \
	client-lib/wire/answer.c \
	client-lib/wire/answer.h \
	client-lib/wire/input.c \
	client-lib/wire/input.h \
	client-lib/wire/output.c \
	client-lib/wire/output.h \
	client-lib/wire/overdue.c \
	client-lib/wire/overdue.h \
	client-lib/wire/reply.c \
	client-lib/wire/reply.h \
	client-lib/wire/request.c \
	client-lib/wire/request.h \
	client-lib/wire/run.c \
	client-lib/wire/run.h \
	client-lib/wire/session.c \
	client-lib/wire/session.h \
	client-lib/wire/turn.c \
	client-lib/wire/turn.h \
	client-lib/wire/wait.c \
	client-lib/wire/wait.h \
	client-lib/wire/watch.c \
	client-lib/wire/watch.h \
	client-lib/api/accept_calls.c \
	client-lib/api/begin_end.c \
	client-lib/api/buffer_calls.c \
	client-lib/api/callbacks.c \
	client-lib/api/callbacks.h \
	client-lib/api/detach.c \
	client-lib/api/dispatcher.c \
	client-lib/api/dispatcher.h \
	client-lib/api/helpers.c \
	client-lib/api/inspect.c \
	client-lib/api/inspect.h \
	client-lib/api/lifetime.c \
	client-lib/api/lifetime.h \
	client-lib/api/loop.c \
	client-lib/api/op_end.c \
	client-lib/api/op_setup.c \
	client-lib/api/pool_calls.c \
	client-lib/api/question.c \
	client-lib/api/restrict.c \
	client-lib/api/result.c \
	client-lib/api/settings.c \
	client-lib/api/socket_calls.c \
	client-lib/api/submit.c \
	client-lib/api/version.c

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
