# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Units of the system and of users, sysusers and tmpfiles. Each FILE is made from systemd/FILE.in.

systemd_units = \
	systemd/asockd-control.socket \
	systemd/asockd-listener@.service \
	systemd/asockd.service \
	systemd/asockd.socket \
	systemd/asockd@.socket
systemd_user_units = \
	systemd/user/asockd-control.socket \
	systemd/user/asockd.service \
	systemd/user/asockd.socket
systemd_sysusers = systemd/sysusers/asockd.conf
systemd_tmpfiles = systemd/tmpfiles/asockd.conf

SUBST_FILES += $(systemd_units) $(systemd_user_units) $(systemd_sysusers) $(systemd_tmpfiles)

if HAVE_SYSTEMD
nodist_systemdsystemunit_DATA = $(systemd_units)
nodist_systemduserunit_DATA = $(systemd_user_units)
nodist_sysusers_DATA = $(systemd_sysusers)
nodist_tmpfiles_DATA = $(systemd_tmpfiles)
endif
