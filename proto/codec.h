/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_CODEC_H
#define ASOCK_PROTO_CODEC_H

/*
 * Heads as plain structs. Decoding uses a bump allocator on the stack: a head costs no heap,
 * however it is made, and one that would need more than the allocator has is a protocol error.
 * Strings of a decoded struct point into the caller's scratch, as do segments.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verb {
    VERB_NONE = 0,
    VERB_HELLO = 1,
    VERB_OPEN = 2,
    VERB_CONNECT = 3,
    VERB_SEND = 4,
    VERB_RECEIVE = 5,
    VERB_SHUTDOWN = 6,
    VERB_CLOSE = 7,
    VERB_CANCEL = 8,
    VERB_SET_OPTION = 9,
    VERB_GET_OPTION = 10,
    VERB_SYNC = 11,
    VERB_RESTRICT = 12,
    VERB_REGISTER = 13,
    VERB_UNREGISTER = 14,
    VERB_CREDIT = 15,
    VERB_RESOLVE = 16,
    VERB_HANGUP = 17,
    VERB_SHARE = 18,
    VERB_BIND = 19,
    VERB_LISTEN = 20,
    VERB_ACCEPT = 21,
    VERB_DISCONNECT = 22,
    VERB_LIST = 32,
    VERB_SHOW = 33,
    VERB_STATS = 34,
    VERB_KILL = 35,
    VERB_RELOAD = 36,
    VERB_JUDGE = 37,
    VERB_LEARNED = 38,
    VERB_SESSIONS = 40,
    VERB_DENIALS = 41,
    VERB_MONITOR = 42,
    VERB_LISTENER = 43,
    VERB_TAKE_OVER = 44,
};

enum { REQUEST_ERRORS_ONLY = 1 };
enum { RECEIVE_PEEK = 1, RECEIVE_WAIT_ALL = 2, RECEIVE_MULTISHOT = 4 };
enum { HOW_RECEIVE = 1, HOW_SEND = 2, HOW_BOTH = 3 };
enum { FAMILY_ANY = 0, FAMILY_INET = 1, FAMILY_INET6 = 2 };
enum { REPLY_MORE = 1, REPLY_END_OF_STREAM = 2, REPLY_FOUND = 4, REPLY_TRUNCATED = 8 };
enum { SOCKET_TYPE_ANY = 0, SOCKET_TYPE_STREAM = 1, SOCKET_TYPE_DATAGRAM = 2 };
enum { KIND_WELCOME = 1, KIND_COMPLETION = 2, KIND_EVENT = 3 };
enum { LEND_HELD = 1, LEND_GIVEN = 2, LEND_HELD_IF_ALLOWED = 3 };
enum { EVENT_SEND_ROOM = 1, EVENT_SESSION_ENDED = 2, EVENT_KILLED = 3 };

enum option {
    OPTION_NO_DELAY = 1,
    OPTION_KEEP_ALIVE = 2,
    OPTION_KEEP_ALIVE_TIME = 3,
    OPTION_KEEP_ALIVE_INTERVAL = 4,
    OPTION_KEEP_ALIVE_COUNT = 5,
    OPTION_SEND_BUFFER = 6,
    OPTION_RECEIVE_BUFFER = 7,
    OPTION_HOP_LIMIT = 8,
    OPTION_TRAFFIC_CLASS = 9,
    OPTION_REUSE_ADDRESS = 10,
    OPTION_USER_TIMEOUT = 11,
    OPTION_LINGER = 12,
    OPTION_DUAL_MODE = 13,
    OPTION_COALESCE = 14,
    OPTION_BROADCAST = 15,
    OPTION_MULTICAST_HOPS = 16,
    OPTION_MULTICAST_LOOP = 17,
    OPTION_MULTICAST_INTERFACE = 18,
    OPTION_JOIN_GROUP = 19,
    OPTION_LEAVE_GROUP = 20,
    OPTION_LOCAL_ENDPOINT = 32,
    OPTION_REMOTE_ENDPOINT = 33,
    OPTION_TCP_INFO = 34,
    OPTION_AVAILABLE = 35,
};

/* Bits of Welcome.send_fields. */
enum send_field {
    SEND_ECN = 6,
    SEND_SOURCE = 7,
    SEND_SEGMENT_SIZE = 8,
};

#define SEND_FIELDS (1u << SEND_ECN | 1u << SEND_SOURCE | 1u << SEND_SEGMENT_SIZE)

#define CODEC_NAME_MAX 64u          /* bytes of Hello.name */
#define CODEC_HOST_MAX 253u         /* bytes of a name in its text form, RFC 1035 */
#define CODEC_SERVICE_MAX 32u       /* bytes; the longest name in /etc/services has 16 */
#define CODEC_TEXT_MAX 512u         /* bytes of an error's text */
#define CODEC_FIELD_MAX 1024u       /* bytes of a record field's text */
#define CODEC_SEGMENTS_MAX 64u      /* of one request */
#define CODEC_ADDRESSES_MAX 64u     /* of one answer to RESOLVE */
#define CODEC_ADDRESSES_BYTES 2048u /* bytes of one */
#define CODEC_OTHERS_MAX 31u        /* addresses of one CONNECT, beside the first */
#define CODEC_SCRATCH 4096u         /* holds every string, or every segment, of one head */

