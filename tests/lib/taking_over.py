# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon that another one takes over from (asockd --take-over), for tests of what goes over."""

import asockd


class TakeOverTest(asockd.DaemonTest):
    def succeed(self, *arguments):
        """Another one takes over: how many milliseconds clients stood still."""
        took = self.daemon.succeed(*(arguments or self.arguments))
        self.assertTrue(took, self.daemon.output())
        return took - 1
