# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of proto/: NAME.unit is built from tests/unit/NAME.c.

unit_tests += \
	tests/unit/test_codec.unit \
	tests/unit/test_codec_hostile.unit \
	tests/unit/test_codec_plain.unit \
	tests/unit/test_errors.unit \
	tests/unit/test_frame.unit \
	tests/unit/test_record.unit

PROTO_TEST_LIBS = libproto.la libbase.la $(PROTOBUF_C_LIBS) $(SUITE_LIBS)
tests_unit_test_codec_unit_SOURCES = tests/unit/test_codec.c tests/unit/test_codec.h
tests_unit_test_codec_unit_LDADD = $(PROTO_TEST_LIBS)
tests_unit_test_codec_hostile_unit_SOURCES = \
	tests/unit/test_codec_hostile.c tests/unit/test_codec.h
tests_unit_test_codec_hostile_unit_LDADD = $(PROTO_TEST_LIBS)
tests_unit_test_codec_plain_unit_SOURCES = tests/unit/test_codec_plain.c
tests_unit_test_codec_plain_unit_LDADD = $(PROTO_TEST_LIBS)
tests_unit_test_errors_unit_SOURCES = tests/unit/test_errors.c
tests_unit_test_errors_unit_LDADD = $(PROTO_TEST_LIBS)
tests_unit_test_frame_unit_SOURCES = tests/unit/test_frame.c
tests_unit_test_frame_unit_LDADD = $(PROTO_TEST_LIBS)
tests_unit_test_record_unit_SOURCES = tests/unit/test_record.c
tests_unit_test_record_unit_LDADD = $(PROTO_TEST_LIBS)
