# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libproto: frames, codec and errors, for both ends of the wire.

noinst_LTLIBRARIES += libproto.la
libproto_la_CPPFLAGS = $(AM_CPPFLAGS) $(PROTOBUF_C_CFLAGS)
libproto_la_SOURCES = \
	proto/codec.c \
	proto/codec.h \
	proto/codec_addresses.c \
	proto/codec_arena.c \
	proto/codec_arena.h \
	proto/codec_message.c \
	proto/codec_message.h \
	proto/codec_plain.c \
	proto/codec_plain.h \
	proto/codec_plain_reply.c \
	proto/codec_wire.c \
	proto/codec_wire.h \
	proto/codec_record.c \
	proto/codec_reply.c \
	proto/codec_segments.c \
	proto/codec_text.c \
	proto/endpoint.c \
	proto/endpoint.h \
	proto/errors.c \
	proto/errors.h \
	proto/frame.c \
	proto/frame.h
nodist_libproto_la_SOURCES = \
	proto/asock.pb-c.c \
	proto/asock.pb-c.h \
	proto/fields.h

# What a daemon hands on to the next one: the daemon's alone.
proto/state.pb-c.stamp: $(srcdir)/proto/state.proto
	$(AM_V_GEN)$(MKDIR_P) proto && \
	$(PROTO_COMPILE_C) --proto_path=$(srcdir)/proto --c_out=proto $(srcdir)/proto/state.proto && \
	touch $@
proto/state.pb-c.c proto/state.pb-c.h: proto/state.pb-c.stamp
	@test -f $@ || { rm -f $<; $(MAKE) $(AM_MAKEFLAGS) $<; }

EXTRA_DIST += proto/asock.proto proto/state.proto proto/fields.awk

# One compiler run makes both files, so a stamp stands for them: a rule with two
# outputs could run twice at once in a parallel make.
proto/asock.pb-c.stamp: $(srcdir)/proto/asock.proto
	$(AM_V_GEN)$(MKDIR_P) proto && \
	$(PROTO_COMPILE_C) --proto_path=$(srcdir)/proto --c_out=proto $(srcdir)/proto/asock.proto && \
	touch $@
proto/asock.pb-c.c proto/asock.pb-c.h: proto/asock.pb-c.stamp
	@test -f $@ || { rm -f $<; $(MAKE) $(AM_MAKEFLAGS) $<; }

# The numbers and types of the schema, for the codec's short way.
proto/fields.h: $(srcdir)/proto/asock.proto $(srcdir)/proto/fields.awk
	$(AM_V_GEN)$(MKDIR_P) proto && \
	$(AWK) -f $(srcdir)/proto/fields.awk $(srcdir)/proto/asock.proto >$@.tmp && mv $@.tmp $@

BUILT_SOURCES += proto/asock.pb-c.h proto/state.pb-c.h proto/fields.h
CLEANFILES += proto/state.pb-c.c proto/state.pb-c.h proto/state.pb-c.stamp
CLEANFILES += proto/fields.h proto/fields.h.tmp proto/asock.pb-c.c proto/asock.pb-c.h proto/asock.pb-c.stamp