/*
 * malformed: set by decoding alone, when an Endpoint came whose address has neither 4 nor 16 bytes
 * or whose port is over 65535; nothing else of it is set then. It is an argument of its op that is
 * not valid, no protocol error.
 */
struct endpoint {
    uint8_t address[16];
    uint8_t address_len; /* 4 or 16; 0: not set, or malformed */
    bool malformed;
    uint16_t port;
    uint32_t scope_id;
};

struct endpoints {
    const struct endpoint *at;
    uint32_t count;
};

struct option_value {
    bool is_set;
    int64_t number;
    struct endpoint endpoint;
};

/* A part of a buffer that client and daemon share. */
struct segment {
    uint32_t buffer;
    uint64_t offset, length;
};

struct segments {
    const struct segment *at; /* NULL: none, or more than a request may have */
    uint32_t count;
};

/* An argument of its op that is not valid, no protocol error. */
static inline bool segments_are_too_many(const struct segments *segments)
{
    return segments->count > CODEC_SEGMENTS_MAX;
}

struct request {
    uint32_t verb; /* enum verb, or a number this side does not know */
    uint32_t socket;
    uint64_t op;
    uint32_t timeout_ms;
    uint32_t flags;
    union {
        struct {
            uint32_t version, sockets, ops;
            uint64_t send_window, queued_max;
            const char *name; /* NULL: not set, as every string here */
        } hello;
        struct {
            uint32_t family, type;
        } open;
        struct {
            struct endpoint endpoint;
            const char *host, *service;
            /*
             * Set by decoding alone: why one of them is no string that it may be. An argument, no
             * protocol error.
             */
            const char *malformed;
            uint32_t lend;
            struct endpoints others;
        } connect;
        struct {
            uint64_t total_len;
            bool more, abandon;
            struct segments segments;
            struct endpoint endpoint;
            uint32_t ecn, segment_size;
            struct endpoint source;
        } send;
        struct {
            uint64_t length;
            uint32_t flags;
            struct segments segments;
        } receive;
        struct {
            uint32_t how;
        } shutdown;
        struct {
            uint32_t linger_ms;
            bool abort;
        } close;
        struct {
            bool abort;
        } disconnect;
        struct {
            uint64_t target;
            bool unshare;
        } cancel;
        struct {
            uint32_t option;
            struct option_value value;
        } option; /* SET_OPTION, GET_OPTION */
        struct {
            uint64_t id;
        } show; /* SHOW, KILL */
        struct {
            bool close;
        } reload;
        struct {
            const char *name;
            bool remove;
        } listener;
        struct {
            uint32_t format;
        } take_over;
        struct {
            bool metrics;
        } stats;
        struct {
            uint64_t length;
            bool status;
        } reg;
        struct {
            uint32_t buffer;
        } unregister;
        struct {
            uint64_t target;
            struct segments segments;
        } credit;
        struct {
            const char *host;
            uint32_t family;
            const char *malformed; /* as of connect */
        } resolve;
        struct {
            struct endpoint endpoint;
        } bind;
        struct {
            uint32_t backlog;
        } listen;
        struct {
            uint32_t first, count;
        } accept;
        struct {
            bool lend;
        } share;
    };
};

/* NULL: its verb has none. */
static inline struct segments *request_segments(struct request *request)
{
    switch (request->verb) {
    case VERB_SEND:
        return &request->send.segments;
    case VERB_RECEIVE:
        return &request->receive.segments;
    case VERB_CREDIT:
        return &request->credit.segments;
    default:
        return NULL;
    }
}

static inline bool segments_have_empty(const struct segments *segments)
{
    for (uint32_t i = 0; i < segments->count; i++)
        if (segments->at[i].length == 0)
            return true;
    return false;
}

static inline bool segments_are_same(const struct segments *a, const struct segments *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->at[i].buffer != b->at[i].buffer || a->at[i].offset != b->at[i].offset ||
            a->at[i].length != b->at[i].length)
            return false;
    return true;
}

struct welcome {
    uint32_t version, sockets, ops, socket_ops;
    uint64_t send_window, queued_max;
    uint32_t payload_max, head_max;
    uint32_t buffers;
    uint64_t shared_max;
    uint32_t linger_max, resolutions, connects_per_second;
    uint64_t kernel_buffers;
    uint64_t verbs; /* bit N: the verb N */
    uint32_t most_sockets, most_ops, most_socket_ops;
    uint64_t most_send_window, most_queued;
    uint32_t lends;       /* bit N: the Lend N */
    uint32_t send_fields; /* bit N: Send's field N */
};

