# SPDX-License-Identifier: LGPL-2.1-or-later
#
# asockctl: uses libasock and nothing else of this tree, so it proves the API.

#bin_PROGRAMS += asockctl
#asockctl_SOURCES = ctl/main.c
#asockctl_LDADD = libasock.la

#dist_bashcompletion_DATA = ctl/completion/asockctl
