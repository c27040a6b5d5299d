# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of base/: NAME.unit is built from tests/unit/NAME.c.

unit_tests += \
	tests/unit/test_address_port.unit \
	tests/unit/test_conf.unit \
	tests/unit/test_text.unit \
	tests/unit/test_wheel.unit
tests_unit_test_address_port_unit_SOURCES = tests/unit/test_address_port.c
tests_unit_test_conf_unit_SOURCES = tests/unit/test_conf.c
tests_unit_test_text_unit_SOURCES = tests/unit/test_text.c
tests_unit_test_wheel_unit_SOURCES = tests/unit/test_wheel.c