enum reply_body {
    BODY_NONE,
    BODY_CONNECTED,
    BODY_VALUE,
    BODY_EVENT,
    BODY_WELCOME,
    BODY_SEGMENT,
    BODY_DATAGRAM,
};

/* What came with a datagram. */
struct datagram {
    struct endpoint remote, local;
    uint32_t interface; /* 0: unknown */
    uint32_t length;    /* of all of it */
    uint32_t traffic_class;
    uint32_t dropped, refused; /* by the kernel; by policy */
    uint32_t segment_size;     /* 0: it is one datagram */
    struct segment segment;    /* of a multishot; length 0 and buffer 0: there is none */
};

struct reply {
    uint32_t kind;
    uint32_t socket;
    uint64_t op;
    uint32_t error; /* enum asock_wire_error, or a number this side does not know */
    uint32_t flags;
    uint64_t bytes;
    uint64_t send_freed;
    uint32_t ops_freed;
    uint32_t descriptors;
    enum reply_body body;
    union {
        struct {
            struct endpoint local, remote;
            uint32_t connect_error, socket;
        } connected;
        struct option_value value;
        uint32_t event;
        struct segment segment;
        struct datagram datagram;
        struct welcome welcome;
    };
};

/* A value of a record: text, or (text NULL) a number. */
struct field {
    const char *name;
    const char *text;
    int64_t number;
};

/*
 * Whether these bytes are UTF-8 without control characters (U+0000 to U+001F, U+007F to U+009F):
 * what every string on the wire has to be.
 */
bool asock_codec_text_is_valid(const char *text, size_t len);

/*
 * Encoding writes prefix and head of a frame whose payload has payload_len bytes; the payload is
 * sent behind it by the caller. Returns the bytes written, -ENOBUFS when cap is too small,
 * -EINVAL when a string is too long or not valid, a verb is not known or an endpoint's length
 * wrong. CODEC_REPLY_MAX and CODEC_REQUEST_MAX always suffice.
 */
#define CODEC_REPLY_MAX 256u
#define CODEC_REQUEST_MAX 2176u
long asock_codec_encode_request(const struct request *request, uint32_t payload_len, uint8_t *out,
                                size_t cap);
long asock_codec_encode_reply(const struct reply *reply, uint32_t payload_len, uint8_t *out,
                              size_t cap);

/*
 * Decoding: 0, or -EPROTO with a static text for people in *ret_why: malformed, too many unknown
 * fields (about a hundred are ignored, more do not fit into the allocator), a string over its limit
 * or not valid, an arm that is not its verb's. Of a request also: verb 0, and token 0 but in HELLO.
 * A verb (of a reply: a kind) this side does not know is no error: it comes with its number.
 */
int asock_codec_decode_request(const uint8_t *head, size_t len, char scratch[CODEC_SCRATCH],
                               struct request *ret, const char **ret_why);
int asock_codec_decode_reply(const uint8_t *head, size_t len, struct reply *ret,
                             const char **ret_why);

/*
 * The same by protobuf-c alone: the measure of the short ways that the four above have for the
 * frames that carry data. Tests compare both.
 */
long asock_codec_encode_request_by_schema(const struct request *request, uint32_t payload_len,
                                          uint8_t *out, size_t cap);
long asock_codec_encode_reply_by_schema(const struct reply *reply, uint32_t payload_len,
                                        uint8_t *out, size_t cap);
int asock_codec_decode_request_by_schema(const uint8_t *head, size_t len,
                                         char scratch[CODEC_SCRATCH], struct request *ret,
                                         const char **ret_why);
int asock_codec_decode_reply_by_schema(const uint8_t *head, size_t len, struct reply *ret,
                                       const char **ret_why);

/* As asock.proto has it, without VERB_; NULL: there is none. */
const char *asock_codec_verb_name(uint32_t verb);

/*
 * The answer to RESOLVE. Encoding returns bytes written, -ENOBUFS, or -EINVAL: too many, or one
 * that is not set. Decoding returns their count, or -EPROTO.
 */
long asock_codec_encode_addresses(const struct endpoint *endpoints, size_t count, uint8_t *out,
                                  size_t cap);
long asock_codec_decode_addresses(const uint8_t *buf, size_t len,
                                  struct endpoint ret[static CODEC_ADDRESSES_MAX]);

/*
 * Records. Encoding returns bytes written, -ENOBUFS, or -EINVAL for over CODEC_FIELDS_MAX fields.
 * It takes texts from anywhere (a process's name is that process's to choose): a text is cut at
 * CODEC_FIELD_MAX, and what is not valid in it becomes '?'. Decoding calls visit once with all
 * fields, or returns -EPROTO.
 */
#define CODEC_FIELDS_MAX 128u   /* fields of one record; SHOW has about 40 */
#define CODEC_RECORD_MAX 16384u /* bytes of one record */
long asock_codec_encode_record(const struct field *fields, size_t count, uint8_t *out, size_t cap);
int asock_codec_decode_record(const uint8_t *buf, size_t len,
                              void (*visit)(const struct field *fields, size_t count, void *data),
                              void *data);

#endif
