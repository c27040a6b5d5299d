# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of ctl/: NAME.unit is built from tests/unit/NAME.c.

unit_tests +=
