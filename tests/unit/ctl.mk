# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of ctl/: NAME.unit is built from tests/unit/NAME.c.

unit_tests += tests/unit/test_ctl.unit
tests_unit_test_ctl_unit_SOURCES = tests/unit/test_ctl.c $(asockctl_all_but_main)
tests_unit_test_ctl_unit_CPPFLAGS = $(asockctl_CPPFLAGS)
tests_unit_test_ctl_unit_LDADD = libasock.la libbase.la $(SUITE_LIBS) $(IDN2_LIBS) $(EV_LIBS) $(NCURSES_LIBS)
tests_unit_test_ctl_unit_LDFLAGS = $(AM_LDFLAGS) -no-install

unit_tests += tests/unit/test_gateway.unit
tests_unit_test_gateway_unit_SOURCES = tests/unit/test_gateway.c $(gateway_sources)
tests_unit_test_gateway_unit_LDADD = libasock.la $(SUITE_LIBS) $(EV_LIBS)
tests_unit_test_gateway_unit_LDFLAGS = $(AM_LDFLAGS) -no-install

unit_tests += tests/unit/test_gateway_packets.unit
tests_unit_test_gateway_packets_unit_SOURCES = tests/unit/test_gateway_packets.c gateway/dns.c gateway/dns.h \
	gateway/fake_names.c gateway/fake_names.h gateway/packet.c gateway/packet.h
tests_unit_test_gateway_packets_unit_LDADD = $(SUITE_LIBS)
