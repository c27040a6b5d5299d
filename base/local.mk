# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libbase: what daemon, library and tests share, on libc alone.

noinst_LTLIBRARIES += libbase.la
libbase_la_SOURCES = \
	base/address_port.c \
	base/address_port.h \
	base/alloc.h \
	base/conf.c \
	base/conf.h \
	base/hash.h \
	base/list.h \
	base/log.c \
	base/log.h \
	base/subuid.c \
	base/subuid.h \
	base/text.c \
	base/text.h \
	base/time.h \
	base/wheel.c \
	base/wheel.h
