# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of base/: NAME.unit is built from tests/unit/NAME.c.

unit_tests +=
