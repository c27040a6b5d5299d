# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a fresh installation lets through.

policydir = $(prefix)/lib/asockd/policy.d
dist_policy_DATA = policy/50-asock-internet.policy

# For the administrator to load where AppArmor restricts user namespaces.
apparmordir = $(datadir)/asockd/apparmor
apparmor_DATA = policy/apparmor/asockctl
SUBST_FILES += $(apparmor_DATA)
