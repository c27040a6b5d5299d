/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_PROBES_H
#define ASOCKD_PROBES_H

/*
 * Static probes for bpftrace, perf and similar tools, if the build found <sys/sdt.h>. Each is a nop
 * and an ELF note that says where its arguments are. asockd(8) documents them;
 * tests/integration/test_probes.py compares the two.
 */
#ifdef HAVE_SDT
#include <sys/sdt.h>
#define PROBE2(name, a, b) DTRACE_PROBE2(asockd, name, a, b)
#define PROBE3(name, a, b, c) DTRACE_PROBE3(asockd, name, a, b, c)
#else
#define PROBE2(name, a, b) ((void)(a), (void)(b))
#define PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#endif

#endif
