/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_LIMITS_H
#define ASOCKD_LIMITS_H

/* Every limit and default of the daemon, each with its reason. */
#include "proto/frame.h"

/* Defaults: a busy service needs no configuration; a hundred such clients fit into a small host. */
#define LIMIT_SOCKETS_DEFAULT 1024u
#define LIMIT_OPS_DEFAULT 4096u
#define LIMIT_OPS_PER_SOCKET 4u /* at least, where only the sockets are configured */
#define LIMIT_SOCKET_OPS_DEFAULT 256u
/* A window near the bandwidth-delay product of a fast path; more was slower on loopback. */
#define LIMIT_WINDOW_DEFAULT (1024u * 1024u)
#define LIMIT_QUEUED_DEFAULT (16u * 1024u * 1024u)
/*
 * Sockets of a session whose close goes on: a round trip each, for some thousand closes a second.
 */
#define LIMIT_LINGERS_DEFAULT 1024u
/* Questions to the resolver; a connect by name asks two. */
#define LIMIT_LOOKUPS_DEFAULT 512u
#define LIMIT_LOOKUPS_MAX 65536u
#define LIMIT_CONNECTS_MAX 1000000u
/* What buffers in the kernel may grow to: a hundred sockets of the largest at least. */
#define LIMIT_KERNEL_DEFAULT (UINT64_C(8) << 30)
#define LIMIT_TOTAL_KERNEL_DEFAULT (UINT64_C(64) << 30)
/* A size that is set, each way, where there is no room to grow: some round trips' worth. */
#define KERNEL_BUFFER_SMALL (32 * 1024)
/* The kernel has no smaller ones (SOCK_MIN_SNDBUF). */
#define KERNEL_BUFFER_MIN 4608u

/*
 * The range of what a configuration may allow a session; the least is what most programs come to
 * need.
 */
#define LIMIT_SOCKETS_MIN 16u
#define LIMIT_OPS_MIN 64u
#define LIMIT_SOCKET_OPS_MIN 16u
#define LIMIT_WINDOW_MIN (1024u * 1024u)
#define LIMIT_SOCKETS_MAX 65536u
#define LIMIT_OPS_MAX 262144u
#define LIMIT_WINDOW_MAX (64u * 1024u * 1024u)
#define LIMIT_QUEUED_MAX (1024u * 1024u * 1024u)
#define LIMIT_SHARED_MAX (1024u * 1024u * 1024u)

/*
 * A unit alone may have a quarter of them (daemon/core/quota.h): a thousand processes of one user.
 */
#define LIMIT_CLIENTS_DEFAULT 4096u
#define LIMIT_CLIENTS_MAX 65536u
/*
 * Sessions that have not said Hello, likewise: each costs no more than one that asks for nothing.
 */
#define LIMIT_HELLOS_DEFAULT LIMIT_CLIENTS_DEFAULT
#define LIMIT_HELLO_SECONDS_DEFAULT 10u
#define LIMIT_HELLO_SECONDS_MAX 3600u

/*
 * What all sessions together may hold. Ops: a session of the only unit of a user, of which there
 * may be others, finds an eighth of this. Bytes: at least this much, where the machine's memory
 * says less.
 */
#define LIMIT_TOTAL_OPS_DEFAULT (1024u * 1024u)
#define LIMIT_TOTAL_OPS_MAX (64u * 1024u * 1024u)
#define LIMIT_TOTAL_MEMORY_MIN (256u * 1024u * 1024u)
#define LIMIT_TOTAL_BYTES_MAX (UINT64_C(1) << 50)
/*
 * Below it the shares of one session would be less than the least: few descriptors are promised
 * twice.
 */
#define LIMIT_TOTAL_SOCKETS_MIN 256u
/* The administrator gets in however many clients there are; their descriptors are kept for them. */
#define LIMIT_CONTROL_SESSIONS 8u

/*
 * Pending SHUTDOWNs per socket: not counted as ops (they work at every limit), yet not without
 * bound.
 */
#define LIMIT_SHUTDOWNS 4u

/*
 * What is charged as memory, beside queued bytes and blocks: the sizes of our structures, rounded
 * up as malloc() does. A session includes its buffers of IO_SMALL. An op includes its deadline, a
 * piece of payload and its first slice. A socket includes the bytes that may always be queued for
 * it, whatever the session's other sockets have queued, what it has of a datagram socket and of one
 * that is bound, and one connect in progress; they are part of the grant. A closing socket is
 * charged separately.
 */
