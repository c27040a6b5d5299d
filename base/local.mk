# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libbase: what daemon, library and tests share, on libc alone.

noinst_LTLIBRARIES += libbase.la
libbase_la_SOURCES =
