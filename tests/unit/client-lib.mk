# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of client-lib/: NAME.unit is built from tests/unit/NAME.c. The test is the daemon.

lib_unit_tests = \
	tests/unit/test_lib_wire.unit \
	tests/unit/test_lib_flow.unit \
	tests/unit/test_lib_disconnect.unit \
	tests/unit/test_lib_grant.unit \
	tests/unit/test_lib_reply.unit \
	tests/unit/test_lib_op.unit \
	tests/unit/test_lib_overdue.unit \
	tests/unit/test_lib_lifetime.unit \
	tests/unit/test_lib_reconnect.unit \
	tests/unit/test_lib_thread.unit \
	tests/unit/test_lib_hostile.unit
unit_tests += $(lib_unit_tests)
tsan_tests += $(lib_unit_tests)
FAKE_DAEMON = tests/unit/fake_daemon.c tests/unit/fake_daemon.h
LIB_TEST_LIBS = libasock-internal.la libproto.la libbase.la $(PROTOBUF_C_LIBS) $(SUITE_LIBS) $(PTHREAD_LIBS)
tests_unit_test_lib_wire_unit_SOURCES = tests/unit/test_lib_wire.c $(FAKE_DAEMON)
tests_unit_test_lib_wire_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_flow_unit_SOURCES = tests/unit/test_lib_flow.c $(FAKE_DAEMON)
tests_unit_test_lib_flow_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_disconnect_unit_SOURCES = tests/unit/test_lib_disconnect.c $(FAKE_DAEMON)
tests_unit_test_lib_disconnect_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_grant_unit_SOURCES = tests/unit/test_lib_grant.c tests/unit/clock_ahead.h $(FAKE_DAEMON)
tests_unit_test_lib_grant_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_reply_unit_SOURCES = tests/unit/test_lib_reply.c $(FAKE_DAEMON)
tests_unit_test_lib_reply_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_op_unit_SOURCES = tests/unit/test_lib_op.c $(FAKE_DAEMON)
tests_unit_test_lib_op_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_lifetime_unit_SOURCES = tests/unit/test_lib_lifetime.c $(FAKE_DAEMON)
tests_unit_test_lib_lifetime_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_overdue_unit_SOURCES = tests/unit/test_lib_overdue.c tests/unit/clock_ahead.h $(FAKE_DAEMON)
tests_unit_test_lib_overdue_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_reconnect_unit_SOURCES = tests/unit/test_lib_reconnect.c
tests_unit_test_lib_reconnect_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_thread_unit_SOURCES = tests/unit/test_lib_thread.c $(FAKE_DAEMON)
tests_unit_test_lib_thread_unit_LDADD = $(LIB_TEST_LIBS)
tests_unit_test_lib_hostile_unit_SOURCES = tests/unit/test_lib_hostile.c $(FAKE_DAEMON)
tests_unit_test_lib_hostile_unit_LDADD = $(LIB_TEST_LIBS)

script_tests += tests/unit/header.test