#define MEMORY_SESSION (16u * 1024u)
#define MEMORY_SLOT 32u
#define MEMORY_OP 512u
#define MEMORY_SLICE 48u
#define SOCKET_QUEUED_MIN (64u * 1024u)
#define MEMORY_SOCKET_ALONE 1024u
#define MEMORY_CONNECT 5632u
#define MEMORY_DATAGRAMS 1024u
#define MEMORY_BOUND 256u
#define MEMORY_SOCKET_OPEN (MEMORY_SOCKET_ALONE + MEMORY_DATAGRAMS + MEMORY_BOUND)
#define MEMORY_SOCKET (SOCKET_QUEUED_MIN + MEMORY_SOCKET_OPEN + MEMORY_CONNECT)
#define MEMORY_RESTRICTION 4096u
#define MEMORY_RULE_FACTOR 8u /* a rule takes more than its text */
#define MEMORY_RULE 256u      /* each further one of a list of ports, which has hardly any text */

/* Buffers of a session: each costs a descriptor and a mapping. */
#define LIMIT_BUFFERS 64u
/* Of all sessions: with few descriptors the only session finds two. */
#define LIMIT_TOTAL_BUFFERS_MIN 16u
#define LIMIT_TOTAL_BUFFERS_MAX 1000000u
/* Linux's default of vm.max_map_count, where that cannot be read. */
#define MAPPINGS_DEFAULT 65530u
/* Between two looks whether a client has fetched what its session sent before it ended. */
#define UNREAD_MS 200u
/* Windows of two megabytes for some thirty fast connections. */
#define LIMIT_SHARED_DEFAULT (64u * 1024u * 1024u)
/* Emptied in one step of a session: a hole of so much takes the kernel a third of a millisecond. */
#define SHARED_EMPTY_STEP (512u * 1024u)

/*
 * What SHARE makes: listeners of a session, a descriptor each; one inside the other; clients of all
 * of them.
 */
#define LIMIT_SHARED_LISTENERS 8u
#define LIMIT_SHARE_DEPTH 4u
#define LIMIT_SHAREES 256u
#define MEMORY_SHARED_LISTENER 1024u

#define LIMIT_STREAMS 16u /* LISTs at a time in a session: not counted as ops either */

/*
 * One block of session input or output: a whole frame fits behind the rest of another one, and
 * large reads carry several frames.
 */
#define IO_BLOCK (512u * 1024u)
/*
 * Asked for towards the client: fewer turns for a large reply. Of the kernel's memory it takes what
 * is not read.
 */
#define IO_SOCKET_BUFFER (1024 * 1024)
/* Blocks of each size that the worker keeps for the next session that needs one. */
#define IO_BLOCKS_KEPT 4u
/* Input that waits in front of a pause fits here mostly: the block goes back to the worker. */
#define IO_SMALL 4096u
/* A request is taken only while its reply has this room: completion, text or TCP_INFO included. */
#define REPLY_ROOM 1024u

/*
 * The completion of a small send wakes its client for little while a receive is pending: the answer
 * often follows at once, and one wake-up does for both.
 */
#define HOLD_MS 1u
#define HOLD_BYTES 4096u
/*
 * The answer may be there already: one look costs a fraction of a turn, so that so many in a row
 * may miss.
 */
#define EAGER_MISSES 4u
/* What did not pay is left out so many times: after the first failure, and at most. */
#define BACKOFF_MIN 16u
#define BACKOFF_MAX 4096u

/*
 * A multishot fills so many slices with one call, of STEP_BYTES at most: what was filled first is
 * reported while it is still in the processor's cache.
 */
#define SHOT_SLICES 16u
/* Likewise receives. Of ordinary memory they have at most so many bytes each. */
#define RECEIVES_TOGETHER 16u
#define RECEIVE_SMALL 8192u

/* Work of one session per turn, before others get theirs. */
#define TURN_REQUESTS 256u
#define TURN_LOOK 8u /* the clock is read after so many cheap requests, or one that may be slow */
#define TURN_READS 2u
/* Rows of LIST: each is judged by policy, and asks the kernel half a dozen times. */
#define TURN_ROWS 32u
/* Sockets whose free room is reported with the replies of a turn; the others in further steps. */
#define TURN_REPORTS 8u
/* Receives, and sends, of one socket per wake-up. */
#define TURN_SOCKET_STEPS 16u

