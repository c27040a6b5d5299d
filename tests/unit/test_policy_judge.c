/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How rules are applied, asockd.policy(5), case by case: a list of rules, a question, the
 * answer.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/identity/identity.h"
#include "tests/lib/suite.h"
#include "tests/unit/policy_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct identity identity = {.pidfd = -1, .gids_known = true};

/* Rules begin at line 2 of a file. */
#define R(rules) "[Rules]\n" rules

static const struct {
    const char *rules;
    const char *host;    /* NULL: a literal address */
    const char *address; /* NULL: may the name be resolved? */
    uint16_t port;
    const char *answer;
} cases[] = {
    /* ---- names: the first rule that can be about them ---- */
    {R(""), "a.example", NULL, 443, "deny"},
    {R("Allow=tcp a.example 443\n"), "a.example", NULL, 443, "allow p:2"},
    {R("Allow=tcp a.example 443\n"), "A.ExamplE", NULL, 443, "allow p:2"},
    {R("Allow=tcp a.example 443\n"), "a.example", NULL, 80, "deny"},
    {R("Allow=tcp a.example 443\n"), "b.example", NULL, 443, "deny"},
    {R("Allow=tcp a.example 443\n"), "x.a.example", NULL, 443, "deny"},
    {R("Allow=tcp a.example 443\n"), "xa.example", NULL, 443, "deny"},
    {R("Allow=tcp * *\n"), "a.example", NULL, 1, "allow p:2"},
    {R("Allow=tcp * *\n"), "a.example", NULL, 65535, "allow p:2"},
    {R("Allow=tcp *.example 443\n"), "a.example", NULL, 443, "allow p:2"},
    {R("Allow=tcp *.example 443\n"), "b.a.example", NULL, 443, "allow p:2"},
    {R("Allow=tcp *.example 443\n"), "A.EXAMPLE", NULL, 443, "allow p:2"},
    {R("Allow=tcp *.example 443\n"), "example", NULL, 443, "deny"},
    {R("Allow=tcp *.example 443\n"), "anexample", NULL, 443, "deny"},
    {R("Allow=tcp *.example 443\n"), "a.example.org", NULL, 443, "deny"},
    /* A Deny by name that comes first; one that comes later. */
    {R("Deny=tcp a.example *\nAllow=tcp *.example *\n"), "a.example", NULL, 443, "deny p:2"},
    {R("Deny=tcp a.example *\nAllow=tcp *.example *\n"), "b.example", NULL, 443, "allow p:3"},
    {R("Allow=tcp *.example *\nDeny=tcp a.example *\n"), "a.example", NULL, 443, "allow p:2"},
    {R("Deny=tcp * 25\nAllow=tcp * *\n"), "a.example", NULL, 25, "deny p:2"},
    {R("Deny=tcp * 25\nAllow=tcp * *\n"), "a.example", NULL, 26, "allow p:3"},
    {R("Deny=tcp a.example 25\nAllow=tcp a.example *\n"), "a.example", NULL, 443, "allow p:3"},
    /* Addresses and networks are about no name, neither way. */
    {R("Allow=tcp 0.0.0.0/0 *\nAllow=tcp ::/0 *\n"), "a.example", NULL, 443, "deny"},
    {R("Deny=tcp 0.0.0.0/0 *\nAllow=tcp a.example *\n"), "a.example", NULL, 443, "allow p:3"},
    /* Names that look like others. */
    {R("Allow=tcp localhost *\n"), "localhost", NULL, 80, "allow p:2"},
    {R("Allow=tcp *.localhost *\n"), "x.localhost", NULL, 80, "allow p:2"},

    /* ---- ports ---- */
    {R("Allow=tcp * 80-90\n"), NULL, "8.8.8.8", 79, "deny"},
    {R("Allow=tcp * 80-90\n"), NULL, "8.8.8.8", 80, "allow p:2"},
    {R("Allow=tcp * 80-90\n"), NULL, "8.8.8.8", 90, "allow p:2"},
    {R("Allow=tcp * 80-90\n"), NULL, "8.8.8.8", 91, "deny"},
    {R("Allow=tcp * https\n"), NULL, "8.8.8.8", 443, "allow p:2"},
    {R("Allow=tcp * https\n"), NULL, "8.8.8.8", 80, "deny"},
    {R("Allow=tcp * *\n"), NULL, "8.8.8.8", 0, "deny"},

    /* ---- literal addresses: rules with names are passed over ---- */
    {R("Allow=tcp a.example *\n"), NULL, "8.8.8.8", 443, "deny"},
    {R("Deny=tcp a.example *\nAllow=tcp * *\n"), NULL, "8.8.8.8", 443, "allow p:3"},
    {R("Allow=tcp 8.8.8.8 443\n"), NULL, "8.8.8.8", 443, "allow p:2"},
    {R("Allow=tcp 8.8.8.8 443\n"), NULL, "8.8.8.9", 443, "deny"},
    {R("Allow=tcp 8.8.8.0/24 443\n"), NULL, "8.8.8.255", 443, "allow p:2"},
    {R("Allow=tcp 8.8.8.0/24 443\n"), NULL, "8.8.9.0", 443, "deny"},
    {R("Allow=tcp 8.8.8.0/23 443\n"), NULL, "8.8.9.0", 443, "allow p:2"},
    {R("Allow=tcp 0.0.0.0/0 443\n"), NULL, "8.8.8.8", 443, "allow p:2"},
    {R("Allow=tcp 0.0.0.0/0 443\n"), NULL, "2600::1", 443, "deny"},
    {R("Allow=tcp ::/0 443\n"), NULL, "2600::1", 443, "allow p:2"},
    {R("Allow=tcp ::/0 443\n"), NULL, "8.8.8.8", 443, "deny"},
    {R("Allow=tcp 2600::/33 443\n"), NULL, "2600:0:7fff::1", 443, "allow p:2"},
    {R("Allow=tcp 2600::/33 443\n"), NULL, "2600:0:8000::1", 443, "deny"},
    {R("Deny=tcp 8.8.0.0/16 *\nAllow=tcp 8.8.8.8 *\n"), NULL, "8.8.8.8", 443, "deny p:2"},
    {R("Allow=tcp 8.8.8.8 *\nDeny=tcp 8.8.0.0/16 *\n"), NULL, "8.8.8.8", 443, "allow p:2"},

    /* ---- addresses of a name: the first rule with the name or the address ---- */
    {R("Allow=tcp a.example *\n"), "a.example", "8.8.8.8", 443, "allow p:2"},
    {R("Allow=tcp a.example *\n"), "b.example", "8.8.8.8", 443, "deny"},
    {R("Allow=tcp 8.8.8.8 *\n"), "a.example", "8.8.8.8", 443, "allow p:2"},
    {R("Deny=tcp 8.0.0.0/8 *\nAllow=tcp a.example *\n"), "a.example", "8.8.8.8", 443, "deny p:2"},
    {R("Deny=tcp 8.0.0.0/8 *\nAllow=tcp a.example *\n"), "a.example", "9.8.8.8", 443, "allow p:3"},
    {R("Allow=tcp a.example *\nDeny=tcp 8.0.0.0/8 *\n"), "a.example", "8.8.8.8", 443, "allow p:2"},
    {R("Deny=tcp a.example *\nAllow=tcp 8.8.8.8 *\n"), "a.example", "8.8.8.8", 443, "deny p:2"},
    {R("Allow=tcp *.example 443\nDeny=tcp * *\n"), "a.example", "8.8.8.8", 443, "allow p:2"},
    {R("Allow=tcp *.example 443\nDeny=tcp * *\n"), "a.example", "8.8.8.8", 80, "deny p:3"},

    /* ---- special addresses need their flag ---- */
    {R("Allow=tcp * *\n"), NULL, "127.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * * +loopback\n"), NULL, "127.0.0.1", 80, "allow p:2"},
    {R("Allow=tcp * * +loopback\n"), NULL, "127.255.255.254", 80, "allow p:2"},
    {R("Allow=tcp * * +loopback\n"), NULL, "::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "::1", 80, "deny p:2"},
    {R("Allow=tcp * * +private +linklocal +local +special\n"), NULL, "127.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "10.1.2.3", 80, "deny p:2"},
    {R("Allow=tcp * * +private +local\n"), NULL, "10.1.2.3", 80, "allow p:2"},
    {R("Allow=tcp * * +private +local\n"), NULL, "172.16.0.1", 80, "allow p:2"},
    {R("Allow=tcp * * +private +local\n"), NULL, "172.31.255.255", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "172.15.255.255", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "172.32.0.0", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.168.0.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.167.255.255", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "100.64.0.0", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "100.127.255.255", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "100.63.255.255", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "100.128.0.0", 80, "allow p:2"},
    {R("Allow=tcp * * +private +local\n"), NULL, "100.64.0.1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "fc00::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "fdff::1", 80, "deny p:2"},
    {R("Allow=tcp * * +private +local\n"), NULL, "fd00::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "169.254.169.254", 80, "deny p:2"},
    {R("Allow=tcp * * +linklocal +local\n"), NULL, "169.254.169.254", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "fe80::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "febf::1", 80, "deny p:2"},
    {R("Allow=tcp * * +linklocal +local\n"), NULL, "fe80::1%1", 80, "allow p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "fe80::1%1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "0.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "0.0.0.1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.0.0.8", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.0.0.9", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.0.0.10", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.0.0.11", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.0.2.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "192.88.99.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "198.18.0.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "198.19.255.255", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "198.20.0.0", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "198.51.100.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "203.0.113.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "240.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "240.0.0.1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "100::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:2::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:10::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:20::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:30::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:1::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:1::4", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:3::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:4:112::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:200::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "2001:db8::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "3fff::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "3fff:1000::1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "5f00::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "fec0::1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "8000::1", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "2001:db8::1", 80, "allow p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "fd00::1", 80, "deny p:2"},
    /* Also behind a name; the first rule decides even if a later one had the flag. */
    {R("Allow=tcp a.example *\n"), "a.example", "127.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp a.example * +loopback\n"), "a.example", "127.0.0.1", 80, "allow p:2"},
    {R("Allow=tcp a.example *\nAllow=tcp * * +loopback\n"), "a.example", "127.0.0.1", 80,
     "deny p:2"},
    {R("Allow=tcp * 80\nAllow=tcp 10.0.0.0/8 *\n"), NULL, "10.1.2.3", 80, "deny p:2"},
    {R("Allow=tcp * 80\nAllow=tcp 10.0.0.0/8 * +local\n"), NULL, "10.1.2.3", 81, "allow p:3"},

    /* ---- a network inside a range implies its flag ---- */
    {R("Allow=tcp 127.0.0.1 80\n"), NULL, "127.0.0.1", 80, "allow p:2"},
    {R("Allow=tcp ::1 80\n"), NULL, "::1", 80, "allow p:2"},
    {R("Allow=tcp 10.0.0.0/8 80 +local\n"), NULL, "10.1.2.3", 80, "allow p:2"},
    {R("Allow=tcp 10.1.2.3 80 +local\n"), NULL, "10.1.2.3", 80, "allow p:2"},
    {R("Allow=tcp 8.0.0.0/6 80 +local\n"), NULL, "10.1.2.3", 80, "deny p:2"},
    {R("Allow=tcp 8.0.0.0/6 80 +local +private\n"), NULL, "10.1.2.3", 80, "allow p:2"},
    {R("Allow=tcp 0.0.0.0/0 80 +local\n"), NULL, "10.1.2.3", 80, "deny p:2"},
    {R("Allow=tcp ::/0 80 +local\n"), NULL, "2001:db8::1", 80, "deny p:2"},
    {R("Allow=tcp 2001:db8::/32 80 +local\n"), NULL, "2001:db8::1", 80, "allow p:2"},
    {R("Allow=tcp 2001:db8::/31 80 +local\n"), NULL, "2001:db8::1", 80, "deny p:2"},
    {R("Allow=tcp fc00::/7 80 +local\n"), NULL, "fd00::1", 80, "allow p:2"},
    {R("Allow=tcp 8000::/1 80 +local\n"), NULL, "fd00::1", 80, "deny p:2"},
    {R("Allow=tcp 8000::/1 80 +local\n"), NULL, "9000::1", 80, "allow p:2"},
    {R("Allow=tcp 169.254.169.254 80 +local\n"), NULL, "169.254.169.254", 80, "allow p:2"},
    {R("Allow=tcp 192.0.0.8/31 80 +local\n"), NULL, "192.0.0.8", 80, "allow p:2"},

    /* ---- never ---- */
    {R("Allow=tcp * * +loopback +private +linklocal +local +special\n"), NULL, "0.0.0.0", 80,
     "deny"},
    {R("Allow=tcp * * +loopback +private +linklocal +local +special\n"), NULL, "::", 80, "deny"},
    {R("Allow=tcp * * +loopback +private +linklocal +local +special\n"), NULL, "224.0.0.1", 80,
     "deny"},
    {R("Allow=tcp * * +loopback +private +linklocal +local +special\n"), NULL, "239.1.1.1", 80,
     "deny"},
    {R("Allow=tcp * * +loopback +private +linklocal +local +special\n"), NULL, "255.255.255.255",
     80, "deny"},
    {R("Allow=tcp * * +loopback +private +linklocal +local +special\n"), NULL, "ff02::1", 80,
     "deny"},
    {R("Allow=tcp * * +loopback +private +linklocal +local +special\n"), NULL, "8.8.8.8", 0,
     "deny"},
    {R("Allow=tcp 224.0.0.0/4 *\n"), NULL, "224.0.0.1", 80, "deny"},

    /* ---- IPv4 in IPv6: mapped is IPv4 ---- */
    {R("Allow=tcp 8.8.8.8 *\n"), NULL, "::ffff:8.8.8.8", 80, "allow p:2"},
    {R("Allow=tcp ::/0 *\n"), NULL, "::ffff:8.8.8.8", 80, "deny"},
    {R("Allow=tcp * *\n"), NULL, "::ffff:127.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * * +loopback\n"), NULL, "::ffff:127.0.0.1", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "::ffff:0.0.0.0", 80, "deny"},
    {R("Deny=tcp 8.8.8.8 *\nAllow=tcp * *\n"), NULL, "::ffff:8.8.8.8", 80, "deny p:2"},
    /* The others are both. */
    {R("Allow=tcp * *\n"), NULL, "64:ff9b::8.8.8.8", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "64:ff9b::10.1.2.3", 80, "deny p:2"},
    {R("Allow=tcp * * +private +local\n"), NULL, "64:ff9b::10.1.2.3", 80, "allow p:2"},
    {R("Allow=tcp 64:ff9b::/96 *\n"), NULL, "64:ff9b::8.8.8.8", 80, "deny"},
    {R("Allow=tcp 64:ff9b::/96 *\nAllow=tcp 8.8.8.8 *\n"), NULL, "64:ff9b::8.8.8.8", 80,
     "allow p:2"},
    {R("Allow=tcp 8.8.8.8 *\n"), NULL, "64:ff9b::8.8.8.8", 80, "deny"},
    {R("Deny=tcp 8.8.8.8 *\nAllow=tcp * *\n"), NULL, "64:ff9b::8.8.8.8", 80, "deny p:2"},
    {R("Allow=tcp a.example *\n"), "a.example", "64:ff9b::8.8.8.8", 80, "allow p:2"},
    {R("Allow=tcp a.example *\n"), "a.example", "64:ff9b::127.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "64:ff9b::0.0.0.0", 80, "deny"},
    {R("Allow=tcp * *\n"), NULL, "64:ff9b::224.0.0.1", 80, "deny"},
    /* 64:ff9b:1::/48, all readings. */
    {R("Allow=tcp * * +special +local\n"), NULL, "64:ff9b:1:7f:0:1::", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "64:ff9b:1:0:7f:0:100:0", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "64:ff9b:1:8:8:808::", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "64:ff9b:1::8.8.8.8", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "64:ff9b:1::8.8.8.8", 80, "allow p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "64:ff9b:1::10.1.2.3", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "64:ff9b:1:a01:2:300::", 80, "deny p:2"},
    {R("Allow=tcp * * +special +private +local\n"), NULL, "64:ff9b:1:a01:2:300::", 80, "allow p:2"},
    {R("Deny=tcp 198.51.100.7 *\nAllow=tcp * * +special +local\n"), NULL,
     "64:ff9b:1:c633:64:700::", 80, "deny p:2"},
    /* ISATAP. */
    {R("Allow=tcp * *\n"), NULL, "2a00::5efe:8.8.8.8", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "2a00::5efe:10.1.2.3", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "2a00::200:5efe:127.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * *\n"), NULL, "2a00::100:5efe:127.0.0.1", 80, "allow p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "2002:808:808::5efe:127.0.0.1", 80, "deny p:2"},
    /* 6to4. */
    {R("Allow=tcp * *\n"), NULL, "2002:808:808::1", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "2002:808:808::1", 80, "allow p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "2002:a01:203::1", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "2002:7f00:1::1", 80, "deny p:2"},
    {R("Allow=tcp * * +special +loopback +local\n"), NULL, "2002:7f00:1::1", 80, "allow p:2"},
    /* Teredo: server 8.8.8.8, client 10.1.2.3 or 9.9.9.9 inverted; and the other way round. */
    {R("Allow=tcp * * +special +local\n"), NULL, "2001:0:808:808::f5fe:fdfc", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "2001:0:808:808::f6f6:f6f6", 80, "allow p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "2001:0:a01:203::f6f6:f6f6", 80, "deny p:2"},
    /* Compatible. */
    {R("Allow=tcp * * +special +local\n"), NULL, "::8.8.8.8", 80, "allow p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "::127.0.0.1", 80, "deny p:2"},
    {R("Allow=tcp * * +special +local\n"), NULL, "::2", 80, "allow p:2"},
    {R("Allow=tcp * *\n"), NULL, "::8.8.8.8", 80, "deny p:2"},

    /* ---- learn mode ---- */
    {R("Mode=learn\nLearnUntil=2999-12-31\n"), "a.example", NULL, 80, "learn p:3"},
    {R("Mode=learn\nLearnUntil=2999-12-31\n"), NULL, "8.8.8.8", 80, "learn p:3"},
    {R("Mode=learn\nLearnUntil=2999-12-31\n"), NULL, "10.1.2.3", 80, "deny"},
    {R("Mode=learn\nLearnUntil=2999-12-31\n"), NULL, "127.0.0.1", 80, "deny"},
    {R("Mode=learn\nLearnUntil=2999-12-31\n"), NULL, "64:ff9b::10.1.2.3", 80, "deny"},
    {R("Mode=learn\nLearnUntil=2999-12-31\n"), NULL, "64:ff9b::8.8.8.8", 80, "learn p:3"},
    {R("Mode=learn\nLearnUntil=2999-12-31\n"), NULL, "224.0.0.1", 80, "deny"},
    {R("Mode=learn\nLearnUntil=2999-12-31\nDeny=tcp * 25\n"), NULL, "8.8.8.8", 25, "deny p:4"},
    {R("Mode=learn\nLearnUntil=2999-12-31\nAllow=tcp * 26\n"), NULL, "8.8.8.8", 26, "allow p:4"},
    {R("Mode=learn\nLearnUntil=2999-12-31\nAllow=tcp * 26\n"), NULL, "127.0.0.1", 26, "deny p:4"},
    {R("Allow=tcp 64:ff9b::/96 *\nMode=learn\nLearnUntil=2999-12-31\n"), NULL, "64:ff9b::8.8.8.8",
     80, "learn p:4"},
    {R("Mode=learn\nLearnUntil=2001-12-31\n"), NULL, "8.8.8.8", 80, "deny"},
    {R("Mode=enforce\n"), NULL, "8.8.8.8", 80, "deny"},
};

static void expect(const struct policy_view *view, const char *host, const char *address,
                   uint16_t port, const char *expected)
{
    struct policy_answer answer = policy_text_ask(view, host, address, port);
    char text[256];

    policy_text_answer(&answer, text, sizeof(text));
    ck_assert_msg(strcmp(text, expected) == 0, "%s %s %u: %s, not %s", host ? host : "-",
                  address ? address : "-", port, text, expected);
    ck_assert(answer.is_allowed == !answer.reason);
    if (answer.reason)
        ck_assert(strlen(answer.reason) > 0 && strlen(answer.reason) <= POLICY_REASON_MAX);
}

START_LOOP_TEST(test_policy_truth_table, 0, COUNT(cases))
{
    struct policy_view *view = policy_text_view(&cases[_i].rules, 1, &identity);

    expect(view, cases[_i].host, cases[_i].address, cases[_i].port, cases[_i].answer);
    policy_view_free(view);
}
END_TEST

/* ---- a translator's own prefixes ---- */

static const struct {
    const char *prefixes, *rules, *address, *answer;
} translated[] = {
    {"2001:db8::/96", R("Allow=tcp * *\n"), "2001:db8::8.8.8.8", "allow p:2"},
    {"2001:db8::/96", R("Allow=tcp * *\n"), "2001:db8::10.1.2.3", "deny p:2"},
    {"2001:db8::/96", R("Allow=tcp * *\n"), "2001:db8::1:808:808", "deny p:2"},
    {"2001:db8::/96", R("Deny=tcp 8.8.8.8 *\nAllow=tcp * *\n"), "2001:db8::8.8.8.8", "deny p:2"},
    {"2001:db8::/96", R("Allow=tcp 2001:db8::/96 *\n"), "2001:db8::8.8.8.8", "deny"},
    {"2001:db8::/96", R("Mode=learn\nLearnUntil=2999-12-31\n"), "2001:db8::8.8.8.8", "learn p:3"},
    {"2001:db8::/32", R("Allow=tcp * *\n"), "2001:db8:a01:203::", "deny p:2"},
    {"2001:db8::/32", R("Allow=tcp * *\n"), "2001:db8:808:808::", "allow p:2"},
    {"2001:db8::/40", R("Allow=tcp * *\n"), "2001:db8:a:102:3::", "deny p:2"},
    {"2001:db8::/40", R("Allow=tcp * *\n"), "2001:db8:8:808:8::", "allow p:2"},
    {"2001:db8::/48", R("Allow=tcp * *\n"), "2001:db8:0:a01:2:300::", "deny p:2"},
    {"2001:db8::/56", R("Allow=tcp * *\n"), "2001:db8:0:a:1:203::", "deny p:2"},
    {"2001:db8::/64", R("Allow=tcp * *\n"), "2001:db8::a:102:300:0", "deny p:2"},
    {"2001:db8::/64", R("Allow=tcp * *\n"), "2001:db8::8:808:800:0", "allow p:2"},
    {"fd00:64::/96,2001:db8::/96", R("Allow=tcp * *\n"), "2001:db8::127.0.0.1", "deny p:2"},
    {"fd00:64::/96,2001:db8::/96", R("Allow=tcp * *\n"), "fd00:64::8.8.8.8", "allow p:2"},
    {"64:ff9b:1::/96", R("Allow=tcp * *\n"), "64:ff9b:1::8.8.8.8", "allow p:2"},
};

START_LOOP_TEST(test_policy_of_a_translator, 0, COUNT(translated))
{
    struct policy_view *view = policy_text_view(&translated[_i].rules, 1, &identity);

    ck_assert_int_eq(policy_nat64_parse(translated[_i].prefixes, &view->policy->nat64), 0);
    expect(view, NULL, translated[_i].address, 80, translated[_i].answer);
    policy_view_free(view);
}
END_TEST

static const struct {
    const char *text;
    int r;
} prefix_texts[] = {
    {"64:ff9b::/96", 0},
    {"2001:db8::/32,2001:db8::/40,2001:db8::/48,2001:db8::/56,2001:db8::/64", 0},
    {"1::/96,2::/96,3::/96,4::/96,5::/96,6::/96,7::/96,8::/96", 0},
    {"1::/96,2::/96,3::/96,4::/96,5::/96,6::/96,7::/96,8::/96,9::/96", -E2BIG},
    {"", -EINVAL},
    {",", -EINVAL},
    {"64:ff9b::/96,", -EINVAL},
    {"64:ff9b::", -EINVAL},
    {"64:ff9b::/", -EINVAL},
    {"64:ff9b::/72", -EINVAL},
    {"64:ff9b::/33", -EINVAL},
    {"64:ff9b::/24", -EINVAL},
    {"64:ff9b::/128", -EINVAL},
    {"64:ff9b::1/96", -EINVAL},
    {"64:ff9b::/96 ", -EINVAL},
    {"10.0.0.0/32", -EINVAL},
    {"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/96", -EINVAL},
};

START_LOOP_TEST(test_policy_prefixes_of_a_translator, 0, COUNT(prefix_texts))
{
    struct policy_nat64 nat64;

    ck_assert_int_eq(policy_nat64_parse(prefix_texts[_i].text, &nat64), prefix_texts[_i].r);
}
END_TEST

/* Two files are one list. */
START_TEST(test_policy_files_in_order)
{
    static const char *const texts[] = {
        R("Deny=tcp a.example *\nAllow=tcp b.example *\n"),
        R("Allow=tcp *.example *\n"),
        R("Deny=tcp * *\n"),
    };
    struct policy_view *view = policy_text_view(texts, 3, &identity);

    expect(view, "a.example", NULL, 80, "deny p:2");
    expect(view, "b.example", NULL, 80, "allow p:3");
    expect(view, "c.example", NULL, 80, "allow q:2");
    expect(view, "c.test", NULL, 80, "deny r:2");
    policy_view_free(view);
}
END_TEST

static const struct {
    const char *rules, *host, *address, *reason;
} reasons[] = {
    {R("Deny=tcp * * \"go away\"\n"), "a.example", NULL, "go away"},
    {R("Deny=tcp * * \"gr\xc3\xbc\xc3\x9f dich\"\n"), NULL, "8.8.8.8", "gr\xc3\xbc\xc3\x9f dich"},
    {R("Deny=tcp * *\n"), "a.example", NULL, "a rule denies this destination"},
    {R(""), "a.example", NULL, "no rule allows this destination"},
    {R("Deny=tcp 8.8.8.8 *\n"), "a.example", NULL, "no rule allows this destination"},
    {R("Allow=tcp 8.0.0.0/8 *\nDeny=tcp b.example *\n"), "a.example", NULL,
     "the rules allow addresses only, so no name is resolved"},
    {R("Allow=tcp 8.0.0.0/8 *\n"), NULL, "9.8.8.8", "no rule allows this destination"},
    {R("Allow=tcp * *\n"), NULL, "127.0.0.1",
     "this is a loopback address, but the rule for it has no +loopback"},
    {R("Allow=tcp * *\n"), NULL, "10.0.0.1",
     "this is a private address, but the rule for it has no +private"},
    {R("Allow=tcp * *\n"), NULL, "169.254.0.1",
     "this is a link-local address, but the rule for it has no +linklocal"},
    {R("Allow=tcp * *\n"), NULL, "240.0.0.1",
     "this address is not globally reachable, and the rule for it has no +special"},
    {R("Allow=tcp * *\n"), NULL, "224.0.0.1",
     "connections to this kind of address are not possible"},
};

START_LOOP_TEST(test_policy_reasons, 0, COUNT(reasons))
{
    struct policy_view *view = policy_text_view(&reasons[_i].rules, 1, &identity);
    struct policy_answer answer = policy_text_ask(view, reasons[_i].host, reasons[_i].address, 80);

    ck_assert(!answer.is_allowed);
    ck_assert_str_eq(answer.reason, reasons[_i].reason);
    policy_view_free(view);
}
END_TEST

/* ---- restrictions ---- */

static int restrict_by(struct policy_view *view, const char *text)
{
    char error[POLICY_ERROR_MAX];

    return policy_view_restrict(view, text, strlen(text), error);
}

START_TEST(test_policy_restrictions_only_take_away)
{
    static const char *const text = R("Deny=tcp c.example *\nAllow=tcp * *\n");
    struct policy_view *view = policy_text_view(&text, 1, &identity);

    ck_assert_int_eq(restrict_by(view, R("Allow=tcp *.example * +loopback\n")), 0);
    expect(view, "a.example", NULL, 80, "allow p:3");
    expect(view, "a.example", "8.8.8.8", 80, "allow p:3");
    expect(view, "c.example", NULL, 80, "deny p:2");
    expect(view, "a.test", NULL, 80, "deny");
    expect(view, NULL, "8.8.8.8", 80, "deny");
    /* What the restriction would allow the administrator does not. */
    expect(view, "a.example", "127.0.0.1", 80, "deny p:3");
    ck_assert_int_eq(restrict_by(view, R("Deny=tcp * 80 \"no\"\nAllow=tcp * *\n")), 0);
    expect(view, "a.example", NULL, 80, "deny restriction:2");
    expect(view, "a.example", NULL, 81, "allow p:3");
    ck_assert_str_eq(policy_text_ask(view, "a.example", NULL, 80).reason, "no");
    ck_assert_uint_eq(policy_view_restrictions(view), 2);
    policy_view_free(view);
}
END_TEST

START_TEST(test_policy_restriction_needs_flags_too)
{
    static const char *const text = R("Allow=tcp * * +loopback\n");
    struct policy_view *view = policy_text_view(&text, 1, &identity);

    expect(view, NULL, "127.0.0.1", 80, "allow p:2");
    ck_assert_int_eq(restrict_by(view, R("Allow=tcp * *\n")), 0);
    expect(view, NULL, "127.0.0.1", 80, "deny restriction:2");
    policy_view_free(view);
}
END_TEST

static unsigned int netlink_sockets;

int socket(int domain, int type, int protocol)
{
    netlink_sockets += domain == AF_NETLINK;
    return (int)syscall(SYS_socket, domain, type, protocol);
}

/*
 * However many lists of rules there are, the kernel is asked once about an address and what is
 * embedded in it.
 */
START_TEST(test_policy_restrictions_ask_the_kernel_once)
{
    static const char *const text = R("Allow=tcp * *\n");
    struct policy_view *view = policy_text_view(&text, 1, &identity);

    for (unsigned int i = 0; i < POLICY_RESTRICTIONS_MAX; i++)
        ck_assert_int_eq(restrict_by(view, text), 0);
    netlink_sockets = 0;
    expect(view, NULL, "64:ff9b::8.8.8.8", 80, "allow p:2");
    ck_assert_uint_eq(netlink_sockets, 2);
    policy_view_free(view);
}
END_TEST

/* An empty one is no rule, and no rule denies. */
START_TEST(test_policy_restriction_of_nothing)
{
    static const char *const text = R("Allow=tcp * *\n");
    struct policy_view *view = policy_text_view(&text, 1, &identity);

    ck_assert_int_eq(restrict_by(view, ""), 0);
    expect(view, NULL, "8.8.8.8", 80, "deny");
    ck_assert_str_eq(policy_text_ask(view, NULL, "8.8.8.8", 80).reason,
                     "no rule of this session's restriction allows this destination");
    policy_view_free(view);
}
END_TEST

START_TEST(test_policy_restriction_outlives_a_reload)
{
    static const char *const text = R("Allow=tcp a.example *\n");
    struct policy *any = policy_new(POLICY_ANY);
    struct policy_view *view = policy_text_view(&text, 1, &identity);

    ck_assert_int_eq(restrict_by(view, R("Allow=tcp b.example *\n")), 0);
    expect(view, "a.example", NULL, 80, "deny");
    policy_view_replace(view, any, &identity, "default");
    policy_unref(any);
    expect(view, "a.example", NULL, 80, "deny");
    expect(view, "b.example", NULL, 80, "allow --allow-any:2");
    policy_view_free(view);
}
END_TEST

static const char *const refused_restrictions[] = {
    "[Match]\nUser=0\n",
    "[Limits]\nSockets=100\n",
    "[Audit]\nAudit=no\n",
    "[Egress]\nDevice=lo\n",
    "[Other]\n",
    R("Mode=learn\nLearnUntil=2999-12-31\n"),
    R("Mode=enforce\n"),
    R("Other=1\n"),
    R("Allow=tcp * https\n"),
    R("Allow=tcp * *"),
    "Allow=tcp * *\n",
};

START_LOOP_TEST(test_policy_restriction_refused, 0, COUNT(refused_restrictions))
{
    static const char *const text = R("Allow=tcp * *\n");
    struct policy_view *view = policy_text_view(&text, 1, &identity);

    ck_assert_int_eq(restrict_by(view, refused_restrictions[_i]), -EBADMSG);
    ck_assert_uint_eq(policy_view_restrictions(view), 0);
    expect(view, NULL, "8.8.8.8", 80, "allow p:2");
    policy_view_free(view);
}
END_TEST

/* What is allowed to listen is a rule as well. */
START_TEST(test_policy_listens_of_restrictions_are_bounded)
{
    static const char *const text = R("Allow=tcp * *\n");
    struct policy_view *view = policy_text_view(&text, 1, &identity);
    char rules[POLICY_RESTRICTION_RULES_MAX * 32], error[POLICY_ERROR_MAX];
    size_t len = (size_t)snprintf(rules, sizeof(rules), R("Allow=tcp * *\n"));

    for (unsigned int i = 1; i < POLICY_RESTRICTION_RULES_MAX; i++)
        len += (size_t)snprintf(rules + len, sizeof(rules) - len, "Listen=tcp * %u\n", i);
    ck_assert_int_eq(policy_view_restrict(view, rules, len, error), 0);
    ck_assert_int_eq(restrict_by(view, R("Listen=tcp * 1\n")), -E2BIG);
    ck_assert_int_eq(restrict_by(view, R("Allow=tcp * 1\n")), -E2BIG);
    ck_assert_int_eq(restrict_by(view, "[Rules]\n"), 0);
    policy_view_free(view);
}
END_TEST

START_TEST(test_policy_restrictions_are_bounded)
{
    static const char *const text = R("Allow=tcp * *\n");
    struct policy_view *view = policy_text_view(&text, 1, &identity);
    char rules[POLICY_RESTRICTION_RULES_MAX * 32], error[POLICY_ERROR_MAX];
    static char large[POLICY_RESTRICTION_TEXT_MAX + 1];
    size_t len = (size_t)snprintf(rules, sizeof(rules), "[Rules]\n");

    memset(large, '\n', sizeof(large));
    ck_assert_int_eq(policy_view_restrict(view, large, sizeof(large), error), -E2BIG);
    ck_assert_int_eq(policy_view_restrict(view, large, sizeof(large) - 1, error), 0);
    for (unsigned int i = 0; i < POLICY_RESTRICTION_RULES_MAX; i++)
        len += (size_t)snprintf(rules + len, sizeof(rules) - len, "Allow=tcp * %u\n", i + 1);
    ck_assert_int_eq(policy_view_restrict(view, rules, len, error), 0);
    ck_assert_int_eq(restrict_by(view, R("Allow=tcp * 1\n")), -E2BIG);
    ck_assert_int_eq(restrict_by(view, R("Listen=tcp * 1\n")), -E2BIG);
    for (unsigned int i = 2; i < POLICY_RESTRICTIONS_MAX; i++)
        ck_assert_int_eq(restrict_by(view, "[Rules]\n"), 0);
    ck_assert_int_eq(restrict_by(view, "[Rules]\n"), -E2BIG);
    ck_assert_uint_eq(policy_view_restrictions(view), POLICY_RESTRICTIONS_MAX);
    policy_view_free(view);
}
END_TEST

/* ---- the bases ---- */

START_TEST(test_policy_bases)
{
    struct policy *any = policy_new(POLICY_ANY), *public = policy_new(POLICY_PUBLIC);
    struct policy_view *view = policy_view_new(any, &identity, "default");

    expect(view, "a.example", NULL, 80, "allow --allow-any:2");
    expect(view, NULL, "127.0.0.1", 80, "allow --allow-any:2");
    expect(view, NULL, "fd00::1", 80, "allow --allow-any:2");
    expect(view, NULL, "ff02::1", 80, "deny");
    policy_view_replace(view, public, &identity, "default");
    expect(view, "a.example", NULL, 80, "allow --allow-public:2");
    expect(view, NULL, "8.8.8.8", 80, "allow --allow-public:2");
    expect(view, NULL, "127.0.0.1", 80, "deny --allow-public:2");
    expect(view, NULL, "10.1.2.3", 80, "deny --allow-public:2");
    expect(view, NULL, "2001:db8::1", 80, "deny --allow-public:2");
    policy_view_free(view);
    policy_unref(any);
    policy_unref(public);
}
END_TEST
