# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of ctl/: NAME.unit is built from tests/unit/NAME.c.

unit_tests += tests/unit/test_ctl.unit
tests_unit_test_ctl_unit_SOURCES = tests/unit/test_ctl.c
tests_unit_test_ctl_unit_LDADD = $(SUITE_LIBS) $(asockctl_LDADD)
tests_unit_test_ctl_unit_LDFLAGS = $(AM_LDFLAGS) -no-install

unit_tests += tests/unit/test_gateway.unit
tests_unit_test_gateway_unit_SOURCES = tests/unit/test_gateway.c
tests_unit_test_gateway_unit_LDADD = libgateway.la libasock.la libbase.la $(SUITE_LIBS) $(EV_LIBS)
tests_unit_test_gateway_unit_LDFLAGS = $(AM_LDFLAGS) -no-install

unit_tests += tests/unit/test_gateway_netlink.unit
tests_unit_test_gateway_netlink_unit_SOURCES = tests/unit/test_gateway_netlink.c
tests_unit_test_gateway_netlink_unit_LDADD = libgateway.la $(SUITE_LIBS)
tests_unit_test_gateway_netlink_unit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=poll -Wl,--wrap=netlink_await_up

unit_tests += tests/unit/test_gateway_packets.unit
tests_unit_test_gateway_packets_unit_SOURCES = tests/unit/test_gateway_packets.c
tests_unit_test_gateway_packets_unit_LDADD = libgateway.la $(SUITE_LIBS)

unit_tests += tests/unit/test_gateway_datagrams.unit
tests_unit_test_gateway_datagrams_unit_SOURCES = tests/unit/test_gateway_datagrams.c $(FAKE_DAEMON)
tests_unit_test_gateway_datagrams_unit_LDADD = libgateway.la $(LIB_TEST_LIBS) $(EV_LIBS)
tests_unit_test_gateway_datagrams_unit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ev_now -Wl,--wrap=asock_receive \
	-Wl,--wrap=network_put_answer
