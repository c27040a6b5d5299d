/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_IDN_H
#define CTL_IDN_H

/*
 * Names in other scripts than ASCII (IDNA 2008, RFC 5890, mapped by UTS 46). The daemon and the
 * wire know their "xn--" form only: what a user types is the tool's business.
 */

/*
 * 0 and *ret, for free(3): host itself where it is ASCII. Complains and returns -1 for what is no
 * name: a URL, "host:port", a name that has no such form.
 */
int idn_to_ascii(const char *host, char **ret);

#endif
