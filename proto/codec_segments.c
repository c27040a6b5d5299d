/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_message.h"

#include <errno.h>
#include <stdalign.h>

int asock_codec_put_segments(const struct segments *from, struct segment_messages *room,
                             size_t *ret_count, Asock__V1__Segment ***ret)
{
    if (from->count > CODEC_SEGMENTS_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < from->count; i++) {
        Asock__V1__Segment *m = &room->messages[i];

        asock__v1__segment__init(m);
        m->buffer = from->at[i].buffer;
        m->offset = from->at[i].offset;
        m->length = from->at[i].length;
        room->pointers[i] = m;
    }
    *ret_count = from->count;
    *ret = room->pointers;
    return 0;
}

void asock_codec_get_segments(Asock__V1__Segment *const *from, size_t count, char *scratch,
                              struct segments *ret)
{
    size_t skip = -(uintptr_t)scratch % alignof(struct segment);
    struct segment *to = (void *)(scratch + skip);

    _Static_assert(sizeof(struct segment[CODEC_SEGMENTS_MAX]) + alignof(struct segment) <=
                       CODEC_SCRATCH,
                   "the scratch holds as many as there may be");
    ret->count = (uint32_t)count;
    ret->at = count > 0 && !segments_are_too_many(ret) ? to : NULL;
    for (size_t i = 0; ret->at && i < count; i++)
        to[i] = (struct segment){from[i]->buffer, from[i]->offset, from[i]->length};
}