/* After FIN: how long, and how much, input is discarded before the close may end in RST (S42). */
#define DRAIN_MS 2000u
#define DRAIN_BYTES (1024u * 1024u)
/*
 * The peer mostly ends, too, once it runs: a socket that epoll has never watched is not watched for
 * it at once. It is looked at when others begin to drain in a later turn, or after this time.
 */
#define DRAIN_LOOK_MS 20u
#define DRAIN_LOOKS 2u /* so many older ones for each that begins */
/* Sockets in that phase, or lingering: at least so many are kept descriptors for. */
#define LIMIT_TOTAL_LINGERS_MIN 64u
/* The same for the attempts of happy eyeballs beside the first one of each connect. */
#define LIMIT_TOTAL_ATTEMPTS_MIN 32u

/* The longest datagram has fewer bytes, because its headers count too. */
#define DGRAM_MAX 65535u
/*
 * How many decisions of policy about addresses a datagram socket keeps, and for how long: a
 * decision may depend on the time and on the routes. Searching them costs less than a tenth of a
 * judgement.
 */
#define DGRAM_VERDICTS 16u
#define DGRAM_DESTINATIONS 12u /* of these, for destinations; the rest is for senders */
#define DGRAM_VERDICT_MS 1000u

/* Ops kept for reuse: the steady state of a busy worker allocates none. */
#define LIMIT_OPS_SPARE 1024u
/* Bytes of copied payload kept for reuse, likewise: the windows of two connections. */
#define LIMIT_CHUNKS_SPARE (2u * 1024u * 1024u)
/*
 * What is copied lies in pieces of 64 bytes, or twice as many, ... up to 32 KiB: of a send that is
 * partly taken no more is held than its rest and one such piece.
 */
#define CHUNK_ORDERS 10u
/*
 * What one step of a socket gives to the kernel, or takes from it: a tenth of a millisecond or two.
 */
#define STEP_BYTES (512u * 1024u)
/* The same for slices of shared memory: one for each of those, and some lists. */
#define LIMIT_SLICES_SPARE 4096u
/* After no memory for a session's next op. */
#define RETRY_MS 20u
/*
 * A receive whose datagram is there, and no memory for it, ends then: others may keep theirs for
 * good. As long as a client is given for its Hello, and the library for an answer.
 */
#define SHORT_MS 10000u

/*
 * Most of a linger time that is left when the client goes: its session counts as a client until
 * then.
 */
#define LINGER_ORPHAN_MS 60000u
/*
 * Between two looks at what a peer has not acknowledged, or a client has not read, doubled each
 * time: a fast one is soon done with.
 */
#define LINGER_LOOK_MIN_MS 1u
#define LINGER_LOOK_MAX_MS 64u
/*
 * Audit entries that wait for the journal or the disk: a second of a busy daemon. Of a person's
 * share half is for those that need not be recorded.
 */
#define AUDIT_QUEUE_ENTRIES 16384u
#define AUDIT_QUEUE_BYTES (8u * 1024u * 1024u)
#define AUDIT_RECORD_MIN (AUDIT_QUEUE_BYTES / AUDIT_QUEUE_ENTRIES) /* that one is charged */
/* Between two looks at what the writer of the file has done with. */
#define AUDIT_LOOK_MS 100u
/*
 * Nothing taken for so long: a connect that has to be recorded is refused, whatever room there is.
 */
#define AUDIT_STUCK_MS 2000u
/* Between two looks whether a journal, a disk, a place is there again. */
#define AUDIT_RETRY_MS 1000u
/* At the end of the daemon, for what still waits. */
#define AUDIT_STOP_MS 1000u
/* Repeats of a denial within it are recorded as one entry. */
#define AUDIT_PERIOD_MS 10000u
/* Denials of one user that are recorded separately in a period. */
#define AUDIT_DENIALS_PER_USER 64u

/* Addresses tried for one name. */
#define CONNECT_ADDRESSES 32u

/*
 * Descriptors kept from network sockets: epoll, control, accept, the spare one, and two for each of
 * the resolver's channels.
 */
#define FDS_RESERVED 64u

#endif
