# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What a fresh installation lets through.

policydir = $(sysconfdir)/asockd/policy.d
dist_policy_DATA = policy/50-asock.policy
